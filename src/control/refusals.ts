// Access records of clients that were turned away: so many a second, the rest is counted and told in sums. An attack
// must not fill the log, nor take the time of those who are served.
import type { Alarm, Loop } from "../core/loop.ts";
import type { CloseReason } from "../core/reason.ts";

const windowMs = 1_000;
/** What had no record is told after so long. */
const tellMs = 10_000;

export class Refusals {
  private readonly loop: Loop;
  /** A second; 0 = all. */
  recordsMax: number;
  private readonly tell: (reason: CloseReason, count: number) => void;
  private readonly counts = new Map<CloseReason, number>();
  private readonly alarm: Alarm;
  private windowEndsAt = 0;
  private recordCount = 0;

  /** @param recordsMax a second; 0 = all. */
  constructor(loop: Loop, recordsMax: number, tell: (reason: CloseReason, count: number) => void) {
    this.loop = loop;
    this.recordsMax = recordsMax;
    this.tell = tell;
    this.alarm = loop.alarm(() => this.flush());
  }

  /** One more was turned away. @returns whether it gets a record of its own. */
  add(reason: CloseReason): boolean {
    if (this.recordsMax === 0) return true;
    const nowMs = this.loop.now();
    if (nowMs >= this.windowEndsAt) {
      this.windowEndsAt = nowMs + windowMs;
      this.recordCount = 0;
    }
    this.recordCount += 1;
    if (this.recordCount <= this.recordsMax) return true;
    if (this.counts.size === 0) this.alarm.set(nowMs + tellMs);
    this.counts.set(reason, (this.counts.get(reason) ?? 0) + 1);
    return false;
  }

  /** Tells what was not recorded until now. */
  flush(): void {
    this.alarm.clear();
    for (const [reason, count] of this.counts) this.tell(reason, count);
    this.counts.clear();
  }
}
