// When code of one thread runs later: its clock and its alarms. An engine with a loop of its own brings its own; the
// one here is the runtime's.

/** Made once, set as often as one likes. */
export interface Alarm {
  /** Runs once at `atMs` of the loop's clock or soon after, `endOfTurn`: when this turn is over. Replaces what was set. */
  set(atMs: number): void;
  clear(): void;
}

export interface Loop {
  /** ms; the same in all threads. */
  now(): number;
  alarm(run: () => void): Alarm;
}

/** The end of this turn: what else is due at once comes first. */
export const endOfTurn = 0;
export const never = Number.POSITIVE_INFINITY;

/** The runtime's own event loop. */
export class EventLoop implements Loop {
  readonly now: () => number;
  private readonly onFault: (error: unknown) => void;

  /** @param onFault an alarm has thrown; as a rule it is the runtime's to tell. */
  constructor(now: () => number, onFault: (error: unknown) => void = raise) {
    this.now = now;
    this.onFault = onFault;
  }

  alarm(run: () => void): Alarm {
    const guarded = (): void => {
      try {
        run();
      } catch (error) {
        this.onFault(error);
      }
    };
    return new EventLoopAlarm(this.now, guarded);
  }
}

function raise(error: unknown): never {
  throw error;
}

class EventLoopAlarm implements Alarm {
  private readonly now: () => number;
  private readonly run: () => void;
  private immediate: ReturnType<typeof setImmediate> | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(now: () => number, run: () => void) {
    this.now = now;
    this.run = () => {
      this.immediate = null;
      this.timer = null;
      run();
    };
  }

  set(atMs: number): void {
    this.clear();
    if (atMs === endOfTurn) this.immediate = setImmediate(this.run);
    else this.timer = setTimeout(this.run, Math.max(0, atMs - this.now()));
  }

  clear(): void {
    if (this.immediate !== null) clearImmediate(this.immediate);
    if (this.timer !== null) clearTimeout(this.timer);
    this.immediate = null;
    this.timer = null;
  }
}
