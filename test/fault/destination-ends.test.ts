// Destinations that stop, die or reset: whoever is joined sees what came of it, nobody else does.

import { expect } from "bun:test";
import { client, seeded, serve, until, type Peer, type Server } from "../net.ts";
import { endings } from "../e2e/ways.ts";
import { fault, type Subject } from "./lab.ts";
import { longMs, victim } from "./peers.ts";

const MiB = 1024 * 1024;

/**
 * Connects clients until so many have heard this name; the others stay meanwhile, or the least used were always another
 * one, and are sent away at the end. @returns those, and how many came.
 */
async function joinedTo(balancer: Subject, name: string, count: number) {
  const joined: Peer[] = [];
  const others: Peer[] = [];
  while (joined.length < count) {
    const peer = await client(balancer.port);
    await until(() => peer.text.endsWith("\n"), "the name of a destination", longMs);
    (peer.text === `${name}\n` ? joined : others).push(peer);
  }
  for (const peer of others) await sayAndLeave(peer);
  return { joined, cameCount: joined.length + others.length };
}

/** A line and an end; waits for the other side's. */
async function sayAndLeave(peer: Peer): Promise<string> {
  peer.send("line\n");
  peer.finish();
  await until(() => peer.over, "the answer", longMs);
  return peer.text;
}

/** Asks until that destination has answered. @returns how many came. */
async function askUntil(balancer: Subject, name: string): Promise<number> {
  let count = 0;
  const isAnswer = async () => {
    count += 1;
    using peer = await client(balancer.port);
    return (await sayAndLeave(peer)).startsWith(name);
  };
  await until(isAnswer, `an answer of ${name}`, longMs);
  return count;
}

fault(
  4,
  "a stopped destination keeps its slots and gets nothing more; continued, it has lost nothing",
  async (lab) => {
    using stopped = await victim("stopped");
    using live = await victim("live");
    const balancer = await lab.start([
      `${stopped.address},slots=2,name=stopped`,
      `${live.address},name=live`,
    ]);
    const { joined, cameCount } = await joinedTo(balancer, "stopped", 2);
    stopped.stop();
    for (const peer of joined) peer.send("are you there?\n");
    for (let i = 0; i < 20; i++) {
      using peer = await client(balancer.port);
      expect(await sayAndLeave(peer)).toBe("live\nline\n");
    }
    const { destinations } = await balancer.status();
    expect(destinations[0]).toMatchObject({ used: 2, state: "up" });
    expect(joined.filter((peer) => peer.text !== "stopped\n")).toEqual([]);
    stopped.continue();
    for (const peer of joined) peer.finish();
    await until(() => joined.every((peer) => peer.over), "two late answers", longMs);
    const heard = joined.map((peer) => [peer.text, peer.wasReset]);
    expect(heard).toEqual(joined.map(() => ["stopped\nare you there?\n", false]));
    const ended = await balancer.finish(cameCount + 20);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  },
);

fault(
  4,
  "a stopped destination is given up at the idle time-out, its slots are free",
  async (lab) => {
    using stopped = await victim("stopped");
    const args = ["--slots", "2", "--idle-timeout", "2s", stopped.address];
    const balancer = await lab.start(args);
    const { joined, cameCount } = await joinedTo(balancer, "stopped", 2);
    stopped.stop();
    const waiting = await client(balancer.port);
    for (const peer of joined) peer.send("are you there?\n");
    await balancer.when((now) => now.queue.waiting === 1, "one waits");
    await until(() => joined.every((peer) => peer.over), "both are given up", longMs);
    expect(joined.map((peer) => [peer.ended, peer.code])).toEqual(
      joined.map(() => [false, "ECONNRESET"]),
    );
    await balancer.when((now) => now.queue.waiting === 0, "the slot is used again");
    stopped.continue();
    // In time, or given up as well: the machine may be busy. What counts is that it was its turn.
    waiting.send("line\n");
    waiting.finish();
    await until(() => waiting.over, "its end", longMs);
    const [first, second, last] = (await balancer.finish(cameCount + 1)).slice(-3);
    expect(new Set(endings([first, second].flatMap((each) => each ?? [])))).toEqual(
      new Set(["idle-timeout cD balancer"]),
    );
    expect(first?.totalMs).toBeGreaterThanOrEqual(2_000);
    expect(last?.destination).toBe(stopped.address);
  },
);

fault(
  5,
  "killed in mid-transfer: its clients see a cut, who waits is served elsewhere",
  async (lab) => {
    using killed = await victim("killed");
    using live = await victim("live");
    const args = ["--slots", "4", `${killed.address},name=killed`, `${live.address},name=live`];
    const balancer = await lab.start(args);
    const { joined, cameCount } = await joinedTo(balancer, "killed", 4);
    const { joined: held, cameCount: heldCount } = await joinedTo(balancer, "live", 4);
    const waiting = await Promise.all(Array.from({ length: 10 }, () => client(balancer.port)));
    for (const peer of waiting) {
      peer.send("line\n");
      peer.finish();
    }
    await balancer.when((now) => now.queue.waiting === 10, "ten wait");
    const piece = Buffer.alloc(64 * 1024, "x"); // no line: it is sent back, and on it goes
    for (const peer of joined) peer.send(piece);
    await until(() => joined.every((peer) => peer.receivedCount > piece.length), "echoes", longMs);
    killed.kill();
    // Whatever the kernel makes of it, an end or a reset: who goes on sending hears of a reset.
    await until(
      () => {
        for (const peer of joined) if (peer.unsentCount === 0) peer.send(piece);
        return joined.every((peer) => peer.wasReset);
      },
      "a cut at each of its clients",
      longMs,
    );
    for (const peer of held) expect(await sayAndLeave(peer)).toBe("live\nline\n");
    await until(() => waiting.every((peer) => peer.over), "who waited", longMs);
    // While the kernel takes a killed process apart its port may still accept: such a client is cut like those before.
    const unserved = waiting.filter((peer) => peer.text !== "live\nline\n");
    expect(unserved.map((peer) => [peer.text, peer.wasReset])).toEqual(
      unserved.map(() => ["", true]),
    );
    expect(unserved.length).toBeLessThanOrEqual(4); // its slots
    using back = await victim("back", killed.address);
    expect(back.address).toBe(killed.address);
    const againCount = await askUntil(balancer, "back");
    const ended = await balancer.finish(cameCount + heldCount + 10 + againCount);
    const cut = ended.filter((each) => each.reason !== "done");
    expect(endings(cut)).toEqual(
      Array(4 + unserved.length).fill("destination-reset SD destination"),
    );
    expect(new Set(cut.map((each) => each.destination))).toEqual(new Set(["killed"]));
  },
);

/** Of a destination that resets: when, and what its client has heard by then. */
interface Resetting {
  readonly title: string;
  readonly serve: () => Server;
  /** What every client must have, whole; null: the beginning of `bulk`. */
  readonly heard: string | null;
}

const bulk = seeded(6).bytes(4 * MiB);
const resets: readonly Resetting[] = [
  {
    title: "at its client's first byte",
    serve: () => serve({ onData: (peer) => peer.reset() }),
    heard: "",
  },
  {
    title: "in mid-stream",
    serve: () =>
      serve({
        onData: (peer, chunk) => (chunk.includes("enough") ? peer.reset() : peer.send(bulk)),
      }),
    heard: null,
  },
  {
    title: "after its answer",
    serve: () =>
      serve({ onData: (peer) => peer.send("the answer"), onFlushed: (peer) => peer.reset() }),
    heard: "the answer",
  },
  {
    title: "instead of its end",
    serve: () => serve({ onEnd: (peer) => peer.reset() }),
    heard: "",
  },
];

for (const each of resets) {
  fault(
    6,
    `a reset ${each.title} is a reset to the client, after all that came before it`,
    async (lab) => {
      using resetting = each.serve();
      const balancer = await lab.start([resetting.address]);
      // Each says so at its first bytes, so that most of the rest is still to come.
      const onData = (peer: Peer, chunk: Buffer) => {
        if (each.heard === null && peer.receivedCount === chunk.length) peer.send("enough");
      };
      const peers = await Promise.all(
        Array.from({ length: 30 }, () => client(balancer.port, { onData })),
      );
      await balancer.when((now) => now.destinations[0]?.used === 30, "all are joined to it");
      for (const peer of peers) {
        peer.send("a question");
        if (each.title === "instead of its end") peer.finish();
      }
      await until(() => peers.every((peer) => peer.wasReset), "resets", longMs);
      expect(peers.filter((peer) => peer.ended)).toEqual([]);
      expect(new Set(peers.map((peer) => peer.code))).toEqual(new Set(["ECONNRESET"]));
      for (const peer of peers) {
        if (each.heard !== null) expect(peer.text).toBe(each.heard);
        else expect(bulk.subarray(0, peer.receivedCount).equals(peer.received)).toBe(true);
      }
      const ended = await balancer.finish(30);
      expect(new Set(endings(ended))).toEqual(new Set(["destination-reset SD destination"]));
      const downSize = ended.reduce((sum, line) => sum + line.bytesDown, 0);
      const heardSize = peers.reduce((sum, peer) => sum + peer.receivedCount, 0);
      if (each.heard !== null) expect(downSize).toBe(heardSize);
      else expect(heardSize).toBeLessThan(30 * bulk.length);
    },
  );
}
