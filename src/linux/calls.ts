// The calls of libc that a data-plane thread lives on when it has an event loop of its own. Opened apart from the few
// of `libc.ts`, and only when asked for: a system that lacks one of these still has those.
import { dlopen, read } from "bun:ffi";
import { errorName, libraryNames, symbols } from "./libc.ts";

const more = {
  accept4: { args: ["int", "ptr", "ptr", "int"], returns: "int" },
  send: { args: ["int", "buffer", "usize", "int"], returns: "int" },
  shutdown: { args: ["int", "int"], returns: "int" },
  getpeername: { args: ["int", "buffer", "buffer"], returns: "int" },
  epoll_create1: { args: ["int"], returns: "int" },
  epoll_ctl: { args: ["int", "int", "int", "buffer"], returns: "int" },
  epoll_wait: { args: ["int", "buffer", "int", "int"], returns: "int" },
  read: { args: ["int", "buffer", "usize"], returns: "int" },
  pipe2: { args: ["buffer", "int"], returns: "int" },
  splice: { args: ["int", "ptr", "int", "ptr", "usize", "uint32_t"], returns: "int" },
} as const;

function open(name: string) {
  return dlopen(name, { ...symbols, ...more }).symbols;
}

export type Calls = ReturnType<typeof open>;

/** @returns null where there is no such libc. */
export function openCalls(): Calls | null {
  for (const name of libraryNames()) {
    try {
      return open(name);
    } catch {
      // Not this C library, or a symbol is missing; the next.
    }
  }
  return null;
}

/** Constants of Linux that x86-64 and arm64 share. */
export const sys = {
  EPOLLIN: 0x001,
  EPOLLPRI: 0x002,
  EPOLLOUT: 0x004,
  EPOLLERR: 0x008,
  EPOLLHUP: 0x010,
  EPOLLRDHUP: 0x2000,
  EPOLLEXCLUSIVE: 1 << 28,
  EPOLLET: 1 << 31,
  EPOLL_CLOEXEC: 0o2000000,
  EPOLL_CTL_ADD: 1,
  EPOLL_CTL_DEL: 2,
  MSG_NOSIGNAL: 0x4000,
  SHUT_WR: 1,
  SO_ERROR: 4,
  SO_LINGER: 13,
  IPPROTO_TCP: 6,
  TCP_NODELAY: 1,
  O_NONBLOCK: 0o4000,
  O_CLOEXEC: 0o2000000,
  F_SETPIPE_SZ: 1031,
  SPLICE_F_MOVE: 1,
  SPLICE_F_NONBLOCK: 2,
  EINTR: 4,
  EAGAIN: 11,
  ENOMEM: 12,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOBUFS: 105,
} as const;

/** Numbers of 32 bits in a `struct epoll_event`: packed on x86-64 only; where its 64 bits of data begin. */
export const eventStride = process.arch === "arm64" ? 4 : 3;
export const eventDataAt = eventStride - 2;

/** The error of this thread's last call; one for each thread, for its place in memory is the thread's. */
export class Errno {
  private readonly at: NonNullable<ReturnType<Calls["__errno_location"]>>;

  constructor(calls: Calls) {
    const at = calls.__errno_location();
    if (at === null) throw new Error("libc has no errno");
    this.at = at;
  }

  /** Read it right after the call that failed. */
  get number(): number {
    return read.i32(this.at, 0);
  }

  get name(): string {
    return errorName(this.number);
  }
}

/** Words of 32 bits that libc reads or fills; made from a buffer of its own, so that they do not move (R16). */
export function words(count: number): Int32Array<ArrayBuffer> {
  return new Int32Array(new ArrayBuffer(4 * count));
}

/** Bytes that libc reads or fills, likewise. */
export function bytes(count: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(count));
}
