// Connections opened ahead: that they are, what they carry, and that a dead one costs nobody anything.

import { describe, expect, test } from "bun:test";
import { client, echoServer, serve, tagServer, until } from "../net.ts";
import { isOneThread, start, ways } from "./ways.ts";

describe.each(ways)("warm, %s", (way) => {
  test("ahead: so many are open before a client comes, over all threads", async () => {
    using server = echoServer();
    await using balancer = await start(way, ["--warm", "4", server.address]);
    await until(() => server.peers.length === 4, "four connections");
    using peer = await client(balancer.port);
    peer.send("hello");
    await until(() => peer.text === "hello", "the echo");
    expect(server.peers[0]?.receivedCount === 5 || !isOneThread(way)).toBe(true); // the oldest
    await until(() => server.peers.length >= 5, "one in its place");
    peer.finish();
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ reason: "done", bytesUp: 5, bytesDown: 5 });
    await until(() => server.openCount === 0, "none is left");
    expect(server.peers.filter((each) => each.wasReset)).toEqual([]);
  });

  test("server first: what was said before there was a client arrives", async () => {
    using server = tagServer("220 welcome", undefined, "echo");
    await using balancer = await start(way, [`${server.address},warm=3`]);
    await until(() => server.peers.length === 3, "three connections");
    const peers = await Promise.all(Array.from({ length: 12 }, () => client(balancer.port)));
    for (const [n, peer] of peers.entries()) peer.send(` number ${n}`);
    await until(
      () => peers.every((peer, n) => peer.text === `220 welcome number ${n}`),
      "the greeting, then the echo",
    );
    for (const peer of peers) peer.finish();
    expect((await balancer.finish(12)).map(({ reason }) => reason)).toEqual(Array(12).fill("done"));
  });

  test("slots: warm connections take none, and never two clients are served at once", async () => {
    let serving = 0;
    let servingMax = 0;
    using server = serve({
      onData: (peer) => {
        serving += 1;
        servingMax = Math.max(servingMax, serving);
        setTimeout(() => {
          serving -= 1;
          peer.send("done");
          peer.finish();
        }, 1);
      },
    });
    await using balancer = await start(way, ["--slots", "1", "--warm", "3", server.address]);
    const peers = await Promise.all(Array.from({ length: 60 }, () => client(balancer.port)));
    for (const peer of peers) {
      peer.send("work");
      peer.finish();
    }
    await until(() => peers.every((peer) => peer.over), "all answers");
    expect(peers.filter((peer) => peer.text !== "done")).toEqual([]);
    expect(servingMax).toBe(1);
    await balancer.finish(60);
  });

  test("dead: those that the destination has closed cost no client anything", async () => {
    using server = serve({
      onData: (peer, chunk) => peer.send(chunk),
      onEnd: (peer) => peer.finish(),
    });
    await using balancer = await start(way, ["--warm", "3", server.address]);
    await until(() => server.peers.length === 3, "three connections");
    server.peers[0]?.finish();
    server.peers[1]?.reset();
    const peers = await Promise.all(Array.from({ length: 5 }, () => client(balancer.port)));
    for (const peer of peers) peer.send("hello");
    await until(() => peers.every((peer) => peer.text === "hello"), "every echo");
    for (const peer of peers) peer.finish();
    const ended = await balancer.finish(5);
    expect(ended.map(({ reason, tried }) => [reason, tried])).toEqual(
      Array.from({ length: 5 }, () => ["done", []]),
    );
  });
});
