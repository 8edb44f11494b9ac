// A dial by descriptor, as both engines do it: a non-blocking connect that is asked twice whether it is over.
import { readFileSync } from "node:fs";
import { lastError, linux, type Libc } from "../linux/libc.ts";
import { encodeIp, encodeUnix, familyOf, portOf } from "../linux/sockaddr.ts";

/** Where to dial: an IP literal without brackets and a port, or the path of a unix socket. */
export type Target = { readonly ip: string; readonly port: number } | { readonly path: string };

/** @throws when the path of a unix socket is too long, or the IP is no literal. */
export function encode(target: Target): Uint8Array {
  const sockaddr = "path" in target ? encodeUnix(target.path) : encodeIp(target.ip, target.port);
  if (sockaddr === null) throw new RangeError(`not an address: ${JSON.stringify(target)}`);
  return sockaddr;
}

/** A connect is asked so often whether it is over: once, and once more after a signal. */
const askCountMax = 2;

/** What the last dial that came under way gave; one object for all, read at once. */
export const dialed = { fd: -1, isConnected: false };

/**
 * Starts a connect.
 * @returns null when it is under way or over, as `dialed` says; else the system's name of the cause of its failure.
 */
export function connectDescriptor(c: Libc, sockaddr: Uint8Array, family: number): string | null {
  const kind = linux.SOCK_STREAM | linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC;
  const fd = c.socket(family, kind, 0);
  if (fd < 0) return lastError(c);
  // Towards this host a connect is over when it returns, though it does not say so: ask again. Then the first bytes
  // need not wait for a turn of the loop, and a refusal is known at once.
  let isConnected = c.connect(fd, sockaddr, sockaddr.length) === 0;
  let code = isConnected ? "" : lastError(c);
  for (let n = 0; n < askCountMax && (code === "EINPROGRESS" || code === "EINTR"); n += 1) {
    isConnected = c.connect(fd, sockaddr, sockaddr.length) === 0;
    code = isConnected ? "" : lastError(c);
  }
  if (!isConnected && code !== "EALREADY") {
    c.close(fd);
    // A unix socket whose accept queue is full says EAGAIN: the destination's fault, not ours, as all others here.
    return code;
  }
  if (isConnected && meetsItself(c, fd, sockaddr)) {
    c.close(fd);
    return "ECONNREFUSED";
  }
  dialed.fd = fd;
  dialed.isConnected = isConnected;
  return null;
}

/** The peer of a connected socket has sent neither an end nor a reset that nobody has read. */
export function isStillOpen(c: Libc, fd: number): boolean {
  const count = c.recv(fd, peeked, 1, linux.MSG_PEEK | linux.MSG_DONTWAIT);
  return count > 0 || (count < 0 && lastError(c) === "EAGAIN");
}

/** A dead port of this host can be given to the very socket that dials it: then it talks to itself. */
function meetsItself(c: Libc, fd: number, sockaddr: Uint8Array): boolean {
  if (familyOf(sockaddr) === linux.AF_UNIX || portOf(sockaddr) < ephemeralPortMin) return false;
  ownLength[0] = sockaddr.length;
  if (c.getsockname(fd, ownAddress, ownLength) !== 0 || portOf(ownAddress) !== portOf(sockaddr)) {
    return false;
  }
  const [from, to] = familyOf(sockaddr) === linux.AF_INET ? [4, 8] : [8, 24];
  return ownAddress.subarray(from, to).every((byte, i) => byte === sockaddr[from + i]);
}

/** The first port that the kernel may choose for a connect. */
const ephemeralPortMin = readEphemeralPortMin();

function readEphemeralPortMin(): number {
  try {
    return (
      Number.parseInt(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8"), 10) || 1024
    );
  } catch {
    return 1024;
  }
}

const peeked = new Uint8Array(new ArrayBuffer(1));
const ownAddress = new Uint8Array(new ArrayBuffer(28));
const ownLength = new Uint32Array(new ArrayBuffer(4));
