// States of an interleaving, packed into words: the nodes of the threads, then what is written of shared memory, a byte
// each. And the table in which each state is held once, with the way it was reached.
import { assert } from "../../src/core/assert.ts";
import { slotCountMax, type Op } from "./replay.ts";

/** One state, to be changed. */
export class Packed {
  readonly words = new Int32Array(slotCountMax);
  private readonly initial: Int32Array;
  /** By slot: its word, 0 = it is never written; and where in it. */
  private readonly wordOf = new Int32Array(slotCountMax);
  private readonly shiftOf = new Int32Array(slotCountMax);

  constructor(initial: Int32Array, written: readonly number[], threadCount: number) {
    this.initial = initial;
    written.forEach((slot, n) => {
      this.wordOf[slot] = threadCount + (n >> 2);
      this.shiftOf[slot] = 8 * (n & 3);
    });
  }

  get(slot: number): number {
    const first = this.initial[slot] ?? 0;
    const word = this.wordOf[slot] ?? 0;
    if (word === 0) return first;
    return first + (((this.words[word] ?? 0) << (24 - (this.shiftOf[slot] ?? 0))) >> 24);
  }

  set(slot: number, to: number): void {
    const value = to - (this.initial[slot] ?? 0);
    const word = this.wordOf[slot] ?? 0;
    const shift = this.shiftOf[slot] ?? 0;
    if (word === 0) return; // learned just now: the search begins anew
    assert(value >= -128 && value < 128, "packed: a number is too large for its byte");
    this.words[word] = ((this.words[word] ?? 0) & ~(255 << shift)) | ((value & 255) << shift);
  }

  /** Does a step. @returns its result. */
  perform({ kind, slot, a, b }: Op, notified: readonly number[]): number {
    if (kind === "notify") {
      this.set(notified[slot] ?? 0, 1);
      return 0;
    }
    const before = this.get(slot);
    if (kind === "load" || kind === "choose") return before;
    if (kind === "compareExchange") {
      if (before === a) this.set(slot, b);
      return before;
    }
    this.set(slot, changed(kind, before, a));
    return kind === "store" ? 0 : before;
  }
}

function changed(kind: Op["kind"], before: number, by: number): number {
  if (kind === "add") return before + by;
  if (kind === "sub") return before - by;
  if (kind === "and") return before & by;
  return kind === "or" ? before | by : by;
}

/** All states found, in the order in which they were. */
export class States {
  count = 0;
  private readonly size: number;
  private words = new Int32Array(0);
  private parents = new Int32Array(2 ** 16);
  private vias = new Int32Array(2 ** 16);
  /** By state: what the search knows of it. */
  private marks = new Int8Array(2 ** 16);
  private table = new Int32Array(2 ** 19).fill(-1);

  /** @param size words of a state. */
  constructor(size: number) {
    this.size = size;
    this.words = new Int32Array(size * 2 ** 16);
  }

  /** Files a state, which was reached from `parent` by the step `via`. @returns its place, −1 when it was known. */
  add(state: Int32Array, parent: number, via: number): number {
    if (2 * this.count >= this.table.length) this.grow();
    const at = this.placeOf(state, 0);
    if ((this.table[at] ?? -1) >= 0) return -1;
    this.table[at] = this.count;
    return this.append(state, parent, via);
  }

  /** The same of one that is not to be found again. */
  append(state: Int32Array, parent: number, via: number): number {
    const { count, size } = this;
    if (count === this.parents.length) {
      this.parents = grown(this.parents);
      this.vias = grown(this.vias);
      this.words = grown(this.words);
      const marks = new Int8Array(2 * count);
      marks.set(this.marks);
      this.marks = marks;
    }
    const { words } = this;
    for (let n = 0, to = count * size; n < size; n += 1) words[to + n] = state[n] ?? 0;
    this.parents[count] = parent;
    this.vias[count] = via;
    this.count += 1;
    return count;
  }

  word(at: number, n: number): number {
    return this.words[at * this.size + n] ?? 0;
  }

  copyTo(at: number, state: Int32Array): void {
    const { words, size } = this;
    for (let n = 0, from = at * size; n < size; n += 1) state[n] = words[from + n] ?? 0;
  }

  mark(at: number, mark: number): void {
    this.marks[at] = mark;
  }

  markOf(at: number): number {
    return this.marks[at] ?? 0;
  }

  /** The steps that led to a state. */
  wayTo(at: number): number[] {
    const vias: number[] = [];
    for (let n = at; (this.parents[n] ?? -1) >= 0; n = this.parents[n] ?? -1) {
      vias.push(this.vias[n] ?? 0);
    }
    return vias.toReversed();
  }

  private placeOf(from: Int32Array, offset: number): number {
    const { size, table, words } = this;
    let hash = 0x811c9dc5;
    for (let n = 0; n < size; n += 1) {
      hash = Math.imul(hash ^ (from[offset + n] ?? 0), 0x01000193);
      hash ^= hash >>> 15;
    }
    hash = Math.imul(hash, 0x2c1b3c6d);
    const mask = table.length - 1;
    let at = (hash ^ (hash >>> 13)) & mask;
    for (; (table[at] ?? -1) >= 0; at = (at + 1) & mask) {
      const other = (table[at] ?? 0) * size;
      let n = 0;
      while (n < size && words[other + n] === from[offset + n]) n += 1;
      if (n === size) break;
    }
    return at;
  }

  private grow(): void {
    this.table = new Int32Array(4 * this.table.length).fill(-1);
    for (let n = 0; n < this.count; n += 1) this.table[this.placeOf(this.words, n * this.size)] = n;
  }
}

function grown(array: Int32Array): Int32Array<ArrayBuffer> {
  const larger = new Int32Array(2 * array.length);
  larger.set(array);
  return larger;
}
