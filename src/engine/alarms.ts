// The alarms of an engine that has a loop of its own: a handful a thread, so a plain list is looked through.
import { endOfTurn, type Alarm } from "../core/loop.ts";

const unset = Number.POSITIVE_INFINITY;

export class Alarms {
  private readonly list: ListedAlarm[] = [];

  make(run: () => void): Alarm {
    const alarm = new ListedAlarm(run);
    this.list.push(alarm);
    return alarm;
  }

  /** @returns ms from `nowMs` to the first alarm, rounded up; 0 when one is due, −1 when none is set. */
  waitMs(nowMs: number): number {
    let firstMs = unset;
    for (const alarm of this.list) if (alarm.atMs < firstMs) firstMs = alarm.atMs;
    if (firstMs === unset) return -1;
    return Math.min(Math.max(0, Math.ceil(firstMs - nowMs)), waitMsMax);
  }

  /** Runs what is due, each once: an alarm that sets itself to the end of the turn means the next one. */
  runDue(nowMs: number, onFault: (error: unknown) => void): void {
    for (const alarm of this.list) alarm.isDue = alarm.atMs <= nowMs;
    for (const alarm of this.list) {
      if (!alarm.isDue) continue;
      alarm.clear();
      try {
        alarm.run();
      } catch (error) {
        onFault(error);
      }
    }
  }
}

/** The longest wait that epoll is asked for. */
const waitMsMax = 3_600_000;

class ListedAlarm implements Alarm {
  /** When it is to run; `endOfTurn` is earlier than any moment of a clock. */
  atMs = unset;
  isDue = false;
  readonly run: () => void;

  constructor(run: () => void) {
    this.run = run;
  }

  set(atMs: number): void {
    this.atMs = atMs <= endOfTurn ? endOfTurn : atMs;
    this.isDue = false;
  }

  clear(): void {
    this.atMs = unset;
    this.isDue = false;
  }
}
