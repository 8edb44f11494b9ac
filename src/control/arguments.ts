// Goes through the arguments of a command line by the rows of a table (IAWLB §4).

import { readAddress } from "./address.ts";
import { bad, type Mistake, mistakeIn, nearest, quote, type Reading } from "./mistake.ts";

/** What is given under the names of rows, each with the type of its own row. */
export type Values = ReadonlyMap<string, unknown>;

interface Readable {
  readonly name: string;
  readonly read: (text: string) => Reading<unknown>;
  /** "" = it takes no value. */
  readonly placeholder?: string;
  readonly repeats?: boolean;
}

/** Goes through the arguments once: @returns what the options gave, by name; notes what is wrong with them. */
export function walk(
  args: readonly string[],
  rows: readonly Readable[],
  mistakes: Mistake[],
  onPositional: (argument: string) => void,
): Values {
  const given = new Map<string, unknown>();
  const texts = new Map<string, string>();
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
    if (row.placeholder === "" && equals < 0) {
      given.set(row.name, true);
      continue;
    }
    const separate = next !== null && !next.startsWith("--");
    if (separate) index++;
    const text = separate ? next : equals < 0 ? "" : argument.slice(equals + 1);
    if (!separate && equals < 0 && row.read("").fault === null) {
      mistakes.push(mistakeIn(argument, bad("missing-value", "a value is missing").fault));
      continue;
    }
    if (row.repeats === true && separate && text === "") {
      mistakes.push(mistakeIn(argument, bad("missing-value", "a value is missing").fault));
      continue;
    }
    const before = row.repeats === true ? texts.get(row.name) : undefined;
    const whole = before === undefined ? text : `${before},${text}`;
    const reading = readValue(row, separate ? `${argument} ${text}` : argument, whole, mistakes);
    if (reading.fault !== null) continue;
    given.set(row.name, reading.value);
    texts.set(row.name, whole);
  }
  for (const argument of args.slice(end + 1)) onPositional(argument);
  return given;
}

function readValue(
  row: Readable,
  written: string,
  text: string,
  mistakes: Mistake[],
): Reading<unknown> {
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
function isValueOf(row: Readable | undefined, text: string): boolean {
  if (text.startsWith("-") || row?.placeholder === "") return false;
  if (row !== undefined && row.read(text).fault === null) return true;
  return readAddress(text.split(",")[0] ?? "", "listen").fault !== null;
}
