// How TLS connections of the engine end: in order, cut, reset, broken, before the handshake is over.

import { afterEach, describe, expect, test } from "bun:test";
import { opensslMissing } from "../certs.ts";
import { rawConnect, rawListen } from "../raw.ts";
import { until, withSeed } from "../wait.ts";
import { accept, RawPeer, turn } from "./facts.ts";
import { clientSide, dialEnd, door, engine, faults, serverSide, type End } from "./tls-end.ts";
import { exactClient, exactServer, type ExactPeer } from "./tls-peer.ts";

if (opensslMissing !== null) console.warn(`skipped: ends of TLS: ${opensslMissing}`);

afterEach(() => expect(faults.splice(0)).toEqual([]));

/** An end of ours whose peer does exactly as it is told. */
async function exact(
  way: "accepted" | "dialed",
): Promise<{ end: End; peer: ExactPeer } & Disposable> {
  let end: End;
  let peer: ExactPeer;
  let listening: ReturnType<typeof door> | null = null;
  if (way === "accepted") {
    listening = door({ side: serverSide() });
    const { ends, port } = listening;
    peer = exactClient(port);
    await peer.until(() => peer.isSecured && ends[0]?.secured, "a handshake");
    end = ends[0] as End; // just awaited
  } else {
    const { fd, port } = rawListen("127.0.0.1:0", 4);
    end = dialEnd(port, { side: clientSide(), name: "a.example" });
    peer = exactServer(await accept(fd));
    new RawPeer(fd).close();
    await peer.until(() => peer.isSecured && end.secured, "a handshake");
  }
  return {
    end,
    peer,
    [Symbol.dispose]: () => (end.abort(), peer[Symbol.dispose](), listening?.[Symbol.dispose]()),
  };
}

describe.skipIf(opensslMissing !== null)("tls ends", () => {
  describe.each(["accepted", "dialed"] as const)("%s", (way) => {
    test("tls: an end in order is a close_notify", async () => {
      using it = await exact(way);
      await it.peer.say("x");
      await it.peer.notify();
      await until(() => it.end.story.includes("end"), "the end");
      it.end.send("still here");
      await until(() => it.peer.raw.read().length > 0, "what we wrote after it");
      expect(it.end.brief).toEqual(["secured", "chunk", "end"]);
    });

    test("tls: an end in order is a FIN between two records, too", async () => {
      using it = await exact(way);
      await it.peer.say("x");
      it.peer.raw.fin();
      await until(() => it.end.story.includes("end"), "the end");
      expect(it.end.brief).toEqual(["secured", "chunk", "end"]);
    });

    test.each([1, 17, 20])(
      "tls: a FIN %i bytes before the end of a record is a cut",
      async (missing) => {
        using it = await exact(way);
        const record = await it.peer.record("x");
        it.peer.raw.send(record.subarray(0, record.length - missing));
        it.peer.raw.fin();
        await until(() => it.end.over, "the cut");
        expect(it.end.story).toEqual(["secured", "close EPROTO"]);
        await it.peer.raw.readToEnd();
        expect(it.peer.raw.fate).toBe("RST");
      },
    );

    test("tls: after our own end, a FIN is a close and a cut record a failure", async () => {
      for (const missing of [0, 1]) {
        using it = await exact(way);
        const record = await it.peer.record("x");
        it.peer.holds = true;
        it.end.finish();
        await it.peer.until(() => it.peer.raw.fate === "FIN", "our end");
        it.peer.raw.send(record.subarray(0, record.length - missing));
        it.peer.raw.fin();
        await until(() => it.end.over, "a close");
        expect(it.end.brief.at(-1)).toBe(missing === 0 ? "close" : "close EPROTO");
      }
    });

    test("tls: a bad record ends it, and no byte of it is told", async () => {
      using it = await exact(way);
      const record = await it.peer.record("x");
      record[record.length - 1] = (record.at(-1) ?? 0) ^ 1;
      it.peer.raw.send(record);
      await until(() => it.end.over, "a close");
      expect(it.end.story).toEqual(["secured", "close EPROTO"]);
    });

    test("tls: a reset is one, also where a write finds it first", async () => {
      using it = await exact(way);
      it.peer.raw.reset();
      await until(() => it.end.over, "a close");
      expect(it.end.story).toEqual(["secured", "close ECONNRESET"]);
      expect(it.end.socket && engine.write(it.end.socket, Buffer.from("x"), 0)).toBe(-1);
      using other = await exact(way);
      other.peer.raw.reset();
      expect(other.end.socket && engine.write(other.end.socket, Buffer.from("x"), 0)).toBe(-1);
      await until(() => other.end.over, "a close");
      expect(other.end.story).toEqual(["secured", "close ECONNRESET"]);
    });

    test("tls: close ends both directions, also where the peer does not answer", async () => {
      using it = await exact(way);
      it.peer.holds = true;
      it.end.close();
      await it.peer.until(() => it.peer.isNotified && it.peer.raw.fate === "FIN", "our end");
      it.peer.raw.send(Buffer.alloc(100)); // to nobody
      await until(() => it.peer.raw.send(Buffer.alloc(100)) < 0, "a refusal");
    });

    test("tls: abort is a reset even after close, of a peer that does not read", async () => {
      using it = await exact(way);
      it.end.send(new Uint8Array(32 * 1024 * 1024));
      expect(it.end.isBusy).toBe(true);
      it.end.close();
      await turn();
      it.end.abort();
      await it.peer.raw.readToEnd();
      expect(it.peer.raw.fate).toBe("RST");
    });

    test("tls: abort is a reset, and nothing is told after it", async () => {
      using it = await exact(way);
      it.end.abort();
      await it.peer.raw.readToEnd();
      expect(it.peer.raw.fate).toBe("RST");
      await turn();
      expect(it.end.story).toEqual(["secured"]);
    });
  });

  test("tls: a name is asked for, an address is not", async () => {
    const { fd, port } = rawListen("127.0.0.1:0", 4);
    for (const name of ["a.example", "127.0.0.1", ""]) {
      const end = dialEnd(port, { side: clientSide(), name, alpn: ["first", "second"] });
      using raw = new RawPeer(await accept(fd));
      let hello = "";
      await until(() => (hello += raw.read().toString("latin1")).length > 0, "a hello");
      expect(hello.includes("\x00\x00\x09a.example")).toBe(name === "a.example");
      expect(hello).not.toContain("127.0.0.1");
      expect(hello).toContain("\x05first\x06second");
      end.abort();
    }
    new RawPeer(fd).close();
  });

  test("tls: a peer that goes in mid-handshake", async () => {
    for (const end of ["fin", "reset"] as const) {
      using listening = door({ side: serverSide() });
      using peer = exactClient(listening.port);
      await until(() => listening.ends.length > 0, "an accept");
      await turn();
      peer.raw[end]();
      await until(() => listening.ends[0]?.over, "its end");
      expect(listening.ends[0]?.story).toEqual(["insecure ECONNRESET"]);
    }
  });

  test.each(["abort", "close"] as const)("tls: %s in mid-handshake tells nothing", async (verb) => {
    using listening = door({ side: serverSide() });
    using peer = exactClient(listening.port);
    peer.holds = true; // all but the hello
    await until(() => peer.held.length > 0, "a hello");
    peer.raw.send(Buffer.concat(peer.held.splice(0)));
    await peer.until(() => peer.raw.receivedCount > 0, "our hello");
    const [end] = listening.ends;
    expect(end?.socket && engine.write(end.socket, Buffer.from("x"), 0)).toBe(0);
    end?.[verb]();
    await peer.raw.readToEnd();
    expect(peer.raw.fate).toBe(verb === "abort" ? "RST" : "FIN");
    await turn();
    expect(end?.secured).toBeNull();
    expect(end?.story.filter((each) => !each.startsWith("insecure"))).toEqual([]);
  });

  test("tls: on a socket that is gone it fails at once", async () => {
    using listening = door({ side: serverSide(), prefix: "gone!" });
    using raw = new RawPeer(rawConnect(listening.port));
    const end = await until(() => listening.ends[0], "an accept");
    raw.reset();
    await until(() => end.over, "its reset");
    end.onChunk(Buffer.from("gone!\x16\x03\x01\0\0"));
    expect(end.story).toEqual(["close ECONNRESET", "insecure ECONNRESET"]);
  });

  test("tls: an exception of ours is told as a fault, and the socket can be aborted", async () => {
    const onSecured = (): never => {
      throw new Error("ours");
    };
    using listening = door({ side: serverSide(), onSecured });
    using peer = exactClient(listening.port);
    await peer.until(() => faults.length > 0, "a fault");
    expect(faults.splice(0).map(String)).toEqual(["Error: ours"]);
    listening.ends[0]?.abort();
    await peer.raw.readToEnd();
    expect(peer.raw.fate).toBe("RST");
  });

  test("tls: hellos with a byte changed or parts doubled end in one refusal", () =>
    withSeed(async (random) => {
      using listening = door({ side: serverSide(), alpn: ["a"] });
      const hello = await helloOf();
      for (let i = 0; i < 500; i += 1) {
        const bytes = Buffer.from(hello);
        const at = 5 + random.int(bytes.length - 5); // its length stays, so that it counts as whole
        bytes.writeUInt8(random.int(256), at);
        if (random.int(4) === 0) bytes.copy(bytes, at, 5);
        using raw = new RawPeer(rawConnect(listening.port));
        raw.send(bytes);
        await until(() => listening.ends.length > i, "an accept");
        raw.fin(); // some only wait for more
        await until(() => listening.ends[i]?.over, `the end of ${bytes.toString("hex")}`);
        expect(listening.ends[i]?.secured).toBeNull();
        expect(listening.ends[i]?.story.length).toBe(1); // onInsecure, once
      }
    }));
});

/** What a client says first. */
async function helloOf(): Promise<Buffer> {
  const { fd, port } = rawListen("127.0.0.1:0", 4);
  using _client = exactClient(port, { ALPNProtocols: ["a", "b"] });
  using raw = new RawPeer(await accept(fd));
  const chunks: Buffer[] = [];
  await until(() => {
    chunks.push(raw.read());
    return chunks.some((chunk) => chunk.length > 0);
  }, "a hello");
  new RawPeer(fd).close();
  return Buffer.concat(chunks);
}
