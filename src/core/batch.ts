// The improvement that IAWLB §38 describes and leaves undone: arrivals are gathered and flushed by count or by time,
// whichever comes first. What a flush cannot place stays in the same ring and waits, in strict order of arrival.
//
//   returned by a failed connect      waiting for a slot          fresh, not flushed yet
//   [ r1 r2 |                  w1 w2 w3 w4 w5 |             f1 f2 f3 ]
//   head: oldest                                                   tail: newest
//
import { assert } from "./assert.ts";
import { Ring } from "./ring.ts";

export interface Waiter {
  /** Number of arrival: grows, never repeats. */
  readonly order: number;
  /** Went away while it waited; it is dropped when its turn comes. */
  left: boolean;
  /** Came back from a failed connect: it is never refused for want of room. */
  returned: boolean;
}

export interface Room<T> {
  /** Gives the item a slot. @returns false when there is none: it stays at the head. */
  place(item: T): boolean;
  /** The item cannot stay: too many wait. */
  refuse(item: T): void;
  /** How many arrivals make a flush now, at least 1. */
  flushCount(): number;
}

export interface BatchLimits {
  /** Items that may stay after a flush; those that came back from a failed connect stay whatever it says. */
  readonly queueCountMax: number;
  /** Items that can exist at once. */
  readonly connectionCountMax: number;
  /** 0 = to the end of this turn of the event loop. */
  readonly flushMs: number;
}

/** Arrivals that may gather beyond the queue before they are flushed whatever the time says. */
const freshCountMax = 1024;
/** Room for items that come back from failed connects. */
const returnedCountMax = 65_536;

export class Batch<T extends Waiter> {
  private readonly ring: Ring<T>;
  private readonly room: Room<T>;
  private readonly limits: BatchLimits;
  private freshCount = 0;
  private leftCount = 0;
  private flushing = false;
  private flushAgain = false;
  private immediate: ReturnType<typeof setImmediate> | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private readonly flushByTime = () => {
    this.immediate = null;
    this.timer = null;
    this.flush();
  };

  constructor(room: Room<T>, limits: BatchLimits) {
    this.room = room;
    this.limits = limits;
    const returnedCount = Math.min(limits.connectionCountMax, returnedCountMax);
    this.ring = new Ring<T>(limits.queueCountMax + freshCountMax + returnedCount);
  }

  /** Items that wait or are fresh and have not left. */
  get count(): number {
    return this.ring.count - this.leftCount;
  }

  /** The oldest item that has not left, or null. Walks over those that have. */
  peek(): T | null {
    this.dropLeft();
    return this.ring.at(0);
  }

  /** Appends an arrival, then flushes when the count is reached, else by time. Source: IAWLB §38. */
  add(item: T): void {
    if (!this.ring.push(item)) {
      this.makeRoom();
      const pushed = this.ring.push(item);
      assert(pushed, "batch: no room after making room");
    }
    this.freshCount += 1;
    if (this.freshCount >= this.room.flushCount()) this.flush();
    else this.arm();
  }

  /** Takes an item back after a failed connect, at its place by arrival. Source: IAWLB §16, where it was lost. */
  giveBack(item: T): void {
    item.returned = true;
    this.putBack(item);
  }

  /** An item in the ring has gone away; its place is freed when its turn comes or when room is needed. */
  leave(item: T): void {
    assert(!item.left, "batch: left twice");
    item.left = true;
    this.leftCount += 1;
  }

  /**
   * Places the oldest items until one cannot be placed; takes at most what was there when it began, so that it ends.
   * Called when the count or the time is reached, and by whoever frees a slot.
   */
  flush(): void {
    if (this.flushing) {
      this.flushAgain = true;
      return;
    }
    this.flushing = true;
    this.freshCount = 0;
    this.disarm();
    for (let n = this.ring.count; n > 0; n -= 1) {
      const item = this.ring.shift();
      if (item === null) break;
      if (item.left) {
        this.leftCount -= 1;
      } else if (!this.room.place(item)) {
        this.putBack(item);
        break;
      }
    }
    while (this.count > this.limits.queueCountMax) {
      const newest = this.ring.at(this.ring.count - 1);
      if (newest === null || newest.returned) break;
      this.ring.pop();
      if (newest.left) this.leftCount -= 1;
      else this.room.refuse(newest);
    }
    this.flushing = false;
    if (this.flushAgain) {
      this.flushAgain = false;
      this.arm();
    }
  }

  /** Ends the timers; what waits stays in the ring. */
  close(): void {
    this.disarm();
  }

  private putBack(item: T): void {
    if (!this.ring.unshift(item)) {
      this.makeRoom();
      const put = this.ring.unshift(item);
      assert(put, "batch: no room after making room");
    }
    for (let i = 0; i + 1 < this.ring.count; i += 1) {
      const next = this.ring.at(i + 1);
      if (next === null || next.order > item.order) break;
      this.ring.swap(i, i + 1);
    }
  }

  private makeRoom(): void {
    if (this.leftCount > 0) this.ring.compact((item) => !item.left);
    this.leftCount = 0;
    if (this.ring.count === this.ring.capacity) this.flush();
  }

  private dropLeft(): void {
    while (this.ring.at(0)?.left === true) {
      this.ring.shift();
      this.leftCount -= 1;
    }
  }

  private arm(): void {
    if (this.immediate !== null || this.timer !== null) return;
    if (this.limits.flushMs === 0) this.immediate = setImmediate(this.flushByTime);
    else this.timer = setTimeout(this.flushByTime, this.limits.flushMs);
  }

  private disarm(): void {
    if (this.immediate !== null) clearImmediate(this.immediate);
    if (this.timer !== null) clearTimeout(this.timer);
    this.immediate = null;
    this.timer = null;
  }
}
