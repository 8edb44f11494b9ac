// One alarm for every deadline: a wheel of buckets. An entry is filed for its next look; what it then says decides.
// So a busy connection files nothing per chunk, and an idle balancer sleeps until something is due.
//
//   buckets of 10 ms:  [ 0 ][ 1 ][ 2 ] … [ 2047 ]      each a ring of entries around a sentinel
//                             ^ hand: everything before it has been looked at
//
import { assert } from "./assert.ts";
import { never, type Alarm, type Loop } from "./loop.ts";

const bucketMs = 10;
const bucketCount = 2048;
/** A look further away than this is filed here and filed again then. */
export const horizonMs = bucketMs * (bucketCount - 1);

/** Called so late, we have stood still (a stopped process, a suspended machine), and bytes that came meanwhile wait. */
const lateMs = 500;

/** Something with a deadline. Extend it; the links belong to the sweep. */
export abstract class Expiring {
  /** Bucket number since the start, -1 when not filed. */
  sweepBucket = -1;
  sweepPrevious: Expiring = this;
  sweepNext: Expiring = this;

  /** Looks whether something is due. @returns when to look again, in ms of the same clock, or `never`. */
  abstract onSweep(nowMs: number): number;
}

/** Runs once when its time has come. */
export class Once extends Expiring {
  private readonly run: () => void;

  constructor(run: () => void) {
    super();
    this.run = run;
  }

  override onSweep(): number {
    this.run();
    return never;
  }
}

class Sentinel extends Expiring {
  onSweep(): number {
    return never;
  }
}

export class Sweep {
  private readonly loop: Loop;
  private readonly alarm: Alarm;
  private readonly buckets: Sentinel[];
  /** What this run looks at, off the wheel: an entry filed anew may land in a bucket that is due, a turn later. */
  private readonly due = new Sentinel();
  /** Entries that are filed; where others can read it. */
  private readonly filed: Float64Array;
  private hand: number;
  private alarmBucket = never;
  private readonly catchUpMs: number;
  /** Until then nothing is looked at; 0 = we are not late. */
  private catchingUpUntil = 0;

  /**
   * @param filed one cell, for the number of entries that are filed.
   * @param catchUpMs after a standstill, so long is left for reading before any deadline is judged.
   */
  constructor(loop: Loop, filed: Float64Array = new Float64Array(1), catchUpMs = 0) {
    this.catchUpMs = catchUpMs;
    this.loop = loop;
    this.filed = filed;
    this.alarm = loop.alarm(() => this.onAlarm(loop.now()));
    this.hand = Math.floor(loop.now() / bucketMs);
    this.buckets = Array.from({ length: bucketCount }, () => new Sentinel());
  }

  /** Files `entry` for a look at `atMs` or up to one bucket later; moves it when it was filed. O(1). */
  file(entry: Expiring, atMs: number): void {
    this.remove(entry);
    if (atMs === never) return;
    if (this.count === 0) this.hand = Math.max(this.hand, Math.floor(this.loop.now() / bucketMs));
    const latest = this.hand + bucketCount - 1;
    const bucket = Math.min(Math.max(Math.ceil(atMs / bucketMs), this.hand + 1), latest);
    const sentinel = this.sentinel(bucket);
    entry.sweepBucket = bucket;
    entry.sweepNext = sentinel;
    entry.sweepPrevious = sentinel.sweepPrevious;
    sentinel.sweepPrevious.sweepNext = entry;
    sentinel.sweepPrevious = entry;
    this.count += 1;
    if (bucket < this.alarmBucket) this.arm(bucket);
  }

  /** Like `file`, but leaves an entry that is already filed for an earlier look. */
  fileNoLater(entry: Expiring, atMs: number): void {
    if (entry.sweepBucket >= 0 && entry.sweepBucket * bucketMs <= atMs) return;
    this.file(entry, atMs);
  }

  remove(entry: Expiring): void {
    if (entry.sweepBucket < 0) return;
    entry.sweepPrevious.sweepNext = entry.sweepNext;
    entry.sweepNext.sweepPrevious = entry.sweepPrevious;
    entry.sweepPrevious = entry;
    entry.sweepNext = entry;
    entry.sweepBucket = -1;
    this.count -= 1;
  }

  /** Looks at everything that is due. Called by the alarm; tests call it with a time of their own. */
  run(nowMs: number): void {
    const due = Math.floor(nowMs / bucketMs);
    const first = Math.max(this.hand + 1, due - bucketCount + 1);
    this.hand = Math.max(this.hand, due);
    if (this.count > 0) {
      for (let bucket = first; bucket <= due; bucket += 1) {
        moveAll(this.sentinel(bucket), this.due);
      }
    }
    try {
      while (this.due.sweepNext !== this.due) {
        const entry = this.due.sweepNext;
        this.remove(entry);
        const atMs = entry.onSweep(nowMs);
        if (atMs !== never) this.file(entry, atMs);
      }
    } finally {
      // An exception in one deadline must not cost the others theirs.
      if (this.due.sweepNext === this.due) this.armNext();
      else this.arm(this.hand + 1);
    }
  }

  close(): void {
    this.alarm.clear();
    this.alarmBucket = never;
  }

  private onAlarm(nowMs: number): void {
    const isLate = nowMs > this.alarmBucket * bucketMs + lateMs;
    this.alarmBucket = never;
    if (isLate && this.catchingUpUntil === 0) this.catchingUpUntil = nowMs + this.catchUpMs;
    if (nowMs < this.catchingUpUntil) return this.arm(Math.ceil(this.catchingUpUntil / bucketMs));
    this.catchingUpUntil = 0; // once before each look, so that a slow machine has its deadlines too
    this.run(nowMs);
  }

  private get count(): number {
    return this.filed[0] ?? 0;
  }

  private set count(count: number) {
    this.filed[0] = count;
  }

  private sentinel(bucket: number): Sentinel {
    const sentinel = this.buckets[bucket % bucketCount];
    assert(sentinel !== undefined, "sweep: no such bucket");
    return sentinel;
  }

  private armNext(): void {
    if (this.count === 0) return;
    for (let bucket = this.hand + 1; bucket < this.hand + bucketCount; bucket += 1) {
      const sentinel = this.sentinel(bucket);
      if (sentinel.sweepNext !== sentinel) return this.arm(bucket);
    }
  }

  private arm(bucket: number): void {
    if (bucket >= this.alarmBucket) return;
    this.alarmBucket = bucket;
    this.alarm.set(bucket * bucketMs);
  }
}

/** Appends all entries of one list to another. O(1). */
function moveAll(from: Expiring, to: Expiring): void {
  if (from.sweepNext === from) return;
  from.sweepNext.sweepPrevious = to.sweepPrevious;
  to.sweepPrevious.sweepNext = from.sweepNext;
  from.sweepPrevious.sweepNext = to;
  to.sweepPrevious = from.sweepPrevious;
  from.sweepNext = from;
  from.sweepPrevious = from;
}
