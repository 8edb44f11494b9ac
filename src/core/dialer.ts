// Dials the destination that a client was given: a connection opened ahead, or its addresses in turn; and weighs every
// failure. Origin: IAWLB §16, where a worker whose connect failed died for good, and its client with it.
import { Approach, headerFor } from "./approach.ts";
import type { Board } from "./board.ts";
import type { Destination } from "./destination.ts";
import type { Destinations } from "./destinations.ts";
import { connectedAlready, type Engine, type SocketEvents } from "./engine.ts";
import { kindOfFault } from "./fault.ts";
import type { Limits } from "./limits.ts";
import { endOfTurn, type Alarm, type Loop } from "./loop.ts";
import type { ThreadNumbers } from "./numbers.ts";
import type { Pair } from "./pair.ts";
import type { Sweep } from "./sweep.ts";
import { WarmPool, type WarmHost } from "./warm.ts";

/** After a fault of the system's (no descriptor, no memory) nothing is dialed for so long. */
const systemFaultRestMs = 100;
/** A busy destination is asked again after so long. */
const busyRestMs = 10;
/** Rows of destinations kept of one client's vain attempts. */
export const triedCountMax = 16;
/** A fault of our own after so long without one is told as a new one. */
export const localFaultEpisodeMs = 10_000;

/** What the dialer needs of the plane it lives in. */
export interface DialerHost {
  /** A dial is under way, or over already. */
  onDialing(pair: Pair, nowMs: number): void;
  /** A fault of our own keeps clients waiting; told once per episode. */
  onLocalFault(code: string): void;
  /** Slots can be used again that could not. */
  pull(): void;
}

export class Dialer implements WarmHost {
  readonly engine: Engine;
  private readonly board: Board;
  private readonly numbers: ThreadNumbers;
  private readonly destinations: Destinations;
  private readonly loop: Loop;
  private readonly host: DialerHost;
  /** By row; none where no connection is opened ahead. */
  private readonly warmPools: (WarmPool | null)[] = [];
  private readonly limits: Limits;
  private readonly sweep: Sweep;
  private readonly poolsToFill = new Set<WarmPool>();
  private readonly fillPools: Alarm;
  private restUntil = 0;
  private readonly afterRest: Alarm;

  constructor(parts: {
    engine: Engine;
    limits: Limits;
    board: Board;
    numbers: ThreadNumbers;
    destinations: Destinations;
    sweep: Sweep;
    loop: Loop;
    host: DialerHost;
  }) {
    this.engine = parts.engine;
    this.board = parts.board;
    this.numbers = parts.numbers;
    this.destinations = parts.destinations;
    this.loop = parts.loop;
    this.host = parts.host;
    this.limits = parts.limits;
    this.sweep = parts.sweep;
    this.afterRest = parts.loop.alarm(() => this.host.pull());
    this.fillPools = parts.loop.alarm(() => {
      const pools = [...this.poolsToFill];
      this.poolsToFill.clear();
      for (const pool of pools) pool.refill();
    });
    this.onChanged();
  }

  /** Longest dial. */
  get connectMs(): number {
    return this.limits.connectMs;
  }

  /** Destinations have come, gone or changed: each has the pool that it should have. */
  onChanged(): void {
    this.warmPools.forEach((pool, row) => {
      if (pool === null || pool.isWanted(this.destinations.find(row))) return;
      pool.close();
      this.warmPools[row] = null;
    });
    for (const each of this.destinations.list) {
      if (each.warm === 0) continue;
      this.warmPools[each.row] ??= new WarmPool(each, this, this.loop, this.sweep);
    }
  }

  /** Nothing can be dialed now, through a fault of the system's. */
  isResting(): boolean {
    return this.restUntil > 0 && this.loop.now() < this.restUntil;
  }

  /** The pair has a slot of this destination. @returns false when every dial failed at once; the slot is given back. */
  start(pair: Pair, destination: Destination, nowMs: number): boolean {
    pair.addressFirst = destination.preferred;
    pair.addressesTried = 0;
    // A trial is to find out: what was open before the destination went out says nothing of now.
    if (!pair.onTrial && this.useWarm(pair, destination, nowMs)) return true;
    return this.dial(pair, destination, nowMs);
  }

  /** Its dial has failed. @returns true when another one is under way; false: the slot is given back. */
  goOn(pair: Pair, destination: Destination, code: string, nowMs: number): boolean {
    pair.endDial();
    // One that was opened ahead and is dead says nothing of its destination.
    const isOver = !pair.onWarm && this.isOver(pair, destination, code, nowMs);
    pair.onWarm = false;
    return !isOver && this.dial(pair, destination, nowMs);
  }

  /** Opens nothing ahead any more. */
  close(): void {
    this.afterRest.clear();
    this.fillPools.clear();
    for (const pool of this.warmPools) pool?.close();
  }

  mayWarm(destination: Destination): boolean {
    return this.destinations.isSound(destination);
  }

  refillSoon(pool: WarmPool): void {
    this.poolsToFill.add(pool);
    this.fillPools.set(endOfTurn);
  }

  onWarmFailed(destination: Destination, code: string): void {
    if (kindOfFault(code) !== "destination") return;
    this.numbers.addFailure(destination.row);
    this.destinations.onFailure(destination, code, this.loop.now(), false);
  }

  /** A connection that was opened ahead. @returns false when there is none. */
  private useWarm(pair: Pair, destination: Destination, nowMs: number): boolean {
    const warm = this.warmPools[destination.row]?.take() ?? null;
    if (warm === null || warm.socket === null) return false;
    pair.state = "dialing";
    pair.onWarm = warm.connected; // else it is a dial like any other
    pair.addressFirst = warm.addressIndex;
    const events = this.startDial(pair, destination);
    this.engine.adopt(warm.socket, events);
    this.host.onDialing(pair, nowMs);
    if (!warm.connected) return true;
    events.onConnected();
    if (warm.early !== null) events.onChunk(warm.early);
    if (warm.isPaused && pair.down?.paused === false && !pair.down.closed) {
      this.engine.resume(warm.socket);
    }
    return true;
  }

  /** @returns who is told of the dial: the flow, or who prepares its destination for it. */
  private startDial(pair: Pair, { outward }: Destination): SocketEvents {
    const down = pair.startDial();
    if (outward === null || outward.tls === null) return down;
    const { engine } = this;
    const { proxy, tls, name } = outward;
    const header = () => (proxy === 0 ? null : headerFor(pair, proxy, engine));
    const agreed = pair.preface?.facts.tls?.alpn ?? ""; // its client speaks it already
    const alpn = agreed === "" ? [] : [agreed];
    return new Approach({ engine, target: down, header, tls, name, alpn });
  }

  /** Dials the destination's addresses in turn, until one is under way. @returns false when none is. */
  private dial(pair: Pair, destination: Destination, nowMs: number): boolean {
    pair.state = "dialing";
    for (;;) {
      const { addresses } = destination;
      const index = (pair.addressFirst + pair.addressesTried) % Math.max(1, addresses.length);
      const address = addresses[index];
      const events = this.startDial(pair, destination);
      const code = address === undefined ? "ENOTFOUND" : this.engine.dial(address, events);
      if (code === null || code === connectedAlready) {
        this.host.onDialing(pair, nowMs);
        if (code !== null) events.onConnected();
        return true;
      }
      if (pair.down !== null) pair.down.closed = true;
      pair.endDial();
      if (this.isOver(pair, destination, code, nowMs)) return false;
    }
  }

  /**
   * Weighs a failed dial: a fault of ours, one address of several, or the destination's.
   * @returns true when this destination is over for the pair; its slot is given back. false: dial its next address.
   */
  private isOver(pair: Pair, destination: Destination, code: string, nowMs: number): boolean {
    const kind = kindOfFault(code);
    if (kind !== "system") {
      pair.addressesTried += 1;
      if (pair.addressesTried < destination.addresses.length) return false;
    }
    if (kind === "destination") {
      this.numbers.addFailure(destination.row);
      pair.tried ??= [];
      if (pair.tried.length < triedCountMax) pair.tried.push(destination.row);
      this.destinations.onFailure(destination, code, nowMs, pair.onTrial);
    } else {
      if (kind !== "busy") this.onLocalFault(code, nowMs);
      if (kind === "system") this.rest(nowMs);
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
    if (this.board.isNews("localFault", nowMs, localFaultEpisodeMs)) this.host.onLocalFault(code);
  }

  private rest(nowMs: number): void {
    if (nowMs < this.restUntil) return;
    this.restUntil = nowMs + systemFaultRestMs;
    this.afterRest.set(nowMs + systemFaultRestMs + 1);
  }
}
