// What a row of the benches is, how its rounds are interleaved, and how its figures are compared.

import { cpuSecondsBetween, cpuTimes, machineTicks, stealShare } from "./proc.ts";
import type { Load } from "./load.ts";
import { start } from "./programs.ts";
import type { Engine, ProgramName, Running, Setting } from "./programs.ts";
import { median, medianInterval } from "./stats.ts";
import type { Interval } from "./stats.ts";

/** A round in which the host took more than this share of the machine says nothing. */
export const STEAL_SHARE_MAX = 0.02;

export interface Bench {
  readonly load: Load;
  readonly small: boolean;
  /** Rounds asked for on the command line; undefined: each row's own number. */
  readonly rounds: number | undefined;
  /** The programs that are installed, iawlb first. */
  readonly programs: readonly ProgramName[];
  say(line: string): void;
}

export interface Sample {
  /** Such as "64 connections"; "" when the row has only one. */
  readonly condition: string;
  readonly program: string;
  readonly round: number;
  readonly stealShare: number;
  readonly values: Readonly<Record<string, number>>;
}

export interface Measure {
  readonly key: string;
  readonly title: string;
  readonly digits: number;
}

/** "ratio": one median over another; "difference": one less another; "value": a median itself. */
export interface Limit {
  readonly title: string;
  readonly condition: string;
  /** Whose value is judged; absent: iawlb's. */
  readonly program?: string;
  /** The program that a ratio is over, or a difference from; absent: the better one of those that are not ours. */
  readonly over?: string;
  readonly measure: string;
  readonly kind: "ratio" | "difference" | "value";
  readonly sense: "at most" | "at least";
  readonly bound: number;
  readonly unit: string;
}

export interface Row {
  readonly name: string;
  readonly title: string;
  /** How it is measured, in a sentence or two for the report. */
  readonly method: string;
  readonly needs: "load" | "wrk" | "strace" | "nothing";
  readonly measures: readonly Measure[];
  /** Head of a last column with all other values by name; absent: they stay in the raw data. */
  readonly rest?: string;
  readonly limits: readonly Limit[];
  run(bench: Bench): Promise<readonly Sample[]>;
}

export interface Verdict {
  readonly limit: Limit;
  /** Of the judged program; NaN when it was not measured. */
  readonly own: number;
  /** What a ratio is over, or a difference from; "" for a value. */
  readonly peer: string;
  readonly peerValue: number;
  readonly figure: number;
  readonly interval: Interval;
  readonly reached: boolean;
}

/**
 * Runs every program once a round, in turn forwards and backwards (ABBA), so that what drifts over
 * minutes touches all alike.
 */
export async function interleave<Name extends string>(
  bench: Bench,
  names: readonly Name[],
  roundCount: number,
  condition: string,
  measure: (name: Name, round: number) => Promise<Readonly<Record<string, number>>>,
  firstRound = 0,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  const end = firstRound + (bench.rounds ?? roundCount);
  for (let round = firstRound; round < end; round++) {
    for (const program of round % 2 === 0 ? names : names.toReversed()) {
      const before = machineTicks();
      const values = await measure(program, round);
      const stolen = stealShare(before, machineTicks());
      samples.push({ condition, program, round, stealShare: stolen, values });
      bench.say(
        `  ${[condition, program, `round ${round + 1}`].filter(Boolean).join(", ")}: ${show(values)}`,
      );
    }
  }
  return samples;
}

/** Starts a fresh balancer for the length of `body`. */
export async function withProgram<T>(
  bench: Bench,
  name: ProgramName,
  setting: Setting,
  body: (running: Running) => Promise<T>,
  env: Readonly<Record<string, string>> = {},
): Promise<T> {
  await using running = await start(bench.load, name, setting, env);
  return await body(running);
}

/** Processor seconds of the balancer, all its threads and children, while `work` runs. */
export async function metered<T>(
  running: Running,
  work: () => Promise<T>,
): Promise<{ readonly result: T; readonly cpuSeconds: number; readonly mainSeconds: number }> {
  const { pid } = running;
  const before = cpuTimes(pid);
  const result = await work();
  const after = cpuTimes(pid);
  const mainSeconds = ((after.get(pid) ?? 0) - (before.get(pid) ?? 0)) / 1e9;
  return { result, cpuSeconds: cpuSecondsBetween(before, after), mainSeconds };
}

/** Keep-alive requests over so many connections. */
export const KEPT_CONNECTIONS = 32;
/** A balancer that has just started is slower; a small run has no time for it. */
const WARM_SECONDS = 1;

/** Processor time and number of the keep-alive requests that the balancer passes on in `seconds`, after its warm-up. */
export async function meteredRequests(
  bench: Bench,
  running: Running,
  seconds: number,
): Promise<Readonly<Record<"cpuUs" | "perSecond" | "count" | "mainPercent", number>>> {
  if (!bench.small) await bench.load.wrk(running.port, WARM_SECONDS, KEPT_CONNECTIONS);
  const { result, cpuSeconds, mainSeconds } = await metered(running, () =>
    bench.load.wrk(running.port, seconds, KEPT_CONNECTIONS),
  );
  return {
    mainPercent: (100 * mainSeconds) / cpuSeconds,
    cpuUs: (cpuSeconds / result.count) * 1e6,
    perSecond: result.count / result.seconds,
    count: result.count,
  };
}

/** One program's values of one measure, by round; rounds that were stolen from are left out. */
export function valuesOf(
  samples: readonly Sample[],
  condition: string,
  program: string,
  measure: string,
): ReadonlyMap<number, number> {
  const own = samples.filter(
    (sample) => sample.condition === condition && sample.program === program,
  );
  const quiet = own.filter((sample) => sample.stealShare <= STEAL_SHARE_MAX);
  const kept = quiet.length > 0 ? quiet : own;
  return new Map(
    kept.flatMap(({ round, values }) => {
      const value = values[measure];
      return value === undefined || Number.isNaN(value) ? [] : [[round, value] as const];
    }),
  );
}

/** The same limit for both engines, each with a bound of its own. */
export function bothEngines(
  bounds: Readonly<Record<"bun" | "libc", number>>,
  limit: Omit<Limit, "program" | "bound">,
): Limit[] {
  const of = (program: Engine, bound: number): Limit => ({ ...limit, program, bound });
  return [of("iawlb", bounds.bun), of("iawlb libc", bounds.libc)];
}

/** Programs with more words are still ours: "iawlb libc 4 threads". */
export function isOurs(program: string): boolean {
  return /^iawlb\b/.test(program);
}

export function judge(limit: Limit, samples: readonly Sample[]): Verdict {
  const of = (program: string) => valuesOf(samples, limit.condition, program, limit.measure);
  const values = of(limit.program ?? "iawlb");
  const own = median(values.values());
  if (limit.kind === "value") {
    const interval = medianInterval([...values.values()]);
    return {
      limit,
      own,
      peer: "",
      peerValue: NaN,
      figure: own,
      interval,
      reached: holds(limit, own),
    };
  }
  const peer = limit.over ?? betterPeer(limit, samples);
  const other = of(peer);
  const peerValue = median(other.values());
  const compare = (a: number, b: number) => (limit.kind === "ratio" ? a / b : a - b);
  const figures = [...values].flatMap(([round, value]) => {
    const against = other.get(round);
    return against === undefined ? [] : [compare(value, against)];
  });
  const figure = compare(own, peerValue);
  const interval = medianInterval(figures);
  return { limit, own, peer, peerValue, figure, interval, reached: holds(limit, figure) };
}

/** Neither of our engines is the other one's peer. */
function betterPeer(limit: Limit, samples: readonly Sample[]): string {
  const judged = limit.program ?? "iawlb";
  const names = samples.map(({ program }) => program);
  const peers = new Set(names.filter((name) => name !== judged && !isOurs(name)));
  const sign = limit.sense === "at most" ? 1 : -1;
  const known = [...peers].flatMap((name) => {
    const value = median(valuesOf(samples, limit.condition, name, limit.measure).values());
    return Number.isNaN(value) ? [] : [{ name, value: sign * value }];
  });
  return known.toSorted((a, b) => a.value - b.value)[0]?.name ?? "";
}

function holds(limit: Limit, figure: number): boolean {
  return limit.sense === "at most" ? figure <= limit.bound : figure >= limit.bound;
}

function show(values: Readonly<Record<string, number>>): string {
  return Object.entries(values)
    .map(([key, value]) => `${key} ${Number(value.toPrecision(4))}`)
    .join(", ");
}
