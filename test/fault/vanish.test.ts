// Peers that are gone without a word, or never say the last one: the path to them is cut, or they stay silent.

import { expect } from "bun:test";
import { blackhole, client, serve, until } from "../net.ts";
import { endings } from "../e2e/ways.ts";
import { fault } from "./lab.ts";
import { missingNetwork, network } from "./network.ts";
import { ask, askMany, clientIn, hearer, longMs, numbered } from "./peers.ts";

const skip = missingNetwork("nft");
const endless = Buffer.alloc(64 * 1024 * 1024, "endless ");

fault(
  10,
  "a destination that vanishes costs its clients the idle time-out, and nobody else anything",
  async (lab) => {
    using net = network();
    const echo = {
      onData: (peer, chunk) => peer.send(chunk),
      onEnd: (peer) => peer.finish(),
    } satisfies Parameters<typeof serve>[0];
    using lost = net.within(() => serve(echo, "127.0.0.9:0"));
    using live = net.within(() => hearer("live"));
    const args = [
      "--idle-timeout",
      "1500ms",
      "--connect-timeout",
      "300ms",
      "--health-interval",
      "0",
    ];
    const lostPlace = `127.0.0.9:${lost.port}`;
    const places = [`${lostPlace},slots=3,name=lost`, `${live.address},backup,name=live`];
    const balancer = await lab.start([...args, ...places], { command: net.command });
    const peers = await Promise.all(numbered(3).map(() => clientIn(net, balancer.port)));
    for (const peer of peers) peer.send("hello");
    await until(() => peers.every((peer) => peer.text === "hello"), "all echoes", longMs);
    net.cut("127.0.0.9");
    for (const peer of peers) peer.send(" are you there?");
    await until(() => peers.every((peer) => peer.over), "given up", longMs);
    expect(peers.map((peer) => [peer.text, peer.ended, peer.code])).toEqual(
      Array.from({ length: 3 }, () => ["hello", false, "ECONNRESET"]),
    );
    await balancer.when((now) => now.destinations[0]?.used === 0, "its slots are free");
    // It swallows connects: who comes now goes elsewhere.
    const words = numbered(10);
    const answers = await askMany(balancer.port, words, { net });
    expect(answers).toEqual(words.map((each) => `live heard ${each}`));
    net.heal();
    let count = 13;
    const isBack = async () => {
      count += 1;
      return (await ask(balancer.port, "again", net)).text === "again";
    };
    await until(isBack, "an echo of the one that was lost", longMs);
    const ended = await balancer.finish(count);
    const given = ended.filter((each) => each.reason !== "done");
    expect(endings(given)).toEqual(Array(3).fill("idle-timeout cD balancer"));
    expect(new Set(given.map((each) => each.destination))).toEqual(new Set(["lost"]));
    expect(given.map((each) => each.bytesDown)).toEqual([5, 5, 5]);
  },
  { skip },
);

fault(
  10,
  "a client that vanishes while it is owed bytes is given up, who waits gets its slot",
  async (lab) => {
    using net = network();
    using server = net.within(() =>
      serve({
        onData: (peer) => peer.send(peer.text === "much" ? endless : "little"),
        onEnd: (peer) => peer.finish(),
      }),
    );
    const args = ["--slots", "1", "--idle-timeout", "1500ms", server.address];
    const balancer = await lab.start(args, { command: net.command });
    // Its own address is cut, so that nothing of what the kernel says for it arrives either.
    const vanishing = await clientIn(net, balancer.port, { from: "127.0.0.9", keep: false });
    vanishing.send("much");
    await until(() => vanishing.receivedCount > 0, "the beginning of it", longMs);
    vanishing.pause();
    net.cut("127.0.0.9");
    const waiting = await clientIn(net, balancer.port);
    waiting.send("hello");
    waiting.finish();
    await until(() => waiting.over, "its answer", longMs);
    expect([waiting.text, waiting.wasReset]).toEqual(["little", false]);
    const owing = server.peers.filter((peer) => peer.text === "much");
    expect(owing.map((peer) => [peer.ended, peer.wasReset])).toEqual([[false, true]]);
    net.heal();
    const ended = await balancer.finish(2);
    expect(ended.map((each) => each.reason)).toEqual(["idle-timeout", "done"]);
    expect(ended[0]).toMatchObject({ closedBy: "balancer", bytesUp: 4 });
    expect(ended[0]?.bytesDown).toBeLessThan(endless.length);
  },
  { skip },
);

fault(10, "a client that never ends after its destination has is parted", async (lab) => {
  using server = serve({
    onData: (peer) => {
      peer.send("good-bye");
      peer.finish();
    },
  });
  const balancer = await lab.start(["--half-close-timeout", "1s", "--slots", "10", server.address]);
  const peers = await Promise.all(numbered(10).map(() => client(balancer.port)));
  for (const peer of peers) peer.send("hello");
  await until(() => peers.every((peer) => peer.ended), "the destination's ends", longMs);
  // It has said its last: its slots are free, though the pairs are not over.
  await balancer.when((now) => now.destinations[0]?.used === 0, "no slot is taken");
  await until(() => peers.every((peer) => peer.closed), "parted", longMs);
  expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["good-bye"]));
  expect(peers.filter((peer) => !peer.wasReset)).toEqual([]);
  const ended = await balancer.finish(10);
  expect(endings(ended)).toEqual(Array(10).fill("half-close-timeout cD balancer"));
  for (const each of ended) expect(each.totalMs).toBeGreaterThanOrEqual(1_000);
});

for (const { fin, title } of [
  { fin: "keep", title: "an end while the destination is dialed is delivered to the next one" },
  { fin: "leave", title: "an end while the destination is dialed means leaving, where asked for" },
]) {
  fault(9, title, async (lab) => {
    using hole = blackhole();
    using live = hearer("live");
    const args = ["--connect-timeout", fin === "keep" ? "1s" : "20s", "--queue-fin", fin];
    const places = [`${hole.address},slots=5,name=hole`, `${live.address},backup,name=live`];
    const balancer = await lab.start([...args, "--health-interval", "0", ...places]);
    const peers = await Promise.all(numbered(5).map(() => client(balancer.port)));
    await balancer.when((now) => now.destinations[0]?.used === 5, "five dials");
    for (const [i, peer] of peers.entries()) {
      peer.send(`client ${i}`);
      peer.finish();
    }
    await until(() => peers.every((peer) => peer.over), "all ends", longMs);
    const ended = await balancer.finish(5);
    if (fin === "leave") {
      expect(live.heard).toEqual([]);
      expect(endings(ended)).toEqual(Array(5).fill("client-left CC client"));
      return;
    }
    expect(peers.map((peer) => peer.text)).toEqual(numbered(5, "live heard client "));
    expect(endings(ended)).toEqual(Array(5).fill("done -- client"));
    expect(new Set(ended.map((each) => each.tried[0]))).toEqual(new Set(["hole"]));
  });
}

fault(6, "a reset at accept is a reset to a client that has spoken", async (lab) => {
  using resetting = serve({ onOpen: (peer) => peer.reset() });
  const balancer = await lab.start(["--slots", "1", resetting.address]);
  for (let i = 0; i < 3; i++) {
    using peer = await client(balancer.port);
    peer.send("hello");
    await until(() => peer.over, "the reset", longMs);
    expect([peer.text, peer.ended, peer.code]).toEqual(["", false, "ECONNRESET"]);
  }
  const ended = await balancer.finish(3);
  expect(endings(ended)).toEqual(Array(3).fill("destination-reset SD destination"));
});
