// A limit of memory that the kernel would kill for, and clients that take nothing of what is poured out for them.

import { expect } from "bun:test";
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CLI, client, serve, until } from "../net.ts";
import { fault, sized, type Subject } from "./lab.ts";
import { comeAndGo, rawClose, rawSend, toldBy } from "./load.ts";

/** Where memory is limited, by either kind of control groups. */
const groups = [
  { root: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes" },
  { root: "/sys/fs/cgroup", limit: "memory.max" },
];
let groupNumber = 0;

/** A group of processes with so much memory, or null. */
function memoryGroup(bytes: number): { readonly path: string; remove(): Promise<void> } | null {
  for (const { root, limit } of groups) {
    const path = join(root, `iawlb-test-${process.pid}-${++groupNumber}`);
    try {
      mkdirSync(path);
    } catch {
      continue;
    }
    const remove = () => until(() => removed(path), "the group is empty").then(() => {});
    if (!existsSync(join(path, limit))) {
      rmdirSync(path);
      continue;
    }
    writeFileSync(join(path, limit), `${bytes}`);
    return { path, remove };
  }
  return null;
}

function removed(path: string): boolean {
  try {
    rmdirSync(path);
    return true;
  } catch {
    return false; // its last process is still on its way out
  }
}

const noGroup = await (async () => {
  const group = memoryGroup(2 ** 28);
  await group?.remove();
  return group === null ? "no memory control group can be made here" : null;
})();

fault(
  51,
  "a flood of clients that never read, in little memory: --max-connections sheds, who is joined goes on",
  async (lab) => {
    const group = memoryGroup(256 * 1024 * 1024);
    let balancer: Subject | null = null;
    try {
      const poured = Buffer.alloc(16 * 1024 * 1024, "x");
      // Who asks for it is drowned, everybody else hears himself.
      using server = serve({
        onData: (peer, chunk) => peer.send(peer.text.startsWith("pour") ? poured : chunk),
        onEnd: (peer) => peer.finish(),
      });
      const line = `echo $$ >"${group?.path}/cgroup.procs" && exec "$@"`;
      const command = ["sh", "-c", line, "sh", process.execPath, CLI];
      const max = 40; // Each fills about 11 MiB of the kernel, which has one limit for all the machine (tcp_mem).
      balancer = await lab.start(["--max-connections", `${max}`, server.address], { command });
      const joined = await client(balancer.port);
      let said = 0;
      const speak = async () => {
        joined.send(".");
        said += 1;
        await until(() => joined.receivedCount === said, "the echo");
      };
      const count = sized(2_000, 400);
      const fds: number[] = [];
      const pour = (fd: number) => {
        rawSend(fd, Buffer.from("pour"));
        fds.push(fd);
      };
      await speak();
      while (fds.length < count) {
        await comeAndGo(balancer, 50, pour, 1 + fds.length);
        await speak();
      }
      const refusedCount = 1 + count - max;
      const status = await balancer.when(
        (now) => now.open === max && now.closed["connection-limit"] === refusedCount,
        "the others are refused",
      );
      expect(status.accepted).toBe(1 + count);
      await until(
        () => server.peers.filter((peer) => peer.unsentCount > 0).length >= max / 2,
        "they are stuck",
      );
      await speak();
      for (const fd of fds) rawClose(fd, "reset");
      joined.finish();
      await until(() => joined.over, "the end of who was joined");
      expect([joined.wasReset, joined.receivedCount]).toEqual([false, said]);
      await balancer.settle(1 + count);
      const peer = await client(balancer.port, { onEnd: (each) => each.finish() });
      peer.send("afterwards");
      peer.finish();
      await until(() => peer.over, "the answer afterwards");
      expect(peer.text).toBe("afterwards");
      expect(toldBy(balancer).filter((each) => each.includes("clients are refused")).length).toBe(
        1,
      );
      const ended = await balancer.finish(2 + count);
      const countOf = (reason: string) => ended.filter((each) => each.reason === reason).length;
      expect(countOf("done")).toBe(2);
      // One that goes at the moment of its dial has left.
      expect(countOf("client-reset") + countOf("client-left")).toBe(max - 1);
    } finally {
      await balancer?.process.stop("SIGKILL");
      await group?.remove();
    }
  },
  { skip: noGroup },
);
