// The composition root: builds a data plane from options, starts it, reads it, drains and stops it.
// Origin: IAWLB §3, the main program.
import { OptionsError, readOptions, type Address, type Mistake } from "./control/options.ts";
import type { GivenOptions, Options } from "./control/options.ts";
import { withNames } from "./control/record.ts";
import type { RowRecord } from "./control/record-ring.ts";
import { guarded, type BalancerEvent, type Hooks } from "./control/hooks.ts";
import { isLiteral, Names } from "./control/resolve.ts";
import { newClientTable } from "./control/client-limits.ts";
import { Board } from "./core/board.ts";
import type { ClientTable } from "./core/clients.ts";
import type { Target } from "./engine/dial.ts";
import { ListenError, type ListeningDescriptor } from "./engine/listen.ts";
import type { Inheritance } from "./inherited.ts";
import { libc, type Libc } from "./linux/libc.ts";
import { inTurn, isOurs, listenTargets, openAll, type OpenListener } from "./listening.ts";
import { requireSystem, systemLimits } from "./system.ts";
import { statusOf, type Status } from "./status.ts";
import { Supervisor, type CommonPlan } from "./supervisor.ts";
import { DataThread, type ThreadCommand, type ThreadEvent } from "./thread.ts";
import { Watch } from "./watch.ts";

export { ListenError };
export type { BalancerEvent, Hooks, Status };

/** Places for waiting clients on the board, in each line of a thread; who finds none waits behind them. */
const placeCountMin = 1_024;
const placeCountMax = 65_536;

export interface Balancer {
  /** As bound: `127.0.0.1:40123`, `[::]:8080`, `unix:/path`. */
  readonly addresses: readonly string[];
  /** Of the first address; 0 for a unix socket. */
  readonly port: number;
  status(): Status;
  /** What it listens on, for a successor; empty without libc. */
  readonly descriptors: readonly ListeningDescriptor[];
  /** Fulfils once every thread has answered. */
  answers(): Promise<void>;
  /** A successor accepts: stops accepting, and ends when the last that is open or waits has ended by itself. */
  handOver(): Promise<void>;
  /** Stops accepting, refuses what waits, lets pairs finish up to `drainMs`, cuts the rest. */
  drain(): Promise<void>;
  /** Ends everything now. */
  stop(): Promise<void>;
}

/** What `balance` takes. Times are in ms; what is not given is as on the command line. */
export type BalanceOptions = GivenOptions & {
  /** false: dial and listen without libc, as on systems that lack it. */
  readonly libc?: boolean;
  /** Listening descriptors that were there before; what is wanted and not among them is opened. */
  readonly inheritance?: Inheritance;
};

/**
 * Starts a balancer.
 * @throws OptionsError with every mistake in the addresses; ListenError when an address cannot be bound.
 */
export async function balance(given: BalanceOptions, hooks: Hooks = {}): Promise<Balancer> {
  const options = readOptions(given);
  const safeHooks = guarded(hooks);
  const c = given.libc === false ? null : libc;
  requireSystem(options, c);
  const { connectionCountMax, checkCountMax } = systemLimits(options, (message) =>
    safeHooks.event?.({ kind: "warning", message }),
  );
  const running = new Running({ ...options, connectionCountMax }, checkCountMax, c, safeHooks);
  await running.start(given.inheritance ?? null);
  return running;
}

/** The data plane as the control plane sees it: one thread in this one, or several of their own. */
interface Threads {
  /** Records that found no room on their way. */
  readonly dropped: number;
  send(command: ThreadCommand): void;
  drainRecords(): void;
  close(): Promise<void>;
}

class Running implements Balancer {
  private readonly options: Options;
  private readonly c: typeof libc;
  private readonly hooks: Hooks;
  private readonly board: Board;
  private readonly destinationNames: readonly string[];
  private threads: Threads | null = null;
  private listeners: readonly OpenListener[] = [];
  descriptors: readonly ListeningDescriptor[] = [];
  /** Addresses of each destination, by row. */
  private readonly targets: Target[][];
  /** Where it listens, once it does. */
  private listening: readonly Target[] = [];
  /** ms since 1970 at the zero of `performance.now`. */
  private readonly startedAt = Date.now() - performance.now();
  private readonly names: Names;
  private readonly clients: ClientTable | null;
  private readonly watch: Watch;
  private draining: Promise<void> | null = null;
  private readonly emptyThreads = new Set<number>();
  private readonly stoppedThreads = new Set<number>();
  private readonly empty = Promise.withResolvers<void>();
  private handingOver: Promise<void> | null = null;
  /** Threads that have not answered the last question, and who waits for them. */
  private readonly unanswered = new Set<number>();
  private question = 0;
  private onAnswered: (() => void) | null = null;
  private onStopped: (() => void) | null = null;
  private stopping: Promise<void> | null = null;

  constructor(options: Options, checkCountMax: number, c: typeof libc, hooks: Hooks) {
    this.options = options;
    this.c = c;
    this.hooks = hooks;
    this.destinationNames = options.destinations.map(({ name }) => name);
    this.targets = options.destinations.map(({ address }) => fixedTargets(address));
    this.names = new Names(
      options.destinations.map(({ address }) => (isFixed(address) ? null : nameOf(address))),
      (row, ips) => this.useAddresses(row, ips),
      (message) => this.warn(message),
    );
    this.board = new Board({
      destinationCountMax: options.destinations.length,
      threadCount: options.threadCount,
      waiterCountMax: Math.min(
        options.connectionCountMax,
        Math.max(placeCountMin, Math.min(options.queueCountMax, placeCountMax)),
      ),
    });
    this.clients = newClientTable(options);
    this.watch = new Watch(options, c, this.targets, checkCountMax, {
      board: this.board,
      send: (command) => this.threads?.send(command),
      tell: (event) => this.tell(event),
    });
    options.destinations.forEach((each, row) => {
      this.board.fill(row, each.slots, each.weight, (this.targets[row] ?? []).length > 0);
    });
  }

  get addresses(): readonly string[] {
    return this.listeners.map((each) => each.address);
  }

  get port(): number {
    return this.listeners[0]?.port ?? 0;
  }

  async start(inheritance: Inheritance | null): Promise<void> {
    await this.names.lookUp();
    try {
      await this.startThreads(await listenTargets(this.options.listen), inheritance);
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.names.watch();
    this.watch.start();
    for (const address of this.addresses) this.tell({ kind: "listening", address });
  }

  status(): Status {
    const { board, destinationNames, options, addresses } = this;
    const checkFaultOf = (row: number) => this.watch.causeOf(row);
    return statusOf(board, destinationNames, addresses, options, performance.now(), checkFaultOf);
  }

  answers(): Promise<void> {
    const answered = new Promise<void>((done) => (this.onAnswered = done));
    this.question += 1;
    for (let thread = 0; thread < this.options.threadCount; thread += 1) {
      this.unanswered.add(thread);
    }
    this.threads?.send({ kind: "ask", question: this.question });
    return answered;
  }

  handOver(): Promise<void> {
    this.handingOver ??= this.handOverOnce();
    return this.handingOver;
  }

  drain(): Promise<void> {
    this.draining ??= this.drainOnce();
    return this.draining;
  }

  stop(): Promise<void> {
    this.stopping ??= this.stopOnce();
    return this.stopping;
  }

  private async stopOnce(): Promise<void> {
    this.names.close();
    this.watch.close();
    for (const listener of this.listeners) listener.close();
    const stopped = new Promise<void>((done) => (this.onStopped = done));
    this.threads?.send({ kind: "stop" });
    if (this.threads !== null) await stopped;
    this.threads?.drainRecords();
    const dropped = this.threads?.dropped ?? 0;
    if (dropped > 0) this.warn(`${dropped} access records found no room on their way`);
    this.empty.resolve();
    await this.threads?.close();
  }

  private async drainOnce(): Promise<void> {
    this.watch.close();
    const waiting = this.board.total("queued");
    this.tell({ kind: "draining", pairs: this.board.total("open") - waiting, waiting });
    for (const listener of this.listeners) listener.close(); // each thread's own accepts what is queued, then stops
    this.threads?.send({ kind: "drain" });
    const timer = setTimeout(() => this.empty.resolve(), this.options.drainMs);
    await this.empty.promise;
    clearTimeout(timer);
    if (this.stopping !== null) return this.stopping; // cut short
    const cut = this.board.total("open");
    await this.stop();
    this.tell({ kind: "drained", cut });
  }

  /** Checks and names go on: those who are still here need them. */
  private async handOverOnce(): Promise<void> {
    const waiting = this.board.total("queued");
    this.tell({ kind: "handed-over", pairs: this.board.total("open") - waiting, waiting });
    for (const descriptor of this.descriptors) descriptor.leaveFile();
    for (const listener of this.listeners) listener.close();
    this.threads?.send({ kind: "hand-over" });
    await this.empty.promise;
    if (this.draining !== null) return this.draining; // it has a deadline by now
    if (this.stopping !== null) return this.stopping;
    await this.stop();
    this.tell({ kind: "drained", cut: 0 });
  }

  private onThreadEvent(event: ThreadEvent, thread: number): void {
    const count = this.options.threadCount;
    switch (event.kind) {
      case "empty":
        if (this.emptyThreads.add(thread).size === count) this.empty.resolve();
        return;
      case "answer":
        if (event.question === this.question) this.unanswered.delete(thread);
        if (this.unanswered.size === 0) this.onAnswered?.();
        return;
      case "stopped":
        if (this.stoppedThreads.add(thread).size === count) this.onStopped?.();
        return;
      case "connection-limit": {
        const max = this.options.connectionCountMax;
        const who = "--max-connections and the limit of descriptors (ulimit -n) allow";
        return this.warn(`clients are refused: ${max} connections are open, as many as ${who}`);
      }
      case "fault":
        return this.warn(`internal error: ${event.message}`);
      case "destination-back":
        this.watch.onBack();
        return this.tell(event);
      default:
        this.tell(event);
    }
  }

  private onRecord(record: RowRecord): void {
    this.hooks.access?.(withNames(record, this.destinationNames, this.addresses));
  }

  private async startThreads(
    wanted: readonly Target[],
    inheritance: Inheritance | null,
  ): Promise<void> {
    const { c, options, board } = this;
    const descriptors = c === null ? [] : openAll(c, wanted, options.backlogCount, inheritance);
    this.listeners = descriptors;
    this.descriptors = descriptors;
    this.refuseLoops(wanted);
    const plan: CommonPlan = {
      options,
      usesLibc: c !== null,
      boardSize: board.size,
      board: board.buffer,
      clients: this.clients?.buffer ?? null,
      targets: this.targets,
      listeners: descriptors.map(({ fd }) => fd),
      wantsRecords: this.hooks.access !== undefined,
      startedAt: this.startedAt,
    };
    if (c === null || (options.threadCount === 1 && options.engine === "bun")) {
      this.startHere(plan, wanted);
    } else {
      await this.startWorkers(c, plan);
    }
  }

  /** One thread, in this one. */
  private startHere(plan: CommonPlan, wanted: readonly Target[]): void {
    const thread = new DataThread(
      { ...plan, thread: 0, wakeFds: [], wakeFd: -1 },
      { tell: (event) => this.onThreadEvent(event, 0), record: (record) => this.onRecord(record) },
      () => performance.now(),
    );
    this.threads = {
      dropped: 0,
      send: (command) => thread.handle(command),
      drainRecords: () => {},
      close: async () => {},
    };
    if (this.c !== null) return thread.open();
    this.listeners = inTurn(wanted, (target) => {
      const { address, port } = thread.openPortably(target);
      return { address, port, close: () => {} }; // the thread stops it
    });
    this.refuseLoops(wanted);
  }

  private async startWorkers(c: Libc, plan: CommonPlan): Promise<void> {
    const supervisor = new Supervisor(c, plan, this.board, this.clients, {
      tell: (event, thread) => this.onThreadEvent(event, thread),
      record: (record) => this.onRecord(record),
      onDeath: (thread, cause, cut, restartMs) =>
        this.warn(
          `thread ${thread} has ended (${cause}), ${cut} connections with it; another follows in ${restartMs} ms`,
        ),
    });
    this.threads = supervisor;
    await supervisor.start();
  }

  /** A destination must not be this balancer itself. @throws OptionsError */
  private refuseLoops(wanted: readonly Target[]): void {
    this.listening = wanted.map((target, index) => {
      const port = this.listeners[index]?.port ?? 0;
      return "path" in target ? target : { ip: target.ip, port };
    });
    const mistakes = this.targets.flatMap((targets, row): Mistake[] => {
      const own = targets.find((target) => isOurs(target, this.listening));
      if (own === undefined) return [];
      const argument = this.destinationNames[row] ?? "";
      const where = "path" in own ? own.path : `${own.ip} port ${own.port}`;
      const message = `${argument}: is this balancer itself, which listens on ${where}`;
      return [
        { code: "loop", argument, message, hint: "the address of another program is needed" },
      ];
    });
    if (mistakes.length > 0) throw new OptionsError(mistakes);
  }

  private useAddresses(row: number, ips: readonly string[]): void {
    const address = this.options.destinations[row]?.address;
    if (address?.kind !== "tcp") return;
    const all = ips.map((ip) => ({ ip, port: address.port }));
    const targets = all.filter((target) => !isOurs(target, this.listening));
    if (targets.length < all.length) {
      this.warn(
        `an address of ${this.destinationNames[row]} is this balancer itself; it is left out`,
      );
    }
    this.targets[row] = targets;
    this.watch.setTargets(row, targets);
    if (this.threads === null) this.board.setResolved(row, true);
    else this.threads.send({ kind: "addresses", row, targets });
  }

  private warn(message: string): void {
    this.tell({ kind: "warning", message });
  }

  private tell(event: BalancerEvent): void {
    this.hooks.event?.(event);
  }
}

function fixedTargets(address: Address): Target[] {
  if (address.kind === "unix") return [{ path: address.path }];
  return isFixed(address) ? [{ ip: address.host, port: address.port }] : [];
}

function nameOf(address: Address): string | null {
  return address.kind === "unix" ? null : address.host;
}

function isFixed(address: Address): boolean {
  return address.kind === "unix" || isLiteral(address.host);
}
