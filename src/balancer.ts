// The composition root: builds a data plane from options, starts it, reads it, drains and stops it.
// Origin: IAWLB §3, the main program.
import type { Change } from "./control/changes.ts";
import { guarded, type BalancerEvent, type Hooks } from "./control/hooks.ts";
import { OptionsError, readOptions, type Options } from "./control/options.ts";
import { withNames } from "./control/record.ts";
import type { RowRecord } from "./control/record-ring.ts";
import type { ConnectionPage, ConnectionQuery, Mode, Modes } from "./control/steering.ts";
import { noTls, readTls, wantsTls } from "./control/tls-need.ts";
import { Board } from "./core/board.ts";
import type { Target } from "./engine/dial.ts";
import { ListenError, type ListeningDescriptor } from "./engine/listen.ts";
import type { Inheritance } from "./inherited.ts";
import { libc, type Libc } from "./linux/libc.ts";
import { laneCountMax } from "./lanes.ts";
import { inTurn, listenTargets, openAll, type OpenListener } from "./listening.ts";
import { Pairs } from "./pairs.ts";
import { refuseBadTls } from "./preface-plan.ts";
import { rowCountOf } from "./roster.ts";
import { statusOf, type Status } from "./status.ts";
import { loopsOf, Steered, type SteeredHost, type Threads, type Wanted } from "./steered.ts";
import { Supervisor, type CommonPlan } from "./supervisor.ts";
import { requireSystem } from "./system.ts";
import { DataThread } from "./thread.ts";
import type { ThreadEvent } from "./thread-plan.ts";

export { ListenError };
export type { BalancerEvent, Change, Hooks, Status };

/** Places for waiting clients on the board, in each line of a thread; who finds none waits behind them. */
const placeCountMin = 1_024;
const placeCountMax = 65_536;

export interface Balancer {
  /** As bound: `127.0.0.1:40123`, `[::]:8080`, `unix:/path`. */
  readonly addresses: readonly string[];
  /** Of the first address; 0 for a unix socket. */
  readonly port: number;
  /** What it runs by now; `connectionCountMax` as the system allows it. */
  readonly options: Options;
  status(): Status;
  /** What it listens on, for a successor; empty without libc. */
  readonly descriptors: readonly ListeningDescriptor[];
  /** Fulfils once every thread has answered. */
  answers(): Promise<void>;
  /** A successor accepts: stops accepting, and ends when the last that is open or waits has ended by itself. */
  handOver(): Promise<void>;
  /** Nobody accepts in its place: the same without a successor. */
  retire(): Promise<void>;
  /** What `apply` would change, and how many live pairs each concerns. @throws OptionsError with every mistake. */
  plan(given: BalanceOptions | Options): readonly Change[];
  /**
   * Runs by other options from now on, in one step; live pairs go on. Destinations are matched by name and address.
   * What is `kept` stays as it is. @returns what has changed, once all threads have taken it.
   * @throws OptionsError with every mistake, SteeringError when it drains; then nothing has changed.
   */
  apply(given: BalanceOptions | Options): Promise<readonly Change[]>;
  /** @throws SteeringError when there is no such destination. */
  setMode(destination: string, mode: Mode): void;
  /**
   * Connections that are open, the oldest first, at most 1,000 a page. `id` and `next` are numbers of arrival; `listener`
   * is "", for this balancer has no name. Bytes count as activity when they are noticed: at a look at the connection's
   * deadlines, or at a call of this. @throws SteeringError when `after` is no `next`.
   */
  connections(query: ConnectionQuery): Promise<ConnectionPage>;
  /** Resets both sides of a connection. @returns false when none of that number is open. */
  kill(id: number): Promise<boolean>;
  /**
   * Closes the oldest `count` pairs of a destination in order, each at its next quiet moment, at most `perSecond` (up to
   * 1,000) a second. @returns how many it will close. @throws SteeringError
   */
  rebalance(destination: string, count: number, perSecond: number): Promise<number>;
  /** Stops accepting, refuses what waits, lets pairs finish up to `drainMs`, cuts the rest. */
  drain(): Promise<void>;
  /** Ends everything now. */
  stop(): Promise<void>;
}

/** What `balance` takes. Times are in ms; what is not given is as on the command line. */
export type BalanceOptions = Wanted & {
  /** false: dial and listen without libc, as on systems that lack it. */
  readonly libc?: boolean;
  /** Listening descriptors that were there before; what is wanted and not among them is opened. */
  readonly inheritance?: Inheritance | null;
  /** In which destinations begin. */
  readonly modes?: Modes;
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
  const warn = (message: string) => safeHooks.event?.({ kind: "warning", message });
  const tls = given.tls ?? (wantsTls(options) ? await readTls(options, warn) : noTls);
  refuseBadTls(options, tls);
  const running = new Running(options, { ...given, tls }, c, safeHooks);
  await running.start(given.inheritance ?? null);
  return running;
}

class Running implements Balancer, SteeredHost {
  readonly board: Board;
  threads: Threads | null = null;
  /** Where it listens, once it does. */
  listening: readonly Target[] = [];
  private readonly c: typeof libc;
  private readonly hooks: Hooks;
  private listeners: readonly OpenListener[] = [];
  descriptors: readonly ListeningDescriptor[] = [];
  /** ms since 1970 at the zero of `performance.now`. */
  private readonly startedAt = Date.now() - performance.now();
  private readonly steered: Steered;
  private readonly pairs: Pairs;
  private draining: Promise<void> | null = null;
  private readonly emptyThreads = new Set<number>();
  private readonly stoppedThreads = new Set<number>();
  private readonly empty = Promise.withResolvers<void>();
  private handingOver: Promise<void> | null = null;
  private onStopped: (() => void) | null = null;
  private stopping: Promise<void> | null = null;

  constructor(options: Options, given: BalanceOptions, c: typeof libc, hooks: Hooks) {
    this.c = c;
    this.hooks = hooks;
    const connectionCount = options.connectionCountMax || placeCountMax; // 0: as many as possible
    this.board = new Board({
      destinationCountMax: rowCountOf(options.destinations.length),
      threadCount: options.threadCount,
      laneCount: laneCountMax,
      waiterCountMax: Math.min(
        connectionCount,
        Math.max(placeCountMin, Math.min(options.queueCountMax, placeCountMax)),
      ),
    });
    this.steered = new Steered(options, given, c, this);
    this.pairs = new Pairs(this.board, this.steered.roster, this.steered.asking);
  }

  get options(): Options {
    return this.steered.options;
  }

  get isEnding(): boolean {
    return this.draining !== null || this.stopping !== null;
  }

  get addresses(): readonly string[] {
    return this.listeners.map((each) => each.address);
  }

  get port(): number {
    return this.listeners[0]?.port ?? 0;
  }

  async start(inheritance: Inheritance | null): Promise<void> {
    await this.steered.names.lookUp();
    try {
      await this.startThreads(await listenTargets(this.options.listen), inheritance);
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.steered.names.watch();
    this.steered.watch.start();
    for (const address of this.addresses) this.tell({ kind: "listening", address });
  }

  status(): Status {
    const { board, options, addresses } = this;
    const { roster, watch, tls } = this.steered;
    const certificates = tls.identities.map(({ file, names, notAfterMs }) => ({
      file,
      names,
      notAfter: notAfterMs,
    }));
    const rows = [...roster.serving, ...roster.leaving];
    const checkFaultOf = (row: number) => watch.causeOf(row);
    const of = { options, certificates };
    return statusOf(board, rows, addresses, of, performance.now(), checkFaultOf);
  }

  plan(given: BalanceOptions | Options): readonly Change[] {
    return this.steered.plan(given);
  }

  apply(given: BalanceOptions | Options): Promise<readonly Change[]> {
    return this.steered.apply(given);
  }

  setMode(destination: string, mode: Mode): void {
    this.steered.setMode(destination, mode);
  }

  connections(query: ConnectionQuery): Promise<ConnectionPage> {
    return this.pairs.connections(query);
  }

  kill(id: number): Promise<boolean> {
    return this.pairs.kill(id);
  }

  rebalance(destination: string, count: number, perSecond: number): Promise<number> {
    return this.pairs.rebalance(destination, count, perSecond);
  }

  async answers(): Promise<void> {
    await this.steered.asking.ask({ kind: "turn" }).done;
  }

  handOver(): Promise<void> {
    this.handingOver ??= this.leave(true);
    return this.handingOver;
  }

  retire(): Promise<void> {
    this.handingOver ??= this.leave(false);
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
    this.steered.close();
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
    this.steered.watch.close();
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
  private async leave(isSucceeded: boolean): Promise<void> {
    const waiting = this.board.total("queued");
    const kind = isSucceeded ? "handed-over" : "retired";
    this.tell({ kind, pairs: this.board.total("open") - waiting, waiting });
    if (isSucceeded) for (const descriptor of this.descriptors) descriptor.leaveFile();
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
        return this.steered.asking.onAnswer(thread, event.number, event.answer);
      case "stopped":
        this.steered.asking.onGone(thread);
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
        this.steered.watch.onBack();
        return this.tell(event);
      default:
        this.tell(event);
    }
  }

  private onRecord(record: RowRecord): void {
    const { roster } = this.steered;
    this.hooks.access?.(withNames(record, (row) => roster.nameOf(row), this.addresses));
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
      usesLibc: c !== null,
      boardSize: board.size,
      board: board.buffer,
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
      { ...plan, ...this.steered.present(), thread: 0, wakeFds: [], wakeFd: -1 },
      { tell: (event) => this.onThreadEvent(event, 0), record: (record) => this.onRecord(record) },
      () => performance.now(),
    );
    this.threads = {
      count: 1,
      dropped: 0,
      isListening: () => true,
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
    const { board, steered } = this;
    const host = { board, present: () => steered.present(), clients: () => steered.clients.table };
    const supervisor = new Supervisor(c, plan, host, {
      tell: (event, thread) => this.onThreadEvent(event, thread),
      record: (record) => this.onRecord(record),
      onDeath: (thread, cause, cut, restartMs) => {
        steered.asking.onGone(thread);
        this.warn(
          `thread ${thread} has ended (${cause}), ${cut} connections with it; another follows in ${restartMs} ms`,
        );
      },
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
    const mistakes = this.steered.roster.serving.flatMap(({ options, targets }) =>
      loopsOf(options.name, targets, this.listening),
    );
    if (mistakes.length > 0) throw new OptionsError(mistakes);
  }

  private warn(message: string): void {
    this.tell({ kind: "warning", message });
  }

  tell(event: BalancerEvent): void {
    this.hooks.event?.(event);
  }
}
