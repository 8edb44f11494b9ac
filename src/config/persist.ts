// Writes destinations that were changed at run time into the file: nothing else in it is touched, and a file that
// somebody else has changed is left alone.

import { type FileHandle, open, readFile, realpath, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { formatAddress } from "../control/address.ts";
import { OptionsError } from "../control/mistake.ts";
import { type DestinationOptions, formatPlace } from "../control/places.ts";
import type { Settings } from "../control/settings.ts";
import { SteeringError } from "../control/steering.ts";
import { suffixes } from "../control/suffix.ts";
import { type Configuration, configurationFrom } from "./config.ts";
import { type Change, editItems, type ListPlace } from "./edit.ts";
import { ownOf, tomlOf } from "./print.ts";
import { hashOf, type Source } from "./source.ts";

/**
 * Writes the destinations of one listener into the file. Those that are as the file says stay as they are written;
 * new ones come behind them. The file is replaced in one step.
 * @returns the configuration that the file says now.
 * @throws SteeringError when there is no file, it has changed since it was read, or it cannot be written.
 */
export async function persistDestinations(
  configuration: Configuration,
  listener: string,
  destinations: readonly DestinationOptions[],
): Promise<Configuration> {
  const { source } = configuration.sources;
  if (source === null) throw refused("there is no file to write to: --config names one");
  const index = configuration.listeners.findIndex(({ name }) => name === listener);
  const found = configuration.listeners[index];
  if (found === undefined) throw new SteeringError("unknown", `no listener is named ${listener}`);
  const before = found.options.destinations;
  const { changes, added, kept } = compare(before, destinations);
  if (added.length === 0 && changes.every((change) => change === "keep")) return configuration;
  const origin = configuration.origins.get(`listener[${index}].destinations[0]`);
  if (origin?.kind !== "file") throw refused("its destinations are not the file's");

  // Those of routes stand behind the others, in lists of their own.
  const ownCount = before.filter((_, row) => {
    const at = configuration.origins.get(`listener[${index}].destinations[${row}]`);
    return at?.kind === "file" && !inRoute.test(at.at.path);
  }).length;
  if (!changes.slice(ownCount).every((change) => change === "keep")) {
    throw refused(`a destination that has changed stands in a route of ${source.file}`);
  }
  const result = [
    ...kept.slice(0, kept.length - before.length + ownCount),
    ...added,
    ...before.slice(ownCount),
  ];

  const isShort = !origin.at.path.startsWith("listener[");
  const form = await formOf(source, isShort ? null : index);
  if (form === null)
    throw refused(`the destinations of ${listener} are not a list of their own in ${source.file}`);
  const write = (each: DestinationOptions) => form.write(each, found.options);
  const texts = changes
    .slice(0, ownCount)
    .map((change): Change => (typeof change === "string" ? change : { text: write(change) }));
  const text = editItems(source.text, form.place, texts, added.map(write));
  const next = await readBack(configuration, source, text);
  if (!Bun.deepEquals(next.listeners[index]?.options.destinations, result)) {
    throw refused(`${source.file} would not say the same afterwards; it is left as it is`);
  }
  await replace(source, text);
  return next;
}

/** What becomes of each destination of the file, what is new, and what of the file stays, as it will be read. */
function compare(
  before: readonly DestinationOptions[],
  wanted: readonly DestinationOptions[],
): {
  readonly changes: readonly ("keep" | "remove" | DestinationOptions)[];
  readonly added: readonly DestinationOptions[];
  readonly kept: readonly DestinationOptions[];
} {
  const byName = new Map(wanted.map((each) => [each.name, each]));
  const changes = before.map((each) => {
    const now = byName.get(each.name);
    byName.delete(each.name);
    if (now === undefined) return "remove";
    return Bun.deepEquals(now, each) ? "keep" : now;
  });
  const added = [...byName.values()];
  const kept = changes.flatMap((change, row) => {
    if (change === "remove") return [];
    const one = change === "keep" ? before[row] : change;
    return one === undefined ? [] : [one];
  });
  return { changes, added, kept };
}

/** The path of a destination in a route. */
const inRoute = /(?:^|\.)route\[\d+\]\./;

/** The list in the file, and how one of its items is written. */
interface Form {
  readonly place: ListPlace;
  write(destination: DestinationOptions, settings: Settings): string;
}

async function formOf({ format, text }: Source, listener: number | null): Promise<Form | null> {
  const asPlace = (each: DestinationOptions, settings: Settings) =>
    tomlOf(formatPlace(ownOf(each, settings)));
  if (format === "json") {
    const { jsonList } = await import("./json.ts");
    const place = jsonList(text, listener);
    return place === null ? null : { place, write: asPlace };
  }
  if (format === "yaml") {
    const { yamlList } = await import("./yaml.ts");
    const found = yamlList(text, listener);
    return found === null
      ? null
      : { place: found.place, write: (...of) => found.dash + asPlace(...of) };
  }
  const { tomlList } = await import("./toml.ts");
  const found = tomlList(text, listener);
  if (found === null) return null;
  const { place, header } = found;
  return { place, write: (...of) => (header === "" ? asPlace(...of) : asTable(header, ...of)) };
}

/** A suffix beside a value of its own key. */
interface SuffixWriter {
  readonly name: string;
  readonly key: (typeof suffixes)[number]["key"];
  write(value: unknown): string;
}

function asTable(header: string, destination: DestinationOptions, settings: Settings): string {
  const own = ownOf(destination, settings);
  const rows: readonly SuffixWriter[] = suffixes;
  const lines = rows.flatMap((suffix) => {
    const value = own[suffix.key];
    if (value === undefined) return [];
    const text = suffix.write(value);
    const isBare = typeof value === "number" || typeof value === "boolean";
    return [`${suffix.name} = ${tomlOf(isBare && text === String(value) ? value : text)}`];
  });
  return [header, `address = ${tomlOf(formatAddress(own.address))}`, ...lines].join("\n");
}

/** Reads what would be written, before it is. */
async function readBack(
  configuration: Configuration,
  source: Source,
  text: string,
): Promise<Configuration> {
  const hash = hashOf(new TextEncoder().encode(text));
  const next: Source = { file: source.file, format: source.format, text, hash };
  try {
    const { args, environment } = configuration.sources;
    return await configurationFrom({ args, environment, source: next });
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    throw refused(`${source.file} would be wrong afterwards: ${error.message.split("\n")[0]}`);
  }
}

/** A reader sees the old file or the new one, whatever happens; a link stays one. */
async function replace(source: Source, text: string): Promise<void> {
  let written = "";
  try {
    const file = await realpath(source.file);
    const { mode, uid, gid } = await stat(file);
    const next = join(dirname(file), `.${basename(file)}.${process.pid}.next`);
    await rm(next, { force: true }); // of a process that ended in the middle of it
    await using handle = await open(next, "wx", mode & 0o777);
    written = next;
    await handle.chmod(mode & 0o777); // whatever the umask
    await chown(handle, uid, gid);
    await handle.writeFile(text);
    await handle.sync();
    if (hashOf(await readFile(file)) !== source.hash) {
      throw refused(`${source.file} has changed since it was read; reload it first`);
    }
    await rename(next, file);
    written = "";
    await syncDirectory(dirname(file));
  } catch (error) {
    if (written !== "") await rm(written, { force: true });
    if (error instanceof SteeringError) throw error;
    throw refused(
      `${source.file} cannot be written: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

/** The owner stays, where we may give files away. */
async function chown(handle: FileHandle, uid: number, gid: number): Promise<void> {
  try {
    await handle.chown(uid, gid);
  } catch {
    // Then it is ours: who may write the directory may replace the file.
  }
}

/** After a loss of power the new name is there, too. */
async function syncDirectory(directory: string): Promise<void> {
  try {
    await using handle = await open(directory, "r");
    await handle.sync();
  } catch {
    // A file system that cannot do it has the new file all the same.
  }
}

function refused(message: string): SteeringError {
  return new SteeringError("refused", message);
}
