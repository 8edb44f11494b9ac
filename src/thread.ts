// One data-plane thread: its engine, its loop, its plane upon the common board. It runs in the main thread when it is
// alone, else in a Worker of its own (worker.ts); the code is the same. Origin: IAWLB §13, §19: these are its workers.
import type { ChangeEvent } from "./control/hooks.ts";
import type { Options } from "./control/options.ts";
import { recordOf } from "./control/record.ts";
import type { RowRecord } from "./control/record-ring.ts";
import { Refusals } from "./control/refusals.ts";
import { AccessRules } from "./core/access.ts";
import { Admission } from "./core/admission.ts";
import { assert, AssertionError } from "./core/assert.ts";
import { Board, type BoardSize } from "./core/board.ts";
import { Destinations, type DestinationPlan } from "./core/destination.ts";
import type { Acceptor, DialAddress, Listening } from "./core/engine.ts";
import { endOfTurn, EventLoop, type Alarm, type Loop } from "./core/loop.ts";
import type { Pair } from "./core/pair.ts";
import { Plane } from "./core/plane.ts";
import { policyOf } from "./core/policy.ts";
import { refusals } from "./core/reason.ts";
import { Sweep } from "./core/sweep.ts";
import { clientTable } from "./control/client-limits.ts";
import { BunEngine } from "./engine/bun.ts";
import type { Target } from "./engine/dial.ts";
import { LibcEngine } from "./engine/libc.ts";
import { acceptFrom, listenPortably } from "./engine/listen.ts";
import { openCalls } from "./linux/calls.ts";
import { libc, writeWake, type Libc } from "./linux/libc.ts";

/** Turns of the loop that a drain waits for what the kernel has queued: at least, and at most while more come. */
const turnCountMin = 2;
const turnCountMax = 64;
/** After a standstill of ours, bytes that came meanwhile are read for so long before any deadline is judged. */
const catchUpMs = 300;

/** What a thread is made of; it travels to a Worker as it is. */
export interface ThreadPlan {
  readonly thread: number;
  readonly options: Options;
  /** false: dial without libc. */
  readonly usesLibc: boolean;
  readonly boardSize: BoardSize;
  readonly board: SharedArrayBuffer;
  /** The table of clients, where there is a limit for each of them. */
  readonly clients: SharedArrayBuffer | null;
  /** Addresses of each destination, by row; empty until its name resolves. */
  readonly targets: readonly (readonly Target[])[];
  /** Listening descriptors. */
  readonly listeners: readonly number[];
  /** By thread: where a write wakes it; and the other end of our own. Empty and −1 when it is alone. */
  readonly wakeFds: readonly number[];
  readonly wakeFd: number;
  /** Somebody wants a record of every connection. */
  readonly wantsRecords: boolean;
  /** ms since 1970 at the zero of the balancer's clock. */
  readonly startedAt: number;
}

/** What the control plane asks of a thread. */
export type ThreadCommand =
  | { readonly kind: "addresses"; readonly row: number; readonly targets: readonly Target[] }
  /** What the board says of a destination has changed: serve who waits, as far as it can. */
  | { readonly kind: "changed"; readonly row: number }
  /** Closes the joined pairs of a destination that its checks have taken down. */
  | { readonly kind: "cut"; readonly row: number }
  /** Accepts no more, refuses who waits; what is open goes on. */
  | { readonly kind: "drain" }
  /** Accepts no more, for a successor does; what is open or waits goes on. */
  | { readonly kind: "hand-over" }
  /** Says that it still turns. */
  | { readonly kind: "ask"; readonly question: number }
  /** Cuts what is left and ends. */
  | { readonly kind: "stop" };

/** What a thread tells the control plane. */
export type ThreadEvent =
  | ChangeEvent
  | { readonly kind: "connection-limit" }
  | { readonly kind: "fault"; readonly message: string }
  /** It was asked to drain, and nothing is open any more. */
  | { readonly kind: "empty" }
  | { readonly kind: "answer"; readonly question: number }
  | { readonly kind: "stopped" };

export interface ThreadLink {
  tell(event: ThreadEvent): void;
  /** A connection has ended. */
  record(record: RowRecord): void;
}

export class DataThread {
  readonly plane: Plane;
  private readonly plan: ThreadPlan;
  private readonly link: ThreadLink;
  private readonly c: Libc | null;
  private readonly engine: BunEngine | LibcEngine;
  /** Where its code runs later. */
  readonly loop: Loop;
  private readonly sweep: Sweep;
  private readonly destinations: Destinations;
  private readonly listening: { stop(): void }[] = [];
  private draining = false;
  private refusesWaiting = false;
  private broken: AssertionError | null = null;
  private readonly refusals: Refusals;
  private readonly afterTurn: Alarm;
  /** Of the turns that a drain waits: how many, and how many clients had come before. */
  private turnCount = 0;
  private acceptedBefore = 0;
  /** Called when this thread was woken: perhaps there are commands. */
  onWake: () => void = () => {};

  constructor(plan: ThreadPlan, link: ThreadLink, now: () => number) {
    const { options } = plan;
    this.plan = plan;
    this.link = link;
    this.c = plan.usesLibc ? libc : null;
    const onFault: Acceptor["onFault"] = (error, events) => this.plane.onFault(error, events);
    const calls = options.engine === "libc" ? openCalls() : null;
    this.engine =
      calls === null ? new BunEngine(this.c, onFault) : new LibcEngine(calls, onFault, now);
    this.loop =
      this.engine instanceof LibcEngine
        ? this.engine
        : new EventLoop(now, (error) => this.plane.onFault(error, null));
    this.afterTurn = this.loop.alarm(() => this.onTurn());
    const board = new Board(plan.boardSize, plan.board);
    const filed = board.thread(plan.thread).cell("deadlines");
    this.sweep = new Sweep(this.loop, filed, catchUpMs);
    const plans = options.destinations.map((each, row): DestinationPlan => {
      const { name, slots, weight, backup } = each;
      const addresses = this.addressesOf(plan.targets[row] ?? []);
      const { threadCount } = plan.boardSize;
      const warm = Math.ceil((each.warm - plan.thread) / threadCount); // its share of them
      return { name, slots, weight, backup, addresses, warm: Math.max(0, warm) };
    });
    this.destinations = new Destinations(
      plans,
      board,
      plan.thread,
      (on, members) => policyOf(options.policy, on, members),
      this.sweep,
      {
        onOut: ({ name }, cause, retryMs) =>
          link.tell({ kind: "destination-out", name, cause, retryMs }),
        onBack: ({ name }) => link.tell({ kind: "destination-back", name }),
      },
      Math.random,
      options.slowStartMs,
    );
    this.refusals = new Refusals(this.loop, options.refusalRecordsMax, (reason, count) =>
      link.tell({ kind: "unlogged", reason, count }),
    );
    this.plane = this.planeUpon(board);
    if (plan.wakeFds.length > 0) this.joinOthers();
  }

  /** Accepts from its listening descriptors. @throws ListenError */
  open(): void {
    const { c, plan, engine, plane } = this;
    if (c === null) return;
    plan.listeners.forEach((fd, index) => {
      this.listening.push(acceptFrom(engine, c, fd, plan.options.backlogCount, plane, index));
    });
    plane.onWake(); // whoever had this number before may have been woken in vain
  }

  /**
   * Runs a loop of its own until it is stopped; returns at once where the loop is the runtime's.
   * @throws AssertionError the broken invariant that has ended it; its connections are reset.
   */
  run(): void {
    const { engine } = this;
    if (!(engine instanceof LibcEngine)) return;
    try {
      engine.run();
    } finally {
      this.stopListening();
      engine.closeAll(); // its descriptors are ours to close, whatever has ended it
    }
    if (this.broken !== null) throw this.broken;
  }

  /** Opens a listener of its own, where there is no libc. @throws ListenError */
  openPortably(target: Target): Listening {
    assert(this.engine instanceof BunEngine, "thread: the libc engine listens by descriptors");
    const opened = listenPortably(this.engine, target, this.plane, this.listening.length);
    this.listening.push(opened);
    return opened;
  }

  stopListening(): void {
    for (const listener of this.listening.splice(0)) listener.stop();
  }

  handle(command: ThreadCommand): void {
    switch (command.kind) {
      case "addresses": {
        const destination = this.destinations.at(command.row);
        return this.destinations.setAddresses(destination, this.addressesOf(command.targets));
      }
      case "changed":
        return this.destinations.onChanged(this.destinations.at(command.row));
      case "cut":
        return this.plane.cutDestination(command.row, "destination-down");
      case "drain":
        this.refusesWaiting = true;
        return this.drain();
      case "hand-over":
        return this.drain();
      case "ask":
        return this.link.tell({ kind: "answer", question: command.question });
      case "stop":
        return this.stop();
    }
  }

  /** What the kernel has queued is accepted first: a listener that closes resets it. */
  private drain(): void {
    this.acceptedBefore = -1;
    this.turnCount = 0;
    this.afterTurn.set(endOfTurn);
  }

  /** After a signal the first turn ends before the sockets are looked at, the second one after. */
  private onTurn(): void {
    const accepted = this.plane.numbers.get("accepted");
    this.turnCount += 1;
    if (
      this.turnCount < turnCountMin ||
      (accepted > this.acceptedBefore && this.turnCount < turnCountMax)
    ) {
      this.acceptedBefore = accepted;
      return this.afterTurn.set(endOfTurn);
    }
    this.stopListening();
    this.plane.pull(); // those that a batch still holds are not refused for want of a flush
    if (this.refusesWaiting) this.plane.refuseNew();
    this.draining = true;
    if (this.plane.pairs.size === 0) this.link.tell({ kind: "empty" });
  }

  private stop(): void {
    this.stopListening();
    this.plane.refuseNew();
    this.plane.cut("drain");
    this.refusals.flush();
    this.sweep.close();
    this.afterTurn.clear();
    if (this.engine instanceof LibcEngine) this.engine.stop();
    else this.engine.unwatch();
    this.link.tell({ kind: "stopped" });
  }

  /** A broken invariant of ours ends this thread. Its connections are reset, so that none takes the cut for an end. */
  private break(error: AssertionError): void {
    if (this.broken !== null) return;
    this.broken = error;
    this.stopListening();
    try {
      this.plane.refuseNew();
      this.plane.cut("error");
    } catch {
      // What is broken may break this too; the rest is closed with the thread.
    }
    if (this.engine instanceof LibcEngine) this.engine.stop();
    else setImmediate(() => void raise(error));
  }

  /** Other threads wake this one when they have granted it a slot, and it them. */
  private joinOthers(): void {
    const { c, engine, plan, plane } = this;
    if (c === null) return;
    plane.tickets.onGrant = (thread) => writeWake(c, plan.wakeFds[thread] ?? -1);
    engine.watch(plan.wakeFd, () => {
      plane.onWake();
      this.onWake();
    });
    if (!(engine instanceof LibcEngine)) return;
    // While it is awake it looks by itself, and nobody needs to wake it.
    engine.afterSleep = () => plane.tickets.stayAwake();
    engine.whileAwake = () => plane.takeGrants();
    engine.beforeSleep = () => plane.onSleep();
  }

  private record(pair: Pair): void {
    if (!this.plan.wantsRecords) return;
    const { reason } = pair;
    if (reason !== null && refusals.has(reason) && !this.refusals.add(reason)) return;
    this.link.record(recordOf(pair, this.plan.startedAt));
  }

  private admissionOf({ options, clients, boardSize, thread }: ThreadPlan): Admission | null {
    const { allow, deny } = options;
    const rules = allow.length + deny.length === 0 ? null : new AccessRules(allow, deny);
    if (rules === null && clients === null) return null;
    const { threadCount } = boardSize;
    return new Admission(rules, clients && clientTable(options, threadCount, thread, clients));
  }

  private addressesOf(targets: readonly Target[]): DialAddress[] {
    return targets.map((target) => this.engine.address(target));
  }

  private planeUpon(board: Board): Plane {
    const { plan, link } = this;
    const { options } = plan;
    return new Plane({
      engine: this.engine,
      limits: options,
      board,
      thread: plan.thread,
      destinations: this.destinations,
      sweep: this.sweep,
      loop: this.loop,
      hashes: options.policy === "hash",
      wantsClient: plan.wantsRecords,
      admission: this.admissionOf(plan),
      events: {
        onSettled: (pair) => {
          this.record(pair);
          if (this.draining && this.plane.pairs.size === 0) link.tell({ kind: "empty" });
        },
        onQueueFull: (full) => link.tell({ kind: full ? "queue-full" : "queue-clear" }),
        onConnectionLimit: () => link.tell({ kind: "connection-limit" }),
        onLocalFault: (cause) => link.tell({ kind: "local-fault", cause }),
        onFault: (error) => {
          link.tell({ kind: "fault", message: String(error) });
          // A broken invariant ends the thread; any other exception costs its own connection.
          if (error instanceof AssertionError) this.break(error);
        },
      },
    });
  }
}

function raise(error: Error): never {
  throw error;
}
