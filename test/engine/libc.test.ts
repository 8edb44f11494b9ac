// What only the libc engine can do wrong: edges that say two things at once, descriptors, many at a time. The rest is
// in test/e2e, whose cases run over every engine. It blocks, so each of these is a process of its own.

import { describe, expect, test } from "bun:test";
import { spawn } from "../e2e/ways.ts";
import {
  client,
  cpuMs,
  echoServer,
  fdCount,
  knock,
  limitDescriptors,
  seeded,
  serve,
  sink,
} from "../net.ts";
import { tagServer, unixPlace, until } from "../net.ts";

const MiB = 1024 * 1024;

describe("libc engine, bytes", () => {
  test("libc: 64 MiB each way at once, byte by byte", async () => {
    const random = seeded(1);
    const [up, down] = [random.bytes(64 * MiB), random.bytes(64 * MiB)];
    using server = serve({ onOpen: (peer) => (peer.send(down), peer.finish()) });
    await using balancer = await spawn(["--engine", "libc", server.address]);
    using peer = await client(balancer.port);
    peer.send(up);
    peer.finish();
    await until(() => peer.over && server.peers[0]?.over, "both ends", 20_000);
    const hash = (bytes: Buffer) => Bun.SHA256.hash(bytes, "hex");
    expect(hash(peer.received)).toBe(hash(down));
    expect(hash(server.peers[0]?.received ?? Buffer.alloc(0))).toBe(hash(up));
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ reason: "done", bytesUp: up.length, bytesDown: down.length });
  });

  test("libc: 16 MiB and an end to a reader that stands still, then goes on", async () => {
    const bytes = seeded(2).bytes(16 * MiB);
    using server = serve({ onOpen: (peer) => (peer.send(bytes), peer.finish()) });
    await using balancer = await spawn(["--engine", "libc", server.address]);
    using peer = await client(balancer.port, { paused: true });
    await Bun.sleep(100); // everything that fits is in the kernel; nothing to wait for shows it
    expect(peer.receivedCount).toBe(0);
    peer.finish();
    peer.resume();
    await until(() => peer.over, "all of it", 20_000);
    expect(peer.received.equals(bytes)).toBe(true);
    expect(await balancer.finish(1)).toMatchObject([{ reason: "done", bytesDown: bytes.length }]);
  });

  test.each([1, 1_000, 524_287, 524_288, 524_289, 1_048_576])(
    "libc: %i bytes and their end in one edge",
    async (size) => {
      const bytes = seeded(size).bytes(size);
      using server = serve({ onEnd: (peer) => (peer.send(peer.received), peer.finish()) });
      await using balancer = await spawn(["--engine", "libc", server.address]);
      const peers = await Promise.all(Array.from({ length: 5 }, () => client(balancer.port)));
      for (const peer of peers) {
        peer.send(bytes);
        peer.finish();
      }
      await until(() => peers.every((peer) => peer.over), "the answers");
      expect(peers.filter((peer) => !peer.received.equals(bytes))).toEqual([]);
      const ended = await balancer.finish(5);
      expect(new Set(ended.map(({ reason }) => reason))).toEqual(new Set(["done"]));
    },
  );

  test("libc: urgent data stops nothing that comes after it", async () => {
    using server = serve({ onEnd: (peer) => peer.finish() });
    await using balancer = await spawn(["--engine", "libc", server.address]);
    const python = `
import socket, sys, time
s = socket.create_connection(("127.0.0.1", ${balancer.port}))
for i in range(20):
    s.send(b"before"); s.send(b"!", socket.MSG_OOB); s.send(b"after")
    if i % 5 == 0: time.sleep(0.01)
s.shutdown(socket.SHUT_WR)
s.recv(1)`;
    const child = Bun.spawn(["python3", "-c", python], { stdio: ["ignore", "inherit", "inherit"] });
    expect(await child.exited).toBe(0);
    // As everywhere, an urgent byte that nobody asks for is left out.
    expect(server.peers[0]?.text.replaceAll("!", "")).toBe("beforeafter".repeat(20));
    await balancer.finish(1);
  });

  test("libc: 3,000 small ones, 50 at a time, each with its own answer", async () => {
    using server = echoServer();
    await using balancer = await spawn(["--engine", "libc", server.address]);
    const ask = async (lane: number) => {
      for (let n = 0; n < 60; n += 1) {
        using peer = await client(balancer.port);
        const text = `lane ${lane} number ${n}`;
        peer.send(text);
        peer.finish();
        await until(() => peer.over, "the echo");
        expect(peer.text).toBe(text);
      }
    };
    await Promise.all(Array.from({ length: 50 }, (_, lane) => ask(lane)));
    const ended = await balancer.finish(3_000);
    expect(new Set(ended.map(({ reason }) => reason))).toEqual(new Set(["done"]));
  });
});

// Flows are spliced when several of them have filled the buffer some times; see src/engine/splice.ts.
describe("libc engine, splice", () => {
  test("libc: 24 bulk flows at once each way, some readers with pauses, byte by byte", async () => {
    const bytes = seeded(5).bytes(24 * MiB);
    using server = serve({
      keep: false,
      onData: (peer, chunk) => {
        peer.send(chunk);
        if (peer.unsentCount > 0) peer.pause();
      },
      onFlushed: (peer) => peer.resume(),
      onEnd: (peer) => peer.finish(),
    });
    await using balancer = await spawn(["--engine", "libc", server.address]);
    const hashes = Array.from({ length: 24 }, () => new Bun.CryptoHasher("sha1"));
    const peers = await Promise.all(
      hashes.map((hash, i) =>
        client(balancer.port, {
          keep: false,
          onData(peer, chunk) {
            hash.update(chunk);
            if (i % 3 > 0 || chunk.length < 100_000) return;
            peer.pause();
            setTimeout(() => peer.closed || peer.resume(), i % 7);
          },
        }),
      ),
    );
    for (const peer of peers) {
      peer.send(bytes);
      peer.finish();
    }
    await until(() => peers.every((peer) => peer.over), "all echoes", 40_000);
    const wanted = new Bun.CryptoHasher("sha1").update(bytes).digest("hex");
    expect(new Set(hashes.map((hash) => hash.digest("hex")))).toEqual(new Set([wanted]));
    const ended = await balancer.finish(24);
    const sizes = ended.map(({ bytesUp, bytesDown, reason }) => [bytesUp, bytesDown, reason]);
    expect(sizes).toEqual(sizes.map(() => [bytes.length, bytes.length, "done"]));
  }, 60_000);

  test.each(["client", "server"])("libc: a reset of the %s in the midst of bulk", async (side) => {
    using server = serve({
      keep: false,
      onOpen: (peer) => peer.send(Buffer.alloc(512 * MiB)),
    });
    await using balancer = await spawn(["--engine", "libc", server.address]);
    // They read some, then stand still: their pipes are full.
    const peers = await Promise.all(
      Array.from({ length: 4 }, () =>
        client(balancer.port, {
          keep: false,
          onData: (peer) => peer.receivedCount > 20 * MiB && peer.pause(),
        }),
      ),
    );
    await until(() => peers.every((peer) => peer.receivedCount > 20 * MiB), "20 MiB each", 20_000);
    if (side === "client") {
      for (const peer of peers) peer.reset();
      await until(() => server.peers.every((peer) => peer.over), "a reset at the server");
      expect(server.peers.filter((peer) => peer.ended || !peer.wasReset)).toEqual([]);
    } else {
      for (const peer of server.peers) peer.reset();
      for (const peer of peers) peer.resume();
      await until(() => peers.every((peer) => peer.over), "a reset at every client");
      expect(peers.filter((peer) => peer.ended || !peer.wasReset)).toEqual([]);
    }
    const reasons = (await balancer.finish(4)).map(({ reason }) => reason);
    const reason = side === "client" ? "client-reset" : "destination-reset";
    expect(new Set(reasons)).toEqual(new Set([reason]));
  });
});

describe("libc engine, connections", () => {
  test("libc: 1,000 at once, and no descriptor of them stays", async () => {
    using server = tagServer("hello", undefined, "echo");
    await using balancer = await spawn(["--engine", "libc", server.address]);
    const peers = await Promise.all(Array.from({ length: 1_000 }, () => client(balancer.port)));
    await until(() => peers.every((peer) => peer.text === "hello"), "every greeting");
    for (const peer of peers) peer.send(" world");
    await until(() => peers.every((peer) => peer.text === "hello world"), "every echo");
    for (const [i, peer] of peers.entries()) {
      if (i % 2 === 0) peer.finish();
      else peer.reset();
    }
    const ended = await balancer.finish(1_000);
    const count = (reason: string) => ended.filter((each) => each.reason === reason).length;
    expect([count("done"), count("client-reset")]).toEqual([500, 500]);
  });

  test("libc: without descriptors it rests, and goes on when there are some", async () => {
    using server = sink();
    await using balancer = await spawn(["--engine", "libc", server.address]);
    const { pid } = balancer.process;
    limitDescriptors(pid, fdCount(pid) + 5);
    const peers = await Promise.all(Array.from({ length: 20 }, () => client(balancer.port)));
    const before = cpuMs(pid);
    await Bun.sleep(250); // two rests and more
    expect(cpuMs(pid) - before).toBeLessThan(100);
    limitDescriptors(pid, 4_096);
    for (const peer of peers) peer.finish();
    await until(() => peers.every((peer) => peer.over), "the ends");
    expect(peers.filter((peer) => peer.wasReset)).toEqual([]);
    await balancer.finish(20);
  });

  test("libc: a client that resets before it is looked at costs nothing else", async () => {
    using server = echoServer();
    await using balancer = await spawn(["--engine", "libc", "--slots", "1", server.address]);
    for (let n = 0; n < 100; n += 1) (await knock(balancer.port)).reset();
    using peer = await client(balancer.port);
    peer.send("still here");
    await until(() => peer.text === "still here", "the echo");
    peer.finish();
    await until(() => peer.over, "the end");
    await balancer.finish(101);
  });

  test("libc: a reset of the client reaches the server though the client stands still", async () => {
    using server = serve({ keep: false, onOpen: (peer) => peer.send(Buffer.alloc(32 * MiB)) });
    await using balancer = await spawn(["--engine", "libc", server.address]);
    using peer = await client(balancer.port, { paused: true });
    const at = await until(() => server.peers[0], "the server's side");
    await until(() => at.unsentCount > 0, "a full way");
    peer.reset();
    await until(() => at.over, "the reset at the server");
    expect([at.ended, at.wasReset]).toEqual([false, true]);
    expect(await balancer.finish(1)).toMatchObject([{ reason: "client-reset" }]);
  });

  test("libc: the end of a server whose client stands still comes after the last byte", async () => {
    const bytes = seeded(3).bytes(12 * MiB);
    using server = serve({
      onOpen: (peer) => peer.send(bytes),
      onFlushed: (peer) => peer.finish(),
    });
    await using balancer = await spawn(["--engine", "libc", server.address]);
    using peer = await client(balancer.port, { paused: true });
    await Bun.sleep(50); // the way is full
    peer.resume();
    await until(() => peer.over, "the end", 20_000);
    expect([peer.received.equals(bytes), peer.wasReset]).toEqual([true, false]);
    peer.finish();
    await balancer.finish(1);
  });

  test("libc: unix sockets on both sides", async () => {
    const bytes = seeded(4).bytes(3 * MiB);
    using server = echoServer(unixPlace());
    const listen = unixPlace();
    await using balancer = await spawn(["--engine", "libc", server.address], { listen });
    using peer = await client(listen);
    peer.send(bytes);
    peer.finish();
    await until(() => peer.over, "the echo");
    expect(peer.received.equals(bytes)).toBe(true);
    expect(await balancer.finish(1)).toMatchObject([{ reason: "done", client: "unix:" }]);
  });

  test("libc: IPv6 on both sides, and an address in its short form", async () => {
    using server = tagServer("six", "[::1]:0");
    await using balancer = await spawn(["--engine", "libc", server.address], { listen: "[::1]:0" });
    using peer = await client(balancer.address);
    await until(() => peer.ended, "the answer");
    peer.finish();
    const [ended] = await balancer.finish(1);
    expect(ended?.client).toMatch(/^\[::1\]:\d+$/);
  });
});
