// The FIFO: a ring of fixed size that allocates nothing after its birth. Origin: IAWLB §30–§36, where it is a
// std::list under a lock.
//
//      head                tail              count = tail - head, both run freely in 32 bits
//        v                   v               index = counter & mask
//   [ . | a | b | c | d | e | . | . ]        a free place holds null, so the ring keeps nobody alive
//
import { assert } from "./assert.ts";

export class Ring<T extends object> {
  private readonly places: (T | null)[];
  private readonly mask: number;
  private head = 0;
  private tail = 0;

  /** @param countMin at least so many items fit; the capacity is the next power of two. */
  constructor(countMin: number) {
    assert(countMin >= 1 && countMin <= 2 ** 30, "ring: capacity out of range");
    const capacity = 2 ** Math.ceil(Math.log2(countMin));
    this.places = Array.from({ length: capacity }, () => null);
    this.mask = capacity - 1;
  }

  get capacity(): number {
    return this.mask + 1;
  }

  get count(): number {
    return (this.tail - this.head) >>> 0;
  }

  /** Appends (IAWLB §37 poured at the front, so that batches overtook each other). @returns false when full. */
  push(item: T): boolean {
    if (this.count > this.mask) return false;
    this.places[this.tail & this.mask] = item;
    this.tail = (this.tail + 1) >>> 0;
    return true;
  }

  /** Puts an item back at the head. @returns false when full. */
  unshift(item: T): boolean {
    if (this.count > this.mask) return false;
    this.head = (this.head - 1) >>> 0;
    this.places[this.head & this.mask] = item;
    return true;
  }

  /** Takes the oldest item. @returns null when empty. Source: IAWLB §32. */
  shift(): T | null {
    if (this.head === this.tail) return null;
    const index = this.head & this.mask;
    const item = this.places[index] ?? null;
    this.places[index] = null;
    this.head = (this.head + 1) >>> 0;
    return item;
  }

  /** Takes the newest item. @returns null when empty. */
  pop(): T | null {
    if (this.head === this.tail) return null;
    this.tail = (this.tail - 1) >>> 0;
    const index = this.tail & this.mask;
    const item = this.places[index] ?? null;
    this.places[index] = null;
    return item;
  }

  /** The item `offset` places behind the head, or null. */
  at(offset: number): T | null {
    return offset < this.count ? (this.places[(this.head + offset) & this.mask] ?? null) : null;
  }

  /** Exchanges the items at two offsets, both in use. */
  swap(a: number, b: number): void {
    assert(a < this.count && b < this.count, "ring: swap of a free place");
    const i = (this.head + a) & this.mask;
    const j = (this.head + b) & this.mask;
    const item = this.places[i] ?? null;
    this.places[i] = this.places[j] ?? null;
    this.places[j] = item;
  }

  /** Drops the items for which `keep` says no; the others keep their order. O(count). */
  compact(keep: (item: T) => boolean): void {
    for (let n = this.count; n > 0; n -= 1) {
      const item = this.shift();
      if (item !== null && keep(item)) this.push(item);
    }
  }
}
