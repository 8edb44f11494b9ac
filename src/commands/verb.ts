// What a verb of the command line is: its words, its options, and what it does with the program that runs.

import { walk, type Values } from "../control/arguments.ts";
import {
  bad,
  good,
  mistakeIn,
  OptionsError,
  type Mistake,
  type Reading,
} from "../control/mistake.ts";
import type { Client } from "./client.ts";

export interface VerbOption {
  readonly name: string;
  /** "" = it takes no value. */
  readonly placeholder: string;
  readonly help: string;
  readonly read: (text: string) => Reading<unknown>;
}

export interface VerbCall {
  readonly client: Client;
  /** What stood beside the options. */
  readonly names: readonly string[];
  /** A text or number that was given; undefined = it was not. */
  text(option: string): string | undefined;
  number(option: string): number | undefined;
  has(option: string): boolean;
  /** Prints the answer itself with --json, else the words. */
  say(answer: unknown, words: string): void;
  /** Tells something beside the answer, on stderr. */
  tell(words: string): void;
}

export interface Verb {
  readonly name: string;
  readonly help: string;
  /** What stands beside the options: "" = nothing. */
  readonly operand: string;
  /** How many of them. */
  readonly min: number;
  readonly max: number;
  readonly options: readonly VerbOption[];
  readonly examples: readonly (readonly [line: string, meaning: string])[];
  /** @throws CommandError, OptionsError */
  run(call: VerbCall): Promise<void>;
}

/** So many names in one command. */
export const nameCountMax = 1_000;

const any = (text: string): Reading<string> =>
  text === "" ? bad("missing-value", "a value is missing") : good(text);
/** Given with a value it is a mistake; its row is only read then. */
const none = (): Reading<never> => bad("bad-value", "takes no value");

export function word(name: string, placeholder: string, help: string): VerbOption {
  return { name, placeholder, help, read: any };
}

export function flag(name: string, help: string): VerbOption {
  return { name, placeholder: "", help, read: none };
}

export const commonOptions: readonly VerbOption[] = [
  flag("json", "print the answer as JSON"),
  word("admin", "ADDRESS", "unix:PATH, HOST:PORT or PORT of the program; else the one that runs"),
  word("token-file", "FILE", "the token, where the program asks for one"),
];
export const listenerOption = word(
  "listener",
  "NAME",
  "its listener, where several have a destination of that name",
);
export const persistOption = flag("persist", "write the change into the configuration file, too");

export interface Given {
  readonly names: readonly string[];
  readonly values: Values;
}

/** @throws OptionsError with all mistakes. */
export function readArguments(verb: Verb, args: readonly string[]): Given {
  const mistakes: Mistake[] = [];
  const names: string[] = [];
  const values = walk(args, [...verb.options, ...commonOptions], mistakes, (each) =>
    names.push(each),
  );
  if (names.length < verb.min && mistakes.length === 0) {
    const { fault } = bad("missing-value", "is missing", `iawlb ${verb.name} --help says more`);
    mistakes.push(mistakeIn(verb.operand, fault));
  }
  for (const name of names.slice(verb.max)) {
    const takes = verb.max === 0 ? "nothing" : `${verb.max} ${verb.operand}`;
    const words = `${verb.name} takes ${takes} beside its options`;
    mistakes.push(mistakeIn(name, bad("unexpected-argument", "is not needed", words).fault));
  }
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  return { names, values };
}

/** `/destinations/NAME/…?listener=…&persist=1`. */
export function destinationPath(call: VerbCall, name: string, rest = ""): string {
  const query = new URLSearchParams();
  const listener = call.text("listener");
  if (listener !== undefined) query.set("listener", listener);
  if (call.has("persist")) query.set("persist", "1");
  const text = query.size === 0 ? "" : `?${query}`;
  return `/destinations/${encodeURIComponent(name)}${rest}${text}`;
}

/** What every change answers. */
export interface Changed {
  readonly message: string;
  readonly persisted: string;
}

export function changeWords({ message, persisted }: Changed): string {
  return persisted === "" ? message : `${message}; written to ${persisted}`;
}
