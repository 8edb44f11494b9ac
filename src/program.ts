// What one process runs: listeners by name from one configuration, started, changed, steered and ended together. It is
// what the admin side sees. Origin: IAWLB §3, whose one listener was the process.
import manifest from "../package.json" with { type: "json" };
import { balance, type Balancer, type Hooks } from "./balancer.ts";
import { persistDestinations } from "./config/persist.ts";
import type { Configuration } from "./config/config.ts";
import { differenceOf, faultOf, linesOf, type Difference } from "./reload.ts";
import { formatAddress, readOptions } from "./control/options.ts";
import type { Options } from "./control/options.ts";
import type { BalancerEvent } from "./control/hooks.ts";
import type { HandedDescriptor } from "./upgrade.ts";
import type { Inheritance } from "./inherited.ts";
import { levelOf, wordsOf, type Level } from "./control/log.ts";
import { nearby } from "./control/mistake.ts";
import {
  SteeringError,
  type ConnectionPage,
  type ConnectionQuery,
  type DestinationRef,
  type ListenerStatus,
  type Mode,
  type ProgramEvent,
  type ProgramStatus,
  type ReloadOutcome,
  type Steering,
} from "./control/steering.ts";

/** Receivers of events at once; one more is refused. */
const receiverCountMax = 1_024;

type ListenerConfiguration = Configuration["listeners"][number];

export interface ProgramHost {
  /** Listening descriptors that were there before. */
  readonly inheritance?: Inheritance;
  /** Reads the configuration anew, from where it came. @throws OptionsError */
  read(): Promise<Configuration>;
  /** Settings of the program itself have changed. */
  onSettings(settings: Configuration["program"]): void;
  /** Whoever steers wants it to end in order. */
  onDrain(): void;
  readonly access?: Hooks["access"];
  /** A line for the operator. */
  tell(level: Level, message: string): void;
}

interface Listener {
  readonly name: string;
  readonly balancer: Balancer;
  /** As configured and steered; what is in force besides is the balancer's. */
  options: Options;
}

export class Program implements Steering {
  private configuration: Configuration;
  private readonly host: ProgramHost;
  private readonly listeners = new Map<string, Listener>();
  /** Listeners that a reload has removed, until their last pair has ended. */
  private readonly leaving = new Map<string, Balancer>();
  private readonly receivers = new Set<(event: ProgramEvent) => void>();
  private readonly startedAt = Date.now();
  private readonly startedMs = performance.now();
  private lastReload: ReloadOutcome | null = null;
  private reloading: Promise<ReloadOutcome> | null = null;
  /** Listeners whose destinations differ from the file by what was steered. */
  private readonly steered = new Set<string>();
  private draining: Promise<void> | null = null;
  private leavingCount = 0;

  private constructor(configuration: Configuration, host: ProgramHost) {
    this.configuration = configuration;
    this.host = host;
  }

  /**
   * Starts every listener, or none.
   * @throws OptionsError, ListenError
   */
  static async start(configuration: Configuration, host: ProgramHost): Promise<Program> {
    const program = new Program(configuration, host);
    const opened = await program.openAll(configuration.listeners);
    for (const each of opened) program.listeners.set(each.name, each);
    return program;
  }

  /** Where it listens, in the order of the configuration. */
  get addresses(): readonly string[] {
    return [...this.listeners.values()].flatMap(({ balancer }) => balancer.addresses);
  }

  get descriptors(): readonly HandedDescriptor[] {
    return [...this.listeners.values()].flatMap(({ balancer }) => balancer.descriptors);
  }

  /** Fulfils once every thread of every listener has answered. */
  answers(): Promise<void> {
    return this.each((balancer) => balancer.answers());
  }

  /** A successor accepts: ends when the last that is open or waits has ended by itself. */
  handOver(): Promise<void> {
    this.draining ??= this.each((balancer) => balancer.handOver());
    return this.draining;
  }

  status(): ProgramStatus {
    const serving = [...this.listeners.values()].map(
      ({ name, balancer }) => [name, balancer] as const,
    );
    const listeners = [...serving, ...this.leaving].map(([name, balancer]): ListenerStatus =>
      Object.assign({ name }, balancer.status()),
    );
    return {
      version: manifest.version,
      pid: process.pid,
      startedAt: this.startedAt,
      uptimeMs: performance.now() - this.startedMs,
      state: this.draining === null ? "running" : "draining",
      config: this.configuration.file,
      reload: this.lastReload,
      listeners,
    };
  }

  async connections(query: ConnectionQuery): Promise<ConnectionPage> {
    const names = query.listener === "" ? [...this.listeners.keys()] : [query.listener];
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
      page.push(...found.connections.map((each) => ({ ...each, id: `${name}/${each.id}` })));
      if (found.next !== "") next = `${name}/${found.next}`;
      else if (page.length === query.countMax && name !== names.at(-1)) {
        next = `${names[names.indexOf(name) + 1] ?? ""}/`;
      }
      if (next !== "") break;
    }
    return { connections: page, next };
  }

  subscribe(receive: (event: ProgramEvent) => void): () => void {
    if (this.receivers.size === receiverCountMax) {
      throw new SteeringError("refused", `${receiverCountMax} receive events already`);
    }
    this.receivers.add(receive);
    return () => void this.receivers.delete(receive);
  }

  setMode(ref: DestinationRef, mode: Mode): void {
    const { listener, name } = this.find(ref);
    listener.balancer.setMode(name, mode);
    this.say("mode", listener.name, name, `destination ${name}: ${mode}`);
  }

  async set(ref: DestinationRef, change: { weight?: number; slots?: number }): Promise<void> {
    const { listener, name } = this.find(ref);
    const destinations = listener.options.destinations.map((each) =>
      each.name === name ? { ...each, ...change } : each,
    );
    await this.change(listener, { ...listener.options, destinations });
    const words = Object.entries(change).map(([key, value]) => `${key} ${value}`);
    this.say("set", listener.name, name, `destination ${name}: ${words.join(", ")}`);
  }

  async add(listenerName: string, place: string): Promise<string> {
    const listener = this.listenerOf(listenerName);
    const before = listener.options.destinations;
    const options = readOptions({ ...listener.options, destinations: [...before, place] });
    await this.change(listener, options);
    const name = options.destinations.at(-1)?.name ?? "";
    this.say("added", listener.name, name, `destination ${name} is added`);
    return name;
  }

  async remove(ref: DestinationRef): Promise<void> {
    const { listener, name } = this.find(ref);
    const destinations = listener.options.destinations.filter((each) => each.name !== name);
    if (destinations.length === 0) {
      const problem = `${name} is the last destination of ${listener.name}`;
      throw new SteeringError("refused", `${problem}; drain it, or add another one first`);
    }
    await this.change(listener, { ...listener.options, destinations });
    this.say("removed", listener.name, name, `destination ${name} is removed`);
  }

  async kill(id: string): Promise<void> {
    const [name, number] = splitId(id);
    const balancer = this.listeners.get(name)?.balancer ?? this.leaving.get(name);
    const order = /^\d{1,15}$/.test(number) ? Number(number) : -1;
    if (balancer === undefined || order < 0) {
      throw new SteeringError("unknown", `${id} is no connection; such as main/17 is accepted`);
    }
    if (!(await balancer.kill(order))) {
      throw new SteeringError("unknown", `connection ${id} is not open`);
    }
  }

  rebalance(ref: DestinationRef, count: number, perSecond: number): Promise<number> {
    const { listener, name } = this.find(ref);
    return listener.balancer.rebalance(name, count, perSecond);
  }

  /** One at a time: who asks while one is under way gets what that gives. */
  reload(by: string): Promise<ReloadOutcome> {
    this.reloading ??= this.reloadOnce(by).finally(() => (this.reloading = null));
    return this.reloading;
  }

  async plan(): Promise<ReloadOutcome> {
    const at = Date.now();
    try {
      const { changes, kept } = differenceOf(
        this.configuration,
        [...this.listeners.values()],
        await this.host.read(),
      );
      return { at, by: "plan", changes, kept, fault: "" };
    } catch (error) {
      return { at, by: "plan", changes: [], kept: [], fault: faultOf(error) };
    }
  }

  async persist(): Promise<string> {
    const { file } = this.configuration;
    if (file === "") {
      throw new SteeringError("refused", "there is no file to write to; start with --config FILE");
    }
    for (const name of this.steered) {
      const { destinations } = this.at(name).options;
      this.configuration = await persistDestinations(this.configuration, name, destinations);
      this.steered.delete(name);
    }
    return file;
  }

  drain(): void {
    this.host.onDrain();
  }

  /** Accepts no more, lets pairs finish up to `--drain-timeout`, cuts the rest; a hand-over gets that deadline, too. */
  end(): Promise<void> {
    this.draining = this.each((balancer) => balancer.drain());
    return this.draining;
  }

  /** Ends everything now. */
  stop(): Promise<void> {
    return this.each((balancer) => balancer.stop());
  }

  // --- reload

  private async reloadOnce(by: string): Promise<ReloadOutcome> {
    const at = Date.now();
    let outcome: ReloadOutcome;
    try {
      if (this.draining !== null) throw new SteeringError("refused", "it is draining");
      outcome = { at, by, ...(await this.applyAll(await this.host.read())), fault: "" };
    } catch (error) {
      outcome = { at, by, changes: [], kept: [], fault: faultOf(error) };
    }
    this.lastReload = outcome;
    const level = outcome.fault === "" ? "info" : "warn";
    for (const line of linesOf(outcome)) this.say("reload", "", "", line, level);
    return outcome;
  }

  /** What can fail comes first; then all changes follow without a fault. */
  private async applyAll(next: Configuration): Promise<Difference> {
    const outcome = differenceOf(this.configuration, [...this.listeners.values()], next);
    const moved = next.listeners.filter(({ name, options }) => {
      const now = this.listeners.get(name);
      return (
        now === undefined || formatAddress(now.options.listen) !== formatAddress(options.listen)
      );
    });
    const opened = await this.openAll(moved);
    for (const { name, balancer } of this.listeners.values()) {
      const stays = next.listeners.some((each) => each.name === name);
      if (!stays || opened.some((each) => each.name === name)) this.retire(name, balancer);
    }
    for (const { name, options } of next.listeners) {
      const listener = this.listeners.get(name);
      if (listener === undefined) continue;
      await listener.balancer.apply(options);
      listener.options = options;
    }
    for (const each of opened) this.listeners.set(each.name, each);
    this.configuration = next;
    this.steered.clear();
    this.host.onSettings(next.program);
    return outcome;
  }

  /** A listener goes: its pairs go on until they end. */
  private retire(name: string, balancer: Balancer): void {
    this.listeners.delete(name);
    this.leavingCount += 1;
    const key = `${name}~${this.leavingCount}`;
    this.leaving.set(key, balancer);
    void balancer.retire().then(() => this.leaving.delete(key));
  }

  // --- what both use

  /** All or none. */
  private async openAll(wanted: readonly ListenerConfiguration[]): Promise<Listener[]> {
    const opened: Listener[] = [];
    try {
      for (const { name, options } of wanted) {
        const balancer = await balance(
          { ...options, inheritance: this.host.inheritance ?? null },
          this.hooksOf(name),
        );
        opened.push({ name, balancer, options });
      }
    } catch (error) {
      for (const { balancer } of opened) await balancer.stop();
      throw error;
    }
    return opened;
  }

  private async change(listener: Listener, options: Options): Promise<void> {
    await listener.balancer.apply(options);
    listener.options = options;
    this.steered.add(listener.name);
  }

  private hooksOf(name: string): Hooks {
    const event = (event: BalancerEvent): void => {
      const destination = "name" in event ? event.name : "";
      this.say(event.kind, name, destination, wordsOf(event), levelOf(event));
    };
    const { access } = this.host;
    return access === undefined ? { event } : { event, access };
  }

  private say(
    kind: string,
    listener: string,
    destination: string,
    message: string,
    level: Level = "info",
  ): void {
    const isOne = listener === "" || this.configuration.listeners.length === 1;
    this.host.tell(level, isOne ? message : `${listener}: ${message}`);
    const event: ProgramEvent = { at: Date.now(), kind, listener, destination, message };
    for (const receive of this.receivers) receive(event);
  }

  private async each(act: (balancer: Balancer) => Promise<void>): Promise<void> {
    const all = [...this.listeners.values()].map(({ balancer }) => balancer);
    await Promise.all([...all, ...this.leaving.values()].map(act));
  }

  private at(name: string): Listener {
    const listener = this.listeners.get(name);
    if (listener !== undefined) return listener;
    const known = [...this.listeners.keys()].join(", ");
    throw new SteeringError("unknown", `no listener ${name}; known are ${known}`);
  }

  private listenerOf(name: string): Listener {
    if (name !== "") return this.at(name);
    const [only, ...others] = this.listeners.values();
    if (only !== undefined && others.length === 0) return only;
    const known = [...this.listeners.keys()].join(", ");
    throw new SteeringError("ambiguous", `there are several listeners; one of ${known} is needed`);
  }

  /** @throws SteeringError */
  private find(ref: DestinationRef): { readonly listener: Listener; readonly name: string } {
    const name = ref.destination;
    const where = ref.listener === "" ? [...this.listeners.values()] : [this.at(ref.listener)];
    const has = (each: Listener) => each.options.destinations.some((one) => one.name === name);
    const [found, another] = where.filter(has);
    if (found === undefined) {
      const all = where.flatMap((each) => each.options.destinations.map((one) => one.name));
      const known = [...new Set(all)];
      throw new SteeringError("unknown", `no destination ${name}; ${nearby(name, known)}`);
    }
    if (another === undefined) return { listener: found, name };
    const both = `${found.name} and ${another.name}`;
    throw new SteeringError("ambiguous", `${name} is a destination of ${both}; name the listener`);
  }
}

function splitId(id: string): readonly [string, string] {
  const slash = id.lastIndexOf("/");
  return slash < 0 ? ["", id] : [id.slice(0, slash), id.slice(slash + 1)];
}
