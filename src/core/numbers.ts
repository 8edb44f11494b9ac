// What one thread counts, on the board: one writer, many readers, plain additions.
import { Histogram, histogramNumberCount, sizeScale } from "./histogram.ts";
import { closeReasons, reasonIndex, type CloseReason } from "./reason.ts";

/**
 * Counters of one thread: one writer, so plain additions. `open`, `queued`, `deadlines`, `prefaces` (connections whose
 * start is being read) and `handshaking` go down as well; `oldestAt` is when the one began to wait that waits longest,
 * 0 = none. `secured`: handshakes that succeeded; `proxied`: clients that a PROXY header told of.
 */
export const counterNames = [
  "accepted",
  "open",
  "queued",
  "waited",
  "connects",
  "connectFailures",
  "localFaults",
  "bytesIn",
  "bytesUp",
  "bytesDown",
  "bytesUndelivered",
  "deadlines",
  "oldestAt",
  "prefaces",
  "handshaking",
  "secured",
  "proxied",
  ...closeReasons.map((reason) => `closed ${reason}` as const),
] as const;
export type CounterName = (typeof counterNames)[number];

const counterIndex = Object.fromEntries(counterNames.map((name, index) => [name, index])) as Record<
  CounterName,
  number
>; // fromEntries forgets the keys it was given
const firstReasonIndex = counterIndex["closed done"];

/** Counters of one thread for one destination. */
const destinationCounters = ["joined", "failures", "bytesUp", "bytesDown"] as const;

/** Times, and with `size` the bytes that a connection has moved in both directions. */
export const histogramNames = [
  "queue",
  "connect",
  "firstByte",
  "session",
  "handOff",
  "size",
] as const;
export type HistogramName = (typeof histogramNames)[number];

/** How many numbers that are, with so many destinations. */
export function threadNumberCount(rows: number): number {
  return (
    counterNames.length +
    histogramNames.length * histogramNumberCount +
    destinationCounters.length * rows
  );
}

/** Counters and histograms of one thread. */
export class ThreadNumbers {
  readonly counters: Float64Array;
  readonly histograms: Readonly<Record<HistogramName, Histogram>>;
  /** By destination row. */
  readonly joined: Float64Array;
  readonly failures: Float64Array;
  readonly bytesUp: Float64Array;
  readonly bytesDown: Float64Array;

  /** @param rows destinations. */
  constructor(numbers: Float64Array, rows: number) {
    let at = 0;
    const next = (count: number) => numbers.subarray(at, (at += count));
    this.counters = next(counterNames.length);
    const histogram = () => new Histogram(next(histogramNumberCount));
    this.histograms = {
      queue: histogram(),
      connect: histogram(),
      firstByte: histogram(),
      session: histogram(),
      handOff: histogram(),
      size: new Histogram(next(histogramNumberCount), sizeScale),
    };
    this.joined = next(rows);
    this.failures = next(rows);
    this.bytesUp = next(rows);
    this.bytesDown = next(rows);
  }

  /** The one cell of a counter, for who changes it more often than it is read. */
  cell(counter: CounterName): Float64Array {
    return this.counters.subarray(counterIndex[counter], counterIndex[counter] + 1);
  }

  get(counter: CounterName): number {
    return this.counters[counterIndex[counter]] ?? 0;
  }

  set(counter: CounterName, value: number): void {
    this.counters[counterIndex[counter]] = value;
  }

  add(counter: CounterName, change: number): void {
    const index = counterIndex[counter];
    this.counters[index] = (this.counters[index] ?? 0) + change;
  }

  addJoined(row: number, connectMs: number): void {
    this.add("connects", 1);
    this.joined[row] = (this.joined[row] ?? 0) + 1;
    this.histograms.connect.add(connectMs);
  }

  addFailure(row: number): void {
    this.add("connectFailures", 1);
    this.failures[row] = (this.failures[row] ?? 0) + 1;
  }

  /** A connection has ended. */
  addEnd(pair: Ended): void {
    const up = pair.up.size;
    const down = pair.down?.size ?? 0;
    this.add("open", -1);
    this.addClosed(pair.reason ?? "error");
    this.add("bytesUp", up);
    this.add("bytesDown", down);
    this.add("bytesIn", pair.up.inSize + (pair.down?.inSize ?? 0));
    this.add("bytesUndelivered", pair.up.undeliveredSize + (pair.down?.undeliveredSize ?? 0));
    this.histograms.session.add(pair.settledAt - pair.acceptedAt);
    this.histograms.size.add(up + down);
    if (pair.joinedAt < 0 || pair.destination === null) return;
    const { row } = pair.destination;
    this.bytesUp[row] = (this.bytesUp[row] ?? 0) + up;
    this.bytesDown[row] = (this.bytesDown[row] ?? 0) + down;
  }

  /** A destination has left its row; nobody writes to it before another one comes. */
  clear(row: number): void {
    for (const column of [this.joined, this.failures, this.bytesUp, this.bytesDown])
      column[row] = 0;
  }

  addClosed(reason: CloseReason): void {
    const index = firstReasonIndex + reasonIndex[reason];
    this.counters[index] = (this.counters[index] ?? 0) + 1;
  }
}

interface EndedFlow {
  readonly inSize: number;
  readonly size: number;
  readonly undeliveredSize: number;
}

/** What is counted of a connection that has ended; a pair is one. */
export interface Ended {
  readonly up: EndedFlow;
  readonly down: EndedFlow | null;
  readonly reason: CloseReason | null;
  readonly acceptedAt: number;
  readonly settledAt: number;
  readonly joinedAt: number;
  readonly destination: { readonly row: number } | null;
}
