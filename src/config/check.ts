// `iawlb check`: says what would run, or what is wrong, by the same way as a start.

import type { Mistake } from "../control/mistake.ts";
import { planOf, planText } from "../control/plan.ts";
import { type Configuration, readConfiguration } from "./config.ts";
import type { Environment } from "./environment.ts";
import { printJson, printToml } from "./print.ts";

/** Arguments of `check` itself; the rest is as for `serve`. */
const own: ReadonlySet<string> = new Set(["--json", "--strict", "--print"]);

export interface CheckOptions {
  readonly json: boolean;
  /** Warnings are mistakes. */
  readonly strict: boolean;
  /** What is in effect instead of what it means. */
  readonly print: boolean;
  readonly rest: readonly string[];
}

export interface CheckResult {
  /** For stdout, without its last line's end; "" = nothing. */
  readonly text: string;
  /** For stderr. */
  readonly warnings: readonly Mistake[];
  /** Warnings that are mistakes. */
  readonly mistakes: readonly Mistake[];
}

/** What stands behind `--` is an address. */
export function checkOptions(args: readonly string[]): CheckOptions {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const isOwn = (argument: string, index: number) => index < end && own.has(argument);
  const given = new Set(args.filter(isOwn));
  return {
    json: given.has("--json"),
    strict: given.has("--strict"),
    print: given.has("--print"),
    rest: args.filter((argument, index) => !isOwn(argument, index)),
  };
}

/** @throws OptionsError with every mistake. */
export async function check(options: CheckOptions, environment: Environment): Promise<CheckResult> {
  const configuration = await readConfiguration(options.rest, environment);
  const { warnings } = configuration;
  if (options.strict && warnings.length > 0) return { text: "", warnings: [], mistakes: warnings };
  if (!options.json)
    return {
      text: options.print ? printToml(configuration).trimEnd() : await textOf(configuration),
      warnings,
      mistakes: [],
    };
  return {
    text: options.print ? printJson(configuration) : await jsonOf(configuration),
    warnings: [],
    mistakes: [],
  };
}

async function textOf({ listeners }: Configuration): Promise<string> {
  const texts = await Promise.all(
    listeners.map(async ({ name, options, tls }) => {
      const plan = planText(options);
      const head = listeners.length === 1 ? plan : `listener      ${name}\n${plan}`;
      if (tls.identities.length === 0) return head;
      const { certificateLines, certificatesIn } = await import("../control/certificate-words.ts");
      const lines = certificateLines(certificatesIn(tls, Date.now()));
      return [head, `certificates  ${lines.length}`, ...lines].join("\n");
    }),
  );
  return texts.join("\n\n");
}

/** Of the command line alone it is the one listener; of a file the program and all of them. */
async function jsonOf({ file, program, listeners, warnings }: Configuration): Promise<string> {
  const plans = await Promise.all(
    listeners.map(async ({ name, options, tls }) => {
      if (tls.identities.length === 0) return { name, ...planOf(options) };
      const { certificatesIn } = await import("../control/certificate-words.ts");
      return { name, ...planOf(options), certificates: certificatesIn(tls, Date.now()) };
    }),
  );
  const told = warnings.length === 0 ? {} : { warnings };
  const plan =
    file === "" ? { ...plans[0], ...told } : { file, program, listeners: plans, ...told };
  return JSON.stringify(plan, null, 2);
}
