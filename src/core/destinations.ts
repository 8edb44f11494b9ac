// The destinations of one thread: who is ready, whom the policy picks, what connects say. The truth is on the board,
// for all threads; who is filed as ready is this thread's view of it, mended wherever it is looked at.
// Origin: IAWLB §10–§16, where a worker whose connect failed died for good.
import { assert } from "./assert.ts";
import { State, type Board } from "./board.ts";
import { Destination, type DestinationEvents, type DestinationPlan } from "./destination.ts";
import type { DialAddress } from "./engine.ts";
import { placeOfFault } from "./fault.ts";
import { Filing, type PolicyMaker } from "./filing.ts";
import { never } from "./loop.ts";
import type { Policy } from "./policy.ts";
import { beginSlowStart } from "./slow-start.ts";
import type { Sweep } from "./sweep.ts";

/** Connects that must fail in a row to put a destination out. */
const failureCountMax = 3;
/** Rest after a failure that does not put it out: the others are tried first. */
const restMs = 100;
const outMsMin = 1_000;
const outMsMax = 30_000;
/** Clients that wait while everything is out shorten the rests to `outMsMin`, looked at so often. */
const hurryMs = 500;
/** So often in a row a destination that is filed as ready may have changed since, where the board has one thread. */
const missCountMax = 16;
/** A pick is looked at anew so often when other threads have changed its load. */
const staleCountMax = 8;
/** Part of the rest that is left to chance, so that many balancers do not knock together. */
const jitter = 0.2;

export class Destinations {
  /** Those that may be given clients. */
  list: readonly Destination[] = [];
  readonly board: Board;
  /** Over which the slots of one that is back grow; 0 = it has them at once. */
  slowStartMs: number;
  /** By row, those included that leave; null: the row is free. */
  private rows: (Destination | null)[] = [];
  private readonly filing: Filing;
  private readonly thread: number;
  private readonly held: Int32Array;
  private readonly sweep: Sweep;
  private readonly events: DestinationEvents;
  private readonly random: () => number;
  private readonly isShared: boolean;
  /** Which one is looked at next for what other threads have done. */
  private nextIndex = 0;
  private hurriedUntil = 0;
  private primaryIsUp = true;
  private changesSeen = -1;
  private readonly isNew = (row: number): boolean => {
    const destination = this.find(row);
    if (destination === null || destination.ready) return false;
    this.refile(destination);
    return destination.ready;
  };
  /** Called when a destination can take clients again that could not. */
  onReady: () => void = () => {};

  constructor(
    plans: readonly (DestinationPlan | null)[],
    board: Board,
    thread: number,
    policy: PolicyMaker,
    sweep: Sweep,
    events: DestinationEvents,
    random: () => number = Math.random,
    slowStartMs = 0,
    lane = 0,
  ) {
    const held = board.held[thread];
    assert(held !== undefined, "destinations: no such thread");
    this.board = board;
    this.thread = thread;
    this.held = held;
    this.isShared = board.size.threadCount > 1;
    this.sweep = sweep;
    this.events = events;
    this.random = random;
    this.slowStartMs = slowStartMs;
    this.filing = new Filing(board, policy, lane);
    this.change(plans, policy, "");
  }

  /** Primary destinations that can take a client now, as far as this thread knows. */
  get readyCount(): number {
    return this.filing.readyCount;
  }

  /**
   * Destinations come, go and change; those of the same generation stay what they are. Nobody is served by this.
   * @param plans by row; null: the row is free.
   * @param policyName a policy of another name is made anew.
   */
  change(
    plans: readonly (DestinationPlan | null)[],
    policy: PolicyMaker,
    policyName: string,
  ): void {
    assert(
      plans.length <= this.board.size.destinationCountMax,
      "destinations: more than the board holds",
    );
    const before = this.rows;
    this.rows = plans.map((plan, row) => {
      const old = before[row] ?? null;
      if (plan === null) return old; // nobody has told us to forget it
      if (old === null || old.generation !== (plan.generation ?? 0)) {
        if (old !== null) this.sweep.remove(old);
        return new Destination(this, row, plan);
      }
      old.follow(plan);
      return old;
    });
    for (const each of this.rows) if (each?.isLeaving === true) this.sweep.remove(each);
    this.list = this.rows.filter((each): each is Destination => each?.isLeaving === false);
    this.nextIndex = 0;
    this.changesSeen = -1;
    const { list, board, thread } = this;
    if (this.filing.setMembers(list, policy, policyName)) {
      for (const each of this.rows) each?.unfile();
    }
    // Each thread begins with another one, so that their first clients do not all meet at the first.
    const first = Math.floor((thread * list.length) / board.size.threadCount);
    for (const each of [...list.slice(first), ...list.slice(0, first)]) {
      this.refile(each);
      // In place of a thread that died, or back before it was gone: its rest is ours to end.
      const state = board.stateOf(each.row);
      const isAtRest = state !== State.up && state !== State.trial && each.sweepBucket < 0;
      if (isAtRest) this.sweep.file(each, board.retryAtMs[each.row] ?? 0);
    }
  }

  /** A row has been left for good: nobody asks for it any more. */
  forget(row: number): void {
    const destination = this.find(row);
    if (destination === null) return;
    assert(destination.isLeaving, "destinations: forgotten while it serves");
    this.sweep.remove(destination);
    this.rows[row] = null;
  }

  /** @returns null: the row is free. */
  find(row: number): Destination | null {
    return this.rows[row] ?? null;
  }

  at(row: number): Destination {
    const destination = this.find(row);
    assert(destination !== null, "destinations: no such row");
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
        this.takeOf(this.filing.primary, key) ??
        (this.isPrimaryUp() ? null : this.takeOf(this.filing.backup, key));
      if (destination !== null) return destination;
      if (this.filing.findFree(this.isNew) < 0) return null;
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
    if (isBack && this.slowStartMs > 0) beginSlowStart(board, row, nowMs);
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
    board.lastFault[row] = placeOfFault(cause);
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
    let staleCount = 0;
    for (let missCount = 0; ; missCount += 1) {
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
      const isKnownMiss = this.isShared || !destination.ready || missCount < missCountMax;
      assert(isKnownMiss, "destinations: a full one stays ready");
    }
  }

  /** Only one client gets the slot of a trial. */
  private takeSlot(row: number): boolean {
    const { board } = this;
    if (!board.take(row)) return false;
    this.hold(row, 1);
    const state = board.stateOf(row);
    // Drained perhaps since it was filed: who is accepted after that does not get it.
    const isEnabled = board.enabled[row] === 1;
    if (isEnabled && state === State.up) return true;
    if (isEnabled && state === State.trial && board.changeState(row, State.trial, State.trying))
      return true;
    this.hold(row, -1); // another thread has put it out, or tries it
    board.give(row);
    return false;
  }

  /** What other threads have done to the next row: each is looked at in turn, one a pick. */
  private lookAtNext(): void {
    const destination = this.list[this.nextIndex];
    this.nextIndex = (this.nextIndex + 1) % Math.max(1, this.list.length);
    if (destination === undefined) return;
    const isStale = destination.ready && this.filing.isStale(destination);
    if (isStale || destination.ready !== this.isReady(destination)) this.refile(destination);
  }

  private isReady(destination: Destination): boolean {
    const { addresses, isLeaving, row } = destination;
    return addresses.length > 0 && !isLeaving && this.board.isFree(row);
  }

  /** Derives from the board whether a destination can take a client, and files it accordingly. The only such place. */
  private refile(destination: Destination): void {
    this.filing.file(destination, this.isReady(destination));
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
