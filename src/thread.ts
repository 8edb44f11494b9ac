// One data-plane thread: its engine, its loop, its plane upon the common board. It runs in the main thread when it is
// alone, else in a Worker of its own (worker.ts); the code is the same. Origin: IAWLB §13, §19: these are its workers.
import { clientLimitsOf } from "./control/client-limits.ts";
import type { Settings } from "./control/options.ts";
import { recordOf } from "./control/record.ts";
import { Refusals } from "./control/refusals.ts";
import { AccessRules } from "./core/access.ts";
import { Admission } from "./core/admission.ts";
import { assert, AssertionError } from "./core/assert.ts";
import { Board } from "./core/board.ts";
import { ClientTable } from "./core/clients.ts";
import type { Destinations } from "./core/destinations.ts";
import type { Acceptor, Listening } from "./core/engine.ts";
import { cutDestination, killPair, listPairs, unusedOf } from "./core/live.ts";
import { endOfTurn, EventLoop, type Alarm, type Loop } from "./core/loop.ts";
import type { Pair } from "./core/pair.ts";
import { Plane } from "./core/plane.ts";
import { refusals } from "./core/reason.ts";
import { Sweep } from "./core/sweep.ts";
import { BunEngine } from "./engine/bun.ts";
import type { Target } from "./engine/dial.ts";
import { LibcEngine } from "./engine/libc.ts";
import { acceptFrom, listenPortably } from "./engine/listen.ts";
import { Fleet } from "./fleet.ts";
import { openCalls } from "./linux/calls.ts";
import { libc, writeWake, type Libc } from "./linux/libc.ts";
import { prefaceRulesOf, TlsSides } from "./thread-preface.ts";
import type {
  ClientsPlan,
  Present,
  ThreadAnswer,
  ThreadCommand,
  ThreadLink,
  ThreadPlan,
  ThreadQuestion,
} from "./thread-plan.ts";

/** Turns of the loop that a drain waits for what the kernel has queued: at least, and at most while more come. */
const turnCountMin = 2;
const turnCountMax = 64;
/** After a standstill of ours, bytes that came meanwhile are read for so long before any deadline is judged. */
const catchUpMs = 300;

export class DataThread {
  readonly plane: Plane;
  private readonly plan: ThreadPlan;
  private readonly link: ThreadLink;
  private readonly c: Libc | null;
  private readonly engine: BunEngine | LibcEngine;
  /** Where its code runs later. */
  readonly loop: Loop;
  private readonly sweep: Sweep;
  private readonly fleet: Fleet;
  private readonly sides = new TlsSides();
  private readonly listening: { stop(): void }[] = [];
  private draining = false;
  private refusesWaiting = false;
  private broken: AssertionError | null = null;
  /** The table of clients, and which one it is. */
  private clients: { readonly number: number; readonly table: ClientTable } | null = null;
  private readonly refusals: Refusals;
  private readonly afterTurn: Alarm;
  /** Of the turns that a drain waits: how many, and how many clients had come before. */
  private turnCount = 0;
  private acceptedBefore = 0;
  /** Called when this thread was woken: perhaps there are commands. */
  onWake: () => void = () => {};

  constructor(plan: ThreadPlan, link: ThreadLink, now: () => number) {
    const { settings } = plan;
    this.plan = plan;
    this.link = link;
    this.c = plan.usesLibc ? libc : null;
    const onFault: Acceptor["onFault"] = (error, events) => this.plane.onFault(error, events);
    const calls = settings.engine === "libc" ? openCalls() : null;
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
    this.refusals = new Refusals(this.loop, settings.refusalRecordsMax, (reason, count) =>
      link.tell({ kind: "unlogged", reason, count }),
    );
    const parts = { board, thread: plan.thread, sweep: this.sweep, sides: this.sides };
    this.fleet = new Fleet({ ...parts, engine: this.engine, tell: (event) => link.tell(event) });
    const plans = this.fleet.plansOf(plan.rows);
    this.plane = this.planeUpon(board, this.fleet.addFirst(plans, plan.rows, settings));
    this.fleet.addLanes(this.plane, plans, plan.rows, settings);
    this.sides.sweep();
    if (plan.wakeFds.length > 0) this.joinOthers();
  }

  /** Accepts from its listening descriptors. @throws ListenError */
  open(): void {
    const { c, plan, engine, plane } = this;
    if (c === null) return;
    plan.listeners.forEach((fd, index) => {
      this.listening.push(acceptFrom(engine, c, fd, plan.settings.backlogCount, plane, index));
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
      case "addresses":
      case "changed":
        return this.fleet.onRow(command.row, "targets" in command ? command.targets : null);
      case "cut":
        return cutDestination(this.plane.pairs, command.row, "destination-down");
      case "ask": {
        const { number, question } = command;
        return this.link.tell({ kind: "answer", number, answer: this.answer(question) });
      }
      case "drain":
        this.refusesWaiting = true;
        return this.drain();
      case "hand-over":
        return this.drain();
      case "stop":
        return this.stop();
    }
  }

  private answer(question: ThreadQuestion): ThreadAnswer {
    const { plane, engine, loop } = this;
    const { pairs, retiring } = plane;
    switch (question.kind) {
      case "turn":
        return nothing;
      case "change":
        this.change(question);
        return nothing;
      case "forget": {
        const numbers = unusedOf(pairs, question.rows);
        for (const row of numbers) this.fleet.forget(row);
        return { ...nothing, numbers };
      }
      case "list":
        return { ...nothing, pairs: listPairs(pairs, engine, question.query, loop.now()) };
      case "kill":
        return { ...nothing, count: killPair(pairs, question.order) ? 1 : 0 };
      case "candidates": {
        const { row, countMax } = question;
        return { ...nothing, numbers: retiring.candidates(pairs, row, countMax) };
      }
      case "retire": {
        const { row, to, intervalMs } = question;
        return { ...nothing, count: retiring.start(pairs, row, to, intervalMs, loop.now()) };
      }
    }
  }

  /** @throws what OpenSSL says of material that it refuses; then nothing has changed. */
  private change({ settings, rows, clients, preface }: Present): void {
    const rules = prefaceRulesOf(preface, this.sides);
    const plans = this.fleet.plansOf(rows);
    this.sides.sweep();
    this.refusals.recordsMax = settings.refusalRecordsMax;
    this.plane.change({
      limits: this.limitsOf(settings),
      hashes: settings.policy === "hash",
      admission: this.admissionOf(settings, clients),
      preface: rules,
    });
    this.fleet.change(plans, rows, settings);
    this.fleet.addLanes(this.plane, plans, rows, settings);
    const hasDefault = preface?.routes?.defaultLane !== -1;
    this.plane.leaveLanes((lane) => (lane === 0 ? hasDefault : this.fleet.isServed(lane)));
    this.plane.onDestinations();
  }

  /** What all threads share evenly is this one's part. */
  private limitsOf(settings: Settings): Settings {
    const { threadCount } = this.plan.boardSize;
    return {
      ...settings,
      handshakeCountMax: Math.ceil(settings.handshakeCountMax / threadCount),
    };
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
    plane.onGrant = (thread) => writeWake(c, plan.wakeFds[thread] ?? -1);
    engine.watch(plan.wakeFd, () => {
      plane.onWake();
      this.onWake();
    });
    if (!(engine instanceof LibcEngine)) return;
    // While it is awake it looks by itself, and nobody needs to wake it.
    engine.afterSleep = () => plane.onAwake();
    engine.whileAwake = () => plane.takeGrants();
    engine.beforeSleep = () => plane.onSleep();
  }

  private record(pair: Pair): void {
    if (!this.plan.wantsRecords) return;
    const { reason } = pair;
    if (reason !== null && refusals.has(reason) && !this.refusals.add(reason)) return;
    this.link.record(recordOf(pair, this.plan.startedAt));
  }

  private admissionOf(settings: Settings, clients: ClientsPlan | null): Admission | null {
    const { allow, deny } = settings;
    const rules = allow.length + deny.length === 0 ? null : new AccessRules(allow, deny);
    const table = this.tableOf(settings, clients);
    return rules === null && table === null ? null : new Admission(rules, table);
  }

  /** Who was let in before stays counted where it is: a table that is another one begins empty. */
  private tableOf(settings: Settings, clients: ClientsPlan | null): ClientTable | null {
    const limits = clientLimitsOf(settings);
    if (clients === null) {
      this.clients = null;
    } else if (this.clients?.number === clients.number) {
      this.clients.table.setLimits(limits);
    } else {
      const { thread, boardSize } = this.plan;
      const { number, buffer, clientCountMax } = clients;
      const size = { clientCountMax, threadCount: boardSize.threadCount };
      this.clients = { number, table: new ClientTable(size, limits, thread, buffer) };
    }
    return this.clients?.table ?? null;
  }

  private planeUpon(board: Board, destinations: Destinations): Plane {
    const { plan, link } = this;
    const { settings } = plan;
    return new Plane({
      engine: this.engine,
      limits: this.limitsOf(settings),
      board,
      thread: plan.thread,
      destinations,
      sweep: this.sweep,
      loop: this.loop,
      hashes: settings.policy === "hash",
      wantsClient: plan.wantsRecords,
      admission: this.admissionOf(settings, plan.clients),
      preface: prefaceRulesOf(plan.preface, this.sides),
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

const nothing: ThreadAnswer = { pairs: [], numbers: [], count: 0 };

function raise(error: Error): never {
  throw error;
}
