// What may stand behind a destination's address (IAWLB §4), or beside it in a file: one table for all that reads it.

import { assert } from "../core/assert.ts";
import { portMax } from "./address.ts";
import { bad, good, nearest, quote, type Reading } from "./mistake.ts";
import { count, countMax, duration, flag, text } from "./option-row.ts";
import { warmCountMax } from "./option-rows.ts";
import type { DestinationOptions } from "./places.ts";
import { prefaceSuffixes } from "./preface-suffixes.ts";
import { readBytesText, readHttpPath } from "./text.ts";

const weightMax = 256;
const nameLengthMax = 128;

/** For editors: the letters of a name. */
const namePattern = '^[^\\s"\\\\=,]+$';

/** What may stand behind an address, or beside it in a file. */
export const suffixes = [
  {
    name: "slots",
    key: "slots",
    value: "N",
    help: "connections at once, instead of --slots",
    ...count(0, countMax),
  },
  {
    name: "weight",
    key: "weight",
    value: "W",
    help: `its share, 1 to ${weightMax}; 1 if not given`,
    ...count(1, weightMax),
  },
  {
    name: "warm",
    key: "warm",
    value: "N",
    help: "connections opened ahead, instead of --warm",
    ...count(0, warmCountMax),
  },
  {
    name: "backup",
    key: "backup",
    value: "",
    help: "serves only while no other destination is up",
    ...flag,
  },
  {
    name: "health-interval",
    key: "healthMs",
    value: "TIME",
    help: "instead of --health-interval",
    ...duration(0),
  },
  {
    name: "health-send",
    key: "healthSend",
    value: "TEXT",
    help: "instead of --health-send; \\x2c is a comma",
    ...text(readBytesText),
  },
  {
    name: "health-expect",
    key: "healthExpect",
    value: "TEXT",
    help: "instead of --health-expect",
    ...text(readBytesText),
  },
  {
    name: "health-http",
    key: "healthHttp",
    value: "PATH",
    help: "instead of --health-http",
    ...text(readHttpPath, "^(/[!-~]*)?$"),
  },
  {
    name: "health-port",
    key: "healthPort",
    value: "N",
    help: "instead of --health-port",
    ...count(0, portMax),
  },
  ...prefaceSuffixes,
  {
    name: "name",
    key: "name",
    value: "TEXT",
    help: "its name in the logs; the address if not given",
    ...text(readName, namePattern),
  },
] as const;

export type Suffix = (typeof suffixes)[number];

const suffixNames = suffixes.map((suffix) => suffix.name);

export interface SuffixTableRow {
  readonly suffix: string;
  readonly help: string;
}

/** The suffixes of `DEST` as help and README show them. */
export function suffixTable(): readonly SuffixTableRow[] {
  return suffixes.map(({ name, value, help }) => ({
    suffix: value === "" ? `,${name}` : `,${name}=${value}`,
    help,
  }));
}

/** What stands beside the address of a destination: `null` = the name alone. */
export type Part = readonly [name: Suffix["name"], text: string | null];

/** Reads `slots=N`, without its comma. @param seen the names before it. */
export function readSuffix(
  suffix: string,
  seen: Set<string>,
): Reading<Partial<DestinationOptions>> {
  const equals = suffix.indexOf("=");
  const written = equals < 0 ? suffix : suffix.slice(0, equals);
  const text = equals < 0 ? "" : suffix.slice(equals + 1);
  const name = suffixNames.find((known) => known === written);
  if (name === undefined) {
    const near = nearest(written, suffixNames);
    const before = [...seen].at(-1) ?? "";
    if (written !== "" && equals < 0 && near === "" && (before === "sni" || before === "alpn")) {
      const accepted = `several values of ,${before}= have + between: ,${before}=A+B`;
      return bad("unknown-suffix", `suffix ${quote(suffix)} is unknown`, accepted);
    }
    const value = isFlag(near) ? "" : `=${text}`;
    const suggestion = near === "" ? "" : `,${near}${value}`;
    return bad(
      "unknown-suffix",
      `suffix ${quote(suffix)} is unknown`,
      acceptedSuffixes,
      suggestion,
    );
  }
  if (seen.has(name)) return bad("bad-suffix", `,${name} stands twice`, "once is accepted");
  seen.add(name);
  if (isFlag(name)) {
    if (equals < 0) return readPart(name, null);
    return bad("bad-suffix", `,${name} takes no value`, "", `,${name}`);
  }
  if (text === "" && (equals < 0 || !mayBeEmpty.has(name))) {
    return bad("missing-value", `,${name}= needs a value`, acceptedSuffixes);
  }
  const reading = readPart(name, text);
  if (reading.fault === null) return reading;
  const { suggestion } = reading.fault;
  const fault = {
    ...reading.fault,
    problem: `,${name}: ${reading.fault.problem}`,
    suggestion: suggestion === "" ? "" : `,${name}=${suggestion}`,
  };
  return { value: null, fault };
}

/** Named alone it is true. */
export function isFlag(name: string): boolean {
  return suffixes.some((each) => each.name === name && each.value === "");
}

/** Reads the value of one suffix. */
export function readPart(
  name: Suffix["name"],
  text: string | null,
): Reading<Partial<DestinationOptions>> {
  const suffix = suffixOf(name);
  if (text === null) return good({ [suffix.key]: true });
  const reading: Reading<unknown> = suffix.read(text);
  return reading.fault === null ? good({ [suffix.key]: reading.value }) : reading;
}

function suffixOf(name: Suffix["name"]): Suffix {
  const suffix = suffixes.find((each) => each.name === name);
  assert(suffix !== undefined, "a suffix is in the table under its name");
  return suffix;
}

/** The same value with its commas in the form of its kind: behind a comma the next suffix begins. */
export function withoutCommas(name: Suffix["name"], text: string): string {
  return text.replaceAll(",", name === "health-http" ? "%2C" : "\\x2c");
}

/** Nothing instead of what the option says. */
export const mayBeEmpty: ReadonlySet<string> = new Set([
  "health-send",
  "health-expect",
  "health-http",
]);

/** A name is one word, of any script, so that it stands as it is in every log format. */
export function readName(text: string): Reading<string> {
  const isWord = text !== "" && !/[\s\p{C}"\\=,]/u.test(text);
  if (isWord && text.length <= nameLengthMax) return good(text);
  const accepted = `1 to ${nameLengthMax} characters without spaces, quotes, commas, = and \\ are accepted`;
  return bad("bad-value", `${quote(text)} is no name`, accepted);
}

const acceptedSuffixes = `accepted are ${suffixTable()
  .map((row) => row.suffix)
  .join(" ")}`;
