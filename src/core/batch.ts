// The improvement that IAWLB §38 describes and leaves undone: arrivals are gathered and flushed by count or by time,
// whichever comes first. What a flush cannot place stays and waits, in strict order of arrival.
//
//   back: returned by failed connects     arrived: waiting for a slot      fresh, not flushed yet
//   [ r1 r2 ]                             [ w1 w2 w3 w4 w5 |               f1 f2 f3 ]
//   oldest of all                                                          newest of all
//
// Whoever came back was placed once, and so was everybody before it: `back` is older than all of `arrived`.
import { assert } from "./assert.ts";
import { endOfTurn, type Alarm, type Loop } from "./loop.ts";
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
  /** An arrival stays after the flush behind others that could not be placed, and was not tried itself. */
  onStay?(item: T): void;
  /** How many arrivals make a flush now, at least 1. */
  flushCount(): number;
}

export interface BatchLimits {
  /** Items that may stay after a flush; those that came back from a failed connect stay whatever it says. */
  readonly queueCountMax: number;
  /** 0 = to the end of this turn of the event loop. */
  readonly flushMs: number;
}

/** Arrivals that may gather beyond the queue before they are flushed whatever the time says. */
const freshCountMax = 1024;
/** Room for items that come back from failed connects, at first; it grows with them, up to all that there are. */
const backCountMin = 1024;

export class Batch<T extends Waiter> {
  private readonly arrived: Ring<T>;
  private back = new Ring<T>(backCountMin);
  private readonly room: Room<T>;
  private readonly limits: BatchLimits;
  private freshCount = 0;
  private leftCount = 0;
  private flushing = false;
  private flushAgain = false;
  private readonly loop: Loop;
  private readonly alarm: Alarm;
  private armed = false;

  constructor(room: Room<T>, limits: BatchLimits, loop: Loop) {
    this.room = room;
    this.limits = limits;
    this.loop = loop;
    this.alarm = loop.alarm(() => this.flush());
    this.arrived = new Ring<T>(limits.queueCountMax + freshCountMax);
  }

  /** Items that wait or are fresh and have not left. */
  get count(): number {
    return this.back.count + this.arrived.count - this.leftCount;
  }

  /** The oldest item that has not left, or null. Walks over those that have. */
  peek(): T | null {
    this.dropLeft(this.back);
    this.dropLeft(this.arrived);
    return this.back.at(0) ?? this.arrived.at(0);
  }

  /** Appends an arrival, then flushes when the count is reached, else by time. Source: IAWLB §38. */
  add(item: T): void {
    if (!this.arrived.push(item)) {
      this.makeRoom();
      const pushed = this.arrived.push(item);
      assert(pushed, "batch: no room after making room");
    }
    this.freshCount += 1;
    if (this.freshCount >= this.room.flushCount()) this.flush();
    else this.arm();
  }

  /** Takes an item back after a failed connect, at its place by arrival. Source: IAWLB §16, where it was lost. */
  giveBack(item: T): void {
    item.returned = true;
    const { back } = this;
    if (back.count === back.capacity) this.makeRoomBack();
    const oldest = this.back.at(0);
    if (oldest !== null && item.order < oldest.order) this.back.unshift(item);
    else this.insertBack(item);
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
    const { freshCount } = this;
    this.freshCount = 0;
    this.disarm();
    try {
      this.placeOldest();
      this.refuseNewest();
    } finally {
      this.flushing = false;
    }
    for (let i = Math.max(0, this.arrived.count - freshCount); i < this.arrived.count; i += 1) {
      const item = this.arrived.at(i);
      if (item !== null && !item.left) this.room.onStay?.(item);
    }
    if (this.flushAgain) {
      this.flushAgain = false;
      this.arm();
    }
  }

  /** Ends the timers; what waits stays in the ring. */
  close(): void {
    this.disarm();
  }

  private placeOldest(): void {
    for (let n = this.back.count + this.arrived.count; n > 0; n -= 1) {
      const item = this.back.shift() ?? this.arrived.shift();
      if (item === null) break;
      if (item.left) {
        this.leftCount -= 1;
      } else if (!this.room.place(item)) {
        const put = (item.returned ? this.back : this.arrived).unshift(item);
        assert(put, "batch: its place was given away");
        break;
      }
    }
  }

  private refuseNewest(): void {
    while (this.count > this.limits.queueCountMax) {
      const newest = this.arrived.pop();
      if (newest === null) break;
      if (newest.left) this.leftCount -= 1;
      else this.room.refuse(newest);
    }
  }

  /** Many come back in order of arrival: then this is one step. */
  private insertBack(item: T): void {
    this.back.push(item);
    for (let i = this.back.count - 1; i > 0; i -= 1) {
      const before = this.back.at(i - 1);
      if (before === null || before.order < item.order) break;
      this.back.swap(i - 1, i);
    }
  }

  private makeRoomBack(): void {
    this.dropAllLeft(this.back);
    if (this.back.count < this.back.capacity / 2) return;
    const larger = new Ring<T>(2 * this.back.capacity);
    for (let item = this.back.shift(); item !== null; item = this.back.shift()) larger.push(item);
    this.back = larger;
  }

  private makeRoom(): void {
    this.dropAllLeft(this.arrived);
    if (this.arrived.count === this.arrived.capacity) this.flush();
  }

  private dropAllLeft(ring: Ring<T>): void {
    ring.compact((item) => {
      if (item.left) this.leftCount -= 1;
      return !item.left;
    });
  }

  private dropLeft(ring: Ring<T>): void {
    while (ring.at(0)?.left === true) {
      ring.shift();
      this.leftCount -= 1;
    }
  }

  private arm(): void {
    if (this.armed) return;
    this.armed = true;
    const { flushMs } = this.limits;
    this.alarm.set(flushMs === 0 ? endOfTurn : this.loop.now() + flushMs);
  }

  private disarm(): void {
    if (!this.armed) return;
    this.armed = false;
    this.alarm.clear();
  }
}
