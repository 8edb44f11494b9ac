// Clients that are too many, or say nothing; descriptors that run out.

import { expect } from "bun:test";
import type { Status } from "../../src/balancer.ts";
import { CLI, client, cpuMs, echoServer, fdCount, knock, limitDescriptors } from "../net.ts";
import { rssKiB, until, type Peer } from "../net.ts";
import { fault, sized } from "./lab.ts";
import { ask, crowd, expectFlat, expectServed, fateOf, over, teller, toldBy } from "./load.ts";

fault(14, "silent clients are closed after --idle-timeout, who speaks is not", async (lab) => {
  using server = echoServer();
  const idleMs = 2_000;
  const balancer = await lab.start(["--idle-timeout", `${idleMs}ms`, server.address]);
  const memory: number[] = [];
  const rounds = sized(4, 2);
  const count = sized(3_000, 1_000);
  // Each echo brings the next byte, for as long as the others are silent.
  const talker = await client(balancer.port, { keep: false, onData: (peer) => peer.send(".") });
  talker.send(".");
  await until(() => talker.receivedCount > 0, "its echo"); // so it is the first
  for (let round = 0; round < rounds; round++) {
    const peers: Peer[] = [];
    await crowd(count, 100, async () => void peers.push(await client(balancer.port)));
    await over(peers, 30_000);
    expect(new Set(peers.map((peer) => peer.code))).toEqual(new Set(["ECONNRESET"]));
    memory.push(rssKiB(balancer.pid));
    await balancer.when((now) => now.open === 1, "the talker alone is open"); // in the other threads as well
    expect(talker.over).toBe(false);
  }
  talker.finish();
  await until(() => talker.over, "the talker's end");
  expect(talker.wasReset).toBe(false);
  expectFlat(memory);
  const [first, ...silent] = await balancer.finish(1 + rounds * count);
  expect(first).toMatchObject({ reason: "done", closedBy: "client" });
  for (const each of silent) {
    expect(each).toMatchObject({ reason: "idle-timeout", closedBy: "balancer" });
    expect(each.bytesUp + each.bytesDown).toBe(0);
    expect(each.totalMs).toBeGreaterThanOrEqual(idleMs);
  }
});

fault(
  15,
  "twice as many clients as --max-connections: half is refused, half unharmed",
  async (lab) => {
    using server = echoServer();
    const max = 200;
    const balancer = await lab.start(["--max-connections", `${max}`, server.address]);
    const speak = async (peers: readonly Peer[], word: string) => {
      const heard = peers.map((peer) => peer.text + word);
      for (const peer of peers) peer.send(word);
      await until(() => peers.every((peer, i) => peer.text === heard[i]), `the echo of ${word}`);
    };
    const joined = await Promise.all(Array.from({ length: max }, () => knock(balancer.port)));
    await speak(joined, "before");
    for (let round = 0; round < 3; round++) {
      const more = await Promise.all(Array.from({ length: max }, () => knock(balancer.port)));
      await over(more);
      expect(new Set(more.map((peer) => peer.code))).toEqual(new Set(["ECONNRESET"]));
      await speak(joined, `, round ${round}`);
    }
    // A thread closes a socket first, and counts it then.
    const refusedCount = (now: Status) => now.closed["connection-limit"];
    const status = await balancer.when((now) => refusedCount(now) >= 3 * max, "their count");
    expect(refusedCount(status)).toBe(3 * max);
    // Half of them leave, as many others come: each place is given again.
    for (const peer of joined.slice(0, max / 2)) peer.finish();
    await balancer.when((now) => now.open === max / 2, "half of the places are free");
    const next = await Promise.all(Array.from({ length: max / 2 }, () => knock(balancer.port)));
    await speak(next, "after");
    for (const peer of [...joined, ...next]) peer.finish();
    await over([...joined, ...next]);
    expect([...joined, ...next].filter((peer) => peer.wasReset)).toEqual([]);
    expect(toldBy(balancer).filter((line) => line.includes("clients are refused")).length).toBe(1);
    const ended = await balancer.finish(4 * max + max / 2);
    const refused = ended.filter((each) => each.reason === "connection-limit");
    expect(refused.length).toBe(3 * max);
    expect(new Set(refused.map((each) => each.closedBy))).toEqual(new Set(["balancer"]));
    expect(ended.filter((each) => each.reason === "done").length).toBe(max + max / 2);
  },
);

/** The balancer where at most `count` descriptors may be open. */
function withDescriptors(count: number): readonly string[] {
  return ["sh", "-c", `ulimit -n ${count}; exec "$@"`, "sh", process.execPath, CLI];
}

fault(
  16,
  "few descriptors: refusals cost little, tell once, and end with the crowd",
  async (lab) => {
    using server = teller();
    // A thread of its own needs some for itself.
    const limit = lab.way === "one thread" ? 64 : 64 + 48 * lab.threadCount;
    const command = withDescriptors(limit);
    const balancer = await lab.start(["--slots", "1", server.address], { command });
    const { connectionCountMax: max } = await balancer.status();
    const held = await Promise.all(Array.from({ length: max }, () => knock(balancer.port)));
    await balancer.when((now) => now.open === max, "as many as there may be");
    const before = cpuMs(balancer.pid);
    const count = sized(4_000, 1_000);
    let refusedCount = 0;
    await crowd(count, 20, async (n) => {
      using peer = await client(balancer.port, { from: `127.0.7.${1 + (n % 16)}` });
      await until(() => peer.over, "the refusal");
      if (peer.code === "ECONNRESET") refusedCount += 1;
    });
    // Some 0.1 ms each; a spin would be all the time that they took.
    expect(cpuMs(balancer.pid) - before).toBeLessThan(200 + count);
    expect(refusedCount).toBe(count);
    expect(fdCount(balancer.pid)).toBeLessThanOrEqual(limit);
    expect(toldBy(balancer).filter((line) => line.includes("clients are refused")).length).toBe(1);
    for (const peer of held) {
      peer.send("unharmed\n");
      peer.finish();
    }
    await over(held);
    expect(new Set(held.map((peer) => fateOf(peer, "unharmed")))).toEqual(new Set(["served"]));
    await balancer.settle(max + count);
    await expectServed(balancer.port, 50, 1);
    const ended = await balancer.finish(max + count + 50);
    expect(ended.filter((each) => each.reason === "done").length).toBe(max + 50);
    expect(ended.filter((each) => each.reason === "connection-limit").length).toBe(count);
  },
);

fault(
  16,
  "no descriptor to accept by: clients wait in the kernel, then are served",
  async (lab) => {
    using server = teller();
    const balancer = await lab.start([server.address]);
    await expectServed(balancer.port, 10);
    await balancer.settle(10);
    limitDescriptors(balancer.pid, fdCount(balancer.pid));
    const asked = Array.from({ length: 40 }, (_, n) => ask(balancer.port, `${n}`));
    await Bun.sleep(100);
    const before = cpuMs(balancer.pid);
    await Bun.sleep(500); // the time in which a spin would show
    // Bun's own listener asks again without a pause, and tells nobody of it (oven-sh/bun 32705).
    if (lab.engine === "libc") expect(cpuMs(balancer.pid) - before).toBeLessThan(150);
    limitDescriptors(balancer.pid, 1_024);
    const peers = await Promise.all(asked);
    expect(new Set(peers.map((peer, n) => fateOf(peer, `${n}`)))).toEqual(new Set(["served"]));
    await balancer.finish(50);
  },
);
