// The data plane of one thread: accept, read the start where that is asked for, hand to a lane, settle.
// Origin: IAWLB §13 and §19, whose receiving loop and workers meet here in one place.
import type { Admission } from "./admission.ts";
import { Approach } from "./approach.ts";
import { assert } from "./assert.ts";
import { Place } from "./batch.ts";
import type { Board } from "./board.ts";
import type { Destinations } from "./destinations.ts";
import { localFaultEpisodeMs } from "./dialer.ts";
import type { Acceptor, Engine, Socket, SocketEvents } from "./engine.ts";
import { Flow } from "./flow.ts";
import { Handshakes } from "./handshakes.ts";
import { Lane, type LaneParts } from "./lane.ts";
import type { Limits } from "./limits.ts";
import { clientOf, lookAnew, Retiring } from "./live.ts";
import type { Loop } from "./loop.ts";
import type { ThreadNumbers } from "./numbers.ts";
import type { PairHost, PlaneEvents } from "./pair-host.ts";
import { Pair } from "./pair.ts";
import { keyOfClient } from "./policy.ts";
import { Preface, type PrefaceHost, type PrefaceRules } from "./preface.ts";
import type { CloseReason } from "./reason.ts";
import type { Routes } from "./routes.ts";
import type { Sweep } from "./sweep.ts";
import { Waiting } from "./waiting.ts";

export class Plane implements Acceptor, PairHost, PrefaceHost {
  readonly engine: Engine;
  /** One for all parts of this plane, so that a change reaches each of them. */
  readonly limits: Limits;
  readonly board: Board;
  readonly numbers: ThreadNumbers;
  /** Every open pair, waiting ones included. */
  readonly pairs = new Set<Pair>();
  readonly handshakes: Handshakes;
  /** A client's address is asked for at accept (one system call). */
  private wantsClient: boolean;
  /** Those that are to leave their destination to others. */
  readonly retiring: Retiring;
  /** By number; the first is always there. */
  readonly lanes: (Lane | undefined)[] = [];
  private readonly laneParts: LaneParts;
  private readonly sweep: Sweep;
  private readonly loop: Loop;
  private readonly events: PlaneEvents;
  private readonly wantsRecords: boolean;
  private hashes: boolean;
  private admission: Admission | null;
  /** null: a client goes to the first lane at once. */
  private prefaceRules: PrefaceRules | null;
  private readonly waiting: Waiting;
  private stopping = false;
  /** Somebody serves this lane, or will some day. */
  private isServed: (lane: number) => boolean = () => true;
  /** Wakes a thread that has got a grant of ours. */
  onGrant: (thread: number) => void = () => {};

  constructor(parts: {
    engine: Engine;
    limits: Limits;
    board: Board;
    thread: number;
    /** Of the first lane. */
    destinations: Destinations;
    sweep: Sweep;
    loop: Loop;
    events: PlaneEvents;
    hashes: boolean;
    wantsClient: boolean;
    /** null: everybody is let in. */
    admission?: Admission | null;
    preface?: PrefaceRules | null;
  }) {
    this.engine = parts.engine;
    this.limits = { ...parts.limits };
    this.board = parts.board;
    this.numbers = parts.board.thread(parts.thread);
    this.sweep = parts.sweep;
    this.loop = parts.loop;
    this.events = parts.events;
    this.hashes = parts.hashes;
    this.admission = parts.admission ?? null;
    this.prefaceRules = parts.preface ?? null;
    this.wantsRecords = parts.wantsClient;
    this.wantsClient = this.needsClient();
    this.retiring = new Retiring(parts.board);
    this.handshakes = new Handshakes(this.limits.handshakeCountMax, (count) =>
      this.numbers.set("handshaking", count),
    );
    this.waiting = new Waiting({
      board: parts.board,
      numbers: this.numbers,
      limits: this.limits,
      oldest: () => this.oldestWaiting(),
      onQueueFull: (full) => this.events.onQueueFull(full),
    });
    this.laneParts = {
      ...parts,
      limits: this.limits,
      numbers: this.numbers,
      waiting: this.waiting,
      isStopping: () => this.stopping,
      isServed: (lane) => this.isServed(lane),
      onLocalFault: (code) => this.events.onLocalFault(code),
    };
    this.addLane(0, parts.destinations);
  }

  /** @param destinations those that serve it. */
  addLane(number: number, destinations: Destinations): void {
    assert(this.lanes[number] === undefined, "plane: a lane twice");
    const lane = new Lane(number, destinations, this.laneParts);
    lane.tickets.onGrant = (thread) => this.onGrant(thread);
    this.lanes[number] = lane;
  }

  get first(): Lane {
    return this.laneAt(0);
  }

  now(): number {
    return this.loop.now();
  }

  // --- a client arrives (IAWLB §19)

  onAccept(socket: Socket, listener: number): SocketEvents | null {
    this.numbers.add("accepted", 1);
    const pair = new Pair(this, this.first.tickets.nextOrder(), listener);
    pair.up.socket = socket;
    if (this.wantsClient) {
      pair.client = this.engine.remote(socket);
      if (this.hashes) pair.key = keyOfClient(pair.client);
    }
    this.numbers.add("open", 1);
    this.pairs.add(pair);
    const preface = this.prefaceRules === null ? null : new Preface(this, this.prefaceRules, pair);
    const refusal = this.refusalOf(pair, preface, this.board.addTotal("open", 1));
    const isGone = this.isJudged && pair.client === ""; // reset already: nobody can say who has sent its bytes
    if (refusal !== null) pair.settle(refusal, "balancer");
    else if (isGone) pair.settle("client-left", "client");
    else if (preface !== null) this.begin(pair, preface);
    else this.first.batch.add(pair);
    if (pair.settled) return null;
    return preface ?? pair.up;
  }

  /** Who the client is has come out: by its address, or by what a proxy says of it. */
  onClientKnown(pair: Pair): CloseReason | null {
    if (pair.preface?.facts.via !== "") this.numbers.add("proxied", 1);
    if (this.hashes) pair.key = keyOfClient(pair.client);
    const { admission } = this;
    if (admission === null) return null;
    return admission.isDenied(pair) ? "denied" : admission.enter(pair, this.loop.now());
  }

  /** Routes may have changed since it was accepted: those of now count, for others lead to lanes that are left. */
  get routes(): Routes | null {
    return this.prefaceRules?.routes ?? null;
  }

  /** Its place in the queue is by when it knows where it goes, so that who is slow to say holds nobody up. */
  onArrived(pair: Pair, lane: number): void {
    this.pairs.delete(pair);
    pair.order = this.first.tickets.nextOrder();
    pair.enteredAt = this.loop.now();
    this.onPrefaceOver(pair);
    this.pairs.add(pair);
    pair.lane = lane;
    if (this.isServed(lane)) this.laneAt(lane).batch.add(pair);
    else pair.settle("no-route", "balancer");
  }

  private begin(pair: Pair, preface: Preface): void {
    pair.state = "preface";
    this.numbers.add("prefaces", 1);
    pair.preface = preface;
    this.sweep.fileNoLater(pair, pair.acceptedAt + this.limits.prefaceMs);
    preface.start();
  }

  private onPrefaceOver({ preface }: Pair): void {
    this.numbers.add("prefaces", -1);
    if (preface !== null && preface.facts.tls !== null) this.numbers.add("secured", 1);
  }

  /** @param openCount connections of all threads, this one included. */
  private refusalOf(pair: Pair, preface: Preface | null, openCount: number): CloseReason | null {
    const { admission, limits, board } = this;
    if (this.stopping) return "shutdown";
    const isProxy = preface !== null && preface.isFromProxy; // then its header says who it is
    if (preface !== null && preface.refusesOthers && !isProxy) return "denied";
    if (admission !== null && !isProxy && admission.isDenied(pair)) return "denied";
    if (openCount > limits.connectionCountMax) {
      if (board.isNews("limitRefused", pair.acceptedAt, localFaultEpisodeMs)) {
        this.events.onConnectionLimit();
      }
      return "connection-limit";
    }
    return admission === null || isProxy ? null : admission.enter(pair, pair.acceptedAt);
  }

  /** An exception of ours costs its own connection, and is told. */
  onFault(error: unknown, events: SocketEvents | null): void {
    this.events.onFault(error);
    pairOf(events)?.settle("error", "balancer");
  }

  // --- other threads (IAWLB §15)

  /** Serves who waits, as far as there are slots. */
  pull(): void {
    for (const lane of this.lanes) lane?.pull();
  }

  /** Another thread has woken us. */
  onWake(): void {
    this.first.tickets.awake();
    for (const lane of this.lanes) lane?.onWake();
  }

  /** This thread is about to sleep; from now on it is woken. @returns true when there was something to do still. */
  onSleep(): boolean {
    this.first.tickets.awake();
    return this.takeGrants();
  }

  /** This thread looks by itself until it sleeps. */
  onAwake(): void {
    this.first.tickets.stayAwake();
  }

  /** Looks for what other threads have granted. @returns true when there was something, or is on its way. */
  takeGrants(): boolean {
    let found = false;
    for (const lane of this.lanes) if (lane?.takeGrants() === true) found = true;
    return found;
  }

  // --- what becomes of a pair (IAWLB §16–§18)

  onJoined(pair: Pair): void {
    this.laneOf(pair).onJoined(pair);
  }

  onHeld(pair: Pair): void {
    this.laneOf(pair).onHeld(pair);
  }

  onResetAtOnce(pair: Pair): void {
    this.laneOf(pair).onResetAtOnce(pair);
  }

  onDialFailed(pair: Pair, code: string): void {
    this.laneOf(pair).onDialFailed(pair, code);
  }

  onFirstBytes(pair: Pair, flow: Flow): void {
    if (flow !== pair.up) {
      this.numbers.histograms.firstByte.add(pair.firstDownAt - pair.acceptedAt);
      this.laneOf(pair).onAnswer(pair);
    } else if (pair.slotFreedAt >= 0) {
      this.numbers.histograms.handOff.add(pair.firstUpAt - pair.slotFreedAt);
    }
  }

  onDestinationOver(pair: Pair): void {
    this.laneOf(pair).freeSlot(pair);
  }

  onSettled(pair: Pair): void {
    this.sweep.remove(pair);
    this.pairs.delete(pair);
    if (pair.preface !== null && !pair.preface.hasArrived) this.onPrefaceOver(pair);
    pair.preface?.end();
    if (pair.place !== Place.nowhere) this.laneOf(pair).batch.leave(pair);
    this.waiting.leave(pair);
    this.board.addTotal("open", -1);
    pair.admission?.leave(pair);
    this.retiring.delete(pair);
    this.numbers.addEnd(pair);
    this.events.onSettled?.(pair);
    this.laneOf(pair).freeSlot(pair);
  }

  onQuiet(pair: Pair, nowMs: number): CloseReason | number {
    return this.retiring.onQuiet(pair, nowMs);
  }

  watch(pair: Pair, atMs: number): void {
    this.sweep.fileNoLater(pair, atMs);
  }

  // --- what it runs by changes

  /** Who is open already is judged by the new limits as well; who has been let in stays. */
  change(to: {
    limits: Limits;
    hashes: boolean;
    admission: Admission | null;
    preface?: PrefaceRules | null;
  }): void {
    const { ms, jitter } = this.limits.maxAge;
    const { maxAge } = to.limits;
    Object.assign(this.limits, to.limits);
    this.admission = to.admission;
    this.prefaceRules = to.preface ?? null;
    this.handshakes.setCountMax(this.limits.handshakeCountMax);
    if (to.hashes && !this.hashes) {
      for (const pair of this.pairs) {
        pair.client = clientOf(pair, this.engine);
        pair.key = keyOfClient(pair.client);
      }
    }
    this.hashes = to.hashes;
    this.wantsClient = this.needsClient();
    lookAnew(this.pairs, this.loop.now(), maxAge.ms !== ms || maxAge.jitter !== jitter);
  }

  /** Nobody serves the other lanes any more: who waits in one has nowhere to go, nor has who comes back to one. */
  leaveLanes(isServed: (lane: number) => boolean): void {
    this.isServed = isServed;
    for (const pair of this.pairs) {
      if (pair.state === "waiting" && !isServed(pair.lane)) pair.settle("no-route", "balancer");
    }
  }

  /** Destinations have come, gone or changed: serves who waits. */
  onDestinations(): void {
    for (const lane of this.lanes) lane?.onDestinations();
  }

  // --- the end of the plane

  /** No more clients; those that wait are refused. Joined pairs and dials go on. */
  refuseNew(): void {
    this.stopping = true;
    this.handshakes.setCountMax(0); // none begins in the place of one that is cut
    for (const lane of this.lanes) lane?.closeDialer();
    for (const pair of this.pairs) {
      const isArriving = pair.state === "waiting" || pair.state === "preface";
      if (isArriving) pair.settle("shutdown", "balancer");
    }
  }

  /** Cuts what is left. @returns how many pairs that were. */
  cut(reason: CloseReason): number {
    const count = this.pairs.size;
    this.handshakes.setCountMax(0);
    for (const pair of this.pairs) pair.settle(reason, "balancer");
    for (const lane of this.lanes) {
      lane?.batch.close();
      lane?.closeDialer();
    }
    return count;
  }

  private laneAt(number: number): Lane {
    const lane = this.lanes[number];
    assert(lane !== undefined, "plane: no such lane");
    return lane;
  }

  private laneOf(pair: Pair): Lane {
    return this.laneAt(pair.lane);
  }

  /** Of this thread; null = nobody waits. */
  private oldestWaiting(): Pair | null {
    let oldest: Pair | null = null;
    for (const lane of this.lanes) {
      const pair = lane?.batch.peek() ?? null;
      if (pair !== null && (oldest === null || pair.order < oldest.order)) oldest = pair;
    }
    return oldest;
  }

  private needsClient(): boolean {
    return this.wantsRecords || this.hashes || this.isJudged;
  }

  /** What a client may do depends on its address. */
  private get isJudged(): boolean {
    return this.admission !== null || this.prefaceRules !== null;
  }
}

/** Whose socket it is; one that was opened ahead is nobody's yet. */
function pairOf(events: SocketEvents | null): Pair | null {
  if (events instanceof Flow || events instanceof Preface) return events.pair;
  return events instanceof Approach ? pairOf(events.target) : null;
}
