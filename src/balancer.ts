// The composition root: builds a data plane from options, starts it, reads it, drains and stops it.
// Origin: IAWLB §3, the main program.
import type { AccessRecord } from "./control/access-log.ts";
import { readOptions, type Address, type GivenOptions, type Options } from "./control/options.ts";
import { recordOf } from "./control/record.ts";
import { isLiteral, resolve, resolveMs } from "./control/resolve.ts";
import { AssertionError } from "./core/assert.ts";
import { Board } from "./core/board.ts";
import {
  Destinations,
  fillBoard,
  type Destination,
  type DestinationPlan,
} from "./core/destination.ts";
import type { DialAddress, Listening } from "./core/engine.ts";
import { EventLoop } from "./core/loop.ts";
import { Plane } from "./core/plane.ts";
import { policyOf } from "./core/policy.ts";
import { Sweep } from "./core/sweep.ts";
import { BunEngine, type Target } from "./engine/bun.ts";
import { listen, ListenError } from "./engine/listen.ts";
import { libc, raiseDescriptorLimit } from "./linux/libc.ts";
import { statusOf, type Status } from "./status.ts";

export { ListenError };
export type { Status };

/** Descriptors kept for listeners, logs, names and the runtime itself; fewer where the limit is low. */
const reservedDescriptorCountMax = 64;
const reservedDescriptorCountMin = 24;
/** Below so many connections the operator is told what the descriptor limit allows. */
const connectionCountFew = 400;
/** Ports that are picked for several addresses at once before giving up. */
const pickCountMax = 16;
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
  /** One record per connection, when it has ended. Called in its handler: store it, do the work later. What a hook
   * throws is told once as a `warning` event and costs no connection. */
  readonly access?: (record: AccessRecord) => void;
  readonly event?: (event: BalancerEvent) => void;
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
  const descriptorCount = raiseDescriptorLimit(libc) ?? descriptorCountFallback;
  const reserved = Math.min(
    reservedDescriptorCountMax,
    Math.max(reservedDescriptorCountMin, Math.floor(descriptorCount / 4)),
  );
  const possible = Math.max(1, Math.floor((descriptorCount - reserved) / 2));
  const wanted = options.connectionCountMax;
  if (wanted > possible || (wanted === 0 && possible < connectionCountFew)) {
    const asked = wanted === 0 ? "" : `, not the ${wanted} of --max-connections`;
    const message = `the limit of ${descriptorCount} descriptors allows ${possible} connections${asked}; raise it with ulimit -n`;
    safeHooks.event?.({ kind: "warning", message });
  }
  const connectionCountMax = wanted === 0 ? possible : Math.min(wanted, possible);
  const running = new Running({ ...options, connectionCountMax }, c, safeHooks);
  await running.start();
  return running;
}

/** A hook that throws must not reach the core, whose handlers would be left half done. */
function guarded(hooks: Hooks): Hooks {
  let told = false;
  const guard = <T>(name: string, hook: ((value: T) => void) | undefined) => {
    return (value: T): void => {
      try {
        hook?.(value);
      } catch (error) {
        if (told) return;
        told = true;
        const message = `the ${name} hook has thrown: ${String(error)}`;
        event({ kind: "warning", message });
      }
    };
  };
  const event = guard("event", hooks.event);
  return hooks.access === undefined ? { event } : { event, access: guard("access", hooks.access) };
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
  /** Addresses of each name as last found. */
  private readonly resolved = new Map<string, string>();
  private resolver: ReturnType<typeof setInterval> | null = null;
  private draining: Promise<void> | null = null;
  private onEmpty: (() => void) | null = null;
  private stopped = false;

  constructor(options: Options, c: typeof libc, hooks: Hooks) {
    this.options = options;
    this.c = c;
    this.hooks = hooks;
    const loop = new EventLoop(() => performance.now());
    this.engine = new BunEngine(c, (error, events) => this.plane.onFault(error, events));
    this.sweep = new Sweep(loop);
    const board = new Board({
      destinationCountMax: options.destinations.length,
      threadCount: 1,
      waiterCountMax: options.connectionCountMax,
    });
    const plans = options.destinations.map((each): DestinationPlan => {
      const { name, slots, weight, backup, address } = each;
      return { name, slots, weight, backup, addresses: this.fixedAddresses(address) };
    });
    fillBoard(board, plans);
    this.destinations = new Destinations(
      plans,
      board,
      0,
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
      loop,
      hashes: options.policy === "hash",
      wantsClient: access !== undefined,
      events: {
        onSettled: (pair) => {
          access?.(recordOf(pair, this.addresses, this.startedAt));
          if (this.onEmpty !== null && this.plane.pairs.size === 0) this.onEmpty();
        },
        onQueueFull: (full) => this.tell({ kind: full ? "queue-full" : "queue-clear" }),
        onConnectionLimit: () => {
          const message = `clients are refused: ${options.connectionCountMax} connections are open, as many as --max-connections allows`;
          this.tell({ kind: "warning", message });
        },
        onLocalFault: (cause) => this.tell({ kind: "local-fault", cause }),
        onFault: (error) => {
          // A broken invariant ends the process; any other exception costs its own connection.
          if (error instanceof AssertionError) setImmediate(() => void raise(error));
          this.tell({ kind: "warning", message: `internal error: ${String(error)}` });
        },
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
      this.openAll(await this.listenTargets());
    } catch (error) {
      this.stop();
      throw error;
    }
    for (const address of this.addresses) this.tell({ kind: "listening", address });
  }

  status(): Status {
    const { plane, destinations, options, addresses } = this;
    return statusOf(plane, destinations, addresses, options);
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
    // What the kernel has queued is accepted first: a listener that closes resets it. After a signal the first
    // immediate runs before the sockets are looked at, the second one after.
    for (let turn = 0; turn < 2; turn += 1) await new Promise((done) => setImmediate(done));
    for (const listener of this.listeners) listener.stop();
    plane.pull(); // those that a batch still holds are not refused for want of a flush
    plane.refuseNew();
    if (plane.pairs.size > 0) {
      const timer = setTimeout(() => this.onEmpty?.(), this.options.drainMs);
      await new Promise<void>((done) => (this.onEmpty = done));
      clearTimeout(timer);
    }
    if (this.stopped) return; // cut short
    const cut = plane.pairs.size;
    this.stop();
    this.tell({ kind: "drained", cut });
  }

  /** Opens all or throws. A port that the first address picked may be taken on the next one: then another is picked. */
  private openAll(targets: readonly Target[]): void {
    for (let tries = 1; ; tries += 1) {
      try {
        for (const target of targets) this.open(target);
        return;
      } catch (error) {
        const wasPicked = targets.some((each) => "ip" in each && each.port === 0);
        const isTaken = error instanceof ListenError && error.code === "EADDRINUSE";
        if (!wasPicked || !isTaken || tries === pickCountMax) throw error;
        for (const listener of this.listeners.splice(0)) listener.stop();
      }
    }
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

  /** Looks up each name once and gives its addresses to every destination of that name. */
  private async resolveNames(): Promise<void> {
    const hosts = new Map<string, Destination[]>();
    this.options.destinations.forEach(({ address }, row) => {
      const destination = this.destinations.list[row];
      if (destination === undefined || address.kind === "unix" || isFixed(address)) return;
      const sharers = hosts.get(address.host) ?? [];
      hosts.set(address.host, sharers);
      sharers.push(destination);
    });
    const each = async ([host, sharers]: [string, readonly Destination[]]): Promise<void> => {
      const found = await resolve(host);
      if ("ips" in found) this.useAddresses(host, found.ips, sharers);
      else this.onUnresolved(host, found.cause);
    };
    await Promise.all([...hosts].map(each));
  }

  private useAddresses(
    host: string,
    ips: readonly string[],
    sharers: readonly Destination[],
  ): void {
    const key = ips.toSorted().join(" "); // servers of names like to turn the order round
    if (this.resolved.get(host) === key) return;
    this.resolved.set(host, key);
    for (const destination of sharers) {
      const address = this.options.destinations[destination.row]?.address;
      if (address?.kind !== "tcp") continue;
      const { port } = address;
      this.destinations.setAddresses(
        destination,
        ips.map((ip) => this.engine.address({ ip, port })),
      );
    }
  }

  /** The last good answer is kept; a name that never had one is told once. */
  private onUnresolved(host: string, cause: string): void {
    if (this.resolved.has(host)) return;
    this.resolved.set(host, "");
    const message = `the name ${host} does not resolve (${cause}); its destinations wait, it is looked up every ${resolveMs / 1000} s`;
    this.tell({ kind: "warning", message });
  }

  private fixedAddresses(address: Address): readonly DialAddress[] {
    if (address.kind === "unix") return [this.engine.address({ path: address.path })];
    if (!isFixed(address)) return [];
    return [this.engine.address({ ip: address.host, port: address.port })];
  }

  private tell(event: BalancerEvent): void {
    this.hooks.event?.(event);
  }
}

function raise(error: Error): never {
  throw error;
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
