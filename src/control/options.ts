// The command line (IAWLB §4): options and addresses in any order, all mistakes told at once.

import { type Address, formatAddress, portMax, readAddress } from "./address.ts";
import { bad, type Mistake, mistakeIn, nearest, OptionsError, quote } from "./mistake.ts";
import type { Reading } from "./mistake.ts";
import { type DestinationOptions, formatPlace, Places, suffixTable } from "./places.ts";
import type { Row } from "./option-row.ts";
import { optionRows } from "./option-rows.ts";
import { DEFAULTS, optionTable, type Settings, settingsFrom } from "./settings.ts";
import { formatDuration, readCount } from "./value.ts";

export type { LogLevel, Settings } from "./settings.ts";
export type { Address, DestinationOptions, Mistake };
export { DEFAULTS, formatAddress, formatDuration, optionTable, OptionsError, suffixTable };

/** What the balancer runs by; what is set per destination stands there, the settings are for those that say nothing. */
export interface Options extends Settings {
  readonly listen: Address;
  readonly destinations: readonly DestinationOptions[];
}

/**
 * Reads `[options] LISTEN DEST...`. Options are `--name value` or `--name=value`, anywhere before a `--`; the last
 * of several equal ones counts.
 * @throws OptionsError with all mistakes, in the order of the arguments.
 */
export function parseOptions(args: readonly string[]): Options {
  const mistakes: Mistake[] = [];
  const places = new Places(mistakes);
  const given = walk(args, optionRows, mistakes, (argument) => places.add(argument));
  const listen = places.finish();
  if (listen === null || mistakes.length > 0) throw new OptionsError(mistakes);
  const settings = settingsFrom(given);
  checkTogether(settings, mistakes);
  const destinations = places.destinations(settings);
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  return { ...settings, listen, destinations };
}

/** Options that are right each for itself, and wrong together. */
function checkTogether(
  { healthSend, healthExpect, healthHttp }: Settings,
  mistakes: Mistake[],
): void {
  if (healthHttp === "" || healthSend + healthExpect === "") return;
  const other = healthSend === "" ? "--health-expect" : "--health-send";
  const { fault } = bad(
    "unexpected-argument",
    `${other} stands beside it`,
    "one way to check is accepted",
  );
  mistakes.push(mistakeIn("--health-http", fault));
}

/** What a program gives: settings as `Options` has them or as on the command line, addresses as texts or as objects. */
export type GivenOptions = { readonly [K in keyof Settings]?: Settings[K] | string } & {
  /** As on the command line; a number is a port. */
  readonly listen: string | number | Address;
  readonly destinations: readonly (
    string | number | (Partial<DestinationOptions> & { address: Address })
  )[];
};

/**
 * Reads what a program gives, as if it stood on the command line: one way to check, one set of words.
 * @throws OptionsError with all mistakes.
 */
export function readOptions(given: GivenOptions): Options {
  const known = ["listen", "destinations", "libc", ...optionRows.map((row) => row.key)];
  const unknown = Object.keys(given).filter((key) => !known.includes(key));
  if (unknown.length > 0) throw new OptionsError(unknown.map((key) => unknownKey(key, known)));
  const args: string[] = [];
  for (const row of optionRows) {
    const value = given[row.key];
    if (value === undefined) continue;
    args.push(`--${row.name}=${textOf(row, value)}`);
  }
  const { listen } = given;
  args.push("--", typeof listen === "object" ? formatAddress(listen) : String(listen));
  for (const each of given.destinations) {
    args.push(typeof each === "object" ? formatPlace(each) : String(each));
  }
  return parseOptions(args);
}

function unknownKey(key: string, known: readonly string[]): Mistake {
  const words = `known are ${known.join(", ")}`;
  return mistakeIn(key, bad("unknown-option", "is unknown", words, nearest(key, known)).fault);
}

/** A value as it stands on the command line. */
export function textOf(row: Row, value: Settings[keyof Settings]): string {
  if (typeof value === "string") return value;
  if (row.placeholder === "TIME") return `${value}ms`;
  return row.write === undefined ? String(value) : row.write(value as never); // a row's own value
}

/**
 * Reads the arguments of `iawlb demo`.
 * @returns the port to listen on, or null when the user left the choice to us.
 * @throws OptionsError with all mistakes, in the order of the arguments.
 */
export function parseDemoOptions(args: readonly string[]): { readonly port: number | null } {
  const mistakes: Mistake[] = [];
  const rows = [{ name: "port", read: (text: string) => readCount(text, 0, portMax) }];
  const given = walk(args, rows, mistakes, (argument) => {
    const { fault } = bad("unexpected-argument", "is not needed", "demo takes --port N alone");
    mistakes.push(mistakeIn(argument, fault));
  });
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  return { port: given.get("port") ?? null };
}

interface Readable<V> {
  readonly name: string;
  readonly read: (text: string) => Reading<V>;
}

/** Goes through the arguments once: @returns what the options gave, by name; notes what is wrong with them. */
function walk<V>(
  args: readonly string[],
  rows: readonly Readable<V>[],
  mistakes: Mistake[],
  onPositional: (argument: string) => void,
): ReadonlyMap<string, V> {
  const given = new Map<string, V>();
  const byName = new Map(rows.map((row) => [row.name, row]));
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  for (let index = 0; index < end; index++) {
    const argument = args[index] ?? "";
    if (!argument.startsWith("-")) {
      onPositional(argument);
      continue;
    }
    const equals = argument.indexOf("=");
    const option = equals < 0 ? argument : argument.slice(0, equals);
    const next = equals < 0 && index + 1 < end ? (args[index + 1] ?? "") : null;
    const row = option.startsWith("--") ? byName.get(option.slice(2)) : undefined;
    if (row === undefined) {
      const near = nearest(option.replace(/^-+/, ""), [...byName.keys(), "help", "version"]);
      const suggestion = near === "" ? "" : `--${near}`;
      const problem = `option ${quote(option)} is unknown`;
      const { fault } = bad("unknown-option", problem, "iawlb --help lists them all", suggestion);
      mistakes.push(mistakeIn(argument, fault));
      if (next !== null && isValueOf(byName.get(near), next)) index++;
      continue;
    }
    const separate = next !== null && !next.startsWith("--");
    if (separate) index++;
    const text = separate ? next : equals < 0 ? "" : argument.slice(equals + 1);
    if (!separate && equals < 0 && row.read("").fault === null) {
      mistakes.push(mistakeIn(argument, bad("missing-value", "a value is missing").fault));
      continue;
    }
    const reading = readValue(row, separate ? `${argument} ${text}` : argument, text, mistakes);
    if (reading.fault === null) given.set(row.name, reading.value);
  }
  for (const argument of args.slice(end + 1)) onPositional(argument);
  return given;
}

function readValue<V>(
  row: Readable<V>,
  written: string,
  text: string,
  mistakes: Mistake[],
): Reading<V> {
  const reading = row.read(text);
  if (reading.fault === null) return reading;
  const { suggestion } = reading.fault;
  const whole = suggestion === "" ? "" : `--${row.name} ${suggestion}`;
  const missing = { code: "missing-value", problem: "a value is missing" } as const;
  const fault = { ...reading.fault, suggestion: whole, ...(text === "" ? missing : {}) };
  mistakes.push(mistakeIn(written, fault));
  return reading;
}

/** Tells a mistyped option's value from the next address, so that one slip is one mistake. */
function isValueOf(row: Readable<unknown> | undefined, text: string): boolean {
  if (text.startsWith("-")) return false;
  if (row !== undefined && row.read(text).fault === null) return true;
  return readAddress(text.split(",")[0] ?? "", "listen").fault !== null;
}
