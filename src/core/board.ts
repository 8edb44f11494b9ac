// The board: what threads share, in one SharedArrayBuffer. A row per destination, counters and histograms per thread.
// The control plane reads and writes the same memory; nobody sends messages, nobody holds a lock.
import { assert } from "./assert.ts";
import { Histogram, histogramBucketCount } from "./histogram.ts";
import { closeReasons, reasonIndex, type CloseReason } from "./reason.ts";

/** State of a destination as connects show it. Only `up` and `trial` can take a client. */
export const State = {
  up: 0,
  /** A connect failed; a short rest. */
  resting: 1,
  /** Several failed in a row; a longer rest, doubling. */
  out: 2,
  /** The rest is over: one connection may try. */
  trial: 3,
  /** That connection is being dialed. */
  trying: 4,
} as const;
export type State = (typeof State)[keyof typeof State];

/** Columns of whole numbers, one row per destination, changed by `Atomics` only. */
const rowColumns = ["used", "slots", "weight", "enabled", "state", "failures"] as const;

/** Counters of one thread: one writer, so plain additions. `open` and `queued` go down as well. */
export const counterNames = [
  "accepted",
  "open",
  "queued",
  "waited",
  "connects",
  "connectFailures",
  "localFaults",
  "bytesUp",
  "bytesDown",
  "bytesUndelivered",
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

const histogramNames = ["queue", "connect", "firstByte", "session", "handOff"] as const;
type HistogramName = (typeof histogramNames)[number];

export interface BoardSize {
  readonly destinationCountMax: number;
  readonly threadCount: number;
}

export class Board {
  readonly buffer: SharedArrayBuffer;
  readonly size: BoardSize;
  readonly used: Int32Array;
  readonly slots: Int32Array;
  readonly weight: Int32Array;
  readonly enabled: Int32Array;
  readonly state: Int32Array;
  readonly failures: Int32Array;
  /** End of the rest, in ms of the balancer's clock. */
  readonly retryAtMs: Float64Array;

  constructor(size: BoardSize, buffer?: SharedArrayBuffer) {
    assert(size.destinationCountMax >= 1 && size.threadCount >= 1, "board: empty");
    const rows = size.destinationCountMax;
    const bytes =
      8 * rows + 8 * threadNumbers(rows) * size.threadCount + 4 * rowColumns.length * rows;
    this.size = size;
    this.buffer = buffer ?? new SharedArrayBuffer(bytes);
    assert(this.buffer.byteLength === bytes, "board: buffer of another size");
    const firstColumn = 8 * rows + 8 * threadNumbers(rows) * size.threadCount;
    const column = (name: (typeof rowColumns)[number]) =>
      new Int32Array(this.buffer, firstColumn + 4 * rows * rowColumns.indexOf(name), rows);
    this.retryAtMs = new Float64Array(this.buffer, 0, rows);
    this.used = column("used");
    this.slots = column("slots");
    this.weight = column("weight");
    this.enabled = column("enabled");
    this.state = column("state");
    this.failures = column("failures");
  }

  /** The numbers that thread `index` writes and everybody reads. */
  thread(index: number): ThreadNumbers {
    assert(index >= 0 && index < this.size.threadCount, "board: no such thread");
    const count = threadNumbers(this.size.destinationCountMax);
    const first = 8 * this.size.destinationCountMax + 8 * count * index;
    return new ThreadNumbers(new Float64Array(this.buffer, first, count), this.size);
  }

  /** Takes a slot if one is free; never more than `slots` over all threads. 0 slots = no limit. */
  take(row: number): boolean {
    const slots = Atomics.load(this.slots, row);
    if (slots === 0) {
      Atomics.add(this.used, row, 1);
      return true;
    }
    let used = Atomics.load(this.used, row);
    while (used < slots) {
      const seen = Atomics.compareExchange(this.used, row, used, used + 1);
      if (seen === used) return true;
      used = seen;
    }
    return false;
  }

  /** Gives a slot back. */
  give(row: number): void {
    const before = Atomics.sub(this.used, row, 1);
    assert(before > 0, "board: a slot given back twice");
  }
}

function threadNumbers(rows: number): number {
  return (
    counterNames.length +
    histogramNames.length * histogramBucketCount +
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

  constructor(numbers: Float64Array, size: BoardSize) {
    let at = 0;
    const next = (count: number) => numbers.subarray(at, (at += count));
    this.counters = next(counterNames.length);
    const histogram = () => new Histogram(next(histogramBucketCount));
    this.histograms = {
      queue: histogram(),
      connect: histogram(),
      firstByte: histogram(),
      session: histogram(),
      handOff: histogram(),
    };
    this.joined = next(size.destinationCountMax);
    this.failures = next(size.destinationCountMax);
    this.bytesUp = next(size.destinationCountMax);
    this.bytesDown = next(size.destinationCountMax);
  }

  get(counter: CounterName): number {
    return this.counters[counterIndex[counter]] ?? 0;
  }

  add(counter: CounterName, change: number): void {
    const index = counterIndex[counter];
    this.counters[index] = (this.counters[index] ?? 0) + change;
  }

  addClosed(reason: CloseReason): void {
    const index = firstReasonIndex + reasonIndex[reason];
    this.counters[index] = (this.counters[index] ?? 0) + 1;
  }
}
