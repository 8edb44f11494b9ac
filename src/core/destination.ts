// A destination: a row of the board, its addresses, and what connects say about it. Origin: IAWLB §10–§16, where a
// worker whose connect failed died for good. The set knows who is ready and asks the policy whom to pick.
import { assert } from "./assert.ts";
import { State, type Board } from "./board.ts";
import type { DialAddress } from "./engine.ts";
import { Expiring, never, type Sweep } from "./sweep.ts";
import type { Policy } from "./policy.ts";

/** Connects that must fail in a row to put a destination out. */
const failureCountMax = 3;
/** Rest after a failure that does not put it out: the others are tried first. */
const restMs = 100;
const outMsMin = 1_000;
const outMsMax = 30_000;
/** Clients that wait while everything is out shorten the rests to `outMsMin`, looked at so often. */
const hurryMs = 500;
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
  /** All addresses of its name; empty until the name resolves. */
  addresses: readonly DialAddress[];
  /** Index of the address that answered last; the next dial starts there. */
  preferred = 0;
  /** Filed with its policy: it can take a client now. */
  ready = false;
  /** Times it was put out. */
  outCount = 0;
  /** Why the last connect failed. */
  lastFault = "";
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
  readonly backup: boolean;
}

export class Destinations {
  readonly list: readonly Destination[];
  readonly board: Board;
  /** Primary destinations that can take a client now. */
  readyCount = 0;
  private readonly primary: Policy;
  private readonly backup: Policy;
  private readonly sweep: Sweep;
  private readonly events: DestinationEvents;
  private readonly random: () => number;
  /** Primary destinations that are enabled and not out; when none is, the backups serve. */
  private primaryUpCount = 0;
  private hurriedUntil = 0;
  /** Called when a destination can take clients again that could not. */
  onReady: () => void = () => {};

  constructor(
    plans: readonly DestinationPlan[],
    board: Board,
    policy: (board: Board, members: readonly Destination[]) => Policy,
    sweep: Sweep,
    events: DestinationEvents,
    random: () => number = Math.random,
  ) {
    assert(
      plans.length <= board.size.destinationCountMax,
      "destinations: more than the board holds",
    );
    this.board = board;
    this.sweep = sweep;
    this.events = events;
    this.random = random;
    plans.forEach((plan, row) => {
      board.slots[row] = plan.slots;
      board.weight[row] = plan.weight;
      board.enabled[row] = 1;
    });
    this.list = plans.map((plan, row) => new Destination(this, row, plan));
    this.primary = policy(
      board,
      this.list.filter((each) => !each.backup),
    );
    this.backup = policy(
      board,
      this.list.filter((each) => each.backup),
    );
    for (const destination of this.list) if (this.isUp(destination)) this.countUp(destination, 1);
    for (const destination of this.list) this.refile(destination);
  }

  /**
   * Chooses a destination and takes a slot of it, so that the next pick sees it.
   * @param key of the client, for policies that hash.
   * @returns null when nobody can take a client.
   */
  take(key: number): Destination | null {
    // Primaries first also when all of them are out: one whose rest is over wants its trial.
    const destination = this.takeOf(this.primary, key);
    if (destination !== null || this.primaryUpCount > 0) return destination;
    return this.takeOf(this.backup, key);
  }

  /** The client that was just given this destination is the one that tries whether it is back. */
  onTrial(destination: Destination): boolean {
    return this.board.state[destination.row] === State.trying;
  }

  /** Gives back the slot of `take`. */
  release(destination: Destination): void {
    this.board.give(destination.row);
    this.refile(destination);
  }

  /** A connect succeeded. */
  onSuccess(destination: Destination): void {
    const { board } = this;
    if (board.failures[destination.row] === 0 && board.state[destination.row] === State.up) return;
    const wasOut =
      destination.outCount > 0 && (board.failures[destination.row] ?? 0) >= failureCountMax;
    board.failures[destination.row] = 0;
    this.sweep.remove(destination);
    this.setState(destination, State.up);
    this.refile(destination);
    if (wasOut) this.events.onBack(destination);
    this.onReady();
  }

  /**
   * A connect failed: a short rest; the third in a row puts the destination out, doubling from then on.
   * @param isTrial it was the trial; while one is under way, no other connect has a say.
   */
  onFailure(destination: Destination, cause: string, nowMs: number, isTrial: boolean): void {
    const { board } = this;
    const { row } = destination;
    destination.lastFault = cause;
    const state = board.state[row];
    // Connects that were under way when it went out say nothing new.
    if (state === State.out || state === State.trial) return;
    if (state === State.trying && !isTrial) return;
    if (state === State.resting && (board.failures[row] ?? 0) >= failureCountMax) return;
    board.failures[row] = (board.failures[row] ?? 0) + 1;
    const failures = board.failures[row];
    const isOut = failures >= failureCountMax;
    const ms = isOut ? this.outMs(failures - failureCountMax) : restMs;
    board.retryAtMs[row] = nowMs + ms;
    this.setState(destination, isOut ? State.out : State.resting);
    this.refile(destination);
    this.sweep.file(destination, nowMs + ms);
    if (failures === failureCountMax) {
      destination.outCount += 1;
      this.events.onOut(destination, cause, ms);
    }
  }

  /** Somebody waits: while every primary is out, none rests for longer than a second from now. */
  hurry(nowMs: number): void {
    if (this.primaryUpCount > 0 || nowMs < this.hurriedUntil) return;
    this.hurriedUntil = nowMs + hurryMs;
    for (const destination of this.list) {
      const atMs = nowMs + this.outMs(0);
      const isOut = this.board.state[destination.row] === State.out;
      if (!isOut || (this.board.retryAtMs[destination.row] ?? 0) <= atMs) continue;
      this.board.retryAtMs[destination.row] = atMs;
      this.sweep.file(destination, atMs);
    }
  }

  /** It cannot be dialed now through no fault of its own: others first, and no blame. */
  rest(destination: Destination, nowMs: number, ms = restMs): void {
    const state = this.board.state[destination.row];
    if (state === State.out || state === State.resting) return;
    this.board.retryAtMs[destination.row] = nowMs + ms;
    this.setState(destination, State.resting);
    this.refile(destination);
    this.sweep.file(destination, nowMs + ms);
  }

  /** A trial ended without a verdict: the client went away, or the fault was ours. */
  onUndecided(destination: Destination): void {
    if (this.board.state[destination.row] !== State.trying) return;
    this.setState(destination, State.trial);
    this.refile(destination);
  }

  /** The rest of a destination is over. @returns when to look again. */
  onRestOver(destination: Destination, nowMs: number): number {
    const { board } = this;
    const retryAtMs = board.retryAtMs[destination.row] ?? 0;
    if (nowMs < retryAtMs) return retryAtMs;
    const failures = board.failures[destination.row] ?? 0;
    this.setState(destination, failures >= failureCountMax ? State.trial : State.up);
    this.refile(destination);
    this.onReady();
    return never;
  }

  /** New addresses of a name that was looked up again. */
  setAddresses(destination: Destination, addresses: readonly DialAddress[]): void {
    const wasReady = destination.ready;
    const wasUp = this.isUp(destination);
    destination.addresses = addresses;
    destination.preferred = 0;
    if (this.isUp(destination) !== wasUp) this.countUp(destination, wasUp ? -1 : 1);
    this.refile(destination);
    if (destination.ready && !wasReady) this.onReady();
  }

  private takeOf(policy: Policy, key: number): Destination | null {
    for (;;) {
      const destination = policy.pick(key);
      if (destination === null) return null;
      const taken = this.board.take(destination.row);
      if (taken && this.board.state[destination.row] === State.trial) {
        this.setState(destination, State.trying);
      }
      this.refile(destination);
      if (taken) return destination;
      assert(!destination.ready, "destinations: a full one stays ready");
    }
  }

  /** Derives from the board whether a destination can take a client, and files it accordingly. The only such place. */
  private refile(destination: Destination): void {
    const { board } = this;
    const { row } = destination;
    const slots = board.slots[row] ?? 0;
    const state = board.state[row];
    const ready =
      (state === State.up || state === State.trial) &&
      board.enabled[row] === 1 &&
      destination.addresses.length > 0 &&
      (slots === 0 || (board.used[row] ?? 0) < slots);
    const policy = destination.backup ? this.backup : this.primary;
    if (ready) policy.file(destination);
    else if (destination.ready) policy.remove(destination);
    if (ready !== destination.ready && !destination.backup) this.readyCount += ready ? 1 : -1;
    destination.ready = ready;
  }

  private setState(destination: Destination, state: State): void {
    const before = this.isUp(destination);
    this.board.state[destination.row] = state;
    const after = this.isUp(destination);
    if (before !== after) this.countUp(destination, after ? 1 : -1);
  }

  private countUp(destination: Destination, change: 1 | -1): void {
    if (!destination.backup) this.primaryUpCount += change;
  }

  /** Neither out nor without an address; a trial that is still to be won counts as out. */
  private isUp(destination: Destination): boolean {
    const state = this.board.state[destination.row];
    return (
      (state === State.up || state === State.resting) &&
      this.board.enabled[destination.row] === 1 &&
      destination.addresses.length > 0
    );
  }

  private outMs(doublings: number): number {
    const ms = Math.min(outMsMax, outMsMin * 2 ** Math.min(doublings, 16));
    return ms * (1 - jitter / 2 + jitter * this.random());
  }
}
