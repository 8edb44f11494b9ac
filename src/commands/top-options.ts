// The arguments of `iawlb top`.

import { bad, mistakeIn, nearest, OptionsError, quote, type Mistake } from "../control/mistake.ts";

export interface TopArguments {
  /** As it was written; "" = the one that runs. */
  readonly admin: string;
  /** File with the token; "" = none. */
  readonly tokenFile: string;
  readonly once: boolean;
}

/** @throws OptionsError with all mistakes. */
export function readTopArguments(args: readonly string[]): TopArguments {
  const mistakes: Mistake[] = [];
  const values = new Map([
    ["--admin", ""],
    ["--token-file", ""],
  ]);
  let once = false;
  for (let at = 0; at < args.length; at += 1) {
    const argument = args[at] ?? "";
    const [option = "", ...rest] = argument.split("=");
    if (argument === "--once") once = true;
    else if (values.has(option)) {
      const next = argument.includes("=") ? rest.join("=") : (args[++at] ?? "");
      if (next === "") mistakes.push(missing(option));
      values.set(option, next);
    } else mistakes.push(unknown(argument, [...values.keys(), "--once"]));
  }
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  const tokenFile = values.get("--token-file") ?? "";
  return { admin: values.get("--admin") ?? "", tokenFile, once };
}

function missing(option: string): Mistake {
  const { fault } = bad("missing-value", "needs a value", "such as unix:/path or 127.0.0.1:9000");
  return mistakeIn(option, fault);
}

function unknown(argument: string, known: readonly string[]): Mistake {
  const accepted = `${known.join(", ")} are accepted`;
  if (!argument.startsWith("-")) {
    return mistakeIn(argument, bad("unexpected-argument", "is not needed", accepted).fault);
  }
  const near = nearest(
    argument.replace(/^-+/, ""),
    known.map((each) => each.slice(2)),
  );
  const problem = `option ${quote(argument)} is unknown`;
  const suggestion = near === "" ? "" : `--${near}`;
  return mistakeIn(argument, bad("unknown-option", problem, accepted, suggestion).fault);
}
