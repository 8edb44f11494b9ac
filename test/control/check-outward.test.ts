// Checks of destinations that await a PROXY header or TLS: what a check says before it asks, and what it makes of it.
import { describe, expect, test } from "bun:test";
import { createServer, type Server, type TLSSocket } from "node:tls";
import type { Outward } from "../../src/core/destination.ts";
import type { DialAddress } from "../../src/core/engine.ts";
import { tlsClient } from "../../src/engine/tls-side.ts";
import { libc, type Libc } from "../../src/linux/libc.ts";
import { writeLocalHeader } from "../../src/wire/proxy-write.ts";
import { certs, opensslMissing, type CertPair } from "../certs.ts";
import { fakeAddresses, FakeEngine, fakeSide, type FakeSocket } from "../core/fake.ts";
import { serve, until } from "../net.ts";
import { answering, bytes, politely, real, Run, type Asked } from "./check-run.ts";

const ways: [string, Libc | null][] = [
  ["by descriptor", libc],
  ["the portable way", null],
];
const versions = [1, 2] as const;
const plain = (proxy: 1 | 2): Outward => ({ proxy, tls: null, name: "" });

describe.each(ways)("check, %s", (_, c) => {
  test.each(versions)("check: a v%d header for itself, and an end in order", async (version) => {
    using server = serve({ onEnd: (peer) => peer.finish() });
    using it = real([server.address], { outward: plain(version) }, c);
    expect(await it.verdict()).toBe("passed");
    await it.over();
    await politely(server.peers);
    expect(server.peers[0]?.received).toEqual(Buffer.from(writeLocalHeader(version)));
  });

  test.each(versions)("check: a v%d header goes before the question", async (version) => {
    using server = answering((peer) => peer.send("PONG"));
    const asked = { send: bytes("PING"), expect: bytes("PONG"), outward: plain(version) };
    using it = real([server.address], asked, c);
    expect(await it.verdict(0)).toBe("passed");
    await it.over();
    await politely(server.peers);
    const all = Buffer.concat([writeLocalHeader(version), bytes("PING")]);
    expect(server.peers[0]?.received).toEqual(all);
  });

  test("check: a server that does not know the header, and ends or resets, has failed", async () => {
    for (const [end, cause] of [
      ["finish", "it ended the connection before a status line"],
      ["reset", "it reset the connection before a status line"],
    ] as const) {
      using server = serve({ onData: (peer) => peer[end]() });
      using it = real([server.address], { http: "/", outward: plain(2) }, c);
      expect(await it.verdict(0)).toBe(`failed ${cause}`);
    }
  });
});

/** A check of these addresses over the fake engine. */
function faked(asked: Asked, ...names: readonly string[]) {
  const engine = new FakeEngine();
  const addresses = fakeAddresses("d0", ...names) as unknown as DialAddress[]; // opaque to the core
  const it = new Run(engine, addresses, asked);
  const dial = (index: number): FakeSocket => {
    const socket = engine.dials[index];
    if (socket === undefined) throw new Error("not dialed");
    return socket;
  };
  return { it, dial, engine };
}

const secret = (proxy: 0 | 1 | 2): Outward => ({
  proxy,
  tls: fakeSide("roots"),
  name: "d.example",
});
const second = { timeoutMs: 1_000 };

describe("check: in steps", () => {
  test("check: header and question go on where the socket was full", () => {
    const { it, dial } = faked({ send: bytes("PING"), outward: plain(1) });
    dial(0).room = 5;
    dial(0).connect();
    it.loop.advance(100);
    expect([dial(0).text, it.told]).toEqual(["PROXY", []]);
    dial(0).writable();
    expect(dial(0).text).toBe("PROXY UNKNOWN\r\nPING");
    it.loop.advance(20);
    expect(it.told).toEqual(["passed"]);
  });

  test("check: header, handshake, question, in this order", () => {
    const { it, dial } = faked({ send: bytes("?"), expect: bytes("!"), outward: secret(1) });
    dial(0).connect();
    expect(dial(0).text).toBe("PROXY UNKNOWN\r\n");
    expect(dial(0).handshake).toMatchObject({
      side: "roots",
      name: "d.example",
      isServer: false,
      initial: null,
    });
    dial(0).secured();
    expect(dial(0).text).toBe("PROXY UNKNOWN\r\n?");
    dial(0).send("!");
    expect([it.told, dial(0).shut]).toEqual([["passed"], true]);
    dial(0).fin();
    expect([it.told, dial(0).fate]).toEqual([["passed", "over"], "closed"]);
  });

  test("check: a handshake is all that is asked, and is watched for a moment", () => {
    const { it, dial } = faked({ outward: secret(0) });
    dial(0).connect();
    it.loop.advance(500);
    expect(it.told).toEqual([]);
    dial(0).secured();
    it.loop.advance(9);
    expect(it.told).toEqual([]);
    it.loop.advance(11);
    expect([it.told, dial(0).shut]).toEqual([["passed"], true]);
    const reset = faked({ outward: secret(0) });
    reset.dial(0).connect();
    reset.dial(0).secured();
    reset.dial(0).reset();
    expect(reset.it.told).toEqual(["failed reset at once", "over"]);
  });

  const faults: [string, (socket: FakeSocket) => void, cause: string][] = [
    ["a bad certificate", (socket) => socket.insecure("CERT_HAS_EXPIRED"), "CERT_HAS_EXPIRED"],
    ["an end before the handshake", (socket) => socket.insecure("ECONNRESET"), "ECONNRESET"],
    ["a dial that fails", (socket) => socket.fail("EHOSTUNREACH"), "EHOSTUNREACH"],
  ];
  test.each(faults)(
    "check: %s has failed by its name, once all addresses have",
    (_, fail, cause) => {
      const { it, dial, engine } = faked({ outward: secret(2) }, "d1");
      for (const index of [0, 1]) {
        expect(it.told).toEqual([]);
        if (cause !== "EHOSTUNREACH") dial(index).connect();
        fail(dial(index));
      }
      expect([it.told, engine.dials.length]).toEqual([[`failed ${cause}`, "over"], 2]);
    },
  );

  test("check: words before the handshake, and a reset that the header finds", () => {
    for (const [act, cause] of [
      [(socket: FakeSocket) => socket.send("220 ready"), "EPROTO"],
      [(socket: FakeSocket) => socket.fin(), "ECONNRESET"],
      [(socket: FakeSocket) => socket.reset(), "ECONNRESET"],
      [
        (socket: FakeSocket) => {
          socket.resetUnseen = true;
          socket.writable();
        },
        "ECONNRESET",
      ],
    ] as const) {
      const { it, dial } = faked({ outward: secret(1) });
      dial(0).room = 3;
      dial(0).connect();
      act(dial(0));
      expect([it.told, dial(0).fate === "open" && !dial(0).gone]).toEqual([
        [`failed ${cause}`, "over"],
        false,
      ]);
    }
  });

  test("check: a handshake that does not end leaves the next address its share of the time", () => {
    const { it, dial, engine } = faked({ ...second, outward: secret(0) }, "d1");
    dial(0).connect();
    it.loop.advance(510);
    expect([it.told, dial(0).fate, engine.dials.length]).toEqual([[], "reset", 2]);
    dial(1).connect();
    it.loop.advance(510);
    expect(it.told).toEqual(["failed no TLS handshake within 1 s", "over"]);
    expect(dial(1).fate).toBe("reset");
  });

  test("check: so does one to an own socket that is connected at once", () => {
    const engine = new FakeEngine();
    engine.connectsAtOnce = true;
    const addresses = fakeAddresses("d0") as unknown as DialAddress[]; // opaque to the core
    const it = new Run(engine, addresses, { ...second, outward: secret(0) });
    it.loop.advance(1_010);
    expect(it.told).toEqual(["failed no TLS handshake within 1 s", "over"]);
  });

  test("check: nothing is told of one that is aborted in the handshake", () => {
    const { it, dial } = faked({ outward: secret(1) });
    dial(0).connect();
    it.check.abort();
    it.loop.advance(4_000_000);
    expect([it.told, dial(0).fate, it.loop.alarmCount]).toEqual([[], "reset", 0]);
  });
});

// ---- a server of another make ----------------------------------------------------------------------

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: checks by TLS, for ${opensslMissing}`);

interface TlsPeers extends AsyncDisposable {
  readonly address: string;
  /** What each has said: bytes, "end", names of errors. */
  readonly heard: string[];
}

async function tlsServer(
  { cert, key }: CertPair,
  onSecure: (peer: TLSSocket) => void = () => {},
): Promise<TlsPeers> {
  const heard: string[] = [];
  const note = (error: Error) => void heard.push(error.message);
  const server: Server = createServer({ cert, key }, (peer) => {
    peer.on("data", (chunk) => void heard.push(chunk.toString()));
    peer.on("end", () => void heard.push("end"));
    peer.on("error", note);
    onSecure(peer);
  });
  server.on("tlsClientError", note);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const at = server.address();
  const port = typeof at === "object" && at !== null ? at.port : 0;
  return {
    address: `127.0.0.1:${port}`,
    heard,
    [Symbol.asyncDispose]: () => new Promise<void>((done) => void server.close(() => done())),
  };
}

function trusting(ca: string, name = "a.example", verify = true): Outward {
  return { proxy: 0, tls: tlsClient({ ca, cert: "", key: "", verify }), name };
}

describe.each(ways)("check by TLS, %s", (_, c) => {
  testTls("check: a handshake is enough, and ends in order", async () => {
    await using server = await tlsServer(certs().server);
    using it = real([server.address], { outward: trusting(certs().ca.cert) }, c);
    expect(await it.verdict()).toBe("passed");
    await until(() => server.heard.length > 0, "its end");
    expect(server.heard).toEqual(["end"]);
    await it.over();
  });

  testTls("check: a question and its answer", async () => {
    await using server = await tlsServer(certs().server, (peer) => {
      peer.once("data", () => peer.end("HTTP/1.1 204 No Content\r\n\r\n"));
    });
    using it = real([server.address], { http: "/up", outward: trusting(certs().ca.cert) }, c);
    expect(await it.verdict(0)).toBe("passed");
    await it.over();
    expect(server.heard[0]).toStartWith("GET /up HTTP/1.1\r\n");
    await until(() => server.heard.length > 1, "its end");
    expect(server.heard.slice(1)).toEqual(["end"]);
  });

  testTls("check: a certificate that is not what its clients would take", async () => {
    const { ca, expired, server: good, foreign } = certs();
    for (const [pair, outward, verdict] of [
      [expired, trusting(ca.cert), "failed CERT_HAS_EXPIRED"],
      [good, trusting(ca.cert, "c.example"), "failed ERR_TLS_CERT_ALTNAME_INVALID"],
      [foreign, trusting(ca.cert), "failed UNABLE_TO_"],
      // Not verified: with and without a name, the right one and another.
      [expired, trusting(ca.cert, "c.example", false), "passed"],
      [expired, trusting(ca.cert, "", false), "passed"],
      [foreign, trusting("", "a.example", false), "passed"],
      [good, trusting(ca.cert, "c.example", false), "passed"],
    ] as const) {
      await using server = await tlsServer(pair);
      using it = real([server.address], { outward }, c);
      expect(await it.verdict()).toStartWith(verdict);
      await it.over();
    }
  });

  testTls("check: a server that speaks no TLS", async () => {
    for (const verify of [true, false]) {
      using server = serve({ onData: (peer) => peer.send("500 what?\r\n") });
      const outward = trusting(certs().ca.cert, "a.example", verify);
      using it = real([server.address], { outward }, c);
      expect(await it.verdict(0)).toMatch(/^failed (?:WRONG_VERSION_NUMBER|EPROTO)$/);
      await it.over();
      using ending = serve({ onData: (peer) => peer.finish() });
      using other = real([ending.address], { outward }, c);
      expect(await other.verdict(0)).toBe("failed ECONNRESET");
      await other.over();
    }
  });
});
