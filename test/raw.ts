// Below Bun, for tests: descriptors made by libc, ports that refuse or swallow.

import { dlopen, read } from "bun:ffi";
import { readSync } from "node:fs";

/** `40123` (127.0.0.1), "127.0.0.1:40123", "[::1]:40123", "name:40123", "unix:/path". */
export type Place = number | string;

export function placeOf(place: Place): { hostname: string; port: number } | { unix: string } {
  if (typeof place === "number") return { hostname: "127.0.0.1", port: place };
  if (place.startsWith("unix:")) return { unix: place.slice(5) };
  const colon = place.lastIndexOf(":");
  const hostname = place.slice(0, colon).replace(/^\[|\]$/g, "");
  return { hostname, port: Number(place.slice(colon + 1)) };
}

/** `Bun.connect({ fd })` works but is in no overload of Bun's types. */
export function dial<T>(options: Bun.FdSocketOptions<T>): void {
  const connect = Bun.connect as unknown as (options: Bun.FdSocketOptions<T>) => Promise<unknown>;
  connect(options).catch(() => {});
}

export const AF_UNIX = 1;
export const AF_INET = 2;
const AF_INET6 = 10;
const FIONREAD = 0x541b;
const STREAM_NONBLOCK_CLOEXEC = 1 | 0o4000 | 0o2000000;

let opened: ReturnType<typeof openLibc> | undefined;
function openLibc() {
  return dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    bind: { args: ["i32", "ptr", "u32"], returns: "i32" },
    listen: { args: ["i32", "i32"], returns: "i32" },
    connect: { args: ["i32", "ptr", "u32"], returns: "i32" },
    getsockname: { args: ["i32", "ptr", "ptr"], returns: "i32" },
    getsockopt: { args: ["i32", "i32", "i32", "ptr", "ptr"], returns: "i32" },
    setsockopt: { args: ["i32", "i32", "i32", "ptr", "u32"], returns: "i32" },
    accept4: { args: ["i32", "usize", "usize", "i32"], returns: "i32" },
    send: { args: ["i32", "ptr", "usize", "i32"], returns: "i64" },
    recv: { args: ["i32", "ptr", "usize", "i32"], returns: "i64" },
    shutdown: { args: ["i32", "i32"], returns: "i32" },
    dup: { args: ["i32"], returns: "i32" },
    pipe2: { args: ["ptr", "i32"], returns: "i32" },
    ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
    prlimit: { args: ["i32", "i32", "ptr", "ptr"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
    __errno_location: { args: [], returns: "ptr" },
  }).symbols;
}
/** The few calls of libc that tests need; every buffer is passed as itself (rule R16). */
export function libc(): ReturnType<typeof openLibc> {
  return (opened ??= openLibc());
}

/** Of the libc call just before, on this thread. */
export function errno(): number {
  const place = libc().__errno_location();
  return place === null ? 0 : read.i32(place);
}

/** A `sockaddr` for 127.0.0.1, ::1 or a unix path. */
export function sockaddr(place: Place): Uint8Array {
  const at = placeOf(place);
  if ("unix" in at) {
    const path = Buffer.from(`${at.unix}\0`);
    return Buffer.concat([new Uint8Array(new Uint16Array([AF_UNIX]).buffer), path]);
  }
  const six = at.hostname.includes(":");
  const address = new Uint8Array(six ? 28 : 16);
  const view = new DataView(address.buffer);
  view.setUint16(0, six ? AF_INET6 : AF_INET, true);
  view.setUint16(2, at.port);
  if (six) address[23] = 1;
  else address.set(at.hostname.split(".").map(Number), 4);
  return address;
}

/** A non-blocking stream socket by libc. */
export function rawSocket(family: number): number {
  const fd = libc().socket(family, STREAM_NONBLOCK_CLOEXEC, 0);
  if (fd < 0) throw new Error("socket() failed");
  return fd;
}

/**
 * A non-blocking socket whose connect has been started: connected, or still on its way.
 * @param from its own address, such as "127.0.0.5:0".
 */
export function rawConnect(place: Place, from?: Place): number {
  const address = sockaddr(place);
  const fd = rawSocket(address[0] as number); // the family's low byte; a sockaddr is never empty
  if (from !== undefined) {
    const own = sockaddr(from);
    if (libc().bind(fd, own, own.length) < 0) throw new Error(`cannot bind ${from}`);
  }
  libc().connect(fd, address, address.length);
  return fd;
}

/** Segments that a socket of Bun has sent again, its SYN included. Source: tcp(7), `tcpi_total_retrans` of linux/tcp.h. */
export function retransmitCount(socket: object): number {
  const { fd } = socket as { readonly fd: number }; // missing in Bun's types
  const [SOL_TCP, TCP_INFO, offset] = [6, 11, 100];
  const info = new Uint8Array(offset + 4);
  if (libc().getsockopt(fd, SOL_TCP, TCP_INFO, info, new Uint32Array([info.length])) < 0) {
    throw new Error("getsockopt() failed");
  }
  return new DataView(info.buffer).getUint32(offset, true);
}

/** A bound socket, listening when a backlog is given. */
export function rawListen(place: Place, backlog?: number): { fd: number; port: number } {
  const address = sockaddr(place);
  const fd = rawSocket(address[0] as number); // as above
  if (libc().bind(fd, address, address.length) < 0) throw new Error(`cannot bind ${place}`);
  if (backlog !== undefined) libc().listen(fd, backlog);
  const bound = new Uint8Array(128);
  libc().getsockname(fd, bound, new Uint32Array([bound.length]));
  return { fd, port: new DataView(bound.buffer).getUint16(2) };
}

/** A connected unix socket: `connect` of such a socket never has to wait. */
export function connectedUnix(path: string): number {
  const address = sockaddr(`unix:${path}`);
  const fd = rawSocket(AF_UNIX);
  if (libc().connect(fd, address, address.length) === 0) return fd;
  libc().close(fd);
  throw new Error(`cannot connect to ${path}`);
}

export interface RawPipe extends Disposable {
  readonly writeFd: number;
  /** Nobody will read. */
  closeRead(): void;
  /** What has been written and not yet read, up to 64 KiB. */
  read(): string;
  /** How many bytes that is. */
  size(): number;
}

/** A pipe that nobody reads unless the test does; give `writeFd` to a child. */
export function rawPipe(): RawPipe {
  const fds = new Int32Array(2);
  if (libc().pipe2(fds, 0o2000000) < 0) throw new Error("pipe2() failed");
  const [readFd = -1, writeFd = -1] = fds;
  let open = true;
  const closeRead = () => {
    if (open) libc().close(readFd);
    open = false;
  };
  return {
    writeFd,
    closeRead,
    read() {
      const bytes = new Uint8Array(64 * 1024);
      return new TextDecoder().decode(bytes.subarray(0, readSync(readFd, bytes)));
    },
    size() {
      const size = new Int32Array(1);
      libc().ioctl(readFd, FIONREAD, size);
      return size[0] ?? 0;
    },
    [Symbol.dispose]() {
      closeRead();
      libc().close(writeFd);
    },
  };
}

/** Changes the soft limit of open descriptors of a running process. */
export function limitDescriptors(pid: number, count: number): void {
  const RLIMIT_NOFILE = 7;
  const limits = new BigUint64Array(2); // soft, hard
  if (libc().prlimit(pid, RLIMIT_NOFILE, null, limits) < 0) throw new Error("prlimit() failed");
  limits[0] = BigInt(count);
  if (libc().prlimit(pid, RLIMIT_NOFILE, limits, null) < 0) throw new Error("prlimit() failed");
}

export interface RawPort extends Disposable {
  readonly port: number;
  readonly address: string;
}

/** A port where every connect is refused; held, so that nobody else gets it meanwhile. */
export function deadPort(host: "127.0.0.1" | "[::1]" = "127.0.0.1"): RawPort {
  const { fd, port } = rawListen(`${host}:0`);
  return { port, address: `${host}:${port}`, [Symbol.dispose]: () => void libc().close(fd) };
}

/** A port where a connect is neither accepted nor refused: its backlog is full. */
export function blackhole(): RawPort {
  const { fd, port } = rawListen("127.0.0.1:0", 0);
  const fillers = [rawConnect(port), rawConnect(port)];
  return {
    port,
    address: `127.0.0.1:${port}`,
    [Symbol.dispose]() {
      for (const each of [...fillers, fd]) libc().close(each);
    },
  };
}
