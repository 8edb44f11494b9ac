// Whether this system bears the libc engine: asked once at the start, with a pair of sockets and a pipe.
import { bytes, Errno, eventDataAt, eventStride, sys, words, type Calls } from "../linux/calls.ts";
import { linux } from "../linux/libc.ts";

/** @returns null when everything that the engine needs is there and works, else what is missing, in words. */
export function unusable(calls: Calls | null): string | null {
  if (process.platform !== "linux") return `this is ${process.platform}, not Linux`;
  if (process.arch !== "x64" && process.arch !== "arm64") return `not tried on ${process.arch}`;
  if (calls === null) return "the C library has not every call it needs";
  const fds: number[] = [];
  try {
    return tryEpoll(calls, fds);
  } catch (error) {
    return `its self-test has failed: ${String(error)}`;
  } finally {
    for (const fd of fds) calls.close(fd);
  }
}

const probe = [0x69, 0x61, 0x77, 0x6c, 0x62];

/** A few bytes and an end go from one socket to the other; epoll must tell of both, and recv bring them. */
function tryEpoll(calls: Calls, fds: number[]): string | null {
  const errno = new Errno(calls);
  const epoll = calls.epoll_create1(sys.EPOLL_CLOEXEC);
  if (epoll < 0) return `epoll_create1 is refused (${errno.name})`;
  fds.push(epoll);
  const pair = words(2);
  const kind = linux.SOCK_STREAM | linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC;
  if (calls.socketpair(linux.AF_UNIX, kind, 0, pair) !== 0) {
    return `socketpair is refused (${errno.name})`;
  }
  const [near = -1, far = -1] = pair;
  fds.push(near, far);
  const event = words(eventStride);
  const interest = sys.EPOLLIN | sys.EPOLLRDHUP | sys.EPOLLET;
  event.set([interest], 0);
  event.set([near, 0x1234_5678], eventDataAt);
  if (calls.epoll_ctl(epoll, sys.EPOLL_CTL_ADD, near, event) !== 0) {
    return `epoll_ctl is refused (${errno.name})`;
  }
  const buffer = bytes(16);
  if (calls.recv(near, buffer, 16, 0) !== -1 || errno.number !== sys.EAGAIN) {
    return "errno is not to be had";
  }
  buffer.set(probe);
  calls.send(far, buffer, probe.length, sys.MSG_NOSIGNAL);
  calls.shutdown(far, sys.SHUT_WR);
  buffer.fill(0);
  const told = words(eventStride);
  const count = calls.epoll_wait(epoll, told, 1, 0);
  const flags = told[0] ?? 0;
  const data = [told[eventDataAt], told[eventDataAt + 1]];
  if (
    count !== 1 ||
    (flags & sys.EPOLLRDHUP) === 0 ||
    data[0] !== near ||
    data[1] !== 0x1234_5678
  ) {
    return "epoll_wait tells what it should not";
  }
  const size = calls.recv(near, buffer, 16, 0);
  if (size !== probe.length || probe.some((byte, i) => buffer[i] !== byte)) return "recv is wrong";
  return null;
}
