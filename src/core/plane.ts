// The data plane of one thread: accept, wait, choose, dial, join, settle. Origin: IAWLB §13 and §19, whose receiving
// loop and workers meet here in one place.
import { assert } from "./assert.ts";
import { Batch, type Room } from "./batch.ts";
import type { Board, ThreadNumbers } from "./board.ts";
import type { Destination, Destinations } from "./destination.ts";
import { connectedAlready, type Acceptor, type Engine } from "./engine.ts";
import type { Socket, SocketEvents } from "./engine.ts";
import { kindOfFault } from "./fault.ts";
import type { Flow } from "./flow.ts";
import type { Alarm, Loop } from "./loop.ts";
import type { Limits } from "./limits.ts";
import { Pair, type PairHost } from "./pair.ts";
import { keyOfClient } from "./policy.ts";
import { Once, type Sweep } from "./sweep.ts";

/** After a fault of the system's (no descriptor, no memory) nothing is dialed for so long. */
const systemFaultRestMs = 100;
/** Names of destinations kept of one client's vain attempts. */
const triedCountMax = 16;
/** A fault of our own after so long without one is told as a new one. */
const localFaultEpisodeMs = 10_000;

/** A busy destination is asked again after so long. */
const busyRestMs = 10;
/** Of refusals for want of room, so that a flood is two lines and not two each. */
const refusalEpisodeMs = 1_000;

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

export class Plane implements Acceptor, PairHost, Room<Pair> {
  readonly engine: Engine;
  readonly limits: Limits;
  readonly board: Board;
  readonly numbers: ThreadNumbers;
  readonly batch: Batch<Pair>;
  /** Every open pair, waiting ones included. */
  readonly pairs = new Set<Pair>();
  /** A client's address is asked for at accept (one system call). */
  readonly wantsClient: boolean;
  private readonly destinations: Destinations;
  private readonly sweep: Sweep;
  private readonly loop: Loop;
  private readonly events: PlaneEvents;
  private readonly hashes: boolean;
  private nextOrder = 1;
  private stopping = false;
  private queueIsFull = false;
  private queueRefusedAt = Number.NEGATIVE_INFINITY;
  private limitRefusedAt = Number.NEGATIVE_INFINITY;
  private systemFaultUntil = 0;
  private readonly afterSystemFault: Alarm;
  private localFaultAt = Number.NEGATIVE_INFINITY;
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
  }) {
    this.engine = parts.engine;
    this.limits = parts.limits;
    this.board = parts.board;
    this.numbers = parts.board.thread(parts.thread);
    this.destinations = parts.destinations;
    this.sweep = parts.sweep;
    this.loop = parts.loop;
    this.events = parts.events;
    this.hashes = parts.hashes;
    this.wantsClient = parts.wantsClient || parts.hashes;
    this.batch = new Batch<Pair>(this, parts.limits, parts.loop);
    this.afterSystemFault = parts.loop.alarm(() => this.pull());
    this.destinations.onReady = () => this.pull();
  }

  now(): number {
    return this.loop.now();
  }

  // --- a client arrives (IAWLB §19)

  onAccept(socket: Socket, listener: number): SocketEvents | null {
    this.numbers.add("accepted", 1);
    const pair = new Pair(this, this.nextOrder, listener);
    this.nextOrder += 1;
    pair.up.socket = socket;
    if (this.wantsClient) {
      pair.client = this.engine.remote(socket);
      if (this.hashes) pair.key = keyOfClient(pair.client);
    }
    this.numbers.add("open", 1);
    this.pairs.add(pair);
    if (this.stopping) {
      pair.settle("shutdown", "balancer");
    } else if (this.pairs.size > this.limits.connectionCountMax) {
      const isNew = pair.acceptedAt - this.limitRefusedAt > localFaultEpisodeMs;
      this.limitRefusedAt = pair.acceptedAt;
      if (isNew) this.events.onConnectionLimit();
      pair.settle("connection-limit", "balancer");
    } else {
      pair.queued = true;
      this.batch.add(pair);
    }
    return pair.settled ? null : pair.up;
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

  /** Takes a slot and dials. @returns false when there is none now. */
  place(pair: Pair): boolean {
    const nowMs = this.loop.now();
    if (nowMs >= this.systemFaultUntil) {
      for (;;) {
        const destination = this.destinations.take(pair.key);
        if (destination === null) break;
        if (this.give(pair, destination, nowMs)) return true;
        if (nowMs < this.systemFaultUntil) break;
      }
    }
    this.startWaiting(pair, nowMs);
    return false;
  }

  /** It waits though it was not tried: who came before it could not be placed. */
  onStay(pair: Pair): void {
    this.startWaiting(pair, this.loop.now());
  }

  /** Too many wait: the newest is refused. */
  refuse(pair: Pair): void {
    pair.queued = false;
    this.queueRefusedAt = this.loop.now();
    if (!this.queueIsFull) {
      this.queueIsFull = true;
      this.events.onQueueFull(true);
    }
    pair.settle("queue-full", "balancer");
  }

  /** Serves who waits, as far as there are slots. */
  pull(): void {
    if (this.batch.count > 0) this.batch.flush();
  }

  // --- its destination is dialed (IAWLB §16)

  onJoined(pair: Pair): void {
    const destination = requireDestination(pair);
    destination.preferred =
      (pair.addressFirst + pair.addressesTried) % Math.max(1, destination.addresses.length);
    this.numbers.add("connects", 1);
    this.numbers.joined[destination.row] = (this.numbers.joined[destination.row] ?? 0) + 1;
    this.numbers.histograms.connect.add(pair.joinedAt - pair.dialedAt);
    this.destinations.onSuccess(destination);
  }

  onDialFailed(pair: Pair, code: string): void {
    const destination = requireDestination(pair);
    pair.endDial();
    const nowMs = this.loop.now();
    if (!this.afterFailure(pair, destination, code, nowMs)) {
      if (this.dial(pair, destination, nowMs)) return;
    }
    if (this.stopping) return pair.settle("shutdown", "balancer");
    this.startWaiting(pair, nowMs);
    pair.queued = true;
    this.batch.giveBack(pair);
    this.pull();
  }

  // --- its bytes, and its end (IAWLB §17, §18)

  onFirstBytes(pair: Pair, flow: Flow): void {
    if (flow !== pair.up) {
      this.numbers.histograms.firstByte.add(pair.firstDownAt - pair.acceptedAt);
    } else if (pair.slotFreedAt >= 0) {
      this.numbers.histograms.handOff.add(pair.firstUpAt - pair.slotFreedAt);
    }
  }

  onDestinationOver(pair: Pair): void {
    this.freeSlot(pair);
  }

  onSettled(pair: Pair): void {
    const { numbers } = this;
    this.sweep.remove(pair);
    this.pairs.delete(pair);
    if (pair.queued) {
      pair.queued = false;
      this.batch.leave(pair);
    }
    this.endWaiting(pair);
    this.numbers.add("open", -1);
    numbers.addClosed(pair.reason ?? "error");
    const up = pair.up.size;
    const down = pair.down?.size ?? 0;
    this.numbers.add("bytesUp", up);
    this.numbers.add("bytesDown", down);
    this.numbers.add(
      "bytesUndelivered",
      pair.up.undeliveredSize + (pair.down?.undeliveredSize ?? 0),
    );
    numbers.histograms.session.add(pair.settledAt - pair.acceptedAt);
    if (pair.joinedAt >= 0 && pair.destination !== null) {
      const { row } = pair.destination;
      numbers.bytesUp[row] = (numbers.bytesUp[row] ?? 0) + up;
      numbers.bytesDown[row] = (numbers.bytesDown[row] ?? 0) + down;
    }
    this.events.onSettled?.(pair);
    this.freeSlot(pair);
  }

  watch(pair: Pair, atMs: number): void {
    this.sweep.fileNoLater(pair, atMs);
  }

  // --- the end of the plane

  /** No more clients; those that wait are refused. Joined pairs and dials go on. */
  refuseNew(): void {
    this.stopping = true;
    for (const pair of this.pairs)
      if (pair.state === "waiting") pair.settle("shutdown", "balancer");
  }

  /** Cuts what is left. @returns how many pairs that were. */
  cut(): number {
    const count = this.pairs.size;
    for (const pair of this.pairs) pair.settle("drain", "balancer");
    this.batch.close();
    return count;
  }

  /** The pair has this slot now. @returns false when every dial failed at once; the slot is given back. */
  private give(pair: Pair, destination: Destination, nowMs: number): boolean {
    pair.destination = destination;
    pair.holdsSlot = true;
    pair.onTrial = this.destinations.onTrial(destination);
    pair.addressFirst = destination.preferred;
    pair.addressesTried = 0;
    return this.dial(pair, destination, nowMs);
  }

  /** Dials the destination's addresses in turn, until one is under way. @returns false when none is. */
  private dial(pair: Pair, destination: Destination, nowMs: number): boolean {
    pair.state = "dialing";
    for (;;) {
      const { addresses } = destination;
      const index = (pair.addressFirst + pair.addressesTried) % Math.max(1, addresses.length);
      const address = addresses[index];
      const down = pair.startDial();
      const code = address === undefined ? "ENOTFOUND" : this.engine.dial(address, down);
      if (code === null || code === connectedAlready) {
        this.onDialing(pair, nowMs);
        if (code !== null) down.onConnected();
        return true;
      }
      down.closed = true;
      pair.endDial();
      if (this.afterFailure(pair, destination, code, nowMs)) return false;
    }
  }

  private onDialing(pair: Pair, nowMs: number): void {
    if (pair.waiting) {
      this.numbers.histograms.queue.add(nowMs - pair.acceptedAt);
      pair.slotFreedAt = this.freedAt;
    }
    this.endWaiting(pair);
    pair.queued = false;
    pair.dialedAt = nowMs;
    if (this.queueIsFull && nowMs - this.queueRefusedAt > refusalEpisodeMs) {
      this.queueIsFull = false;
      this.events.onQueueFull(false);
    }
    this.sweep.fileNoLater(pair, nowMs + this.limits.connectMs);
  }

  /**
   * Weighs a failed dial: a fault of ours, one address of several, or the destination's.
   * @returns true when this destination is over for the pair; its slot is given back. false: dial its next address.
   */
  private afterFailure(pair: Pair, destination: Destination, code: string, nowMs: number): boolean {
    const kind = kindOfFault(code);
    if (kind !== "system") {
      pair.addressesTried += 1;
      if (pair.addressesTried < destination.addresses.length) return false;
    }
    if (kind === "destination") {
      this.numbers.add("connectFailures", 1);
      this.numbers.failures[destination.row] = (this.numbers.failures[destination.row] ?? 0) + 1;
      pair.tried ??= [];
      if (pair.tried.length < triedCountMax) pair.tried.push(destination.name);
      this.destinations.onFailure(destination, code, nowMs, pair.onTrial);
    } else {
      if (kind !== "busy") this.onLocalFault(code, nowMs);
      if (kind === "system") this.pauseDialing(nowMs);
      else this.destinations.rest(destination, nowMs, kind === "busy" ? busyRestMs : undefined);
      if (pair.onTrial) this.destinations.onUndecided(destination);
    }
    pair.state = "waiting";
    pair.destination = null;
    pair.holdsSlot = false;
    this.destinations.release(destination);
    return true;
  }

  private onLocalFault(code: string, nowMs: number): void {
    this.numbers.add("localFaults", 1);
    const isNew = nowMs - this.localFaultAt > localFaultEpisodeMs;
    this.localFaultAt = nowMs;
    if (isNew) this.events.onLocalFault(code);
  }

  private pauseDialing(nowMs: number): void {
    if (nowMs < this.systemFaultUntil) return;
    this.systemFaultUntil = nowMs + systemFaultRestMs;
    this.afterSystemFault.set(nowMs + systemFaultRestMs + 1);
  }

  private startWaiting(pair: Pair, nowMs: number): void {
    if (!pair.waiting) {
      pair.waiting = true;
      this.numbers.add("queued", 1);
      if (!pair.waited) this.numbers.add("waited", 1);
      pair.waited = true;
    }
    this.destinations.hurry(nowMs);
    const { queueMs } = this.limits;
    if (queueMs > 0) this.sweep.fileNoLater(pair, Math.max(nowMs, pair.acceptedAt + queueMs));
  }

  private endWaiting(pair: Pair): void {
    if (!pair.waiting) return;
    pair.waiting = false;
    this.numbers.add("queued", -1);
  }

  /** Frees the slot of a pair, once, and gives it to who waits longest. */
  private freeSlot(pair: Pair): void {
    const { destination } = pair;
    if (!pair.holdsSlot || destination === null) return;
    pair.holdsSlot = false;
    if (pair.joinedAt < 0 && pair.onTrial) this.destinations.onUndecided(destination);
    const { cooldownMs } = this.limits;
    if (cooldownMs === 0) return this.giveOn(destination);
    this.sweep.file(new Once(() => this.giveOn(destination)), this.loop.now() + cooldownMs);
  }

  private giveOn(destination: Destination): void {
    this.destinations.release(destination);
    if (this.batch.count === 0) return;
    this.freedAt = this.loop.now();
    this.batch.flush();
    this.freedAt = -1;
  }
}

function requireDestination(pair: Pair): Destination {
  assert(pair.destination !== null, "plane: a dial without a destination");
  return pair.destination;
}
