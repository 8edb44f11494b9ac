// What the balancer tells its operator, on stderr: one line an event (IAWLB §10, whose messages nobody read).

import { createConsola, type LogObject } from "consola/core";
import type { BalancerEvent } from "../balancer.ts";
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

/** Tells of what has happened in the balancer. */
export function report(event: BalancerEvent): void {
  switch (event.kind) {
    case "listening":
      return listening(event.address);
    case "destination-out":
      return destinationOut(event.name, event.cause, event.retryMs);
    case "destination-back":
      return destinationBack(event.name);
    case "queue-full":
      return queueFull();
    case "queue-clear":
      return queueClear();
    case "local-fault":
      return localFault(event.cause);
    case "draining":
      return draining(event.pairs, event.waiting);
    case "drained":
      return drained(event.cut);
    case "warning":
      return warning(event.message);
  }
}

export function listening(address: string): void {
  logger.info(`listening on ${address}`);
}

export function destinationOut(name: string, cause: string, retryMs: number): void {
  logger.warn(`destination ${name} is out: ${cause}, next try in ${inWords(retryMs)}`);
}

export function destinationBack(name: string): void {
  logger.info(`destination ${name} is back`);
}

export function queueFull(): void {
  logger.warn("queue is full: new clients are refused");
}

export function queueClear(): void {
  logger.info("queue has room again");
}

export function localFault(cause: string): void {
  logger.error(`cannot dial, and no destination is to blame: ${cause}`);
}

export function draining(pairCount: number, waitingCount: number): void {
  logger.info(`draining: ${pairCount} open go on, ${waitingCount} waiting refused`);
}

export function drained(cutCount: number): void {
  logger.info(cutCount === 0 ? "drained: all have finished" : `drained: ${cutCount} cut off`);
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

function lineOf(entry: LogObject): string {
  const message = entry.args.join(" ").replace(/\p{C}/gu, "?");
  return `${prefixes[entry.type] ?? ""}${message}`;
}

/** `250 ms`, `1 s`, `1.3 s`. */
function inWords(ms: number): string {
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 100) / 10} s`;
}
