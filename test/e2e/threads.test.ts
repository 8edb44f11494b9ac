// Several data-plane threads are one balancer: one queue, one set of slots and limits, one log, one end.

import { describe, expect, test } from "bun:test";
import { client, echoServer, until, type ClientOptions, type Peer } from "../net.ts";
import { counter, lineCounter } from "./counter.ts";
import { embed, endings, refused, spawn, type Balancing, type InProcess } from "./ways.ts";

const inFour = ["--threads", "4", "--slots", "1", "--refusal-lines", "0"];

/** Ends after the server has. By an address of its own: it has ports of its own, and sees a refusal at once. */
const polite: ClientOptions = { from: "127.0.7.1", onEnd: (peer) => peer.finish() };

/** `count` clients at once. */
function crowd({ port }: Balancing, count: number): Promise<Peer[]> {
  return Promise.all(Array.from({ length: count }, () => client(port, polite)));
}

const hasEach = (balancer: InProcess, of: "accepted" | "open") =>
  balancer.status().threads.every((each) => each[of] > 0);

test("threads: 2,000 clients in waves, eight destinations of one slot, never two at one of them", async () => {
  const servers = Array.from({ length: 8 }, () => lineCounter());
  const destinations = servers.map((each) => each.address);
  await using balancer = await embed([...inFour, "--queue-max", "400", ...destinations]);
  const wave = async (size: number): Promise<Peer[]> => {
    const peers = await crowd(balancer, size);
    for (const [i, peer] of peers.entries()) peer.send(`${i}\n`);
    await until(() => peers.every((peer) => peer.over), "all answers");
    const answers = peers.map((peer) => (peer.wasReset ? `${peer.text}refused` : peer.text));
    const expected = peers.map((peer, i) => (peer.wasReset ? "refused" : `served ${i}`));
    expect(answers).toEqual(expected);
    return peers;
  };
  const peers: Peer[] = [];
  for (let i = 0; i < 4; i++) peers.push(...(await wave(500)));
  // Who accepts is the kernel's choice: it comes to each of them, sooner or later.
  await until(
    async () => hasEach(balancer, "accepted") || (peers.push(...(await wave(8))), false),
    "clients in each thread",
  );
  expect(servers.map((each) => each.servingMax)).toEqual(servers.map(() => 1));
  const servedCount = peers.filter((peer) => !peer.wasReset).length;
  const byServers = servers.reduce((sum, each) => sum + each.served.length, 0);
  expect(byServers).toBe(servedCount);
  const ended = await balancer.finish(peers.length);
  expect(ended.map((each) => each.id)).toEqual(peers.map((_, i) => i + 1));
  expect(ended.filter((each) => !/^127\.0\.7\.1:\d+$/.test(each.client))).toEqual([]);
  const done = ended.filter((each) => each.reason === "done");
  const full = ended.filter((each) => each.reason === "queue-full");
  expect([done.length, full.length]).toEqual([servedCount, peers.length - servedCount]);
  for (const server of servers) server[Symbol.dispose]();
});

describe("threads: limits over all of them", () => {
  test("threads: exactly five wait, exactly the others are refused", async () => {
    using server = counter();
    await using balancer = await embed([...inFour, "--queue-max", "5", server.address]);
    using holder = await client(balancer.port);
    await until(() => server.serving === 1, "the holder at the server");
    const rounds = 30;
    for (let round = 1; round <= rounds; round++) {
      const peers = await crowd(balancer, 40);
      const counts = () => {
        const { closed, queue } = balancer.status();
        return { waiting: queue.waiting, refused: closed["queue-full"] - (round - 1) * 35 };
      };
      await until(() => counts().waiting + counts().refused === 40, "all have their place");
      expect(counts()).toEqual({ waiting: 5, refused: 35 });
      await until(() => peers.filter((peer) => peer.over).length === 35, "35 refusals");
      for (const peer of peers) peer.reset();
      await until(() => balancer.status().queue.waiting === 0, "nobody waits");
    }
    holder.finish();
    await until(() => holder.over, "the answer");
    expect(server.served).toEqual([""]);
    const ended = await balancer.finish(1 + 40 * rounds);
    const left = ended.filter((each) => each.reason === "client-left");
    expect(left.length).toBe(5 * rounds);
  });

  test("threads: exactly 20 connections are open, exactly the others are refused", async () => {
    using server = echoServer();
    const options = ["--threads", "4", "--max-connections", "20", "--refusal-lines", "0"];
    await using balancer = await embed([...options, server.address]);
    const rounds = 20;
    for (let round = 1; round <= rounds; round++) {
      const peers = await crowd(balancer, 50);
      const { status } = balancer;
      // A thread counts one by one that a client has come, is open, and was refused.
      await until(() => {
        const { accepted, open, closed } = status();
        return accepted === 50 * round && open === 20 && closed["connection-limit"] === 30 * round;
      }, "20 are open, 30 refused");
      await until(() => peers.filter((peer) => peer.over).length === 30, "30 resets");
      const open = peers.filter((peer) => !peer.over);
      for (const peer of open) peer.send("hello");
      await until(() => open.every((peer) => peer.text === "hello"), "20 echoes");
      for (const peer of open) peer.reset();
      await until(() => status().open === 0, "none is open");
    }
    await balancer.finish(50 * rounds);
  });
});

test.each([
  ["all of them stay", () => false],
  ["every third leaves", (i: number) => i % 3 === 1],
  ["all but the last twenty leave", (i: number) => i < 180],
] as const)("threads: 200 in one queue are served as they came, %s", async (_, leaves) => {
  using server = lineCounter();
  await using balancer = await embed([...inFour, server.address]);
  using holder = await client(balancer.port, polite);
  await until(() => server.serving === 1, "the holder at the server");
  const peers: Peer[] = [];
  for (let i = 0; i < 200 || !hasEach(balancer, "open"); i++) {
    peers.push(await client(balancer.port, polite));
    await balancer.queued(i + 1, `client ${i} waits`);
    peers[i]?.send(`${i}\n`);
  }
  const staying = peers.filter((_, i) => !leaves(i));
  for (const [i, peer] of peers.entries()) if (leaves(i)) peer.reset();
  const { status } = balancer;
  await until(() => status().queue.waiting === staying.length, "those that leave have left");
  holder.send("\n");
  await until(() => staying.every((peer) => peer.over), "all answers");
  const expected = peers.flatMap((_, i) => (leaves(i) ? [] : [`${i}`]));
  expect(server.served).toEqual(["", ...expected]);
  expect(staying.map((peer) => peer.text)).toEqual(expected.map((each) => `served ${each}`));
  expect(server.servingMax).toBe(1);
  const ended = await balancer.finish(peers.length + 1);
  const reasons = peers.map((_, i) => (leaves(i) ? "client-left" : "done"));
  expect(ended.map((each) => each.reason)).toEqual(["done", ...reasons]);
});

describe("threads: by the command line", () => {
  test("threads: SIGTERM lets pairs go on, refuses who waits, and every line is written", async () => {
    using server = echoServer();
    const options = ["--threads", "3", "--slots", "100"];
    await using balancer = await spawn([...options, server.address]);
    const early = await crowd(balancer, 100);
    for (const peer of early) {
      peer.send("hello");
      peer.finish();
    }
    await until(() => early.every((peer) => peer.over), "100 answers");
    expect(new Set(early.map((peer) => peer.text))).toEqual(new Set(["hello"]));
    const peers = await Promise.all(Array.from({ length: 150 }, () => client(balancer.port)));
    for (const peer of peers) peer.send("before");
    const joined = () => peers.filter((peer) => peer.text === "before");
    await until(() => joined().length === 100, "100 echoes");
    const exited = balancer.process.stop("SIGTERM");
    const waiting = peers.filter((peer) => peer.text === "");
    await until(() => waiting.every((peer) => peer.over), "50 refusals");
    expect(new Set(waiting.map((peer) => peer.code))).toEqual(new Set(["ECONNRESET"]));
    const words = "draining: 100 open go on, 50 waiting refused";
    await until(() => balancer.process.stderr.includes(words), "the word of it");
    const pairs = joined();
    expect(pairs.length).toBe(100);
    for (const peer of pairs) {
      peer.send(" and after");
      peer.finish();
    }
    await until(() => pairs.every((peer) => peer.over), "100 ends");
    expect(new Set(pairs.map((peer) => peer.text))).toEqual(new Set(["before and after"]));
    expect(await exited).toBe(0);
    expect(balancer.process.stderr).toContain("drained: all have finished");
    expect(balancer.process.stderr).not.toContain("not written");
    const { ended } = balancer;
    const ids = ended.map((each) => each.id).toSorted((a, b) => a - b);
    expect(ids).toEqual(Array.from({ length: 250 }, (_, i) => i + 1));
    const shutdown = endings(ended).filter((each) => each === "shutdown KQ balancer");
    const done = endings(ended).filter((each) => each === "done -- client");
    expect([done.length, shutdown.length]).toEqual([200, 50]);
  });

  test("threads: SIGTERM right after a crowd, every client is told of", async () => {
    using server = lineCounter();
    await using balancer = await spawn(["--threads", "3", "--slots", "4", server.address]);
    const peers = await crowd(balancer, 300);
    for (const peer of peers) peer.send("hello\n");
    expect(await balancer.process.stop("SIGTERM")).toBe(0);
    await until(() => peers.every((peer) => peer.over), "an end for each");
    const done = endings(balancer.ended).filter((each) => each === "done -- destination");
    const shutdown = endings(balancer.ended).filter((each) => each === "shutdown KQ balancer");
    expect([balancer.ended.length, done.length + shutdown.length]).toEqual([300, 300]);
    expect(peers.filter((peer) => peer.text === "served hello").length).toBe(done.length);
    expect(peers.filter((peer) => peer.wasReset).length).toBe(shutdown.length);
  });

  test.each(["auto", "1", "8"])("threads: --threads %s serves and ends", async (count) => {
    using server = echoServer();
    await using balancer = await spawn(["--threads", count, server.address]);
    for (let i = 0; i < 20; i++) {
      using peer = await client(balancer.port);
      peer.send("hello");
      peer.finish();
      await until(() => peer.over, "the echo");
      expect([peer.text, peer.wasReset]).toEqual(["hello", false]);
    }
    const ended = await balancer.finish(20);
    expect(ended.map((each) => each.id)).toEqual(ended.map((_, i) => i + 1));
  });

  test.each(["0", "65", "x"])("threads: --threads %s is a mistake, exit 2", async (count) => {
    const { code, stderr } = await refused(["127.0.0.1:0", "127.0.0.1:1", "--threads", count]);
    expect([code, stderr.includes("--threads")]).toEqual([2, true]);
  });
});

test.each(["bun", "libc"])(
  "threads: 3,000 that are refused in one go leave a record each, engine %s",
  async (engine) => {
    using server = echoServer();
    const options = ["--engine", engine, "--threads", "2", "--slots", "1", server.address];
    await using balancer = await embed(options);
    using _holder = await client(balancer.port);
    await balancer.when(({ open }) => open === 1, "the holder");
    const waiting: Peer[] = [];
    for (let n = 0; n < 6; n++) waiting.push(...(await crowd(balancer, 500)));
    await balancer.when(({ queue }) => queue.waiting === 3_000, "all in the queue");
    await balancer.balancer.stop();
    expect(balancer.ended.length).toBe(3_001);
    expect(balancer.events.filter(({ kind }) => kind === "warning")).toEqual([]);
    expect(new Set(balancer.ended.map(({ id }) => id)).size).toBe(3_001);
  },
);
