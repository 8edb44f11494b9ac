// Connections that are opened ahead of their clients, so that a freed slot need not wait for a connect: at high load a
// gap in the hand-off costs more than its own length (DECISIONS.md). They stand outside of the slots, oldest first.
//
//   dial ──> open, waits ──> given to a client ──> its pair's destination side
//              │  ended by the destination, reset, or old: closed, and another one is opened
import type { Destination } from "./destination.ts";
import type { Engine, Socket, SocketEvents } from "./engine.ts";
import { connectedAlready } from "./engine.ts";
import { endOfTurn, never, type Alarm, type Loop } from "./loop.ts";
import { Expiring, type Sweep } from "./sweep.ts";

/** A warm connection is opened anew after so long. */
const ageMsMax = 30_000;
/** One that ended sooner than this has not been worth it: the next one waits, doubling up to the larger. */
const shortMs = 1_000;
const restMsMax = 30_000;
/** What a destination says before it is asked is kept; it is paused when that is more. */
const earlySizeMax = 16 * 1024;

/** What a pool needs of the plane it lives in. */
export interface WarmHost {
  readonly engine: Engine;
  /** New connections may be opened to it now. */
  mayWarm(destination: Destination): boolean;
  /** One could not be opened. */
  onWarmFailed(destination: Destination, code: string): void;
}

/** The warm connections of one thread to one destination. */
export class WarmPool extends Expiring {
  readonly destination: Destination;
  private readonly host: WarmHost;
  private readonly loop: Loop;
  private readonly sweep: Sweep;
  private readonly refillSoon: Alarm;
  private readonly countMax: number;
  /** Oldest first; those that are still being dialed included. */
  private readonly members: WarmConnection[] = [];
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
    this.refillSoon = loop.alarm(() => this.refill());
    this.refillSoon.set(endOfTurn);
  }

  /**
   * The oldest connection, which is the caller's now; null when there is none. It may still be dialed: a destination
   * that serves one at a time accepts it before any that is dialed later.
   */
  take(): WarmConnection | null {
    for (;;) {
      const index = this.members.findIndex((each) => each.socket !== null);
      const [member] = index < 0 ? [] : this.members.splice(index, 1);
      if (member === undefined) return null;
      this.refillSoon.set(endOfTurn);
      const { socket, connected, early } = member;
      if (!connected || early !== null) return member;
      if (socket !== null && this.host.engine.isOpen(socket)) return member;
      this.drop(member);
    }
  }

  /** Looks for those that are old, and fills up. */
  override onSweep(nowMs: number): number {
    for (const member of this.members.filter((each) => nowMs - each.dialedAt >= ageMsMax)) {
      this.members.splice(this.members.indexOf(member), 1);
      this.drop(member);
    }
    return this.refill();
  }

  close(): void {
    this.isClosed = true;
    this.refillSoon.clear();
    this.sweep.remove(this);
    for (const member of this.members.splice(0)) this.drop(member);
  }

  /** A member has ended by itself, or could not be opened. */
  onOver(member: WarmConnection, code: string | null): void {
    const index = this.members.indexOf(member);
    if (index < 0) return;
    this.members.splice(index, 1);
    const nowMs = this.loop.now();
    if (code !== null && !member.connected) this.host.onWarmFailed(this.destination, code);
    if (nowMs - member.dialedAt < shortMs) {
      this.restMs = Math.min(restMsMax, Math.max(shortMs, 2 * this.restMs));
      this.restUntil = nowMs + this.restMs;
    } else {
      this.restMs = 0;
    }
    this.drop(member);
    this.sweep.fileNoLater(this, Math.max(nowMs, this.restUntil));
  }

  private drop(member: WarmConnection): void {
    if (member.closed) return;
    member.closed = true;
    // Nothing was sent on it, so that there is nothing to lose: a FIN, which no server logs as an error.
    if (member.connected && member.socket !== null) this.host.engine.close(member.socket);
    else this.host.engine.abort(member);
  }

  /** @returns when to look again. */
  private refill(): number {
    const nowMs = this.loop.now();
    const { destination, host } = this;
    while (!this.isClosed && this.members.length < this.countMax && nowMs >= this.restUntil) {
      const address = destination.addresses[destination.preferred];
      if (address === undefined || !host.mayWarm(destination)) break;
      const member = new WarmConnection(this, nowMs, host.engine);
      this.members.push(member);
      const code = host.engine.dial(address, member);
      if (code === connectedAlready) member.onConnected();
      else if (code !== null) {
        member.closed = true;
        this.onOver(member, code);
      }
    }
    if (this.isClosed) return never;
    const atMs = nowMs + shortMs;
    this.sweep.fileNoLater(this, atMs);
    return atMs;
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
  private readonly pool: WarmPool;
  private readonly engine: Engine;

  constructor(pool: WarmPool, dialedAt: number, engine: Engine) {
    this.pool = pool;
    this.dialedAt = dialedAt;
    this.engine = engine;
  }

  onConnected(): void {
    this.connected = true;
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
