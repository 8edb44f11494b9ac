// The listeners of a program by their names, and those that leave: opened all or none, found, listed.
import { balance, type Balancer, type Hooks } from "./balancer.ts";
import type { Configuration } from "./config/config.ts";
import { formatAddress, type Options } from "./control/options.ts";
import { nearby } from "./control/mistake.ts";
import {
  SteeringError,
  type ConnectionPage,
  type ConnectionQuery,
  type DestinationRef,
  type ListenerStatus,
  type Modes,
} from "./control/steering.ts";
import { handedDown, type Inheritance } from "./inherited.ts";
import { libc } from "./linux/libc.ts";

type ListenerConfiguration = Configuration["listeners"][number];

export interface Listener {
  readonly name: string;
  readonly balancer: Balancer;
  /** As configured and steered; what is in force besides is the balancer's. */
  options: Options;
}

/** What listeners are opened with. */
export interface Given {
  readonly inheritance: Inheritance | null;
  /** Of the destinations of each listener. */
  readonly modes: Readonly<Record<string, Modes>>;
  hooksOf(name: string): Hooks;
}

export class Listeners {
  readonly serving = new Map<string, Listener>();
  /** Listeners that a reload has removed, until their last pair has ended. */
  private readonly leaving = new Map<string, Balancer>();
  private leavingCount = 0;

  /**
   * All or none. @param all every listener that there will be.
   * @throws OptionsError, ListenError
   */
  async open(
    wanted: readonly ListenerConfiguration[],
    all: readonly ListenerConfiguration[],
    { inheritance, modes, hooksOf }: Given,
  ): Promise<Listener[]> {
    const opened: Listener[] = [];
    try {
      for (const { name, options } of wanted) {
        const own = Object.hasOwn(modes, name) ? modes[name] : undefined;
        const beside = besideOf(name, all);
        const given = {
          ...options,
          inheritance,
          beside,
          ...(own === undefined ? {} : { modes: own }),
        };
        opened.push({ name, balancer: await balance(given, hooksOf(name)), options });
      }
    } catch (error) {
      for (const { balancer } of opened) await balancer.stop();
      throw error;
    }
    return opened;
  }

  /**
   * Puts listeners in the place of those that are not there any more, or are elsewhere now. An address that only
   * gets another name is never closed. @throws OptionsError, ListenError: then nothing has changed.
   */
  async move(next: readonly ListenerConfiguration[], given: Given): Promise<Listener[]> {
    const moved = next.filter(({ name, options }) => {
      const now = this.serving.get(name);
      return now === undefined || addressOf(now.options) !== addressOf(options);
    });
    const gone = [...this.serving.values()].filter(
      ({ name }) =>
        !next.some((each) => each.name === name) || moved.some((each) => each.name === name),
    );
    const wanted = new Set(moved.map(({ options }) => addressOf(options)));
    const left = gone
      .filter(({ options }) => wanted.has(addressOf(options)) && !isPicked(options))
      .flatMap(({ balancer }) => balancer.descriptors);
    const inheritance = libc === null || left.length === 0 ? null : handedDown(libc, left);
    const opened = await this.openMoved(moved, next, {
      ...given,
      inheritance,
      modes: this.modesFor(moved, gone),
    });
    for (const descriptor of left) descriptor.leaveFile();
    inheritance?.settle();
    for (const { name, balancer } of gone) this.retire(name, balancer);
    return opened;
  }

  /** Puts them into the order of the configuration. */
  arrange(order: readonly Pick<Listener, "name">[]): void {
    const { serving } = this;
    for (const { name } of order) {
      const listener = serving.get(name);
      serving.delete(name);
      if (listener !== undefined) serving.set(name, listener);
    }
  }

  /** Where it listens, in the order of the configuration. */
  get addresses(): readonly string[] {
    return [...this.serving.values()].flatMap(({ balancer }) => balancer.addresses);
  }

  /** Of those that are not ready, by the names of their listeners. */
  get modes(): Readonly<Record<string, Modes>> {
    const all = [...this.serving.values()].map(({ name, balancer }) => {
      const rows = balancer.status().destinations;
      const others = rows.flatMap(({ name: of, mode }) =>
        mode === "ready" || mode === "leaving" ? [] : [[of, mode] as const],
      );
      return [name, Object.fromEntries(others)] as const;
    });
    return Object.fromEntries(all.filter(([, modes]) => Object.keys(modes).length > 0));
  }

  statuses(): ListenerStatus[] {
    const serving = [...this.serving.values()].map(
      ({ name, balancer }) => [name, balancer] as const,
    );
    return [...serving, ...this.leaving].map(([name, balancer]) =>
      Object.assign({ name }, balancer.status()),
    );
  }

  async connections(query: ConnectionQuery): Promise<ConnectionPage> {
    const names = query.listener === "" ? [...this.serving.keys()] : [query.listener];
    const [from, after] = splitId(query.after);
    const page: ConnectionPage["connections"][number][] = [];
    let next = "";
    // One listener after the other: pages go on within a listener.
    for (const name of from === "" ? names : names.slice(Math.max(0, names.indexOf(from)))) {
      const { balancer } = this.at(name);
      const found = await balancer.connections({
        ...query,
        listener: name,
        after: name === from ? after : "",
        countMax: query.countMax - page.length,
      });
      page.push(...found.connections);
      if (found.next !== "") next = found.next;
      else if (page.length === query.countMax && name !== names.at(-1)) {
        next = `${names[names.indexOf(name) + 1] ?? ""}/`;
      }
      if (next !== "") break;
    }
    return { connections: page, next };
  }

  async kill(id: string): Promise<void> {
    const [name, number] = splitId(id);
    const balancer = this.serving.get(name)?.balancer ?? this.leaving.get(name);
    const order = /^\d{1,15}$/.test(number) ? Number(number) : -1;
    if (balancer === undefined || order < 0) {
      throw new SteeringError("unknown", `${id} is no connection; such as main/17 is accepted`);
    }
    if (!(await balancer.kill(order))) {
      throw new SteeringError("unknown", `connection ${id} is not open`);
    }
  }

  async each(act: (balancer: Balancer) => Promise<void>): Promise<void> {
    const all = [...this.serving.values()].map(({ balancer }) => balancer);
    await Promise.all([...all, ...this.leaving.values()].map(act));
  }

  /** @throws SteeringError */
  at(name: string): Listener {
    const listener = this.serving.get(name);
    if (listener !== undefined) return listener;
    const known = [...this.serving.keys()].join(", ");
    throw new SteeringError("unknown", `no listener ${name}; known are ${known}`);
  }

  /** @param name "" = the only one. @throws SteeringError */
  named(name: string): Listener {
    if (name !== "") return this.at(name);
    const [only, ...others] = this.serving.values();
    if (only !== undefined && others.length === 0) return only;
    const known = [...this.serving.keys()].join(", ");
    throw new SteeringError("ambiguous", `there are several listeners; one of ${known} is needed`);
  }

  /** @throws SteeringError */
  find(ref: DestinationRef): { readonly listener: Listener; readonly name: string } {
    const name = ref.destination;
    const where = ref.listener === "" ? [...this.serving.values()] : [this.at(ref.listener)];
    const has = (each: Listener) => each.options.destinations.some((one) => one.name === name);
    const [found, another] = where.filter(has);
    if (found === undefined) {
      const known = where.flatMap((each) => each.options.destinations.map((one) => one.name));
      throw new SteeringError("unknown", `no destination ${name}; ${nearby(name, known)}`);
    }
    if (another === undefined) return { listener: found, name };
    const both = `${found.name} and ${another.name}`;
    throw new SteeringError("ambiguous", `${name} is a destination of ${both}; name the listener`);
  }

  /** Modes go with the name of a listener, or with its address where it gets another name. */
  private modesFor(
    moved: readonly ListenerConfiguration[],
    gone: readonly Listener[],
  ): Readonly<Record<string, Modes>> {
    const { modes } = this;
    const kept = moved.map(({ name, options }) => {
      const isSame = (each: Listener) => addressOf(each.options) === addressOf(options);
      const before = this.serving.get(name) ?? (isPicked(options) ? undefined : gone.find(isSame));
      return [name, (before === undefined ? undefined : modes[before.name]) ?? {}] as const;
    });
    return Object.fromEntries(kept);
  }

  private async openMoved(
    moved: readonly ListenerConfiguration[],
    next: readonly ListenerConfiguration[],
    given: Given,
  ): Promise<Listener[]> {
    // Who has a port picked takes none that another one is to keep.
    const inTurn = [
      ...moved.filter(({ options }) => !isPicked(options)),
      ...moved.filter(({ options }) => isPicked(options)),
    ];
    try {
      return await this.open(inTurn, next, given);
    } finally {
      if (libc !== null) given.inheritance?.closeRest(libc);
    }
  }

  /** A listener goes: its pairs go on until they end. */
  private retire(name: string, balancer: Balancer): void {
    this.serving.delete(name);
    this.leavingCount += 1;
    const key = `${name}~${this.leavingCount}`;
    this.leaving.set(key, balancer);
    void balancer.retire().then(() => this.leaving.delete(key));
  }
}

/** Options of all listeners but one. */
export function besideOf(
  name: string,
  all: Iterable<Pick<Listener, "name" | "options">>,
): Options[] {
  return [...all].filter((each) => each.name !== name).map(({ options }) => options);
}

function addressOf({ listen }: Options): string {
  return formatAddress(listen);
}

/** Its port is one that the system picks. */
function isPicked({ listen }: Options): boolean {
  return listen.kind === "tcp" && listen.port === 0;
}

function splitId(id: string): readonly [string, string] {
  const slash = id.lastIndexOf("/");
  return slash < 0 ? ["", id] : [id.slice(0, slash), id.slice(slash + 1)];
}
