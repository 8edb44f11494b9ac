// Keeps the data-plane threads: starts them, carries commands and records, replaces one that has died.
import { MessageChannel, Worker, type MessagePort } from "node:worker_threads";
import { RecordRing, type RowRecord } from "./control/record-ring.ts";
import type { Board } from "./core/board.ts";
import type { ClientTable } from "./core/clients.ts";
import { reclaim } from "./core/reclaim.ts";
import { clockZeroMs, linux, writeWake, type Libc } from "./linux/libc.ts";
import type { Present, ThreadCommand, ThreadEvent, ThreadPlan } from "./thread-plan.ts";
import type { WorkerData, WorkerMessage } from "./worker.ts";

/** Records are collected for so long before they are read. */
const recordsMs = 20;
/** A thread that has died is replaced after so long, doubling up to the larger while they die young. */
const restartMsMin = 10;
const restartMsMax = 5_000;
/** One that has lived so long did not die young. */
const youngMs = 10_000;

export interface SupervisorEvents {
  tell(event: ThreadEvent, thread: number): void;
  record(record: RowRecord): void;
  /** A thread has died with so many open connections; another one takes its place after `restartMs`. */
  onDeath(thread: number, cause: string, connectionCount: number, restartMs: number): void;
}

/** What the threads of a plan share; each gets its own number and wake descriptor. */
export type CommonPlan = Omit<ThreadPlan, keyof Present | "thread" | "wakeFds" | "wakeFd">;

/** What it needs to know of the balancer as it is by now. */
export interface SupervisorHost {
  readonly board: Board;
  /** What a thread in place of another one starts with. */
  present(): Present;
  /** Where clients are counted, if they are. */
  clients(): ClientTable | null;
}

/** After these a thread that dies is not replaced. */
const enders: ReadonlySet<ThreadCommand["kind"]> = new Set(["drain", "hand-over", "stop"]);

interface Member {
  worker: Worker;
  commands: MessagePort;
  readonly records: RecordRing;
  /** It reads what is sent to it, sooner or later. */
  isListening: boolean;
  bornAt: number;
  restartMs: number;
  isOver: boolean;
}

export class Supervisor {
  private readonly c: Libc;
  private readonly common: CommonPlan;
  private readonly board: Board;
  private readonly host: SupervisorHost;
  private readonly events: SupervisorEvents;
  private readonly members: Member[] = [];
  /** By thread: the end that others write to, and its own. */
  private readonly wakeFds: number[] = [];
  private readonly ownFds: number[] = [];
  /** Dead threads whose clients are still counted. */
  private readonly unreclaimed = new Set<number>();
  private readonly clockZero: number;
  /** What wakes a thread is one descriptor for both ends. */
  private readonly usesEventFd: boolean;
  private ending = false;

  /** @throws when the system gives no descriptors to wake threads by. */
  constructor(c: Libc, common: CommonPlan, host: SupervisorHost, events: SupervisorEvents) {
    const { board } = host;
    const { engine } = host.present().settings;
    this.c = c;
    this.common = common;
    this.board = board;
    this.host = host;
    this.events = events;
    this.usesEventFd = engine === "libc";
    this.clockZero = clockZeroMs(c);
    for (let thread = 0; thread < board.size.threadCount; thread += 1) {
      const [theirs, own] = this.usesEventFd ? wakeCounter(c) : wakePair(c);
      this.wakeFds.push(theirs);
      this.ownFds.push(own);
    }
  }

  get count(): number {
    return this.members.length;
  }

  /** Records that found no room on their way. */
  get dropped(): number {
    return this.members.reduce((sum, each) => sum + each.records.dropped, 0);
  }

  /** Starts all threads. @throws what the first that cannot start throws. */
  async start(): Promise<void> {
    const count = this.board.size.threadCount;
    const ready = Array.from({ length: count }, (_, thread) => {
      const records = new RecordRing();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.members.push({
        ...this.spawn(thread, records, resolve, reject),
        records,
        isListening: true,
        bornAt: performance.now(),
        restartMs: restartMsMin,
        isOver: false,
      });
      return promise;
    });
    await Promise.all(ready);
  }

  /** One that is dead for the moment does not, and its successor starts with the present. */
  isListening(thread: number): boolean {
    return this.members[thread]?.isListening ?? false;
  }

  send(command: ThreadCommand): void {
    if (enders.has(command.kind)) this.ending = true;
    this.members.forEach((each, thread) => {
      each.commands.postMessage(command, []);
      this.wake(thread);
    });
  }

  /** Ends the threads that have said that they have stopped, and closes what is shared. */
  async close(): Promise<void> {
    this.ending = true;
    await Promise.all(this.members.map((each) => each.worker.terminate()));
    for (const fd of new Set([...this.wakeFds.splice(0), ...this.ownFds.splice(0)])) {
      this.c.close(fd);
    }
  }

  /** Reads what records are on their way. */
  drainRecords(): void {
    for (const { records } of this.members) this.read(records);
  }

  private read(records: RecordRing): void {
    records.drain((record) => this.events.record(record));
  }

  private wake(thread: number): void {
    writeWake(this.c, this.wakeFds[thread] ?? -1);
  }

  private spawn(
    thread: number,
    records: RecordRing,
    onReady: () => void,
    onFailure: (error: Error) => void,
  ): { worker: Worker; commands: MessagePort } {
    const { port1: commands, port2 } = new MessageChannel();
    const shared = this.ownFds[thread] ?? -1;
    const own = this.usesEventFd ? shared : this.c.dup(shared); // Bun closes it with the thread
    const { common, host, wakeFds } = this;
    const plan: ThreadPlan = { ...common, ...host.present(), thread, wakeFds, wakeFd: own };
    const workerData: WorkerData = {
      plan,
      commands: port2,
      records: records.buffer,
      clockZero: this.clockZero,
    };
    const worker = new Worker(new URL("./worker.ts", import.meta.url), {
      workerData,
      transferList: [port2],
    });
    let cause = "";
    let isReady = false;
    worker.on("message", (message: WorkerMessage) => {
      if (message.kind === "ready") {
        isReady = true;
        onReady();
      } else if (message.kind === "late") {
        this.read(records); // those before them
        for (const record of message.records) this.events.record(record);
      } else if (message.kind === "records") {
        setTimeout(() => this.read(records), recordsMs);
      } else {
        if (message.kind === "answer") this.read(records); // they may be of rows that it has forgotten
        this.events.tell(message, thread);
      }
    });
    worker.on("error", (error: Error) => {
      cause = error.message;
      if (!isReady) onFailure(error);
    });
    worker.on("exit", () => {
      commands.close();
      if (!this.ending) this.replace(thread, cause);
      else this.onOver(thread);
    });
    return { worker, commands };
  }

  /** A thread that dies while all are ending has nothing open any more. */
  private onOver(thread: number): void {
    const member = this.members[thread];
    if (member === undefined || member.isOver) return;
    member.isListening = false;
    member.isOver = true;
    this.reclaim(thread);
    this.events.tell({ kind: "empty" }, thread);
    this.events.tell({ kind: "stopped" }, thread);
  }

  private reclaim(thread: number): number {
    this.unreclaimed.add(thread);
    // One whose lock another dead thread holds comes after that.
    for (const each of [...this.unreclaimed, ...this.unreclaimed]) {
      if ((this.host.clients()?.reclaim(each) ?? 0) >= 0) this.unreclaimed.delete(each);
    }
    return reclaim(this.board, thread);
  }

  private replace(thread: number, cause: string): void {
    const member = this.members[thread];
    if (member === undefined) return; // it never started
    member.isListening = false;
    const connectionCount = this.reclaim(thread);
    this.drainRecords(); // it may have died before it could tell of its last
    this.members.forEach((_, other) => other !== thread && this.wake(other));
    const isYoung = performance.now() - member.bornAt < youngMs;
    const restartMs = isYoung ? member.restartMs : restartMsMin;
    member.restartMs = Math.min(2 * restartMs, restartMsMax);
    this.events.onDeath(thread, cause, connectionCount, restartMs);
    setTimeout(() => {
      if (this.ending) return this.onOver(thread);
      const again = () => this.wake(thread); // for what was sent since its birth
      const { worker, commands } = this.spawn(thread, member.records, again, () => {});
      member.worker = worker;
      member.commands = commands;
      member.isListening = true;
      member.bornAt = performance.now();
    }, restartMs);
  }
}

/** An eventfd, which is both ends in one. */
function wakeCounter(c: Libc): readonly [number, number] {
  const fd = c.eventfd(0, linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC); // the flags are the same numbers
  if (fd < 0) throw new Error("no descriptors are left");
  return [fd, fd];
}

/** Two ends of a socket pair: a write to the first makes the second readable. */
function wakePair(c: Libc): readonly [number, number] {
  const ends = new Int32Array(new ArrayBuffer(8));
  const kind = linux.SOCK_STREAM | linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC;
  if (c.socketpair(linux.AF_UNIX, kind, 0, ends) !== 0) throw new Error("no descriptors are left");
  return [ends[0] ?? -1, ends[1] ?? -1];
}
