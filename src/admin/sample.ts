// One second in numbers: what has come between two looks at the status, rates and quantiles of that time alone.

import type { ListenerStatus, ProgramStatus } from "../control/steering.ts";
import { refusals } from "../core/reason.ts";
import type { HistogramStatus } from "../status.ts";

export const sampledTimes = ["queue", "connect", "firstByte", "session"] as const;

/** In ms; each the upper edge of a bucket 19 % wide. */
interface Quantiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** Columns, one place per destination: a thousand of them make one line of a few dozen KiB. */
interface DestinationColumns {
  readonly name: readonly string[];
  readonly state: readonly string[];
  readonly mode: readonly string[];
  readonly used: readonly number[];
  /** Now; 0 = no limit. */
  readonly slots: readonly number[];
  readonly connectionsPerSecond: readonly number[];
  /** Both directions, of connections that have ended. */
  readonly bytesPerSecond: readonly number[];
}

export interface ListenerSample {
  readonly name: string;
  /** Waiting ones included. */
  readonly open: number;
  readonly waiting: number;
  readonly oldestMs: number;
  /** Per second, as the two below. */
  readonly accepted: number;
  readonly closed: number;
  /** Turned away before anything was done for them; they are among the closed. */
  readonly refused: number;
  /** Of connections that have ended. */
  readonly bytesUpPerSecond: number;
  readonly bytesDownPerSecond: number;
  /** Null where nothing was observed. */
  readonly times: Readonly<Record<(typeof sampledTimes)[number], Quantiles | null>>;
  readonly destinations: DestinationColumns;
}

export interface Sample {
  /** ms since 1970. */
  readonly at: number;
  readonly listeners: readonly ListenerSample[];
}

/** @param ms from `before` to `after`. */
export function sampleOf(
  before: ProgramStatus,
  after: ProgramStatus,
  at: number,
  ms: number,
): Sample {
  const seconds = Math.max(ms, 1) / 1_000;
  const known = new Map(before.listeners.map((each) => [each.name, each]));
  const listeners = after.listeners.map((each) =>
    listenerSample(known.get(each.name), each, seconds),
  );
  return { at, listeners };
}

/** @param before undefined: it has come since. */
function listenerSample(
  before: ListenerStatus | undefined,
  after: ListenerStatus,
  seconds: number,
): ListenerSample {
  const rate = (read: (status: ListenerStatus) => number): number =>
    perSecond(before === undefined ? 0 : read(before), read(after), seconds);
  const time = (name: (typeof sampledTimes)[number]): Quantiles | null =>
    quantilesOf(before?.histograms[name], after.histograms[name]);
  return {
    name: after.name,
    open: after.open,
    waiting: after.queue.waiting,
    oldestMs: rounded(after.queue.oldestMs),
    accepted: rate((status) => status.accepted),
    closed: rate((status) => closedCount(status, false)),
    refused: rate((status) => closedCount(status, true)),
    bytesUpPerSecond: rate((status) => status.bytesUp),
    bytesDownPerSecond: rate((status) => status.bytesDown),
    times: {
      queue: time("queue"),
      connect: time("connect"),
      firstByte: time("firstByte"),
      session: time("session"),
    },
    destinations: columnsOf(before, after, seconds),
  };
}

function closedCount({ closed }: ListenerStatus, refusedAlone: boolean): number {
  let sum = 0;
  for (const [reason, count] of Object.entries(closed)) {
    const isRefusal = (refusals as ReadonlySet<string>).has(reason); // asked whether it is one of them
    if (!refusedAlone || isRefusal) sum += count;
  }
  return sum;
}

function columnsOf(
  before: ListenerStatus | undefined,
  { destinations: rows }: ListenerStatus,
  seconds: number,
): DestinationColumns {
  // One that leaves may have the name of another one that has come since.
  const earlierRows = before?.destinations ?? [];
  const known = new Map(earlierRows.map((each) => [each.name, each]));
  const leaving = new Map(
    earlierRows.filter(({ mode }) => mode === "leaving").map((each) => [each.name, each]),
  );
  const column = <T>(read: (row: (typeof rows)[number]) => T): T[] => rows.map(read);
  const rate = (read: (row: (typeof rows)[number]) => number): number[] =>
    rows.map((row) => {
      const gone = row.mode === "leaving" ? leaving.get(row.name) : undefined;
      const earlier = gone ?? known.get(row.name);
      return perSecond(earlier === undefined ? 0 : read(earlier), read(row), seconds);
    });
  return {
    name: column((row) => row.name),
    state: column((row) => row.state),
    mode: column((row) => row.mode),
    used: column((row) => row.used),
    slots: column((row) => row.slotsNow),
    connectionsPerSecond: rate((row) => row.connections),
    bytesPerSecond: rate((row) => row.bytesUp + row.bytesDown),
  };
}

/** A count that has become less belongs to another of the same name, which began at 0. */
function perSecond(before: number, after: number, seconds: number): number {
  return rounded((after < before ? after : after - before) / seconds);
}

/** A tenth is enough for a picture, and half as long in JSON. */
function rounded(value: number): number {
  return Math.round(value * 10) / 10;
}

function quantilesOf(
  before: HistogramStatus | undefined,
  after: HistogramStatus,
): Quantiles | null {
  const earlier = new Map(before?.buckets);
  const fresh: [edge: number, count: number][] = [];
  let total = 0;
  for (const [edge, count] of after.buckets) {
    const more = count - (earlier.get(edge) ?? 0);
    if (more <= 0) continue;
    fresh.push([edge, more]);
    total += more;
  }
  if (total === 0) return null;
  const quantile = (q: number): number => {
    let rank = Math.ceil(q * total);
    for (const [edge, count] of fresh) {
      rank -= count;
      if (rank <= 0) return Math.round(edge * 1_000) / 1_000;
    }
    return 0; // the ranks add up to the total
  };
  return { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) };
}
