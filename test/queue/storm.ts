// A storm: very many clients in waves, more of them than slots, and every fault at once: clients that reset at any
// moment, destinations that are killed and started again, that refuse, swallow, reset, say nothing or half of it. It
// goes against the command line; afterwards the history of the whole run is checked.

import { closeSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Status } from "../../src/balancer.ts";
import type { ProgramStatus } from "../../src/control/steering.ts";
import { toEnded } from "../e2e/ways.ts";
import { blackhole } from "../raw.ts";
import { fdCount, spawnBalancer, type RunningBalancer } from "../run.ts";
import { seeded, until, type Random } from "../wait.ts";
import { Destination } from "./destination.ts";
import { checkHistory } from "./history.ts";
import { lineClockMs, Recorder, usualCourse, type Course, type History } from "./life.ts";
import { Load } from "./load.ts";
import { claimsOf } from "./order.ts";

export interface StormOptions {
  readonly count: number;
  readonly seed: number;
  readonly threadCount: number;
  readonly engine: "bun" | "libc";
  /** Longest wait for a slot. */
  readonly queueMs: number;
  /** Called now and then. */
  readonly onProgress?: (load: Load, destinations: readonly Destination[]) => void;
}

export interface StormSummary {
  readonly seed: number;
  readonly threads: number;
  readonly engine: string;
  readonly policy: string;
  readonly seconds: number;
  readonly connections: number;
  readonly answered: number;
  /** By reason. */
  readonly ended: Readonly<Record<string, number>>;
  /** Connects in vain, of all clients. */
  readonly vain: number;
  readonly waited: number;
  /** Those who waited for longer than a turn: their order is known for certain. */
  readonly waitedLong: number;
  readonly longestWaitMs: number;
  /** Slots that were given while older clients had theirs on the way, in several threads. */
  readonly onTheWay: number;
  /** Times that a destination was killed. */
  readonly kills: number;
  /** By destination: slots, and the most clients that it has served at once. */
  readonly servingMax: readonly string[];
  readonly violations: readonly string[];
}

const slotsOf = [1, 1, 2, 6, 8, 16];
/** Fewer than the kernel holds for the balancer: so each is accepted, sooner or later. */
const waveCountMin = 500;
const waveCountMax = 3_600;
const queueCountMax = 3_200;
const startsPerTurn = 100;
/** On a machine with nothing else to do 20 ms are enough. */
const turnMs = 300;
/** All destinations are gone for so much longer than anybody may wait. */
const blackoutMs = 300;
const limits = [
  ["--queue-max", String(queueCountMax)],
  ["--connect-timeout", "150ms"],
  ["--answer-timeout", "250ms"],
  ["--idle-timeout", "300ms"],
  ["--half-close-timeout", "200ms"],
].flat();
const policies = ["pull", "round-robin", "random", "hash"];

export async function storm(options: StormOptions): Promise<StormSummary> {
  const random = seeded(options.seed);
  const policy = policies[random.int(policies.length)] ?? "pull";
  const startedAt = performance.now();
  using hole = blackhole();
  const destinations = slotsOf.map((slots, n) => new Destination(`d${n}`, slots, random));
  const directory = mkdtempSync(join(tmpdir(), "iawlb-storm-"));
  const records = join(directory, "records");
  const fd = openSync(records, "w");
  try {
    const places = [...destinations.map((each) => each.place), `${hole.address},name=hole,slots=1`];
    const ways = ["--threads", `${options.threadCount}`, "--engine", options.engine];
    const args = [
      ...ways,
      "--policy",
      policy,
      "--queue-timeout",
      `${options.queueMs}ms`,
      ...limits,
    ];
    // Destinations see clients alone, and every client has its line.
    args.push(
      "--health-interval",
      "0",
      "--refusal-lines",
      "0",
      "--access-log",
      "json",
      "127.0.0.1:0",
    );
    await using balancer = await spawnBalancer([...args, ...places], { stdout: fd });
    const before = { fds: fdCount(balancer.pid), deadlines: (await askStatus(balancer)).deadlines };
    const load = new Load(balancer.port, random);
    await run(load, destinations, random, options);
    const wrong = await settle(load, balancer, before);
    const status = await askStatus(balancer);
    const code = await balancer.stop();
    if (code !== 0) wrong.push(`the balancer has ended with ${code}: ${balancer.stderr}`);
    const lost = /.*not written.*|.*internal error.*/.exec(balancer.stderr);
    if (lost !== null) wrong.push(lost[0]);
    const history = historyOf(records, destinations, options, status, load);
    wrong.push(...checkHistory(history));
    const seconds = (performance.now() - startedAt) / 1_000;
    return {
      ...summaryOf(history, options, load, destinations),
      policy,
      seconds,
      violations: wrong,
    };
  } finally {
    closeSync(fd);
    rmSync(directory, { recursive: true, force: true });
    for (const each of destinations) each[Symbol.dispose]();
  }
}

/** Waves until all clients have come and most have gone; destinations die and come back meanwhile. */
async function run(
  load: Load,
  destinations: readonly Destination[],
  random: Random,
  { count, queueMs, onProgress }: StormOptions,
): Promise<void> {
  const timers = new Set<ReturnType<typeof setTimeout>>();
  const after = (ms: number, act: () => void) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
  };
  let isDark = false;
  const strike = () => {
    const victim = destinations[random.int(destinations.length)];
    const upCount = destinations.filter((each) => each.isUp).length;
    if (!isDark && victim !== undefined && upCount > destinations.length / 2) {
      victim.kill();
      after(5 + random.int(500), () => isDark || victim.start());
    }
    after(100 + random.int(500), strike);
  };
  strike();
  const blackout = () => {
    isDark = true;
    for (const each of destinations) each.kill();
    after(queueMs + blackoutMs, () => {
      isDark = false;
      for (const each of destinations) each.start();
    });
  };
  // One blackout in a short run, ten in a long one.
  const calmCount = Math.max(count / 10, 15_000);
  let nextBlackout = calmCount / 2;
  while (load.startedCount < count) {
    const size = waveCountMin + random.int(waveCountMax - waveCountMin);
    const goal = Math.min(count, load.startedCount + size);
    while (load.startedCount < goal) {
      for (let n = 0; n < startsPerTurn && load.startedCount < goal; n += 1) load.start();
      await new Promise<void>((done) => setImmediate(done));
    }
    if (load.startedCount > nextBlackout) {
      nextBlackout += calmCount;
      blackout();
    }
    onProgress?.(load, destinations);
    await until(() => load.openCount < size / 20, "most of a wave have gone", 60_000);
  }
  for (const timer of timers) clearTimeout(timer);
  for (const each of destinations) each.start();
}

/** Waits until all is over. @returns what is not. */
async function settle(
  load: Load,
  balancer: RunningBalancer,
  before: { readonly fds: number; readonly deadlines: number },
): Promise<string[]> {
  const wrong: string[] = [];
  const wait = (isSo: () => boolean | Promise<boolean>, what: string) =>
    until(isSo, what, 30_000).catch((error: Error) => void wrong.push(error.message));
  await wait(() => load.openCount === 0, "every client has seen its end");
  await wait(async () => {
    const { open, destinations, deadlines } = await askStatus(balancer);
    const restingCount = destinations.filter((each) => each.state !== "up").length;
    const isFree = destinations.every((each) => each.used === 0);
    return open === 0 && isFree && deadlines <= before.deadlines + restingCount;
  }, "nothing open, no slot taken, no deadline filed");
  await wait(() => fdCount(balancer.pid) <= before.fds, "descriptors as before");
  if (load.truncatedCount > 0) {
    wrong.push(`${load.truncatedCount} clients were told an end that was a cut`);
  }
  for (const [code, count] of load.failures) wrong.push(`${count} clients could not come: ${code}`);
  return wrong;
}

/** The answer to one SIGUSR1. */
async function askStatus(balancer: RunningBalancer): Promise<Status> {
  const answers = () => balancer.stderr.match(/^status: .*$/gm) ?? [];
  const count = answers().length;
  process.kill(balancer.pid, "SIGUSR1");
  const answer = await until(() => answers()[count], "the status", 30_000);
  const said = JSON.parse(answer.slice("status: ".length)) as ProgramStatus; // what the balancer itself writes
  const [listener] = said.listeners;
  if (listener === undefined) throw new Error("no listener");
  return listener;
}

function historyOf(
  records: string,
  destinations: readonly Destination[],
  { threadCount, queueMs }: StormOptions,
  status: Status,
  { startedCount }: Load,
): History {
  const alwaysDown = [[0, Number.POSITIVE_INFINITY]] as const;
  const hole = { name: "hole", slots: 1, downs: alwaysDown, complaints: [] };
  const course: Course = {
    ...usualCourse,
    threadCount,
    destinations: [...destinations, hole],
    clockMs: lineClockMs,
    turnMs,
    queueMs,
  };
  const recorder = new Recorder(course.destinations.map((each) => each.name));
  for (const line of linesOf(records)) recorder.add(toEnded(line));
  return recorder.history(course, status, startedCount);
}

/** Piece by piece: those of a long storm are too many for one string. */
function* linesOf(path: string): Generator<string> {
  const piece = new Uint8Array(1024 * 1024);
  const decoder = new TextDecoder();
  const fd = openSync(path, "r");
  try {
    let rest = "";
    for (let size = readSync(fd, piece); size > 0; size = readSync(fd, piece)) {
      const lines = (rest + decoder.decode(piece.subarray(0, size), { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      yield* lines;
    }
  } finally {
    closeSync(fd);
  }
}

function summaryOf(
  history: History,
  { seed, threadCount, engine }: StormOptions,
  { answeredCount }: Load,
  destinations: readonly Destination[],
): Omit<StormSummary, "policy" | "seconds" | "violations"> {
  const { lives, reasons, course, status } = history;
  const waits = lives
    .filter((each) => !each.refused && each.vainCount === 0)
    .map((each) => each.waitedTo - each.acceptedAt);
  return {
    seed,
    threads: threadCount,
    engine,
    connections: lives.length,
    answered: answeredCount,
    ended: Object.fromEntries([...reasons].toSorted(([, a], [, b]) => b - a)),
    vain: lives.reduce((sum, each) => sum + each.vainCount, 0),
    waited: status?.queue.waited ?? 0,
    waitedLong: waits.filter((ms) => ms > course.turnMs).length,
    longestWaitMs: Math.round(waits.reduce((most, ms) => Math.max(most, ms), 0)),
    onTheWay: claimsOf(history).length,
    kills: destinations.reduce((sum, each) => sum + each.downs.length, 0),
    servingMax: destinations.map((each) => `${each.name} ${each.servingMax} of ${each.slots}`),
  };
}
