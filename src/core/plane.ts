// The data plane of one thread: accept, wait, choose, dial, join, settle. Origin: IAWLB §13 and §19, whose receiving
// loop and workers meet here in one place.
import type { Admission } from "./admission.ts";
import { Batch, Place, type Room } from "./batch.ts";
import type { Board } from "./board.ts";
import type { Destination } from "./destination.ts";
import type { Destinations } from "./destinations.ts";
import { Dialer, localFaultEpisodeMs, type DialerHost } from "./dialer.ts";
import type { Acceptor, Engine, Socket, SocketEvents } from "./engine.ts";
import type { Flow } from "./flow.ts";
import type { Loop } from "./loop.ts";
import type { Limits } from "./limits.ts";
import type { ThreadNumbers } from "./numbers.ts";
import { Pair, type PairHost } from "./pair.ts";
import { keyOfClient } from "./policy.ts";
import type { CloseReason } from "./reason.ts";
import { clientOf, lookAnew, Retiring } from "./live.ts";
import { Once, type Sweep } from "./sweep.ts";
import { Tickets } from "./tickets.ts";
import { Waiting } from "./waiting.ts";

export interface PlaneEvents {
  /** A connection has ended; `pair` is not used afterwards. */
  onSettled: ((pair: Pair) => void) | null;
  /** The queue has become full, or has room again. */
  onQueueFull(full: boolean): void;
  /** Clients are refused for `limits.connectionCountMax`; told once per episode. */
  onConnectionLimit(): void;
  /** A fault of our own keeps clients waiting; told once per episode. */
  onLocalFault(code: string): void;
  /** An exception in a handler of ours. */
  onFault(error: unknown): void;
}

export class Plane implements Acceptor, PairHost, Room<Pair>, DialerHost {
  readonly engine: Engine;
  /** One for all parts of this plane, so that a change reaches each of them. */
  readonly limits: Limits;
  readonly board: Board;
  readonly numbers: ThreadNumbers;
  readonly batch: Batch<Pair>;
  /** Every open pair, waiting ones included. */
  readonly pairs = new Set<Pair>();
  /** A client's address is asked for at accept (one system call). */
  private wantsClient: boolean;
  /** Those that are to leave their destination to others. */
  readonly retiring: Retiring;
  readonly tickets: Tickets;
  private readonly destinations: Destinations;
  private readonly sweep: Sweep;
  private readonly loop: Loop;
  private readonly events: PlaneEvents;
  private readonly wantsRecords: boolean;
  private hashes: boolean;
  private admission: Admission | null;
  private readonly dialer: Dialer;
  private readonly waiting: Waiting;
  private stopping = false;
  /** When the slot that is being given on was freed; −1 outside of that. */
  private freedAt = -1;

  constructor(parts: {
    engine: Engine;
    limits: Limits;
    board: Board;
    thread: number;
    destinations: Destinations;
    sweep: Sweep;
    loop: Loop;
    events: PlaneEvents;
    hashes: boolean;
    wantsClient: boolean;
    /** null: everybody is let in. */
    admission?: Admission | null;
  }) {
    this.engine = parts.engine;
    this.limits = { ...parts.limits };
    this.board = parts.board;
    this.numbers = parts.board.thread(parts.thread);
    this.destinations = parts.destinations;
    this.sweep = parts.sweep;
    this.loop = parts.loop;
    this.events = parts.events;
    this.hashes = parts.hashes;
    this.admission = parts.admission ?? null;
    this.wantsRecords = parts.wantsClient;
    this.wantsClient = parts.wantsClient || parts.hashes || this.admission !== null;
    this.retiring = new Retiring(parts.board);
    this.tickets = new Tickets(parts.board.ticketColumns, parts.thread);
    this.batch = new Batch<Pair>(this, this.limits, parts.loop, this.tickets);
    this.dialer = new Dialer({ ...parts, limits: this.limits, numbers: this.numbers, host: this });
    this.waiting = new Waiting({
      board: parts.board,
      numbers: this.numbers,
      limits: this.limits,
      oldest: () => this.batch.peek(),
      onQueueFull: (full) => this.events.onQueueFull(full),
    });
    this.destinations.onReady = () => this.pull();
  }

  now(): number {
    return this.loop.now();
  }

  // --- a client arrives (IAWLB §19)

  onAccept(socket: Socket, listener: number): SocketEvents | null {
    this.numbers.add("accepted", 1);
    const pair = new Pair(this, this.tickets.nextOrder(), listener);
    pair.up.socket = socket;
    if (this.wantsClient) {
      pair.client = this.engine.remote(socket);
      if (this.hashes) pair.key = keyOfClient(pair.client);
    }
    this.numbers.add("open", 1);
    this.pairs.add(pair);
    const refusal = this.refusalOf(pair, this.board.addTotal("open", 1));
    if (refusal === null) this.batch.add(pair);
    else pair.settle(refusal, "balancer");
    return pair.settled ? null : pair.up;
  }

  /** @param openCount connections of all threads, this one included. */
  private refusalOf(pair: Pair, openCount: number): CloseReason | null {
    const { admission, limits, board } = this;
    if (this.stopping) return "shutdown";
    if (admission !== null && admission.isDenied(pair)) return "denied";
    if (openCount > limits.connectionCountMax) {
      if (board.isNews("limitRefused", pair.acceptedAt, localFaultEpisodeMs)) {
        this.events.onConnectionLimit();
      }
      return "connection-limit";
    }
    return admission === null ? null : admission.enter(pair, pair.acceptedAt);
  }

  /** An exception of ours costs its own connection, and is told. */
  onFault(error: unknown, events: SocketEvents | null): void {
    this.events.onFault(error);
    const pair = (events as Flow | null)?.pair; // every SocketEvents of this plane is a Flow
    pair?.settle("error", "balancer");
  }

  // --- it gets a slot, or waits (IAWLB §14, §32)

  flushCount(): number {
    return this.limits.flushCount > 0
      ? this.limits.flushCount
      : Math.max(1, this.destinations.readyCount);
  }

  take(pair: Pair | null): number {
    if (this.dialer.isResting()) return -1;
    return this.destinations.take(pair?.key ?? 0)?.row ?? -1;
  }

  give(pair: Pair, row: number): void {
    const destination = this.destinations.at(row);
    const nowMs = this.loop.now();
    pair.destination = destination;
    pair.holdsSlot = true;
    pair.onTrial = this.destinations.onTrial(destination);
    if (!this.dialer.start(pair, destination, nowMs)) this.giveBack(pair, nowMs);
    this.freedAt = -1; // what else is placed now was not handed on
  }

  release(row: number): void {
    this.destinations.release(this.destinations.at(row));
  }

  releaseUnused(row: number): void {
    const destination = this.destinations.at(row);
    this.destinations.onUndecided(destination);
    this.destinations.release(destination);
  }

  mayServe(row: number): boolean {
    return this.destinations.mayServe(row);
  }

  onSent(row: number): void {
    this.destinations.hold(row, -1);
    this.board.freedAtMs[row] = this.freedAt;
  }

  onReceived(row: number): void {
    this.destinations.hold(row, 1);
    this.freedAt = this.board.freedAtMs[row] ?? -1;
  }

  /** Too many wait: the newest are refused. */
  stay(pair: Pair): boolean {
    const nowMs = this.loop.now();
    if (this.waiting.enter(pair, nowMs)) {
      this.onWaiting(pair, nowMs);
      return true;
    }
    pair.settle("queue-full", "balancer");
    return false;
  }

  /** Serves who waits, as far as there are slots. */
  pull(): void {
    this.batch.flush();
  }

  /** Another thread has woken us. */
  onWake(): void {
    this.tickets.awake();
    this.batch.flush();
    this.freedAt = -1;
  }

  /** This thread is about to sleep; from now on it is woken. @returns true when there was something to do still. */
  onSleep(): boolean {
    this.tickets.awake();
    return this.takeGrants();
  }

  /** Looks for what other threads have granted. @returns true when there was something, or is on its way. */
  takeGrants(): boolean {
    if (!this.batch.expectsGrants) return false;
    this.batch.flush();
    return true;
  }

  // --- its destination is dialed (IAWLB §16)

  onJoined(pair: Pair): void {
    const destination = this.destinations.at(pair.destination?.row ?? -1);
    destination.preferred =
      (pair.addressFirst + pair.addressesTried) % Math.max(1, destination.addresses.length);
    this.numbers.addJoined(destination.row, pair.joinedAt - pair.dialedAt);
    if (pair.onWarm) return; // what was open before says nothing of now
    this.board.provenAtMs[destination.row] = pair.joinedAt;
    pair.inDoubt = this.destinations.isInDoubt(destination);
  }

  onHeld(pair: Pair): void {
    pair.onTrial = false;
    this.destinations.onSuccess(this.destinations.at(pair.destination?.row ?? -1), this.loop.now());
  }

  /**
   * A doubtful sign: what a client has sent may be the reason. So it counts against the destination, but never takes
   * the last one that is up.
   */
  onResetAtOnce(pair: Pair): void {
    const destination = this.destinations.at(pair.destination?.row ?? -1);
    if (!this.destinations.hasOther(destination)) return;
    this.numbers.addFailure(destination.row);
    this.destinations.onFailure(destination, "ECONNRESET", this.loop.now(), pair.onTrial);
  }

  onDialFailed(pair: Pair, code: string): void {
    const destination = this.destinations.at(pair.destination?.row ?? -1);
    const nowMs = this.loop.now();
    if (this.dialer.goOn(pair, destination, code, nowMs)) return;
    this.giveBack(pair, nowMs);
    this.pull();
  }

  // --- its bytes, and its end (IAWLB §17, §18)

  onFirstBytes(pair: Pair, flow: Flow): void {
    if (flow !== pair.up) {
      this.numbers.histograms.firstByte.add(pair.firstDownAt - pair.acceptedAt);
      this.destinations.onAnswer(pair.destination?.row ?? -1);
    } else if (pair.slotFreedAt >= 0) {
      this.numbers.histograms.handOff.add(pair.firstUpAt - pair.slotFreedAt);
    }
  }

  onDestinationOver(pair: Pair): void {
    this.freeSlot(pair);
  }

  onSettled(pair: Pair): void {
    this.sweep.remove(pair);
    this.pairs.delete(pair);
    if (pair.place !== Place.nowhere) this.batch.leave(pair);
    this.waiting.leave(pair);
    this.board.addTotal("open", -1);
    pair.admission?.leave(pair);
    this.retiring.delete(pair);
    this.numbers.addEnd(pair);
    this.events.onSettled?.(pair);
    this.freeSlot(pair);
  }

  onQuiet(pair: Pair, nowMs: number): CloseReason | number {
    return this.retiring.onQuiet(pair, nowMs);
  }

  watch(pair: Pair, atMs: number): void {
    this.sweep.fileNoLater(pair, atMs);
  }

  // --- what it runs by changes

  /** Who is open already is judged by the new limits as well; who has been let in stays. */
  change(to: { limits: Limits; hashes: boolean; admission: Admission | null }): void {
    const { ms, jitter } = this.limits.maxAge;
    const { maxAge } = to.limits;
    Object.assign(this.limits, to.limits);
    this.admission = to.admission;
    this.wantsClient = this.wantsRecords || to.hashes || to.admission !== null;
    if (to.hashes && !this.hashes) {
      for (const pair of this.pairs) {
        pair.client = clientOf(pair, this.engine);
        pair.key = keyOfClient(pair.client);
      }
    }
    this.hashes = to.hashes;
    lookAnew(this.pairs, this.loop.now(), maxAge.ms !== ms || maxAge.jitter !== jitter);
  }

  /** Destinations have come, gone or changed: serves who waits. */
  onDestinations(): void {
    this.dialer.onChanged();
    this.pull();
  }

  // --- the end of the plane

  /** No more clients; those that wait are refused. Joined pairs and dials go on. */
  refuseNew(): void {
    this.stopping = true;
    this.dialer.close();
    for (const pair of this.pairs)
      if (pair.state === "waiting") pair.settle("shutdown", "balancer");
  }

  /** Cuts what is left. @returns how many pairs that were. */
  cut(reason: CloseReason): number {
    const count = this.pairs.size;
    for (const pair of this.pairs) pair.settle(reason, "balancer");
    this.batch.close();
    this.dialer.close();
    return count;
  }

  /** Back to the queue, at its place by arrival. */
  private giveBack(pair: Pair, nowMs: number): void {
    if (this.stopping) return pair.settle("shutdown", "balancer");
    this.waiting.comeBack(pair);
    this.onWaiting(pair, nowMs);
    this.batch.giveBack(pair);
  }

  onLocalFault(code: string): void {
    this.events.onLocalFault(code);
  }

  /** A dial is under way: who waited waits no more. */
  onDialing(pair: Pair, nowMs: number): void {
    if (pair.waiting) {
      this.numbers.histograms.queue.add(nowMs - pair.acceptedAt);
      pair.slotFreedAt = this.freedAt;
    }
    this.waiting.leave(pair);
    pair.dialedAt = nowMs;
    this.waiting.onServed(nowMs);
    this.sweep.fileNoLater(pair, nowMs + this.limits.connectMs);
  }

  /** It waits from now on, or waits again. */
  private onWaiting(pair: Pair, nowMs: number): void {
    this.destinations.hurry(nowMs);
    const { queueMs } = this.limits;
    if (queueMs > 0) this.sweep.fileNoLater(pair, Math.max(nowMs, pair.acceptedAt + queueMs));
  }

  /** Frees the slot of a pair, once, and gives it to who waits longest. */
  private freeSlot(pair: Pair): void {
    const { destination } = pair;
    if (!pair.holdsSlot || destination === null) return;
    pair.holdsSlot = false;
    pair.slotLeftAt = this.loop.now();
    if (pair.onTrial) this.destinations.onUndecided(destination);
    const { cooldownMs } = this.limits;
    if (cooldownMs === 0) return this.giveOn(destination);
    this.sweep.file(new Once(() => this.giveOn(destination)), this.loop.now() + cooldownMs);
  }

  private giveOn(destination: Destination): void {
    if (this.tickets.someoneWaits()) this.freedAt = this.loop.now();
    this.batch.free(destination.row);
    this.freedAt = -1;
  }
}
