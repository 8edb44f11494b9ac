// What one process runs: listeners by name from one configuration, started, changed, steered and ended together. It is
// what the admin side sees. Origin: IAWLB §3, whose one listener was the process.
import manifest from "../package.json" with { type: "json" };
import type { Hooks } from "./balancer.ts";
import { circles } from "./config/between.ts";
import { persistDestinations } from "./config/persist.ts";
import type { Configuration } from "./config/config.ts";
import { besideOf, Listeners, type Given, type Listener } from "./listeners.ts";
import { differenceOf, faultOf, linesOf, type Difference } from "./reload.ts";
import { readAddress } from "./control/address.ts";
import { OptionsError, readOptions, type Options } from "./control/options.ts";
import type { BalancerEvent } from "./control/hooks.ts";
import type { HandedDescriptor } from "./upgrade.ts";
import type { Inheritance } from "./inherited.ts";
import { levelOf, wordsOf, type Level } from "./control/log.ts";
import { mistakeIn } from "./control/mistake.ts";
import {
  SteeringError,
  type ConnectionPage,
  type ConnectionQuery,
  type DestinationRef,
  type Mode,
  type Modes,
  type ProgramEvent,
  type ProgramStatus,
  type ReloadOutcome,
  type Steering,
} from "./control/steering.ts";

/** Receivers of events at once; one more is refused. */
const receiverCountMax = 1_024;

export interface ProgramHost {
  /** Listening descriptors that were there before. */
  readonly inheritance?: Inheritance;
  /** In which destinations begin, by the names of their listeners. */
  readonly modes?: Readonly<Record<string, Modes>>;
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

export class Program implements Steering {
  private configuration: Configuration;
  private readonly host: ProgramHost;
  private readonly listeners = new Listeners();
  private readonly receivers = new Set<(event: ProgramEvent) => void>();
  private readonly startedAt = Date.now();
  private readonly startedMs = performance.now();
  private lastReload: ReloadOutcome | null = null;
  private reloading: Promise<ReloadOutcome> | null = null;
  /** Listeners whose destinations differ from the file by what was steered. */
  private readonly steered = new Set<string>();
  private draining: Promise<void> | null = null;

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
    const { listeners } = configuration;
    const opened = await program.listeners.open(listeners, listeners, program.given);
    for (const each of opened) program.listeners.serving.set(each.name, each);
    return program;
  }

  /** Where it listens, in the order of the configuration. */
  get addresses(): readonly string[] {
    return this.listeners.addresses;
  }

  get descriptors(): readonly HandedDescriptor[] {
    return this.all.flatMap(({ balancer }) => balancer.descriptors);
  }

  /** Of destinations that are not ready, by the names of their listeners. */
  get modes(): Readonly<Record<string, Modes>> {
    return this.listeners.modes;
  }

  /** Fulfils once every thread of every listener has answered. */
  answers(): Promise<void> {
    return this.listeners.each((balancer) => balancer.answers());
  }

  /** A successor accepts: ends when the last that is open or waits has ended by itself. */
  handOver(): Promise<void> {
    this.draining ??= this.listeners.each((balancer) => balancer.handOver());
    return this.draining;
  }

  status(): ProgramStatus {
    return {
      version: manifest.version,
      pid: process.pid,
      startedAt: this.startedAt,
      uptimeMs: performance.now() - this.startedMs,
      state: this.draining === null ? "running" : "draining",
      config: this.configuration.file,
      reload: this.lastReload,
      listeners: this.listeners.statuses(),
    };
  }

  connections(query: ConnectionQuery): Promise<ConnectionPage> {
    return this.listeners.connections(query);
  }

  subscribe(receive: (event: ProgramEvent) => void): () => void {
    if (this.receivers.size === receiverCountMax) {
      throw new SteeringError("refused", `${receiverCountMax} receive events already`);
    }
    this.receivers.add(receive);
    return () => void this.receivers.delete(receive);
  }

  setMode(ref: DestinationRef, mode: Mode): void {
    const { listener, name } = this.listeners.find(ref);
    listener.balancer.setMode(name, mode);
    this.say("mode", listener.name, name, `destination ${name}: ${mode}`);
  }

  async set(ref: DestinationRef, change: { weight?: number; slots?: number }): Promise<void> {
    const { listener, name } = this.listeners.find(ref);
    const destinations = listener.options.destinations.map((each) =>
      each.name === name ? { ...each, ...change } : each,
    );
    await this.change(listener, { ...listener.options, destinations });
    const words = Object.entries(change).map(([key, value]) => `${key} ${value}`);
    this.say("set", listener.name, name, `destination ${name}: ${words.join(", ")}`);
  }

  async add(listenerName: string, place: string): Promise<string> {
    const listener = this.listeners.named(listenerName);
    const before = listener.options.destinations;
    const options = readOptions({ ...listener.options, destinations: [...before, place] });
    const name = options.destinations.at(-1)?.name ?? "";
    this.refuseCircle(listener, options, name);
    await this.change(listener, options);
    this.say("added", listener.name, name, `destination ${name} is added`);
    return name;
  }

  async remove(ref: DestinationRef): Promise<void> {
    const { listener, name } = this.listeners.find(ref);
    const destinations = listener.options.destinations.filter((each) => each.name !== name);
    if (destinations.length === 0) {
      const problem = `${name} is the last destination of ${listener.name}`;
      throw new SteeringError("refused", `${problem}; drain it, or add another one first`);
    }
    await this.change(listener, { ...listener.options, destinations });
    this.say("removed", listener.name, name, `destination ${name} is removed`);
  }

  kill(id: string): Promise<void> {
    return this.listeners.kill(id);
  }

  rebalance(ref: DestinationRef, count: number, perSecond: number): Promise<number> {
    const { listener, name } = this.listeners.find(ref);
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
      const { changes, kept } = differenceOf(this.configuration, this.all, await this.host.read());
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
      const { destinations } = this.listeners.at(name).options;
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
    this.draining = this.listeners.each((balancer) => balancer.drain());
    return this.draining;
  }

  /** Ends everything now. */
  stop(): Promise<void> {
    return this.listeners.each((balancer) => balancer.stop());
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
    const outcome = differenceOf(this.configuration, this.all, next);
    const { serving } = this.listeners;
    const opened = await this.listeners.move(next.listeners, this.given);
    for (const { name, options } of next.listeners) {
      const listener = serving.get(name);
      if (listener === undefined) continue;
      await listener.balancer.apply({ ...options, beside: besideOf(name, next.listeners) });
      listener.options = options;
    }
    for (const each of opened) serving.set(each.name, each);
    this.listeners.arrange(next.listeners);
    this.configuration = next;
    this.steered.clear();
    this.host.onSettings(next.program);
    return outcome;
  }

  // --- what both use

  private get all(): readonly Listener[] {
    return [...this.listeners.serving.values()];
  }

  private get given(): Given {
    const { inheritance = null, modes = {} } = this.host;
    return { inheritance, modes, hooksOf: (name) => this.hooksOf(name) };
  }

  /** From listener to listener and back to the first. @throws OptionsError */
  private refuseCircle(changed: Listener, wanted: Options, argument: string): void {
    const all = this.all.map(({ name, options: now, balancer }) => {
      const options = name === changed.name ? wanted : now;
      const bound = readAddress(balancer.addresses[0] ?? "", "listen").value;
      return { name, options: { ...options, listen: bound ?? options.listen } };
    });
    const [found] = circles(all);
    if (found !== undefined) throw new OptionsError([mistakeIn(argument, found.fault)]);
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
}
