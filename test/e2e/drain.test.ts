// The end of the balancer, and what its output may do to its traffic: nothing.

import { describe, expect, test } from "bun:test";
import {
  client,
  echoServer,
  knock,
  lateMs,
  rawPipe,
  serve,
  spawnBalancer,
  tagServer,
  until,
} from "../net.ts";
import { embed, endings, isInThisThread, spawn, waysInProcess } from "./ways.ts";

describe("drain", () => {
  test("drain: a pair goes on to its end, who waits is refused, nobody new is accepted", async () => {
    using server = echoServer();
    await using balancer = await spawn(["--slots", "1", server.address]);
    const { process } = balancer;
    using joined = await client(balancer.port);
    joined.send("before");
    await until(() => joined.text === "before", "the echo");
    using waiting = await client(balancer.port);
    using left = await client(balancer.port); // accepted later: so the one before it waits
    left.reset();
    await until(() => balancer.ended.length === 1, "the one that has left");
    const exited = process.stop("SIGTERM");
    await until(() => waiting.over, "the refusal");
    expect(waiting.code).toBe("ECONNRESET");
    const words = "draining: 1 open go on, 1 waiting refused";
    await until(() => process.stderr.includes(words), "the word of it");
    expect(client(balancer.port)).rejects.toThrow();
    joined.send(", and during the drain");
    await until(() => joined.text === "before, and during the drain", "the second echo");
    joined.finish();
    await until(() => joined.over, "the end of the pair");
    expect(joined.wasReset).toBe(false);
    expect(await exited).toBe(0);
    expect(process.stderr).toContain("drained: all have finished");
    const expected = ["client-left CQ client", "shutdown KQ balancer", "done -- client"];
    expect(endings(balancer.ended)).toEqual(expected);
  });

  test("drain: --drain-timeout cuts what is left, exit 0", async () => {
    using server = echoServer();
    await using balancer = await spawn(["--drain-timeout", "400ms", server.address]);
    using peer = await client(balancer.port);
    peer.send("x");
    await until(() => peer.text === "x", "the echo");
    const startedAt = performance.now();
    expect(await balancer.process.stop("SIGINT")).toBe(0);
    const tookMs = performance.now() - startedAt;
    expect(tookMs).toBeGreaterThanOrEqual(400);
    expect(tookMs).toBeLessThan(400 + lateMs);
    await until(() => peer.over && server.peers[0]?.over, "the cut on both sides");
    expect([peer.code, server.peers[0]?.code]).toEqual(["ECONNRESET", "ECONNRESET"]);
    expect(balancer.process.stderr).toContain("drained: 1 cut off");
    expect(endings(balancer.ended)).toEqual(["drain KD balancer"]);
  });

  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("drain: the second %s ends at once, exit %d", async (signal, code) => {
    using server = echoServer();
    await using balancer = await spawn([server.address]);
    using peer = await client(balancer.port);
    peer.send("x");
    await until(() => peer.text === "x", "the echo");
    void balancer.process.stop(signal);
    await until(() => balancer.process.stderr.includes("draining: 1 open"), "the drain");
    const startedAt = performance.now();
    // Within 100 ms of the first a second one is taken for the same Ctrl-C.
    let ended: number | null = null;
    void balancer.process.exited.then((value) => (ended = value));
    await until(() => {
      if (ended === null) void balancer.process.stop(signal);
      return ended !== null;
    }, "the end");
    expect(ended as number | null).toBe(code);
    expect(performance.now() - startedAt).toBeLessThan(lateMs);
    await until(() => peer.over, "the cut");
    expect(peer.wasReset).toBe(true);
  });

  test.each(waysInProcess)("drain: of the library, %s, twice is once", async (way) => {
    using server = echoServer();
    await using balancer = await embed([server.address], way);
    using peer = await client(balancer.port);
    peer.send("x");
    await until(() => peer.text === "x", "the echo");
    let drained = false;
    const both = Promise.all([balancer.drain(), balancer.drain()]).then(() => (drained = true));
    await until(() => balancer.events.some((each) => each.kind === "draining"), "the drain");
    expect(balancer.events.filter((each) => each.kind === "draining").length).toBe(1);
    expect(drained).toBe(false);
    peer.finish();
    await both;
    await balancer.finish(1);
    expect(client(balancer.port)).rejects.toThrow();
  });

  test.each(waysInProcess)(
    "drain: whom the kernel has accepted before is served, %s",
    async (way) => {
      using server = tagServer("hello");
      await using balancer = await embed([server.address], way);
      // Connected within this turn of the event loop, so that the balancer has not seen them yet.
      const peers = await Promise.all(Array.from({ length: 50 }, () => knock(balancer.port)));
      if (isInThisThread(way)) expect(balancer.status().accepted).toBe(0);
      const drained = balancer.drain();
      for (const peer of peers) peer.finish();
      await until(() => peers.every((peer) => peer.over), "all answers");
      expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["hello"]));
      await drained;
      await balancer.finish(50);
    },
  );
});

/** `count` clients, one after the other, each served in full. */
async function expectServed(port: number, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    using peer = await client(port);
    peer.finish();
    await until(() => peer.over, "the answer");
    expect(peer.text).toBe("hello");
  }
}

describe("output", () => {
  test("output: stdout that nobody reads any more ends the lines, not the balancer", async () => {
    using server = tagServer("hello");
    using pipe = rawPipe();
    const args = ["127.0.0.1:0", server.address];
    await using balancer = await spawnBalancer(args, { stdout: pipe.writeFd });
    await expectServed(balancer.port, 1);
    await until(() => pipe.read().includes("reason=done"), "the first line");
    pipe.closeRead();
    await expectServed(balancer.port, 1);
    await until(() => balancer.stderr.includes("access log ends: EPIPE"), "the word of it");
    await expectServed(balancer.port, 20);
    expect(await balancer.stop()).toBe(0);
    expect(balancer.stderr).toMatch(/\b21 access lines were not written/);
  });

  test("output: a stalled stdout costs lines, not traffic, and not the stop", async () => {
    using server = serve({ onEnd: (peer) => (peer.send("hello"), peer.finish()) });
    using pipe = rawPipe();
    const args = ["127.0.0.1:0", server.address];
    await using balancer = await spawnBalancer(args, { stdout: pipe.writeFd });
    const count = 800; // more lines than a pipe holds
    for (let round = 0; round < 8; round++) {
      await Promise.all(Array.from({ length: 8 }, () => expectServed(balancer.port, count / 64)));
    }
    const startedAt = performance.now();
    expect(await balancer.stop()).toBe(0);
    expect(performance.now() - startedAt).toBeLessThan(lateMs);
    const told = Number(balancer.stderr.match(/(\d+) access lines were not written/)?.[1]);
    const lines = pipe.read().split("\n").slice(0, -1);
    expect(lines.length).toBeGreaterThan(100);
    expect(lines.filter((line) => !/^time=\S+ id=\d+ .* reason=done$/.test(line))).toEqual([]);
    // Lines of a write that had not returned count as lost, though the pipe has taken the first of them.
    expect(lines.length + told).toBeGreaterThanOrEqual(count);
    expect(told).toBeLessThanOrEqual(count);
  });
});
