// The command line (IAWLB §4): options and addresses in any order, all mistakes told at once.

import { type Address, formatAddress, portMax } from "./address.ts";
import { walk } from "./arguments.ts";
import {
  bad,
  type Fault,
  good,
  type Mistake,
  mistakeIn,
  nearest,
  OptionsError,
} from "./mistake.ts";
import type { Reading } from "./mistake.ts";
import { type DestinationOptions, formatPlace, Places } from "./places.ts";
import { prefaceFaultsOf } from "./preface-faults.ts";
import { suffixTable } from "./suffix.ts";
import type { WordRow } from "./option-row.ts";
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
  const together = faultTogether(settings);
  if (together !== null) mistakes.push(mistakeIn(`--${together.name}`, together.fault));
  const destinations = places.destinations(settings);
  for (const { row, name, fault } of prefaceFaultsOf(settings, destinations)) {
    mistakes.push(
      ...(row === null ? [mistakeIn(`--${name}`, fault)] : places.told(row, fault, name)),
    );
  }
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  return { ...settings, listen, destinations };
}

/** Options that are right each for itself, and wrong together. @returns the one to blame, and its fault. */
export function faultTogether({
  healthSend,
  healthExpect,
  healthHttp,
}: Settings): { readonly name: string; readonly fault: Fault } | null {
  if (healthHttp === "" || healthSend + healthExpect === "") return null;
  const other = healthSend === "" ? "--health-expect" : "--health-send";
  const problem = `${other} stands beside it`;
  const { fault } = bad("unexpected-argument", problem, "one way to check is accepted");
  return { name: "health-http", fault };
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
  const known = [
    "listen",
    "destinations",
    "libc",
    "inheritance",
    "modes",
    "beside",
    "tls",
    ...optionRows.map((row) => row.key),
  ];
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
export function textOf(row: WordRow, value: unknown): string {
  return typeof value === "string" ? value : row.write(value);
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
  const port = given.get("port");
  return { port: typeof port === "number" ? port : null };
}

/**
 * Reads the arguments of `iawlb upgrade`.
 * @returns the process to upgrade, null = the one behind `admin`; "" = the only one that answers.
 * @throws OptionsError with all mistakes, in the order of the arguments.
 */
export function parseUpgradeOptions(args: readonly string[]): {
  readonly pid: number | null;
  readonly admin: string;
  readonly tokenFile: string;
} {
  const mistakes: Mistake[] = [];
  const rows = [
    { name: "pid", read: (text: string): Reading<number | string> => readCount(text, 1, pidMax) },
    { name: "admin", read: (text: string): Reading<number | string> => good(text) },
    { name: "token-file", read: (text: string): Reading<number | string> => good(text) },
  ];
  const given = walk(args, rows, mistakes, (argument) => {
    const accepted = "upgrade takes --pid N or --admin ADDRESS";
    const { fault } = bad("unexpected-argument", "is not needed", accepted);
    mistakes.push(mistakeIn(argument, fault));
  });
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  const pid = given.get("pid");
  const textOf = (name: string): string => String(given.get(name) ?? "");
  const [admin, tokenFile] = [textOf("admin"), textOf("token-file")];
  return { pid: typeof pid === "number" ? pid : null, admin, tokenFile };
}

/** The largest number of a process. Source: proc(5), pid_max. */
const pidMax = 2 ** 22;
