// A loop whose clock stands until a test moves it; alarms run in the order of their times.
import type { Alarm, Loop } from "../../src/core/loop.ts";

export class SteppedLoop implements Loop {
  ms = 1_000_000;
  /** Those that are set, and their times. */
  private readonly alarms = new Map<Alarm, number>();
  private readonly runs = new Map<Alarm, () => void>();

  readonly now = (): number => this.ms;

  alarm(run: () => void): Alarm {
    const alarm: Alarm = {
      set: (atMs) => void this.alarms.set(alarm, atMs),
      clear: () => void this.alarms.delete(alarm),
    };
    this.runs.set(alarm, run);
    return alarm;
  }

  get alarmCount(): number {
    return this.alarms.size;
  }

  /** Moves the clock from alarm to alarm. */
  advance(ms: number): void {
    const end = this.ms + ms;
    while (this.step(end));
    this.ms = end;
  }

  /** The process sleeps: what is due meanwhile is noticed afterwards. */
  sleep(ms: number): void {
    this.ms += ms;
    this.advance(0);
  }

  /** Runs the next alarm that is due until then. @returns false when there is none. */
  step(endMs = this.ms): boolean {
    const [next] = [...this.alarms].toSorted(([, a], [, b]) => a - b);
    if (next === undefined || next[1] > endMs) return false;
    const [alarm, atMs] = next;
    this.ms = Math.max(this.ms, atMs);
    this.alarms.delete(alarm);
    this.runs.get(alarm)?.();
    return true;
  }
}
