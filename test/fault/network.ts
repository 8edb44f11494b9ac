// Networks of a test's own: a namespace, held by a descriptor of this process, so that it is gone with the test and at
// the latest with the process. Sockets are made inside it by moving this one thread there and back.

import { dlopen } from "bun:ffi";
import { closeSync, openSync, writeFileSync } from "node:fs";
import { CLI } from "../net.ts";

const CLONE_NEWNET = 0x4000_0000;

let opened: ReturnType<typeof openLibc> | undefined;
function openLibc() {
  return dlopen("libc.so.6", {
    unshare: { args: ["i32"], returns: "i32" },
    setns: { args: ["i32", "i32"], returns: "i32" },
  }).symbols;
}

export interface Network extends Disposable {
  /** Of its namespace, as `ip link … netns` takes it. */
  readonly path: string;
  /** What `lab.start` runs, so that the balancer is inside. */
  readonly command: readonly string[];
  /** Sockets that `body` makes before it returns are inside. */
  within<T>(body: () => T): T;
  /** Runs a program inside; its arguments are the words of the line. @throws unless its exit code is 0. */
  run(line: string): void;
  /** From now on every packet from or to this address is lost, without a word. */
  cut(ip: string): void;
  /** Nothing is lost any more. */
  heal(): void;
}

const programs = { nsenter: "util-linux", ip: "iproute2", tc: "iproute2", nft: "nftables" };
const PATH = [process.env["PATH"], "/usr/sbin", "/sbin"].join(":");
const pathOf = (program: string) => Bun.which(program, { PATH }) ?? program;

/** @returns why a test that needs these programs and a network of its own cannot run here, or null. */
export function missingNetwork(...needed: readonly (keyof typeof programs)[]): string | null {
  const missing = (["nsenter", "ip", ...needed] as const).find(
    (name) => Bun.which(name, { PATH }) === null,
  );
  if (missing !== undefined)
    return `${missing} is not installed (apt-get install ${programs[missing]})`;
  try {
    using _one = network();
    return null;
  } catch (error) {
    return `no network namespace (${String(error)})`;
  }
}

/** A network with nothing but a loopback of its own. */
export function network(): Network {
  const libc = (opened ??= openLibc());
  const own = openSync("/proc/thread-self/ns/net", "r");
  if (libc.unshare(CLONE_NEWNET) < 0) {
    closeSync(own);
    throw new Error("not permitted");
  }
  const fd = openSync("/proc/thread-self/ns/net", "r");
  libc.setns(own, CLONE_NEWNET);
  const path = `/proc/${process.pid}/fd/${fd}`;
  const inside = [pathOf("nsenter"), `--net=${path}`];
  const runWords = (words: readonly string[]) => {
    const [program = "", ...rest] = words;
    const { exitCode, stderr } = Bun.spawnSync([...inside, pathOf(program), ...rest]);
    if (exitCode !== 0) throw new Error(`${words.join(" ")}: ${stderr.toString()}`);
  };
  const nft = (commands: string) => runWords(["nft", commands]);
  let hasCuts = false;
  const net: Network = {
    path,
    command: [...inside, process.execPath, CLI],
    within(body) {
      if (libc.setns(fd, CLONE_NEWNET) < 0) throw new Error("the network is gone");
      try {
        return body();
      } finally {
        libc.setns(own, CLONE_NEWNET);
      }
    },
    run: (line) => runWords(line.split(" ")),
    cut(ip) {
      if (!hasCuts) {
        nft("add table ip lab; add chain ip lab cut { type filter hook input priority 0; }");
      }
      hasCuts = true;
      for (const side of ["saddr", "daddr"]) nft(`add rule ip lab cut ip ${side} ${ip} drop`);
    },
    heal() {
      if (hasCuts) nft("delete table ip lab");
      hasCuts = false;
    },
    [Symbol.dispose]() {
      closeSync(fd);
      closeSync(own);
    },
  };
  try {
    net.run("ip link set lo up");
  } catch (error) {
    net[Symbol.dispose]();
    throw error;
  }
  return net;
}

/** Lays a cable between two networks: `near` is 10.78.0.1, `far` is 10.78.0.2. It is gone with either. */
export function connect(near: Network, far: Network, mtu = 1_500): void {
  near.run(`ip link add cable mtu ${mtu} type veth peer name cable mtu ${mtu} netns ${far.path}`);
  for (const [net, ip] of [
    [near, "10.78.0.1"],
    [far, "10.78.0.2"],
  ] as const) {
    net.run(`ip addr add ${ip}/24 dev cable`);
    net.run("ip link set cable up");
  }
}

/** The kernel's buffers of sockets made from now on hold no more than about this, each way. */
export function narrowBuffers(net: Network, size: number): void {
  net.within(() => {
    for (const way of ["rmem", "wmem"]) {
      writeFileSync(`/proc/sys/net/ipv4/tcp_${way}`, `4096 ${size} ${size}`);
    }
  });
}

/** Lets 8 Mbit a second leave by this device of it. */
export function narrowLine(net: Network, device: string): void {
  net.run(`tc qdisc add dev ${device} root tbf rate 8mbit burst 16kb latency 50ms`);
}

/** @returns why a line cannot be made narrow here, or null. */
export function missingNarrow(): string | null {
  const missing = missingNetwork("tc");
  if (missing !== null) return missing;
  try {
    using net = network();
    narrowLine(net, "lo");
    return null;
  } catch (error) {
    return `no tbf (${String(error)})`;
  }
}
