// A lane: a queue and the destinations that serve it. A listener has one, and one more for each route by name; slots of
// a lane go to its own clients only. Origin: IAWLB §14–§16, §32.
import { headerFor } from "./approach.ts";
import { assert } from "./assert.ts";
import { Batch, type Room } from "./batch.ts";
import type { Board } from "./board.ts";
import type { Destination } from "./destination.ts";
import type { Destinations } from "./destinations.ts";
import { Dialer, type DialerHost } from "./dialer.ts";
import type { Engine } from "./engine.ts";
import type { Flow } from "./flow.ts";
import type { Limits } from "./limits.ts";
import { clientOf } from "./live.ts";
import { endOfTurn, type Alarm, type Loop } from "./loop.ts";
import type { ThreadNumbers } from "./numbers.ts";
import type { Pair } from "./pair.ts";
import { Once, type Sweep } from "./sweep.ts";
import { Tickets } from "./tickets.ts";
import type { Waiting } from "./waiting.ts";

/** What the lanes of a plane have in common. */
export interface LaneParts {
  readonly engine: Engine;
  readonly limits: Limits;
  readonly board: Board;
  readonly thread: number;
  readonly numbers: ThreadNumbers;
  readonly sweep: Sweep;
  readonly loop: Loop;
  readonly waiting: Waiting;
  readonly isStopping: () => boolean;
  /** Somebody serves this lane, or may some day. */
  readonly isServed: (lane: number) => boolean;
  onLocalFault(code: string): void;
}

export class Lane implements Room<Pair>, DialerHost {
  readonly destinations: Destinations;
  readonly batch: Batch<Pair>;
  readonly tickets: Tickets;
  private readonly parts: LaneParts;
  private readonly dialer: Dialer;
  /** When the slot that is being given on was freed; −1 outside of that. */
  private freedAt = -1;
  /** With a header that waits for its client's first bytes: up to the end of this turn, or of the next. */
  private headers: Flow[] = [];
  private newHeaders: Flow[] = [];
  private readonly headerAlarm: Alarm;

  /** @param number its place among the board's lanes. */
  constructor(number: number, destinations: Destinations, parts: LaneParts) {
    const columns = parts.board.lanes[number];
    assert(columns !== undefined, "lane: the board has no such");
    this.parts = parts;
    this.destinations = destinations;
    this.tickets = new Tickets(columns, parts.thread);
    this.batch = new Batch<Pair>(this, parts.limits, parts.loop, this.tickets);
    this.dialer = new Dialer({ ...parts, destinations, host: this });
    this.headerAlarm = parts.loop.alarm(() => this.onHeaderTurn());
    destinations.onReady = () => this.pull();
  }

  // --- a client gets a slot, or waits (IAWLB §14, §32)

  flushCount(): number {
    const { flushCount } = this.parts.limits;
    return flushCount > 0 ? flushCount : Math.max(1, this.destinations.readyCount);
  }

  take(pair: Pair | null): number {
    if (this.dialer.isResting()) return -1;
    return this.destinations.take(pair?.key ?? 0)?.row ?? -1;
  }

  give(pair: Pair, row: number): void {
    const destination = this.destinations.at(row);
    const nowMs = this.parts.loop.now();
    pair.destination = destination;
    pair.holdsSlot = true;
    pair.onTrial = this.destinations.onTrial(destination);
    if (this.isUnknown(pair, destination)) pair.settle("client-left", "client");
    else if (!this.dialer.start(pair, destination, nowMs)) this.giveBack(pair, nowMs);
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
    this.parts.board.freedAtMs[row] = this.freedAt;
  }

  onReceived(row: number): void {
    this.destinations.hold(row, 1);
    this.freedAt = this.parts.board.freedAtMs[row] ?? -1;
  }

  /** Too many wait: the newest are refused. */
  stay(pair: Pair): boolean {
    const nowMs = this.parts.loop.now();
    if (this.parts.waiting.enter(pair, nowMs)) {
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

  /** This thread was woken: perhaps for this lane. */
  onWake(): void {
    this.batch.flush();
    this.freedAt = -1;
  }

  /** Looks for what other threads have granted. @returns true when there was something, or is on its way. */
  takeGrants(): boolean {
    if (!this.batch.expectsGrants) return false;
    this.batch.flush();
    return true;
  }

  // --- its destination is dialed (IAWLB §16)

  onJoined(pair: Pair): void {
    const { numbers, board } = this.parts;
    const destination = this.destinationOf(pair);
    destination.preferred =
      (pair.addressFirst + pair.addressesTried) % Math.max(1, destination.addresses.length);
    numbers.addJoined(destination.row, pair.joinedAt - pair.dialedAt);
    this.tellHeader(pair, destination);
    if (pair.onWarm) return; // what was open before says nothing of now
    board.provenAtMs[destination.row] = pair.joinedAt;
    pair.inDoubt = this.destinations.isInDoubt(destination);
  }

  onHeld(pair: Pair): void {
    pair.onTrial = false;
    this.destinations.onSuccess(this.destinationOf(pair), this.parts.loop.now());
  }

  /**
   * A doubtful sign: what a client has sent may be the reason. So it counts against the destination, but never takes
   * the last one that is up.
   */
  onResetAtOnce(pair: Pair): void {
    const { numbers, loop } = this.parts;
    const destination = this.destinationOf(pair);
    if (!this.destinations.hasOther(destination)) return;
    numbers.addFailure(destination.row);
    this.destinations.onFailure(destination, "ECONNRESET", loop.now(), pair.onTrial);
  }

  onDialFailed(pair: Pair, code: string): void {
    const nowMs = this.parts.loop.now();
    if (this.dialer.goOn(pair, this.destinationOf(pair), code, nowMs)) return;
    this.giveBack(pair, nowMs);
    this.pull();
  }

  onAnswer(pair: Pair): void {
    this.destinations.onAnswer(pair.destination?.row ?? -1);
  }

  /** A dial is under way: who waited waits no more. */
  onDialing(pair: Pair, nowMs: number): void {
    const { numbers, waiting, sweep, limits } = this.parts;
    if (pair.waiting) {
      numbers.histograms.queue.add(nowMs - pair.enteredAt);
      pair.slotFreedAt = this.freedAt;
    }
    waiting.leave(pair);
    pair.dialedAt = nowMs;
    waiting.onServed(nowMs);
    sweep.fileNoLater(pair, nowMs + limits.connectMs);
  }

  onLocalFault(code: string): void {
    this.parts.onLocalFault(code);
  }

  // --- the end of a pair, and of the lane

  /** Frees the slot of a pair, once, and gives it to who waits longest. */
  freeSlot(pair: Pair): void {
    const { destination } = pair;
    const { loop, limits, sweep } = this.parts;
    if (!pair.holdsSlot || destination === null) return;
    pair.holdsSlot = false;
    pair.slotLeftAt = loop.now();
    if (pair.onTrial) this.destinations.onUndecided(destination);
    if (limits.cooldownMs === 0) return this.giveOn(destination);
    sweep.file(new Once(() => this.giveOn(destination)), loop.now() + limits.cooldownMs);
  }

  /** Destinations have come, gone or changed: serves who waits. */
  onDestinations(): void {
    this.dialer.onChanged();
    this.pull();
  }

  /** Opens nothing ahead any more. */
  closeDialer(): void {
    this.dialer.close();
  }

  /** It has gone, and its destination is to be told who it was: a header without it would vouch for it as for us. */
  private isUnknown(pair: Pair, { outward }: Destination): boolean {
    if (outward === null || outward.proxy === 0) return false;
    pair.client = clientOf(pair, this.parts.engine);
    return pair.client === "";
  }

  /** A client that speaks first has its bytes in one write with the header; one that does not holds it up hardly. */
  private tellHeader(pair: Pair, { outward }: Destination): void {
    if (outward === null || outward.proxy === 0 || outward.tls !== null) return;
    const header = headerFor(pair, outward.proxy, this.parts.engine);
    if (!pair.up.setHeader(header)) return;
    if (this.headers.length + this.newHeaders.length === 0) this.headerAlarm.set(endOfTurn);
    this.newHeaders.push(pair.up);
  }

  /** A client's first bytes are there a turn after it was accepted, if it has sent them. */
  private onHeaderTurn(): void {
    const { headers } = this;
    this.headers = this.newHeaders;
    this.newHeaders = [];
    if (this.headers.length > 0) this.headerAlarm.set(endOfTurn);
    for (const flow of headers) flow.releaseHeader();
  }

  private destinationOf(pair: Pair): Destination {
    return this.destinations.at(pair.destination?.row ?? -1);
  }

  /** Back to the queue, at its place by arrival. */
  private giveBack(pair: Pair, nowMs: number): void {
    if (this.parts.isStopping()) return pair.settle("shutdown", "balancer");
    if (!this.parts.isServed(pair.lane)) return pair.settle("no-route", "balancer");
    this.parts.waiting.comeBack(pair);
    this.onWaiting(pair, nowMs);
    this.batch.giveBack(pair);
  }

  /** It waits from now on, or waits again. */
  private onWaiting(pair: Pair, nowMs: number): void {
    const { limits, sweep } = this.parts;
    this.destinations.hurry(nowMs);
    if (limits.queueMs === 0) return;
    sweep.fileNoLater(pair, Math.max(nowMs, pair.enteredAt + limits.queueMs));
  }

  private giveOn(destination: Destination): void {
    if (this.tickets.someoneWaits()) this.freedAt = this.parts.loop.now();
    this.batch.free(destination.row);
    this.freedAt = -1;
  }
}
