// The engine over Bun's socket handlers. What Bun does that its documentation does not say stands here and in the
// rules R1–R23, each held by a test of its own (test/engine/bun-facts*.test.ts).
import type { Socket as BunSocket, SocketHandler } from "bun";
import { connectedAlready } from "../core/engine.ts";
import type {
  Acceptor,
  DialAddress,
  Engine,
  SecureEvents,
  Securing,
  Socket,
  SocketEvents,
  TlsSide,
} from "../core/engine.ts";
import type { Libc } from "../linux/libc.ts";
import { familyOf } from "../linux/sockaddr.ts";
import { connectDescriptor, dialed, encode, isStillOpen, type Target } from "./dial.ts";
import { sideOf } from "./tls-side.ts";
import { tlsHandlers, TlsSocket, type Held } from "./tls.ts";

type Native = BunSocket<SocketEvents>;

interface Prepared {
  readonly target: Target;
  /** For libc; kept alive here, for FFI holds no reference (R16). Null: by Bun's own way. */
  readonly sockaddr: Uint8Array | null;
  readonly family: number;
}

/** A dial that failed before it began, where Bun hides the cause: ours, not the destination's (R10). */
const hiddenLocalFault = "EMFILE";

// An engine's own sockets and addresses are opaque to the core; these four casts are the only doors.
const native = (socket: Socket) => socket as unknown as Native | TlsSocket;
const opaque = (socket: Native | TlsSocket) => socket as unknown as Socket;
const prepared = (address: DialAddress) => address as unknown as Prepared;
const asAddress = (address: Prepared) => address as unknown as DialAddress;

export class BunEngine implements Engine {
  private readonly libc: Libc | null;
  private readonly onFault: Acceptor["onFault"];
  private readonly dialed: SocketHandler<SocketEvents>;
  private readonly secured: SocketHandler<TlsSocket>;
  private watched: { terminate(): void } | null = null;
  /** Dials by name tell some failures from inside the call. */
  private dialingNow: SocketEvents | null = null;
  private faultNow: string | null = null;

  /** @param c libc for dialing by descriptor; null for the portable way, without true causes and without abort. */
  constructor(c: Libc | null, onFault: Acceptor["onFault"]) {
    this.libc = c;
    this.onFault = onFault;
    this.dialed = this.dialedHandlers();
    this.secured = tlsHandlers(onFault);
  }

  /** @throws when the path of a unix socket is too long, or the IP is no literal and libc would be needed. */
  address(target: Target): DialAddress {
    const sockaddr = encode(target);
    return asAddress({
      target,
      sockaddr: this.libc === null ? null : sockaddr,
      family: familyOf(sockaddr),
    });
  }

  dial(address: DialAddress, events: SocketEvents): string | null {
    const { sockaddr, family, target } = prepared(address);
    if (this.libc !== null && sockaddr !== null) {
      return this.dialByDescriptor(this.libc, sockaddr, family, events);
    }
    return this.dialByName(target, events);
  }

  abort(events: SocketEvents): void {
    // Without a socket yet, `closed` makes `open` end it (the portable way).
    if (events.socket !== null) native(events.socket).terminate();
  }

  write(socket: Socket, chunk: Uint8Array, from: number): number {
    return from === 0
      ? native(socket).write(chunk)
      : native(socket).write(chunk, from, chunk.length - from); // the length always: R6
  }

  /** Each chunk of Bun's is a copy of its own, so a view of it is ours to keep; a small rest frees its large chunk. */
  keep(chunk: Uint8Array, from: number): Uint8Array {
    if (from === 0) return chunk;
    const rest = chunk.subarray(from);
    return rest.length * 8 < chunk.length ? new Uint8Array(rest) : rest;
  }

  pause(socket: Socket): void {
    native(socket).pause();
  }

  resume(socket: Socket): void {
    native(socket).resume();
  }

  shutdown(socket: Socket): void {
    native(socket).shutdown();
  }

  /** Safe only because both directions have ended: `end` is close(2) (R2). */
  close(socket: Socket): void {
    native(socket).end();
  }

  adopt(socket: Socket, events: SocketEvents): void {
    native(socket).data = events;
    events.socket = socket;
  }

  secure(events: SecureEvents, side: TlsSide, how: Securing): void {
    const plain = events.socket === null ? null : native(events.socket);
    const held = sideOf(side);
    if (plain === null || plain instanceof TlsSocket || held.isServer !== how.isServer) {
      throw new TypeError("engine: TLS needs a plain socket and a side for its end");
    }
    const secured = new TlsSocket(events, held, how.name);
    events.socket = opaque(secured);
    secured.start(plain, how, this.secured);
  }

  isOpen(socket: Socket): boolean {
    const { fd, readyState } = native(socket) as Held; // Bun's types have no `fd`
    if (this.libc === null || readyState !== 1) return readyState === 1;
    return isStillOpen(this.libc, fd);
  }

  /** Calls `onReadable` when a byte has come to our end of a socket pair: how another thread wakes this one. */
  watch(fd: number, onReadable: () => void): void {
    const error = (_: unknown, thrown: unknown): void => this.onFault(thrown, null);
    const socket = { data: onReadable, error };
    const adopted = Bun.connect({ fd, socket } as never); // `fd` is missing in Bun's types
    void adopted.then((socket: { terminate(): void }) => (this.watched = socket));
  }

  unwatch(): void {
    this.watched?.terminate();
  }

  remote(socket: Socket): string {
    const { remoteAddress, remotePort } = native(socket);
    return remoteAddress === undefined
      ? this.namelessOf(socket)
      : addressOf(remoteAddress, remotePort);
  }

  local(socket: Socket): string {
    const { localAddress, localPort } = native(socket);
    return localAddress === undefined
      ? this.namelessOf(socket)
      : addressOf(localAddress, localPort);
  }

  /** A unix socket has no address at either end; one whose peer has gone still knows its own end. */
  private namelessOf(socket: Socket): string {
    const { localAddress, readyState } = native(socket);
    return localAddress === undefined && readyState === 1 ? "unix:" : "";
  }

  /** The handlers of a listener's sockets. */
  acceptedHandlers(acceptor: Acceptor, listener: number): SocketHandler<SocketEvents> {
    return {
      open(socket) {
        const events = acceptor.onAccept(opaque(socket), listener);
        if (events !== null) socket.data = events;
      },
      data(socket, chunk) {
        socket.data.onChunk(chunk);
      },
      drain(socket) {
        socket.data.onWritable();
      },
      end(socket) {
        socket.data.onEnd();
      },
      close(socket, error) {
        socket.data?.onClose(error === undefined ? null : codeOf(error));
      },
      error(socket, error) {
        acceptor.onFault(error, socket.data ?? null);
      },
    };
  }

  private dialedHandlers(): SocketHandler<SocketEvents> {
    const byDescriptor = this.libc !== null;
    const { onFault } = this;
    return {
      open: (socket) => {
        const events = socket.data;
        events.socket = opaque(socket);
        if (events.closed) socket.terminate();
        else if (!byDescriptor) events.onConnected();
      },
      data(socket, chunk) {
        const events = socket.data;
        if (!events.connected) events.onConnected();
        events.onChunk(chunk);
      },
      drain(socket) {
        const events = socket.data;
        // By descriptor the first `drain` says "connected"; `open` came before that (R9).
        if (events.connected) events.onWritable();
        else events.onConnected();
      },
      end(socket) {
        const events = socket.data;
        if (!events.connected) events.onConnected();
        events.onEnd();
      },
      close(socket, error) {
        const events = socket.data;
        const code = error === undefined ? null : codeOf(error);
        if (events.connected) events.onClose(code);
        else events.onDialFailed(code ?? "ECONNRESET");
      },
      error(socket, error) {
        onFault(error, socket.data);
      },
      connectError: (socket, error) => {
        const events = socket.data;
        const code = codeOf(error);
        if (this.dialingNow === events) this.faultNow = code;
        else events.onDialFailed(code);
      },
    };
  }

  /** A non-blocking connect of our own, adopted by Bun: true causes, abort at any time (R9). */
  private dialByDescriptor(
    c: Libc,
    sockaddr: Uint8Array,
    family: number,
    events: SocketEvents,
  ): string | null {
    const code = connectDescriptor(c, sockaddr, family);
    if (code !== null) return code;
    const { fd, isConnected } = dialed;
    const fault = this.start(
      events,
      () =>
        Bun.connect<SocketEvents>({
          fd,
          allowHalfOpen: true,
          data: events,
          socket: this.dialed,
        } as never), // `fd` is missing in Bun's types
    );
    if (fault !== null) {
      c.close(fd); // Bun could not watch it, and leaves it open
      return hiddenLocalFault;
    }
    return isConnected ? connectedAlready : null;
  }

  private dialByName(target: Target, events: SocketEvents): string | null {
    const common = { allowHalfOpen: true, data: events, socket: this.dialed };
    const fault = this.start(events, () =>
      "path" in target
        ? Bun.connect<SocketEvents>({ ...common, unix: target.path })
        : Bun.connect<SocketEvents>({ ...common, hostname: target.ip, port: target.port }),
    );
    if (fault === "ECONNREFUSED" && !("path" in target)) return hiddenLocalFault;
    return fault;
  }

  /** @returns the cause that `connectError` told from inside the call, or null. */
  private start(events: SocketEvents, connect: () => Promise<unknown>): string | null {
    this.dialingNow = events;
    this.faultNow = null;
    connect().catch(() => {}); // told to connectError already
    this.dialingNow = null;
    const fault = this.faultNow;
    this.faultNow = null;
    return fault;
  }
}

/** Either may be missing: the socket may go between the two questions. */
function addressOf(ip: string | undefined, port: number | undefined): string {
  if (ip === undefined || port === undefined) return "";
  if (ip.startsWith("::ffff:")) return `${ip.slice(7)}:${port}`;
  return ip.includes(":") ? `[${ip}]:${port}` : `${ip}:${port}`;
}

function codeOf(error: Error): string {
  const { code } = error as Error & { code?: unknown }; // system errors of Bun carry their name
  return typeof code === "string" ? code : "EUNKNOWN";
}
