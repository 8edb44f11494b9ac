#!/usr/bin/env bun
// The commands (IAWLB §3, §4) and their exit codes: 0 done, 1 cannot run, 2 mistakes, 130 and 143 ended at once.

import { defineCommand, runMain } from "citty";
import manifest from "../package.json" with { type: "json" };
import { openClient } from "./commands/client.ts";
import { explainText } from "./commands/explain.ts";
import { readTopArguments } from "./commands/top-options.ts";
import { sourceOf } from "./commands/top-source.ts";
import { top } from "./commands/top.ts";
import type { Verb } from "./commands/verb.ts";
import { ownConsole, runVerb, verbs, verbUsage } from "./commands/verbs.ts";
import { check as checkConfiguration, checkOptions } from "./config/check.ts";
import { readConfiguration } from "./config/config.ts";
import { saysWhatToRun } from "./config/environment.ts";
import { formatAddress } from "./control/address.ts";
import { isLocal } from "./control/program-rows.ts";
import { failure, printMistakes, tell, warning } from "./control/log.ts";
import { type Mistake, OptionsError } from "./control/mistake.ts";
import { parseDemoOptions, parseUpgradeOptions } from "./control/options.ts";
import { commandHelp, type CommandName, shortUsage, usageText } from "./control/usage.ts";
import { runDemo } from "./demo.ts";
import { takeLegacy } from "./legacy.ts";
import { libc } from "./linux/libc.ts";
import { serve as serveAll } from "./serving.ts";
import { Succession } from "./succession.ts";
import { askToUpgrade } from "./upgrade-command.ts";
import { ownCommand } from "./upgrade.ts";

async function serve(args: readonly string[]): Promise<void> {
  const legacy = takeLegacy(process.env);
  const succession = new Succession(process.env, libc, started);
  const configuration = await parsed(() => readConfiguration(args, process.env));
  if (configuration !== null) await serveAll(configuration, succession, legacy);
}

async function check(args: readonly string[]): Promise<void> {
  const options = checkOptions(args);
  const onMistakes = options.json ? printMistakesAsJson : printMistakes;
  const result = await parsed(() => checkConfiguration(options, process.env), onMistakes);
  if (result === null) return;
  if (result.mistakes.length > 0) {
    onMistakes(result.mistakes);
    process.exitCode = 2;
    return;
  }
  for (const { message } of result.warnings) warning(message);
  process.stdout.write(`${result.text}\n`);
}

async function demo(args: readonly string[]): Promise<void> {
  const options = await parsed(() => parseDemoOptions(args));
  if (options !== null) await runDemo(options.port);
}

async function explain(args: readonly string[]): Promise<void> {
  const text = await parsed(() => explainText(args));
  if (text !== null) process.stdout.write(`${text}\n`);
}

async function topCommand(args: readonly string[]): Promise<void> {
  const options = await parsed(() => readTopArguments(args));
  if (options === null) return;
  const { admin, tokenFile, once } = options;
  await attempt(async () => {
    const client = await openClient(admin, tokenFile, ownConsole(tell).haunts);
    return top(sourceOf(client), { once });
  });
}

async function upgrade(args: readonly string[]): Promise<void> {
  const options = await parsed(() => parseUpgradeOptions(args));
  if (options === null) return;
  await attempt(async () => {
    const pid = options.pid ?? (await pidAt(options.admin, options.tokenFile));
    const { done, words } = await askToUpgrade(pid);
    if (done) process.stdout.write(`${words}\n`);
    else failure(words);
    return done ? 0 : 1;
  });
}

/** The process behind an admin side of this machine: a number of another one is a stranger's here. */
async function pidAt(admin: string, tokenFile: string): Promise<number> {
  const client = await openClient(admin, tokenFile, ownConsole(tell).haunts);
  if (!isLocal(client.address)) {
    const where = formatAddress(client.address);
    throw new Error(
      `${where} may be another machine; there, --pid or a loopback address says which`,
    );
  }
  const { pid } = (await client.ask("GET", "/healthz")) as { pid: number }; // needs no token
  return pid;
}

/** Ends with what `act` gives; what a command cannot do is told in words. */
async function attempt(act: () => Promise<number>): Promise<void> {
  try {
    process.exit(await act());
  } catch (error) {
    if (error instanceof OptionsError) printMistakes(error.mistakes);
    else failure(error instanceof Error ? error.message : String(error));
    process.exit(error instanceof OptionsError ? 2 : 1);
  }
}

/** @returns what `parse` gives, or null after its mistakes were printed. */
async function parsed<T>(
  parse: () => T | Promise<T>,
  onMistakes = printMistakes,
): Promise<T | null> {
  try {
    return await parse();
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    onMistakes(error.mistakes);
    process.exitCode = 2;
    return null;
  }
}

function printMistakesAsJson(mistakes: readonly Mistake[]): void {
  process.stdout.write(`${JSON.stringify({ mistakes }, null, 2)}\n`);
}

const commands = {
  serve: command("serve", serve),
  check: command("check", check),
  upgrade: command("upgrade", upgrade),
  demo: command("demo", demo),
  ...Object.fromEntries(verbs.map((verb) => [verb.name, verbCommand(verb)])),
  top: command("top", topCommand),
  explain: command("explain", explain),
};

const main = defineCommand({
  meta: { name: "iawlb", version: manifest.version, description: manifest.description },
  subCommands: commands,
});

/** Our own parser reads the arguments: citty's lets unknown options pass. */
function command(name: CommandName, run: (args: readonly string[]) => void | Promise<void>) {
  return defineCommand({
    meta: { name, description: commandHelp[name] },
    run: ({ rawArgs }) => run(rawArgs),
  });
}

/** One that speaks to a program that runs. */
function verbCommand(verb: Verb) {
  return defineCommand({
    meta: { name: verb.name, description: verb.help },
    run: async ({ rawArgs }) => {
      process.exitCode = await runVerb(verb, rawArgs, ownConsole(tell));
    },
  });
}

/** What citty is given: the command by name always first, and a question for the version alone. */
function withCommand(args: readonly string[]): string[] {
  const end = args.includes("--") ? args.indexOf("--") : args.length;
  const options = args.slice(0, end);
  if (options.some((argument) => argument === "--version" || argument === "-v"))
    return ["--version"];
  const [first = ""] = args;
  const named = Object.hasOwn(commands, first) || first === "--help" || first === "-h";
  return named ? [...args] : ["serve", ...args];
}

async function showUsage(of: { readonly meta?: unknown }): Promise<void> {
  const name = Object.entries(commands).find(([, each]) => each === of)?.[0] ?? null;
  const verb = verbs.find((each) => each.name === name);
  const text =
    verb === undefined
      ? usageText(name as CommandName | null, manifest.version, verbs) // no verb, so one of those
      : verbUsage(verb, manifest.version);
  process.stdout.write(`${text}\n`);
}

/** What an upgrade starts: this program again, as it is then. */
const started = ownCommand(process, Bun.main, process.cwd());

// Nobody may be reading stdout (`| head`); that ends the lines, not the balancer.
process.stdout.on("error", () => {});

const args = process.argv.slice(2);
if (args.length === 0 && !saysWhatToRun(process.env)) {
  tell(shortUsage());
  process.exitCode = 2;
} else {
  await runMain(main, { rawArgs: withCommand(args), showUsage });
}
