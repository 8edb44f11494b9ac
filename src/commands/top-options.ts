// The arguments of `iawlb top`.

import { walk } from "../control/arguments.ts";
import { bad, mistakeIn, OptionsError, type Mistake } from "../control/mistake.ts";
import { commonOptions, flag } from "./verb.ts";

export interface TopArguments {
  /** As it was written; "" = the one that runs. */
  readonly admin: string;
  /** File with the token; "" = none. */
  readonly tokenFile: string;
  readonly once: boolean;
}

const options = [
  ...commonOptions.filter(({ name }) => name !== "json"),
  flag("once", "one table in plain lines, and the end"),
];

/** @throws OptionsError with all mistakes. */
export function readTopArguments(args: readonly string[]): TopArguments {
  const mistakes: Mistake[] = [];
  const values = walk(args, options, mistakes, (argument) => {
    const accepted = `${options.map(({ name }) => `--${name}`).join(", ")} are accepted`;
    mistakes.push(mistakeIn(argument, bad("unexpected-argument", "is not needed", accepted).fault));
  });
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  const text = (name: string): string => {
    const value = values.get(name);
    return typeof value === "string" ? value : "";
  };
  return { admin: text("admin"), tokenFile: text("token-file"), once: values.has("once") };
}
