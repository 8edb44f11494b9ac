// An engine for tests of the core, whose sockets do what the test says. It is strict: it throws when the core does what
// no real socket would bear.
import { connectedAlready } from "../../src/core/engine.ts";
import type {
  DialAddress,
  Engine,
  SecureEvents,
  Secured,
  Securing,
  Socket,
  SocketEvents,
  TlsSide,
} from "../../src/core/engine.ts";

/** The end of this turn of the event loop. */
export const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

/** Where a fake dial goes. */
export interface FakeAddress {
  readonly name: string;
  /** Cause of failure told from inside `dial`; null: the dial is under way. */
  fault: string | null;
}

// The core holds sockets and addresses as opaque things; these four casts are the only doors.
export const opaque = (socket: FakeSocket) => socket as unknown as Socket;
const fake = (socket: Socket) => socket as unknown as FakeSocket;
export const asAddress = (address: FakeAddress) => address as unknown as DialAddress;
const fakeAddress = (address: DialAddress) => address as unknown as FakeAddress;

/** A side of a fake handshake, by the name of its certificate. */
export const fakeSide = (name: string) => name as unknown as TlsSide; // opaque to the core

/** How a fake handshake ends when all goes well. */
const fakeSecured: Secured = {
  version: "TLSv1.3",
  cipher: "TLS_AES_128_GCM_SHA256",
  alpn: "",
  peerName: "",
  verified: false,
  resumed: false,
};

/** A socket of ours, and what its peer does to it. */
export class FakeSocket {
  readonly name: string;
  /** Of its peer, and of our end. */
  address: string;
  own: string;
  /** A handshake that has begun: the side it was begun with, and how; null = none, or it is over. */
  handshake: (Securing & { readonly side: string; readonly events: SecureEvents }) | null = null;
  events: SocketEvents | null = null;
  /** Bytes it takes before it is full. */
  room = Number.POSITIVE_INFINITY;
  /** Its peer has sent a reset that nobody has been told of: a write says −1. */
  resetUnseen = false;
  /** What the core did to it in the end. */
  fate: "open" | "reset" | "closed" = "open";
  shut = false;
  paused = false;
  /** Its peer's FIN was told. */
  ended = false;
  /** Nothing can be told any more. */
  gone = false;
  pauseCount = 0;
  /** What its peer has received, write by write. */
  readonly writes: Uint8Array[] = [];
  private readonly taken: string[] = [];

  constructor(name: string) {
    this.name = name;
    this.address = `${name}:1`;
    this.own = `${name}:2`;
  }

  /** What its peer has received. */
  get text(): string {
    return this.taken.join("");
  }

  connect(): void {
    this.told().onConnected();
  }

  fail(code = "ECONNREFUSED"): void {
    const events = this.told();
    this.gone = true;
    events.onDialFailed(code);
  }

  /** The chunk is lent: it is overwritten after the call. */
  send(sent: string | Uint8Array): void {
    if (this.paused) throw new Error(`${this.name}: a paused socket reads nothing`);
    const chunk = typeof sent === "string" ? new TextEncoder().encode(sent) : new Uint8Array(sent);
    this.told().onChunk(chunk);
    chunk.fill(0x3f);
  }

  /** After our own FIN the peer's shows as a close (R3). */
  fin(): void {
    if (this.paused) throw new Error(`${this.name}: a paused socket reads nothing`);
    const events = this.told();
    this.ended = true;
    if (!this.shut) return events.onEnd();
    this.gone = true;
    this.fate = "closed";
    events.onClose(null);
  }

  /** A reset is told even while paused. */
  reset(code = "ECONNRESET"): void {
    const events = this.told();
    this.gone = true;
    events.onClose(code);
  }

  /** A reset of a pair that has moved a byte, so that nobody can take it over. */
  crash(): void {
    if (!this.paused && !this.ended) this.send("!");
    this.reset();
  }

  /** There is room for so many bytes. */
  writable(room = Number.POSITIVE_INFINITY): void {
    this.room = room;
    this.told().onWritable();
  }

  /** The handshake is done. */
  secured(shown: Partial<Secured> = {}): void {
    const { events } = this.shaking();
    this.handshake = null;
    events.onSecured({ ...fakeSecured, ...shown });
  }

  /** The handshake fails; the socket is gone. */
  insecure(cause: string): void {
    const { events } = this.shaking();
    this.handshake = null;
    this.gone = true;
    events.onInsecure(cause);
  }

  take(chunk: Uint8Array, from: number): number {
    if (this.fate !== "open" || this.shut) throw new Error(`${this.name}: write after the end`);
    if (this.resetUnseen) return -1;
    const count = Math.min(this.room, chunk.length - from);
    if (this.handshake !== null) throw new Error(`${this.name}: a write into a handshake`);
    if (count > 0) this.writes.push(chunk.slice(from, from + count));
    this.taken.push(new TextDecoder().decode(chunk.subarray(from, from + count)));
    this.room -= count;
    return count;
  }

  private shaking(): { readonly events: SecureEvents } {
    if (this.gone || this.handshake === null) throw new Error(`${this.name}: no handshake`);
    return this.handshake;
  }

  private told(): SocketEvents {
    if (this.gone || this.events === null) throw new Error(`${this.name}: tells after its end`);
    return this.events;
  }
}

export class FakeEngine implements Engine {
  /** A pair may be closed in order although its peers have not ended: for its age, say. */
  mayCloseEarly = false;
  /** Every dial that came under way, oldest first. */
  readonly dials: FakeSocket[] = [];
  /** Called at every dial, those that fail at once included. */
  onDial: (address: FakeAddress, events: SocketEvents) => void = () => {};
  /** Its dials are over when they have begun, as towards the own host. */
  connectsAtOnce = false;
  /** Handshakes that have begun, those that failed at once included. */
  handshakeCount = 0;
  /** Cause of failure told from inside `secure`; null: the handshake is under way. */
  handshakeFault: string | null = null;
  /** Tells of ends that nobody has been told of, when it is asked. */
  sees = true;
  /** Called when the core ends a socket or a dial, before it is so. */
  onAbort: (events: SocketEvents) => void = () => {};

  dial(address: DialAddress, events: SocketEvents): string | null {
    const { name, fault } = fakeAddress(address);
    this.onDial(fakeAddress(address), events);
    if (fault !== null) return fault;
    const socket = new FakeSocket(name);
    socket.events = events;
    events.socket = opaque(socket);
    this.dials.push(socket);
    return this.connectsAtOnce ? connectedAlready : null;
  }

  /** As with Bun, the end is told from inside the call. */
  abort(events: SocketEvents): void {
    if (!events.closed) throw new Error("abort before the state says closed");
    this.onAbort(events);
    if (events.socket === null) return;
    const socket = fake(events.socket);
    if (socket.fate !== "open") throw new Error(`${socket.name}: aborted after its end`);
    socket.fate = "reset";
    if (socket.gone) return;
    socket.gone = true;
    if (events.connected || socket.name.startsWith("client")) events.onClose(null);
    else events.onDialFailed("ECONNRESET");
  }

  write(socket: Socket, chunk: Uint8Array, from: number): number {
    if (from >= chunk.length) throw new Error(`${fake(socket).name}: an empty write`);
    return fake(socket).take(chunk, from);
  }

  keep(chunk: Uint8Array, from: number): Uint8Array {
    return chunk.slice(from);
  }

  pause(socket: Socket): void {
    fake(socket).paused = true;
    fake(socket).pauseCount += 1;
  }

  resume(socket: Socket): void {
    fake(socket).paused = false;
  }

  shutdown(socket: Socket): void {
    const { name, shut, fate } = fake(socket);
    if (shut || fate !== "open") throw new Error(`${name}: shut down after its end`);
    fake(socket).shut = true;
  }

  close(socket: Socket): void {
    const target = fake(socket);
    if (target.fate !== "open") throw new Error(`${target.name}: closed twice`);
    if (!target.ended && target.text !== "" && !this.mayCloseEarly) {
      throw new Error(`${target.name}: closed before its peer has ended`);
    }
    target.fate = "closed";
    if (target.gone) return;
    target.gone = true;
    target.events?.onClose(null);
  }

  adopt(socket: Socket, events: SocketEvents): void {
    fake(socket).events = events;
    events.socket = socket;
  }

  /** What was read before is lent, as all chunks are. */
  secure(events: SecureEvents, side: TlsSide, how: Securing): void {
    if (events.socket === null) throw new Error("a handshake without a socket");
    const socket = fake(events.socket);
    if (socket.handshake !== null || socket.gone)
      throw new Error(`${socket.name}: no handshake now`);
    this.handshakeCount += 1;
    const initial = how.initial?.slice() ?? null;
    socket.events = events;
    socket.handshake = { ...how, initial, side: side as unknown as string, events }; // as `fakeSide` made it
    if (this.handshakeFault !== null) socket.insecure(this.handshakeFault);
  }

  isOpen(socket: Socket): boolean {
    return !this.sees || (!fake(socket).ended && !fake(socket).resetUnseen);
  }

  remote(socket: Socket): string {
    return fake(socket).address;
  }

  local(socket: Socket): string {
    return fake(socket).own;
  }
}

export function fakeAddresses(...names: string[]): FakeAddress[] {
  return names.map((name) => ({ name, fault: null }));
}
