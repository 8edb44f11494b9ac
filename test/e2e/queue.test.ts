// Clients that wait: their order, how many of them, how long, and what their leaving means.

import { describe, expect, test } from "bun:test";
import { client, echoServer, knock, lateMs, until, type Peer } from "../net.ts";
import { counter } from "./counter.ts";
import { byCommandLine, embed, endings, start, ways, waysInProcess } from "./ways.ts";

describe.each(waysInProcess)("queue, %s", (way) => {
  test("order: 500 waiting clients are served in the order of their arrival", async () => {
    using server = counter();
    await using balancer = await embed(["--slots", "1", server.address], way);
    using holder = await client(balancer.port);
    await until(() => server.serving === 1, "the holder at the server");
    const peers: Peer[] = [];
    for (let i = 0; i < 500; i++) {
      peers.push(await client(balancer.port));
      await balancer.queued(i + 1, `client ${i} waits`);
      peers[i]?.send(`${i}`);
      peers[i]?.finish();
    }
    expect(server.served).toEqual([]);
    holder.finish();
    await until(() => peers.every((peer) => peer.over), "all answers");
    const expected = peers.map((_, i) => `${i}`);
    expect(server.served).toEqual(["", ...expected]);
    expect(peers.map((peer) => peer.text)).toEqual(expected.map((each) => `served ${each}`));
    expect(server.servingMax).toBe(1);
    const ended = await balancer.finish(501);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  });

  test("limit: one client more than may wait is refused, the others are served", async () => {
    using server = counter();
    const options = ["--slots", "1", "--queue-max", "2"];
    await using balancer = await embed([...options, server.address], way);
    const peers: Peer[] = [];
    const { status } = balancer;
    const placed = () =>
      server.serving + status().queue.waiting + (status().closed["queue-full"] ?? 0);
    for (let i = 0; i < 5; i++) {
      peers.push(await knock(balancer.port));
      await until(() => placed() === i + 1, `client ${i} has its place`);
    }
    await until(() => peers[3]?.over && peers[4]?.over, "two refusals");
    expect(peers.map((peer) => peer.code)).toEqual(["", "", "", "ECONNRESET", "ECONNRESET"]);
    expect(balancer.status().queue.waiting).toBe(2);
    const told = () => balancer.events.filter(({ kind }) => kind.startsWith("queue"));
    await until(() => told().length > 0, "the word of it");
    expect(told()).toEqual([{ kind: "queue-full" }]);
    for (const peer of peers.slice(0, 3)) peer.finish();
    await until(() => peers.every((peer) => peer.over), "three answers");
    expect(peers.map((peer) => peer.text)).toEqual(["served ", "served ", "served ", "", ""]);
    const refused = "queue-full PQ balancer";
    const served = "done -- client";
    const ended = endings(await balancer.finish(5));
    expect(ended).toEqual([served, served, served, refused, refused]);
  });

  test("age: every client that has waited for too long is closed, not before, not much later", async () => {
    using server = counter();
    const options = ["--slots", "1", "--queue-timeout", "300ms"];
    await using balancer = await embed([...options, server.address], way);
    using holder = await client(balancer.port);
    await until(() => server.serving === 1, "the holder at the server");
    const peers = await Promise.all(Array.from({ length: 20 }, () => client(balancer.port)));
    await until(() => balancer.status().queue.waiting === 20, "20 waiting clients");
    await until(() => peers.every((peer) => peer.over), "the refusals");
    expect(new Set(peers.map((peer) => peer.code))).toEqual(new Set(["ECONNRESET"]));
    expect(server.peers.length).toBe(1);
    holder.finish();
    await until(() => holder.over, "the answer");
    const [first, ...waited] = await balancer.finish(21);
    expect(first?.reason).toBe("done");
    expect(new Set(endings(waited))).toEqual(new Set(["queue-timeout sQ balancer"]));
    for (const each of waited) {
      expect(each.queueMs).toBeGreaterThanOrEqual(300);
      expect(each.queueMs).toBeLessThan(300 + lateMs);
    }
  });

  test("leaving: a reset frees the place for the next client, and no slot is spent on it", async () => {
    using server = counter();
    const options = ["--slots", "1", "--queue-max", "1"];
    await using balancer = await embed([...options, server.address], way);
    using holder = await client(balancer.port);
    await until(() => server.serving === 1, "the holder at the server");
    for (let i = 0; i < 20; i++) {
      using peer = await client(balancer.port);
      await until(() => balancer.status().queue.waiting === 1, "a waiting client");
      if (i % 2 === 1) peer.send("early bytes");
      peer.reset();
      await until(() => balancer.status().queue.waiting === 0, "its place is free");
    }
    using last = await client(balancer.port);
    await until(() => balancer.status().queue.waiting === 1, "the last client waits");
    last.finish();
    holder.finish();
    await until(() => last.over, "the last answer");
    expect(last.text).toBe("served ");
    expect(server.peers.length).toBe(2);
    const ended = await balancer.finish(22);
    expect(new Set(endings(ended.slice(1, 21)))).toEqual(new Set(["client-left CQ client"]));
  });
});

describe.each(ways)("queue, %s", (way) => {
  test("end while waiting: kept by default, and answered in its turn", async () => {
    using server = counter();
    await using balancer = await start(way, ["--slots", "1", server.address]);
    using holder = await client(balancer.port);
    await until(() => server.serving === 1, "the holder at the server");
    using peer = await client(balancer.port);
    peer.send("patient");
    peer.finish();
    await balancer.queued(1, "it waits");
    using witness = await client(balancer.port); // accepted later: so the one before it waits
    witness.finish();
    holder.finish();
    await until(() => witness.over && peer.over, "all answers");
    expect(peer.text).toBe("served patient");
    expect(server.served).toEqual(["", "patient", ""]);
    expect(endings(await balancer.finish(3))).toEqual(Array(3).fill("done -- client"));
  });

  test("end while waiting: taken as leaving with --queue-fin leave", async () => {
    using server = counter();
    await using balancer = await start(way, [
      "--slots",
      "1",
      "--queue-fin",
      "leave",
      server.address,
    ]);
    using holder = await client(balancer.port);
    await until(() => server.serving === 1, "the holder at the server");
    using peer = await client(balancer.port);
    peer.send("impatient");
    peer.finish();
    await until(() => peer.over, "the close");
    expect(server.peers.length).toBe(1);
    holder.finish();
    await until(() => holder.over, "the answer");
    const ended = endings(await balancer.finish(2));
    expect(ended).toEqual(["done -- client", "client-left CQ client"]);
  });

  test("slots: never more than three clients at a destination with --slots 3", async () => {
    using server = counter(3);
    await using balancer = await start(way, ["--slots", "3", server.address]);
    const peers = await Promise.all(Array.from({ length: 60 }, () => client(balancer.port)));
    for (const [i, peer] of peers.entries()) {
      peer.send(`${i}`);
      peer.finish();
    }
    await until(() => peers.every((peer) => peer.over), "all answers");
    expect(peers.map((peer) => peer.text)).toEqual(peers.map((_, i) => `served ${i}`));
    expect(server.servingMax).toBe(3);
    await balancer.finish(60);
  });

  test("burst: 1,000 clients in an instant, four destinations of one slot each", async () => {
    using a = counter();
    using b = counter();
    using c = counter();
    using d = counter();
    const all = [a, b, c, d];
    const destinations = all.map((each) => each.address);
    await using balancer = await start(way, ["--slots", "1", ...destinations]);
    const peers = await Promise.all(Array.from({ length: 1_000 }, () => client(balancer.port)));
    for (const [i, peer] of peers.entries()) {
      peer.send(`${i}`);
      peer.finish();
    }
    await until(() => peers.every((peer) => peer.over), "all answers");
    expect(peers.map((peer) => peer.text)).toEqual(peers.map((_, i) => `served ${i}`));
    expect(all.map((each) => each.servingMax)).toEqual([1, 1, 1, 1]);
    for (const each of all) expect(each.served.length).toBeGreaterThan(100);
    const ended = await balancer.finish(1_000);
    expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
  });
});

test("crowd: 2,000 clients at once, all joined before the first is answered", async () => {
  using server = echoServer();
  await using balancer = await start(byCommandLine, [server.address]);
  const peers = await Promise.all(Array.from({ length: 2_000 }, () => client(balancer.port)));
  await until(() => server.peers.length === 2_000, "2,000 connections at the server", 20_000);
  for (const [i, peer] of peers.entries()) peer.send(`client ${i}`);
  await until(() => peers.every((peer, i) => peer.text === `client ${i}`), "2,000 echoes");
  for (const peer of peers) peer.finish();
  await until(() => peers.every((peer) => peer.over), "2,000 ends");
  expect(peers.filter((peer) => peer.wasReset)).toEqual([]);
  const ended = await balancer.finish(2_000);
  expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
});
