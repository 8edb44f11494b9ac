// Clients by the thousand: short ones, ones that leave at any moment, ones that say nothing, ones that say anything.

import { expect } from "bun:test";
import { client, echoServer, rssKiB, sink, until } from "../net.ts";
import { withSeed, type Random } from "../wait.ts";
import { fault, sized, type Subject } from "./lab.ts";
import { comeAndGo, crowd, expectFlat, expectServed, Leavers } from "./load.ts";
import { rawClose, rawFinish, rawSend, sourceOf, teller, toldBy } from "./load.ts";

fault(
  19,
  "short connections, one after the other, whoever closes first: none fails",
  async (lab) => {
    using ends = teller(); // it ends first
    using hears = sink(); // the client ends first
    const args = ["--policy", "round-robin", ends.address, hears.address];
    const balancer = await lab.start(args);
    const count = sized(20_000, 3_000);
    const codes = new Set<string>();
    await crowd(count, 64, async (n) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const options = { from: sourceOf(n), onClose: () => resolve() };
      const peer = await client(balancer.port, { ...options, onEnd: (each) => each.finish() });
      peer.send("short\n");
      peer.finish();
      await promise;
      codes.add(peer.code);
    });
    expect(codes).toEqual(new Set([""]));
    const { localFaults, destinations } = await balancer.settle(count);
    expect([localFaults, ...destinations.map((each) => each.failures)]).toEqual([0, 0, 0]);
    // Each heard its half, each client one of them.
    expect(ends.heard.length + (destinations[1]?.connections ?? 0)).toBe(count);
    expect(toldBy(balancer)).toEqual([]);
    const ended = await balancer.finish(count);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  },
);

/** Connects and closes at once, by FIN or by RST in turn. */
function scan(balancer: Subject, count: number, before: number): Promise<void> {
  const live = (fd: number, n: number) => rawClose(fd, n % 2 === 0 ? "end" : "reset");
  return comeAndGo(balancer, count, live, before);
}

const leaving = new Set(["done", "client-left", "client-reset"]);

fault(21, "a port scan: no word on stderr, no slot left, who comes is served", async (lab) => {
  using server = teller();
  const balancer = await lab.start(["--slots", "4", server.address]);
  const count = sized(10_000, 3_000);
  await scan(balancer, count, 0);
  await expectServed(balancer.port, 20);
  await balancer.settle(count + 20);
  expect(toldBy(balancer)).toEqual([]);
  expect(server.heard.length).toBe(20);
  const ended = await balancer.finish(count + 20);
  const scanned = ended.filter((each) => each.bytesUp === 0);
  expect(scanned.length).toBe(count);
  expect(scanned.filter((each) => !leaving.has(each.reason) || each.closedBy !== "client")).toEqual(
    [],
  );
});

fault(
  21,
  "connects and closes in a row: memory and descriptors as before",
  async (lab) => {
    using server = teller();
    const balancer = await lab.start(["--slots", "16", server.address]);
    const rounds = 5;
    const count = sized(20_000, 2_000);
    const memory: number[] = [];
    for (let round = 0; round < rounds; round++) {
      await scan(balancer, count, round * count);
      await balancer.settle((round + 1) * count);
      memory.push(rssKiB(balancer.pid));
    }
    expectFlat(memory, 48 * 1024); // the first rounds compile the code
    await expectServed(balancer.port, 20);
    expect(toldBy(balancer)).toEqual([]);
    await balancer.finish(rounds * count + 20);
  },
  { timeoutMs: 180_000 },
);

/** Beginnings that somebody may take for something. */
const prefaces = [
  "",
  "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
  "\r\n\r\n\0\r\nQUIT\n",
  "\x16\x03\x01\x02\0",
  "GET / HTTP/1.1\r\n\r\n",
];

fault(22, "random bytes on the data port pass unchanged, both ways", async (lab) => {
  await withSeed(async (random) => {
    using server = echoServer();
    const balancer = await lab.start([server.address]);
    const flowCount = 8;
    const flowSize = (sized(64, 16) * (1024 * 1024)) / flowCount;
    const block = random.bytes(1024 * 1024);
    const before = rssKiB(balancer.pid);
    const send = async (n: number) => {
      const sent = new Bun.CryptoHasher("sha256");
      const heard = new Bun.CryptoHasher("sha256");
      using peer = await client(balancer.port, {
        keep: false,
        onData: (_, chunk) => void heard.update(chunk),
      });
      const say = (bytes: Uint8Array) => {
        sent.update(bytes);
        peer.send(bytes);
      };
      say(Buffer.from(prefaces[n % prefaces.length] ?? "", "latin1"));
      for (let size = 0; size < flowSize;) {
        const from = random.int(block.length / 2);
        const piece = block.subarray(from, from + 1 + random.int(block.length / 2));
        say(piece);
        size += piece.length;
        await until(() => peer.unsentCount === 0, "the piece is sent", 30_000);
      }
      peer.finish();
      await until(() => peer.over, "the whole echo", 30_000);
      expect([peer.wasReset, heard.digest("hex")]).toEqual([false, sent.digest("hex")]);
    };
    await Promise.all(Array.from({ length: flowCount }, (_, n) => send(n)));
    expect(rssKiB(balancer.pid) - before).toBeLessThan(160 * 1024);
    await balancer.when((now) => now.open === 0, "all have ended");
    const { bytesUp, bytesDown } = await balancer.status();
    expect([bytesUp, bytesDown].every((each) => each >= flowCount * flowSize)).toBe(true);
    expect(bytesUp).toBe(bytesDown);
    expect(toldBy(balancer)).toEqual([]);
    expect(await balancer.process.stop()).toBe(0);
    expect(new Set(balancer.ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  });
});

/** What a client does before it leaves. */
function liveOn(fd: number, leavers: Leavers, random: Random): void {
  switch (random.int(6)) {
    case 0:
      return rawClose(fd, "reset");
    case 1:
      return rawClose(fd, "end");
    case 2:
      rawSend(fd, Buffer.from("half a li"));
      return leavers.add(fd);
    case 3:
      rawSend(fd, Buffer.from("ask\n"));
      return leavers.add(fd);
    case 4:
      rawSend(fd, Buffer.from("ask\n"));
      rawFinish(fd);
      return leavers.add(fd);
    default:
      return leavers.add(fd);
  }
}

fault(
  32,
  "clients leave at every moment: the counters are exact",
  async (lab) => {
    await withSeed(async (random) => {
      using a = teller(1);
      using b = teller();
      const places = [`${a.address},slots=2`, `${b.address},slots=6`];
      const balancer = await lab.start(["--queue-timeout", "0", ...places]);
      const leavers = new Leavers(random, 200);
      const count = sized(100_000, 8_000);
      await comeAndGo(balancer, count, (fd) => liveOn(fd, leavers, random));
      leavers.closeAll();
      const status = await balancer.settle(count);
      expect(a.servingMax).toBeLessThanOrEqual(2);
      expect(b.servingMax).toBeLessThanOrEqual(6);
      expect(status.queue.waited).toBeGreaterThan(0);
      await expectServed(balancer.port, 20);
      const after = await balancer.settle(count + 20);
      const ended = await balancer.finish(count + 20);
      const counted: Record<string, number> = {};
      for (const { reason } of ended) counted[reason] = (counted[reason] ?? 0) + 1;
      const closed = Object.entries(after.closed).filter(([, each]) => each > 0);
      expect(counted).toEqual(Object.fromEntries(closed));
      expect(new Set(ended.map((each) => each.id)).size).toBe(count + 20);
      expect(Object.keys(counted).toSorted()).toEqual(["client-left", "client-reset", "done"]);
    });
  },
  { timeoutMs: 180_000 },
);
