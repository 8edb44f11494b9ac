// Who does not read, or hardly: nobody sends further ahead than a few buffers, and what they cost is given back.

import { expect } from "bun:test";
import { rssKiB, serve, until, type Peer } from "../net.ts";
import { libc, rawConnect } from "../raw.ts";
import { fault, sized, type Subject } from "./lab.ts";
import {
  connect,
  missingNarrow,
  missingNetwork,
  narrowLine,
  narrowBuffers,
  network,
  type Network,
} from "./network.ts";
import { askMany, clientIn, longMs, numbered, untilStill } from "./peers.ts";

const MiB = 1024 * 1024;
const pattern = Buffer.from(Array.from({ length: MiB }, (_, i) => (i * 31 + (i >> 8)) & 255));
const skip = missingNetwork();

/** What a round may leave behind that the next one does not use again: a collector is not exact. */
const leftKiBMax = 24 * 1024;

/** Much to whoever says "much"; what others say comes back with their end. */
function talker() {
  const talks: Peer[] = [];
  const server = serve({
    onData: (peer) => {
      if (peer.text !== "much" || talks.includes(peer)) return;
      talks.push(peer);
      peer.send(pattern);
      peer.finish();
    },
    onEnd: (peer) => {
      if (peer.receivedCount > 0 && peer.text !== "much") peer.send(`heard ${peer.text}`);
      peer.finish();
    },
  });
  return { server, talks };
}

/** A client below Bun, which reads as much as it is told to. */
class SlowReader {
  readCount = 0;
  isExact = true;
  isOver = false;
  private readonly fd: number;
  private static readonly buffer = new Uint8Array(64 * 1024);

  constructor(port: number) {
    this.fd = rawConnect(port, "127.0.0.1:0");
  }

  async say(words: string): Promise<void> {
    const bytes = Buffer.from(words);
    const isSent = () => libc().send(this.fd, bytes, bytes.length, 0) === BigInt(bytes.length);
    await until(isSent, "a slow reader's words", longMs);
  }

  /** @returns whether something came. */
  read(size: number): boolean {
    const { buffer } = SlowReader;
    const count = Number(libc().recv(this.fd, buffer, Math.min(size, buffer.length), 0));
    if (count === 0) this.isOver = true;
    if (count <= 0) return false;
    const wanted = pattern.subarray(this.readCount, this.readCount + count);
    this.isExact &&= wanted.equals(buffer.subarray(0, count));
    this.readCount += count;
    return true;
  }

  /** With bytes unread, which is a reset; else an end. */
  close(): void {
    libc().close(this.fd);
  }
}

async function expectServed(balancer: Subject, count: number, net: Network): Promise<void> {
  const words = numbered(count, "small ");
  const answers = await askMany(balancer.port, words, { net });
  expect(answers).toEqual(words.map((each) => `heard ${each}`));
}

fault(
  11,
  "a thousand readers of a byte now and then hold the destination back and cost little, again and again",
  async (lab) => {
    using net = network();
    narrowBuffers(net, 16 * 1024);
    const count = sized(1_000, 250);
    const lastCount = 5;
    const roundCount = 3;
    const { server, talks } = net.within(talker);
    using _server = server;
    const balancer = await lab.start([server.address], { command: net.command });
    const atRest = rssKiB(balancer.pid);
    const leftKiB: number[] = [];
    for (let round = 1; round <= roundCount; round++) {
      talks.length = 0;
      const readers = net.within(() => numbered(count).map(() => new SlowReader(balancer.port)));
      try {
        for (const reader of readers) await reader.say("much");
        await until(() => talks.length === count, "all are answered", longMs);
        for (let n = 1; n <= 3; n++) {
          const isRead = (reader: SlowReader) => reader.readCount === n || reader.read(1);
          await until(() => readers.every(isRead), `byte ${n} at each of them`, longMs);
          await expectServed(balancer, 20, net);
        }
        // Each is owed more than all buffers between hold; that part has not left its destination.
        expect(talks.filter((peer) => peer.unsentCount === 0).length).toBe(0);
        expect(rssKiB(balancer.pid) - atRest).toBeLessThan(64 * 1024 + count * 64);
        const last = readers.slice(0, lastCount);
        await until(
          () => {
            for (const reader of last) while (reader.read(64 * 1024));
            return last.every((reader) => reader.isOver);
          },
          "some read to the end",
          longMs,
        );
        expect(last.map((reader) => reader.readCount)).toEqual(last.map(() => MiB));
        expect(readers.filter((reader) => !reader.isExact).length).toBe(0);
      } finally {
        for (const reader of readers) reader.close();
      }
      await balancer.settle(round * (count + 60));
      leftKiB.push(rssKiB(balancer.pid));
    }
    const [, second = 0, third = 0] = leftKiB;
    expect(third - second).toBeLessThan(leftKiBMax);
    const ended = await balancer.finish(roundCount * (count + 60));
    const reset = ended.filter((each) => each.reason === "client-reset");
    expect(reset.length).toBe(roundCount * (count - lastCount));
    expect(new Set(reset.map((each) => each.closedBy))).toEqual(new Set(["client"]));
    expect(ended.filter((each) => each.reason === "done").length).toBe(
      roundCount * (lastCount + 60),
    );
  },
  { skip, timeoutMs: 150_000 },
);

for (const { number, who } of [
  { number: 11, who: "clients" },
  { number: 12, who: "destinations" },
]) {
  const isUpload = who === "destinations";
  fault(
    number,
    `${who} that never read and reset, again and again, leave nothing in memory`,
    async (lab) => {
      const held: Peer[] = [];
      const endless = Buffer.alloc(16 * MiB, "endless ");
      const hold = (peer: Peer) => {
        held.push(peer);
        if (isUpload) peer.pause();
        else peer.send(endless);
      };
      using net = network();
      narrowBuffers(net, 256 * 1024);
      using server = net.within(() =>
        serve({
          keep: false,
          onData: (peer) => void (held.includes(peer) || hold(peer)),
          onEnd: (peer) => peer.finish(),
        }),
      );
      const balancer = await lab.start([server.address], { command: net.command });
      const count = sized(16, 8);
      const roundCount = 4;
      const leftKiB: number[] = [];
      for (let round = 1; round <= roundCount; round++) {
        held.length = 0;
        const paused = !isUpload;
        const peers = await Promise.all(
          numbered(count).map(() => clientIn(net, balancer.port, { paused })),
        );
        for (const peer of peers) peer.send(isUpload ? endless : "much");
        await until(() => held.length === count, "all are at it", longMs);
        const senders = isUpload ? peers : held;
        await untilStill(() =>
          senders.reduce((sum, peer) => sum + endless.length - peer.unsentCount, 0),
        );
        expect(senders.filter((peer) => peer.unsentCount === 0).length).toBe(0);
        for (const peer of isUpload ? held : peers) peer.reset();
        await until(() => senders.every((peer) => peer.wasReset), "each sees the reset", longMs);
        await balancer.settle(round * count);
        leftKiB.push(rssKiB(balancer.pid));
      }
      const [, second = 0, , last = 0] = leftKiB;
      expect(last - second).toBeLessThan(leftKiBMax);
      const ended = await balancer.finish(roundCount * count);
      const reason = isUpload ? "destination-reset" : "client-reset";
      expect(new Set(ended.map((each) => each.reason))).toEqual(new Set([reason]));
    },
    { skip, timeoutMs: 120_000 },
  );
}

fault(
  49,
  "a narrow line to a destination holds its client back, end to end, and nobody else",
  async (lab) => {
    using near = network();
    using far = network();
    for (const net of [near, far]) narrowBuffers(net, 64 * 1024);
    connect(near, far);
    narrowLine(near, "cable");
    const arrived = new Bun.CryptoHasher("sha1");
    let arrivedCount = 0;
    using narrow = far.within(() =>
      serve(
        {
          keep: false,
          onOpen: (peer) => peer.send("narrow"),
          onData: (_, chunk) => {
            arrived.update(chunk);
            arrivedCount += chunk.length;
          },
          onEnd: (peer) => peer.finish(),
        },
        "10.78.0.2:0",
      ),
    );
    using live = near.within(() =>
      serve({
        onOpen: (peer) => peer.send("live "),
        onEnd: (peer) => {
          peer.send(`heard ${peer.text}`);
          peer.finish();
        },
      }),
    );
    const places = [`10.78.0.2:${narrow.port},slots=1,name=narrow`, `${live.address},name=live`];
    const balancer = await lab.start(["--health-interval", "0", ...places], {
      command: near.command,
    });
    const piece = pattern.subarray(0, 64 * 1024);
    const sent = new Bun.CryptoHasher("sha1");
    const sendMax = 64 * MiB; // should nobody hold it back
    let givenCount = 0;
    let isOver = false;
    const give = (peer: Peer) => {
      if (isOver || peer.text !== "narrow" || givenCount >= sendMax) return;
      sent.update(piece);
      givenCount += piece.length;
      peer.send(piece);
    };
    // `onFlushed` comes for a piece that had to wait; what went at once is followed from below.
    const all: Peer[] = [];
    let sender: Peer | undefined;
    while (sender === undefined) {
      const peer = await clientIn(near, balancer.port, { onFlushed: give });
      await until(() => peer.receivedCount >= 5, "a greeting", longMs);
      if (peer.text.startsWith("narrow")) sender = peer;
      else all.push(peer);
    }
    const client = sender;
    for (const peer of all) peer.finish();
    await until(() => all.every((peer) => peer.over), "the others' ends", longMs);
    await until(
      () => {
        for (let n = 0; n < 64 && client.unsentCount === 0; n++) give(client);
        return arrivedCount > MiB / 2;
      },
      "half a MiB at the far end",
      longMs,
    );
    const words = numbered(40, "small ");
    const answers = await askMany(balancer.port, words, { net: near });
    expect(answers).toEqual(words.map((each) => `live heard ${each}`));
    isOver = true;
    const aheadCount = givenCount - client.unsentCount - arrivedCount;
    expect(aheadCount).toBeLessThan(2 * MiB);
    expect(client.over).toBe(false);
    client.finish();
    await until(() => client.over, "all of it", longMs);
    expect([client.wasReset, arrivedCount]).toEqual([false, givenCount]);
    expect(arrived.digest("hex")).toBe(sent.digest("hex"));
    const ended = await balancer.finish(all.length + words.length + 1);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
    const slow = ended.filter((each) => each.destination === "narrow");
    expect(slow.map((each) => [each.bytesUp, each.closedBy])).toEqual([[givenCount, "client"]]);
  },
  { skip: missingNarrow() },
);
