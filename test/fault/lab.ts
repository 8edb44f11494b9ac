// The fault lab: a case of the catalogue is one fault, provoked by real processes and sockets against the command line
// as a user starts it. Afterwards nothing may be left: every connection ended for a reason, every byte, slot, deadline
// and descriptor accounted for.
//
// `npm test` runs each case in one of four ways, in turn; `npm run faults` runs every case in all four.

import { expect, test } from "bun:test";
import { readdirSync, readlinkSync } from "node:fs";
import type { Status } from "../../src/balancer.ts";
import type { ProgramStatus } from "../../src/control/steering.ts";
import { spawn, toEnded, type Ended } from "../e2e/ways.ts";
import { until, type RunningBalancer, type SpawnOptions } from "../net.ts";

const labWays = [
  { name: "one thread", args: [] },
  { name: "three threads", args: ["--threads", "3"] },
  { name: "libc", args: ["--engine", "libc"] },
  { name: "libc, three threads", args: ["--engine", "libc", "--threads", "3"] },
] as const;

/** `npm run faults`: every case in all ways, and with its full load. */
const runsAll = process.env["IAWLB_FAULTS"] === "all";

/** So many in the full lab, fewer under `npm test`. */
export function sized(all: number, few: number): number {
  return runsAll ? all : few;
}

export interface Lab {
  /** Which of the four ways this is. */
  readonly way: (typeof labWays)[number]["name"];
  readonly threadCount: number;
  readonly engine: "bun" | "libc";
  /** What makes this way, for a case that starts the command line by itself. */
  readonly args: readonly string[];
  /** Starts the balancer with an access log in JSON on a free port of 127.0.0.1; ended with the case. */
  start(args: readonly string[], options?: LabOptions): Promise<Subject>;
}

type LabOptions = SpawnOptions & {
  /** Where to listen, instead of 127.0.0.1:0. */
  readonly listen?: string;
  /** What it says on stderr once all of it is there; descriptors are counted then. */
  readonly ready?: RegExp;
  /** Descriptors that may be closed later: Bun's HTTP server keeps some that were cut for its idle time. */
  readonly lateCount?: number;
};

/** The balancer under fault. */
export interface Subject {
  readonly port: number;
  readonly address: string;
  readonly pid: number;
  readonly process: RunningBalancer;
  readonly stderr: string;
  /** Access lines so far, in the order in which they were written. */
  readonly ended: readonly Ended[];
  /** Asked by SIGUSR1, answered on stderr. */
  status(): Promise<Status>;
  /** Descriptors and deadlines that are there now belong to it: what `settle` compares with. */
  begin(): Promise<void>;
  /** Waits until the status is so. @returns that status. */
  when(isSo: (status: Status) => boolean, what: string, ms?: number): Promise<Status>;
  /**
   * Waits until no connection is open and shows that nothing is left of any; it goes on.
   * @param count connections that have come in all; not compared when it is not given.
   */
  settle(count?: number): Promise<Status>;
  /**
   * Waits until no connection is open, shows that nothing is left, stops it by SIGTERM (exit code 0).
   * @param count connections that have come in all; not compared when it is not given.
   * @returns all access lines by number of arrival.
   */
  finish(count?: number): Promise<readonly Ended[]>;
}

/** A case of the catalogue (perf-reliability.md, section 6); `title` says what must be. */
export function fault(
  number: number,
  title: string,
  body: (lab: Lab) => Promise<void>,
  options: { readonly timeoutMs?: number; readonly skip?: string | null } = {},
): void {
  const ways = runsAll ? labWays : [labWays[number % labWays.length] ?? labWays[0]];
  for (const way of ways) {
    const name = `fault ${number}: ${title}, ${way.name}`;
    if (typeof options.skip === "string") {
      console.log(`skipped: ${name}: ${options.skip}`);
      test.skip(name, () => {});
      continue;
    }
    test(name, () => runCase(way, body), options.timeoutMs ?? 60_000);
  }
}

/** Checks as a user has them, and a line for every client. */
const common = ["--health-interval", "2s", "--refusal-lines", "0"] as const;

async function runCase(way: (typeof labWays)[number], body: (lab: Lab) => Promise<void>) {
  const started: RunningBalancer[] = [];
  const wayArgs: readonly string[] = way.args;
  try {
    await body({
      way: way.name,
      threadCount: wayArgs.includes("--threads") ? 3 : 1,
      engine: wayArgs.includes("libc") ? "libc" : "bun",
      args: wayArgs,
      start: async (args, { ready = /^/, lateCount = 0, ...options } = {}) => {
        const balancing = await spawn([...common, ...wayArgs, ...args], options);
        started.push(balancing.process);
        await until(() => ready.test(balancing.process.stderr), `${ready} on stderr`);
        return subjectOf(balancing.process, lateCount);
      },
    });
  } finally {
    for (const each of started) await each[Symbol.asyncDispose]();
  }
}

async function subjectOf(balancer: RunningBalancer, lateCount: number): Promise<Subject> {
  const status = () => askStatus(balancer);
  const look = async () => ({ fds: descriptors(balancer.pid), status: await status() });
  let before = await look();
  const when: Subject["when"] = (isSo, what, ms = 20_000) =>
    until(
      async () => {
        const now = await status();
        return isSo(now) && now;
      },
      what,
      ms,
    );
  const settle: Subject["settle"] = async (count) => {
    await when((now) => now.open === 0, "no connection is open");
    // After a cooldown and a rest, these too.
    await when((now) => now.destinations.every((each) => each.used === 0), "no slot is taken");
    const restingCount = (now: Status) =>
      now.destinations.filter((each) => each.state !== "up").length;
    await when(
      (now) => now.deadlines <= before.status.deadlines + restingCount(now),
      "no deadline is left of a connection",
    );
    // A thread may lose its core while it counts the last one. In vain: what was lost is told below.
    const counted = await when(isAccounted, "each is counted").catch(status);
    expectAccounted(counted);
    if (count !== undefined) expect(counted.accepted).toBe(count);
    await until(() => {
      const { pipes, others } = descriptors(balancer.pid);
      return others <= before.fds.others + lateCount && pipes <= before.fds.pipes + splicePipesMax;
    }, "descriptors are as before");
    return counted;
  };
  return {
    port: balancer.port,
    address: balancer.address,
    pid: balancer.pid,
    process: balancer,
    settle,
    get stderr() {
      return balancer.stderr;
    },
    get ended() {
      return balancer.stdout.map(toEnded);
    },
    status,
    begin: async () => void (before = await look()),
    when,
    async finish(count) {
      const status = await settle(count);
      await until(() => balancer.stdout.length >= status.accepted, "a line for each connection");
      expect(await balancer.stop()).toBe(0);
      expect(balancer.stdout.length).toBe(status.accepted);
      return balancer.stdout.map(toEnded).toSorted((a, b) => a.id - b.id);
    },
  };
}

/** Connections that are neither open nor closed for a reason, and bytes that came and are nowhere. */
function lostOf(status: Status): { readonly count: number; readonly size: number } {
  const closedCount = Object.values(status.closed).reduce((sum, each) => sum + each, 0);
  return {
    count: status.accepted - status.open - closedCount,
    size: status.bytesIn - status.bytesUp - status.bytesDown - status.bytesUndelivered,
  };
}

function isAccounted(status: Status): boolean {
  const { count, size } = lostOf(status);
  return count === 0 && size === 0;
}

/** accepted = closed by each reason + open; used = what holds slots; bytes in = bytes out + bytes undelivered. */
function expectAccounted(status: Status): void {
  expect(lostOf(status)).toEqual({ count: 0, size: 0 });
  const usedCount = status.destinations.reduce((sum, each) => sum + each.used, 0);
  expect(usedCount).toBeLessThanOrEqual(status.open - status.queue.waiting);
}

/** Both ends of what three threads of the libc engine keep for splicing (src/engine/splice.ts). */
const splicePipesMax = 2 * 3 * 16;

function descriptors(pid: number): { pipes: number; others: number } {
  const count = { pipes: 0, others: 0 };
  for (const fd of readdirSync(`/proc/${pid}/fd`)) {
    try {
      const isPipe = readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith("pipe:");
      count[isPipe ? "pipes" : "others"] += 1;
    } catch {} // closed meanwhile
  }
  return count;
}

/** The answer to one SIGUSR1. */
async function askStatus(balancer: RunningBalancer): Promise<Status> {
  const answers = () => balancer.stderr.match(/^status: .*$/gm) ?? [];
  const count = answers().length;
  process.kill(balancer.pid, "SIGUSR1");
  const answer = await until(() => answers()[count], "the status");
  const said = JSON.parse(answer.slice("status: ".length)) as ProgramStatus; // what the balancer itself writes
  const [listener] = said.listeners;
  if (listener === undefined) throw new Error("no listener");
  return listener;
}
