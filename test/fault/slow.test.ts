// Peers that read or write slowly, or not at all: what they are owed is bounded, and everybody else is served.

import { expect } from "bun:test";
import { client, rssKiB, serve, until, type Peer } from "../net.ts";
import { endings } from "../e2e/ways.ts";
import { fault, sized, type Subject } from "./lab.ts";
import { askMany, longMs, numbered, untilStill } from "./peers.ts";

const MiB = 1024 * 1024;
const endless = Buffer.alloc(64 * MiB, "endless ");

/** Whoever is small hears an answer, whatever else is the matter. */
async function expectOthersServed(balancer: Subject, count: number, greeting = ""): Promise<void> {
  const words = numbered(count, "small ");
  const wanted = words.map((each) => `${greeting}heard ${each}`);
  expect(await askMany(balancer.port, words)).toEqual(wanted);
}

/** Says everything it has to whoever says "much", hears the others to their end. */
function talker() {
  const talks: Peer[] = [];
  const server = serve({
    onData: (peer) => {
      if (peer.text !== "much" || talks.includes(peer)) return;
      talks.push(peer);
      peer.send(endless);
    },
    onEnd: (peer) => {
      if (peer.receivedCount > 0) peer.send(`heard ${peer.text}`);
      peer.finish();
    },
  });
  return { server, talks };
}

fault(11, "clients that never read cost a bounded memory, others are served", async (lab) => {
  const { server, talks } = talker();
  using _server = server;
  const balancer = await lab.start(["--idle-timeout", "2s", server.address]);
  const atRest = rssKiB(balancer.pid);
  const count = sized(20, 6);
  const peers = await Promise.all(
    numbered(count).map(() => client(balancer.port, { paused: true })),
  );
  for (const peer of peers) peer.send("much");
  await until(() => talks.length === count, "all talk");
  const sentCount = () => talks.reduce((sum, peer) => sum + endless.length - peer.unsentCount, 0);
  await untilStill(sentCount);
  expect(talks.filter((peer) => peer.unsentCount === 0)).toEqual([]);
  await expectOthersServed(balancer, 40);
  // Of 64 MiB that each is owed, what is in the kernel is not ours; in ours is a buffer each.
  expect(rssKiB(balancer.pid) - atRest).toBeLessThan(64 * 1024 + count * 1024);
  await until(() => talks.every((peer) => peer.over), "given up", longMs);
  const ended = await balancer.finish(count + 40);
  const given = ended.filter((each) => each.reason !== "done");
  expect(given.map((each) => [each.reason, each.closedBy, each.bytesUp])).toEqual(
    Array.from({ length: count }, () => ["idle-timeout", "balancer", 4]),
  );
  for (const each of given) expect(each.bytesDown).toBeLessThan(endless.length);
  for (const peer of peers) peer.reset();
});

fault(
  12,
  "a destination that never reads costs a bounded memory, others are served",
  async (lab) => {
    using server = serve({
      onOpen: (peer) => peer.send("live "),
      onEnd: (peer) => {
        peer.send(`heard ${peer.text}`);
        peer.finish();
      },
    });
    using deaf = serve({
      onOpen: (peer) => {
        peer.pause();
        peer.send("deaf");
      },
    });
    const args = ["--idle-timeout", "2s", "--health-interval", "0", "--slots", "10"];
    const count = sized(10, 5);
    const names = [`${deaf.address},name=deaf,slots=${count}`, `${server.address},name=live`];
    const balancer = await lab.start([...args, ...names]);
    const atRest = rssKiB(balancer.pid);
    const joined: Peer[] = [];
    const others: Peer[] = [];
    while (joined.length < count) {
      const peer = await client(balancer.port);
      await until(() => peer.text.length >= 4, "the name of a destination", longMs);
      (peer.text === "deaf" ? joined : others).push(peer);
    }
    for (const peer of others) peer.finish();
    await until(() => others.every((peer) => peer.over), "the others' ends");
    for (const peer of joined) peer.send(endless);
    const sentCount = () =>
      joined.reduce((sum, peer) => sum + endless.length - peer.unsentCount, 0);
    await untilStill(sentCount);
    expect(joined.filter((peer) => peer.unsentCount === 0)).toEqual([]);
    await expectOthersServed(balancer, 40, "live ");
    expect(rssKiB(balancer.pid) - atRest).toBeLessThan(64 * 1024 + count * 1024);
    await until(() => joined.every((peer) => peer.over), "given up", longMs);
    const ended = await balancer.finish(count + others.length + 40);
    const given = ended.filter((each) => each.reason !== "done");
    expect(given.map((each) => [each.reason, each.closedBy, each.destination])).toEqual(
      Array.from({ length: count }, () => ["idle-timeout", "balancer", "deaf"]),
    );
    for (const each of given) expect(each.bytesUp).toBeLessThan(endless.length);
  },
);

fault(
  12,
  "slow writers, a byte at a time, lose none, and others are served meanwhile",
  async (lab) => {
    using server = serve({
      onData: (peer, chunk) => {
        if (chunk[0] === 46) peer.send(chunk); // a dot comes back at once
      },
      onEnd: (peer) => {
        if (!peer.text.startsWith(".") && peer.receivedCount > 0) peer.send(`heard ${peer.text}`);
        peer.finish();
      },
    });
    const balancer = await lab.start([server.address]);
    const count = sized(1_000, 300);
    const peers: Peer[] = [];
    while (peers.length < count) {
      const some = numbered(Math.min(50, count - peers.length));
      peers.push(...(await Promise.all(some.map(() => client(balancer.port)))));
    }
    await balancer.when((now) => now.open === count, "all are in");
    const roundCount = 4;
    for (let round = 1; round <= roundCount; round++) {
      for (const peer of peers) peer.send(".");
      await expectOthersServed(balancer, 20);
      await until(() => peers.every((peer) => peer.receivedCount === round), "their dots", longMs);
      await Bun.sleep(250); // no condition: they are slow
    }
    for (const peer of peers) peer.finish();
    await until(() => peers.every((peer) => peer.over), "all ends", longMs);
    expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["...."]));
    const ended = await balancer.finish(count + roundCount * 20);
    expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
    const slow = ended.filter((each) => each.bytesUp === roundCount);
    expect(slow.length).toBe(count);
    expect(new Set(slow.map((each) => each.bytesDown))).toEqual(new Set([roundCount]));
  },
);
