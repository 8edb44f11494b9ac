// One thread of the stress (threads-stress.test.ts): the real batch over a shared board, with clients that arrive,
// leave, fail to connect and are served at random. It blocks in the kernel when it has nothing to do.
import { Batch, Place, type Room, type Waiter } from "../../src/core/batch.ts";
import { Board, type BoardSize } from "../../src/core/board.ts";
import { Tickets } from "../../src/core/tickets.ts";
import { seeded, type Random } from "../wait.ts";

export interface StressJob {
  readonly size: BoardSize;
  readonly board: SharedArrayBuffer;
  readonly record: SharedArrayBuffer;
  readonly thread: number;
  readonly seed: number;
  readonly clientCount: number;
  readonly clientCountEach: number;
}

/** How a client has ended. */
export const Fate = { none: 0, served: 1, left: 2 } as const;

/** What all threads write down, beside the board; stamps are those of one shared clock of whole numbers. */
export class StressRecord {
  readonly buffer: SharedArrayBuffer;
  readonly readyCount: Int32Array;
  readonly clock: Int32Array;
  readonly doneCount: Int32Array;
  readonly faultCount: Int32Array;
  /** By row: the number of who holds its slot. */
  readonly owners: Int32Array;
  /** By thread: 1 = notified. */
  readonly notified: Int32Array;
  // By number of arrival.
  readonly fates: Int32Array;
  readonly hasFailed: Int32Array;
  /** Before it was filed, and after it was published. */
  readonly filedFrom: Int32Array;
  readonly filedTo: Int32Array;
  /** Before and after it was claimed. */
  readonly claimedFrom: Int32Array;
  readonly claimedTo: Int32Array;

  constructor(size: BoardSize, clientCount: number, buffer?: SharedArrayBuffer) {
    const { destinationCountMax: rows, threadCount } = size;
    const whole = 4 + rows + threadCount + 6 * (clientCount + 1);
    this.buffer = buffer ?? new SharedArrayBuffer(4 * whole);
    let at = 0;
    const next = (count: number): Int32Array => {
      const column = new Int32Array(this.buffer, at, count);
      at += 4 * count;
      return column;
    };
    this.readyCount = next(1);
    this.clock = next(1);
    this.doneCount = next(1);
    this.faultCount = next(1);
    this.owners = next(rows);
    this.notified = next(threadCount);
    this.fates = next(clientCount + 1);
    this.hasFailed = next(clientCount + 1);
    this.filedFrom = next(clientCount + 1);
    this.filedTo = next(clientCount + 1);
    this.claimedFrom = next(clientCount + 1);
    this.claimedTo = next(clientCount + 1);
  }

  stamp(): number {
    return Atomics.add(this.clock, 0, 1) + 1;
  }

  /** Counts a fault unless what was there is what had to be. */
  expect(before: number, wanted: number): void {
    if (before !== wanted) Atomics.add(this.faultCount, 0, 1);
  }
}

class Client implements Waiter {
  readonly order: number;
  place: Place = Place.nowhere;
  left = false;
  row = -1;

  constructor(order: number) {
    this.order = order;
  }
}

declare const self: Worker; // what a thread sees of itself

/** After so long without being woken a thread that waits is stuck. */
const stuckMs = 3_000;

class StressThread implements Room<Client> {
  private readonly job: StressJob;
  private readonly board: Board;
  private readonly record: StressRecord;
  private readonly random: Random;
  private readonly tickets: Tickets;
  private readonly batch: Batch<Client>;
  private readonly waiting = new Set<Client>();
  private readonly holding = new Set<Client>();
  private filed: Client[] = [];
  private arrivedCount = 0;
  private isArmed = false;
  private onAlarm: () => void = () => {};

  constructor(job: StressJob) {
    this.job = job;
    this.board = new Board(job.size, job.board);
    this.record = new StressRecord(job.size, job.clientCount, job.record);
    this.random = seeded(job.seed + job.thread);
    this.tickets = new Tickets(this.board.ticketColumns, job.thread);
    this.tickets.onGrant = (thread) => this.notify(thread);
    this.stampClaims();
    const loop = {
      now: () => 0,
      alarm: (run: () => void) => {
        this.onAlarm = run;
        return { set: () => void (this.isArmed = true), clear: () => void (this.isArmed = false) };
      },
    };
    this.batch = new Batch<Client>(this, { flushMs: 0 }, loop, this.tickets);
  }

  run(): void {
    const { record, job } = this;
    Atomics.add(record.readyCount, 0, 1);
    while (Atomics.load(record.readyCount, 0) < job.size.threadCount) pause(record, 0.1);
    while (Atomics.load(record.doneCount, 0) < job.clientCount) {
      if (Atomics.exchange(record.notified, job.thread, 0) === 1) {
        this.tickets.awake();
        this.batch.flush();
      } else if (!this.act()) {
        // Stuck only when nobody anywhere goes on.
        const before = Atomics.load(record.clock, 0);
        const how = Atomics.wait(record.notified, job.thread, 0, stuckMs);
        if (how === "timed-out" && Atomics.load(record.clock, 0) === before) {
          return record.expect(1, 0);
        }
      }
      this.noteFiled();
    }
  }

  take(): number {
    return this.board.findFree((row) => this.board.take(row));
  }
  give(client: Client, row: number): void {
    this.waiting.delete(client);
    client.row = row;
    this.record.expect(client.left ? 1 : 0, 0);
    this.record.expect(Atomics.compareExchange(this.record.owners, row, 0, client.order), 0);
    this.holding.add(client);
    if (this.random.int(20) === 0) this.fail(client);
  }
  release(row: number): void {
    this.board.give(row);
  }
  releaseUnused(row: number): void {
    this.board.give(row);
  }
  mayServe(): boolean {
    return true;
  }
  onSent(): void {}
  onReceived(): void {}
  stay(client: Client): boolean {
    this.record.filedFrom[client.order] = this.record.stamp();
    this.filed.push(client);
    return true;
  }
  flushCount(): number {
    return 1 + this.random.int(4);
  }

  /** One thing of its own, at random. @returns false when there is none. */
  private act(): boolean {
    const { random, holding, waiting } = this;
    const [first] = holding;
    const dice = random.int(8);
    if (this.isArmed && dice < 4) {
      this.isArmed = false;
      this.onAlarm();
    } else if (first !== undefined && (dice < 3 || this.isAllHere())) {
      if (dice === 0) this.fail(first);
      else this.free(first);
    } else if (!this.isAllHere()) {
      if (dice > 5) pause(this.record, random.next());
      this.accept();
    } else if (this.isArmed) {
      this.isArmed = false;
      this.onAlarm();
    } else {
      return false;
    }
    const [oldest] = waiting;
    if (oldest !== undefined && random.int(16) === 0) this.leave(oldest);
    return true;
  }

  private isAllHere(): boolean {
    return this.arrivedCount === this.job.clientCountEach;
  }

  private accept(): void {
    this.arrivedCount += 1;
    const client = new Client(this.tickets.nextOrder());
    this.waiting.add(client);
    this.batch.add(client);
  }

  private free(client: Client): void {
    const { row } = client;
    this.letGo(client);
    this.end(client, Fate.served);
    this.batch.free(row);
  }

  private fail(client: Client): void {
    const { row } = client;
    this.letGo(client);
    this.record.hasFailed[client.order] = 1;
    this.board.give(row);
    this.waiting.add(client);
    this.batch.giveBack(client);
    this.batch.flush();
  }

  private leave(client: Client): void {
    this.waiting.delete(client);
    this.end(client, Fate.left);
    this.batch.leave(client);
  }

  private letGo(client: Client): void {
    this.holding.delete(client);
    const { owners } = this.record;
    this.record.expect(Atomics.compareExchange(owners, client.row, client.order, 0), client.order);
    client.row = -1;
  }

  private end(client: Client, fate: number): void {
    const { record, job } = this;
    record.expect(Atomics.exchange(record.fates, client.order, fate), Fate.none);
    if (Atomics.add(record.doneCount, 0, 1) + 1 < job.clientCount) return;
    for (let thread = 0; thread < job.size.threadCount; thread += 1) this.notify(thread);
  }

  private notify(thread: number): void {
    Atomics.store(this.record.notified, thread, 1);
    Atomics.notify(this.record.notified, thread);
  }

  /** Those that were filed are published now. */
  private noteFiled(): void {
    if (this.filed.length === 0) return;
    const at = this.record.stamp();
    for (const { order } of this.filed) this.record.filedTo[order] = at;
    this.filed = [];
  }

  private stampClaims(): void {
    const { tickets, record } = this;
    const { numbers } = this.board.ticketColumns;
    const claimOldest = tickets.claimOldest.bind(tickets);
    tickets.claimOldest = () => {
      const from = record.stamp();
      const place = claimOldest();
      if (place < 0) return place;
      const number = Atomics.load(numbers, place);
      record.claimedFrom[number] = from;
      record.claimedTo[number] = record.stamp();
      return place;
    };
  }
}

function pause({ doneCount }: StressRecord, ms: number): void {
  Atomics.wait(doneCount, 0, Atomics.load(doneCount, 0), ms); // nobody is notified there
}

if (!Bun.isMainThread) {
  self.addEventListener("message", ({ data }: MessageEvent<StressJob>) => {
    let fault = "";
    try {
      new StressThread(data).run();
    } catch (error) {
      fault = String(error);
    }
    self.postMessage(fault, []);
  });
}
