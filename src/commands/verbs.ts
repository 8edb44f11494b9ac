// The verbs that steer a running program, their help, and how one is run.

import { adminDirectories, findAdmin } from "../control/admin-place.ts";
import { OptionsError } from "../control/mistake.ts";
import { block, columns, sections } from "../control/usage.ts";
import { changeVerbs } from "./change.ts";
import { CommandError, openClient, type Client, type Haunts } from "./client.ts";
import { connectionsVerb, statusVerb } from "./status.ts";
import { commonOptions, readArguments, type Verb } from "./verb.ts";
import { waitDrainedVerb } from "./wait-drained.ts";

export const verbs: readonly Verb[] = [
  statusVerb,
  connectionsVerb,
  ...changeVerbs,
  waitDrainedVerb,
];

/** Where a verb speaks, and where it looks for the program. */
export interface Console {
  print(line: string): void;
  tell(line: string): void;
  readonly haunts: Haunts;
}

/** On stdout and stderr, as the user who calls. */
export function ownConsole(tell: (line: string) => void): Console {
  const print = (line: string): void => void process.stdout.write(`${line}\n`);
  return { print, tell, haunts: { directories: adminDirectories(), find: () => findAdmin() } };
}

/** Runs a verb. @returns the exit code: 0 done, 1 not done, 2 mistakes in the arguments. */
export async function runVerb(
  verb: Verb,
  args: readonly string[],
  console: Console,
): Promise<0 | 1 | 2> {
  try {
    const { names, values } = readArguments(verb, args);
    const textOf = (name: string): string | undefined => {
      const value = values.get(name);
      return typeof value === "string" ? value : undefined;
    };
    const isJson = values.has("json");
    // Looked for when it is needed: mistakes in the arguments come first.
    let opened: Promise<Client> | null = null;
    const client = (): Promise<Client> =>
      (opened ??= openClient(textOf("admin") ?? "", textOf("token-file") ?? "", console.haunts));
    await verb.run({
      client: { ask: async (...request) => (await client()).ask(...request) },
      names,
      text: textOf,
      number: (name) => {
        const value = values.get(name);
        return typeof value === "number" ? value : undefined;
      },
      has: (name) => values.has(name),
      say: (answer, words) => console.print(isJson ? JSON.stringify(answer) : words),
      tell: (line) => console.tell(line),
    });
    return 0;
  } catch (error) {
    if (error instanceof OptionsError) {
      for (const { message, hint } of error.mistakes) {
        console.tell(hint === "" ? message : `${message}; ${hint}`);
      }
      console.tell(`all of it: iawlb ${verb.name} --help`);
      return 2;
    }
    if (!(error instanceof CommandError)) throw error;
    console.tell(error.message);
    return error.exitCode;
  }
}

/** `--help` of one verb. */
export function verbUsage(verb: Verb, version: string): string {
  const { name, help, operand, options, examples } = verb;
  const rows = [...options, ...commonOptions].map((option) =>
    columns(`--${option.name} ${option.placeholder}`.trimEnd(), option.help),
  );
  return sections(
    `iawlb ${version}: ${help}`,
    `Usage: iawlb ${name} [options]${operand === "" ? "" : ` ${operand}`}`,
    block("Options:", [...rows, columns("-h, --help", "this text")]),
    block(
      "Examples:",
      examples.map(([line, meaning]) => `  ${line}\n      ${meaning}`),
    ),
    block("Exit codes:", [
      columns("0", "done"),
      columns("1", "not done: nobody answers, it was refused, the time is over"),
      columns("2", "mistakes in the arguments, each named"),
    ]),
  );
}
