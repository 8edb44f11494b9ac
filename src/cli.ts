#!/usr/bin/env bun
// The commands (IAWLB §3, §4) and their exit codes: 0 done, 1 cannot run, 2 mistakes, 130 and 143 ended at once.

import { defineCommand, runMain } from "citty";
import manifest from "../package.json" with { type: "json" };
import { balance, type Hooks, ListenError, type Status } from "./balancer.ts";
import { check as checkConfiguration, checkOptions } from "./config/check.ts";
import { readConfiguration } from "./config/config.ts";
import { saysWhatToRun } from "./config/environment.ts";
import { AccessLog } from "./control/access-log.ts";
import { startDemo } from "./control/demo.ts";
import { failure, info, report, setLogLevel, tell, warning } from "./control/log.ts";
import { type Mistake, type Options, OptionsError } from "./control/options.ts";
import { parseDemoOptions } from "./control/options.ts";
import { commandHelp, type CommandName, shortUsage, usageText } from "./control/usage.ts";

const stdoutFd = 1;
/** Under `bun run` one Ctrl-C comes twice: from the terminal, and passed on. So soon a second one is the same. */
const signalEchoMs = 100;
/** A second signal waits no longer than this for the access lines of what it cuts. */
const lastLinesMs = 100;
const signalNumbers = { SIGINT: 2, SIGTERM: 15 } as const;

async function serve(args: readonly string[]): Promise<void> {
  const configuration = await parsed(() => readConfiguration(args, process.env));
  if (configuration === null) return;
  setLogLevel(configuration.program.logLevel);
  printWarnings(configuration.warnings);
  const [first, ...others] = configuration.listeners;
  if (first === undefined || others.length > 0) {
    failure(
      `${configuration.listeners.length} listeners in one process come with the program of them`,
    );
    process.exitCode = 1;
    return;
  }
  const { options } = first;
  await runUntilSignal(options.accessLog, async (hooks) => {
    const balancer = await balance(options, hooks);
    return {
      drain: () => balancer.drain(),
      stop: () => balancer.stop(),
      status: () => balancer.status(),
    };
  });
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
  printWarnings(result.warnings);
  process.stdout.write(`${result.text}\n`);
}

async function demo(args: readonly string[]): Promise<void> {
  const options = await parsed(() => parseDemoOptions(args));
  if (options === null) return;
  await runUntilSignal("logfmt", async (hooks) => {
    const { balancer, text, stop } = await startDemo(options.port, hooks);
    process.stdout.write(`${text}\n`);
    return { drain: stop, stop: () => balancer.stop(), status: () => balancer.status() };
  });
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

function printMistakes(mistakes: readonly Mistake[]): void {
  for (const { message, hint } of mistakes) tell(hint === "" ? message : `${message}; ${hint}`);
  tell("all options: iawlb --help");
}

function printWarnings(warnings: readonly Mistake[]): void {
  for (const { message } of warnings) warning(message);
}

function printMistakesAsJson(mistakes: readonly Mistake[]): void {
  process.stdout.write(`${JSON.stringify({ mistakes }, null, 2)}\n`);
}

interface Program {
  /** Ends in order. */
  drain(): Promise<void>;
  /** Ends now. */
  stop(): Promise<void>;
  status(): Status;
}

/** Starts a program; the first SIGTERM or SIGINT ends it in order, the second, or one before it runs, at once. */
async function runUntilSignal(
  format: Options["accessLog"],
  start: (hooks: Hooks) => Promise<Program>,
): Promise<void> {
  const log = format === "off" ? null : new AccessLog(stdoutFd, format, warning);
  let program: Program | null = null;
  let drainingSince: number | null = null;
  const onSignal = (signal: keyof typeof signalNumbers): void => {
    const now = performance.now();
    if (drainingSince !== null && now - drainingSince < signalEchoMs) return;
    if (program === null || drainingSince !== null) {
      process.exitCode = 128 + signalNumbers[signal];
      return endNow(process.exitCode, log, program?.stop());
    }
    drainingSince = now;
    void drainAndExit(program, log);
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("SIGHUP", () => info("SIGHUP is ignored"));
  process.on("SIGUSR1", () => {
    if (program !== null) tell(`status: ${JSON.stringify(program.status())}`);
  });
  const access = log === null ? {} : { access: log.push.bind(log) };
  try {
    program = await start({ ...access, event: report });
  } catch (error) {
    if (error instanceof OptionsError) {
      printMistakes(error.mistakes);
      process.exitCode = 2;
      return;
    }
    if (!(error instanceof ListenError)) throw error;
    failure(error.message);
    process.exitCode = 1;
  }
}

/** Ends once the lines of what was cut are out, or could not be in time. */
function endNow(code: number, log: AccessLog | null, stopped?: Promise<void>): void {
  const end = () => process.exit(code);
  setTimeout(end, lastLinesMs);
  void Promise.resolve(stopped)
    .then(() => log?.close())
    .then(end);
}

async function drainAndExit(program: Program, log: AccessLog | null): Promise<void> {
  await program.drain();
  if (process.exitCode !== undefined) return; // a second signal is ending it
  await log?.close();
  if (log !== null && log.dropped > 0) warning(`${log.dropped} access lines were not written`);
  process.exit(0);
}

const commands = {
  serve: command("serve", serve),
  check: command("check", check),
  demo: command("demo", demo),
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
  const name = Object.keys(commands).find((key) => commands[key as CommandName] === of);
  process.stdout.write(`${usageText((name ?? null) as CommandName | null, manifest.version)}\n`);
}

// Nobody may be reading stdout (`| head`); that ends the lines, not the balancer.
process.stdout.on("error", () => {});

const args = process.argv.slice(2);
if (args.length === 0 && !saysWhatToRun(process.env)) {
  tell(shortUsage());
  process.exitCode = 2;
} else {
  await runMain(main, { rawArgs: withCommand(args), showUsage });
}
