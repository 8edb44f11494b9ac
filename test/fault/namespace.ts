// A network of its own for one case: loopback, ports, limits and counters. It has no name, and goes with the last of
// its sockets and the descriptor that stands for it.

import { dlopen } from "bun:ffi";
import { readFileSync, writeFileSync } from "node:fs";
import { CLI } from "../net.ts";

const O_RDONLY_CLOEXEC = 0o2000000;
const CLONE_NEWNET = 0x40000000;

let opened: ReturnType<typeof openCalls> | undefined;
function openCalls() {
  return dlopen("libc.so.6", {
    open: { args: ["buffer", "i32"], returns: "i32" },
    close: { args: ["i32"], returns: "i32" },
    unshare: { args: ["i32"], returns: "i32" },
    setns: { args: ["i32", "i32"], returns: "i32" },
  }).symbols;
}
function calls(): ReturnType<typeof openCalls> {
  return (opened ??= openCalls());
}

export interface Network extends Disposable {
  /** Runs `body`, which waits for nothing: the sockets that it makes are in this network. */
  within<T>(body: () => T): T;
  /** Runs the balancer in it. */
  readonly command: readonly string[];
  /** Sets one of its limits, such as `ipv4.ip_local_port_range`. */
  set(name: string, value: string | number): void;
  /** One of its counters in `/proc/net/netstat`, such as `ListenDrops`. */
  counter(name: string): number;
  /** Runs a program in it, such as `ip route add …`. @throws when that fails. */
  run(...command: readonly string[]): void;
}

/** @throws when this user may not have one. */
export function network(): Network {
  const here = openPath("/proc/thread-self/ns/net");
  if (calls().unshare(CLONE_NEWNET) !== 0) throw new Error("unshare: not permitted");
  const there = openPath("/proc/thread-self/ns/net");
  enter(here);
  const within: Network["within"] = (body) => {
    enter(there);
    try {
      return body();
    } finally {
      enter(here);
    }
  };
  const entering = ["nsenter", `--net=/proc/${process.pid}/fd/${there}`];
  const run: Network["run"] = (...command) => {
    const { exitCode, stderr } = Bun.spawnSync([...entering, ...command]);
    if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  };
  run("ip", "link", "set", "lo", "up");
  return {
    within,
    run,
    command: [...entering, process.execPath, CLI],
    set: (name, value) =>
      within(() => writeFileSync(`/proc/sys/net/${name.replaceAll(".", "/")}`, `${value}`)),
    counter: (name) => within(() => counterIn(readFileSync("/proc/net/netstat", "utf8"), name)),
    [Symbol.dispose]() {
      for (const fd of [there, here]) calls().close(fd);
    },
  };
}

/** Why there is no network of its own here, for `options.skip`; null where there is. */
export const noNetwork: string | null = (() => {
  try {
    network()[Symbol.dispose]();
    return null;
  } catch (error) {
    return `no network namespace can be had here (${String(error)})`;
  }
})();

function openPath(path: string): number {
  const fd = calls().open(Buffer.from(`${path}\0`), O_RDONLY_CLOEXEC);
  if (fd < 0) throw new Error(`cannot open ${path}`);
  return fd;
}

function enter(fd: number): void {
  if (calls().setns(fd, CLONE_NEWNET) !== 0) throw new Error("setns() failed");
}

/** Lines come in pairs: names, then numbers. */
function counterIn(table: string, name: string): number {
  const lines = table.split("\n").map((line) => line.split(" "));
  const at = lines.findIndex((fields) => fields.includes(name));
  return Number(lines[at + 1]?.[lines[at]?.indexOf(name) ?? -1]);
}
