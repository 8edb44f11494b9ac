// A socket of the libc engine: its descriptor, and what edges have said of it that is not used up yet. Facts are bits
// of one field, for there are two such objects a pair and tens of thousands of pairs.
import type { DialAddress, Socket, SocketEvents } from "../core/engine.ts";
import type { Bulk } from "./splice.ts";

export const Fact = {
  /** A descriptor of its own that is not closed yet. */
  open: 1 << 0,
  /** Its dial has succeeded, or it was accepted. */
  connected: 1 << 1,
  /** The core wants no bytes and no end of it. */
  paused: 1 << 2,
  /** Perhaps there is something to read, or something held to pass on. */
  readable: 1 << 3,
  /** In the list of those to be read. */
  queued: 1 << 4,
  /** The last write was short: an edge will say when there is room. */
  blocked: 1 << 5,
  /** Its peer's end lies behind what can be read now. */
  endAnnounced: 1 << 6,
  /** Its peer has sent a reset; bytes and an end of before may still be read. */
  resetAnnounced: 1 << 7,
  /** The peer's end was told. */
  ended: 1 << 8,
  /** A write has failed: the error is used up, what epoll will say is "both ended". */
  failed: 1 << 9,
  /** A short read does not mean that nothing more is there: unix sockets, urgent data, a reset. */
  untilEmpty: 1 << 10,
  /** A write leaves at once (TCP_NODELAY). */
  prompt: 1 << 11,
  /** Something was written. */
  written: 1 << 12,
} as const;

/** Numbers of this thread's sockets. */
let lastNumber = 0;

export class LibcSocket {
  readonly fd: number;
  /** Tells it from an earlier socket of the same descriptor. */
  readonly number: number;
  /** Null only while its acceptor is asked. */
  events: SocketEvents | null;
  /** The facts above that hold. */
  facts: number;
  /** Where its bytes go. */
  target: LibcSocket | null = null;
  /** How its bytes go there, once they have been many. */
  bulk: Bulk | null = null;

  constructor(fd: number, events: SocketEvents | null, facts: number) {
    lastNumber = (lastNumber + 1) & 0x7fff_ffff;
    this.fd = fd;
    this.number = lastNumber;
    this.events = events;
    this.facts = Fact.open | facts;
  }

  /** Any of these facts holds. */
  is(fact: number): boolean {
    return (this.facts & fact) !== 0;
  }

  set(fact: number): void {
    this.facts |= fact;
  }

  clear(fact: number): void {
    this.facts &= ~fact;
  }
}

// Sockets are opaque to the core; these two casts are the only doors.
export const native = (socket: Socket): LibcSocket => socket as unknown as LibcSocket;
export const opaque = (socket: LibcSocket): Socket => socket as unknown as Socket;

/** An address that is ready to be dialed; opaque to the core as well. */
export interface Prepared {
  /** Kept alive here, for FFI holds no reference (R16). */
  readonly sockaddr: Uint8Array;
  readonly family: number;
}

export const prepared = (address: DialAddress) => address as unknown as Prepared;
export const asAddress = (address: Prepared) => address as unknown as DialAddress;
