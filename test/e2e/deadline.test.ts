// The deadlines of a connection: none early, none much late, and none for who is in time.

import { describe, expect, test } from "bun:test";
import { blackhole, client, lateMs, serve, tagServer, until } from "../net.ts";
import { embed, endings, portably, start, ways, type Ended } from "./ways.ts";

function expectBetween(ended: Ended | undefined, ms: number): void {
  expect(ended?.totalMs).toBeGreaterThanOrEqual(ms);
  expect(ended?.totalMs).toBeLessThan(ms + lateMs);
}

describe.each(ways)("deadline, %s", (way) => {
  test("idle: a quiet pair is reset on both sides", async () => {
    using server = serve({});
    await using balancer = await start(way, ["--idle-timeout", "300ms", server.address]);
    using peer = await client(balancer.port);
    peer.send("hello");
    await until(() => peer.over && server.peers[0]?.over, "the reset on both sides");
    expect([peer.code, server.peers[0]?.code]).toEqual(["ECONNRESET", "ECONNRESET"]);
    const ended = await balancer.finish(1);
    expect(endings(ended)).toEqual(["idle-timeout cD balancer"]);
    expectBetween(ended[0], 300);
  });

  test("half-close: a server that does not end after its client has", async () => {
    using server = serve({});
    const options = ["--half-close-timeout", "300ms"];
    await using balancer = await start(way, [...options, server.address]);
    using peer = await client(balancer.port);
    peer.finish();
    await until(() => peer.over, "the reset");
    expect(peer.code).toBe("ECONNRESET");
    const ended = await balancer.finish(1);
    expect(endings(ended)).toEqual(["half-close-timeout sD balancer"]);
    expectBetween(ended[0], 300);
  });

  test("half-close: a client that does not end after its server has", async () => {
    using server = tagServer("good-bye");
    const options = ["--half-close-timeout", "300ms"];
    await using balancer = await start(way, [...options, server.address]);
    using peer = await client(balancer.port);
    await until(() => peer.closed, "the reset");
    expect([peer.text, peer.ended, peer.wasReset]).toEqual(["good-bye", true, true]);
    const ended = await balancer.finish(1);
    expect(endings(ended)).toEqual(["half-close-timeout cD balancer"]);
    expectBetween(ended[0], 300);
  });

  test("answer: a server that hears and says nothing; one that has answered may take its time", async () => {
    using server = serve({
      onData: (peer, chunk) => chunk.equals(Buffer.from("talk")) && peer.send("so be it"),
      onEnd: (peer) => peer.finish(),
    });
    await using balancer = await start(way, ["--answer-timeout", "1s", server.address]);
    using answered = await client(balancer.port);
    answered.send("talk");
    await until(() => answered.text === "so be it", "the answer");
    answered.send("and more");
    using quiet = await client(balancer.port); // says nothing, so nobody owes it an answer
    await until(() => server.peers.length === 2, "the quiet one at the server");
    using waiting = await client(balancer.port);
    waiting.send("hello?");
    await until(() => waiting.over, "the reset");
    expect([answered.over, quiet.over, waiting.code]).toEqual([false, false, "ECONNRESET"]);
    answered.finish();
    quiet.finish();
    await until(() => answered.over && quiet.over, "two ends");
    const ended = await balancer.finish(3);
    const done = "done -- client";
    expect(endings(ended)).toEqual([done, done, "answer-timeout sD balancer"]);
    expectBetween(ended[2], 1_000);
  });

  test("cooldown: a slot rests after each connection", async () => {
    const openedAt: number[] = [];
    using server = serve({
      onOpen: () => void openedAt.push(performance.now()),
      onEnd: (peer) => peer.finish(),
    });
    const options = ["--slots", "1", "--cooldown", "200ms"];
    await using balancer = await start(way, [...options, server.address]);
    const peers = await Promise.all(Array.from({ length: 3 }, () => client(balancer.port)));
    for (const peer of peers) peer.finish();
    await until(() => peers.every((peer) => peer.over), "all answers");
    const restsMs = [1, 2].map((i) => (openedAt[i] ?? 0) - (openedAt[i - 1] ?? 0));
    for (const ms of restsMs) {
      expect(ms).toBeGreaterThanOrEqual(199); // a timer may be up to 1 ms early
      expect(ms).toBeLessThan(200 + lateMs);
    }
    await balancer.finish(3);
  });

  test("connect: with nobody else to turn to, the queue's age ends it", async () => {
    using hole = blackhole();
    const options = ["--connect-timeout", "100ms", "--queue-timeout", "1s"];
    await using balancer = await start(way, [...options, `${hole.address},name=hole`]);
    using peer = await client(balancer.port);
    await until(() => peer.over, "the refusal");
    expect(peer.code).toBe("ECONNRESET");
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ reason: "queue-timeout", state: "sQ", destination: "" });
    expect(ended?.tried.length).toBeGreaterThanOrEqual(2);
    expect(new Set(ended?.tried)).toEqual(new Set(["hole"]));
    expectBetween(ended, 1_000);
  });
});

test("idle: a byte now and then, either way, keeps a pair", async () => {
  using server = serve({ onData: (peer) => peer.receivedCount % 2 === 0 && peer.send("x") });
  await using balancer = await embed(["--idle-timeout", "600ms", server.address], portably);
  using peer = await client(balancer.port);
  const startedAt = performance.now();
  let lastAt = startedAt;
  while (performance.now() < startedAt + 1_500 && !peer.over) {
    lastAt = performance.now();
    peer.send("x");
    await Bun.sleep(60); // the pace of the talk, nothing is awaited
  }
  expect(peer.over).toBe(false);
  await until(() => peer.over, "the reset");
  expect(performance.now() - lastAt).toBeGreaterThanOrEqual(599); // a timer may be up to 1 ms early
  expect(endings(await balancer.finish(1))).toEqual(["idle-timeout cD balancer"]);
});
