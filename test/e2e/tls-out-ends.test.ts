// The bytes and the ends of connections whose destination speaks TLS: all of them arrive, and each end is passed on as
// what it was.

import { describe, expect } from "bun:test";
import { certs } from "../certs.ts";
import { accept, RawPeer } from "../engine/facts.ts";
import { exactServer, type ExactPeer } from "../engine/tls-peer.ts";
import { client, seeded, until } from "../net.ts";
import { rawListen } from "../raw.ts";
import { secureClient, secureServe, shows, testTls } from "./secure.ts";
import { byDescriptor, byThreads, embed } from "./ways.ts";

const MIB = 1024 * 1024;
const trusted = (): string => `tls,tls-ca=${certs().ca.certFile}`;

interface ByHand extends AsyncDisposable {
  pair(): Promise<{ near: Awaited<ReturnType<typeof client>>; far: ExactPeer }>;
}

/** A destination whose every record is the test's to send. */
async function byHand(way: Parameters<typeof embed>[1]): Promise<ByHand> {
  const { fd, port } = rawListen("127.0.0.1:0", 16);
  const it = await embed([`127.0.0.1:${port},${trusted()}`], way);
  const open: Disposable[] = [];
  return {
    async pair() {
      const near = await client(it.port);
      const far = exactServer(await accept(fd));
      open.push(near, far);
      await far.secured();
      return { near, far };
    },
    async [Symbol.asyncDispose]() {
      for (const each of open) each[Symbol.dispose]();
      await it[Symbol.asyncDispose]();
      new RawPeer(fd).close();
    },
  };
}

describe.each([byDescriptor, byThreads] as const)("%s", (way) => {
  testTls("tls out: 32 MiB each way at once, byte by byte, with a reader that pauses", async () => {
    const up = seeded().bytes(32 * MIB);
    let [count, isExact] = [0, true];
    using far = secureServe({ onEnd: (peer) => peer.finish() });
    await using it = await embed([...shows(certs().server), `${far.address},${trusted()}`], way);
    using near = await secureClient(it.port, {
      keep: false,
      onData: (peer, chunk) => {
        isExact &&= chunk.equals(up.subarray(count, count + chunk.length));
        if (Math.floor(count / MIB) !== Math.floor((count += chunk.length) / MIB)) {
          peer.pause();
          setTimeout(() => peer.resume(), 2);
        }
      },
    });
    near.send(up);
    const peer = await until(() => far.peers[0], "the destination's end");
    peer.send(up);
    await until(() => count === up.length && peer.receivedCount === up.length, "all", 20_000);
    expect([isExact, peer.received.equals(up)]).toEqual([true, true]);
    near.finish();
    await until(() => near.over, "the end");
    const [ended] = await it.finish(1);
    expect([ended?.reason, ended?.bytesUp, ended?.bytesDown]).toEqual([
      "done",
      up.length,
      up.length,
    ]);
  });

  testTls(
    "tls out: ends go both ways each for itself, resets as resets, and what is cut is a reset",
    async () => {
      await using it = await byHand(way);
      {
        const { near, far } = await it.pair();
        near.send("last words");
        near.finish();
        await far.until(() => far.isNotified, "the client's end");
        expect(far.text).toBe("last words");
      }
      {
        const { near, far } = await it.pair();
        far.holds = true;
        const [words, rest] = [await far.record("all"), await far.record("of it")];
        far.raw.send(words);
        await until(() => near.text === "all", "its word");
        far.raw.send(rest.subarray(0, rest.length - 4));
        far.raw.fin();
        await until(() => near.over, "the reset");
        expect([near.wasReset, near.text]).toEqual([true, "all"]);
      }
      {
        const { near, far } = await it.pair();
        await far.say("all of it");
        await until(() => near.text === "all of it", "its words");
        far.raw.reset();
        await until(() => near.over, "the reset");
        expect(near.wasReset).toBe(true);
      }
      {
        const { near, far } = await it.pair();
        await far.say("all of it");
        await far.notify();
        far.raw.fin();
        await until(() => near.ended, "the destination's end");
        near.send("an answer");
        near.finish();
        await far.until(() => far.raw.fate === "FIN", "the client's end");
        expect([near.text, near.wasReset]).toEqual(["all of it", false]);
      }
      {
        const { near, far } = await it.pair();
        near.reset();
        await far.until(() => far.raw.fate !== "open", "the reset");
        expect([far.raw.fate, far.isNotified]).toEqual(["RST", false]);
      }
    },
  );
});
