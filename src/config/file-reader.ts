// Reads the tree of a file by the tables of options: what stands above the listeners, and each listener. Notes every
// mistake with its place.

import {
  bad,
  type Fault,
  type FilePlace,
  type Mistake,
  mistakeAt,
  nearest,
  quote,
} from "../control/mistake.ts";
import { optionRows, sharedNames } from "../control/option-rows.ts";
import type { WordRow } from "../control/option-row.ts";
import type { RouteChoice, Written } from "../control/places.ts";
import { programRows } from "../control/program-rows.ts";
import { type Part, readName, suffixes, withoutCommas } from "../control/suffix.ts";
import { text } from "../control/option-row.ts";
import { textOf, valueOf } from "./file-value.ts";
import type { Given, Layer } from "./layer.ts";
import { addTls, type FileWalk, routesIn } from "./preface-reader.ts";
import { type Entry, join, type Spot, type Table, take, type Tree } from "./tree.ts";

/** Listeners of one program. */
export const listenerCountMax = 256;

/** Rows that stand above the listeners alone, and those of a listener, which stand there for all of them. */
const topRows: readonly WordRow[] = [
  ...programRows.filter(({ name }) => name !== "config"),
  ...optionRows,
];
const ownRows: readonly WordRow[] = optionRows.filter(({ name }) => !sharedNames.includes(name));

const nameKind = text(readName);

export interface FileDestination {
  readonly written: Written;
  /** What stands beside its address; not given when it is one text. */
  readonly parts?: readonly Part[];
  /** Of the route that it stands in. */
  readonly route?: RouteChoice;
  readonly at: FilePlace;
}

export interface FileListener {
  /** "" = none is given. */
  readonly name: string;
  readonly at: FilePlace;
  readonly layer: Layer;
  readonly listen: (Written & { readonly at: FilePlace }) | null;
  /** Those that are tables or texts, those of routes last; the others were noted. */
  readonly destinations: readonly FileDestination[];
  /** The key is missing, and there is no route. */
  readonly lacksDestinations: boolean;
}

export interface FileValues {
  readonly top: Layer;
  readonly listeners: readonly FileListener[];
}

/** Reads a whole file. */
export function readFile(file: string, tree: Tree, mistakes: Mistake[]): FileValues {
  return new FileReader(file, mistakes).read(tree);
}

class FileReader implements FileWalk {
  private readonly file: string;
  private readonly mistakes: Mistake[];

  constructor(file: string, mistakes: Mistake[]) {
    this.file = file;
    this.mistakes = mistakes;
  }

  read(tree: Tree): FileValues {
    if (tree.kind !== "table") {
      this.note(tree, "", bad("bad-value", "a table of keys is needed").fault);
      return { top: new Map(), listeners: [] };
    }
    const keys = this.keysOf(tree, "");
    const list = take(keys, "listener");
    take(keys, "$schema"); // of editors
    const own = ["listen", "destinations", "name", "route"].flatMap((name) => {
      const spot = keys.get(name);
      return spot === undefined ? [] : [{ name, spot }];
    });
    const short = this.listenerParts(keys, "", tree);
    const top = this.layerOf(keys, topRows, "");
    this.refuseRest(keys, [...topRows.map(({ name }) => name), ...placeKeys, "listener"], "");
    if (list === null) {
      if (own.length > 0) return { top, listeners: [{ ...short, layer: new Map() }] };
      const accepted = "[[listener]], or listen and destinations above all, are needed";
      this.note(tree, "", bad("no-listener", "no listener", accepted).fault);
      return { top, listeners: [] };
    }
    const [first] = own;
    if (first !== undefined) {
      const { name, spot } = first;
      const problem = "stands beside [[listener]]";
      const accepted =
        name === "route"
          ? "a route belongs to a listener: [[listener.route]] behind its [[listener]] in TOML"
          : "it belongs into a listener";
      this.note(spot, name, bad("unknown-key", problem, accepted).fault);
    }
    return { top, listeners: this.listenersOf(list) };
  }

  private listenersOf({ value }: Entry): FileListener[] {
    if (value.kind !== "list") {
      const accepted = "a list of tables is accepted, [[listener]] in TOML";
      this.note(value, "listener", bad("bad-value", "is no list", accepted).fault);
      return [];
    }
    const extra = value.items[listenerCountMax];
    if (extra !== undefined) {
      const accepted = `at most ${listenerCountMax} listeners are accepted`;
      const path = `listener[${listenerCountMax}]`;
      this.note(extra, path, bad("too-many-listeners", "is one too many", accepted).fault);
    }
    if (value.items.length === 0) {
      this.note(value, "listener", bad("no-listener", "is empty", "at least one is needed").fault);
    }
    return value.items.slice(0, listenerCountMax).flatMap((item, index) => {
      const path = `listener[${index}]`;
      if (item.kind === "table") return [this.listenerOf(item, path)];
      this.note(item, path, bad("bad-value", "is no table").fault);
      return [];
    });
  }

  private listenerOf(table: Table, path: string): FileListener {
    const keys = this.keysOf(table, path);
    const parts = this.listenerParts(keys, path, table);
    const layer = this.layerOf(keys, ownRows, path);
    for (const row of topRows) {
      const misplaced = ownRows.includes(row) ? null : take(keys, row.name);
      if (misplaced === null) continue;
      const problem = "is an option of the whole program";
      const { fault } = bad("unknown-key", problem, "it stands above the listeners");
      this.note(misplaced, join(path, row.name), fault);
    }
    this.refuseRest(keys, [...ownRows.map(({ name }) => name), ...placeKeys], path);
    return { ...parts, layer };
  }

  /** Name, address and destinations. */
  private listenerParts(
    keys: Map<string, Entry>,
    path: string,
    home: Spot,
  ): Omit<FileListener, "layer"> {
    const name = take(keys, "name");
    const listen = take(keys, "listen");
    const destinations = take(keys, "destinations");
    const routes = take(keys, "route");
    const reading = name === null ? null : this.valueOf(nameKind, name, join(path, "name"));
    return {
      name: typeof reading === "string" ? reading : "",
      at: this.placeOf(home, path),
      listen: listen === null ? null : this.listenOf(listen, join(path, "listen")),
      destinations: [
        ...(destinations === null
          ? []
          : this.destinationsOf(destinations, join(path, "destinations"))),
        ...(routes === null ? [] : routesIn(this, routes, join(path, "route"))),
      ],
      lacksDestinations: destinations === null && routes === null,
    };
  }

  /** What is wrong there is noted, and an address in its place keeps that from being told twice. */
  private listenOf({ value }: Entry, path: string): FileListener["listen"] {
    const at = this.placeOf(value, path);
    const tell = (fault: Fault) => mistakeAt(at, fault);
    const written = textOf(addressKind, value);
    if ("text" in written) return { text: written.text, tell, at };
    for (const { fault } of written.faults) this.mistakes.push(tell(fault));
    return { text: "0", tell, at };
  }

  destinationsOf({ value }: Entry, path: string): FileDestination[] {
    if (value.kind !== "list") {
      this.note(
        value,
        path,
        bad("bad-value", "is no list", "a list such as [3001, 3002] is accepted").fault,
      );
      return [];
    }
    if (value.items.length === 0) {
      const accepted = "at least one destination, such as 3001, is needed";
      this.note(value, path, bad("no-destination", "is empty", accepted).fault);
    }
    return value.items.flatMap((item, index) => {
      const own = `${path}[${index}]`;
      const destination =
        item.kind === "table" ? this.tableOf(item, own) : this.textDestination(item, own);
      return destination === null ? [] : [destination];
    });
  }

  private textDestination(item: Tree, path: string): FileDestination | null {
    const at = this.placeOf(item, path);
    const written = textOf(addressKind, item);
    if ("text" in written) {
      return { written: { text: written.text, tell: (fault) => mistakeAt(at, fault) }, at };
    }
    for (const { fault } of written.faults) this.mistakes.push(mistakeAt(at, fault));
    return null;
  }

  private tableOf(table: Table, path: string): FileDestination | null {
    const keys = this.keysOf(table, path);
    const places = new Map([...keys].map(([name, { value }]) => [name, value]));
    const tell = (fault: Fault, part = "address") => {
      const spot = places.get(part);
      if (spot === undefined) return mistakeAt(this.placeOf(table, path), fault);
      return mistakeAt(this.placeOf(spot, join(path, part)), fault);
    };
    const count = this.mistakes.length;
    const address = take(keys, "address");
    const parts: Part[] = [];
    for (const suffix of suffixes) {
      const entry = take(keys, suffix.name);
      if (entry === null) continue;
      const reading = valueOf(suffix, entry.value);
      const told = (reading.faults ?? []).map(({ fault }) => tell(fault, suffix.name));
      this.mistakes.push(...told);
      if (reading.fault !== null) continue;
      const value = suffix.write(reading.value as never); // what it has read itself
      parts.push([suffix.name, withoutCommas(suffix.name, value)]);
    }
    this.refuseRest(keys, ["address", ...suffixes.map(({ name }) => name)], path);
    if (address === null) {
      const slip = [...keys.keys()].some((key) => nearest(key, ["address"]) !== "");
      if (slip) return null; // which is noted
      const accepted = "a port or address, such as 3001, is needed";
      this.note(table, join(path, "address"), bad("no-destination", "missing", accepted).fault);
      return null;
    }
    const written = textOf(addressKind, address.value);
    if ("faults" in written) this.mistakes.push(...written.faults.map(({ fault }) => tell(fault)));
    if ("faults" in written || this.mistakes.length > count) return null;
    return { written: { text: written.text, tell }, parts, at: this.placeOf(table, path) };
  }

  private layerOf(keys: Map<string, Entry>, rows: readonly WordRow[], path: string): Layer {
    const layer = this.rowsOf(keys, rows, path);
    const group = take(keys, "tls");
    if (group !== null) addTls(this, group, rows, path, layer);
    return layer;
  }

  rowsOf(keys: Map<string, Entry>, rows: readonly WordRow[], path: string): Map<string, Given> {
    const layer = new Map<string, Given>();
    for (const row of rows) {
      const entry = take(keys, row.name);
      if (entry === null) continue;
      const own = join(path, row.name);
      const value = this.valueOf(row, entry, own);
      const at = this.placeOf(entry.value, own);
      if (value !== null) layer.set(row.name, { value, origin: { kind: "file", at } });
    }
    return layer;
  }

  /** @returns null when it is wrong, which is noted. */
  valueOf(row: Pick<WordRow, "read" | "native">, { value }: Entry, path: string): unknown {
    const reading = valueOf(row, value);
    if (reading.fault === null) return reading.value;
    for (const { spot, step, fault } of reading.faults ?? []) this.note(spot, path + step, fault);
    return null;
  }

  /** The entries by name; what stands twice is noted. */
  keysOf(table: Table, path: string): Map<string, Entry> {
    const keys = new Map<string, Entry>();
    for (const entry of table.entries) {
      if (keys.has(entry.name)) {
        const { fault } = bad("duplicate-key", "stands twice", "once is accepted");
        this.note(entry, join(path, entry.name), fault);
      } else keys.set(entry.name, entry);
    }
    return keys;
  }

  refuseRest(keys: ReadonlyMap<string, Entry>, known: readonly string[], path: string): void {
    for (const entry of keys.values()) {
      const near = nearest(entry.name, known);
      const all =
        known.length > 12 ? "iawlb --help lists them all" : `known are ${known.join(", ")}`;
      const words = isOfListener(entry.name)
        ? "it is the listener's: it stands in that, above its first [table]"
        : all;
      const { fault } = bad("unknown-key", `key ${quote(entry.name)} is unknown`, words, near);
      this.note(entry, path, fault);
    }
  }

  note(spot: Spot, path: string, fault: Fault): void {
    this.mistakes.push(mistakeAt(this.placeOf(spot, path), fault));
  }

  private placeOf({ line, column }: Spot, path: string): FilePlace {
    return { file: this.file, line, column, path };
  }
}

/** Whatever is no address is found by who reads addresses. */
const addressKind = {
  read: (written: string) => ({ value: written, fault: null }),
  native: "number",
} as const;

function isOfListener(name: string): boolean {
  return placeKeys.includes(name) || ownRows.some((row) => row.name === name);
}

const placeKeys = ["name", "listen", "destinations", "route", "tls"];
