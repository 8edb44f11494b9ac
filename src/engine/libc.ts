// The engine over libc: a loop of its own around epoll, in TypeScript, that blocks its thread. Everything it does is
// one of a dozen system calls; the rules are those of `core/engine.ts`.
//
//   run:  wait for events ──> events ──> sockets that can still be read ──> alarms that are due, end of turn ──┐
//           ^                                                                                                  │
//           └──────────────────────────────────────────────────────────────────────────────────────────────────┘
//
// Each socket is registered once, edge-triggered, for everything; what an edge has said is kept in flags until it is
// used up. So a connection costs two `epoll_ctl`, and pause and resume cost no call at all.
import { connectedAlready } from "../core/engine.ts";
import type { Acceptor, DialAddress, Engine, Socket, SocketEvents } from "../core/engine.ts";
import { sys, type Calls } from "../linux/calls.ts";
import { errorName, linux } from "../linux/libc.ts";
import { familyOf } from "../linux/sockaddr.ts";
import { connectDescriptor, dialed, encode, isStillOpen, type Target } from "./dial.ts";
import { EpollLoop } from "./epoll-loop.ts";
import { listenerMark, Listeners, type Listener } from "./libc-listeners.ts";
import { asAddress, Fact, LibcSocket, native, opaque, prepared } from "./libc-socket.ts";
import { KeptChunks, ReceiveBuffer, receiveSize } from "./receive-buffer.ts";
import { SocketOptions } from "./socket-options.ts";
import { Splicer, type Bulk } from "./splice.ts";

/** Full buffers read from one socket in one go. */
const readCountMax = 4;
/** A first write as small as any segment leaves at once, whatever TCP_NODELAY says: nothing is unacknowledged. */
const promptSizeMax = 500;

const unixFacts = Fact.untilEmpty | Fact.prompt;
const socketInterest = sys.EPOLLIN | sys.EPOLLOUT | sys.EPOLLPRI | sys.EPOLLRDHUP | sys.EPOLLET;
const readingFlags = sys.EPOLLIN | sys.EPOLLRDHUP | sys.EPOLLHUP | sys.EPOLLERR;

export class LibcEngine extends EpollLoop implements Engine {
  private readonly listeners: Listeners;
  /** By descriptor. */
  private readonly sockets: (LibcSocket | undefined)[] = [];
  private readonly received = new ReceiveBuffer();
  private readonly kept = new KeptChunks();
  private readonly splicer: Splicer;
  private readonly options: SocketOptions;
  /** Sockets with more to read, and the same of the turn before. */
  private ready: LibcSocket[] = [];
  private readyBefore: LibcSocket[] = [];

  /**
   * @param now ms; the same clock in all threads.
   * @throws when the kernel gives no epoll descriptor.
   */
  constructor(calls: Calls, onFault: Acceptor["onFault"], now: () => number) {
    super(calls, onFault, now);
    this.splicer = new Splicer(calls, this.errno);
    this.options = new SocketOptions(calls);
    this.listeners = new Listeners(calls, this.errno, this.epoll, this, (fd, listener) =>
      this.onClient(fd, listener),
    );
  }

  /** Closes every socket and the engine itself: the end of a thread. Listening descriptors stay their owners'. */
  closeAll(): void {
    this.stop();
    for (const socket of this.sockets) if (socket !== undefined) this.release(socket);
    this.listeners.clear();
    this.splicer.close();
    this.epoll.close();
  }

  // --- listening and dialing

  /**
   * Accepts from a listening descriptor, which may be shared with other threads and stays its owner's.
   * @returns its end: clients that the kernel has queued stay there.
   */
  listen(fd: number, acceptor: Acceptor, index: number): { stop(): void } {
    return this.listeners.open(fd, acceptor, index);
  }

  /** @throws when the path of a unix socket is too long, or the IP is no literal. */
  address(target: Target): DialAddress {
    const sockaddr = encode(target);
    return asAddress({ sockaddr, family: familyOf(sockaddr) });
  }

  dial(address: DialAddress, events: SocketEvents): string | null {
    const { sockaddr, family } = prepared(address);
    const code = connectDescriptor(this.calls, sockaddr, family);
    if (code !== null) return code;
    const { fd, isConnected } = dialed;
    const facts = (isConnected ? Fact.connected : 0) | (family === linux.AF_UNIX ? unixFacts : 0);
    const socket = new LibcSocket(fd, events, facts);
    const fault = this.epoll.register(fd, socket.number, socketInterest);
    if (fault !== null) {
      this.calls.close(fd);
      return fault;
    }
    this.sockets[fd] = socket;
    events.socket = opaque(socket);
    return isConnected ? connectedAlready : null;
  }

  // --- what the core asks for

  link(a: Socket, b: Socket): void {
    native(a).target = native(b);
    native(b).target = native(a);
  }

  heldSize(socket: Socket): number {
    return native(socket).bulk?.heldSize ?? 0;
  }

  abort(events: SocketEvents): void {
    if (events.socket === null) return;
    const socket = native(events.socket);
    if (!socket.is(Fact.open)) return;
    this.options.resetOnClose(socket.fd);
    this.release(socket);
  }

  write(socket: Socket, chunk: Uint8Array, from: number): number {
    const target = native(socket);
    if (!target.is(Fact.open)) return -1; // its number may be another socket's
    const size = chunk.length - from;
    if (!target.is(Fact.prompt) && (target.is(Fact.written) || size > promptSizeMax)) {
      target.set(Fact.prompt);
      this.options.makePrompt(target.fd);
    }
    target.set(Fact.written);
    const rest = from === 0 ? chunk : chunk.subarray(from);
    const count = this.calls.send(target.fd, rest, size, sys.MSG_NOSIGNAL);
    if (count === size) return count;
    if (count < 0 && this.errno.number === sys.EINTR) return this.write(socket, chunk, from);
    if (count < 0 && this.errno.number !== sys.EAGAIN) {
      target.set(Fact.failed);
      return -1;
    }
    target.set(Fact.blocked);
    return Math.max(0, count);
  }

  keep(chunk: Uint8Array, from: number): Uint8Array {
    return this.kept.copy(chunk, from);
  }

  giveBack(kept: Uint8Array): void {
    this.kept.giveBack(kept);
  }

  pause(socket: Socket): void {
    native(socket).set(Fact.paused);
  }

  resume(socket: Socket): void {
    const source = native(socket);
    source.clear(Fact.paused);
    if (source.is(Fact.readable)) this.queue(source);
  }

  shutdown(socket: Socket): void {
    if (native(socket).is(Fact.open)) this.calls.shutdown(native(socket).fd, sys.SHUT_WR);
  }

  close(socket: Socket): void {
    const ended = native(socket);
    if (ended.is(Fact.open)) this.release(ended);
  }

  adopt(socket: Socket, events: SocketEvents): void {
    native(socket).events = events;
    events.socket = socket;
  }

  isOpen(socket: Socket): boolean {
    return native(socket).is(Fact.open) && isStillOpen(this.calls, native(socket).fd);
  }

  remote(socket: Socket): string {
    return this.options.peer(native(socket).fd);
  }

  local(socket: Socket): string {
    return this.options.own(native(socket).fd);
  }

  // --- a turn

  protected hasWork(): boolean {
    return this.ready.length > 0;
  }

  protected onEvent(flags: number, fd: number, number: number): void {
    if (number === listenerMark) return this.listeners.accept(fd);
    const socket = this.sockets[fd];
    if (socket === undefined || socket.number !== number) return;
    try {
      this.onSocket(socket, flags);
    } catch (error) {
      this.onFault(error, socket.events);
    }
  }

  /** Sockets that were left with something to read, or resumed. Who joins the list meanwhile is read a turn later. */
  protected afterEvents(): void {
    if (this.ready.length === 0) return;
    const now = this.ready;
    this.ready = this.readyBefore;
    this.readyBefore = now;
    for (const socket of now) {
      socket.clear(Fact.queued);
      if (
        !socket.is(Fact.open) ||
        socket.is(Fact.paused) ||
        !socket.is(Fact.readable) ||
        socket.events === null
      )
        continue;
      try {
        this.read(socket, socket.events);
      } catch (error) {
        this.onFault(error, socket.events);
      }
    }
    now.length = 0;
  }

  /** A client was accepted. */
  private onClient(fd: number, { acceptor, index, isUnix }: Listener): void {
    // It has its listener's TCP_NODELAY.
    const facts = Fact.connected | Fact.prompt | (isUnix ? unixFacts : 0);
    const socket = new LibcSocket(fd, null, facts);
    this.sockets[fd] = socket;
    try {
      socket.events = acceptor.onAccept(opaque(socket), index);
    } catch (error) {
      acceptor.onFault(error, null);
    }
    if (!socket.is(Fact.open)) return;
    if (socket.events === null) return this.release(socket);
    const fault = this.epoll.register(fd, socket.number, socketInterest);
    if (fault === null) return;
    this.release(socket);
    const { events } = socket;
    try {
      events.onClose(fault);
    } catch (error) {
      acceptor.onFault(error, events);
    }
  }

  private onSocket(socket: LibcSocket, flags: number): void {
    const { events } = socket;
    if (events === null) return;
    if (!socket.is(Fact.connected)) {
      if ((flags & sys.EPOLLERR) !== 0) return this.failDial(socket, events);
      if ((flags & (sys.EPOLLOUT | sys.EPOLLHUP)) === 0) return;
      socket.set(Fact.connected);
      events.onConnected();
      if (!socket.is(Fact.open)) return;
    }
    if ((flags & sys.EPOLLOUT) !== 0 && socket.is(Fact.blocked)) {
      socket.clear(Fact.blocked);
      if (socket.target?.bulk?.isSpliced === true) this.queue(socket.target);
      events.onWritable();
      if (!socket.is(Fact.open)) return;
    }
    if ((flags & readingFlags) === 0) return;
    if ((flags & sys.EPOLLPRI) !== 0) {
      socket.set(Fact.untilEmpty);
      this.copyAgain(socket, events); // splice stops before an urgent byte, and does not say so
      if (!socket.is(Fact.open)) return;
    }
    if ((flags & sys.EPOLLERR) !== 0) {
      this.copyAgain(socket, events);
      if (!socket.is(Fact.open)) return;
      socket.clear(Fact.endAnnounced);
      socket.set(Fact.resetAnnounced);
      socket.set(Fact.untilEmpty);
      if (socket.is(Fact.paused | Fact.ended)) return this.onResetUnread(socket, events);
    } else if ((flags & sys.EPOLLRDHUP) !== 0) {
      socket.set(Fact.endAnnounced);
    }
    if (socket.is(Fact.ended)) {
      // The reset itself went to a write that failed.
      if (socket.is(Fact.failed) && (flags & sys.EPOLLHUP) !== 0)
        this.lose(socket, events, "ECONNRESET");
      return;
    }
    socket.set(Fact.readable);
    if (!socket.is(Fact.paused | Fact.queued)) this.read(socket, events);
  }

  /** Reads what is there, up to the end of this socket's turn. */
  private read(socket: LibcSocket, events: SocketEvents): void {
    if (socket.bulk?.isSpliced === true && this.splice(socket, socket.bulk, events)) return;
    for (let n = 0; n < readCountMax; n += 1) {
      const count = this.calls.recv(socket.fd, this.received.whole, receiveSize, 0);
      if (count > 0) {
        const isDrained = count < receiveSize && !socket.is(Fact.untilEmpty);
        // What comes later is an edge of its own; an end that was announced is not told of again.
        if (isDrained && !socket.is(Fact.endAnnounced)) socket.clear(Fact.readable);
        events.onChunk(this.received.first(count));
        if (!socket.is(Fact.open)) return;
        if (count < receiveSize) this.splicer.endBulk(socket);
        else this.splicer.countFull(socket);
        if (socket.is(Fact.paused)) {
          // Epoll has told of it, and will not again.
          if (socket.is(Fact.resetAnnounced)) this.onResetUnread(socket, events);
          return;
        }
        if (socket.bulk?.isSpliced === true) break;
        if (!isDrained) continue;
        if (!socket.is(Fact.endAnnounced)) return;
      } else if (count < 0) {
        const { number } = this.errno;
        if (number === sys.EINTR) continue;
        socket.clear(Fact.readable);
        if (number !== sys.EAGAIN) this.lose(socket, events, errorName(number));
        return;
      }
      socket.clear(Fact.readable);
      // An end that a reset has followed hides it from recv.
      if (socket.is(Fact.resetAnnounced)) {
        const code = this.options.takeError(socket.fd);
        if (code !== null) return this.lose(socket, events, code);
      }
      socket.set(Fact.ended);
      events.onEnd();
      return;
    }
    this.queue(socket);
  }

  /** @returns true when that was all for now; false: it is copied from now on, what is there can be read. */
  private splice(socket: LibcSocket, flow: Bulk, events: SocketEvents): boolean {
    const { target } = socket;
    if (target === null || !target.is(Fact.open)) return false;
    if (target.is(Fact.blocked)) return true;
    const visit = this.splicer.visit(flow, socket.fd, target.fd);
    const { movedSize } = this.splicer;
    if (movedSize > 0) events.onMoved(movedSize);
    if (visit === "full") {
      target.set(Fact.blocked);
    } else if (visit === "more") {
      this.queue(socket);
    } else if (visit === "empty") {
      socket.clear(Fact.readable);
      if (movedSize < receiveSize || this.splicer.isAlone) this.splicer.endBulk(socket);
    } else if (visit === "lost") {
      this.lose(socket, events, errorName(this.splicer.lostBy));
    } else {
      this.copyAgain(socket, events);
      return !socket.is(Fact.open) || socket.is(Fact.paused);
    }
    return true;
  }

  /** What is on its way becomes a chunk like any other; ends, resets and a broken target take their usual course. */
  private copyAgain(socket: LibcSocket, events: SocketEvents): void {
    const { bulk } = socket;
    if (bulk === null || !bulk.isSpliced) return;
    this.splicer.endBulk(socket);
    const held = this.splicer.takeBack(bulk);
    if (held !== null) events.onChunk(held);
  }

  /** A reset of a socket that is not read from now. The bytes before it go with it: their pair ends by the reset. */
  private onResetUnread(socket: LibcSocket, events: SocketEvents): void {
    const code = this.options.takeError(socket.fd);
    if (code !== null) return this.lose(socket, events, code);
    // A write took the error and was told of it: what the peer said before is still to be read.
    if (socket.is(Fact.ended)) this.lose(socket, events, "ECONNRESET");
    else socket.set(Fact.readable);
  }

  private failDial(socket: LibcSocket, events: SocketEvents): void {
    const code = this.options.takeError(socket.fd) ?? "ECONNRESET";
    this.release(socket);
    events.onDialFailed(code);
  }

  /** The socket is gone by itself. */
  private lose(socket: LibcSocket, events: SocketEvents, code: string): void {
    this.release(socket);
    events.onClose(code);
  }

  private queue(socket: LibcSocket): void {
    if (socket.is(Fact.queued)) return;
    socket.set(Fact.queued);
    this.ready.push(socket);
  }

  /** Nothing is told of this socket any more; epoll forgets a descriptor that is closed. */
  private release(socket: LibcSocket): void {
    socket.clear(Fact.open);
    this.splicer.drop(socket);
    this.sockets[socket.fd] = undefined;
    this.calls.close(socket.fd);
  }
}
