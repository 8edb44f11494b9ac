// What one process runs: listeners by name from one configuration, started, changed, steered and ended together. It is
// what the admin side sees. Origin: IAWLB §3, whose one listener was the process.
import manifest from "../package.json" with { type: "json" };
import { balance, type Balancer, type BalanceOptions, type Hooks } from "./balancer.ts";
import { killIn, pageOf } from "./connection-pages.ts";
import { persistDestinations } from "./config/persist.ts";
import type { Configuration } from "./config/config.ts";
import { differenceOf, faultOf, isSamePlace, linesOf, partnersOf } from "./reload.ts";
import { aroundOf, withPlace, type Difference } from "./reload.ts";
import { readOptions, type Options } from "./control/options.ts";
import type { BalancerEvent } from "./control/hooks.ts";
import { Turns } from "./turns.ts";
import type { HandedDescriptor } from "./upgrade.ts";
import type { Inheritance } from "./inherited.ts";
import { levelOf, wordsOf, type Level } from "./control/log.ts";
import { destinationAt, listenerAt } from "./lookup.ts";
import { isPicked, leftBy, modesIn, modesOf, refuseCircle, type Listener } from "./standing.ts";
import {
  SteeringError,
  type ConnectionPage,
  type ConnectionQuery,
  type DestinationRef,
  type ListenerStatus,
  type Mode,
  type Modes,
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
  /** In which destinations begin, by the names of their listeners. */
  readonly modes?: Readonly<Record<string, Modes>>;
  /** Reads the configuration anew, from where it came. @throws OptionsError */
  read(): Promise<Configuration>;
  /** It runs by another configuration. */
  onConfiguration(configuration: Configuration): void;
  /** Whoever steers wants it to end in order. */
  onDrain(): void;
  readonly access?: Hooks["access"];
  /** A line for the operator. */
  tell(level: Level, message: string): void;
}

export class Program implements Steering {
  private configuration: Configuration;
  /** Of the program itself, in force. */
  private settings: Configuration["program"];
  private readonly host: ProgramHost;
  private readonly listeners = new Map<string, Listener>();
  /** Listeners that a reload has removed, until their last pair has ended. */
  private readonly leaving = new Map<string, Balancer>();
  private readonly receivers = new Set<(event: ProgramEvent) => void>();
  private readonly startedAt = Date.now();
  private readonly startedMs = performance.now();
  private lastReload: ReloadOutcome | null = null;
  /** A reload that has not begun to read. */
  private nextReload: Promise<ReloadOutcome> | null = null;
  private readonly turns = new Turns();
  /** Listeners whose destinations differ from the file by what was steered. */
  private readonly steered = new Set<string>();
  private draining: Promise<void> | null = null;
  private leavingCount = 0;

  private constructor(configuration: Configuration, host: ProgramHost) {
    this.configuration = configuration;
    this.settings = configuration.program;
    this.host = host;
  }

  /**
   * Starts every listener, or none.
   * @throws OptionsError, ListenError
   */
  static async start(configuration: Configuration, host: ProgramHost): Promise<Program> {
    const program = new Program(configuration, host);
    const { inheritance = null, modes = {} } = host;
    const opened = await program.openAll(configuration, configuration.listeners, (each) => ({
      inheritance,
      modes: Object.hasOwn(modes, each.name) ? (modes[each.name] ?? {}) : {},
    }));
    for (const each of opened.values()) program.listeners.set(each.name, each);
    program.announce(opened.values());
    return program;
  }

  /** Where it listens, in the order of the configuration. */
  get addresses(): readonly string[] {
    return [...this.listeners.values()].flatMap(({ balancer }) => balancer.addresses);
  }

  get descriptors(): readonly HandedDescriptor[] {
    return [...this.listeners.values()].flatMap(({ balancer }) => balancer.descriptors);
  }

  /** Of destinations that are not ready, by the names of their listeners. */
  get modes(): Readonly<Record<string, Modes>> {
    return modesOf(this.listeners.values());
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

  /** Those that serve, then those that leave. */
  private get all(): readonly (readonly [name: string, balancer: Balancer])[] {
    const serving = [...this.listeners.values()].map(
      ({ name, balancer }) => [name, balancer] as const,
    );
    return [...serving, ...this.leaving];
  }

  status(): ProgramStatus {
    const listeners = this.all.map(([name, balancer]): ListenerStatus =>
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

  connections(query: ConnectionQuery): Promise<ConnectionPage> {
    const { listener } = query;
    if (listener === "") return pageOf(this.all, query);
    const balancer = this.leaving.get(listener) ?? listenerAt(this.listeners, listener).balancer;
    return pageOf([[listener, balancer]], query);
  }

  subscribe(receive: (event: ProgramEvent) => void): () => void {
    if (this.receivers.size === receiverCountMax) {
      throw new SteeringError("refused", `${receiverCountMax} receive events already`);
    }
    this.receivers.add(receive);
    return () => void this.receivers.delete(receive);
  }

  setMode(ref: DestinationRef, mode: Mode): void {
    const { listener, name } = destinationAt(this.listeners, ref);
    listener.balancer.setMode(name, mode);
    this.say("mode", listener.name, name, `destination ${name}: ${mode}`);
  }

  set(ref: DestinationRef, change: { weight?: number; slots?: number }): Promise<void> {
    return this.turns.take(async () => {
      const { listener, name } = destinationAt(this.listeners, ref);
      const destinations = listener.options.destinations.map((each) =>
        each.name === name ? { ...each, ...change } : each,
      );
      await this.change(listener, { ...listener.options, destinations });
      const words = Object.entries(change).map(([key, value]) => `${key} ${value}`);
      this.say("set", listener.name, name, `destination ${name}: ${words.join(", ")}`);
    });
  }

  add(listenerName: string, place: string): Promise<string> {
    return this.turns.take(async () => {
      const listener = listenerAt(this.listeners, listenerName);
      const before = listener.options.destinations;
      const options = readOptions({ ...listener.options, destinations: [...before, place] });
      const name = options.destinations.at(-1)?.name ?? "";
      refuseCircle([...this.listeners.values()], listener, options, name);
      await this.change(listener, options);
      this.say("added", listener.name, name, `destination ${name} is added`);
      return name;
    });
  }

  remove(ref: DestinationRef): Promise<void> {
    return this.turns.take(async () => {
      const { listener, name } = destinationAt(this.listeners, ref);
      const destinations = listener.options.destinations.filter((each) => each.name !== name);
      if (destinations.length === 0) {
        const problem = `${name} is the last destination of ${listener.name}`;
        throw new SteeringError("refused", `${problem}; drain it, or add another one first`);
      }
      await this.change(listener, { ...listener.options, destinations });
      this.say("removed", listener.name, name, `destination ${name} is removed`);
    });
  }

  kill(id: string): Promise<void> {
    return killIn(this.all, id);
  }

  rebalance(ref: DestinationRef, count: number, perSecond: number): Promise<number> {
    const { listener, name } = destinationAt(this.listeners, ref);
    return listener.balancer.rebalance(name, count, perSecond);
  }

  /** One at a time. Who asks while one is under way gets what the next gives: the file may have changed since. */
  reload(by: string): Promise<ReloadOutcome> {
    this.nextReload ??= this.turns.take(() => {
      this.nextReload = null;
      return this.reloadOnce(by);
    });
    return this.nextReload;
  }

  async plan(): Promise<ReloadOutcome> {
    const at = Date.now();
    try {
      const { changes, kept } = differenceOf(
        this.settings,
        [...this.listeners.values()],
        await this.host.read(),
      );
      return { at, by: "plan", changes, kept, fault: "" };
    } catch (error) {
      return { at, by: "plan", changes: [], kept: [], fault: faultOf(error) };
    }
  }

  persist(): Promise<string> {
    return this.turns.take(async () => {
      const { file } = this.configuration;
      if (file === "") {
        const problem = "there is no file to write to; start with --config FILE";
        throw new SteeringError("refused", problem);
      }
      for (const name of this.steered) {
        const { destinations } = listenerAt(this.listeners, name).options;
        this.configuration = await persistDestinations(this.configuration, name, destinations);
        this.steered.delete(name);
      }
      return file;
    });
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
    const before = [...this.listeners.values()];
    const outcome = differenceOf(this.settings, before, next);
    const partners = partnersOf(before, next.listeners);
    const moved = next.listeners.filter((each) => {
      const partner = partners.get(each);
      return partner === undefined || !isSamePlace(partner, each);
    });
    const staying = new Map([...partners].filter(([each]) => !moved.includes(each)));
    const gone = before.filter((each) => ![...staying.values()].includes(each));
    const left = leftBy(gone, moved);
    const opened = await this.openAll(next, moved, (each) => {
      return { inheritance: left.inheritance, modes: modesIn(partners.get(each)?.balancer) };
    }).finally(() => left.close());
    if (this.draining !== null) {
      for (const { balancer } of opened.values()) await balancer.stop();
      throw new SteeringError("refused", "it is draining");
    }
    left.settle();
    for (const listener of gone) this.retire(listener);
    this.listeners.clear();
    for (const each of next.listeners) {
      const listener = staying.get(each) ?? opened.get(each);
      if (listener === undefined) continue;
      listener.name = each.name;
      this.listeners.set(each.name, listener);
    }
    this.announce(opened.values());
    for (const [each, listener] of staying) {
      const { options } = each;
      await listener.balancer.apply({ ...options, ...aroundOf(each, next) });
      listener.options = options;
    }
    this.configuration = next;
    this.settings = { ...this.settings, logLevel: next.program.logLevel };
    this.steered.clear();
    this.host.onConfiguration(next);
    return outcome;
  }

  /** A listener goes: its pairs go on until they end. */
  private retire({ name, balancer }: Listener): void {
    this.leavingCount += 1;
    const key = `${name}~${this.leavingCount}`;
    this.leaving.set(key, balancer);
    void balancer.retire().then(() => this.leaving.delete(key));
  }

  // --- what both use

  /** All or none. Who has a port picked comes last, so that it is none that another one is to keep. */
  private async openAll(
    configuration: Configuration,
    wanted: readonly ListenerConfiguration[],
    givenTo: (each: ListenerConfiguration) => Pick<BalanceOptions, "inheritance" | "modes">,
  ): Promise<Map<ListenerConfiguration, Listener>> {
    const opened = new Map<ListenerConfiguration, Listener>();
    const inTurn = wanted.toSorted((a, b) => Number(isPicked(a)) - Number(isPicked(b)));
    try {
      for (const each of inTurn) {
        const { options } = each;
        const called = { name: each.name };
        const given = { ...options, ...givenTo(each), ...aroundOf(each, configuration) };
        const balancer = await balance(given, this.hooksOf(called));
        opened.set(each, Object.assign(called, { balancer, options }));
      }
    } catch (error) {
      for (const { balancer } of opened.values()) await balancer.stop();
      throw withPlace(error, configuration, inTurn[opened.size]);
    }
    return opened;
  }

  private announce(opened: Iterable<Listener>): void {
    for (const { name, balancer } of opened) {
      for (const address of balancer.addresses) this.tell(name, { kind: "listening", address });
    }
  }

  private async change(listener: Listener, options: Options): Promise<void> {
    await listener.balancer.apply(options);
    listener.options = options;
    this.steered.add(listener.name);
  }

  /** That it listens is told once all do, and the program can be ended in order. */
  private hooksOf(called: { readonly name: string }): Hooks {
    const event = (event: BalancerEvent): void => {
      if (event.kind !== "listening") this.tell(called.name, event);
    };
    const { access } = this.host;
    return access === undefined ? { event } : { event, access };
  }

  private tell(listener: string, event: BalancerEvent): void {
    const destination = "name" in event ? event.name : "";
    this.say(event.kind, listener, destination, wordsOf(event), levelOf(event));
  }

  private say(
    kind: string,
    listener: string,
    destination: string,
    message: string,
    level: Level = "info",
  ): void {
    const isOne = listener === "" || this.all.length === 1;
    this.host.tell(level, isOne ? message : `${listener}: ${message}`);
    const event: ProgramEvent = { at: Date.now(), kind, listener, destination, message };
    for (const receive of this.receivers) receive(event);
  }

  private async each(act: (balancer: Balancer) => Promise<void>): Promise<void> {
    await Promise.all(this.all.map(([, balancer]) => act(balancer)));
  }
}
