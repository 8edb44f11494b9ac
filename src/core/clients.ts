// Who is connected from where, and how fast they come: one table over all threads in one SharedArrayBuffer, so that a
// limit per client is exact whichever thread accepts. Its memory is bounded: who has left is remembered until the place
// is needed, the one who left first goes first.
//
//   buckets   [ . | 3 | . | 1 ]          by hash of the address: its first entry
//                   └→ 2                 and the next one of the same bucket
//   idle      ┌─ 0 ⇄ 4 ⇄ 2 ─┐            entries with no open connection, who left first in front; entry 0 belongs to
//             └─────────────┘            nobody and holds the ring together
//
// A lock, where the board has none: an admission changes a bucket, the ring, a count and a rate, which no single
// compare-and-exchange can. It is held for some tens of nanoseconds, calls nobody, and is only there when somebody
// asked for a limit per client.
import { assert } from "./assert.ts";
import { hashAddress, maskOf } from "./client.ts";

/** What `enter` says to a client that has as many connections as it may have. */
export const refusedByCount = -1;
/** What it says to one that comes too fast. */
export const refusedByRate = -2;

export interface ClientTableSize {
  /** Clients that are known at once. Twice the limit of connections, so that one is always free to be forgotten. */
  readonly clientCountMax: number;
  readonly threadCount: number;
}

export interface ClientLimits {
  /** Open connections of one client; 0 = no limit. */
  readonly countMax: number;
  /** New connections of one client, per second; as many may come at once. 0 = no limit. */
  readonly ratePerSecond: number;
  /** So many first bits of an IPv6 address make a client, 0..128; usually 64, which one household can choose from. */
  readonly prefix6: number;
}

// Places in the header, which is one cache line, the buffer's first.
const lockAt = 0;
const knownAt = 1;
const openAt = 2;
const key0At = 3;
const key1At = 4;
const headerLength = 16;

/** Looks at the lock without a pause, then with naps, 0.1 s in all: its owner's core may have been taken away. */
const spinCount = 1_000;
const napMs = 1;
const lookCountMax = spinCount + 100;

/** A clock that is so far behind what it was has been set back; less is another thread's older look at it. */
const setBackMs = 1_000;

export class ClientTable {
  readonly buffer: SharedArrayBuffer;
  /** Clients that can be known at once. */
  readonly capacity: number;
  private limits: ClientLimits;
  private readonly thread: number;
  private readonly header: Int32Array;
  /** By bucket: its first entry, 0 = none. */
  private readonly buckets: Int32Array;
  // By entry, from 1.
  /** Its address: four words. */
  private readonly addresses: Int32Array;
  /** The bucket that it is in. */
  private readonly bucketOf: Int32Array;
  /** The next entry of its bucket. */
  private readonly next: Int32Array;
  /** Its neighbours among those without open connections. */
  private readonly older: Int32Array;
  private readonly newer: Int32Array;
  /** Open connections over all threads. */
  private readonly open: Int32Array;
  /** When its tokens will all be back, in ms of the balancer's clock (GCRA's theoretical arrival time). */
  private readonly fullAtMs: Float64Array;
  /** By thread and entry: open connections of that thread; given back for it when it dies. One writer each. */
  private readonly held: readonly Int32Array[];
  /** That of our thread; empty for one who serves no clients. */
  private readonly own: Int32Array;

  private readonly address = new Int32Array(4);
  private readonly mask6: Int32Array;
  private tokenMs = 0;
  /** How far `fullAtMs` may be ahead of a client that is admitted. */
  private aheadMsMax = 0;
  /** Looks at the lock until we give up; without naps, once it was in vain. */
  private lookCount = lookCountMax;
  /** Entries that have been left while the lock could not be had. */
  private readonly late: number[] = [];

  /**
   * @param thread our own number; `size.threadCount` for one who serves no clients, and only reads and reclaims.
   * @param buffer that of the table to share; without it, a new table.
   */
  constructor(
    size: ClientTableSize,
    limits: ClientLimits,
    thread: number,
    buffer?: SharedArrayBuffer,
  ) {
    const { clientCountMax, threadCount } = size;
    assert(clientCountMax >= 1 && clientCountMax <= 2 ** 24, "clients: capacity out of range");
    assert(thread >= 0 && thread <= threadCount, "clients: no such thread");
    assert(limits.prefix6 >= 0 && limits.prefix6 <= 128, "clients: prefix out of range");
    const entries = clientCountMax + 1;
    const bucketCount = 2 ** Math.ceil(Math.log2(entries));
    const whole = headerLength + bucketCount + (9 + threadCount) * entries;
    const byteCount = 4 * whole + 8 * entries;
    this.buffer = buffer ?? new SharedArrayBuffer(byteCount);
    assert(this.buffer.byteLength === byteCount, "clients: buffer of another size");
    this.capacity = clientCountMax;
    this.limits = limits;
    this.thread = thread;
    this.setLimits(limits);
    this.mask6 = Int32Array.from([0, 32, 64, 96], (bit) => maskOf(limits.prefix6 - bit));
    this.header = new Int32Array(this.buffer, 0, headerLength);
    this.fullAtMs = new Float64Array(this.buffer, 4 * headerLength, entries);
    let at = 4 * headerLength + 8 * entries;
    const column = (length: number): Int32Array => {
      const array = new Int32Array(this.buffer, at, length);
      at += 4 * length;
      return array;
    };
    this.buckets = column(bucketCount);
    this.addresses = column(4 * entries);
    this.bucketOf = column(entries);
    this.next = column(entries);
    this.older = column(entries);
    this.newer = column(entries);
    this.open = column(entries);
    this.held = Array.from({ length: threadCount }, () => column(entries));
    this.own = this.held[thread] ?? new Int32Array(0);
    if (buffer === undefined) {
      this.header.set(crypto.getRandomValues(new Int32Array(2)), key0At);
    }
  }

  /** Other numbers from now on; what makes a client stays the same: `prefix6` is that of the table. */
  setLimits(limits: ClientLimits): void {
    this.limits = limits;
    this.tokenMs = limits.ratePerSecond === 0 ? 0 : 1_000 / limits.ratePerSecond;
    // Less the token that is taken; a ten-thousandth more, as sums of times are rounded.
    this.aheadMsMax = this.tokenMs * (Math.max(1, limits.ratePerSecond) - 1 + 1e-4);
  }

  /** Clients with an open connection. */
  get count(): number {
    return Atomics.load(this.header, openAt);
  }

  /** Clients that are known: those, and those that have left and are remembered. */
  get knownCount(): number {
    return Atomics.load(this.header, knownAt);
  }

  /**
   * Admits a client, whose address and family are those of `readClient`. Allocates nothing.
   * @param nowMs the balancer's clock; behind that of an earlier call it does no harm.
   * @returns the entry to `leave` later; `refusedByCount` also when the table is full of clients with open
   * connections or a thread has died inside and is not reclaimed yet; `refusedByRate`, which takes no token.
   */
  enter(family: 4 | 6, words: Int32Array, nowMs: number): number {
    const { address, header, mask6 } = this;
    assert(this.own.length > 0, "clients: a thread that serves no clients");
    for (let word = 0; word < 4; word += 1) {
      address[word] = (words[word] ?? 0) & (family === 4 ? -1 : (mask6[word] ?? 0));
    }
    const hash = hashAddress(address, header[key0At] ?? 0, header[key1At] ?? 0);
    if (!this.lock()) return refusedByCount;
    const entry = this.admit(hash & (this.buckets.length - 1), nowMs);
    this.unlock();
    return entry;
  }

  /** A connection has ended that `enter` had admitted in this thread. */
  leave(entry: number): void {
    assert((this.own[entry] ?? 0) > 0, "clients: left without having entered");
    if (!this.lock()) return void this.late.push(entry);
    this.release(entry, this.own, 1);
    this.unlock();
  }

  /**
   * Gives back what a thread held that has died, and the lock if it died inside.
   * @returns how many connections these were; −1 when the lock cannot be had, because another thread has died inside:
   * that one is to be reclaimed first.
   */
  reclaim(thread: number): number {
    const held = this.held[thread];
    assert(held !== undefined, "clients: no such thread");
    const owner = thread + 1;
    const diedInside =
      Atomics.compareExchange(this.header, lockAt, owner, this.thread + 1) === owner;
    if (!diedInside && !this.lock()) return -1;
    let count = 0;
    for (let entry = 1; entry <= this.knownCount; entry += 1) {
      const heldCount = held[entry] ?? 0;
      if (heldCount === 0) continue;
      count += heldCount;
      if (diedInside) held[entry] = 0;
      else this.release(entry, held, heldCount);
    }
    if (diedInside) this.rebuild();
    this.unlock();
    return count;
  }

  // --- with the lock held

  private admit(bucket: number, nowMs: number): number {
    const { countMax, ratePerSecond } = this.limits;
    let entry = this.find(bucket);
    if (entry === 0) entry = this.add(bucket);
    if (entry === 0) return refusedByCount;
    const openCount = this.open[entry] ?? 0;
    if (countMax > 0 && openCount >= countMax) return refusedByCount;
    if (openCount === 0) this.unlink(entry);
    if (ratePerSecond > 0 && !this.takeToken(entry, nowMs)) {
      if (openCount === 0) this.link(entry); // as the newest: who keeps knocking is not forgotten
      return refusedByRate;
    }
    this.hold(entry);
    return entry;
  }

  private find(bucket: number): number {
    const { address, addresses, next } = this;
    let entry = this.buckets[bucket] ?? 0;
    for (; entry !== 0; entry = next[entry] ?? 0) {
      const at = 4 * entry;
      if (
        addresses[at + 3] === address[3] &&
        addresses[at + 1] === address[1] &&
        addresses[at] === address[0] &&
        addresses[at + 2] === address[2]
      ) {
        break;
      }
    }
    return entry;
  }

  /** Makes an entry for a client that is not known. @returns 0 when there is no place and nobody to forget. */
  private add(bucket: number): number {
    const { address, addresses, buckets, header } = this;
    let entry = (header[knownAt] ?? 0) + 1;
    if (entry <= this.capacity) {
      header[knownAt] = entry;
    } else {
      entry = this.newer[0] ?? 0;
      if (entry === 0) return 0;
      this.unlink(entry);
      this.forget(entry);
    }
    addresses.set(address, 4 * entry);
    this.fullAtMs[entry] = -Infinity;
    this.bucketOf[entry] = bucket;
    this.next[entry] = buckets[bucket] ?? 0;
    buckets[bucket] = entry;
    this.link(entry);
    return entry;
  }

  /** Takes an entry out of its bucket. After `rebuild` it may be in none. */
  private forget(entry: number): void {
    const { buckets, next } = this;
    const bucket = this.bucketOf[entry] ?? 0;
    const after = next[entry] ?? 0;
    let before = buckets[bucket] ?? 0;
    if (before === entry) {
      buckets[bucket] = after;
      return;
    }
    while (before !== 0 && next[before] !== entry) before = next[before] ?? 0;
    if (before !== 0) next[before] = after;
  }

  /**
   * Takes a token of a client, unless it has none left. One number stands for the bucket and its last filling (GCRA:
   * ITU-T I.371).
   */
  private takeToken(entry: number, nowMs: number): boolean {
    const { fullAtMs, tokenMs, aheadMsMax } = this;
    const before = fullAtMs[entry] ?? 0;
    const aheadMs = before - nowMs;
    if (aheadMs <= aheadMsMax) {
      fullAtMs[entry] = Math.max(before, nowMs) + tokenMs;
      return true;
    }
    // An empty bucket is filled again from now on, or its client would wait until the clock is where it was.
    if (aheadMs > aheadMsMax + tokenMs + setBackMs) fullAtMs[entry] = nowMs + aheadMsMax + tokenMs;
    return false;
  }

  private hold(entry: number): void {
    const { header, open, own } = this;
    const before = open[entry] ?? 0;
    if (before === 0) header[openAt] = (header[openAt] ?? 0) + 1;
    open[entry] = before + 1;
    own[entry] = (own[entry] ?? 0) + 1;
  }

  private release(entry: number, held: Int32Array, count: number): void {
    const { header, open } = this;
    const after = (open[entry] ?? 0) - count;
    open[entry] = after;
    held[entry] = (held[entry] ?? 0) - count;
    if (after > 0) return;
    header[openAt] = (header[openAt] ?? 0) - 1;
    this.link(entry);
  }

  /** Puts an entry behind the idle ones, as the newest. */
  private link(entry: number): void {
    const { older, newer } = this;
    const last = older[0] ?? 0;
    older[entry] = last;
    newer[entry] = 0;
    newer[last] = entry;
    older[0] = entry;
  }

  private unlink(entry: number): void {
    const { older, newer } = this;
    const before = older[entry] ?? 0;
    const after = newer[entry] ?? 0;
    newer[before] = after;
    older[after] = before;
  }

  /**
   * A thread has died between two steps: only what each thread holds is sure. All else is made anew from that; clients
   * without open connections are forgotten, as an address may be half written.
   */
  private rebuild(): void {
    const { buckets, header, next, open } = this;
    buckets.fill(0);
    this.older[0] = 0;
    this.newer[0] = 0;
    header[openAt] = 0;
    for (let entry = 1; entry <= this.knownCount; entry += 1) {
      const openCount = this.held.reduce((sum, held) => sum + (held[entry] ?? 0), 0);
      open[entry] = openCount;
      if (openCount === 0) {
        this.link(entry);
        continue;
      }
      const bucket = this.bucketOf[entry] ?? 0;
      next[entry] = buckets[bucket] ?? 0;
      buckets[bucket] = entry;
      header[openAt] = (header[openAt] ?? 0) + 1;
    }
  }

  // --- the lock: 0, or the number of who is inside + 1

  /** @returns false when it cannot be had: its owner has died. Nothing has changed then. */
  private lock(): boolean {
    const { header, late } = this;
    const number = this.thread + 1;
    for (let looks = 1; ; looks += 1) {
      const owner = Atomics.compareExchange(header, lockAt, 0, number);
      if (owner === 0) break;
      if (looks >= this.lookCount) {
        this.lookCount = spinCount;
        return false;
      }
      if (looks > spinCount) Atomics.wait(header, lockAt, owner, napMs);
    }
    this.lookCount = lookCountMax;
    while (late.length > 0) this.release(late.pop() ?? 0, this.own, 1);
    return true;
  }

  private unlock(): void {
    Atomics.store(this.header, lockAt, 0);
  }
}
