// Paths of an odd shape: tiny segments, urgent bytes, a small MTU, a narrow line, one huge flow among small ones.

import { expect } from "bun:test";
import { client, echoServer, seeded, serve, until, type Peer } from "../net.ts";
import { libc, rawConnect } from "../raw.ts";
import { endings } from "../e2e/ways.ts";
import { fault, sized } from "./lab.ts";
import { askMany, clientIn, hearer, longMs, numbered } from "./peers.ts";
import {
  connect,
  missingNarrow,
  missingNetwork,
  narrowLine,
  network,
  type Network,
} from "./network.ts";

const MiB = 1024 * 1024;
const MSG_OOB = 1;
const SHUT_WR = 1;

fault(48, "segments of one byte arrive as they were sent, both ways", async (lab) => {
  using server = echoServer();
  const balancer = await lab.start([server.address]);
  const bytes = seeded(48).bytes(sized(4_000, 1_000));
  const peers = await Promise.all(numbered(4).map(() => client(balancer.port)));
  for (const peer of peers) peer.socket.setNoDelay(true);
  for (let i = 0; i < bytes.length; i++) {
    for (const peer of peers) peer.send(bytes.subarray(i, i + 1));
    if (i % 16 === 0) await Bun.sleep(0);
  }
  for (const peer of peers) peer.finish();
  await until(() => peers.every((peer) => peer.over), "all echoes", longMs);
  for (const peer of peers) expect(peer.received.equals(bytes)).toBe(true);
  const ended = await balancer.finish(4);
  expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
  expect(ended.map((each) => [each.bytesUp, each.bytesDown])).toEqual(
    Array.from({ length: 4 }, () => [bytes.length, bytes.length]),
  );
});

/** A socket that says these with an urgent byte between any two, and ends. */
async function sayUrgently(port: number, words: string, count: number): Promise<number> {
  const fd = rawConnect(port);
  const bytes = Buffer.from(words);
  const sendAll = async (what: Buffer, flags: number) => {
    await until(() => libc().send(fd, what, what.length, flags) === BigInt(what.length), "sent");
  };
  for (let i = 0; i < count; i++) {
    await sendAll(bytes, 0);
    await sendAll(Buffer.from("!"), MSG_OOB);
  }
  await sendAll(bytes, 0);
  libc().shutdown(fd, SHUT_WR);
  return fd;
}

fault(48, "an urgent byte stops nothing that comes before or after it", async (lab) => {
  using server = hearer("it");
  const balancer = await lab.start([server.address]);
  const direct = await sayUrgently(server.port, "word ", 20);
  await until(() => server.heard.length === 1, "it directly", longMs);
  const through = await sayUrgently(balancer.port, "word ", 20);
  await until(() => balancer.ended.length === 1 || server.openCount === 0, "both", longMs);
  libc().close(direct);
  libc().close(through);
  const [ended] = await balancer.finish(1);
  // As over plain TCP, an urgent byte that nobody asks for is left out, unless the next one has overtaken it.
  expect(server.heard.map((each) => each.replaceAll("!", ""))).toEqual(
    Array(2).fill("word ".repeat(21)),
  );
  expect(ended).toMatchObject({ reason: "done", state: "--", closedBy: "client" });
  expect(ended?.bytesUp).toBe(server.heard[1]?.length);
});

/** A client at the far end of the cable hears its own bytes again. */
async function expectIntact(far: Network, place: string, bytes: Buffer) {
  const peer = await clientIn(far, place, { from: "10.78.0.2" });
  peer.send(bytes);
  peer.finish();
  await until(() => peer.over, "its echo", longMs);
  expect([peer.wasReset, peer.received.equals(bytes)]).toEqual([false, true]);
}

const netMissing = missingNetwork();

fault(
  48,
  "over an MTU of 600 every byte arrives, both ways",
  async (lab) => {
    using near = network();
    using far = network();
    connect(near, far, 600);
    using server = near.within(() => echoServer());
    const balancer = await lab.start([server.address], {
      command: near.command,
      listen: "10.78.0.1:0",
    });
    const bytes = seeded(600).bytes(2 * MiB);
    await expectIntact(far, `10.78.0.1:${balancer.port}`, bytes);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ bytesUp: bytes.length, bytesDown: bytes.length });
    expect(endings(ended === undefined ? [] : [ended])).toEqual(["done -- client"]);
  },
  { skip: netMissing },
);

fault(
  49,
  "a narrow line holds back its own flow alone",
  async (lab) => {
    using near = network();
    using far = network();
    connect(near, far);
    narrowLine(near, "cable");
    const bytes = seeded(49).bytes(1.5 * MiB);
    const talks: Peer[] = [];
    using much = near.within(() =>
      serve({
        onData: (peer) => {
          if (peer.text === "much") {
            talks.push(peer);
            peer.send(bytes);
          }
        },
        onEnd: (peer) => {
          if (peer.receivedCount > 0 && !talks.includes(peer)) peer.send(`heard ${peer.text}`);
          peer.finish();
        },
      }),
    );
    const balancer = await lab.start([much.address], {
      command: near.command,
      listen: "0.0.0.0:0",
    });
    const narrow = await clientIn(far, `10.78.0.1:${balancer.port}`, { from: "10.78.0.2" });
    const sinceMs = performance.now();
    narrow.send("much");
    narrow.finish();
    await until(() => narrow.receivedCount > 0, "the beginning of it", longMs);
    const words = numbered(100);
    const answers = await askMany(balancer.port, words, { net: near });
    expect(answers).toEqual(words.map((each) => `heard ${each}`));
    await until(() => narrow.over, "the end of it", longMs);
    const tookMs = performance.now() - sinceMs;
    expect(narrow.received.equals(bytes)).toBe(true);
    const ended = await balancer.finish(101);
    expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
    // 12 Mbit at 8 Mbit/s; a load makes it longer only.
    expect(tookMs).toBeGreaterThan(1_000);
  },
  { skip: missingNarrow() },
);

fault(50, "while one huge flow runs, all small ones are served", async (lab) => {
  let isOver = false;
  const piece = Buffer.alloc(4 * MiB, "huge ");
  const talks: Peer[] = [];
  using server = serve({
    onData: (peer) => {
      if (peer.text === "huge") {
        talks.push(peer);
        peer.send(piece);
      }
    },
    onFlushed: (peer) => {
      if (!talks.includes(peer)) return;
      if (isOver) peer.finish();
      else peer.send(piece);
    },
    onEnd: (peer) => {
      if (talks.includes(peer)) return;
      if (peer.receivedCount > 0) peer.send(`heard ${peer.text}`);
      peer.finish();
    },
  });
  const balancer = await lab.start([server.address]);
  using huge = await client(balancer.port, { keep: false });
  huge.send("huge");
  await until(() => huge.receivedCount > MiB, "it runs", longMs);
  const words = numbered(sized(1_000, 300), "small ");
  const begun = huge.receivedCount;
  const answers = await askMany(balancer.port, words, { atOnce: 20 });
  expect(answers).toEqual(words.map((each) => `heard ${each}`));
  expect(huge.over).toBe(false);
  expect(huge.receivedCount).toBeGreaterThan(begun);
  isOver = true;
  await until(() => huge.ended, "its end", longMs);
  huge.finish();
  const ended = await balancer.finish(words.length + 1);
  expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  const most = Math.max(...ended.map((each) => each.bytesDown));
  expect(most).toBe(huge.receivedCount);
});
