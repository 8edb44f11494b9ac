// Connections that are opened ahead of their clients, so that a freed slot need not wait for a connect: at high load a
// gap in the hand-off costs more than its own length (DECISIONS.md). They stand outside of the slots, oldest first.
//
//   dial ──> open, waits ──> given to a client ──> its pair's destination side
//              │  ended by the destination, reset, or old: closed, and another one is opened
import type { Destination } from "./destination.ts";
import { connectedAlready, type DialAddress, type Engine } from "./engine.ts";
import type { Socket, SocketEvents } from "./engine.ts";
import { never, type Loop } from "./loop.ts";
import { Expiring, type Sweep } from "./sweep.ts";

/** A warm connection is opened anew after so long. */
const ageMsMax = 30_000;
/** One that ended sooner than this has not been worth it: the next one waits, doubling up to the larger. */
const shortMs = 1_000;
const restMsMax = 30_000;
/** A dial that has begun so lately may be given to a client; an older one is perhaps never answered. */
const youngMs = 200;
/** What a destination says before it is asked is kept; it is paused when that is more. */
const earlySizeMax = 16 * 1024;

/** What a pool needs of whoever dials. */
export interface WarmHost {
  readonly engine: Engine;
  /** Longest dial. */
  readonly connectMs: number;
  /** New connections may be opened to it now. */
  mayWarm(destination: Destination): boolean;
  /** None of its addresses could be had. */
  onWarmFailed(destination: Destination, code: string): void;
  /** Calls `refill` at the end of this turn. */
  refillSoon(pool: WarmPool): void;
}

/** The warm connections of one thread to one destination. */
export class WarmPool extends Expiring {
  readonly destination: Destination;
  /** How many it may have. */
  private countMax: number;
  private readonly host: WarmHost;
  private readonly loop: Loop;
  private readonly sweep: Sweep;
  /** Oldest first; those that are still being dialed included. */
  private members: WarmConnection[] = [];
  /** Which of its addresses is dialed next, and how many have failed since one was had. */
  private addressIndex = 0;
  private failedCount = 0;
  private restMs = 0;
  private restUntil = 0;
  private isClosed = false;

  constructor(destination: Destination, host: WarmHost, loop: Loop, sweep: Sweep) {
    super();
    this.destination = destination;
    this.countMax = destination.warm;
    this.host = host;
    this.loop = loop;
    this.sweep = sweep;
    host.refillSoon(this);
  }

  /**
   * The oldest connection, which is the caller's now; null when there is none. It may have been dialed just now and not
   * be open yet: a destination that serves one at a time accepts it before any that is dialed later.
   */
  take(): WarmConnection | null {
    const nowMs = this.loop.now();
    const members = this.members.slice(); // some leave while we go through them
    for (const member of members) {
      const { socket, connected, early } = member;
      if (socket === null || (!connected && nowMs - member.dialedAt > youngMs)) continue;
      this.members.splice(this.members.indexOf(member), 1);
      this.host.refillSoon(this);
      if (!connected || early !== null || this.host.engine.isOpen(socket)) return member;
      this.drop(member);
    }
    return null;
  }

  /** Drops what is old, what its destination's name has lost and what is not answered; then fills up. */
  override onSweep(nowMs: number): number {
    const { destination, host } = this;
    const isSound = host.mayWarm(destination);
    const members = this.members.slice();
    for (const member of members) {
      const ageMs = nowMs - member.dialedAt;
      if (!member.connected && ageMs >= host.connectMs) this.onOver(member, "ETIMEDOUT");
      const isKnown = destination.addresses.includes(member.address);
      if (isSound && isKnown && ageMs < ageMsMax) continue;
      this.members = this.members.filter((each) => each !== member);
      this.drop(member);
    }
    return this.refill();
  }

  /** It goes on with this destination; false: it is to be closed, and perhaps another one opened. */
  isWanted(destination: Destination | null): boolean {
    if (destination !== this.destination || destination.warm < this.countMax) return false;
    this.countMax = destination.warm;
    if (this.members.length < this.countMax) this.host.refillSoon(this);
    return this.countMax > 0;
  }

  close(): void {
    this.isClosed = true;
    this.sweep.remove(this);
    for (const member of this.members.splice(0)) this.drop(member);
  }

  onOpen(): void {
    this.failedCount = 0;
  }

  /** A member has ended by itself, or could not be opened. */
  onOver(member: WarmConnection, code: string | null): void {
    const index = this.members.indexOf(member);
    if (index < 0) return;
    this.members.splice(index, 1);
    const nowMs = this.loop.now();
    if (code !== null && !member.connected) this.onFailed(code);
    if (member.connected && nowMs - member.dialedAt >= shortMs) {
      this.restMs = 0;
    } else if (this.failedCount === 0) {
      // Its next address, if there is one, need not wait for what is wrong with this one.
      this.restMs = Math.min(restMsMax, Math.max(shortMs, 2 * this.restMs));
      this.restUntil = nowMs + this.restMs;
    }
    this.drop(member);
    this.sweep.fileNoLater(this, Math.max(nowMs, this.restUntil));
  }

  /** @returns when to look again. */
  refill(): number {
    const nowMs = this.loop.now();
    const { destination, host } = this;
    while (
      !this.isClosed &&
      this.members.length < this.countMax &&
      nowMs >= this.restUntil &&
      host.mayWarm(destination)
    ) {
      const { addresses } = destination;
      const address = addresses[this.addressIndex % addresses.length];
      if (address === undefined) break;
      const index = this.addressIndex % addresses.length;
      const member = new WarmConnection(this, nowMs, host.engine, address, index);
      this.members.push(member);
      const code = host.engine.dial(address, member);
      if (code === connectedAlready) {
        member.onConnected();
      } else if (code !== null) {
        member.closed = true;
        this.onOver(member, code);
      }
    }
    if (this.isClosed) return never;
    const atMs = nowMs + shortMs;
    this.sweep.fileNoLater(this, atMs);
    return atMs;
  }

  /** Its addresses are tried in turn; only when all have failed the destination is to blame. */
  private onFailed(code: string): void {
    this.addressIndex += 1;
    this.failedCount += 1;
    if (this.failedCount < this.destination.addresses.length) return;
    this.failedCount = 0;
    this.host.onWarmFailed(this.destination, code);
  }

  private drop(member: WarmConnection): void {
    if (member.closed) return;
    member.closed = true;
    // Nothing was sent on it, so that there is nothing to lose: a FIN, which no server logs as an error.
    if (member.connected && member.socket !== null) this.host.engine.close(member.socket);
    else this.host.engine.abort(member);
  }
}

export class WarmConnection implements SocketEvents {
  socket: Socket | null = null;
  closed = false;
  connected = false;
  /** What the destination has said already. */
  early: Uint8Array | null = null;
  isPaused = false;
  readonly dialedAt: number;
  readonly address: DialAddress;
  /** Its place among the destination's addresses. */
  readonly addressIndex: number;
  private readonly pool: WarmPool;
  private readonly engine: Engine;

  constructor(
    pool: WarmPool,
    dialedAt: number,
    engine: Engine,
    address: DialAddress,
    addressIndex: number,
  ) {
    this.pool = pool;
    this.dialedAt = dialedAt;
    this.engine = engine;
    this.address = address;
    this.addressIndex = addressIndex;
  }

  onConnected(): void {
    this.connected = true;
    this.pool.onOpen();
  }

  onDialFailed(code: string): void {
    if (this.closed) return;
    this.closed = true;
    this.pool.onOver(this, code);
  }

  onChunk(chunk: Uint8Array): void {
    const before = this.early;
    if (before === null) {
      this.early = this.engine.keep(chunk, 0);
    } else {
      this.early = new Uint8Array(before.length + chunk.length);
      this.early.set(before);
      this.early.set(chunk, before.length);
    }
    if (this.early.length < earlySizeMax || this.isPaused || this.socket === null) return;
    this.isPaused = true;
    this.engine.pause(this.socket);
  }

  /** It is linked with nothing. */
  onMoved(): void {}

  onWritable(): void {}

  /** The destination does not want to wait for a client. */
  onEnd(): void {
    if (!this.closed) this.pool.onOver(this, null);
  }

  onClose(code: string | null): void {
    if (this.closed) return;
    this.closed = true;
    this.pool.onOver(this, code);
  }
}
