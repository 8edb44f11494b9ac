#!/usr/bin/env bun
// The commands (IAWLB §3, §4) and their exit codes: 0 done, 1 cannot run, 2 mistakes, 130 and 143 ended at once.

import { defineCommand, runMain } from "citty";
import manifest from "../package.json" with { type: "json" };
import { explainText } from "./commands/explain.ts";
import { readTopArguments } from "./commands/top-options.ts";
import { sourceAt } from "./commands/top-source.ts";
import { top } from "./commands/top.ts";
import { balance, type Hooks, ListenError, type Status } from "./balancer.ts";
import { AccessLog } from "./control/access-log.ts";
import { startDemo } from "./control/demo.ts";
import { failure, info, report, setLogLevel, tell, warning } from "./control/log.ts";
import { type Mistake, type Options, OptionsError } from "./control/options.ts";
import { parseDemoOptions, parseOptions, parseUpgradeOptions } from "./control/options.ts";
import { planJson, planText } from "./control/plan.ts";
import { commandHelp, type CommandName, shortUsage, usageText } from "./control/usage.ts";
import { ownConsole, runVerb, verbs, verbUsage } from "./commands/verbs.ts";
import type { Verb } from "./commands/verb.ts";
import { libc } from "./linux/libc.ts";
import { Succession, type Succeeded } from "./succession.ts";
import { askToUpgrade } from "./upgrade-command.ts";
import { ownCommand } from "./upgrade.ts";

const stdoutFd = 1;
/** Under `bun run` one Ctrl-C comes twice: from the terminal, and passed on. So soon a second one is the same. */
const signalEchoMs = 100;
/** A second signal waits no longer than this for the access lines of what it cuts. */
const lastLinesMs = 100;
const signalNumbers = { SIGINT: 2, SIGTERM: 15 } as const;

async function serve(args: readonly string[]): Promise<void> {
  const options = parsed(() => parseOptions(args));
  if (options === null) return;
  setLogLevel(options.logLevel);
  const succession = new Succession(process.env, libc, started);
  await runUntilSignal(options.accessLog, succession, async (hooks) => {
    const balancer = await balance({ ...options, inheritance: succession.inheritance }, hooks);
    return {
      succeeded: {
        addresses: balancer.addresses,
        descriptors: balancer.descriptors,
        upgradeMs: options.upgradeMs,
        answers: () => balancer.answers(),
        handOver: () => balancer.handOver(),
      },
      drain: () => balancer.drain(),
      stop: () => balancer.stop(),
      status: () => balancer.status(),
    };
  });
}

function check(args: readonly string[]): void {
  const asJson = args.includes("--json");
  const rest = args.filter((argument) => argument !== "--json");
  const print = asJson ? planJson : planText;
  const onMistakes = asJson ? printMistakesAsJson : printMistakes;
  const options = parsed(() => parseOptions(rest), onMistakes);
  if (options !== null) process.stdout.write(`${print(options)}\n`);
}

async function demo(args: readonly string[]): Promise<void> {
  const options = parsed(() => parseDemoOptions(args));
  if (options === null) return;
  await runUntilSignal("logfmt", null, async (hooks) => {
    const { balancer, text, stop } = await startDemo(options.port, hooks);
    process.stdout.write(`${text}\n`);
    return {
      succeeded: null,
      drain: stop,
      stop: () => balancer.stop(),
      status: () => balancer.status(),
    };
  });
}

function explainCommand(args: readonly string[]): void {
  const text = parsed(() => explainText(args));
  if (text !== null) process.stdout.write(`${text}\n`);
}

async function topCommand(args: readonly string[]): Promise<void> {
  const options = parsed(() => readTopArguments(args));
  if (options === null) return;
  const { admin, tokenFile, once } = options;
  try {
    const token = tokenFile === "" ? "" : (await Bun.file(tokenFile).text()).trim();
    process.exit(await top(sourceAt(admin, token), { once }));
  } catch (error) {
    failure(`${admin}: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  }
}

async function upgradeOther(args: readonly string[]): Promise<void> {
  const options = parsed(() => parseUpgradeOptions(args));
  if (options === null) return;
  const { done, words } = await askToUpgrade(options.pid);
  if (done) process.stdout.write(`${words}\n`);
  else failure(words);
  process.exitCode = done ? 0 : 1;
}

/** @returns what `parse` gives, or null after its mistakes were printed. */
function parsed<T>(parse: () => T, onMistakes = printMistakes): T | null {
  try {
    return parse();
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

function printMistakesAsJson(mistakes: readonly Mistake[]): void {
  process.stdout.write(`${JSON.stringify({ mistakes }, null, 2)}\n`);
}

interface Program {
  /** null = it cannot be succeeded. */
  readonly succeeded: Succeeded | null;
  /** Ends in order. */
  drain(): Promise<void>;
  /** Ends now. */
  stop(): Promise<void>;
  status(): Status;
}

/** Starts a program; the first SIGTERM or SIGINT ends it in order, the second, or one before it runs, at once. */
async function runUntilSignal(
  format: Options["accessLog"],
  succession: Succession | null,
  start: (hooks: Hooks) => Promise<Program>,
): Promise<void> {
  const log = format === "off" ? null : new AccessLog(stdoutFd, format, warning);
  if (succession?.inheritance.hasPredecessor === true) log?.share();
  let program: Program | null = null;
  let drainingSince: number | null = null;
  let ending: Promise<void> | null = null;
  const endAfter = (ended: Promise<unknown>): void => void (ending ??= exitAfter(ended, log));
  const onSignal = (signal: keyof typeof signalNumbers): void => {
    const now = performance.now();
    if (drainingSince !== null && now - drainingSince < signalEchoMs) return;
    if (program === null || drainingSince !== null) {
      process.exitCode = 128 + signalNumbers[signal];
      succession?.kill();
      return endNow(process.exitCode, log, program?.stop());
    }
    drainingSince = now;
    endAfter(Promise.all([program.drain(), succession?.stop()]));
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("SIGHUP", () => info("SIGHUP is ignored"));
  process.on("SIGUSR2", () => {
    const succeeded = program?.succeeded ?? null;
    if (succession === null || succeeded === null || drainingSince !== null) {
      return warning("no upgrade: this process does not serve, or is a demo");
    }
    log?.share();
    void succession.upgrade(succeeded, endAfter);
  });
  process.on("SIGUSR1", () => {
    if (program !== null) tell(`status: ${JSON.stringify(program.status())}`);
  });
  const access = log === null ? {} : { access: log.push.bind(log) };
  try {
    program = await start({ ...access, event: report });
    if (program.succeeded !== null) await succession?.onServing(program.succeeded);
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

async function exitAfter(ended: Promise<unknown>, log: AccessLog | null): Promise<void> {
  await ended;
  if (process.exitCode !== undefined) return; // a second signal is ending it
  await log?.close();
  if (log !== null && log.dropped > 0) warning(`${log.dropped} access lines were not written`);
  process.exit(0);
}

const commands = {
  serve: command("serve", serve),
  check: command("check", check),
  upgrade: command("upgrade", upgradeOther),
  demo: command("demo", demo),
  ...Object.fromEntries(verbs.map((verb) => [verb.name, verbCommand(verb)])),
  top: command("top", topCommand),
  explain: command("explain", explainCommand),
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
if (args.length === 0) {
  tell(shortUsage());
  process.exitCode = 2;
} else {
  await runMain(main, { rawArgs: withCommand(args), showUsage });
}
