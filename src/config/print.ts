// The configuration in effect, as a file that could be read again, with a comment where each value came from.

import { formatAddress } from "../control/address.ts";
import { optionRows, sharedNames } from "../control/option-rows.ts";
import type { WordRow } from "../control/option-row.ts";
import { type DestinationOptions, formatPlace } from "../control/places.ts";
import { type DestinationPreface, plainPreface } from "../control/preface-settings.ts";
import { programRows, writeAdmin } from "../control/program-rows.ts";
import type { Settings } from "../control/settings.ts";
import type { Assembled, ListenerConfiguration } from "./assembly.ts";
import { fromDefault, originText } from "./layer.ts";

/** One value, what it is called in `origins`, and what a file would say. */
interface Line {
  readonly path: string;
  readonly key: string;
  readonly value: string | number | boolean;
}

/** @returns TOML that `readConfiguration` reads to the same listeners and settings. */
export function printToml(configuration: Assembled): string {
  const origin = (path: string) => originText(configuration.origins.get(path) ?? fromDefault);
  const written = ({ path, key, value }: Line) =>
    `${key} = ${tomlOf(value)} # ${comment(origin(path))}`;
  const parts = [programLines(configuration).map(written).join("\n")];
  configuration.listeners.forEach((listener, index) => {
    const path = `listener[${index}]`;
    const destinations = listener.options.destinations.map((each, row) => {
      const place = tomlOf(placeText(each, listener.options));
      return `  ${place}, # ${comment(origin(`${path}.destinations[${row}]`))}`;
    });
    const lines = ["[[listener]]", ...listenerLines(listener, path).map(written)];
    parts.push([...lines, "destinations = [", ...destinations, "]"].join("\n"));
  });
  return `${parts.join("\n\n")}\n`;
}

/** The same for programs, with the origins beside it. */
export function printJson(configuration: Assembled): string {
  const tree = (lines: readonly Line[]) =>
    Object.fromEntries(lines.map(({ key, value }) => [key, value]));
  const listener = configuration.listeners.map((each, index) => ({
    ...tree(listenerLines(each, `listener[${index}]`)),
    destinations: each.options.destinations.map((one) => placeText(one, each.options)),
  }));
  const origins = [...configuration.origins].map(([path, origin]) => [path, originText(origin)]);
  const printed = { ...tree(programLines(configuration)), listener };
  return JSON.stringify({ configuration: printed, origins: Object.fromEntries(origins) }, null, 2);
}

/**
 * A destination with what its listener's settings do not say already: as a place, or a table, it is read to the same.
 */
export function ownOf(
  destination: DestinationOptions,
  settings: Settings,
): Partial<DestinationOptions> & Pick<DestinationOptions, "address"> {
  const { name, address, slots, weight, warm, backup } = destination;
  const health = ["healthMs", "healthSend", "healthExpect", "healthHttp", "healthPort"] as const;
  const ownHealth = health.filter((key) => destination[key] !== settings[key]);
  return {
    address,
    ...(slots === settings.slots ? {} : { slots }),
    ...(weight === 1 ? {} : { weight }),
    ...(warm === settings.warm ? {} : { warm }),
    ...(backup ? { backup } : {}),
    ...Object.fromEntries(ownHealth.map((key) => [key, destination[key]])),
    ...ownPrefaceOf(destination),
    ...(name === formatAddress(address) ? {} : { name }),
  };
}

/** What is not as of one that says nothing. */
function ownPrefaceOf(destination: DestinationOptions): Partial<DestinationPreface> {
  const keys = Object.keys(plainPreface) as (keyof DestinationPreface)[]; // it has no other
  const own = keys.filter((key) => String(destination[key]) !== String(plainPreface[key]));
  return Object.fromEntries(own.map((key) => [key, destination[key]]));
}

function placeText(destination: DestinationOptions, settings: Settings): string {
  return formatPlace(ownOf(destination, settings));
}

function programLines({ program, listeners }: Assembled): readonly Line[] {
  const { admin, adminTokenFile, watch } = program;
  const values: Readonly<Record<string, string | boolean>> = {
    admin: writeAdmin(admin).join(","),
    "admin-token-file": adminTokenFile,
    watch,
  };
  const own = programRows.flatMap(({ name }): Line[] => {
    const value = values[name];
    return value === undefined ? [] : [{ path: name, key: name, value }];
  });
  const [first] = listeners;
  const shared =
    first === undefined ? [] : optionLines(first, "", (name) => sharedNames.includes(name));
  return [...own, ...shared];
}

function listenerLines(listener: ListenerConfiguration, path: string): readonly Line[] {
  return [
    { path: `${path}.name`, key: "name", value: listener.name },
    { path: `${path}.listen`, key: "listen", value: formatAddress(listener.options.listen) },
    ...optionLines(listener, `${path}.`, (name) => !sharedNames.includes(name)),
  ];
}

function optionLines(
  { options }: ListenerConfiguration,
  prefix: string,
  isWanted: (name: string) => boolean,
): readonly Line[] {
  const rows: readonly (WordRow & { readonly key: keyof Settings })[] = optionRows;
  return rows
    .filter(({ name }) => isWanted(name))
    .map((row) => {
      const value = options[row.key];
      const isPlain = typeof value === "number" && row.write(value) === String(value);
      return { path: prefix + row.name, key: row.name, value: isPlain ? value : row.write(value) };
    });
}

/** TOML has JSON's texts, but for DEL, which JSON leaves as it is, and halves of characters, which TOML refuses. */
export function tomlOf(value: Line["value"]): string {
  if (typeof value !== "string") return String(value);
  return JSON.stringify(value.toWellFormed()).replaceAll("\u007f", "\\u007f");
}

/** The name of a file may hold anything; a comment ends with its line. */
function comment(text: string): string {
  return text.replace(/\p{C}/gu, "?");
}
