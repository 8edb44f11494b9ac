// What a process is to run: defaults, file, environment and command line put together, all mistakes told at once.

import { walk } from "../control/arguments.ts";
import { bad, type Mistake, mistakeIn, OptionsError } from "../control/mistake.ts";
import { optionRows } from "../control/option-rows.ts";
import { Places } from "../control/places.ts";
import { programRows } from "../control/program-rows.ts";
import { Assembly, type Assembled } from "./assembly.ts";
import { type Environment, ownVariables, readEnvironment } from "./environment.ts";
import { readFile } from "./file-reader.ts";
import { fromLine, type Given, type Layer } from "./layer.ts";
import { parseSource, readSource, type Source } from "./source.ts";
import type { Tree } from "./tree.ts";
import { warningsOf } from "./warnings.ts";

/** What is allowed, and hardly meant. */
type Warning = Mistake;

/** What a process is to run. */
export interface Configuration extends Assembled {
  /** As it was given; "" = the command line and the environment alone. */
  readonly file: string;
  readonly warnings: readonly Warning[];
  /** What it was made of; the file as it was read. */
  readonly sources: Sources;
}

export interface Sources {
  readonly args: readonly string[];
  readonly environment: Environment;
  readonly source: Source | null;
}

const rows = [...optionRows, ...programRows];

/**
 * Reads `[options] LISTEN DEST...` or `--config FILE [options]`, the environment, and the file.
 * @throws OptionsError with every mistake: those of the command line first, then the environment's and the file's.
 */
export async function readConfiguration(
  args: readonly string[],
  environment: Environment,
): Promise<Configuration> {
  const file = fileOf(args, environment);
  const own = ownVariables(environment);
  if (file === "") return assemble({ args, environment: own, source: null }, null);
  const source = await readSource(file).catch((error: unknown) =>
    withOthers(error, args, own, file),
  );
  return configurationFrom({ args, environment: own, source });
}

/** For a reload: reads the same sources again. @throws OptionsError as `readConfiguration` does. */
export function readAgain({ sources }: Configuration): Promise<Configuration> {
  return readConfiguration(sources.args, sources.environment);
}

/** The same for a file that is read already. @throws OptionsError */
export async function configurationFrom(
  sources: Sources & { source: Source },
): Promise<Configuration> {
  const { args, environment, source } = sources;
  const tree = await parseSource(source).catch((error: unknown) =>
    withOthers(error, args, environment, source.file),
  );
  return assemble(sources, tree);
}

/** @returns the file that the command line names, or the environment, or "". */
function fileOf(args: readonly string[], environment: Environment): string {
  const given = walk(args, rows, [], () => {}).get("config");
  const named = given ?? readEnvironment(environment, []).layer.get("config")?.value ?? "";
  return String(named);
}

/** A file that cannot be read is told together with the mistakes elsewhere. */
function withOthers(
  error: unknown,
  args: readonly string[],
  environment: Environment,
  file: string,
): never {
  if (!(error instanceof OptionsError)) throw error;
  const mistakes: Mistake[] = [];
  readArguments(args, mistakes, refusePlaces(mistakes, file));
  readEnvironment(environment, mistakes);
  throw new OptionsError([...mistakes, ...error.mistakes]);
}

function readArguments(
  args: readonly string[],
  mistakes: Mistake[],
  onPlace: (text: string) => void,
): Layer {
  const given = walk(args, rows, mistakes, onPlace);
  return new Map(
    [...given].map(([name, value]): [string, Given] => [name, { value, origin: fromLine }]),
  );
}

function refusePlaces(mistakes: Mistake[], file: string): (text: string) => void {
  return (text) => {
    const { fault } = bad(
      "unexpected-argument",
      `stands beside --config ${file}`,
      "the addresses are the file's",
    );
    mistakes.push(mistakeIn(text, fault));
  };
}

/** Puts the sources together. @throws OptionsError */
async function assemble(sources: Sources, tree: Tree | null): Promise<Configuration> {
  const { args, environment, source } = sources;
  const mistakes: Mistake[] = [];
  const file = source?.file ?? "";
  const places = new Places(mistakes);
  const texts: string[] = [];
  const line = readArguments(
    args,
    mistakes,
    source === null
      ? (text) => {
          texts.push(text);
          places.add(text);
        }
      : refusePlaces(mistakes, file),
  );
  const variables = readEnvironment(environment, mistakes);
  const values = source === null || tree === null ? null : readFile(file, tree, mistakes);
  const assembly = new Assembly([line, variables.layer], values?.top ?? new Map(), mistakes);
  if (values === null) assembly.addPlaces(places, texts.length, variables);
  else assembly.addFile(values.listeners, variables);
  const assembled = await assembly.finish();
  const warnings = [...warningsOf(assembled), ...assembled.tlsWarnings];
  return { ...assembled, file, sources, warnings };
}
