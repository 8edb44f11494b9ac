// The bytes and the ends of connections whose TLS ends here: all of them arrive, each end is passed on as what it was,
// and what was cut is no end.

import { describe, expect } from "bun:test";
import { certs } from "../certs.ts";
import { exactClient, type ExactPeer } from "../engine/tls-peer.ts";
import { echoServer, seeded, serve, until, type Peer } from "../net.ts";
import { startChain } from "../upgrade/chain.ts";
import { secureClient, shows, startOf, testTls, type SecurePeer } from "./secure.ts";
import { byDescriptor, byThreads, embed, endings, spawn, toEnded } from "./ways.ts";

const MIB = 1024 * 1024;

/** Compares what comes with what should, and reads with pauses. */
class SlowReader {
  count = 0;
  isExact = true;
  private readonly expected: Buffer;
  private readonly sizeBetween: number;
  private next: number;

  /** @param sizeBetween after so many bytes it does not read for a while. */
  constructor(expected: Buffer, sizeBetween: number) {
    this.expected = expected;
    this.sizeBetween = sizeBetween;
    this.next = sizeBetween;
  }

  take(peer: Peer, chunk: Buffer): void {
    const wanted = this.expected.subarray(this.count, this.count + chunk.length);
    if (!wanted.equals(chunk)) this.isExact = false;
    this.count += chunk.length;
    if (this.count < this.next) return;
    this.next += this.sizeBetween;
    peer.pause();
    setTimeout(() => peer.resume(), 5);
  }
}

/** As it was given to the library, the secure client and its destination's end. */
async function joined(
  port: number,
  peers: readonly Peer[],
): Promise<{ near: SecurePeer; far: Peer }> {
  const count = peers.length;
  const near = await secureClient(port);
  const far = await until(() => peers[count], "the destination's end");
  return { near, far };
}

/** A client in mid-handshake: what it says after its hello is held back. */
async function halfway(port: number): Promise<ExactPeer> {
  const peer = exactClient(port);
  peer.holds = true;
  await until(() => peer.held.length > 0, "a hello");
  for (const bytes of peer.held.splice(0)) peer.raw.send(bytes);
  await peer.until(() => peer.raw.receivedCount > 0, "the server's hello");
  return peer;
}

describe.each([byDescriptor, byThreads] as const)("%s", (way) => {
  testTls("tls: 64 MiB each way at once arrive byte by byte, at the readers' pace", async () => {
    const up = seeded().bytes(64 * MIB);
    const down = Buffer.from(up.toReversed());
    const [atFar, atNear] = [new SlowReader(up, 4 * MIB), new SlowReader(down, 3 * MIB)];
    using destination = serve({
      keep: false,
      onData: (peer, chunk) => atFar.take(peer, chunk),
      onEnd: (peer) => peer.finish(),
    });
    await using it = await embed([...shows(certs().server), destination.address], way);
    using near = await secureClient(it.port, {
      keep: false,
      onData: (peer, chunk) => atNear.take(peer, chunk),
    });
    const far = await until(() => destination.peers[0], "the destination's end");
    far.send(down);
    near.send(up);
    await until(() => atNear.count >= down.length, "all that goes down", 20_000);
    near.finish();
    await until(() => near.ended && far.ended, "both ends", 20_000);
    expect([atFar.count, atNear.count, atFar.isExact, atNear.isExact]).toEqual([
      up.length,
      down.length,
      true,
      true,
    ]);
    const [ended] = await it.finish(1);
    expect([ended?.reason, ended?.bytesUp, ended?.bytesDown]).toEqual([
      "done",
      up.length,
      down.length,
    ]);
  });

  testTls("tls: a reader that stands still stops the sender, and loses nothing", async () => {
    const bytes = seeded().bytes(32 * MIB);
    using destination = serve({ keep: false });
    await using it = await embed([...shows(certs().server), destination.address], way);
    using near = await secureClient(it.port, { paused: true });
    const far = await until(() => destination.peers[0], "the destination's end");
    far.send(bytes);
    far.finish();
    let unsent = -1;
    await until(async () => {
      const before = unsent;
      unsent = far.unsentCount;
      await Bun.sleep(60);
      return unsent === before;
    }, "a sender that stands still");
    expect(unsent).toBeGreaterThan(8 * MIB);
    near.resume();
    await until(() => near.ended, "its end");
    expect(near.received.equals(bytes)).toBe(true);
    near.finish();
    const [ended] = await it.finish(1);
    expect([ended?.reason, ended?.bytesDown]).toEqual(["done", bytes.length]);
  });

  testTls("tls: who ends first goes on reading, on either side", async () => {
    using destination = serve({});
    await using it = await embed([...shows(certs().server), destination.address], way);
    {
      const { near, far } = await joined(it.port, destination.peers);
      using _ = near;
      near.send("last words");
      near.finish();
      await until(() => far.ended, "the client's end at the destination");
      expect(far.text).toBe("last words");
      far.send("an answer");
      await until(() => near.text === "an answer", "the answer after the end");
      far.finish();
      await until(() => near.ended, "the destination's end");
      expect(near.wasReset).toBe(false);
    }
    {
      const { near, far } = await joined(it.port, destination.peers);
      using _ = near;
      far.send("last words");
      far.finish();
      await until(() => near.ended, "the destination's end at the client");
      expect(near.text).toBe("last words");
      near.send("an answer");
      await until(() => far.text === "an answer", "the answer after the end");
      near.finish();
      await until(() => far.ended, "the client's end");
      expect(far.wasReset).toBe(false);
    }
    expect(endings(await it.finish(2))).toEqual(["done -- client", "done -- destination"]);
  });

  testTls("tls: a FIN without a close_notify between two records is an end as well", async () => {
    using destination = serve({ onEnd: (peer) => peer.finish() });
    await using it = await embed([...shows(certs().server), destination.address], way);
    using peer = await exactClient(it.port).secured();
    await peer.say("all of it");
    peer.holds = true; // or its answer to our close_notify would find it closed
    peer.raw.fin();
    await until(() => destination.peers[0]?.ended, "the end at the destination");
    expect([destination.peers[0]?.text, destination.peers[0]?.wasReset]).toEqual([
      "all of it",
      false,
    ]);
    await peer.until(() => peer.raw.fate === "FIN" && peer.isNotified, "our end, as TLS says it");
    expect(endings(await it.finish(1))).toEqual(["done -- client"]);
  });

  testTls("tls: a reset is passed on as a reset, both ways", async () => {
    using destination = serve({});
    await using it = await embed([...shows(certs().server), destination.address], way);
    {
      using peer = await exactClient(it.port).secured();
      await peer.say("hello");
      await until(() => destination.peers[0]?.text === "hello", "its word");
      peer.raw.reset();
      await until(() => destination.peers[0]?.over, "the reset");
      expect(destination.peers[0]?.wasReset).toBe(true);
    }
    {
      using peer = await exactClient(it.port).secured();
      await peer.say("hello");
      await until(() => destination.peers[1]?.text === "hello", "its word");
      destination.peers[1]?.reset();
      await peer.until(() => peer.raw.fate !== "open", "the reset");
      expect([peer.raw.fate, peer.isNotified]).toEqual(["RST", false]);
    }
    const ended = await it.finish(2);
    expect(ended.map(({ reason }) => reason)).toEqual(["client-reset", "destination-reset"]);
  });

  testTls(
    "tls: what ends in the middle of a record, or is changed, is a reset and no end",
    async () => {
      using destination = serve({});
      await using it = await embed([...shows(certs().server), destination.address], way);
      const damages: ((record: Buffer) => Buffer)[] = [
        (record) => record.subarray(0, record.length - 1),
        (record) => record.subarray(0, 3),
        (record) => Buffer.from(record.map((byte, at) => (at === 9 ? byte ^ 1 : byte))),
        () => Buffer.from("GET / HTTP/1.1\r\n\r\n"), // in plain
      ];
      for (const [index, damage] of damages.entries()) {
        using peer = await exactClient(it.port).secured();
        await peer.say("first");
        await until(() => destination.peers[index]?.text === "first", "its first word");
        peer.raw.send(damage(await peer.record(" and the second one")));
        peer.raw.fin();
        await until(() => destination.peers[index]?.over, "the reset");
        const { wasReset, ended, text } = destination.peers[index] ?? {};
        expect({ index, wasReset, ended, text }).toEqual({
          index,
          wasReset: true,
          ended: false,
          text: "first",
        });
      }
      const ended = await it.finish(damages.length);
      expect(ended.map(({ reason, closedBy }) => `${reason} ${closedBy}`)).toEqual(
        damages.map(() => "client-reset client"),
      );
      expect(ended.every((each) => each.bytesUp === 5 && startOf(each).tls === "TLSv1.3")).toBe(
        true,
      );
    },
  );

  testTls(
    "tls: bytes right behind the handshake, and a whole short life in one go, are served",
    async () => {
      using destination = echoServer();
      await using it = await embed([...shows(certs().server), destination.address], way);
      for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
        using peer = exactClient(it.port, { maxVersion });
        peer.tls.end("at once");
        await peer.until(
          () => peer.raw.fate === "FIN" && peer.text === "at once",
          "the echo and its end",
        );
      }
      const ended = await it.finish(2);
      expect(ended.map((each) => `${each.reason} ${each.bytesUp} ${each.bytesDown}`)).toEqual([
        "done 7 7",
        "done 7 7",
      ]);
    },
  );
});

testTls("tls: who waits for a slot is secured meanwhile, and is served in turn", async () => {
  using destination = echoServer();
  await using it = await embed(["--slots", "1", ...shows(certs().server), destination.address]);
  const peers = await Promise.all(Array.from({ length: 10 }, () => secureClient(it.port)));
  await it.when(({ queue }) => queue.waiting === 9, "nine that wait");
  for (const [index, peer] of peers.entries()) {
    peer.send(`word ${index}`);
    peer.finish();
  }
  await until(() => peers.every((peer) => peer.over), "all of them");
  expect(peers.map(({ text }) => text)).toEqual(peers.map((_, index) => `word ${index}`));
  const ended = await it.finish(10);
  expect(ended.every(({ reason }) => reason === "done")).toBe(true);
});

testTls("tls: --max-age ends in order with a close_notify, --idle-timeout by a reset", async () => {
  using destination = echoServer();
  const cases = [
    ["--max-age", "FIN", true, "max-age"],
    ["--idle-timeout", "RST", false, "idle-timeout"],
  ] as const;
  for (const [option, fate, isNotified, reason] of cases) {
    await using it = await embed([option, "150ms", ...shows(certs().server), destination.address]);
    using peer = await exactClient(it.port).secured();
    peer.holds = true; // or its answer to our close_notify would find it closed
    await peer.until(() => peer.raw.fate !== "open", "its end");
    await until(() => peer.isNotified === isNotified, "what TLS says of it");
    expect([option, peer.raw.fate]).toEqual([option, fate]);
    const [ended] = await it.finish(1);
    expect(ended?.reason).toBe(reason);
  }
});

testTls(
  "tls: SIGTERM lets a live pair go on to its end, and refuses whose handshake is not done",
  async () => {
    using destination = echoServer();
    await using it = await spawn([...shows(certs().server), destination.address]);
    using peer = await secureClient(it.port);
    peer.send("before");
    await until(() => peer.text === "before", "the echo");
    using pending = await halfway(it.port);
    const exited = it.process.stop("SIGTERM");
    await pending.until(() => pending.raw.fate !== "open", "the refusal");
    peer.send(", and after");
    await until(() => peer.text === "before, and after", "the echo");
    peer.finish();
    await until(() => peer.over, "its end");
    expect(peer.wasReset).toBe(false);
    expect(await exited).toBe(0);
    const ended = it.ended.map(({ reason }) => reason);
    expect(ended).toEqual(["shutdown", "done"]);
  },
);

testTls(
  "tls: an upgrade leaves live pairs as they are, and its successor serves new ones",
  async () => {
    using destination = echoServer();
    const { server } = certs();
    const args = [
      "--access-log",
      "json",
      "--health-interval",
      "0",
      ...shows(server),
      "127.0.0.1:0",
    ];
    await using chain = await startChain([...args, destination.address]);
    using old = await secureClient(chain.port);
    old.send("before");
    await until(() => old.text === "before", "the echo");
    using waiting = await halfway(chain.port);
    await chain.upgrade();
    using young = await secureClient(chain.port);
    young.send("new");
    await until(() => young.text === "new", "the new one's echo");
    old.send(", and after");
    await until(() => old.text === "before, and after", "the old one's echo");
    // A handshake that had begun goes on as well.
    for (const bytes of waiting.held.splice(0)) waiting.raw.send(bytes);
    waiting.holds = false;
    await waiting.say("late");
    await waiting.until(() => waiting.text === "late", "the late one's echo");
    await waiting.notify();
    waiting.raw.fin();
    for (const peer of [old, young]) {
      peer.finish();
      await until(() => peer.over, "its end");
      expect(peer.wasReset).toBe(false);
    }
    await chain.gone(chain.first.pid);
    await chain.finish();
    expect(chain.lines.map((line) => toEnded(line).reason)).toEqual(["done", "done", "done"]);
  },
);
