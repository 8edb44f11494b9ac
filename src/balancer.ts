// The composition root: builds a data plane from options, starts it, reads it, drains and stops it.
// Origin: IAWLB §3, the main program.
import type { AccessRecord } from "./control/access-log.ts";
import {
  DEFAULTS,
  parseOptions,
  type Address,
  type DestinationOptions,
  type Options,
} from "./control/options.ts";
import { recordOf } from "./control/record.ts";
import { isLiteral, resolve, resolveMs } from "./control/resolve.ts";
import { Board, State } from "./core/board.ts";
import { Destinations, type Destination, type DestinationPlan } from "./core/destination.ts";
import type { DialAddress, Listening } from "./core/engine.ts";
import { Plane } from "./core/plane.ts";
import { policyOf } from "./core/policy.ts";
import { closeReasons, type CloseReason } from "./core/reason.ts";
import { Sweep } from "./core/sweep.ts";
import { BunEngine, type Target } from "./engine/bun.ts";
import { listen, ListenError } from "./engine/listen.ts";
import { libc, raiseDescriptorLimit } from "./linux/libc.ts";

export { ListenError };

/** Descriptors kept for listeners, logs, names and the runtime itself. */
const reservedDescriptorCount = 64;
/** Where the limit cannot be asked. */
const descriptorCountFallback = 1024;

export type BalancerEvent =
  | { readonly kind: "listening"; readonly address: string }
  | {
      readonly kind: "destination-out";
      readonly name: string;
      readonly cause: string;
      readonly retryMs: number;
    }
  | { readonly kind: "destination-back"; readonly name: string }
  | { readonly kind: "queue-full" }
  | { readonly kind: "queue-clear" }
  | { readonly kind: "local-fault"; readonly cause: string }
  | { readonly kind: "draining"; readonly pairs: number; readonly waiting: number }
  | { readonly kind: "drained"; readonly cut: number }
  | { readonly kind: "warning"; readonly message: string };

export interface Hooks {
  /** One record per connection, when it has ended. Called in its handler: store it, do the work later. */
  readonly access?: (record: AccessRecord) => void;
  readonly event?: (event: BalancerEvent) => void;
}

export interface DestinationStatus {
  readonly name: string;
  readonly state: "up" | "resting" | "out" | "trial" | "unresolved";
  readonly used: number;
  readonly slots: number;
  readonly weight: number;
  readonly backup: boolean;
  readonly connections: number;
  readonly failures: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Times it was put out, and why the last connect failed ("" = none did). */
  readonly outCount: number;
  readonly lastFault: string;
}

/** Milliseconds; null when nothing was observed. Each is the upper edge of a bucket 19 % wide. */
export interface TimeStatus {
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p99: number | null;
}

export interface Status {
  readonly addresses: readonly string[];
  readonly accepted: number;
  /** Open now, waiting ones included. */
  readonly open: number;
  readonly connectionCountMax: number;
  readonly queue: {
    readonly waiting: number;
    /** Age of the one that waits longest. */
    readonly oldestMs: number;
    /** Connections that had to wait, since the start. */
    readonly waited: number;
    readonly countMax: number;
  };
  readonly closed: Readonly<Record<CloseReason, number>>;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly bytesUndelivered: number;
  readonly localFaults: number;
  readonly times: Readonly<
    Record<"queue" | "connect" | "firstByte" | "session" | "handOff", TimeStatus>
  >;
  readonly destinations: readonly DestinationStatus[];
}

export interface Balancer {
  /** As bound: `127.0.0.1:40123`, `[::]:8080`, `unix:/path`. */
  readonly addresses: readonly string[];
  /** Of the first address; 0 for a unix socket. */
  readonly port: number;
  status(): Status;
  /** Stops accepting, refuses what waits, lets pairs finish up to `drainMs`, cuts the rest. */
  drain(): Promise<void>;
  /** Ends everything now. */
  stop(): void;
}

/** What `balance` takes: options as parsed, or addresses as on the command line. */
export type BalanceOptions = Partial<Omit<Options, "listen" | "destinations">> & {
  readonly listen: string | Address;
  readonly destinations: readonly (string | DestinationOptions)[];
  /** false: dial and listen without libc, as on systems that lack it. */
  readonly libc?: boolean;
};

/**
 * Starts a balancer.
 * @throws OptionsError with every mistake in the addresses; ListenError when an address cannot be bound.
 */
export async function balance(given: BalanceOptions, hooks: Hooks = {}): Promise<Balancer> {
  const options = complete(given);
  const c = given.libc === false ? null : libc;
  const descriptorCount = raiseDescriptorLimit(libc) ?? descriptorCountFallback;
  const possible = Math.max(1, Math.floor((descriptorCount - reservedDescriptorCount) / 2));
  const wanted = options.connectionCountMax;
  if (wanted > possible) {
    const message = `--max-connections ${wanted} needs ${wanted * 2 + reservedDescriptorCount} descriptors; the limit of ${descriptorCount} allows ${possible}`;
    hooks.event?.({ kind: "warning", message });
  }
  const connectionCountMax = wanted === 0 ? possible : Math.min(wanted, possible);
  const running = new Running({ ...options, connectionCountMax }, c, hooks);
  await running.start();
  return running;
}

function complete(given: BalanceOptions): Options {
  const { listen, destinations, libc: _, ...rest } = given;
  const text = [listen, ...destinations].filter((each) => typeof each === "string");
  const allText = text.length === destinations.length + 1;
  if (allText) {
    const slots = rest as { slots?: number };
    const args = slots.slots === undefined ? [] : ["--slots", String(slots.slots)];
    return { ...parseOptions([...args, ...text]), ...rest };
  }
  if (typeof listen === "string" || text.length > 0) {
    throw new TypeError("give all addresses as texts, or all as objects");
  }
  return {
    ...DEFAULTS,
    ...rest,
    listen,
    destinations: destinations as readonly DestinationOptions[],
  };
}

class Running implements Balancer {
  private readonly options: Options;
  private readonly c: typeof libc;
  private readonly hooks: Hooks;
  private readonly engine: BunEngine;
  private readonly sweep: Sweep;
  private readonly destinations: Destinations;
  private readonly plane: Plane;
  private readonly listeners: Listening[] = [];
  /** ms since 1970 at the zero of `performance.now`. */
  private readonly startedAt = Date.now() - performance.now();
  private resolver: ReturnType<typeof setInterval> | null = null;
  private draining: Promise<void> | null = null;
  private onEmpty: (() => void) | null = null;
  private stopped = false;

  constructor(options: Options, c: typeof libc, hooks: Hooks) {
    this.options = options;
    this.c = c;
    this.hooks = hooks;
    const clock = () => performance.now();
    this.engine = new BunEngine(c, (error, events) => this.plane.onFault(error, events));
    this.sweep = new Sweep(clock);
    const board = new Board({ destinationCountMax: options.destinations.length, threadCount: 1 });
    const plans = options.destinations.map((each): DestinationPlan => {
      const { name, slots, weight, backup, address } = each;
      return { name, slots, weight, backup, addresses: this.fixedAddresses(address) };
    });
    this.destinations = new Destinations(
      plans,
      board,
      (on, members) => policyOf(options.policy, on, members),
      this.sweep,
      {
        onOut: (destination, cause, retryMs) =>
          this.tell({ kind: "destination-out", name: destination.name, cause, retryMs }),
        onBack: (destination) => this.tell({ kind: "destination-back", name: destination.name }),
      },
    );
    const { access } = hooks;
    this.plane = new Plane({
      engine: this.engine,
      limits: options,
      board,
      thread: 0,
      destinations: this.destinations,
      sweep: this.sweep,
      clock,
      hashes: options.policy === "hash",
      wantsClient: access !== undefined,
      events: {
        onSettled: (pair) => {
          access?.(recordOf(pair, this.addresses, this.startedAt));
          if (this.onEmpty !== null && this.plane.pairs.size === 0) this.onEmpty();
        },
        onQueueFull: (full) => this.tell({ kind: full ? "queue-full" : "queue-clear" }),
        onLocalFault: (cause) => this.tell({ kind: "local-fault", cause }),
        onFault: (error) =>
          this.tell({ kind: "warning", message: `internal error: ${String(error)}` }),
      },
    });
  }

  get addresses(): readonly string[] {
    return this.listeners.map((each) => each.address);
  }

  get port(): number {
    return this.listeners[0]?.port ?? 0;
  }

  async start(): Promise<void> {
    await this.resolveNames();
    const names = this.options.destinations.some((each) => !isFixed(each.address));
    if (names) {
      this.resolver = setInterval(() => void this.resolveNames(), resolveMs);
      this.resolver.unref();
    }
    try {
      for (const target of await this.listenTargets()) this.open(target);
    } catch (error) {
      this.stop();
      throw error;
    }
    for (const address of this.addresses) this.tell({ kind: "listening", address });
  }

  status(): Status {
    const { plane, destinations, options } = this;
    const { numbers } = plane;
    const oldest = plane.batch.peek();
    const times = (name: keyof Status["times"]): TimeStatus => ({
      p50: numbers.histograms[name].quantile(0.5),
      p90: numbers.histograms[name].quantile(0.9),
      p99: numbers.histograms[name].quantile(0.99),
    });
    const closed = closeReasons.map((reason) => [reason, numbers.get(`closed ${reason}`)]);
    return {
      addresses: this.addresses,
      accepted: numbers.get("accepted"),
      open: numbers.get("open"),
      connectionCountMax: options.connectionCountMax,
      queue: {
        waiting: numbers.get("queued"),
        oldestMs: oldest === null ? 0 : plane.now() - oldest.acceptedAt,
        waited: numbers.get("waited"),
        countMax: options.queueCountMax,
      },
      closed: Object.fromEntries(closed) as Record<CloseReason, number>, // the keys are the reasons
      bytesUp: numbers.get("bytesUp"),
      bytesDown: numbers.get("bytesDown"),
      bytesUndelivered: numbers.get("bytesUndelivered"),
      localFaults: numbers.get("localFaults"),
      times: {
        queue: times("queue"),
        connect: times("connect"),
        firstByte: times("firstByte"),
        session: times("session"),
        handOff: times("handOff"),
      },
      destinations: destinations.list.map((each) => this.destinationStatus(each)),
    };
  }

  drain(): Promise<void> {
    this.draining ??= this.drainOnce();
    return this.draining;
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    for (const listener of this.listeners) listener.stop();
    this.plane.refuseNew();
    this.plane.cut();
    this.sweep.close();
    if (this.resolver !== null) clearInterval(this.resolver);
    this.onEmpty?.();
  }

  private async drainOnce(): Promise<void> {
    const { plane } = this;
    this.tell({
      kind: "draining",
      pairs: plane.pairs.size - plane.numbers.get("queued"),
      waiting: plane.numbers.get("queued"),
    });
    // What the kernel has queued is accepted first: a listener that closes resets it.
    await new Promise((done) => setImmediate(done));
    for (const listener of this.listeners) listener.stop();
    plane.refuseNew();
    if (plane.pairs.size > 0) {
      const timer = setTimeout(() => this.onEmpty?.(), this.options.drainMs);
      await new Promise<void>((done) => (this.onEmpty = done));
      clearTimeout(timer);
    }
    const cut = plane.pairs.size;
    this.stop();
    this.tell({ kind: "drained", cut });
  }

  private open(target: Target): void {
    // Port 0 of several addresses: the first picks, the others follow.
    const first = this.listeners[0]?.port ?? 0;
    const exact = "ip" in target && target.port === 0 ? { ...target, port: first } : target;
    const { engine, c, plane, options } = this;
    const at = this.listeners.length;
    this.listeners.push(listen(engine, c, exact, options.backlogCount, plane, at));
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

  private async resolveNames(): Promise<void> {
    const { options, destinations } = this;
    await Promise.all(
      options.destinations.map(async ({ address, name }, row) => {
        const destination = destinations.list[row];
        if (destination === undefined || address.kind === "unix" || isFixed(address)) return;
        const found = await resolve(address.host);
        if ("cause" in found) {
          if (destination.addresses.length > 0) return;
          const message = `destination ${name}: the name does not resolve (${found.cause}); trying again every ${resolveMs / 1000} s`;
          if (destination.lastFault !== found.cause) this.tell({ kind: "warning", message });
          destination.lastFault = found.cause;
          return;
        }
        const key = found.ips.join(" ");
        if (this.resolved.get(destination) === key) return;
        this.resolved.set(destination, key);
        const targets = found.ips.map((ip) => this.engine.address({ ip, port: address.port }));
        destinations.setAddresses(destination, targets);
      }),
    );
  }

  private readonly resolved = new Map<Destination, string>();

  private fixedAddresses(address: Address): readonly DialAddress[] {
    if (address.kind === "unix") return [this.engine.address({ path: address.path })];
    if (!isFixed(address)) return [];
    return [this.engine.address({ ip: address.host, port: address.port })];
  }

  private destinationStatus(destination: Destination): DestinationStatus {
    const { board } = this.destinations;
    const { numbers } = this.plane;
    const { row } = destination;
    return {
      name: destination.name,
      state: destination.addresses.length === 0 ? "unresolved" : stateName(board.state[row] ?? 0),
      used: board.used[row] ?? 0,
      slots: board.slots[row] ?? 0,
      weight: board.weight[row] ?? 0,
      backup: destination.backup,
      connections: numbers.joined[row] ?? 0,
      failures: numbers.failures[row] ?? 0,
      bytesUp: numbers.bytesUp[row] ?? 0,
      bytesDown: numbers.bytesDown[row] ?? 0,
      outCount: destination.outCount,
      lastFault: destination.lastFault,
    };
  }

  private tell(event: BalancerEvent): void {
    this.hooks.event?.(event);
  }
}

function isFixed(address: Address): boolean {
  return address.kind === "unix" || isLiteral(address.host);
}

function stateName(state: number): DestinationStatus["state"] {
  if (state === State.up) return "up";
  if (state === State.resting) return "resting";
  return state === State.out ? "out" : "trial";
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
