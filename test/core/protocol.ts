// The protocol of the one FIFO over all threads (batch, line, tickets, board: the real code) for the explorer: clients
// that arrive, leave and fail to connect, and what must hold of them in every interleaving.
import { assert } from "../../src/core/assert.ts";
import { Batch, Place, type Room, type Waiter } from "../../src/core/batch.ts";
import { Board, State } from "../../src/core/board.ts";
import { Line } from "../../src/core/line.ts";
import type { Loop } from "../../src/core/loop.ts";
import { Tickets } from "../../src/core/tickets.ts";
import type { Protocol } from "./interleave.ts";
import { watchOrder } from "./order.ts";
import type { Packed } from "./packed.ts";
import { Replay, type Node, type Program, type Turn } from "./replay.ts";

/** What a client does besides to wait for a slot and to hold it. */
export interface ClientPlan {
  /** It may go away as long as it waits. */
  readonly leaves?: boolean;
  /** Its first connect fails: from inside `give`, or later. */
  readonly fails?: "at once" | "later";
}

export interface Setting {
  /** By thread: its clients in the order in which they come. */
  readonly threads: readonly (readonly ClientPlan[])[];
  /** By row. */
  readonly slots: readonly number[];
  /** How many arrivals make a flush; otherwise they wait for the end of the turn. */
  readonly flushCount?: number;
  readonly waiterCountMax?: number;
  /** Breaks something, to show that it is found. */
  readonly mutate?: (parts: Parts) => void;
}

export interface Parts {
  readonly thread: number;
  readonly batch: Batch<Client>;
  readonly tickets: Tickets;
  readonly room: ModelRoom;
  readonly board: Board;
  readonly replay: Replay;
}

type Phase = "coming" | "waiting" | "holding" | "served" | "left";

export class Client implements Waiter {
  readonly order: number;
  readonly plan: ClientPlan;
  place: Place = Place.nowhere;
  left = false;
  phase: Phase = "waiting";
  row = -1;
  hasFailed = false;

  constructor(order: number, plan: ClientPlan) {
    this.order = order;
    this.plan = plan;
  }

  get fails(): ClientPlan["fails"] {
    return this.hasFailed ? undefined : this.plan.fails;
  }
}

/** Slots over the real board: whoever has no limit of their own looks at the marks of what is free. */
class ModelRoom implements Room<Client> {
  batch: Batch<Client> | null = null;
  /** Slots in hand that nobody has: by row, 0 whenever the thread is at rest. */
  readonly inHand: number[];
  private readonly board: Board;
  private readonly countForFlush: number;

  constructor(board: Board, setting: Setting) {
    this.board = board;
    this.inHand = setting.slots.map(() => 0);
    this.countForFlush = setting.flushCount ?? 1;
  }

  take(): number {
    const row = this.board.findFree((each) => this.board.take(each));
    if (row >= 0) this.hand(row, 1);
    return row;
  }
  give(client: Client, row: number): void {
    assert(client.phase === "waiting", "model: a client gets a second slot");
    assert(!client.left, "model: a client that has left gets a slot");
    this.hand(row, -1);
    client.phase = "holding";
    client.row = row;
    if (client.fails === "at once") this.fail(client);
  }
  release(row: number): void {
    this.hand(row, -1);
    this.board.give(row);
  }
  releaseUnused(row: number): void {
    this.release(row);
  }
  mayServe(row: number): boolean {
    return this.board.stateOf(row) === State.up;
  }
  onSent(row: number): void {
    this.hand(row, -1);
  }
  onReceived(row: number): void {
    this.hand(row, 1);
  }
  stay(): boolean {
    return true;
  }
  flushCount(): number {
    return this.countForFlush;
  }

  /** A connect has failed: its slot is free, the client waits again (`Plane.afterFailure`, `Plane.giveBack`). */
  fail(client: Client): void {
    const { row } = client;
    client.hasFailed = true;
    client.phase = "waiting";
    client.row = -1;
    this.board.give(row);
    assert(this.batch !== null, "model: a room without a batch");
    this.batch.giveBack(client);
  }

  hand(row: number, change: number): void {
    this.inHand[row] = (this.inHand[row] ?? 0) + change;
  }
}

/** Prototypes of the traced classes, once per replay. */
interface Traced {
  readonly batch: object;
  readonly line: object;
  readonly tickets: object;
  readonly room: object;
}

class ModelThread implements Program {
  private readonly plans: readonly ClientPlan[];
  private readonly clients: Client[] = [];
  private readonly batch: Batch<Client>;
  private readonly tickets: Tickets;
  private readonly room: ModelRoom;
  private isArmed = false;
  private onAlarm: () => void = () => {};

  constructor(setting: Setting, board: Board, thread: number, replay: Replay, traced: Traced) {
    this.plans = setting.threads[thread] ?? [];
    this.room = new ModelRoom(board, setting);
    this.tickets = new Tickets(board.ticketColumns, thread, replay.memory);
    this.tickets.onGrant = (to) => replay.notify(to);
    this.batch = new Batch<Client>(this.room, { flushMs: 0 }, this.loop(), this.tickets);
    this.room.batch = this.batch;
    replay.trace(this.batch, traced.batch);
    for (const line of this.batch["lines"]) replay.trace(line, traced.line);
    replay.trace(this.tickets, traced.tickets);
    replay.trace(this.room, traced.room);
    const { batch, tickets, room } = this;
    setting.mutate?.({ thread, batch, tickets, room, board, replay });
  }

  turns(): readonly Turn[] {
    const turns: Turn[] = [{ name: "wake", wakes: true, run: () => this.wake() }];
    const add = (name: string, run: () => void) => turns.push({ name, wakes: false, run });
    if (this.isArmed) add("end of turn", () => this.alarm());
    const plan = this.plans[this.clients.length];
    if (plan !== undefined) add("accept", () => this.accept(plan));
    for (const [index, client] of this.clients.entries()) {
      const { phase, plan: wishes } = client;
      if (phase === "waiting" && wishes.leaves) add(`leave ${index}`, () => this.leave(client));
      if (phase !== "holding") continue;
      if (client.fails === "later") add(`fail ${index}`, () => this.fail(client));
      else add(`free ${index}`, () => this.free(client));
    }
    return turns;
  }

  /** What is never read again is left out: the numbers of those that wait no more, and what they were compared with. */
  state(): string {
    const { batch, tickets, room, clients } = this;
    const isLast = clients.length === this.plans.length;
    const fresh = batch["fresh"];
    const files = !isLast || fresh.count > 0 || clients.some((each) => each.fails !== undefined);
    const lines = batch["lines"].map((line) => {
      const items = line["items"].map((item) => item?.order ?? 0);
      return [...items, line.count, line["served"], line["tail"], files ? line["newest"] : ""];
    });
    const each = clients.map((client) => {
      const { phase, order, row, place, left, hasFailed } = client;
      const isOver = phase === "served" || (phase === "holding" && client.fails === undefined);
      return isOver ? `${phase}${row}` : `${phase}${order} ${row} ${place} ${left} ${hasFailed}`;
    });
    const newcomers: number[] = [];
    for (let n = 0; n < fresh.count; n += 1) newcomers.push(fresh.at(n)?.order ?? 0);
    const lastOrder = isLast ? "" : tickets["lastOrder"];

    const counts = [
      lastOrder,
      batch["freshLeftCount"],
      batch["busy"],
      batch["armedAt"],
      this.isArmed,
    ];
    return `${lines.join()};${each.join()};${newcomers.join()};${room.inHand.join()};${counts.join()}`;
  }

  holds(): readonly number[] {
    const holds = this.room.inHand.map(() => 0);
    for (const { phase, row } of this.clients) {
      if (phase === "holding") holds[row] = (holds[row] ?? 0) + 1;
    }
    return holds;
  }

  complaint(): string {
    for (const { order, phase } of this.clients) {
      if (phase !== "served" && phase !== "left") return `client ${order} is ${phase} for ever`;
    }
    return this.batch.count === 0 ? "" : "a batch counts somebody at the end";
  }

  complaintAtRest(): string {
    return this.room.inHand.some((count) => count !== 0) ? "a slot in hand is nobody's" : "";
  }

  private wake(): void {
    this.tickets.awake();
    this.batch.flush();
  }

  private alarm(): void {
    this.isArmed = false;
    this.onAlarm();
  }

  private accept(plan: ClientPlan): void {
    const client = new Client(this.tickets.nextOrder(), plan);
    this.clients.push(client);
    this.batch.add(client);
  }

  private leave(client: Client): void {
    client.phase = "left";
    if (client.place !== Place.nowhere) this.batch.leave(client);
  }

  private fail(client: Client): void {
    this.room.fail(client);
    this.batch.flush();
  }

  private free(client: Client): void {
    client.phase = "served";
    const { row } = client;
    client.row = -1;
    this.room.hand(row, 1);
    this.batch.free(row);
  }

  private loop(): Loop {
    return {
      now: () => 0,
      alarm: (run) => {
        this.onAlarm = run;
        return { set: () => void (this.isArmed = true), clear: () => void (this.isArmed = false) };
      },
    };
  }
}

/** All of a setting that the explorer needs. */
export function protocolOf(setting: Setting): Protocol {
  const threadCount = setting.threads.length;
  const clientCount = setting.threads.flat().length;
  const { slots } = setting;
  const size = {
    destinationCountMax: slots.length,
    threadCount,
    waiterCountMax:
      setting.waiterCountMax ?? Math.max(...setting.threads.map((each) => each.length)),
  };
  const start = (thread: number): Program =>
    new ModelThread(setting, board, thread, replay, traced);
  const replay: Replay = new Replay(start, (word) => nameOf(board, word));
  const board = new Board(size, undefined, replay.memory);
  slots.forEach((count, row) => {
    board.slots[row] = count;
    board.enabled[row] = 1;
    board.resolved[row] = 1;
    const { freeBits } = board;
    freeBits[row >>> 5] = (freeBits[row >>> 5] ?? 0) | (1 << (row & 31));
  });
  const traced: Traced = {
    batch: replay.traced(Batch.prototype, { isStateful: true, forgetful: ["flush", "free"] }),
    line: replay.traced(Line.prototype, { isStateful: true, forgetful: [] }),
    tickets: replay.traced(Tickets.prototype, {
      isStateful: false,
      forgetful: [],
      skipping: ["someoneWaits", "claimOldest", "hasOlder"],
    }),
    room: replay.traced(ModelRoom.prototype, { isStateful: true, forgetful: [] }),
  };
  replay.trace(board, replay.traced(Board.prototype, { isStateful: false, forgetful: [] }));
  const notified = setting.threads.map((_, thread) => replay.reserve(`notified[${thread}]`));
  const { watch, isWatched, ghosts } = watchOrder(replay, board, threadCount, clientCount);
  const { ticketColumns: columns } = board;
  const slotsOf = (column: Int32Array) =>
    [...column].map((_, index) => replay.slotOf(column, index));
  const used = slotsOf(board.used);
  const heads = slotsOf(columns.heads);
  const tails = slotsOf(columns.tails);
  const grants = slotsOf(columns.grants);
  const woken = slotsOf(columns.woken);
  const check = (nodes: readonly Node[]): string => {
    for (let row = 0; row < slots.length; row += 1) {
      let holders = 0;
      for (const node of nodes) holders += node.holds[row] ?? 0;
      if (holders > (slots[row] ?? 0)) return `${holders} hold ${slots[row]} slots of row ${row}`;
    }
    return "";
  };
  const checkEnd = (nodes: readonly Node[], memory: Packed): string => {
    const is = (slot: number | undefined) => memory.get(slot ?? 0);
    for (const node of nodes) if (node.complaint !== "") return node.complaint;
    if (used.some((slot) => is(slot) !== 0)) return "a slot is not back";
    if (heads.some((slot, line) => is(slot) !== is(tails[line]))) return "a ticket is left";
    if (grants.some((slot) => is(slot) !== 0)) return "a grant is left";
    return woken.some((slot) => is(slot) !== 0) ? "a thread sleeps as one that is woken" : "";
  };
  return { replay, threadCount, notified, watch, isWatched, ghosts, check, checkEnd };
}

function nameOf(board: Board, word: number): string {
  const { ticketColumns: tickets } = board;
  const columns = { ...board, ...tickets } as Readonly<Record<string, unknown>>;
  for (const [name, column] of Object.entries(columns)) {
    if (!(column instanceof Int32Array) || name === "machine") continue;
    const index = word - column.byteOffset / 4;
    if (index >= 0 && index < column.length) return `${name}[${index}]`;
  }
  return `word ${word}`;
}
