// The one FIFO over all threads (IAWLB §15, §30–§36: one list, one lock, all workers woken). A client waits in the
// thread that holds its socket; its arrival number is filed on the board, where every thread can read and claim it.
//
//   thread 0   back     [ ]                each thread has two lines: who came back from a failed connect, and who
//              arrived  [ 3 7 8 | 12 ]     arrived; both hold numbers of arrival, the oldest first
//   thread 1   back     [ 2 ]
//              arrived  [ 3 7 8 | 12 ]     arrived; both hold numbers of arrival, oldest first
//
// Whoever has a free slot claims the lowest number over all heads by one compare-and-exchange, and leaves the slot (the
// row of its destination) in the same place: a grant. Only the thread that is meant is woken. Nobody holds a lock.
import { assert } from "./assert.ts";

/** The steps that threads can see of each other; tests put their own in their place. */
export type Memory = Pick<
  typeof Atomics,
  "add" | "and" | "compareExchange" | "exchange" | "load" | "or" | "store" | "sub"
>;

/** Lines of one thread: 0 for who came back, 1 for who arrived. */
export const linesPerThread = 2;

/** What a place says besides its number: a row + 1 when granted, else one of these. */
const noTicket = 0;
const waiting = -1;

/** The part of the board that tickets live in; whole numbers, changed by `Memory` only. */
export interface TicketColumns {
  /** The last number of arrival: one element. */
  readonly arrivals: Int32Array;
  /** By line: the next place to be claimed, and the first that is not published; both run freely in 32 bits. */
  readonly heads: Int32Array;
  readonly tails: Int32Array;
  /** By place, line after line. */
  readonly numbers: Int32Array;
  readonly grants: Int32Array;
  /** By thread: 1 when it has been woken and has not looked yet. */
  readonly woken: Int32Array;
}

/** The most that other threads can see in a line of a lane that is not the first. */
const laneWaiterCountMax = 256;

/**
 * Places in all lines of the first lane, and of each other one. Twice what may wait, so that those of who has left are
 * seldom in the way.
 */
export function placeCountsOf(lineCount: number, waiterCountMax: number): [number, number] {
  const placesFor = (count: number): number => lineCount * 2 ** Math.ceil(Math.log2(2 * count));
  return [placesFor(waiterCountMax), placesFor(Math.min(waiterCountMax, laneWaiterCountMax))];
}

export class Tickets {
  readonly thread: number;
  readonly placesPerLine: number;
  private readonly columns: TicketColumns;
  private readonly memory: Memory;
  private readonly mask: number;
  private readonly lineCount: number;
  private lastOrder = 0;
  /** Wakes a thread that has got a grant. */
  onGrant: (thread: number) => void = () => {};

  constructor(columns: TicketColumns, thread: number, memory: Memory = Atomics) {
    this.columns = columns;
    this.thread = thread;
    this.memory = memory;
    this.lineCount = columns.heads.length;
    this.placesPerLine = columns.numbers.length / this.lineCount;
    this.mask = this.placesPerLine - 1;
    assert((this.placesPerLine & this.mask) === 0, "tickets: places are no power of two");
  }

  /** The next number of arrival, over all threads: 32 bits on the board, extended here so that it never repeats. */
  nextOrder(): number {
    const number = this.memory.add(this.columns.arrivals, 0, 1) + 1;
    this.lastOrder += (number - this.lastOrder) | 0;
    return this.lastOrder;
  }

  /** Somebody waits in some thread and no slot is on its way to them. */
  someoneWaits(): boolean {
    const { heads, tails } = this.columns;
    for (let line = 0; line < this.lineCount; line += 1) {
      if (this.memory.load(heads, line) !== this.memory.load(tails, line)) return true;
    }
    return false;
  }

  /** How many wait so, over all threads. */
  waitingCount(): number {
    const { heads, tails } = this.columns;
    let count = 0;
    for (let line = 0; line < this.lineCount; line += 1) {
      count += (this.memory.load(tails, line) - this.memory.load(heads, line)) >>> 0;
    }
    return count;
  }

  /** Claims the oldest ticket of all threads. @returns its place, or −1 when nobody waits. */
  claimOldest(): number {
    const { heads, tails, numbers } = this.columns;
    for (;;) {
      let oldest = -1;
      let oldestHead = 0;
      let oldestNumber = 0;
      for (let line = 0; line < this.lineCount; line += 1) {
        const head = this.memory.load(heads, line);
        if (head === this.memory.load(tails, line)) continue;
        const number = this.memory.load(numbers, this.placeOf(line, head));
        if (oldest >= 0 && ((number - oldestNumber) | 0) > 0) continue;
        oldest = line;
        oldestHead = head;
        oldestNumber = number;
      }
      if (oldest < 0) return -1;
      if (this.hasOlder(oldest, oldestNumber)) continue;
      // A number read from a place that was used anew meanwhile does no harm: then its head has moved on.
      const next = (oldestHead + 1) | 0;
      if (this.memory.compareExchange(heads, oldest, oldestHead, next) === oldestHead) {
        return this.placeOf(oldest, oldestHead);
      }
    }
  }

  threadOf(place: number): number {
    return Math.floor(place / this.placesPerLine / linesPerThread);
  }

  /** Which of its thread's lines a place belongs to. */
  lineOf(place: number): number {
    return Math.floor(place / this.placesPerLine) % linesPerThread;
  }

  /** Leaves a slot of `row` in a claimed place, and wakes its thread unless somebody else just did. */
  grant(place: number, row: number): void {
    this.memory.store(this.columns.grants, place, row + 1);
    this.wake(this.threadOf(place));
  }

  wake(thread: number): void {
    if (this.memory.exchange(this.columns.woken, thread, 1) === 0) this.onGrant(thread);
  }

  /** Our thread has been woken: what is granted from now on wakes it again. */
  awake(): void {
    this.memory.store(this.columns.woken, this.thread, 0);
  }

  /** Our thread looks by itself until it says `awake` again: nobody needs to wake it. */
  stayAwake(): void {
    this.memory.store(this.columns.woken, this.thread, 1);
  }

  // --- of our own lines

  head(line: number): number {
    return this.memory.load(this.columns.heads, this.own(line));
  }

  tail(line: number): number {
    return this.memory.load(this.columns.tails, this.own(line));
  }

  /** Index of a place among those of its line. */
  indexOf(position: number): number {
    return position & this.mask;
  }

  /** Files a number behind the published ones; nobody sees it yet. */
  file(line: number, position: number, number: number): void {
    const place = this.placeOf(this.own(line), position);
    this.memory.store(this.columns.numbers, place, number);
    this.memory.store(this.columns.grants, place, waiting);
  }

  /** Shows all that was filed up to `tail`: one step for a whole batch (IAWLB §38). */
  publish(line: number, tail: number): void {
    this.memory.store(this.columns.tails, this.own(line), tail);
  }

  /** Claims tickets of our own, from `head` up to `to`. @returns false when another thread was faster. */
  claimOwn(line: number, head: number, to: number): boolean {
    const { heads } = this.columns;
    return this.memory.compareExchange(heads, this.own(line), head, to) === head;
  }

  /** The row that was granted to a place of ours, −1 when none was yet. The place is free afterwards. */
  takeGrant(line: number, position: number): number {
    const place = this.placeOf(this.own(line), position);
    const grant = this.memory.load(this.columns.grants, place);
    if (grant <= noTicket) return -1;
    this.memory.store(this.columns.grants, place, noTicket);
    return grant - 1;
  }

  /** A place of ours that we have claimed ourselves is free again. */
  clear(line: number, position: number): void {
    this.memory.store(this.columns.grants, this.placeOf(this.own(line), position), noTicket);
  }

  /** Lines are read one after the other: one read before the oldest may have got an older ticket since. */
  private hasOlder(lineEnd: number, number: number): boolean {
    const { heads, tails, numbers } = this.columns;
    for (let line = 0; line < lineEnd; line += 1) {
      const head = this.memory.load(heads, line);
      if (head === this.memory.load(tails, line)) continue;
      if (((this.memory.load(numbers, this.placeOf(line, head)) - number) | 0) < 0) return true;
    }
    return false;
  }

  private own(line: number): number {
    return this.thread * linesPerThread + line;
  }

  private placeOf(line: number, position: number): number {
    return line * this.placesPerLine + (position & this.mask);
  }
}
