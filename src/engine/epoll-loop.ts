// The blocking event loop of a thread: waits for events and alarms, and leaves sockets to the engine that extends it.
import type { Acceptor } from "../core/engine.ts";
import type { Alarm, Loop } from "../core/loop.ts";
import { bytes, Errno, sys, type Calls } from "../linux/calls.ts";
import { Alarms } from "./alarms.ts";
import { Epoll } from "./epoll.ts";

/** The number of the events of a watched descriptor; sockets have theirs from 1 on. */
const watchMark = -2;

export abstract class EpollLoop implements Loop {
  readonly now: () => number;
  /** Called before the loop would block. @returns true when it must not, for there is something to do. */
  beforeSleep: (() => boolean) | null = null;
  /** Called in a turn that does not block. */
  whileAwake: (() => void) | null = null;
  /** Called when the loop has blocked and goes on. */
  afterSleep: (() => void) | null = null;
  protected readonly calls: Calls;
  protected readonly errno: Errno;
  protected readonly epoll: Epoll;
  protected readonly onFault: Acceptor["onFault"];
  private readonly alarms = new Alarms();
  private readonly watched = new Map<number, () => void>();
  private readonly count8 = bytes(8);
  private stopped = false;

  constructor(calls: Calls, onFault: Acceptor["onFault"], now: () => number) {
    this.calls = calls;
    this.errno = new Errno(calls);
    this.epoll = new Epoll(calls, this.errno);
    this.onFault = onFault;
    this.now = now;
  }

  alarm(run: () => void): Alarm {
    return this.alarms.make(run);
  }

  /** Runs this thread's events and alarms until `stop`. Blocks. */
  run(): void {
    this.stopped = false;
    let nowMs = this.now();
    while (!this.stopped) {
      this.turn(this.hasWork() ? 0 : this.alarms.waitMs(nowMs));
      nowMs = this.now();
      this.alarms.runDue(nowMs, (error) => this.onFault(error, null));
    }
  }

  /** Ends `run` after this turn. */
  stop(): void {
    this.stopped = true;
  }

  /** Calls `onReadable` after writes to an eventfd, which is emptied first. The descriptor stays its owner's. */
  watch(fd: number, onReadable: () => void): void {
    this.watched.set(fd, onReadable);
    this.epoll.register(fd, watchMark, sys.EPOLLIN);
  }

  /** There is something to do at once, whatever events come. */
  protected abstract hasWork(): boolean;
  /** Faults of its handlers are its own to tell. */
  protected abstract onEvent(flags: number, fd: number, number: number): void;
  /** After the events of a turn. */
  protected abstract afterEvents(): void;

  private turn(waitMs: number): void {
    const blocks = this.maySleep(waitMs);
    const count = this.epoll.wait(blocks ? waitMs : 0);
    if (blocks) this.afterSleep?.();
    for (let index = 0; index < count; index += 1) {
      const fd = this.epoll.fdAt(index);
      const number = this.epoll.numberAt(index);
      if (number === watchMark) this.wake(fd);
      else this.onEvent(this.epoll.flagsAt(index), fd, number);
    }
    this.afterEvents();
  }

  private maySleep(waitMs: number): boolean {
    try {
      if (waitMs !== 0) return this.beforeSleep?.() !== true;
      this.whileAwake?.();
    } catch (error) {
      this.onFault(error, null);
    }
    return false;
  }

  private wake(fd: number): void {
    this.calls.read(fd, this.count8, 8);
    try {
      this.watched.get(fd)?.();
    } catch (error) {
      this.onFault(error, null);
    }
  }
}
