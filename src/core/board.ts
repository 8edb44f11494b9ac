// The board: what threads share, in one SharedArrayBuffer. A row per destination, counters and histograms per thread.
// The control plane reads and writes the same memory; nobody sends messages, nobody holds a lock.
import { assert } from "./assert.ts";
import { ThreadNumbers, threadNumberCount } from "./numbers.ts";
import { linesPerThread, placeCountsOf, type Memory, type TicketColumns } from "./tickets.ts";

/** State of a destination as connects and health checks show it. Only `up` and `trial` can take a client. */
export const State = {
  up: 0,
  /** A connect failed; a short rest. */
  resting: 1,
  /** Several failed in a row; a longer rest, doubling. */
  out: 2,
  /** The rest is over: one connection may try. */
  trial: 3,
  /** That connection is being dialed, or has not shown yet that it holds. */
  trying: 4,
  /** Its health checks have failed: only they bring it back. */
  down: 5,
} as const;
export type State = (typeof State)[keyof typeof State];

/** Columns of whole numbers, one row per destination, changed by `Atomics` only. */
const rowColumns = [
  "used",
  "slots",
  "slotsFull",
  "share",
  "weight",
  "enabled",
  "state",
  "resolved",
  "failures",
  "outCount",
  "lastFault",
  "closeAt",
  "lane",
] as const;

/** Columns of times, one row per destination. */
const doublesPerRow = 4;
/** The longest from one pair that is closed for others to the next. */
export const closeMsMax = 3_600_000;
/** The share of weight 1. */
export const fullShare = 100;

/** Numbers and flags of the whole machine, exact over all threads. `changes`: of any destination's state. */
const machineNames = ["arrivals", "open", "queued", "changes", "queueFull"] as const;
type MachineName = (typeof machineNames)[number];
const machineIndex = Object.fromEntries(machineNames.map((name, index) => [name, index])) as Record<
  MachineName,
  number
>; // fromEntries forgets the keys it was given

/** What is told once per episode, whichever thread it happens in. */
const episodeNames = ["queueRefused", "limitRefused", "localFault"] as const;
type EpisodeName = (typeof episodeNames)[number];

export interface BoardSize {
  readonly destinationCountMax: number;
  readonly threadCount: number;
  /** Clients in one line of a thread that other threads can see; more wait behind them. */
  readonly waiterCountMax: number;
  /** Queues apart from each other, each with destinations of its own; 1 if not given. */
  readonly laneCount?: number;
}

export class Board {
  readonly buffer: SharedArrayBuffer;
  readonly size: BoardSize;
  readonly used: Int32Array;
  /** Slots now, and when no slow start is under way. 0 = no limit. */
  readonly slots: Int32Array;
  readonly slotsFull: Int32Array;
  /** Hundredths of a weight that count now; 100 times `weight` when no slow start is under way. */
  readonly share: Int32Array;
  readonly weight: Int32Array;
  readonly enabled: Int32Array;
  readonly state: Int32Array;
  readonly failures: Int32Array;
  /** Times it was put out. */
  readonly outCount: Int32Array;
  /** Why the last connect failed: a place in `faultCodes`. */
  readonly lastFault: Int32Array;
  readonly resolved: Int32Array;
  /** When its next pair may be closed for others, in ms of the balancer's clock, modulo 2^32; 0 = nobody has asked. */
  readonly closeAt: Int32Array;
  /** When a slot was freed that is on its way to another thread, in ms of the balancer's clock. */
  readonly freedAtMs: Float64Array;
  /** When a slow start began, in ms of the balancer's clock; 0 = none is under way. */
  readonly slowFromMs: Float64Array;
  /** When a connect last succeeded, in ms of the balancer's clock; 0 = never. */
  readonly provenAtMs: Float64Array;
  /** End of the rest, in ms of the balancer's clock. */
  readonly retryAtMs: Float64Array;
  /** When something last happened that is told once per episode, in ms of the balancer's clock. */
  readonly episodes: Float64Array;
  readonly machine: Int32Array;
  /** By lane; and of the first one. */
  readonly lanes: readonly TicketColumns[];
  readonly ticketColumns: TicketColumns;
  /** By thread and row: slots that this thread holds; given back for it when it dies. One writer each. */
  readonly held: readonly Int32Array[];
  /** Number of the lane that it serves. */
  readonly lane: Int32Array;
  /** By lane and row: a hint that it can take clients, for threads that know it as full or out. */
  readonly freeBits: Int32Array;
  private readonly wordCount: number;
  readonly memory: Memory;

  constructor(size: BoardSize, buffer?: SharedArrayBuffer, memory: Memory = Atomics) {
    const { destinationCountMax: rows, threadCount, waiterCountMax, laneCount = 1 } = size;
    assert(rows >= 1 && threadCount >= 1 && waiterCountMax >= 1 && laneCount >= 1, "board: empty");
    const lineCount = threadCount * linesPerThread;
    const [placeCount, laneSize] = placeCountsOf(lineCount, waiterCountMax);
    this.wordCount = Math.ceil(rows / 32);
    const doubles =
      doublesPerRow * rows + episodeNames.length + threadNumberCount(rows) * threadCount;
    const whole =
      rowColumns.length * rows +
      machineNames.length +
      laneCount * this.wordCount +
      threadCount * (rows + 1) +
      2 * laneCount * lineCount +
      2 * (placeCount + (laneCount - 1) * laneSize);
    this.size = size;
    this.memory = memory;
    this.buffer = buffer ?? new SharedArrayBuffer(8 * doubles + 4 * whole);
    assert(this.buffer.byteLength === 8 * doubles + 4 * whole, "board: buffer of another size");
    this.retryAtMs = new Float64Array(this.buffer, 0, rows);
    this.freedAtMs = new Float64Array(this.buffer, 8 * rows, rows);
    this.slowFromMs = new Float64Array(this.buffer, 16 * rows, rows);
    this.provenAtMs = new Float64Array(this.buffer, 24 * rows, rows);
    this.episodes = new Float64Array(this.buffer, 8 * doublesPerRow * rows, episodeNames.length);
    let at = 8 * doubles;
    const next = (length: number): Int32Array => {
      const column = new Int32Array(this.buffer, at, length);
      at += 4 * length;
      return column;
    };
    this.used = next(rows);
    this.slots = next(rows);
    this.slotsFull = next(rows);
    this.share = next(rows);
    this.weight = next(rows);
    this.enabled = next(rows);
    this.state = next(rows);
    this.resolved = next(rows);
    this.failures = next(rows);
    this.outCount = next(rows);
    this.lastFault = next(rows);
    this.closeAt = next(rows);
    this.lane = next(rows);
    this.machine = next(machineNames.length);
    this.freeBits = next(laneCount * this.wordCount);
    this.held = Array.from({ length: threadCount }, () => next(rows));
    const arrivals = this.machine.subarray(machineIndex.arrivals, machineIndex.arrivals + 1);
    const woken = next(threadCount);
    const lane = (size: number): TicketColumns => ({
      arrivals,
      woken,
      heads: next(lineCount),
      tails: next(lineCount),
      numbers: next(size),
      grants: next(size),
    });
    this.ticketColumns = lane(placeCount);
    const others = Array.from({ length: laneCount - 1 }, () => lane(laneSize));
    this.lanes = [this.ticketColumns, ...others];
  }

  /** Writes what a destination is to a row that is new or free. @param resolved it has an address. */
  fill(
    row: number,
    slots: number,
    weight: number,
    resolved: boolean,
    enabled = true,
    lane = 0,
  ): void {
    this.lane[row] = lane;
    this.slots[row] = slots;
    this.slotsFull[row] = slots;
    this.share[row] = weight * fullShare;
    this.weight[row] = weight;
    this.enabled[row] = enabled ? 1 : 0;
    if (resolved) this.setResolved(row, true);
  }

  /** Its slots and its weight change while it serves; one that starts slowly goes on from where it is. */
  resize(row: number, slots: number, weight: number): void {
    const { memory } = this;
    const now = this.slots[row] ?? 0;
    const isSlow = (this.slowFromMs[row] ?? 0) > 0;
    const isPart = isSlow && slots > 0 && now > 0;
    this.slotsFull[row] = slots;
    this.weight[row] = weight;
    memory.store(this.slots, row, isPart ? Math.min(now, slots) : slots);
    if (!isSlow) memory.store(this.share, row, weight * fullShare);
    this.markFree(row);
  }

  /** Whether it gets new connections; set by the control plane. */
  setEnabled(row: number, enabled: boolean): void {
    this.memory.store(this.enabled, row, enabled ? 1 : 0);
    this.addTotal("changes", 1);
    if (enabled) this.markFree(row);
  }

  /** Nobody has anything of this row any more: it is as on a new board. */
  clear(row: number): void {
    assert(this.memory.load(this.used, row) === 0, "board: a row in use is cleared");
    for (const name of rowColumns) this.memory.store(this[name], row, 0);
    for (const times of [this.retryAtMs, this.freedAtMs, this.slowFromMs, this.provenAtMs]) {
      times[row] = 0;
    }
    for (let each = 0; each < this.size.threadCount; each += 1) this.thread(each).clear(row);
  }

  /** From now on pairs of it may be closed, each a while after the one before. */
  startClosing(row: number, nowMs: number): void {
    const at = this.memory.load(this.closeAt, row);
    const waitMs = (at - Math.floor(nowMs)) | 0;
    const isUnderWay = at !== 0 && waitMs > 0 && waitMs <= closeMsMax;
    if (!isUnderWay) this.memory.store(this.closeAt, row, Math.floor(nowMs));
  }

  /** Asks for the turn to close a pair of it, `intervalMs` after the last over all threads. @returns ms to wait; 0: now. */
  waitToClose(row: number, nowMs: number, intervalMs: number): number {
    const now = Math.floor(nowMs);
    for (;;) {
      const at = this.memory.load(this.closeAt, row);
      const waitMs = (at - now) | 0;
      if (waitMs > 0) return waitMs;
      const next = now + intervalMs;
      if (this.memory.compareExchange(this.closeAt, row, at, next) === at) return 0;
    }
  }

  /** The numbers that thread `index` writes and everybody reads. */
  thread(index: number): ThreadNumbers {
    assert(index >= 0 && index < this.size.threadCount, "board: no such thread");
    const rows = this.size.destinationCountMax;
    const count = threadNumberCount(rows);
    const first = 8 * (doublesPerRow * rows + episodeNames.length + count * index);
    return new ThreadNumbers(new Float64Array(this.buffer, first, count), rows);
  }

  /** Takes a slot if one is free; never more than `slots` over all threads. 0 slots = no limit. */
  take(row: number): boolean {
    const { memory, used } = this;
    const slots = memory.load(this.slots, row);
    if (slots === 0) {
      memory.add(used, row, 1);
      return true;
    }
    let seen = memory.load(used, row);
    while (seen < slots) {
      const before = memory.compareExchange(used, row, seen, seen + 1);
      if (before === seen) return true;
      seen = before;
    }
    return false;
  }

  /** Gives a slot back. */
  give(row: number): void {
    const before = this.memory.sub(this.used, row, 1);
    assert(before > 0, "board: a slot given back twice");
    if (before === this.memory.load(this.slots, row)) this.markFree(row);
  }

  /** A destination can take clients again: threads that know it as full or out shall look. */
  markFree(row: number): void {
    const first = (this.lane[row] ?? 0) * this.wordCount;
    this.memory.or(this.freeBits, first + (row >>> 5), 1 << (row & 31));
  }

  /** It can take a client now: known, enabled, not out, and a slot is free. */
  isFree(row: number): boolean {
    const { memory } = this;
    const state = memory.load(this.state, row);
    if (state !== State.up && state !== State.trial) return false;
    if (!this.isKnown(row)) return false;
    const slots = memory.load(this.slots, row);
    return slots === 0 || memory.load(this.used, row) < slots;
  }

  /** Finds a marked destination that is free and wanted; takes the mark from those that are not free. −1: none. */
  findFree(isWanted: (row: number) => boolean, lane = 0): number {
    const { memory, freeBits, wordCount } = this;
    const first = lane * wordCount;
    for (let word = 0; word < wordCount; word += 1) {
      for (let bits = memory.load(freeBits, first + word); bits !== 0; bits &= bits - 1) {
        const bit = 31 - Math.clz32(bits & -bits);
        const row = word * 32 + bit;
        if (!this.isFree(row)) {
          memory.and(freeBits, first + word, ~(1 << bit));
          if (!this.isFree(row)) continue;
          memory.or(freeBits, first + word, 1 << bit); // freed between the two looks
        }
        if (isWanted(row)) return row;
      }
    }
    return -1;
  }

  /** Adds to a number of the whole machine. @returns what it is then. */
  addTotal(name: MachineName, change: number): number {
    return this.memory.add(this.machine, machineIndex[name], change) + change;
  }

  total(name: MachineName): number {
    return this.memory.load(this.machine, machineIndex[name]);
  }

  /** Sets a flag of the whole machine. @returns true when this call has changed it. */
  setFlag(name: MachineName, on: boolean): boolean {
    const [before, after] = on ? [0, 1] : [1, 0];
    const at = machineIndex[name];
    return this.memory.compareExchange(this.machine, at, before, after) === before;
  }

  stateOf(row: number): State {
    return this.memory.load(this.state, row) as State; // only states are stored there
  }

  /** Moves a destination from one state to another. @returns false when another thread was faster. */
  changeState(row: number, from: State, to: State): boolean {
    if (this.memory.compareExchange(this.state, row, from, to) !== from) return false;
    this.addTotal("changes", 1);
    if (to === State.up || to === State.trial) this.markFree(row);
    return true;
  }

  /** Its health checks have failed. @returns the state it was in, `down` when they had before. */
  takeDown(row: number): State {
    for (;;) {
      const from = this.stateOf(row);
      if (from === State.down || this.changeState(row, from, State.down)) return from;
    }
  }

  /** Failed connects in a row. @returns how many these are now. */
  addFailure(row: number): number {
    return this.memory.add(this.failures, row, 1) + 1;
  }

  /** @returns how many there were. */
  clearFailures(row: number): number {
    return this.memory.exchange(this.failures, row, 0);
  }

  addOut(row: number): void {
    this.memory.add(this.outCount, row, 1);
  }

  /** Whether its name has an address; set by the control plane. */
  setResolved(row: number, resolved: boolean): void {
    this.memory.store(this.resolved, row, resolved ? 1 : 0);
    this.addTotal("changes", 1);
    if (resolved) this.markFree(row);
  }

  /** Neither out nor without an address; a trial that is still to be won counts as out. */
  isUp(row: number): boolean {
    const state = this.stateOf(row);
    return (state === State.up || state === State.resting) && this.isKnown(row);
  }

  /** Enabled, and its name has an address. */
  private isKnown(row: number): boolean {
    const { memory } = this;
    return memory.load(this.enabled, row) === 1 && memory.load(this.resolved, row) === 1;
  }

  /** @returns true when it has not happened for so long. */
  isOver(name: EpisodeName, nowMs: number, episodeMs: number): boolean {
    return nowMs - (this.episodes[episodeNames.indexOf(name)] ?? 0) > episodeMs;
  }

  /** Notes that something has happened now. @returns true when that was not so within `episodeMs`. */
  isNews(name: EpisodeName, nowMs: number, episodeMs: number): boolean {
    const at = episodeNames.indexOf(name);
    const before = this.episodes[at] ?? 0;
    this.episodes[at] = nowMs;
    return before === 0 || nowMs - before > episodeMs;
  }
}
