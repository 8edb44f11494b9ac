// The few calls of libc that Bun has no door to: sockets made by hand, the descriptor limit. Every use has a portable
// way out: `libc` is null where the library cannot be opened.
import { dlopen, read } from "bun:ffi";

export const symbols = {
  socket: { args: ["int", "int", "int"], returns: "int" },
  bind: { args: ["int", "buffer", "uint32_t"], returns: "int" },
  listen: { args: ["int", "int"], returns: "int" },
  connect: { args: ["int", "buffer", "uint32_t"], returns: "int" },
  getsockname: { args: ["int", "buffer", "buffer"], returns: "int" },
  setsockopt: { args: ["int", "int", "int", "buffer", "uint32_t"], returns: "int" },
  getsockopt: { args: ["int", "int", "int", "buffer", "buffer"], returns: "int" },
  fcntl: { args: ["int", "int", "int"], returns: "int" },
  close: { args: ["int"], returns: "int" },
  recv: { args: ["int", "buffer", "usize", "int"], returns: "int" },
  dup: { args: ["int"], returns: "int" },
  eventfd: { args: ["uint32_t", "int"], returns: "int" },
  socketpair: { args: ["int", "int", "int", "buffer"], returns: "int" },
  write: { args: ["int", "buffer", "usize"], returns: "int" },
  clock_gettime: { args: ["int", "buffer"], returns: "int" },
  getrlimit: { args: ["int", "buffer"], returns: "int" },
  setrlimit: { args: ["int", "buffer"], returns: "int" },
  strerror: { args: ["int"], returns: "cstring" },
  __errno_location: { args: [], returns: "ptr" },
} as const;

/** Names under which the C library may be found, the likelier first; none where this is not Linux. */
export function libraryNames(): readonly string[] {
  if (process.platform !== "linux") return [];
  return ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];
}

function open() {
  for (const name of libraryNames()) {
    try {
      return dlopen(name, symbols).symbols;
    } catch {
      // Not this C library; the next, or the portable way.
    }
  }
  return null;
}

export const libc = open();
export type Libc = NonNullable<typeof libc>;

/** The constants of Linux that x86-64 and arm64 share. */
export const linux = {
  AF_UNIX: 1,
  AF_INET: 2,
  AF_INET6: 10,
  SOCK_STREAM: 1,
  SOCK_DGRAM: 2,
  SOCK_NONBLOCK: 0o4000,
  SOCK_CLOEXEC: 0o2000000,
  SOL_SOCKET: 1,
  SO_REUSEADDR: 2,
  SO_TYPE: 3,
  SO_ACCEPTCONN: 30,
  F_SETFD: 2,
  FD_CLOEXEC: 1,
  F_GETFL: 3,
  F_SETFL: 4,
  IPPROTO_IP: 0,
  IP_BIND_ADDRESS_NO_PORT: 24,
  IPPROTO_IPV6: 41,
  IPV6_V6ONLY: 26,
  MSG_PEEK: 0x2,
  MSG_DONTWAIT: 0x40,
  RLIMIT_NOFILE: 7,
} as const;

const errnoNames: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  4: "EINTR",
  11: "EAGAIN",
  12: "ENOMEM",
  13: "EACCES",
  20: "ENOTDIR",
  22: "EINVAL",
  23: "ENFILE",
  24: "EMFILE",
  28: "ENOSPC",
  30: "EROFS",
  32: "EPIPE",
  36: "ENAMETOOLONG",
  97: "EAFNOSUPPORT",
  98: "EADDRINUSE",
  99: "EADDRNOTAVAIL",
  100: "ENETDOWN",
  101: "ENETUNREACH",
  103: "ECONNABORTED",
  104: "ECONNRESET",
  105: "ENOBUFS",
  107: "ENOTCONN",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  113: "EHOSTUNREACH",
  114: "EALREADY",
  115: "EINPROGRESS",
};

/** The name of the last call's error; read it right after the call. */
export function lastError(c: Libc): string {
  const at = c.__errno_location();
  return errorName(at === null ? 0 : read.i32(at, 0));
}

/** The system's name of an error, such as `ECONNRESET`. */
export function errorName(errno: number): string {
  return errnoNames[errno] ?? `errno ${errno}`;
}

/** µs of the clock that nobody sets, as service managers count them. */
export function monotonicUs(c: Libc): bigint {
  c.clock_gettime(clockMonotonic, timespec);
  return (timespec[0] ?? 0n) * 1_000_000n + (timespec[1] ?? 0n) / 1_000n;
}

const timespec = new BigInt64Array(new ArrayBuffer(16)); // seconds, nanoseconds
const clockMonotonic = 1;

/** Both clocks are read so often, and the closest reading counts: a thread may lose its core between the two. */
const clockReadCount = 16;

/** When this thread's `performance.now` was 0, in ms of a clock that all threads share and nobody sets. */
export function clockZeroMs(c: Libc): number {
  let zeroMs = 0;
  let closestMs = Number.POSITIVE_INFINITY;
  for (let n = 0; n < clockReadCount; n += 1) {
    const before = performance.now();
    c.clock_gettime(clockMonotonic, timespec);
    const after = performance.now();
    if (after - before >= closestMs) continue;
    closestMs = after - before;
    const atMs = Number(timespec[0] ?? 0n) * 1e3 + Number(timespec[1] ?? 0n) / 1e6;
    zeroMs = atMs - (before + after) / 2;
  }
  return zeroMs;
}

const wakeWord = new BigUint64Array(new ArrayBuffer(8)).fill(1n);

/** Wakes the loop that watches the other end of a descriptor: an eventfd or a socket pair. */
export function writeWake(c: Libc, fd: number): void {
  c.write(fd, wakeWord, 8);
}

/** Words for an error's name, such as `Address already in use`. */
export function describeError(c: Libc | null, code: string): string {
  const errno = Object.keys(errnoNames).find((each) => errnoNames[Number(each)] === code);
  if (c === null || errno === undefined) return code;
  return c.strerror(Number(errno))?.toString() ?? code;
}

/**
 * Raises the soft limit of open descriptors to the hard one.
 * @returns the limit now in force, or null where it cannot be asked.
 */
export function raiseDescriptorLimit(c: Libc | null): number | null {
  if (c === null) return null;
  const limits = new BigUint64Array(new ArrayBuffer(16)); // soft, hard
  if (c.getrlimit(linux.RLIMIT_NOFILE, limits) !== 0) return null;
  const soft = limits[0] ?? 0n;
  const hard = limits[1] ?? 0n;
  if (soft < hard) {
    limits[0] = hard;
    if (c.setrlimit(linux.RLIMIT_NOFILE, limits) !== 0) return clamp(soft);
  }
  return clamp(hard);
}

function clamp(count: bigint): number {
  return Number(count > 1n << 30n ? 1n << 30n : count);
}
