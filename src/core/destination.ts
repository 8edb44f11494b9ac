// A destination: a row of the board, its addresses, and what connects say about it. Origin: IAWLB §10–§16, where a
// worker whose connect failed died for good. The set knows who is ready and asks the policy whom to pick. The truth is
// on the board, for all threads; who is filed as ready is this thread's view of it, mended wherever it is looked at.
import { assert } from "./assert.ts";
import { State, type Board } from "./board.ts";
import type { DialAddress } from "./engine.ts";
import { faultCodes } from "./fault.ts";
import { never } from "./loop.ts";
import { Expiring, type Sweep } from "./sweep.ts";
import type { Policy } from "./policy.ts";

/** Connects that must fail in a row to put a destination out. */
const failureCountMax = 3;
/** Rest after a failure that does not put it out: the others are tried first. */
const restMs = 100;
const outMsMin = 1_000;
const outMsMax = 30_000;
/** Clients that wait while everything is out shorten the rests to `outMsMin`, looked at so often. */
const hurryMs = 500;
/** A pick is looked at anew so often when other threads have changed its load. */
const staleCountMax = 8;
/** Part of the rest that is left to chance, so that many balancers do not knock together. */
const jitter = 0.2;

/** Told to the control plane, once per change and never per connection. */
export interface DestinationEvents {
  onOut(destination: Destination, cause: string, retryMs: number): void;
  onBack(destination: Destination): void;
}

export class Destination extends Expiring {
  /** Row on the board. */
  readonly row: number;
  readonly name: string;
  readonly backup: boolean;
  readonly warm: number;
  /** All addresses of its name; empty until the name resolves. */
  addresses: readonly DialAddress[];
  /** Index of the address that answered last; the next dial starts there. */
  preferred = 0;
  /** Filed with its policy: it can take a client now. */
  ready = false;
  /** Links and place of the policy that files it. */
  previous: Destination = this;
  next: Destination = this;
  place = -1;
  credit = 0;
  private readonly set: Destinations;

  constructor(set: Destinations, row: number, plan: DestinationPlan) {
    super();
    this.set = set;
    this.row = row;
    this.name = plan.name;
    this.backup = plan.backup;
    this.warm = plan.warm ?? 0;
    this.addresses = plan.addresses;
  }

  /** The rest after failures is over. */
  override onSweep(nowMs: number): number {
    return this.set.onRestOver(this, nowMs);
  }
}

export interface DestinationPlan {
  readonly name: string;
  readonly addresses: readonly DialAddress[];
  /** 0 = no limit. */
  readonly slots: number;
  readonly weight: number;
  /** Connections that this thread opens ahead; 0 as a rule. */
  readonly warm?: number;
  readonly backup: boolean;
}

export class Destinations {
  readonly list: readonly Destination[];
  readonly board: Board;
  /** Primary destinations that can take a client now, as far as this thread knows. */
  readyCount = 0;
  private readonly primary: Policy;
  private readonly backup: Policy;
  private readonly held: Int32Array;
  private readonly sweep: Sweep;
  private readonly events: DestinationEvents;
  private readonly random: () => number;
  private readonly slowStartMs: number;
  private readonly isShared: boolean;
  /** Which row is looked at next for what other threads have done. */
  private nextRow = 0;
  private hurriedUntil = 0;
  private primaryIsUp = true;
  private changesSeen = -1;
  private readonly isNew = (row: number): boolean => {
    const destination = this.list[row];
    if (destination === undefined || destination.ready) return false;
    this.refile(destination);
    return destination.ready;
  };
  /** Called when a destination can take clients again that could not. */
  onReady: () => void = () => {};

  constructor(
    plans: readonly DestinationPlan[],
    board: Board,
    thread: number,
    policy: (board: Board, members: readonly Destination[]) => Policy,
    sweep: Sweep,
    events: DestinationEvents,
    random: () => number = Math.random,
    slowStartMs = 0,
  ) {
    assert(
      plans.length <= board.size.destinationCountMax,
      "destinations: more than the board holds",
    );
    const held = board.held[thread];
    assert(held !== undefined, "destinations: no such thread");
    this.board = board;
    this.held = held;
    this.isShared = board.size.threadCount > 1;
    this.sweep = sweep;
    this.events = events;
    this.random = random;
    this.slowStartMs = slowStartMs;
    this.list = plans.map((plan, row) => new Destination(this, row, plan));
    this.primary = policy(
      board,
      this.list.filter((each) => !each.backup),
    );
    this.backup = policy(
      board,
      this.list.filter((each) => each.backup),
    );
    // Each thread begins with another one, so that their first clients do not all meet at the first.
    const first = Math.floor((thread * this.list.length) / board.size.threadCount);
    for (const destination of [...this.list.slice(first), ...this.list.slice(0, first)]) {
      this.refile(destination);
      // In place of a thread that died: its rests are ours to end.
      const state = board.stateOf(destination.row);
      if (state !== State.up && state !== State.trial) {
        sweep.file(destination, board.retryAtMs[destination.row] ?? 0);
      }
    }
  }

  at(row: number): Destination {
    const destination = this.list[row];
    assert(destination !== undefined, "destinations: no such row");
    return destination;
  }

  /**
   * Chooses a destination and takes a slot of it, so that the next pick sees it.
   * @param key of the client, for policies that hash.
   * @returns null when nobody can take a client.
   */
  take(key: number): Destination | null {
    if (this.isShared) this.lookAtNext();
    for (;;) {
      // Primaries first also when all of them are out: one whose rest is over wants its trial.
      const destination =
        this.takeOf(this.primary, key) ??
        (this.isPrimaryUp() ? null : this.takeOf(this.backup, key));
      if (destination !== null) return destination;
      if (this.board.findFree(this.isNew) < 0) return null;
    }
  }

  /** The client that was just given this destination is the one that tries whether it is back. */
  onTrial(destination: Destination): boolean {
    return this.board.stateOf(destination.row) === State.trying;
  }

  /** Neither out nor at rest. */
  isSound({ row }: Destination): boolean {
    return this.board.stateOf(row) === State.up && this.board.isUp(row);
  }

  /** Its slots may go from one client to the next. */
  mayServe(row: number): boolean {
    const { board } = this;
    if (this.at(row).backup && this.isPrimaryUp()) return false;
    const slots = board.slots[row] ?? 0;
    const fits = slots === 0 || (board.used[row] ?? 0) <= slots;
    return fits && board.stateOf(row) === State.up && board.isUp(row);
  }

  /** Gives back the slot of `take`. */
  release(destination: Destination): void {
    this.hold(destination.row, -1);
    this.board.give(destination.row);
    this.refile(destination);
  }

  /** Slots of this thread, so that they can be given back for it when it dies. */
  hold(row: number, change: 1 | -1): void {
    this.held[row] = (this.held[row] ?? 0) + change;
  }

  /** Connects to it have failed, and none has held since. */
  isInDoubt({ row }: Destination): boolean {
    return this.board.failures[row] !== 0 || this.board.state[row] !== State.up;
  }

  /** A connection has held: the destination has answered, ended in order, or not reset it for a while. */
  onSuccess(destination: Destination, nowMs: number): void {
    if (!this.isInDoubt(destination)) return;
    const { board } = this;
    const { row } = destination;
    const failures = board.clearFailures(row);
    const isBack = failures >= failureCountMax;
    if (board.stateOf(row) === State.down) return; // its checks have the say
    this.sweep.remove(destination);
    if (isBack && this.slowStartMs > 0) board.beginSlowStart(row, nowMs);
    this.changeState(row, State.up);
    this.refile(destination);
    if (isBack) this.events.onBack(destination);
    this.onReady();
  }

  /** It has answered a client: failures before this are not in a row with those to come. One that is out stays out. */
  onAnswer(row: number): void {
    const failures = this.board.failures[row] ?? 0;
    if (failures > 0 && failures < failureCountMax) this.board.clearFailures(row);
  }

  /** The control plane has changed what the board says of it. */
  onChanged(destination: Destination): void {
    this.refile(destination);
    this.onReady();
  }

  /** Another primary destination than this one can be had. */
  hasOther({ row }: Destination): boolean {
    return this.list.some((each) => each.row !== row && !each.backup && this.board.isUp(each.row));
  }

  /**
   * A connect failed: a short rest; the third in a row puts the destination out, doubling from then on.
   * @param isTrial it was the trial; while one is under way, no other connect has a say.
   */
  onFailure(destination: Destination, cause: string, nowMs: number, isTrial: boolean): void {
    const { board } = this;
    const { row } = destination;
    const known = faultCodes.indexOf(cause);
    board.lastFault[row] = known < 0 ? faultCodes.length - 1 : known;
    const state = board.stateOf(row);
    // Connects that were under way when it went out say nothing new.
    if (state === State.out || state === State.trial || state === State.down) return;
    if (state === State.trying && !isTrial) return;
    if (state === State.resting && (board.failures[row] ?? 0) >= failureCountMax) return;
    const failures = board.addFailure(row);
    const isOut = failures >= failureCountMax;
    const isWaited = board.total("queued") > 0 && !this.isPrimaryUp();
    const ms = isOut ? this.outMs(isWaited ? 0 : failures - failureCountMax) : restMs;
    this.hurriedUntil = 0; // whoever tried waits again
    board.retryAtMs[row] = nowMs + ms;
    this.changeState(row, isOut ? State.out : State.resting);
    this.refile(destination);
    this.sweep.file(destination, nowMs + ms);
    if (failures === failureCountMax) {
      board.addOut(row);
      this.events.onOut(destination, cause, ms);
    }
  }

  /** Somebody waits: while every primary is out, none rests for longer than a second from now. */
  hurry(nowMs: number): void {
    if (nowMs < this.hurriedUntil || this.isPrimaryUp()) return;
    this.hurriedUntil = nowMs + hurryMs;
    for (const destination of this.list) {
      const atMs = nowMs + this.outMs(0);
      const isOut = this.board.stateOf(destination.row) === State.out;
      if (!isOut || (this.board.retryAtMs[destination.row] ?? 0) <= atMs) continue;
      this.board.retryAtMs[destination.row] = atMs;
      this.sweep.file(destination, atMs);
    }
  }

  /** It cannot be dialed now through no fault of its own: others first, and no blame. */
  rest(destination: Destination, nowMs: number, ms = restMs): void {
    const state = this.board.stateOf(destination.row);
    if (state === State.out || state === State.resting || state === State.down) return;
    this.board.retryAtMs[destination.row] = nowMs + ms;
    this.changeState(destination.row, State.resting);
    this.refile(destination);
    this.sweep.file(destination, nowMs + ms);
  }

  /** A trial ended without a verdict: the client went away, or the fault was ours. */
  onUndecided(destination: Destination): void {
    if (this.board.changeState(destination.row, State.trying, State.trial)) {
      this.refile(destination);
    }
  }

  /** The rest of a destination is over, unless another thread has ended it. @returns when to look again. */
  onRestOver(destination: Destination, nowMs: number): number {
    const { board } = this;
    const { row } = destination;
    const state = board.stateOf(row);
    if (state !== State.resting && state !== State.out) return never;
    const retryAtMs = board.retryAtMs[row] ?? 0;
    if (nowMs < retryAtMs) return retryAtMs;
    const failures = board.failures[row] ?? 0;
    board.changeState(row, state, failures >= failureCountMax ? State.trial : State.up);
    this.refile(destination);
    this.onReady();
    return never;
  }

  /** New addresses of a name that was looked up again. */
  setAddresses(destination: Destination, addresses: readonly DialAddress[]): void {
    const wasReady = destination.ready;
    destination.addresses = addresses;
    destination.preferred = 0;
    this.board.setResolved(destination.row, addresses.length > 0);
    this.refile(destination);
    if (destination.ready && !wasReady) this.onReady();
  }

  private takeOf(policy: Policy, key: number): Destination | null {
    for (let staleCount = 0; ;) {
      const destination = policy.pick(key);
      if (destination === null) return null;
      if (this.isShared && staleCount < staleCountMax && policy.isStale(destination)) {
        staleCount += 1;
        this.refile(destination);
        continue;
      }
      const taken = this.takeSlot(destination.row);
      this.refile(destination);
      if (taken) return destination;
      assert(this.isShared || !destination.ready, "destinations: a full one stays ready");
    }
  }

  /** Only one client gets the slot of a trial. */
  private takeSlot(row: number): boolean {
    const { board } = this;
    if (!board.take(row)) return false;
    this.hold(row, 1);
    const state = board.stateOf(row);
    if (state === State.up) return true;
    if (state === State.trial && board.changeState(row, State.trial, State.trying)) return true;
    this.hold(row, -1); // another thread has put it out, or tries it
    board.give(row);
    return false;
  }

  /** What other threads have done to the next row: each is looked at in turn, one a pick. */
  private lookAtNext(): void {
    const destination = this.list[this.nextRow];
    this.nextRow = (this.nextRow + 1) % this.list.length;
    if (destination === undefined) return;
    const policy = destination.backup ? this.backup : this.primary;
    const isStale = destination.ready && policy.isStale(destination);
    if (isStale || destination.ready !== this.isReady(destination)) this.refile(destination);
  }

  private isReady(destination: Destination): boolean {
    return destination.addresses.length > 0 && this.board.isFree(destination.row);
  }

  /** Derives from the board whether a destination can take a client, and files it accordingly. The only such place. */
  private refile(destination: Destination): void {
    const ready = this.isReady(destination);
    const policy = destination.backup ? this.backup : this.primary;
    if (ready) policy.file(destination);
    else if (destination.ready) policy.remove(destination);
    if (ready !== destination.ready && !destination.backup) this.readyCount += ready ? 1 : -1;
    destination.ready = ready;
  }

  /** From whatever state it is in, unless its checks have taken it down. */
  private changeState(row: number, to: State): void {
    for (;;) {
      const from = this.board.stateOf(row);
      if (from === to || from === State.down || this.board.changeState(row, from, to)) return;
    }
  }

  /** Some primary destination is neither out nor unknown; looked up anew when any state has changed. */
  private isPrimaryUp(): boolean {
    const changes = this.board.total("changes");
    if (changes !== this.changesSeen) {
      this.changesSeen = changes;
      this.primaryIsUp = this.list.some((each) => !each.backup && this.board.isUp(each.row));
    }
    return this.primaryIsUp;
  }

  private outMs(doublings: number): number {
    const ms = Math.min(outMsMax, outMsMin * 2 ** Math.min(doublings, 16));
    return ms * (1 - jitter / 2 + jitter * this.random());
  }
}
