// One datagram to a unix socket: how a service manager is told of us. Source: sd_notify(3).
import { linux, type Libc } from "./libc.ts";
import { encodeUnix } from "./sockaddr.ts";

/**
 * Sends lines such as `READY=1`.
 * @param path of the socket, or an abstract name after `@`.
 * @returns whether it was taken; it never waits.
 */
export function notify(c: Libc, path: string, lines: readonly string[]): boolean {
  const address = encodeUnix(path);
  if (address === null) return false;
  const kind = linux.SOCK_DGRAM | linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC;
  const fd = c.socket(linux.AF_UNIX, kind, 0);
  if (fd < 0) return false;
  const text = new TextEncoder().encode(lines.join("\n"));
  const taken =
    c.connect(fd, address, address.length) === 0 &&
    Number(c.write(fd, text, text.length)) === text.length;
  c.close(fd);
  return taken;
}
