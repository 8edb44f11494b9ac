// Listening descriptors, made by us so that the backlog is ours (R12), and given to Bun. Origin: IAWLB §5–§9.
import type { SocketHandler, TCPSocketListener, UnixSocketListener } from "bun";
import { lstatSync, unlinkSync, type Stats } from "node:fs";
import type { Acceptor, Listening, SocketEvents } from "../core/engine.ts";
import { describeError, lastError, linux, type Libc } from "../linux/libc.ts";
import { encodeIp, encodeUnix, familyOf, portOf } from "../linux/sockaddr.ts";
import type { BunEngine } from "./bun.ts";
import type { Target } from "./dial.ts";
import { LibcEngine } from "./libc.ts";

/** A listener that could not be opened: the address and the cause, in one line. */
export class ListenError extends Error {
  override readonly name = "ListenError";
  readonly code: string;
  readonly address: string;

  constructor(address: string, code: string, words: string) {
    super(`cannot listen on ${address}: ${words}`);
    this.address = address;
    this.code = code;
  }
}

/** A listening descriptor that is ours; threads accept from it, each in its own way. */
export interface ListeningDescriptor {
  readonly fd: number;
  /** As bound: `127.0.0.1:8080`, `[::]:8080`, `unix:/path`. */
  readonly address: string;
  /** 0 for unix. */
  readonly port: number;
  /** A service manager's, who opened it and keeps it: the file of its unix socket is not ours to remove. */
  readonly isForeign: boolean;
  /** A successor listens there from now on: the file of a unix socket stays. */
  leaveFile(): void;
  /** Closes it, and removes the file of a unix socket that is still ours. */
  close(): void;
}

/** A listening descriptor that somebody else has opened, and what was bound. */
export interface FoundDescriptor {
  readonly fd: number;
  /** As the kernel has it. */
  readonly sockaddr: Uint8Array;
  readonly isForeign: boolean;
}

/**
 * Opens a listening descriptor.
 * @param target `ip` `::` listens on all interfaces, IPv4 as well; port 0 picks one.
 * @throws ListenError
 */
export function openDescriptor(c: Libc, target: Target, backlogCount: number): ListeningDescriptor {
  const fail = (code: string): never => {
    throw new ListenError(textOf(target), code, explain(c, target, code));
  };
  const sockaddr = "path" in target ? encodeUnix(target.path) : encodeIp(target.ip, target.port);
  if (sockaddr === null) return fail("EINVAL");
  if ("path" in target) removeStale(c, target.path);
  const kind = linux.SOCK_STREAM | linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC;
  const fd = c.socket(familyOf(sockaddr), kind, 0);
  if (fd < 0) return fail(lastError(c));
  const step = (result: number): void => {
    if (result === 0) return;
    const code = lastError(c);
    c.close(fd);
    fail(code);
  };
  if (!("path" in target)) {
    step(setFlag(c, fd, linux.SOL_SOCKET, linux.SO_REUSEADDR, 1));
    if (familyOf(sockaddr) === linux.AF_INET6) {
      const only = target.ip === "::" ? 0 : 1;
      step(setFlag(c, fd, linux.IPPROTO_IPV6, linux.IPV6_V6ONLY, only));
    }
  }
  step(c.bind(fd, sockaddr, sockaddr.length));
  step(c.listen(fd, backlogCount));
  const port = "path" in target ? 0 : boundPort(c, fd, sockaddr.length);
  return listeningDescriptor(c, { fd, isForeign: false }, target, port, () => true);
}

/**
 * Whether a descriptor listens where `target` says; port 0 is any port.
 */
export function listensOn({ sockaddr }: FoundDescriptor, target: Target): boolean {
  const wanted = "path" in target ? encodeUnix(target.path) : encodeIp(target.ip, target.port);
  if (wanted === null || wanted.length !== sockaddr.length) return false;
  const isPort = (index: number) => index === 2 || index === 3;
  const anyPort = "ip" in target && target.port === 0;
  return wanted.every((byte, index) => sockaddr[index] === byte || (anyPort && isPort(index)));
}

/**
 * Takes a listening descriptor over.
 * @param mayRemove tells when it is closed whether a unix socket's file is ours by then.
 * @throws ListenError
 */
export function adoptDescriptor(
  c: Libc,
  found: FoundDescriptor,
  target: Target,
  backlogCount: number,
  mayRemove: () => boolean,
): ListeningDescriptor {
  const port = "path" in target ? 0 : portOf(found.sockaddr);
  if (c.listen(found.fd, backlogCount) !== 0) {
    const code = lastError(c);
    throw new ListenError(textOf(target), code, explain(c, target, code));
  }
  return listeningDescriptor(c, found, target, port, () => !found.isForeign && mayRemove());
}

function listeningDescriptor(
  c: Libc,
  { fd, isForeign }: Pick<FoundDescriptor, "fd" | "isForeign">,
  target: Target,
  port: number,
  mayRemove: () => boolean,
): ListeningDescriptor {
  const removeFile = fileRemover(target);
  let isOpen = true;
  let isLeft = false;
  return {
    fd,
    address: textOf("path" in target ? target : { ip: target.ip, port }),
    port,
    isForeign,
    leaveFile() {
      isLeft = true;
    },
    close() {
      if (!isOpen) return;
      isOpen = false;
      c.close(fd);
      if (!isLeft && mayRemove()) removeFile();
    },
  };
}

/** Accepts from a descriptor, which stays its owner's. @throws ListenError */
export function acceptFrom(
  engine: BunEngine | LibcEngine,
  c: Libc,
  fd: number,
  backlogCount: number,
  acceptor: Acceptor,
  listener: number,
): { stop(): void } {
  const own = c.dup(fd);
  if (own < 0) throw new ListenError(`descriptor ${fd}`, lastError(c), "it cannot be shared");
  if (engine instanceof LibcEngine) {
    const opened = engine.listen(own, acceptor, listener);
    return {
      stop() {
        opened.stop();
        c.close(own);
      },
    };
  }
  const opened = Bun.listen<SocketEvents>({
    fd: own,
    allowHalfOpen: true,
    socket: engine.acceptedHandlers(acceptor, listener),
  } as never); // `fd` is missing in Bun's types
  c.listen(fd, backlogCount); // Bun has called it again, with a backlog of its own
  return { stop: () => opened.stop(false) };
}

/** The portable way: Bun opens the listener, with a backlog of its own. @throws ListenError */
export function listenPortably(
  engine: BunEngine,
  target: Target,
  acceptor: Acceptor,
  listener: number,
): Listening {
  return listenByName(target, engine.acceptedHandlers(acceptor, listener));
}

function listenByName(target: Target, socket: SocketHandler<SocketEvents>): Listening {
  try {
    if ("path" in target) {
      if (target.path.startsWith("@")) {
        const unix = `\0${target.path.slice(1)}`;
        return toListening(
          target,
          0,
          Bun.listen<SocketEvents>({ unix, allowHalfOpen: true, socket }),
        );
      }
      const unix = target.path;
      return toListening(
        target,
        0,
        Bun.listen<SocketEvents>({ unix, allowHalfOpen: true, socket }),
      );
    }
    const { ip: hostname, port } = target;
    const opened = Bun.listen<SocketEvents>({ hostname, port, allowHalfOpen: true, socket });
    return toListening(target, opened.port, opened);
  } catch (error) {
    if (error instanceof ListenError) throw error;
    const { code } = error as { code?: unknown }; // errors of Bun.listen carry their name
    const cause = typeof code === "string" ? code : "EINVAL";
    throw new ListenError(textOf(target), cause, explain(null, target, cause));
  }
}

function toListening(
  target: Target,
  port: number,
  opened: TCPSocketListener<SocketEvents> | UnixSocketListener<SocketEvents>,
): Listening {
  const removeFile = fileRemover(target);
  let isOpen = true;
  return {
    address: "path" in target ? textOf(target) : textOf({ ip: target.ip, port }),
    port,
    stop() {
      if (!isOpen) return;
      isOpen = false;
      opened.stop(false);
      removeFile();
    },
  };
}

/** Removes the file of a unix socket, unless a successor has put its own there. */
function fileRemover(target: Target): () => void {
  const path = "path" in target ? target.path : null;
  const ours = path === null ? null : fileOf(path);
  return () => {
    if (ours === null || path === null) return;
    const now = fileOf(path);
    if (now !== null && now.ino === ours.ino && now.dev === ours.dev) unlinkSync(path);
  };
}

/** The file of a unix socket, or null when there is none (an abstract name has none). */
function fileOf(path: string): Stats | null {
  if (path.startsWith("@")) return null;
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

/** Removes the socket file that a process left behind; one that still answers stays, and the bind then says so. */
function removeStale(c: Libc, path: string): void {
  if (fileOf(path)?.isSocket() !== true) return;
  const sockaddr = encodeUnix(path);
  if (sockaddr === null) return;
  const fd = c.socket(
    linux.AF_UNIX,
    linux.SOCK_STREAM | linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC,
    0,
  );
  if (fd < 0) return;
  const isDead = c.connect(fd, sockaddr, sockaddr.length) !== 0 && lastError(c) === "ECONNREFUSED";
  c.close(fd);
  if (isDead) unlinkSync(path);
}

function setFlag(c: Libc, fd: number, level: number, name: number, value: number): number {
  const bytes = new Int32Array(new ArrayBuffer(4)).fill(value);
  return c.setsockopt(fd, level, name, bytes, 4);
}

function boundPort(c: Libc, fd: number, size: number): number {
  const address = new Uint8Array(new ArrayBuffer(size));
  const length = new Uint32Array(new ArrayBuffer(4)).fill(size);
  return c.getsockname(fd, address, length) === 0 ? portOf(address) : 0;
}

function textOf(target: Target): string {
  if ("path" in target) return `unix:${target.path}`;
  return target.ip.includes(":") ? `[${target.ip}]:${target.port}` : `${target.ip}:${target.port}`;
}

function explain(c: Libc | null, target: Target, code: string): string {
  const words = describeError(c, code);
  if (code === "EADDRINUSE") return `${words} (${code}): another program listens there`;
  if (code === "EACCES" && "port" in target && target.port < 1024) {
    return `${words} (${code}): ports below 1024 need privileges`;
  }
  if (code === "EADDRNOTAVAIL") return `${words} (${code}): no interface here has this address`;
  return `${words} (${code})`;
}
