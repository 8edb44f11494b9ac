// A service manager's end of `NOTIFY_SOCKET`.

import { libc } from "../raw.ts";
import { linux } from "../../src/linux/libc.ts";
import { encodeUnix } from "../../src/linux/sockaddr.ts";
import { rmSync } from "node:fs";

export interface Manager extends Disposable {
  /** Datagrams so far, their lines joined by a space. */
  received(): readonly string[];
}

/** @param path or an abstract name after `@`. */
export function manager(path: string): Manager {
  const c = libc();
  const address = encodeUnix(path);
  if (address === null) throw new Error("the path is too long");
  const kind = linux.SOCK_DGRAM | linux.SOCK_NONBLOCK | linux.SOCK_CLOEXEC;
  const fd = c.socket(linux.AF_UNIX, kind, 0);
  if (c.bind(fd, address, address.length) !== 0) throw new Error(`cannot bind ${path}`);
  const room = new Uint8Array(new ArrayBuffer(4_096));
  const all: string[] = [];
  return {
    received() {
      for (;;) {
        const size = Number(c.recv(fd, room, room.length, linux.MSG_DONTWAIT));
        if (size <= 0) return all;
        all.push(new TextDecoder().decode(room.subarray(0, size)).replaceAll("\n", " "));
      }
    },
    [Symbol.dispose]() {
      c.close(fd);
      if (!path.startsWith("@")) rmSync(path, { force: true });
    },
  };
}
