// What may change while a balancer runs: its settings, its destinations, their modes, single connections. Everything is
// checked before anything is changed; threads are told once, and live pairs are left alone.
import { answerMsMax, Asking, inTime } from "./asking.ts";
import { changesOf, withKept, type Change } from "./control/changes.ts";
import { ClientTables } from "./control/client-limits.ts";
import type { BalancerEvent } from "./control/hooks.ts";
import { OptionsError, readOptions } from "./control/options.ts";
import type { GivenOptions, Mistake, Options, Settings } from "./control/options.ts";
import { Names } from "./control/resolve.ts";
import { SteeringError, type Mode, type Modes } from "./control/steering.ts";
import { tlsChangesOf } from "./control/tls-changes.ts";
import type { TlsMaterial } from "./control/tls-files.ts";
import { followTls, noTls, wantsTls } from "./control/tls-need.ts";
import type { Board } from "./core/board.ts";
import type { Target } from "./engine/dial.ts";
import type { Libc } from "./linux/libc.ts";
import { prefacePlanOf, refuseBadTls } from "./preface-plan.ts";
import { isOurs } from "./listening.ts";
import { fixedTargets, hostToResolve, Roster, type Stay, type Step } from "./roster.ts";
import { systemLimits } from "./system.ts";
import type { Present, ThreadCommand } from "./thread-plan.ts";
import { Watch } from "./watch.ts";

/** Rows that are left are looked at so often whether anybody is there still, less and less. */
const leftMsMin = 50;
const leftMsMax = 5_000;

/** The data plane as the control plane sees it: one thread in this one, or several of their own. */
export interface Threads {
  readonly count: number;
  /** Records that found no room on their way. */
  readonly dropped: number;
  send(command: ThreadCommand): void;
  isListening(thread: number): boolean;
  drainRecords(): void;
  close(): Promise<void>;
}

export interface SteeredHost {
  readonly board: Board;
  /** null until they have started. */
  readonly threads: Threads | null;
  /** Where it listens. */
  readonly listening: readonly Target[];
  /** It drains or stops. */
  readonly isEnding: boolean;
  tell(event: BalancerEvent): void;
}

/** What it is given: its own options, and what concerns it of the program around it. */
export type Wanted = GivenOptions & {
  /** Other listeners of this process, which take their share of what the system allows. */
  readonly beside?: readonly Options[];
  /** What its TLS files hold, where they were read already; else they are read. */
  readonly tls?: TlsMaterial;
};

interface Read {
  readonly next: Options;
  readonly tls: TlsMaterial;
  readonly changes: readonly Change[];
  readonly takesAll: boolean;
  readonly beside: readonly Options[];
  readonly checkCountMax: number;
  readonly warnings: readonly string[];
}

type Around = Pick<Wanted, "beside" | "tls"> & { readonly modes?: Modes };

export class Steered {
  /** What it runs by now. */
  options: Options;
  /** What its TLS files held when they were read; destinations in the order of the options. */
  tls: TlsMaterial;
  readonly roster: Roster;
  readonly clients: ClientTables;
  readonly names: Names;
  readonly watch: Watch;
  readonly asking: Asking;
  private readonly host: SteeredHost;
  /** `--max-connections` is as the system allows. */
  private takesAll: boolean;
  private beside: readonly Options[];
  /** The last change, and the last that all threads have taken. */
  private changeNumber = 0;
  private takenNumber = 0;
  private leftTimer: ReturnType<typeof setTimeout> | null = null;
  private leftMs = leftMsMin;

  constructor(
    options: Options,
    { beside = [], tls = noTls, modes = {} }: Around,
    c: Libc | null,
    host: SteeredHost,
  ) {
    this.host = host;
    this.beside = beside;
    this.tls = tls;
    const warn = (text: string) => this.warn(text);
    const { connectionCountMax, checkCountMax } = systemLimits(options, beside, warn);
    this.takesAll = options.connectionCountMax === 0;
    this.options = { ...options, connectionCountMax };
    this.roster = new Roster(host.board, options.destinations, modes, tls);
    this.clients = new ClientTables(this.options, options.threadCount);
    this.asking = new Asking(() => host.threads);
    this.names = new Names(
      options.destinations.map(hostToResolve),
      (row, ips) => this.useAddresses(row, ips),
      (message) => this.warn(message),
    );
    this.watch = new Watch(this.options, c, checkCountMax, {
      board: host.board,
      send: (command) => host.threads?.send(command),
      tell: (event) => host.tell(event),
    });
    this.watchOverAll();
  }

  /** For a thread that begins. */
  present(): Present {
    const { table, number } = this.clients;
    const clients = table && { number, buffer: table.buffer, clientCountMax: table.capacity };
    const { options, tls, roster } = this;
    const preface = prefacePlanOf(options, tls, (route) => roster.laneOf(route));
    return { settings: settingsOf(options), rows: roster.plans(), clients, preface };
  }

  /** No more is looked up, checked, or asked. */
  close(): void {
    this.names.close();
    this.watch.close();
    if (this.leftTimer !== null) clearTimeout(this.leftTimer);
    this.leftTimer = null;
    this.asking.close();
  }

  /** What would change. @throws OptionsError with every mistake. */
  plan(given: Wanted): readonly Change[] {
    const read = this.read(readOptions(given), given);
    this.roster.stepTo(read.next.destinations);
    return read.changes;
  }

  /**
   * Changes what is different, in one step. @returns it, once all threads have taken it.
   * @throws OptionsError with every mistake, SteeringError when it is ending; then nothing has changed.
   */
  async apply(given: Wanted): Promise<readonly Change[]> {
    const wanted = readOptions(given);
    const mustRead = given.tls === undefined && wantsTls(wanted);
    const around = mustRead
      ? { ...given, tls: await followTls(this.options, this.tls, wanted) }
      : given;
    let read = this.read(wanted, around);
    if (!this.hasRoom(read)) {
      await this.forgetLeft(); // rows may have become free
      read = this.read(wanted, around);
    }
    const step = this.roster.stepTo(read.next.destinations);
    if (this.host.isEnding) throw new SteeringError("refused", "it is draining");
    if (read.changes.every(({ kept }) => kept)) return read.changes;
    await this.take(read, step);
    return read.changes;
  }

  /** @throws SteeringError when no destination of that name serves. */
  setMode(name: string, mode: Mode): void {
    const stay = this.servingOf(name);
    const before = stay.mode;
    if (before === mode) return;
    this.roster.setMode(stay, mode);
    this.watchOver(stay);
    if (before === "maintenance" && mode === "ready") this.watch.onReady(stay.row);
    this.host.threads?.send({ kind: "changed", row: stay.row });
  }

  /** @throws SteeringError */
  servingOf(name: string): Stay {
    const stay = this.roster.serving.find(({ options }) => options.name === name);
    if (stay === undefined) {
      throw new SteeringError("unknown", `there is no destination ${JSON.stringify(name)}`);
    }
    return stay;
  }

  private async take(read: Read, step: Step): Promise<void> {
    const { roster, watch, asking, names } = this;
    const asked = new Set(roster.serving);
    this.changeNumber += 1;
    const number = this.changeNumber;
    this.options = read.next;
    this.tls = read.tls;
    this.takesAll = read.takesAll;
    this.beside = read.beside;
    for (const message of read.warnings) this.warn(message);
    this.clients.follow(read.next);
    watch.follow(read.next, read.checkCountMax);
    roster.take(step, number);
    roster.setTls(read.tls);
    for (const stay of step.leaving) watch.set(stay.row, null, []);
    this.watchOverAll();
    const { done } = asking.ask({ kind: "change", ...this.present() });
    for (const stay of roster.serving) {
      const host = asked.has(stay) ? null : hostToResolve(stay.options);
      if (host !== null) names.follow(stay.row, host);
    }
    const taken = done.then(() => this.onTaken(number));
    if (!(await inTime(taken))) {
      this.warn(
        `some thread has not taken a change within ${answerMsMax / 1000} s; it is still to come`,
      );
    }
    this.leftMs = leftMsMin;
    await this.forgetLeft();
  }

  private onTaken(number: number): void {
    this.takenNumber = Math.max(this.takenNumber, number);
    for (const { row } of this.roster.onKnown(number)) {
      this.host.threads?.send({ kind: "changed", row });
    }
  }

  /** Frees the rows that nobody has to do with any more; looks again later while there are others. */
  private async forgetLeft(): Promise<void> {
    const left = this.roster.left(this.takenNumber);
    if (left.length > 0) await this.forget(left);
    this.forgetLater();
  }

  private async forget(left: readonly Stay[]): Promise<void> {
    const { asking, host, roster, names } = this;
    for (const stay of left) stay.isForgotten = true;
    const { answers, done } = asking.ask({ kind: "forget", rows: left.map(({ row }) => row) });
    if (!(await inTime(done)) || host.isEnding) return;
    host.threads?.drainRecords();
    for (const stay of left) {
      const isFree = answers.every(({ numbers }) => numbers.includes(stay.row));
      if (!isFree || roster.find(stay.row) !== stay) continue;
      names.forget(stay.row);
      roster.free(stay);
    }
  }

  private forgetLater(): void {
    if (this.leftTimer !== null || this.roster.leaving.length === 0 || this.host.isEnding) return;
    this.leftTimer = setTimeout(() => {
      this.leftTimer = null;
      this.leftMs = Math.min(2 * this.leftMs, leftMsMax);
      void this.forgetLeft();
    }, this.leftMs);
    this.leftTimer.unref();
  }

  private hasRoom({ next }: Read): boolean {
    try {
      this.roster.stepTo(next.destinations);
      return true;
    } catch {
      return this.roster.leaving.length === 0; // then there is nothing to wait for
    }
  }

  /** @throws OptionsError */
  private read(wanted: Options, given: Pick<Wanted, "beside" | "tls">): Read {
    const { options: before, roster, host } = this;
    const warnings: string[] = [];
    const { beside = this.beside, tls = noTls } = given;
    const warn = (text: string) => void warnings.push(text);
    const limits = systemLimits(withKept(before, wanted), beside, warn);
    const { checkCountMax } = limits;
    this.refuseLoops(wanted);
    const takesAll = wanted.connectionCountMax === 0;
    const areSharedAnew = sharersOf(beside) !== sharersOf(this.beside);
    const { connectionCountMax } = takesAll && this.takesAll && !areSharedAnew ? before : limits;
    const resolved = { ...wanted, connectionCountMax };
    refuseLackingEngine(withKept(before, resolved));
    refuseBadTls(resolved, tls);
    const usedBy = (name: string) =>
      roster.allNamed(name).reduce((sum, { row }) => sum + (host.board.used[row] ?? 0), 0);
    const changes = [
      ...changesOf(before, resolved, { all: host.board.total("open"), of: usedBy }),
      ...(given.tls === undefined
        ? [] // not read anew
        : tlsChangesOf({ options: before, tls: this.tls }, { options: resolved, tls })),
    ];
    const isLimited = connectionCountMax !== before.connectionCountMax;
    return {
      next: withKept(before, resolved),
      tls,
      changes,
      takesAll,
      beside,
      checkCountMax,
      warnings: isLimited ? warnings : [],
    };
  }

  /** A destination must not be this balancer itself. @throws OptionsError */
  private refuseLoops({ destinations }: Options): void {
    const mistakes = destinations.flatMap((each) =>
      loopsOf(each.name, fixedTargets(each), this.host.listening),
    );
    if (mistakes.length > 0) throw new OptionsError(mistakes);
  }

  private watchOverAll(): void {
    for (const stay of this.roster.serving) this.watchOver(stay);
    this.watch.sweep();
  }

  private watchOver(stay: Stay): void {
    this.watch.set(stay.row, stay.mode === "maintenance" ? null : stay, stay.targets);
  }

  private useAddresses(row: number, ips: readonly string[]): void {
    const { roster, host } = this;
    const stay = roster.find(row);
    const address = stay?.options.address;
    if (stay === null || address?.kind !== "tcp") return;
    const all = ips.map((ip) => ({ ip, port: address.port }));
    const targets = all.filter((target) => !isOurs(target, host.listening));
    if (targets.length < all.length) {
      this.warn(`an address of ${stay.options.name} is this balancer itself; it is left out`);
    }
    stay.targets = targets;
    this.watch.setTargets(row, targets);
    if (host.threads === null) host.board.setResolved(row, true);
    else host.threads.send({ kind: "addresses", row, targets });
  }

  private warn(message: string): void {
    this.host.tell({ kind: "warning", message });
  }
}

/** The engine that is asked for beside TLS is perhaps not the one that runs. @throws OptionsError */
function refuseLackingEngine(next: Options): void {
  if (next.engine !== "libc" || !wantsTls(next)) return;
  const message = "--engine: TLS takes the bun engine, and this process runs by libc";
  const hint = "a new process has it: iawlb upgrade";
  throw new OptionsError([{ code: "bad-value", argument: "--engine", message, hint }]);
}

/** @returns the mistake that a destination is one that we listen on. */
export function loopsOf(
  name: string,
  targets: readonly Target[],
  listening: readonly Target[],
): Mistake[] {
  const own = targets.find((target) => isOurs(target, listening));
  if (own === undefined) return [];
  const where = "path" in own ? own.path : `${own.ip} port ${own.port}`;
  const message = `${name}: is this balancer itself, which listens on ${where}`;
  const hint = "the address of another program is needed";
  return [{ code: "loop", argument: name, message, hint }];
}

/** What others want of what all share. */
function sharersOf(beside: readonly Options[]): string {
  return beside.map(({ connectionCountMax }) => connectionCountMax).join();
}

/** Without the places, which threads get in another form. */
function settingsOf(options: Options): Settings {
  const values = Object.entries(options).filter(
    ([key]) => key !== "listen" && key !== "destinations",
  );
  return Object.fromEntries(values) as unknown as Settings; // all of it is left
}
