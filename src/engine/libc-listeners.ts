// Listening descriptors of the libc engine: who is told of a client accepts, a bounded number in one go. A thread that
// shares its descriptor with others is woken alone (EPOLLEXCLUSIVE).
import type { Acceptor } from "../core/engine.ts";
import type { Alarm, Loop } from "../core/loop.ts";
import { bytes, Errno, sys, words, type Calls } from "../linux/calls.ts";
import { linux } from "../linux/libc.ts";
import { familyOf } from "../linux/sockaddr.ts";
import type { Epoll } from "./epoll.ts";

/** The number of a listener's events. */
export const listenerMark = -1;
/** Clients accepted in one go, then the others have their turn. */
const acceptCountMax = 64;
/** After accepting has failed for want of something, it rests. */
const restMs = 100;

export interface Listener {
  readonly fd: number;
  readonly index: number;
  readonly acceptor: Acceptor;
  readonly isUnix: boolean;
}

interface OpenListener extends Listener {
  resting: boolean;
}

export class Listeners {
  private readonly calls: Calls;
  private readonly errno: Errno;
  private readonly epoll: Epoll;
  private readonly loop: Loop;
  private readonly onClient: (fd: number, listener: Listener) => void;
  private readonly byFd = new Map<number, OpenListener>();
  private readonly afterRest: Alarm;

  /** @param onClient takes the descriptor of a client that was accepted; throws nothing. */
  constructor(
    calls: Calls,
    errno: Errno,
    epoll: Epoll,
    loop: Loop,
    onClient: (fd: number, listener: Listener) => void,
  ) {
    this.calls = calls;
    this.errno = errno;
    this.epoll = epoll;
    this.loop = loop;
    this.onClient = onClient;
    this.afterRest = loop.alarm(() => this.acceptAgain());
  }

  open(fd: number, acceptor: Acceptor, index: number): { stop(): void } {
    const isUnix = this.isUnix(fd);
    // Whom it accepts inherits this, so it is set once and not for each.
    const on = words(1).fill(1);
    if (!isUnix) this.calls.setsockopt(fd, sys.IPPROTO_TCP, sys.TCP_NODELAY, on, 4);
    const listener: OpenListener = { fd, index, acceptor, isUnix, resting: false };
    this.byFd.set(fd, listener);
    this.register(listener);
    return {
      stop: () => {
        if (this.byFd.delete(fd) && !listener.resting) this.epoll.forget(fd);
      },
    };
  }

  /** A client waits at this descriptor, or did. */
  accept(fd: number): void {
    const listener = this.byFd.get(fd);
    if (listener === undefined) return;
    for (let n = 0; n < acceptCountMax; n += 1) {
      const client = this.calls.accept4(fd, null, null, linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC);
      if (client >= 0) {
        this.onClient(client, listener);
        continue;
      }
      const { number } = this.errno;
      if (number === sys.EAGAIN) return;
      // Any other error is one client's affair: it has gone already, or a firewall forbids it.
      if (shortages.has(number)) return this.rest(listener);
    }
  }

  clear(): void {
    this.byFd.clear();
    this.afterRest.clear();
  }

  /** Without descriptors or memory it would be told of the same client at once again: it is left alone for a moment. */
  private rest(listener: OpenListener): void {
    listener.resting = true;
    this.epoll.forget(listener.fd);
    this.afterRest.set(this.loop.now() + restMs);
  }

  private acceptAgain(): void {
    for (const listener of this.byFd.values()) {
      if (!listener.resting) continue;
      listener.resting = false;
      this.register(listener);
    }
  }

  private register(listener: Listener): void {
    this.epoll.register(listener.fd, listenerMark, sys.EPOLLIN | sys.EPOLLEXCLUSIVE);
  }

  private isUnix(fd: number): boolean {
    const address = bytes(128);
    const size = words(1).fill(address.length);
    this.calls.getsockname(fd, address, size);
    return familyOf(address) === linux.AF_UNIX;
  }
}

const shortages: ReadonlySet<number> = new Set([sys.EMFILE, sys.ENFILE, sys.ENOBUFS, sys.ENOMEM]);
