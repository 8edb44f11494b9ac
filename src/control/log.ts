// What the balancer tells its operator, on stderr: one line an event (IAWLB §10, whose messages nobody read).

import { createConsola, type LogObject } from "consola/core";
import type { BalancerEvent } from "./hooks.ts";
import type { Mistake } from "./mistake.ts";
import type { LogLevel } from "./settings.ts";

const levels: Readonly<Record<LogLevel, number>> = { error: 0, warn: 1, info: 3, debug: 4 };

/** Only a terminal gets colours; a service manager or a file gets the words alone. */
const colored = process.stderr.isTTY === true && process.env["NO_COLOR"] === undefined;

const prefixes: Readonly<Record<string, string>> = colored
  ? {
      error: "\x1b[31merror:\x1b[0m ",
      warn: "\x1b[33mwarning:\x1b[0m ",
      debug: "\x1b[2mdebug:\x1b[0m ",
    }
  : { error: "error: ", warn: "warning: ", debug: "debug: " };

const logger = createConsola({
  level: levels.info,
  reporters: [{ log: (entry) => tell(lineOf(entry)) }],
});

// Nobody may be reading stderr; that ends our words, not the balancer.
process.stderr.on("error", () => {});

export function setLogLevel(level: LogLevel): void {
  logger.level = levels[level];
}

/** Writes a line to stderr, whatever the level. */
export function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}

export type Level = "info" | "warn" | "error";

/** What has happened in a balancer, as a line. */
export function wordsOf(event: BalancerEvent): string {
  switch (event.kind) {
    case "listening":
      return `listening on ${event.address}`;
    case "destination-out":
      return `destination ${event.name} is out: ${event.cause}, next try in ${inWords(event.retryMs)}`;
    case "destination-down":
      return `destination ${event.name} is down: health check: ${event.cause}`;
    case "unlogged":
      return `${event.count} refused clients have no access line: ${event.reason}`;
    case "destination-back":
      return `destination ${event.name} is back`;
    case "queue-full":
      return "queue is full: new clients are refused";
    case "queue-clear":
      return "queue has room again";
    case "local-fault":
      return `cannot dial, and no destination is to blame: ${event.cause}`;
    case "draining":
      return `draining: ${event.pairs} open go on, ${event.waiting} waiting refused`;
    case "handed-over":
      return `handed over: ${event.pairs} open and ${event.waiting} waiting go on here`;
    case "retired":
      return `accepts no more: ${event.pairs} open and ${event.waiting} waiting go on`;
    case "drained":
      return event.cut === 0 ? "drained: all have finished" : `drained: ${event.cut} cut off`;
    case "warning":
      return event.message;
  }
}

const eventLevels: Readonly<Record<BalancerEvent["kind"], Level>> = {
  listening: "info",
  "destination-out": "warn",
  "destination-down": "warn",
  unlogged: "warn",
  "destination-back": "info",
  "queue-full": "warn",
  "queue-clear": "info",
  "local-fault": "error",
  draining: "info",
  "handed-over": "info",
  retired: "info",
  drained: "info",
  warning: "warn",
};

export function levelOf({ kind }: BalancerEvent): Level {
  return eventLevels[kind];
}

/** A line for the operator. */
export function say(level: Level, message: string): void {
  logger[level](message);
}

export function warning(message: string): void {
  logger.warn(message);
}

export function info(message: string): void {
  logger.info(message);
}

export function failure(message: string): void {
  logger.error(message);
}

/** Mistakes in what was asked for, and where to read on. */
export function printMistakes(mistakes: readonly Mistake[]): void {
  for (const { message, hint } of mistakes) tell(hint === "" ? message : `${message}; ${hint}`);
  tell("all options: iawlb --help");
}

function lineOf(entry: LogObject): string {
  const message = entry.args.join(" ").replace(/\p{C}/gu, "?");
  return `${prefixes[entry.type] ?? ""}${message}`;
}

/** `250 ms`, `1 s`, `1.3 s`. */
function inWords(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 100) / 10} s`;
}
