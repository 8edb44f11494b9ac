// What a balancer says of itself: the board as a plain object (IAWLB §10, whose status nobody read).
import { formatAddress, type DestinationOptions, type Options } from "./control/options.ts";
import { routeKeyOf } from "./control/routes.ts";
import type { Mode } from "./control/steering.ts";
import { State, type Board } from "./core/board.ts";
import { faultCodes } from "./core/fault.ts";
import { bucketEdge, Histogram, sizeScale, timeScale } from "./core/histogram.ts";
import { histogramNames, type CounterName, type HistogramName } from "./core/numbers.ts";
import { closeReasons, type CloseReason } from "./core/reason.ts";

export interface DestinationStatus {
  readonly name: string;
  /** As it was given: `10.0.0.5:80`, `db:5432`, `unix:/path`. */
  readonly address: string;
  /** What it may be given; `leaving`: it is gone, and its last pairs go on. */
  readonly mode: Mode | "leaving";
  /** `out` and `trial`: connects have failed; `down`: health checks have. */
  readonly state: "up" | "resting" | "out" | "trial" | "down" | "unresolved";
  readonly used: number;
  readonly slots: number;
  /** Fewer while it starts slowly. */
  readonly slotsNow: number;
  readonly weight: number;
  readonly backup: boolean;
  /** By what it is chosen: `sni=a.example alpn=h2`, `plain`; "" = by default. */
  readonly route: string;
  /** What it is told of its clients. */
  readonly proxy: DestinationOptions["proxy"];
  readonly tls: boolean;
  readonly connections: number;
  readonly failures: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Times it was put out or taken down, and why the last connect failed ("" = none did). */
  readonly outCount: number;
  readonly lastFault: string;
  /** Why the last health check failed; "" = it passed, or there was none. */
  readonly checkFault: string;
}

/** Milliseconds; null when nothing was observed. Each is the upper edge of a bucket 19 % wide. */
export interface TimeStatus {
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p99: number | null;
}

/** All observations since the start: times in ms, `size` in bytes. */
export interface HistogramStatus {
  readonly count: number;
  readonly sum: number;
  /** Upper edge and count of each bucket that is not empty; the last of 128 has all beyond, too. */
  readonly buckets: readonly (readonly [edge: number, count: number])[];
}

export interface CertificateStatus {
  /** As it was given. */
  readonly file: string;
  readonly names: readonly string[];
  /** ms since 1970. */
  readonly notAfter: number;
}

export interface Status {
  readonly addresses: readonly string[];
  readonly policy: Options["policy"];
  readonly threadCount: number;
  readonly engine: Options["engine"];
  /** By data-plane thread. */
  readonly threads: readonly { readonly accepted: number; readonly open: number }[];
  readonly accepted: number;
  /** Open now, waiting ones included. */
  readonly open: number;
  readonly connectionCountMax: number;
  readonly queue: {
    readonly waiting: number;
    /** Age of the one that waits longest. */
    readonly oldestMs: number;
    /** Connections that had to wait, since the start. */
    readonly waited: number;
    readonly countMax: number;
  };
  /** The start of connections, where it is read. */
  readonly preface: {
    /** Being read now, handshakes included, and handshakes in progress. */
    readonly open: number;
    readonly handshaking: number;
    /** Since the start: handshakes that succeeded, and clients that a PROXY header told of. */
    readonly secured: number;
    readonly proxied: number;
  };
  /** Of TLS that ends here. */
  readonly certificates: readonly CertificateStatus[];
  readonly closed: Readonly<Record<CloseReason, number>>;
  /** From both sides; equals `bytesUp` + `bytesDown` + `bytesUndelivered`. Of connections that have ended. */
  readonly bytesIn: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly bytesUndelivered: number;
  /** Deadlines that are filed: of connections, and of destinations at rest. */
  readonly deadlines: number;
  readonly localFaults: number;
  readonly times: Readonly<
    Record<"queue" | "connect" | "firstByte" | "session" | "handOff", TimeStatus>
  >;
  readonly histograms: Readonly<Record<HistogramName, HistogramStatus>>;
  readonly destinations: readonly DestinationStatus[];
}

/** A destination in its row of the board. */
interface StatusRow {
  readonly row: number;
  readonly options: DestinationOptions;
  readonly mode: Mode;
  readonly isLeaving: boolean;
}

export function statusOf(
  board: Board,
  rows: readonly StatusRow[],
  addresses: readonly string[],
  { options, certificates }: { options: Options; certificates: readonly CertificateStatus[] },
  nowMs: number,
  checkFaultOf: (row: number) => string,
): Status {
  const threads = Array.from({ length: board.size.threadCount }, (_, each) => board.thread(each));
  const sum = (counter: CounterName): number =>
    threads.reduce((total, each) => total + each.get(counter), 0);
  const oldestAts = threads.map((each) => each.get("oldestAt")).filter((at) => at > 0);
  const histograms = Object.fromEntries(
    histogramNames.map((name) => [name, Histogram.sum(threads.map((t) => t.histograms[name]))]),
  ) as Record<HistogramName, Histogram>; // fromEntries forgets the keys it was given
  const times = (name: keyof Status["times"]): TimeStatus => {
    const all = histograms[name];
    return { p50: all.quantile(0.5), p90: all.quantile(0.9), p99: all.quantile(0.99) };
  };
  const closed = closeReasons.map((reason) => [reason, sum(`closed ${reason}`)]);
  return {
    addresses,
    policy: options.policy,
    threadCount: options.threadCount,
    engine: options.engine,
    threads: threads.map((each) => ({ accepted: each.get("accepted"), open: each.get("open") })),
    accepted: sum("accepted"),
    open: sum("open"),
    connectionCountMax: options.connectionCountMax,
    queue: {
      waiting: sum("queued"),
      oldestMs: oldestAts.length === 0 ? 0 : Math.max(0, nowMs - Math.min(...oldestAts)),
      waited: sum("waited"),
      countMax: options.queueCountMax,
    },
    preface: {
      open: sum("prefaces"),
      handshaking: sum("handshaking"),
      secured: sum("secured"),
      proxied: sum("proxied"),
    },
    certificates,
    closed: Object.fromEntries(closed) as Record<CloseReason, number>, // the keys are the reasons
    bytesIn: sum("bytesIn"),
    bytesUp: sum("bytesUp"),
    bytesDown: sum("bytesDown"),
    bytesUndelivered: sum("bytesUndelivered"),
    deadlines: sum("deadlines"),
    localFaults: sum("localFaults"),
    times: {
      queue: times("queue"),
      connect: times("connect"),
      firstByte: times("firstByte"),
      session: times("session"),
      handOff: times("handOff"),
    },
    histograms: Object.fromEntries(
      histogramNames.map((name) => [name, histogramStatus(histograms[name], name)]),
    ) as Status["histograms"], // fromEntries forgets the keys it was given
    destinations: rows.map(({ row, options: each, mode, isLeaving }) => {
      const { name, address, backup, proxy, tls } = each;
      const of = (column: "joined" | "failures" | "bytesUp" | "bytesDown"): number =>
        threads.reduce((total, each) => total + (each[column][row] ?? 0), 0);
      return {
        name,
        address: formatAddress(address),
        mode: isLeaving ? "leaving" : mode,
        state: board.resolved[row] === 1 ? stateName(board.state[row] ?? 0) : "unresolved",
        used: board.used[row] ?? 0,
        slots: board.slotsFull[row] ?? 0,
        slotsNow: board.slots[row] ?? 0,
        weight: board.weight[row] ?? 0,
        backup,
        route: routeKeyOf(each),
        proxy,
        tls,
        connections: of("joined"),
        failures: of("failures"),
        bytesUp: of("bytesUp"),
        bytesDown: of("bytesDown"),
        outCount: board.outCount[row] ?? 0,
        lastFault: faultCodes[board.lastFault[row] ?? 0] ?? "",
        checkFault: checkFaultOf(row),
      };
    }),
  };
}

function histogramStatus(all: Histogram, name: HistogramName): HistogramStatus {
  const scale = name === "size" ? sizeScale : timeScale;
  const buckets: [number, number][] = [];
  let total = 0;
  for (const [bucket, count] of all.counts.entries()) {
    total += count;
    if (count > 0) buckets.push([bucketEdge(bucket, scale), count]);
  }
  return { count: total, sum: all.total, buckets };
}

function stateName(state: number): DestinationStatus["state"] {
  if (state === State.up) return "up";
  if (state === State.resting) return "resting";
  if (state === State.down) return "down";
  return state === State.out ? "out" : "trial";
}
