// The engine's TLS between two ends of its own and against peers that end, reset and cut exactly where they should not.

import { afterEach, describe, expect, test } from "bun:test";
import { heapStats } from "bun:jsc";
import { connect, createServer } from "node:tls";
import type { SocketEvents } from "../../src/core/engine.ts";
import { TlsRecords } from "../../src/engine/tls-records.ts";
import { tlsClient, tlsServer } from "../../src/engine/tls-side.ts";
import { certs, opensslMissing } from "../certs.ts";
import { rawConnect, rawListen } from "../raw.ts";
import { fdCount } from "../run.ts";
import { seeded, until, withSeed } from "../wait.ts";
import { accept, RawPeer, turn } from "./facts.ts";
import { clientSide, dialEnd, door, End, engine, faults, join, serverSide } from "./tls-end.ts";
import { exactClient } from "./tls-peer.ts";

if (opensslMissing !== null) console.warn(`skipped: TLS of the engine: ${opensslMissing}`);
const MIB = 1024 * 1024;

afterEach(() => expect(faults.splice(0)).toEqual([]));

describe.skipIf(opensslMissing !== null)("tls", () => {
  test("tls: what the handshake has shown", async () => {
    using it = await join({ alpn: ["h2", "http/1.1"] }, { alpn: ["http/1.1", "h2"] });
    const both = { version: "TLSv1.3", alpn: "http/1.1", resumed: false };
    expect(it.client.secured).toMatchObject({ ...both, peerName: "a.example", verified: true });
    expect(it.server.secured).toMatchObject({ ...both, peerName: "", verified: false });
    expect(it.client.secured?.cipher).toMatch(/^TLS_/);
    expect(it.server.socket && engine.remote(it.server.socket)).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(it.client.socket && engine.isOpen(it.client.socket)).toBe(true);
  });

  test("tls: a prefix before the hello, and a hello byte by byte", async () => {
    using listening = door({ side: serverSide(), prefix: "PROXY!" });
    const client = dialEnd(listening.port, {
      side: clientSide(),
      name: "a.example",
      prefix: "PROXY!",
    });
    await until(() => client.secured, "a handshake");
    client.abort();
    const peer = exactClient(listening.port);
    peer.holds = true;
    await until(() => peer.held.length > 0, "a hello");
    for (const byte of Buffer.concat([Buffer.from("PROXY!"), ...peer.held.splice(0)])) {
      peer.raw.send(Uint8Array.of(byte));
      await turn();
    }
    peer.holds = false;
    await peer.secured();
    peer[Symbol.dispose]();
  });

  test("tls: 64 MiB each way at once, to readers that pause, byte by byte", async () => {
    const random = seeded(5);
    const [up, down] = [random.bytes(64 * MIB), random.bytes(64 * MIB)];
    let pauses = 0;
    const onChunk = (end: End) => {
      if (end.story.length % 8 !== 0) return;
      pauses += 1;
      end.pause();
      setTimeout(() => end.resume(), 1);
    };
    using it = await join({ onChunk }, { onChunk });
    it.client.send(up).finish();
    it.server.send(down).finish();
    const isOver = (end: End) => end.story.includes("end") || end.over;
    await until(() => isOver(it.client) && isOver(it.server), "both ends", 60_000);
    expect(it.client.received.equals(down)).toBe(true);
    expect(it.server.received.equals(up)).toBe(true);
    expect(pauses).toBeGreaterThan(10);
    await until(() => it.client.over && it.server.over, "both closes");
    expect(
      [...it.client.story, ...it.server.story].filter((each) => /close \w/.test(each)),
    ).toEqual([]);
  });

  test("tls: 16 connections to readers that stand still, then go on: each has its own bytes", async () => {
    const random = seeded(6);
    using listening = door({ side: serverSide() });
    const way = { side: clientSide(), name: "a.example", onSecured: (end: End) => end.pause() };
    const ends = Array.from({ length: 16 }, () => dialEnd(listening.port, way));
    await until(
      () => listening.ends.every((end) => end.secured) && listening.ends.length === 16,
      "16",
    );
    await until(() => ends.every((end) => end.secured), "16 clients");
    const servers = new Map(
      listening.ends.map((end) => [end.socket && engine.remote(end.socket), end]),
    );
    expect(servers.size).toBe(16);
    const bytes = listening.ends.map(() => random.bytes(5 * MIB));
    listening.ends.forEach((end, i) => end.send(bytes[i] ?? "").finish());
    await until(() => listening.ends.filter((end) => end.isBusy).length > 4, "many that are full");
    for (const end of ends.toReversed()) end.resume();
    await until(() => ends.every((end) => end.story.includes("end")), "all of it", 30_000);
    const hashes = (all: Buffer[]) => all.map((each) => Bun.hash(each)).toSorted();
    expect(hashes(ends.map((end) => end.received))).toEqual(hashes(bytes));
    for (const end of ends) end.abort();
  });

  test.each(["client", "server"] as const)(
    "tls: the %s ends first, the other still answers",
    async (who) => {
      using it = await join();
      const [first, second] = who === "client" ? [it.client, it.server] : [it.server, it.client];
      first.send("the last").finish();
      await until(() => second.story.includes("end"), "the end");
      expect(second.brief).toEqual(["secured", "chunk", "end"]);
      second.send("an answer").finish();
      await until(() => first.over && second.over, "both closes");
      expect([first.text, second.text]).toEqual(["an answer", "the last"]);
      expect(second.brief).toEqual(["secured", "chunk", "end", "close"]);
      expect(first.brief.filter((each) => each !== "end")).toEqual(["secured", "chunk", "close"]);
    },
  );

  test("tls: close delivers what was written, though the reader does not end", async () => {
    using it = await join({ onSecured: (end) => end.pause() });
    const { socket } = it.server;
    if (socket === null) throw new Error("no socket");
    let sent = 0;
    const chunk = seeded(7).bytes(MIB);
    for (let count = 1; count > 0; sent += count) count = engine.write(socket, chunk, 0);
    it.server.close();
    it.client.resume();
    await until(() => it.client.story.includes("end"), "the end");
    expect(it.client.receivedCount).toBe(sent);
    expect(it.client.brief).toEqual(["secured", "chunk", "end"]);
  });

  test("tls: bytes in the packet that ends the handshake go to whom the socket was given", async () => {
    for (let i = 0; i < 20; i++) {
      const told: string[] = [];
      using listening = door({
        side: serverSide(),
        onSecured: (end) => end.socket && engine.adopt(end.socket, listener(told)),
      });
      using peer = exactClient(listening.port);
      await until(() => listening.ends.length > 0, "an accept");
      await turn();
      peer.holds = true;
      await peer.secured();
      await peer.say("hello");
      peer.raw.send(Buffer.concat(peer.held));
      await until(() => told.length > 0, "a chunk");
      expect(told).toEqual(["chunk hello"]);
      expect(listening.ends[0]?.story).toEqual(["secured"]);
    }
  });

  test("tls: what is no TLS is refused with a reason, on both ends", async () => {
    using listening = door({ side: serverSide() });
    using raw = new RawPeer(rawConnect(listening.port));
    raw.send(Buffer.from("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n".repeat(1000)));
    await until(() => listening.ends[0]?.over, "a refusal");
    expect(listening.ends[0]?.cause).toBe("HTTP_REQUEST");

    const { fd, port } = rawListen("127.0.0.1:0", 4);
    for (const waits of [false, true]) {
      const end = dialEnd(port, { side: clientSide(), name: "a.example", waits });
      using server = new RawPeer(await accept(fd));
      server.send(Buffer.from("220 ready when you are\r\n"));
      await until(() => end.over, "a refusal");
      // Bytes that were read before are refused as such: nobody's words may come before the handshake.
      expect(end.story).toEqual([waits ? "insecure EPROTO" : "insecure WRONG_VERSION_NUMBER"]);
      expect(end.receivedCount).toBe(0);
    }
    new RawPeer(fd).close();
  });

  test("tls: peers of another implementation of sockets", async () => {
    const { cert, key } = certs().server;
    const server = createServer({ cert, key, ALPNProtocols: ["x"] }, (peer) =>
      peer.pipe(peer),
    ).listen(0, "127.0.0.1");
    await until(() => server.listening, "a server");
    const { port } = server.address() as { port: number };
    const end = dialEnd(port, { side: clientSide(), name: "a.example", alpn: ["x"] });
    await until(() => end.secured, "a handshake");
    end.send("hello").finish();
    await until(() => end.over, "an end");
    expect([end.text, end.secured?.alpn, end.brief.at(-1)]).toEqual(["hello", "x", "close"]);
    server.close();

    using listening = door({
      side: serverSide(),
      onChunk: (end, chunk) => end.send(chunk),
      onEnd: (end) => end.finish(),
    });
    const { promise, resolve } = Promise.withResolvers<string>();
    const trust = { ca: certs().ca.cert, servername: "a.example" };
    const peer = connect({ host: "127.0.0.1", port: listening.port, ...trust }, () =>
      peer.write("hi"),
    );
    peer.once("data", (chunk: Buffer) => resolve(chunk.toString()));
    expect(await promise).toBe("hi");
    peer.end();
    await until(() => listening.ends[0]?.over, "its end");
    expect(listening.ends[0]?.brief).toEqual(["secured", "chunk", "end", "close"]);
  });

  test("tls: 2,000 handshakes leave nothing behind", async () => {
    const [server, client] = [serverSide(), clientSide()];
    const round = async (count: number) => {
      using listening = door({
        side: server,
        onChunk: (end, chunk) => end.send(chunk),
        onEnd: (end) => end.finish(),
      });
      const one = async (i: number) => {
        const end = dialEnd(listening.port, { side: client, name: "a.example" });
        await until(() => end.secured, "a handshake");
        if (i % 4 === 0) end.abort();
        else end.send("hello").finish();
      };
      for (let i = 0; i < count; i += 20) {
        await Promise.all(Array.from({ length: 20 }, (_, k) => one(i + k)));
        await until(() => listening.ends.every((end) => end.over), "their ends");
      }
      expect(listening.ends.length).toBe(count);
    };
    const look = () => {
      Bun.gc(true);
      const { TLSSocket = 0, TlsSocket = 0 } = heapStats().objectTypeCounts;
      return { fds: fdCount(process.pid), sockets: TLSSocket + TlsSocket };
    };
    await round(100);
    const before = look();
    await round(2_000);
    await turn(); // lets go of the last round
    await until(() => {
      const { fds, sockets } = look();
      return fds <= before.fds && sockets < before.sockets + 50;
    }, "descriptors and sockets to be gone");
  });

  test("tls: parts that make no side are told", () => {
    const { server, second, mismatch } = certs();
    const plain = { clientCa: "", clientRequired: false, versionMin: "TLSv1.2" } as const;
    const cause = (make: () => unknown): string => {
      try {
        make();
      } catch (error) {
        return String((error as { code?: unknown }).code ?? error);
      }
      return "";
    };
    const ofServer = (cert: string, key: string, clientCa = "") =>
      cause(() => tlsServer({ ...plain, cert, key, clientCa }));
    expect(ofServer(server.cert, server.key)).toBe("");
    expect(ofServer(mismatch.cert, mismatch.key)).toBe("ERR_OSSL_X509_KEY_VALUES_MISMATCH");
    expect(ofServer(server.cert, "nothing")).toBe("ERR_OSSL_PEM_NO_START_LINE");
    expect(ofServer("nothing", server.key)).toBe("ERR_OSSL_PEM_NO_START_LINE");
    expect(ofServer("", server.key)).toContain("are needed");
    expect(ofServer(server.cert, server.key, "nothing")).toBe("ERR_BORINGSSL");
    const ofClient = (ca: string, cert: string, key: string) =>
      cause(() => tlsClient({ ca, cert, key, verify: true }));
    expect(ofClient("", "", "")).toBe("");
    expect(ofClient("nothing", "", "")).toBe("ERR_BORINGSSL");
    expect(ofClient("", second.cert, "")).toContain("needs its key");
    expect(ofClient("", second.cert, server.key)).toBe("ERR_OSSL_X509_KEY_VALUES_MISMATCH");
  });
});

test("tls: records are followed however they are split", () =>
  withSeed((random) => {
    for (let round = 0; round < 200; round += 1) {
      const records = new TlsRecords();
      const sizes = Array.from(
        { length: 1 + random.int(5) },
        () => random.int(3) * random.int(9_000),
      );
      const bytes = Buffer.concat(
        sizes.flatMap((size) => [
          Buffer.from([23, 3, 3, size >> 8, size & 255]),
          Buffer.alloc(size),
        ]),
      );
      const ends = new Set([0]);
      for (const size of sizes) ends.add(Math.max(...ends) + 5 + size);
      for (let at = 0; at < bytes.length;) {
        const to = Math.min(bytes.length, at + 1 + random.int(round % 2 === 0 ? 8 : 20_000));
        records.onChunk(bytes.subarray(at, to));
        if (records.isInside === ends.has(to))
          throw new Error(`at ${to} of ${[...ends].join(" ")}`);
        at = to;
      }
    }
  }));

function listener(told: string[]): SocketEvents {
  return {
    socket: null,
    closed: false,
    connected: true,
    onConnected() {},
    onDialFailed() {},
    onMoved() {},
    onWritable() {},
    onChunk: (chunk) => void told.push(`chunk ${Buffer.from(chunk).toString()}`),
    onEnd: () => void told.push("end"),
    onClose: (code) => void told.push(`close ${code}`),
  };
}
