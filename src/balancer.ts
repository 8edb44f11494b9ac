// The composition root: builds a data plane from options, starts it, reads it, drains and stops it.
// Origin: IAWLB §3, the main program.
import { readOptions, type Address, type GivenOptions, type Options } from "./control/options.ts";
import { withNames } from "./control/record.ts";
import type { RowRecord } from "./control/record-ring.ts";
import { guarded, type BalancerEvent, type Hooks } from "./control/hooks.ts";
import { isLiteral, Names, resolve } from "./control/resolve.ts";
import { Board } from "./core/board.ts";
import type { Target } from "./engine/dial.ts";
import { ListenError, openDescriptor, type ListeningDescriptor } from "./engine/listen.ts";
import { libc, type Libc } from "./linux/libc.ts";
import { connectionLimit, requireSystem } from "./system.ts";
import { statusOf, type Status } from "./status.ts";
import { Supervisor, type CommonPlan } from "./supervisor.ts";
import { DataThread, type ThreadCommand, type ThreadEvent } from "./thread.ts";

export { ListenError };
export type { BalancerEvent, Hooks, Status };

/** Places for waiting clients on the board, in each line of a thread; who finds none waits behind them. */
const placeCountMin = 1_024;
const placeCountMax = 65_536;
/** Ports that are picked for several addresses at once before giving up. */
const pickCountMax = 16;
export interface Balancer {
  /** As bound: `127.0.0.1:40123`, `[::]:8080`, `unix:/path`. */
  readonly addresses: readonly string[];
  /** Of the first address; 0 for a unix socket. */
  readonly port: number;
  status(): Status;
  /** Stops accepting, refuses what waits, lets pairs finish up to `drainMs`, cuts the rest. */
  drain(): Promise<void>;
  /** Ends everything now. */
  stop(): Promise<void>;
}

/** What `balance` takes. Times are in ms; what is not given is as on the command line. */
export type BalanceOptions = GivenOptions & {
  /** false: dial and listen without libc, as on systems that lack it. */
  readonly libc?: boolean;
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
  const connectionCountMax = connectionLimit(options, (message) =>
    safeHooks.event?.({ kind: "warning", message }),
  );
  const running = new Running({ ...options, connectionCountMax }, c, safeHooks);
  await running.start();
  return running;
}

interface OpenListener {
  readonly address: string;
  readonly port: number;
  close(): void;
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
  /** Addresses of each destination, by row. */
  private readonly targets: Target[][];
  /** ms since 1970 at the zero of `performance.now`. */
  private readonly startedAt = Date.now() - performance.now();
  private readonly names: Names;
  private draining: Promise<void> | null = null;
  private readonly emptyThreads = new Set<number>();
  private readonly stoppedThreads = new Set<number>();
  private onEmpty: (() => void) | null = null;
  private onStopped: (() => void) | null = null;
  private stopping: Promise<void> | null = null;

  constructor(options: Options, c: typeof libc, hooks: Hooks) {
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

  async start(): Promise<void> {
    await this.names.lookUp();
    try {
      await this.startThreads(await this.listenTargets());
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.names.watch();
    for (const address of this.addresses) this.tell({ kind: "listening", address });
  }

  status(): Status {
    const { board, destinationNames, options, addresses } = this;
    return statusOf(board, destinationNames, addresses, options, performance.now());
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
    for (const listener of this.listeners) listener.close();
    const stopped = new Promise<void>((done) => (this.onStopped = done));
    this.threads?.send({ kind: "stop" });
    if (this.threads !== null) await stopped;
    this.threads?.drainRecords();
    const dropped = this.threads?.dropped ?? 0;
    if (dropped > 0) this.warn(`${dropped} access records found no room on their way`);
    this.onEmpty?.();
    await this.threads?.close();
  }

  private async drainOnce(): Promise<void> {
    const waiting = this.board.total("queued");
    this.tell({ kind: "draining", pairs: this.board.total("open") - waiting, waiting });
    const empty = new Promise<void>((done) => (this.onEmpty = done));
    for (const listener of this.listeners) listener.close(); // each thread's own accepts what is queued, then stops
    this.threads?.send({ kind: "drain" });
    const timer = setTimeout(() => this.onEmpty?.(), this.options.drainMs);
    await empty;
    clearTimeout(timer);
    if (this.stopping !== null) return this.stopping; // cut short
    const cut = this.board.total("open");
    await this.stop();
    this.tell({ kind: "drained", cut });
  }

  private onThreadEvent(event: ThreadEvent, thread: number): void {
    const count = this.options.threadCount;
    switch (event.kind) {
      case "empty":
        if (this.emptyThreads.add(thread).size === count) this.onEmpty?.();
        return;
      case "stopped":
        if (this.stoppedThreads.add(thread).size === count) this.onStopped?.();
        return;
      case "connection-limit": {
        const max = this.options.connectionCountMax;
        return this.warn(
          `clients are refused: ${max} connections are open, as many as --max-connections allows`,
        );
      }
      case "fault":
        return this.warn(`internal error: ${event.message}`);
      default:
        this.tell(event);
    }
  }

  private onRecord(record: RowRecord): void {
    this.hooks.access?.(withNames(record, this.destinationNames, this.addresses));
  }

  private async startThreads(wanted: readonly Target[]): Promise<void> {
    const { c, options, board } = this;
    const descriptors = c === null ? [] : this.openAll(c, wanted);
    this.listeners = descriptors;
    const plan: CommonPlan = {
      options,
      usesLibc: c !== null,
      boardSize: board.size,
      board: board.buffer,
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
  }

  private async startWorkers(c: Libc, plan: CommonPlan): Promise<void> {
    const supervisor = new Supervisor(c, plan, this.board, {
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

  /** Opens all or throws. A port that the first address picked may be taken on the next one: then another is picked. */
  private openAll(c: Libc, wanted: readonly Target[]): ListeningDescriptor[] {
    const open = (target: Target) => openDescriptor(c, target, this.options.backlogCount);
    for (let tries = 1; ; tries += 1) {
      try {
        return inTurn(wanted, open);
      } catch (error) {
        const wasPicked = wanted.some((each) => "ip" in each && each.port === 0);
        const isTaken = error instanceof ListenError && error.code === "EADDRINUSE";
        if (!wasPicked || !isTaken || tries === pickCountMax) throw error;
      }
    }
  }

  private async listenTargets(): Promise<readonly Target[]> {
    const { listen: address } = this.options;
    if (address.kind === "unix") return [{ path: address.path }];
    const { host, port } = address;
    if (host === "*") return [{ ip: hasIpv6() ? "::" : "0.0.0.0", port }];
    const found = await resolve(host);
    if ("cause" in found) {
      throw new ListenError(
        `${host}:${port}`,
        found.cause,
        `the name does not resolve (${found.cause})`,
      );
    }
    return found.ips.map((ip) => ({ ip, port }));
  }

  private useAddresses(row: number, ips: readonly string[]): void {
    const address = this.options.destinations[row]?.address;
    if (address?.kind !== "tcp") return;
    const targets = ips.map((ip) => ({ ip, port: address.port }));
    this.targets[row] = targets;
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

/** Opens one after the other; port 0 of several addresses: the first picks, the others follow. All or none. */
function inTurn<T extends OpenListener>(
  wanted: readonly Target[],
  open: (target: Target) => T,
): T[] {
  const opened: T[] = [];
  try {
    for (const target of wanted) {
      const port = opened[0]?.port ?? 0;
      opened.push(open("ip" in target && target.port === 0 ? { ...target, port } : target));
    }
    return opened;
  } catch (error) {
    for (const each of opened) each.close();
    throw error;
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

/** IPv6 can be switched off in the kernel; then all interfaces are those of IPv4. */
function hasIpv6(): boolean {
  try {
    Bun.listen({ hostname: "::1", port: 0, socket: { data() {} } }).stop();
    return true;
  } catch {
    return false;
  }
}
