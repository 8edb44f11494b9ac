// Clients that reset, end early or fall silent: each is seen for what it is, and nobody else notices.

import { expect } from "bun:test";
import { blackhole, client, serve, until, type Peer } from "../net.ts";
import { endings } from "../e2e/ways.ts";
import { fault, sized } from "./lab.ts";
import { clientIn, hearer, longMs, numbered } from "./peers.ts";
import { connect, missingNetwork, network } from "./network.ts";

fault(7, "who resets while queued is gone at once, no destination sees it", async (lab) => {
  using server = hearer("it");
  const balancer = await lab.start(["--slots", "1", server.address]);
  using first = await client(balancer.port);
  await balancer.when((now) => now.destinations[0]?.used === 1, "the slot is taken");
  const count = sized(400, 60);
  const words = numbered(count);
  const peers = await Promise.all(words.map(() => client(balancer.port)));
  for (const [i, peer] of peers.entries()) peer.send(words[i] ?? "");
  await balancer.when((now) => now.queue.waiting === count, "all wait");
  const leaving = peers.filter((_, i) => i % 3 !== 0);
  for (const peer of leaving) peer.reset();
  const staying = peers.filter((_, i) => i % 3 === 0);
  await balancer.when((now) => now.queue.waiting === staying.length, "those who left are gone");
  for (const peer of staying) peer.finish();
  first.send("first");
  first.finish();
  await until(() => [first, ...staying].every((peer) => peer.over), "all answers", longMs);
  const stayed = words.filter((_, i) => i % 3 === 0);
  expect(staying.map((peer) => peer.text)).toEqual(stayed.map((each) => `it heard ${each}`));
  expect(server.heard.toSorted()).toEqual(["first", ...stayed].toSorted());
  const ended = await balancer.finish(count + 1);
  const left = ended.filter((each) => each.reason !== "done");
  expect(endings(left)).toEqual(Array(leaving.length).fill("client-left CQ client"));
  expect(new Set(left.map((each) => each.destination))).toEqual(new Set([""]));
  expect(new Set(left.map((each) => each.bytesUp))).toEqual(new Set([0]));
});

fault(7, "who resets while its destination is dialed gives its slot back", async (lab) => {
  using hole = blackhole();
  const balancer = await lab.start(["--health-interval", "0", "--slots", "5", hole.address]);
  const dialing = await Promise.all(numbered(5).map(() => client(balancer.port)));
  await balancer.when((now) => now.destinations[0]?.used === 5, "five dials");
  const waiting = await client(balancer.port);
  await balancer.when((now) => now.queue.waiting === 1, "one waits");
  for (const peer of dialing) peer.reset();
  await balancer.when((now) => now.open === 1 && now.queue.waiting === 0, "its turn");
  waiting.reset();
  const ended = await balancer.finish(6);
  expect(endings(ended)).toEqual(Array(6).fill("client-left CC client"));
  expect(ended.map((each) => each.bytesUp + each.bytesDown)).toEqual(Array(6).fill(0));
});

fault(
  7,
  "a client's reset in mid-stream is a reset to its destination, and to no other",
  async (lab) => {
    const heard = new Set<Peer>();
    using server = serve({
      onData: (peer, chunk) => {
        heard.add(peer);
        peer.send(chunk);
      },
      onEnd: (peer) => peer.finish(),
    });
    const balancer = await lab.start([server.address]);
    const peers = await Promise.all(numbered(20).map(() => client(balancer.port)));
    for (const peer of peers) peer.send("some bytes");
    await until(() => peers.every((peer) => peer.text === "some bytes"), "all echoes");
    const [leaving, staying] = [peers.slice(0, 10), peers.slice(10)];
    for (const peer of leaving) peer.reset();
    const cut = () => [...heard].filter((peer) => peer.wasReset);
    await until(() => cut().length === 10, "ten resets");
    expect(cut().map((peer) => [peer.ended, peer.code])).toEqual(
      Array.from({ length: 10 }, () => [false, "ECONNRESET"]),
    );
    for (const peer of staying) {
      peer.send(" more");
      peer.finish();
    }
    await until(() => staying.every((peer) => peer.over), "the others' ends", longMs);
    expect(new Set(staying.map((peer) => peer.text))).toEqual(new Set(["some bytes more"]));
    expect(cut().length).toBe(10);
    const all = endings(await balancer.finish(20));
    expect(all.filter((each) => each === "client-reset CD client").length).toBe(10);
    expect(all.filter((each) => each === "done -- client").length).toBe(10);
  },
);

fault(8, "a client that has ended gets its answer to the last byte", async (lab) => {
  const answer = Buffer.alloc(sized(16, 4) * 1024 * 1024, "an answer, ");
  using server = serve({
    onEnd: (peer) => {
      if (peer.text === "a question") peer.send(answer);
      peer.finish();
    },
  });
  const balancer = await lab.start([server.address]);
  const peers = await Promise.all(numbered(4).map(() => client(balancer.port)));
  for (const peer of peers) {
    peer.send("a question");
    peer.finish();
  }
  await until(() => peers.every((peer) => peer.over), "all answers", longMs);
  for (const peer of peers)
    expect([peer.wasReset, peer.received.equals(answer)]).toEqual([false, true]);
  const ended = await balancer.finish(4);
  expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
  const sizes = ended.map((each) => [each.bytesUp, each.bytesDown]);
  expect(sizes).toEqual(Array.from({ length: 4 }, () => [10, answer.length]));
});

fault(8, "a destination that has ended hears its client to the last byte", async (lab) => {
  const bytes = Buffer.alloc(sized(16, 4) * 1024 * 1024, "a long story, ");
  const heard: Peer[] = [];
  using server = serve({
    onOpen: (peer) => {
      peer.send("go on");
      peer.finish();
    },
    onEnd: (peer) => void heard.push(peer),
  });
  const balancer = await lab.start(["--health-interval", "0", server.address]);
  using peer = await client(balancer.port);
  await until(() => peer.ended, "the destination's end");
  peer.send(bytes);
  peer.finish();
  await until(() => heard[0], "the client's end", longMs);
  expect(peer.text).toBe("go on");
  expect(heard[0]?.received.equals(bytes)).toBe(true);
  const [ended] = await balancer.finish(1);
  expect(ended).toMatchObject({ bytesUp: bytes.length, bytesDown: 5, reason: "done" });
  expect(ended).toMatchObject({ closedBy: "destination", state: "--" });
});

fault(9, "an end while queued is no abort, with bytes before it or none", async (lab) => {
  using server = hearer("it");
  using silent = serve({ onEnd: (peer) => (peer.send("heard nothing"), peer.finish()) });
  for (const { place, words, answer } of [
    { place: server.address, words: "a question", answer: "it heard a question" },
    { place: silent.address, words: "", answer: "heard nothing" },
  ]) {
    const balancer = await lab.start(["--slots", "1", "--health-interval", "0", place]);
    using first = await client(balancer.port);
    await balancer.when((now) => now.destinations[0]?.used === 1, "the slot is taken");
    const peers = await Promise.all(numbered(10).map(() => client(balancer.port)));
    for (const peer of peers) {
      peer.send(words);
      peer.finish();
    }
    await balancer.when((now) => now.queue.waiting === 10, "all wait");
    // A second round: their ends have come by now, and none has left.
    expect((await balancer.status()).open).toBe(11);
    expect(peers.filter((peer) => peer.over)).toEqual([]);
    first.send(words);
    first.finish();
    await until(() => [first, ...peers].every((peer) => peer.over), "all answers", longMs);
    expect(peers.map((peer) => [peer.text, peer.wasReset])).toEqual(
      Array.from({ length: 10 }, () => [answer, false]),
    );
    const ended = await balancer.finish(11);
    expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
    expect(ended.map((each) => each.bytesUp)).toEqual(Array(11).fill(words.length));
  }
});

fault(9, "an end while queued means that it has left, where that is asked for", async (lab) => {
  using server = hearer("it");
  const balancer = await lab.start(["--slots", "1", "--queue-fin", "leave", server.address]);
  using first = await client(balancer.port);
  first.send("first");
  await balancer.when((now) => now.destinations[0]?.used === 1, "the slot is taken");
  const peers = await Promise.all(numbered(10).map(() => client(balancer.port)));
  await balancer.when((now) => now.queue.waiting === 10, "all wait");
  for (const peer of peers) peer.finish();
  await balancer.when((now) => now.queue.waiting === 0, "nobody waits");
  first.finish();
  await until(() => first.over, "its answer");
  expect(first.text).toBe("it heard first");
  const ended = endings(await balancer.finish(11));
  expect(ended.toSorted()).toEqual([...Array(10).fill("client-left CQ client"), "done -- client"]);
});

fault(
  10,
  "two that stay silent are parted at the idle time-out, who speaks is not",
  async (lab) => {
    using server = serve({
      onData: (peer, chunk) => peer.send(chunk),
      onEnd: (peer) => peer.finish(),
    });
    const balancer = await lab.start(["--idle-timeout", "1500ms", server.address]);
    const silent = await Promise.all(numbered(10).map(() => client(balancer.port)));
    using speaker = await client(balancer.port);
    for (const peer of silent) peer.send("hello");
    await until(
      () => {
        if (speaker.unsentCount === 0 && speaker.receivedCount < 10_000) speaker.send(".");
        return silent.every((peer) => peer.over);
      },
      "the silent ones' ends",
      longMs,
    );
    expect(silent.map((peer) => [peer.text, peer.ended, peer.code])).toEqual(
      Array.from({ length: 10 }, () => ["hello", false, "ECONNRESET"]),
    );
    speaker.finish();
    await until(() => speaker.over, "its end");
    const all = await balancer.finish(11);
    expect(endings(all).filter((each) => each === "done -- client").length).toBe(1);
    const ended = all.filter((each) => each.reason !== "done");
    expect(ended.map((each) => [each.bytesUp, each.bytesDown])).toEqual(
      Array.from({ length: 10 }, () => [5, 5]),
    );
    expect(new Set(endings(ended))).toEqual(new Set(["idle-timeout cD balancer"]));
    for (const each of ended) expect(each.totalMs).toBeGreaterThanOrEqual(1_500);
  },
);

fault(
  10,
  "a side that never ends after the other's end is parted at the half-close time-out",
  async (lab) => {
    using server = serve({ onData: (peer, chunk) => peer.send(chunk) });
    const balancer = await lab.start(["--half-close-timeout", "1s", server.address]);
    const peers = await Promise.all(numbered(10).map(() => client(balancer.port)));
    for (const peer of peers) {
      peer.send("hello");
      peer.finish();
    }
    await until(() => peers.every((peer) => peer.over), "their ends", longMs);
    expect(peers.map((peer) => peer.text)).toEqual(Array(10).fill("hello"));
    const ended = await balancer.finish(10);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["half-close-timeout"]));
    expect(new Set(ended.map((each) => each.closedBy))).toEqual(new Set(["balancer"]));
    for (const each of ended) expect(each.totalMs).toBeGreaterThanOrEqual(1_000);
  },
);

fault(
  10,
  "a peer that vanishes without an end costs its slot no longer than the idle time-out",
  async (lab) => {
    using near = network();
    using far = network();
    connect(near, far);
    using server = near.within(() => serve({ onData: (peer, chunk) => peer.send(chunk) }));
    const args = ["--idle-timeout", "1500ms", "--health-interval", "0", "--slots", "3"];
    const balancer = await lab.start([...args, server.address], {
      command: near.command,
      listen: "10.78.0.1:0",
    });
    const place = `10.78.0.1:${balancer.port}`;
    const peers = await Promise.all(
      numbered(3).map(() => clientIn(far, place, { from: "10.78.0.2" })),
    );
    for (const peer of peers) peer.send("hello");
    await until(() => peers.every((peer) => peer.text === "hello"), "all echoes");
    near.cut("10.78.0.2");
    await balancer.when((now) => now.closed["idle-timeout"] === 3, "given up", longMs);
    await until(() => server.peers.every((peer) => peer.wasReset), "resets at the destination");
    near.heal();
    const ended = await balancer.finish(3);
    expect(endings(ended)).toEqual(Array(3).fill("idle-timeout cD balancer"));
    expect(ended.map((each) => [each.bytesUp, each.bytesDown])).toEqual(
      Array.from({ length: 3 }, () => [5, 5]),
    );
  },
  { skip: missingNetwork("nft") },
);
