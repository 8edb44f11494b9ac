// What a file groups for its reader: routes with their destinations, and the options of TLS in a table of their own.

import { bad, type Fault } from "../control/mistake.ts";
import type { WordRow } from "../control/option-row.ts";
import { routeSuffixes } from "../control/preface-suffixes.ts";
import { routeCountMax, routeKeyOf } from "../control/routes.ts";
import type { FileDestination } from "./file-reader.ts";
import type { Given } from "./layer.ts";
import { type Entry, join, type Spot, type Table, take } from "./tree.ts";

/** What reads the rest of the file; each notes what is wrong. */
export interface FileWalk {
  keysOf(table: Table, path: string): Map<string, Entry>;
  rowsOf(keys: Map<string, Entry>, rows: readonly WordRow[], path: string): Map<string, Given>;
  valueOf(row: Pick<WordRow, "read" | "native">, entry: Entry, path: string): unknown;
  destinationsOf(entry: Entry, path: string): FileDestination[];
  refuseRest(keys: ReadonlyMap<string, Entry>, known: readonly string[], path: string): void;
  note(spot: Spot, path: string, fault: Fault): void;
}

/** The destinations of all routes, each with what leads to it. */
export function routesIn(walk: FileWalk, { value }: Entry, path: string): FileDestination[] {
  if (value.kind !== "list") {
    const accepted = "a list of tables is accepted, [[route]] or [[listener.route]] in TOML";
    walk.note(value, path, bad("bad-value", "is no list", accepted).fault);
    return [];
  }
  const extra = value.items[routeCountMax];
  if (extra !== undefined) {
    const accepted = `at most ${routeCountMax - 1} routes beside the default one are accepted`;
    const { fault } = bad("out-of-range", "is one too many", accepted);
    walk.note(extra, `${path}[${routeCountMax}]`, fault);
  }
  return value.items.slice(0, routeCountMax).flatMap((item, index) => {
    if (item.kind === "table") return routeIn(walk, item, `${path}[${index}]`);
    walk.note(item, `${path}[${index}]`, bad("bad-value", "is no table").fault);
    return [];
  });
}

function routeIn(walk: FileWalk, table: Table, path: string): FileDestination[] {
  const keys = walk.keysOf(table, path);
  const route = { sni: [], alpn: [], plain: false };
  let isRight = true;
  for (const row of routeSuffixes) {
    const entry = take(keys, row.name);
    if (entry === null) continue;
    const value = walk.valueOf(row, entry, join(path, row.name));
    if (value === null) isRight = false;
    else Object.assign(route, { [row.key]: value });
  }
  const destinations = take(keys, "destinations");
  walk.refuseRest(keys, [...routeSuffixes.map(({ name }) => name), "destinations"], path);
  if (isRight && keys.size === 0 && routeKeyOf(route) === "") {
    const accepted = "sni, alpn or plain is needed; others stand in the listener's destinations";
    const problem = "it does not say who is led there";
    walk.note(table, path, bad("incomplete", problem, accepted).fault);
  }
  if (destinations === null) {
    const accepted = "at least one destination, such as 3001, is needed";
    const { fault } = bad("no-destination", "missing", accepted);
    walk.note(table, join(path, "destinations"), fault);
    return [];
  }
  const own = walk.destinationsOf(destinations, join(path, "destinations"));
  return own.map((each) => Object.assign({ route }, each));
}

const tlsPrefix = "tls-";

/** `[tls]`: adds the options that begin with tls-, written without that. */
export function addTls(
  walk: FileWalk,
  { value }: Entry,
  rows: readonly WordRow[],
  path: string,
  layer: Map<string, Given>,
): void {
  const home = join(path, "tls");
  if (value.kind !== "table") {
    const accepted = 'a table is accepted, [tls] in TOML with keys such as cert = ["a.pem"]';
    walk.note(value, home, bad("bad-value", "is no table", accepted).fault);
    return;
  }
  const own = rows.flatMap((row) =>
    row.name.startsWith(tlsPrefix) ? [{ ...row, name: row.name.slice(tlsPrefix.length) }] : [],
  );
  const keys = walk.keysOf(value, home);
  const spots = new Map(keys);
  for (const [name, given] of walk.rowsOf(keys, own, home)) {
    const whole = tlsPrefix + name;
    if (layer.has(whole)) {
      const { fault } = bad("duplicate-key", `${whole} says the same`, "once is accepted");
      walk.note(spots.get(name) ?? value, join(home, name), fault);
    } else layer.set(whole, given);
  }
  const names = own.map(({ name }) => name);
  walk.refuseRest(keys, names, home);
}
