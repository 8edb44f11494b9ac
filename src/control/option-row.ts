// A row of the table of options, and what its readers are made of.

import type { Reading } from "./mistake.ts";
import type { Settings } from "./settings.ts";
import { durationMsMax, readChoice, readCount, readDuration } from "./value.ts";

export interface Row<K extends keyof Settings = keyof Settings> {
  readonly name: string;
  readonly key: K;
  readonly placeholder: string;
  /** The default as a user would write it. */
  readonly initial: string;
  readonly help: string;
  readonly read: (text: string) => Reading<Settings[K]>;
  /** A value as it stands on the command line, where that is more than its own text. */
  readonly write?: (value: never) => string;
}

/** The largest number of slots, waiting clients and connections. */
export const countMax = 1_048_576;
export const count =
  (min: number, max: number) =>
  (text: string): Reading<number> =>
    readCount(text, min, max);

export const duration =
  (msMin: number) =>
  (text: string): Reading<number> =>
    readDuration(text, msMin, durationMsMax);

export const choice =
  <T extends string>(choices: readonly T[]) =>
  (text: string): Reading<T> =>
    readChoice(text, choices);
