// A row of the table of options, and the kinds of values it may hold. One definition gives the reader of a text, the
// text of a value, and the JSON Schema by which files are checked and completed.

import { bad, good, quote, type Reading } from "./mistake.ts";
import type { Settings } from "./settings.ts";
import { durationMsMax, formatDuration, readChoice, readCount, readDuration } from "./value.ts";

/** What a value may be, in JSON Schema (draft 2020-12); the types of a file's values are derived from it. */
interface Kind<V, S = unknown> {
  /** Reads a value as it stands on the command line. */
  readonly read: (text: string) => Reading<V>;
  /** The text that `read` reads back; it gets only what its own `read` gives. */
  write(value: V): string;
  readonly schema: S;
  /**
   * What it may be in a file besides text: a number, true and false, a list of texts (`texts` is no number, `list` may
   * be one). A number that is not accepted is read as its text, so that the near miss is told.
   */
  readonly native: "number" | "flag" | "list" | "texts" | "text";
}

/** A row of any table: its words, and its kind. */
export interface WordRow<V = unknown, S = unknown> extends Kind<V, S> {
  readonly name: string;
  /** "" = it takes no value. */
  readonly placeholder: string;
  /** The default as a user would write it. */
  readonly initial: string;
  readonly help: string;
}

interface Row<K extends keyof Settings = keyof Settings> extends WordRow<Settings[K]> {
  readonly key: K;
}

/** A row of any one setting, with the type of its own key. */
export type AnyRow = { readonly [K in keyof Settings]: Row<K> }[keyof Settings];

/** The largest number of slots, waiting clients and connections. */
export const countMax = 1_048_576;

export const count = (min: number, max: number) =>
  ({
    read: (text: string): Reading<number> => readCount(text, min, max),
    write: (value: number): string => String(value),
    schema: {
      anyOf: [
        { type: "integer", minimum: min, maximum: max },
        { type: "string", pattern: "^[+-]?[0-9]+$" },
      ],
    },
    native: "number",
  }) as const;

export const duration = (msMin: number) =>
  ({
    read: (text: string): Reading<number> => readDuration(text, msMin, durationMsMax),
    write: formatDuration,
    schema: durationSchema,
    native: "number",
  }) as const;

export const choice = <const T extends readonly string[]>(choices: T) =>
  ({
    read: (text: string): Reading<T[number]> => readChoice<T[number]>(text, choices),
    write: (value: T[number]): string => value,
    schema: { type: "string", enum: choices },
    native: "text",
  }) as const;

/** Text that `read` checks. @param pattern is for editors: it accepts all that `read` does, and may accept more. */
export const text = (read: (text: string) => Reading<string>, pattern = "") =>
  ({
    read,
    write: (value: string): string => value,
    schema: pattern === "" ? { type: "string" } : { type: "string", pattern },
    native: "text",
  }) as const;

/** Named alone it is true. */
export const flag = {
  read: (text: string): Reading<boolean> => {
    if (text === "true" || text === "false") return good(text === "true");
    const near = /^(?:1|on|yes)$/i.test(text)
      ? "true"
      : /^(?:0|off|no)$/i.test(text)
        ? "false"
        : "";
    return bad("bad-value", `${quote(text)} is unknown`, "accepted are true, false", near);
  },
  write: (value: boolean): string => String(value),
  schema: { anyOf: [{ type: "boolean" }, { type: "string", enum: ["true", "false"] }] },
  native: "flag",
} as const;

const durationSchema = {
  anyOf: [{ const: 0 }, { type: "string", pattern: "^(0|[0-9]{1,15}(ms|s|m|h))$" }],
} as const;
