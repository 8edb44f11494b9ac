// What a command line gets wrong, in a form that tables can hold.

import { expect } from "bun:test";
import { type Mistake, OptionsError, parseOptions } from "../../src/control/options.ts";

export function mistakesOf(...args: string[]): readonly Mistake[] {
  try {
    parseOptions(args);
    return [];
  } catch (error) {
    if (error instanceof OptionsError) return error.mistakes;
    throw error;
  }
}

/** The only mistake of a command line, as "code: hint". */
export function mistake(...args: string[]): string {
  const mistakes = mistakesOf(...args);
  expect(mistakes.map((one) => one.code)).toHaveLength(1);
  return `${mistakes[0]?.code}: ${mistakes[0]?.hint}`;
}
