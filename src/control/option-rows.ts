// The table of options: how each is written, read and explained. Parsing, help and README all come from it.

import { availableParallelism } from "node:os";
import { guardRows } from "./guard-rows.ts";
import { good, type Reading } from "./mistake.ts";
import { type AnyRow, count, countMax, duration, choice } from "./option-row.ts";
import { prefaceRows } from "./preface-rows.ts";
import { readCount } from "./value.ts";

/** The largest number of connections opened ahead to one destination. */
export const warmCountMax = 1_024;
/** More than the kernel's `somaxconn` was ever able to hold in 16 bits. */
const backlogCountMax = 65_535;
const threadCountMax = 64;

const policies = ["pull", "round-robin", "random", "hash"] as const;
const formats = ["logfmt", "json", "haproxy", "off"] as const;
const levels = ["error", "warn", "info", "debug"] as const;
const engines = ["bun", "libc"] as const;
const finMeanings = ["keep", "leave"] as const;

/** A count, or as many as there are processor cores for us. */
const threads = {
  ...count(1, threadCountMax),
  read: readThreads,
  schema: { anyOf: [...count(1, threadCountMax).schema.anyOf, { const: "auto" }] },
} as const;

function readThreads(text: string): Reading<number> {
  if (text === "auto") return good(Math.min(threadCountMax, availableParallelism()));
  const reading = readCount(text, 1, threadCountMax);
  if (reading.fault === null) return reading;
  const accepted = `a whole number from 1 to ${threadCountMax} or auto is accepted`;
  return { ...reading, fault: { ...reading.fault, accepted } };
}

export const optionRows = [
  {
    name: "slots",
    key: "slots",
    placeholder: "N",
    initial: "0",
    help: "connections at once per destination; 0 = no limit",
    ...count(0, countMax),
  },
  {
    name: "warm",
    key: "warm",
    placeholder: "N",
    initial: "0",
    help: "connections opened ahead per destination, so that a freed slot need not wait for a connect",
    ...count(0, warmCountMax),
  },
  {
    name: "policy",
    key: "policy",
    placeholder: policies.join("|"),
    initial: "pull",
    help: "who is next: the least used, each in turn, the better of two drawn, or by client address",
    ...choice(policies),
  },
  {
    name: "threads",
    key: "threadCount",
    placeholder: "N|auto",
    initial: "1",
    help: "data-plane threads; they share one queue and every limit; auto = one per core (Linux)",
    ...threads,
  },
  {
    name: "engine",
    key: "engine",
    placeholder: engines.join("|"),
    initial: "bun",
    help: "what moves the bytes: Bun's sockets, or the C library's epoll and splice (Linux)",
    ...choice(engines),
  },
  {
    name: "flush-count",
    key: "flushCount",
    placeholder: "N",
    initial: "0",
    help: "arrivals handed out together; 0 = as many as destinations that can take one",
    ...count(0, countMax),
  },
  {
    name: "flush-time",
    key: "flushMs",
    placeholder: "TIME",
    initial: "0",
    help: "longest an arrival is held for others; 0 = to the end of this turn of the event loop",
    ...duration(0),
  },
  {
    name: "queue-max",
    key: "queueCountMax",
    placeholder: "N",
    initial: "10000",
    help: "clients that may wait; one more is refused; 0 = none waits",
    ...count(0, countMax),
  },
  {
    name: "queue-timeout",
    key: "queueMs",
    placeholder: "TIME",
    initial: "15s",
    help: "longest wait for a destination; 0 = for ever",
    ...duration(0),
  },
  {
    name: "queue-fin",
    key: "queueFin",
    placeholder: finMeanings.join("|"),
    initial: "keep",
    help: "a waiting client that has finished sending: keep its place, or take it as gone",
    ...choice(finMeanings),
  },
  {
    name: "connect-timeout",
    key: "connectMs",
    placeholder: "TIME",
    initial: "5s",
    help: "longest connect to a destination; then another one is tried",
    ...duration(1),
  },
  {
    name: "idle-timeout",
    key: "idleMs",
    placeholder: "TIME",
    initial: "1h",
    help: "a connection that moves no byte for this long is reset; 0 = never",
    ...duration(0),
  },
  {
    name: "half-close-timeout",
    key: "halfCloseMs",
    placeholder: "TIME",
    initial: "30s",
    help: "the same once one side has finished sending; 0 = as --idle-timeout",
    ...duration(0),
  },
  {
    name: "answer-timeout",
    key: "answerMs",
    placeholder: "TIME",
    initial: "0",
    help: "longest from a client's first byte to its destination's first; 0 = off",
    ...duration(0),
  },
  {
    name: "cooldown",
    key: "cooldownMs",
    placeholder: "TIME",
    initial: "0",
    help: "rest of a slot after each connection; 0 = none",
    ...duration(0),
  },
  {
    name: "drain-timeout",
    key: "drainMs",
    placeholder: "TIME",
    initial: "30s",
    help: "how long open connections may go on after SIGTERM or SIGINT; 0 = cut at once",
    ...duration(0),
  },
  {
    name: "backlog",
    key: "backlogCount",
    placeholder: "N",
    initial: "4096",
    help: "connections the kernel holds until they are accepted; net.core.somaxconn caps it",
    ...count(1, backlogCountMax),
  },
  {
    name: "max-connections",
    key: "connectionCountMax",
    placeholder: "N",
    initial: "0",
    help: "clients at once, waiting ones included; 0 = as many as the descriptor limit allows",
    ...count(0, countMax),
  },
  ...guardRows,
  ...prefaceRows,
  {
    name: "access-log",
    key: "accessLog",
    placeholder: formats.join("|"),
    initial: "logfmt",
    help: "one line per connection on stdout",
    ...choice(formats),
  },
  {
    name: "log-level",
    key: "logLevel",
    placeholder: levels.join("|"),
    initial: "info",
    help: "what is told on stderr",
    ...choice(levels),
  },
] as const satisfies readonly AnyRow[];

/** Options of the whole program that are settings as well: in a file they stand above the listeners. */
export const sharedNames: readonly string[] = ["access-log", "log-level"];
