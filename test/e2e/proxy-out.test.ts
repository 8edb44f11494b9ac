// PROXY headers to destinations: what they say, that they come before all else and once, and that nothing else of the
// stream is another for them.

import { describe, expect, test } from "bun:test";
import { textTlv, tlvType } from "../../src/wire/proxy-tlv.ts";
import {
  client,
  deadPort,
  serve,
  unixPlace,
  until,
  withSeed,
  type Peer,
  type Server,
} from "../net.ts";
import { rawConnect, dial } from "../raw.ts";
import { slowCrc32c } from "../wire/proxy-oracle.ts";
import { summed, tlv } from "../wire/proxy-vectors.ts";
import {
  endedOf,
  lineFor,
  ownOf,
  through,
  toldTo,
  told,
  trusting,
  untilOver,
  comer,
  prefaceWays,
} from "./proxied.ts";
import { embed, spawn } from "./ways.ts";

/** Keeps what it gets, ends after the client. */
function taker(): Server {
  return serve({ onEnd: (peer) => peer.finish() });
}

/** The chunks in which each peer of a server gets its bytes. */
function chunked(): { server: Server; chunksOf: (index: number) => readonly string[] } {
  const chunks = new Map<Peer, string[]>();
  const server = serve({
    onData: (peer, chunk) => {
      const own = chunks.get(peer) ?? [];
      chunks.set(peer, own);
      own.push(chunk.toString("latin1"));
    },
    onEnd: (peer) => peer.finish(),
  });
  const chunksOf = (index: number) => {
    const peer = server.peers[index];
    return (peer && chunks.get(peer)) ?? [];
  };
  return { server, chunksOf };
}

/** Whether the checksum that stands first behind the addresses of TCP4 is right. */
function isSummed(raw: Buffer): boolean {
  const at = 16 + 12;
  if (raw[at] !== tlvType.crc32c) return false;
  const blank = Buffer.from(raw);
  blank.fill(0, at + 3, at + 7);
  return raw.readUInt32BE(at + 3) === slowCrc32c(blank);
}

describe.each(prefaceWays)("proxy out, %s", (way) => {
  test("proxy out: each destination is told in its own form, once, and bytes are counted without", async () => {
    using one = taker();
    using two = taker();
    using none = taker();
    const servers = [`${one.address},proxy=v1`, `${two.address},proxy=v2`, none.address];
    await using balancer = await embed(["--policy", "round-robin", ...servers], way);
    const peers: Peer[] = [];
    const all = [one, two, none];
    const seenCount = () => all.reduce((sum, { peers: seen }) => sum + seen.length, 0);
    while (all.some(({ peers: seen }) => seen.length < 2) && peers.length < 60) {
      peers.push(await through(balancer.port, "", "hello"));
      await until(() => seenCount() === peers.length, "the next one behind");
    }
    expect(all.every(({ peers: seen }) => seen.length >= 2)).toBeTrue();
    const destination = `127.0.0.1:${balancer.port}`;
    const owns = peers.map(ownOf);
    for (const [server, version] of [
      [one, 1],
      [two, 2],
    ] as const) {
      for (let index = 0; index < server.peers.length; index += 1) {
        const { header, raw } = await told(server, index, "hello");
        expect(header).toMatchObject({ version, command: "proxy", destination, tlvs: [] });
        expect(owns).toContain(header.source);
        if (version === 2) expect(isSummed(raw)).toBeTrue();
      }
    }
    await until(() => none.peers.every(({ text }) => text === "hello"), "bytes as they are");
    for (const peer of peers) peer.finish();
    const ended = await balancer.finish(peers.length);
    expect(ended.every(({ bytesUp, reason }) => bytesUp === 5 && reason === "done")).toBeTrue();
  });

  test("proxy out: what a proxy has said is said again, and its checksum made anew", async () => {
    using one = taker();
    using two = taker();
    const servers = [`${one.address},name=one,proxy=v1`, `${two.address},name=two,proxy=v2`];
    await using balancer = await embed([...trusting, ...servers], way);
    const tlvs = [
      textTlv(tlvType.uniqueId, "id-1"),
      textTlv(tlvType.authority, "a.example"),
      textTlv(tlvType.alpn, "h2"),
      textTlv(0xea, "\x01vpce-1"),
    ];
    const given = summed(0, ...tlvs.map(({ type, value }) => tlv(type, value)), tlv(4, "noop"));
    balancer.balancer.setMode("two", "drain");
    using once = await through(balancer.port, given, "hi");
    const addresses = { source: "192.0.2.1:4660", destination: "198.51.100.2:443" };
    const first = await told(one, 0, "hi");
    expect(first.header).toEqual({ version: 1, command: "proxy", ...addresses, tlvs: [] });
    balancer.balancer.setMode("two", "ready");
    balancer.balancer.setMode("one", "drain");
    using again = await through(balancer.port, given, "hi");
    const second = await told(two, 0, "hi");
    expect(second.header).toEqual({ version: 2, command: "proxy", ...addresses, tlvs });
    expect(isSummed(second.raw)).toBeTrue();
    // Of a version without TLVs it comes with none; one that says nothing has the connection's own addresses.
    using short = await through(balancer.port, lineFor("192.0.2.9", 5), "1");
    using local = await through(balancer.port, "PROXY UNKNOWN\r\n", "2");
    const words = (text: string) => () =>
      two.peers.map(toldTo).find((each) => each?.rest.toString() === text) ?? null;
    const shortTold = await until(words("1"), "the one of version 1");
    expect(shortTold.header).toMatchObject({ source: "192.0.2.9:5", tlvs: [] });
    const localTold = await until(words("2"), "the one that is unknown");
    expect(localTold.header).toMatchObject({
      source: ownOf(local),
      destination: `127.0.0.1:${balancer.port}`,
    });
    for (const peer of [once, again, short, local]) peer.finish();
    await balancer.finish(4);
  });

  test("proxy out: header and first bytes are one segment, where the bytes are there", async () => {
    const { server, chunksOf } = chunked();
    using _server = server;
    await using balancer = await embed(["--slots", "1", `${server.address},proxy=v1`], way);
    // The others' bytes are there before they get the slot.
    const peers: Peer[] = [];
    for (let index = 0; index < 6; index += 1) {
      peers.push(await through(balancer.port, "", `SSH-2.0-${index}`));
      await until(() => server.peers.length === 1, "the one that has the slot");
      const waiting = index;
      await balancer.when(({ queue }) => queue.waiting === waiting, `${waiting} waiting`);
    }
    for (const peer of peers) {
      peer.finish();
      await untilOver(peer);
    }
    const first = Array.from({ length: 6 }, (_, index) => chunksOf(index)[0] ?? "");
    for (const chunk of first.slice(1)) expect(chunk).toMatch(/^PROXY TCP4 .*\r\nSSH-2.0-\d$/);
    await balancer.finish(peers.length);
  });

  test("proxy out: a server that speaks first has its header without a client's byte", async () => {
    using server = serve({
      onOpen: (peer) => peer.send("220 ready\r\n"),
      onEnd: (peer) => peer.finish(),
    });
    await using balancer = await embed([`${server.address},proxy=v1`], way);
    using peer = await comer(balancer.port);
    expect((await told(server, 0)).header.source).toBe(ownOf(peer));
    await until(() => peer.text === "220 ready\r\n", "the greeting");
    peer.finish();
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ bytesUp: 0, reason: "done" });
  });

  test("proxy out: a connection that was opened ahead is told when it has its client", async () => {
    using server = taker();
    await using balancer = await embed(["--warm", "1", `${server.address},proxy=v2`], way);
    await until(() => server.peers.length > 0, "one that is opened ahead");
    using peer = await through(balancer.port, "", "hello");
    const isIts = (each: Peer) => toldTo(each)?.rest.toString() === "hello";
    const found = await until(() => server.peers.find(isIts), "its words");
    expect(toldTo(found)?.header.source).toBe(ownOf(peer));
    // Who has no client has heard nothing.
    expect(server.peers.filter(({ receivedCount }) => receivedCount > 0)).toEqual([found]);
    peer.finish();
    const [ended] = await balancer.finish(1);
    expect(ended?.bytesUp).toBe(5);
  });

  test("proxy out: who is dialed next is told in its own version, from the start", async () => {
    using dead = deadPort();
    using rude = serve({ onOpen: (peer) => peer.reset() });
    using two = taker();
    let seenCount = 0;
    for (const place of [dead.address, rude.address]) {
      const args = [`${place},name=first,proxy=v1`, `${two.address},name=second,proxy=v2`];
      await using balancer = await embed(["--policy", "round-robin", ...args], way);
      let count = 0;
      for (let tried = false; !tried; count += 1) {
        if (count === 20) throw new Error("nobody has tried the first");
        // The header alone may have gone to one that resets: with bytes of the client's it would be too late.
        using peer = await through(balancer.port, "");
        const index = seenCount;
        seenCount += 1;
        expect((await told(two, index)).header.source).toBe(ownOf(peer));
        peer.send("hello");
        expect((await told(two, index, "hello")).header.version).toBe(2);
        peer.finish();
        const ended = await endedOf(balancer, peer);
        expect(ended).toMatchObject({ bytesUp: 5, destination: "second" });
        tried = ended.tried.length > 0;
      }
      await balancer.finish(count);
    }
  });

  test("proxy out: ends and resets go through, each way, with or without a byte", async () => {
    using server = taker();
    using answering = serve({
      onEnd: (peer) => {
        peer.send("goodbye");
        peer.finish();
      },
    });
    using cutting = serve({ onData: (peer) => peer.reset() });
    const servers = [
      `${answering.address},name=answering,proxy=v2`,
      `${server.address},name=taking,proxy=v1`,
      `${cutting.address},name=cutting,proxy=v1`,
    ];
    await using balancer = await embed(servers, way);
    const only = (name: string) => {
      for (const each of ["answering", "taking", "cutting"]) {
        balancer.balancer.setMode(each, each === name ? "ready" : "drain");
      }
    };
    only("answering");
    using silent = await client(balancer.port);
    silent.finish();
    using asking = await through(balancer.port, "", "question");
    asking.finish();
    await until(() => silent.text === "goodbye" && asking.text === "goodbye", "both answers");
    await until(() => silent.ended && asking.ended, "both ends");
    const words = answering.peers.map((peer) => toldTo(peer)?.rest.toString());
    expect(words.toSorted()).toEqual(["", "question"]);

    only("taking");
    using leaving = await through(balancer.port, "", "some");
    await told(server, 0, "some");
    leaving.reset();
    await until(() => server.peers[0]?.wasReset === true, "the reset behind");

    only("cutting");
    using cut = await through(balancer.port, "", "more");
    await until(() => cut.wasReset, "the reset before");
    const ended = await balancer.finish(4);
    const ends = ended.map(({ reason, closedBy, bytesUp }) => `${reason} ${closedBy} ${bytesUp}`);
    expect(ends.toSorted()).toEqual([
      "client-reset client 4",
      "destination-reset destination 4",
      "done client 0",
      "done client 8",
    ]);
  });

  test("proxy out: many bytes behind a header arrive as they are", () =>
    withSeed(async (random) => {
      const bytes = random.bytes(3 * 1024 * 1024);
      using server = taker();
      await using balancer = await embed([...trusting, `${server.address},proxy=v2`], way);
      using peer = await through(balancer.port, lineFor("192.0.2.9", 6), bytes);
      peer.finish();
      await untilOver(peer);
      const all = toldTo(server.peers[0]);
      expect(all?.header.source).toBe("192.0.2.9:6");
      expect(all?.rest.equals(bytes)).toBeTrue();
      const [ended] = await balancer.finish(1);
      expect(ended?.bytesUp).toBe(bytes.length);
    }));
});

test("proxy out: over IPv6, and what a unix socket has for an address", async () => {
  using server = taker();
  for (const version of [1, 2] as const) {
    for (const listen of ["[::1]:0", unixPlace()]) {
      await using balancer = await spawn([`${server.address},proxy=v${version}`], { listen });
      const index = server.peers.length;
      using peer = await client(balancer.address);
      const own = `[::1]:${peer.socket.localPort}`;
      peer.send("hi");
      const { header } = await told(server, index, "hi");
      const isIp = listen.startsWith("[");
      if (isIp) expect(header).toMatchObject({ source: own, destination: balancer.address });
      else if (version === 1) expect(header.command).toBe("local");
      else expect(header.source === "" || header.source.startsWith("unix:")).toBeTrue();
      peer.finish();
      await balancer.finish(1);
    }
  }
});

test("proxy out: who connects and speaks at once has one segment, without a wait for a slot", async () => {
  const { server, chunksOf } = chunked();
  using _server = server;
  for (const way of ["in process, by descriptor", "over the libc engine"] as const) {
    await using balancer = await embed([`${server.address},proxy=v1`], way);
    const index = server.peers.length;
    // A socket is connected when the call returns, and its bytes are there before anybody has accepted it.
    const fd = rawConnect(balancer.port);
    dial({
      fd,
      data: undefined,
      socket: { open: (socket) => void socket.write("SSH-2.0-x"), data() {} },
    });
    await until(() => chunksOf(index).join("").endsWith("SSH-2.0-x"), "its words");
    expect(chunksOf(index).length).toBe(1);
  }
});
