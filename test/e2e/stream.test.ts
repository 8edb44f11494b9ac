// One connection through the balancer: its bytes, its ends and its resets, each way.

import { describe, expect, test } from "bun:test";
import { blackhole, client, echoServer, seeded, serve, sink } from "../net.ts";
import { tagServer, until, withSeed, type Peer } from "../net.ts";
import { endings, inTurn, start, ways } from "./ways.ts";

const MiB = 1024 * 1024;

describe.each(ways)("stream, %s", (way) => {
  test("half-close: a server that answers only after the client's end", async () => {
    using server = serve({
      onEnd: (peer) => (peer.send(`heard ${peer.text}`), peer.finish()),
    });
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    peer.send("a question");
    peer.finish();
    await until(() => peer.over, "the answer");
    expect(peer.text).toBe("heard a question");
    expect(peer.wasReset).toBe(false);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ bytesUp: 10, bytesDown: 16, destination: server.address });
    expect(ended).toMatchObject({ reason: "done", state: "--", closedBy: "client" });
  });

  test("half-close: a server that ends first, a client that goes on", async () => {
    const bytes = seeded(1).bytes(3 * MiB);
    using server = serve({ onOpen: (peer) => (peer.send("greeting"), peer.finish()) });
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    await until(() => peer.ended, "the server's end");
    expect(peer.text).toBe("greeting");
    peer.send(bytes);
    peer.finish();
    const at = await until(() => server.peers[0], "the connection at the server");
    await until(() => at.over, "the client's end");
    expect(at.wasReset).toBe(false);
    expect(at.received.equals(bytes)).toBe(true);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ bytesUp: bytes.length, bytesDown: 8 });
    expect(ended).toMatchObject({ reason: "done", state: "--", closedBy: "destination" });
  });

  test("half-close: an end before any byte", async () => {
    using server = sink();
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    peer.finish();
    await until(() => peer.over, "the server's end");
    expect([peer.wasReset, peer.receivedCount]).toEqual([false, 0]);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ bytesUp: 0, bytesDown: 0, reason: "done", closedBy: "client" });
  });

  test("half-close: 10 MB and an end from both sides at once", async () => {
    const random = seeded(1);
    const [up, down] = [random.bytes(10 * MiB), random.bytes(10 * MiB)];
    using server = serve({ onOpen: (peer) => (peer.send(down), peer.finish()) });
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    peer.send(up);
    peer.finish();
    await until(() => peer.over && server.peers[0]?.over, "both ends");
    expect(peer.received.equals(down)).toBe(true);
    expect(server.peers[0]?.received.equals(up)).toBe(true);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ bytesUp: up.length, bytesDown: down.length, reason: "done" });
  });

  test("reset: of the client, seen as one at the server", async () => {
    using server = serve({});
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    peer.send("some bytes");
    await until(() => server.peers[0]?.text === "some bytes", "the bytes at the server");
    peer.reset();
    await until(() => server.peers[0]?.over, "the reset at the server");
    expect(server.peers[0]?.code).toBe("ECONNRESET");
    expect(server.peers[0]?.ended).toBe(false);
    expect(endings(await balancer.finish(1))).toEqual(["client-reset CD client"]);
  });

  test("reset: of the server, seen as one at the client", async () => {
    using server = serve({ onData: (peer) => peer.reset() });
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    peer.send("x");
    await until(() => peer.over, "the reset at the client");
    expect([peer.ended, peer.code]).toEqual([false, "ECONNRESET"]);
    expect(endings(await balancer.finish(1))).toEqual(["destination-reset SD destination"]);
  });

  test("reset: of the server after its answer, which arrives before it", async () => {
    using server = serve({
      onData: (peer) => peer.send("the whole answer"),
      onFlushed: (peer) => peer.reset(),
    });
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    peer.send("x");
    await until(() => peer.over, "the reset at the client");
    expect([peer.text, peer.ended, peer.code]).toEqual(["the whole answer", false, "ECONNRESET"]);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ reason: "destination-reset", bytesDown: 16 });
  });

  test("reset: of a client that has ended, while the server still sends", async () => {
    using server = serve({ onEnd: (peer) => peer.send(Buffer.alloc(MiB)) });
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    peer.finish();
    await until(() => peer.receivedCount > 0, "the beginning of the answer");
    peer.reset();
    await until(() => server.peers[0]?.closed, "the reset at the server");
    expect(server.peers[0]?.wasReset).toBe(true);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ reason: "client-reset", closedBy: "client" });
  });

  test("reset: of 150 servers in the midst of uploads, none of them seen as an end", async () => {
    using server = serve({
      keep: false,
      onData: (peer) => (
        peer.send("part of an answer"),
        peer.receivedCount > 50_000 && peer.reset()
      ),
    });
    await using balancer = await start(way, [server.address]);
    const bytes = Buffer.alloc(400_000);
    for (let round = 0; round < 3; round++) {
      const peers = await Promise.all(Array.from({ length: 50 }, () => client(balancer.port)));
      for (const peer of peers) peer.send(bytes);
      await until(() => peers.every((peer) => peer.over), "a reset at every client");
      expect(peers.filter((peer) => peer.ended || !peer.wasReset)).toEqual([]);
    }
    const ended = await balancer.finish(150);
    expect(new Set(endings(ended))).toEqual(new Set(["destination-reset SD destination"]));
  });

  test("early answer: what 60 servers say before they close on an unread upload arrives, then the cut is seen", async () => {
    const answer = "413".padEnd(1_000, ".");
    using server = serve({
      keep: false,
      onData: (peer) => {
        if (peer.receivedCount > 512 * 1024 || peer.closed) return;
        peer.send(answer);
        peer.socket.end(); // close(2) with bytes unread: the answer, then a reset
      },
    });
    await using balancer = await start(way, [server.address]);
    const bytes = Buffer.alloc(4_000_000);
    for (let round = 0; round < 3; round++) {
      const peers = await Promise.all(Array.from({ length: 20 }, () => client(balancer.port)));
      for (const peer of peers) peer.send(bytes);
      // A server's end may be told before the reset that follows it, and so may a write that failed before its answer.
      const isHeard = (peer: Peer) => peer.wasReset && peer.receivedCount >= answer.length;
      await until(() => peers.every(isHeard), "an answer and a reset at every client");
      expect(peers.map((peer) => peer.receivedCount)).toEqual(peers.map(() => 1_000));
    }
    await balancer.finish(60);
  });

  test("server first: a greeting, then a talk line by line", async () => {
    using server = tagServer("220 ready\n", undefined, "echo");
    await using balancer = await start(way, [server.address]);
    using peer = await client(balancer.port);
    let heard = "220 ready\n";
    await until(() => peer.text === heard, "the greeting");
    for (const line of ["HELO\n", "MAIL\n", "QUIT\n"]) {
      peer.send(line);
      heard += line;
      await until(() => peer.text === heard, `the echo of ${line}`);
    }
    peer.finish();
    await until(() => peer.over, "the server's end");
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ bytesUp: 15, bytesDown: 25, reason: "done" });
  });

  test("early bytes: 300 KB and an end before the destination is connected", async () => {
    const bytes = seeded(1).bytes(300_000);
    using hole = blackhole();
    using server = echoServer();
    const options = ["--connect-timeout", "200ms"];
    const destinations = inTurn(way, hole.address, server.address);
    await using balancer = await start(way, [...options, ...destinations]);
    using peer = await client(balancer.port);
    peer.send(bytes);
    peer.finish();
    await until(() => peer.over, "the echo of all bytes");
    expect(peer.received.equals(bytes)).toBe(true);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ tried: ["first"], reason: "done", bytesUp: 300_000 });
  });

  test("talk: 12 MB in random pieces with random pauses, back byte by byte", () =>
    withSeed(async (random) => {
      const bytes = random.bytes(12 * MiB);
      using server = echoServer();
      await using balancer = await start(way, [server.address]);
      using peer = await client(balancer.port, {
        onData(peer) {
          if (random.int(4) > 0) return;
          peer.pause();
          setTimeout(() => peer.closed || peer.resume(), random.int(3));
        },
      });
      for (let from = 0, size = 0; from < bytes.length; from += size) {
        size = random.int(2) === 0 ? random.int(300) + 1 : random.int(200_000) + 1;
        peer.send(bytes.subarray(from, from + size));
        if (random.int(4) === 0) await until(() => peer.unsentCount < 100_000, "room to send");
      }
      peer.finish();
      await until(() => peer.over, "the end of the echo");
      expect(peer.wasReset).toBe(false);
      expect(peer.received.equals(bytes)).toBe(true);
      const [ended] = await balancer.finish(1);
      expect(ended).toMatchObject({ bytesUp: bytes.length, bytesDown: bytes.length });
    }));
});
