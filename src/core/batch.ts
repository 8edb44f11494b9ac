// The improvement that IAWLB §38 describes and leaves undone: arrivals are gathered and flushed by count or by time,
// whichever comes first. What a flush cannot place is filed in the one FIFO of all threads, in order of arrival.
//
//   fresh [ f1 f2 f3 ]  ── flush ──> a slot is free and nobody waits: placed
//                                    else filed: arrived [ w1 w2 f1 f2 f3 ]    back [ r1 ] from failed connects
//
// One rule keeps every slot busy: whoever frees a slot looks for somebody who waits, and whoever starts to wait looks
// for a free slot, in this order; so one of them sees the other.
import { assert } from "./assert.ts";
import { Line, Place, type Waiter } from "./line.ts";
import { endOfTurn, never, type Alarm, type Loop } from "./loop.ts";
import { Ring } from "./ring.ts";
import type { Tickets } from "./tickets.ts";

export { Place, type Waiter };

/** Where the slots are; a slot goes by the row of its destination. */
export interface Room<T> {
  /** Takes a free slot for `item`; null: for somebody of another thread. @returns its row, −1 when none is free. */
  take(item: T | null): number;
  /** The item has this slot now. When that fails at once the slot is free and the item comes back by `giveBack`. */
  give(item: T, row: number): void;
  /** A slot is free for all threads. */
  release(row: number): void;
  /** So is one that was taken and that nobody wanted. */
  releaseUnused(row: number): void;
  /** A slot that has just been freed may serve the next one; false: its destination is to be left alone. */
  mayServe(row: number): boolean;
  /** A slot goes to another thread, or comes from there. */
  onSent(row: number): void;
  onReceived(row: number): void;
  /** An arrival has to wait. @returns false when too many do: it is refused. */
  stay(item: T): boolean;
  /** How many arrivals make a flush now, at least 1. */
  flushCount(): number;
}

export interface BatchLimits {
  /** 0 = to the end of this turn of the event loop. */
  readonly flushMs: number;
}

/** Arrivals that may gather before they are flushed whatever the count and the time say. */
const freshCountMax = 1024;
/** Items that may come back and go again within one step. */
const returnCountMax = 64;
/** Items that are served within one step, so that what is joined goes on while thousands are: the next turn goes on. */
const serveCountMax = 256;

export class Batch<T extends Waiter> {
  private readonly tickets: Tickets;
  private readonly back: Line<T>;
  private readonly arrived: Line<T>;
  private readonly lines: readonly Line<T>[];
  private readonly fresh = new Ring<T>(freshCountMax);
  private readonly room: Room<T>;
  private readonly limits: BatchLimits;
  private readonly loop: Loop;
  private readonly alarm: Alarm;
  private freshLeftCount = 0;
  /** When the alarm rings; `never` when it is not set. */
  private armedAt = never;
  /** In a step: what is called from inside it waits for the end of this turn. */
  private busy = false;
  private readonly receive = (row: number, item: T | null): void => {
    this.room.onReceived(row);
    if (item === null) this.passOn(row);
    else this.room.give(item, row);
  };

  constructor(room: Room<T>, limits: BatchLimits, loop: Loop, tickets: Tickets) {
    this.room = room;
    this.limits = limits;
    this.loop = loop;
    this.tickets = tickets;
    this.back = new Line<T>(tickets, 0);
    this.arrived = new Line<T>(tickets, 1);
    this.lines = [this.back, this.arrived];
    this.alarm = loop.alarm(() => {
      this.armedAt = never;
      this.flush();
    });
  }

  /** Items of this thread that wait or are fresh and have not left. */
  get count(): number {
    return this.back.count + this.arrived.count + this.fresh.count - this.freshLeftCount;
  }

  /** A slot is on its way to this thread, or there already. */
  get expectsGrants(): boolean {
    return this.back.expectsGrants || this.arrived.expectsGrants;
  }

  /** The oldest item of this thread that waits and has not left, or null. */
  peek(): T | null {
    return this.back.oldest() ?? this.arrived.oldest();
  }

  /** Appends an arrival, then flushes when the count is reached, else by time. Source: IAWLB §38. */
  add(item: T): void {
    item.place = Place.fresh;
    if (!this.fresh.push(item)) {
      this.flush();
      const pushed = this.fresh.push(item);
      assert(pushed, "batch: an arrival from inside a flush finds no room");
    }
    if (this.fresh.count >= this.room.flushCount()) return this.flush();
    const { flushMs } = this.limits;
    this.arm(flushMs === 0 ? endOfTurn : this.loop.now() + flushMs);
  }

  /** Takes an item back after a failed connect, at its place by arrival. Source: IAWLB §16, where it was lost. */
  giveBack(item: T): void {
    item.place = Place.back;
    this.back.file(item);
    this.back.publish();
  }

  /** An item of this batch has gone away. */
  leave(item: T): void {
    assert(!item.left, "batch: left twice");
    item.left = true;
    if (item.place === Place.fresh) this.freshLeftCount += 1;
    else if ((item.place === Place.back ? this.back : this.arrived).leave()) this.arm(endOfTurn);
  }

  /**
   * Uses what other threads have granted, serves who waits as far as there are slots, places or files what is fresh.
   * Called when the count or the time is reached, when this thread is woken, and when a destination is back.
   */
  flush(): void {
    if (!this.begin()) return;
    try {
      this.disarm();
      this.takeGrants();
      this.match();
      while (this.placeFresh()) this.match(); // who came back at once goes first
      if (this.fresh.count > 0) {
        this.fileFresh();
        this.match();
      }
    } finally {
      this.busy = false;
    }
  }

  /** A slot that we held is free: who has waited longest in all threads gets it. */
  free(row: number): void {
    if (!this.begin()) return this.room.release(row);
    try {
      if (this.room.mayServe(row)) this.passOn(row);
      else this.room.release(row);
      this.match();
    } finally {
      this.busy = false;
    }
  }

  /** Ends the timer; what waits stays. */
  close(): void {
    this.disarm();
  }

  /** @returns false inside of a step: the end of this turn does what is left, so that every step ends. */
  private begin(): boolean {
    if (this.busy) {
      this.arm(endOfTurn);
      return false;
    }
    this.busy = true;
    return true;
  }

  private takeGrants(): void {
    this.back.takeGrants(this.receive);
    this.arrived.takeGrants(this.receive);
  }

  /** Arrivals go straight to a free slot while nobody waits in any thread. @returns true when some did. */
  private placeFresh(): boolean {
    const before = this.fresh.count;
    for (let n = this.fresh.count; n > 0 && !this.tickets.someoneWaits(); n -= 1) {
      const item = this.fresh.at(0);
      if (item === null) break;
      if (item.left) {
        this.fresh.shift();
        this.freshLeftCount -= 1;
        continue;
      }
      const row = this.room.take(item);
      if (row < 0) break;
      this.fresh.shift();
      item.place = Place.nowhere;
      this.room.give(item, row);
    }
    return this.fresh.count < before;
  }

  private fileFresh(): void {
    for (let item = this.fresh.shift(); item !== null; item = this.fresh.shift()) {
      if (item.left) {
        this.freshLeftCount -= 1;
        continue;
      }
      item.place = Place.nowhere;
      if (!this.room.stay(item)) continue;
      item.place = Place.arrived;
      this.arrived.file(item);
    }
    this.arrived.publish();
  }

  /** While a slot is free and somebody waits, the oldest of all threads gets it. */
  private match(): void {
    if (!this.tickets.someoneWaits()) return;
    const count = Math.min(this.tickets.waitingCount() + returnCountMax, serveCountMax);
    for (let n = count; n > 0; n -= 1) {
      const row = this.room.take(this.peek());
      if (row < 0) return;
      this.passOn(row);
      if (!this.tickets.someoneWaits()) return;
    }
    this.arm(endOfTurn);
  }

  /** Gives a slot to who has waited longest in all threads. When nobody waits it is free: look again afterwards. */
  private passOn(row: number): void {
    for (let place = this.tickets.claimOldest(); place >= 0; place = this.tickets.claimOldest()) {
      if (this.tickets.threadOf(place) !== this.tickets.thread) {
        this.room.onSent(row);
        return this.tickets.grant(place, row);
      }
      const item = this.lines[this.tickets.lineOf(place)]?.take(place) ?? null;
      if (item !== null) return this.room.give(item, row);
    }
    this.room.releaseUnused(row);
  }

  private arm(atMs: number): void {
    if (this.armedAt <= atMs) return;
    this.armedAt = atMs;
    this.alarm.set(atMs);
  }

  private disarm(): void {
    if (this.armedAt === never) return;
    this.armedAt = never;
    this.alarm.clear();
  }
}
