// What a destination is told before a client's first byte: when, in how many writes, and what becomes of it when the
// destination is another one in the end.
import { describe, expect, test } from "bun:test";
import type { Outward } from "../../src/core/destination.ts";
import { readProxyHeader } from "../../src/wire/proxy-protocol.ts";
import {
  fakeAddresses,
  FakePlane,
  fakeSide,
  turn,
  type FakePlan,
  type FakeSocket,
} from "./fake.ts";
import {
  bytesTo,
  clientAddress,
  headerOf,
  onlyPair,
  proxyAddress,
  proxyIn,
  reading,
  serve,
  wantedAddress,
} from "./prefaces.ts";

function outward(proxy: 0 | 1 | 2, tls: string | null = null): Outward {
  return { proxy, tls: tls === null ? null : fakeSide(tls), name: "d.example" };
}

/** The header that a peer has got, and what came behind it. */
function heardBy(socket: FakeSocket) {
  const bytes = bytesTo(socket);
  const reading = readProxyHeader(bytes, { v1: true, v2: true });
  if (reading.kind !== "header") throw new Error(`${socket.name} got no header`);
  const { version, command, source, destination } = reading.header;
  const text = bytes.subarray(reading.size).toString();
  return { version, command, source, destination, text };
}

/** A client of 192.0.2.7, which one of these destinations is dialed for. */
function dialed(...plans: readonly FakePlan[]): { it: FakePlane; client: FakeSocket } {
  const it = new FakePlane(plans);
  const client = it.accept(clientAddress);
  it.plane.pull();
  return { it, client };
}

describe("proxy out: the header", () => {
  test.each([1, 2] as const)(
    "proxy out: v%d goes before the first byte, in one write with it",
    async (version) => {
      const { it, client } = dialed({ outward: outward(version) });
      client.send("early");
      const server = serve(it);
      expect(server.writes.length).toBe(1);
      expect(heardBy(server)).toMatchObject({ version, source: clientAddress, text: "early" });
      await turn();
      await turn();
      await turn();
      client.send(" and late");
      expect([server.writes.length, heardBy(server).text]).toEqual([2, "early and late"]);
      const pair = onlyPair(it);
      expect([pair.up.size, pair.up.receivedSize]).toEqual([14, 14]);
      it.end();
      it[Symbol.dispose]();
    },
  );

  test("proxy out: bytes that come within two turns go with it, later ones behind it", async () => {
    for (const [turnCount, writeCount] of [
      [0, 1],
      [1, 1],
      [2, 2],
    ] as const) {
      const { it, client } = dialed({ outward: outward(2) });
      const server = serve(it);
      expect(server.writes.length).toBe(0);
      for (let n = 0; n < turnCount; n += 1) await turn();
      expect(server.writes.length).toBe(writeCount - 1);
      client.send("question");
      expect([server.writes.length, heardBy(server).text]).toEqual([writeCount, "question"]);
      it.end();
      it[Symbol.dispose]();
    }
  });

  test("proxy out: each of several has its two turns", async () => {
    using it = new FakePlane([{ outward: outward(2) }]);
    it.accept(clientAddress);
    const first = serve(it);
    await turn();
    const late = it.accept(clientAddress);
    const second = serve(it);
    await turn();
    expect([first.writes.length, second.writes.length]).toEqual([1, 0]);
    late.send("question");
    expect([second.writes.length, heardBy(second).text]).toEqual([1, "question"]);
    it.end();
  });

  test("proxy out: a client that only listens is told of, and so is one that ends at once", async () => {
    const { it, client } = dialed({ outward: outward(1) });
    const server = serve(it);
    client.fin();
    expect([heardBy(server).text, server.shut]).toEqual(["", true]);
    server.send("220 ready");
    server.fin();
    expect([client.text, it.ends]).toEqual(["220 ready", ["done client"]]);
    expect(it.plane.numbers.get("bytesUp")).toBe(0);
    it.end();
    it[Symbol.dispose]();
    const early = dialed({ outward: outward(1) });
    early.client.fin(); // before the destination is connected
    const last = serve(early.it);
    expect([heardBy(last).text, last.shut]).toEqual(["", true]);
    early.it.end();
    early.it[Symbol.dispose]();
  });

  test("proxy out: who came through a proxy is told as that proxy told it", () => {
    using it = reading({ proxy: proxyIn }, {}, [{ outward: outward(2) }]);
    it.accept(proxyAddress).send(Buffer.concat([headerOf(1), Buffer.from("x")]));
    expect(heardBy(serve(it))).toMatchObject({
      source: clientAddress,
      destination: wantedAddress,
      text: "x",
    });
    it.end();
  });

  test("proxy out: nothing of it is undelivered, or counted, when the pair ends before it is out", () => {
    const { it, client } = dialed({ outward: outward(2) });
    it.plane.pull();
    const server = it.dial(0);
    server.room = 10;
    client.send("question");
    server.connect();
    expect(onlyPair(it).up.undeliveredSize).toBe(8);
    client.reset();
    const { numbers } = it.plane;
    expect([numbers.get("bytesUp"), numbers.get("bytesUndelivered")]).toEqual([0, 8]);
    it.end();
    it[Symbol.dispose]();
  });

  test("proxy out: written in part, byte by byte, it is whole in the end and the client waits", () => {
    const { it, client } = dialed({ outward: outward(2) });
    const server = it.dial(0);
    server.room = 1;
    client.send("question");
    server.connect();
    while (client.paused) {
      expect(onlyPair(it).up.undeliveredSize).toBe(8 - onlyPair(it).up.size);
      server.writable(1);
    }
    expect(heardBy(server)).toMatchObject({ source: clientAddress, text: "question" });
    expect(onlyPair(it).up.size).toBe(8);
    client.send("!"); // no room is left
    expect(heardBy(server).text).toBe("question");
    server.writable();
    expect(heardBy(server).text).toBe("question!");
    it.end();
    it[Symbol.dispose]();
  });
});

describe("proxy out: another destination", () => {
  const both = [
    { outward: outward(1), slots: 1 },
    { outward: outward(2), slots: 1 },
  ] as const;

  /** How far the header is when the first destination resets, and what the second one gets. */
  const ways: [string, (server: FakeSocket, client: FakeSocket) => void, text: string][] = [
    ["before a byte of it is out", () => {}, "tion"],
    ["with a part of it out", (server) => server.writable(5), "tion"],
    [
      "with a part of it out, and bytes of the client behind it",
      (server, client) => {
        client.send("ques");
        server.writable(5);
      },
      "question",
    ],
  ];
  test.each(ways)(
    "proxy out: dialed again %s, it gets a header of its own",
    async (_, before, text) => {
      const { it, client } = dialed(...both);
      const first = it.dial(0);
      first.room = 0;
      first.connect();
      before(first, client);
      await turn();
      await turn();
      await turn();
      first.reset();
      it.plane.pull();
      const second = serve(it);
      expect([first.name, second.name]).toEqual(["d0", "d1"]);
      client.send("tion");
      expect(heardBy(second)).toMatchObject({ version: 2, source: clientAddress, text });
      expect([second.writes.length, onlyPair(it).up.size]).toEqual([
        text === "tion" ? 1 : 2,
        text.length,
      ]);
      it.check();
      it.end();
      it[Symbol.dispose]();
    },
  );

  test("proxy out: from one that wants a header to one that wants none, and back", () => {
    const { it, client } = dialed({ outward: outward(1) }, { outward: null });
    it.dial(0).room = 3;
    client.send("question");
    it.dial(0).connect();
    it.dial(0).reset();
    it.plane.pull();
    it.dial(1).room = 0;
    it.dial(1).connect();
    expect(it.dial(1).writes).toEqual([]);
    it.dial(1).writable();
    expect([it.dialed, it.dial(1).text, client.paused]).toEqual([["d0", "d1"], "question", false]);
    it.end();
    it[Symbol.dispose]();
  });

  test("proxy out: a write that finds a reset", () => {
    const { it, client } = dialed(...both);
    client.send("question");
    it.dial(0).resetUnseen = true;
    it.dial(0).connect();
    it.dial(0).reset();
    it.plane.pull();
    expect(heardBy(serve(it))).toMatchObject({ version: 2, text: "question" });
    it.end();
    it[Symbol.dispose]();
  });
});

describe("proxy out: and TLS", () => {
  test("approach: the header is in plain, then the handshake, then the client's bytes", () => {
    const { it, client } = dialed({ outward: outward(2, "roots") });
    client.send("question");
    const server = it.dial(0);
    server.room = 7;
    server.connect();
    expect(server.handshake).toBeNull(); // it is not out yet
    server.writable();
    expect(heardBy(server)).toMatchObject({ source: clientAddress, text: "" });
    expect(server.handshake).toMatchObject({
      side: "roots",
      isServer: false,
      initial: null,
      name: "d.example",
      alpn: [],
    });
    expect(onlyPair(it).state).toBe("dialing");
    it.clock.ms += 40;
    server.secured();
    expect([onlyPair(it).state, heardBy(server).text]).toEqual(["joined", "question"]);
    expect(it.plane.numbers.histograms.connect.quantile(1)).toBeGreaterThanOrEqual(40);
    server.send("answer");
    client.fin();
    server.fin();
    expect([client.text, it.ends]).toEqual(["answer", ["done client"]]);
    it.end();
    it[Symbol.dispose]();
  });

  const flaws: [string, (server: FakeSocket) => void, cause: string][] = [
    ["a bad certificate", (server) => server.insecure("CERT_HAS_EXPIRED"), "CERT_HAS_EXPIRED"],
    ["no dial", (server) => server.fail("ECONNREFUSED"), "ECONNREFUSED"],
  ];
  const early: typeof flaws = [
    ["words before the handshake", (server) => server.send("220 ready"), "EPROTO"],
    ["an end", (server) => server.fin(), "ECONNRESET"],
    ["a reset", (server) => server.reset(), "ECONNRESET"],
    [
      "a reset that the header finds",
      (server) => {
        server.resetUnseen = true;
        server.writable();
      },
      "ECONNRESET",
    ],
  ];
  test.each([...flaws, ...early])(
    "approach: %s is a failed connect, and the next destination serves",
    (_, fail, cause) => {
      using it = new FakePlane([{ outward: outward(1, "a") }, { outward: outward(1, "b") }], {
        connectMs: 5_000,
      });
      const client = it.accept(clientAddress);
      client.send("question");
      it.plane.pull();
      const server = it.dial(0);
      if (cause !== "ECONNREFUSED") {
        server.room = cause === "CERT_HAS_EXPIRED" ? 1_000 : 0; // the header waits for room
        server.connect();
      }
      fail(server);
      it.plane.pull();
      expect([it.dialed, server.gone || server.fate === "reset"]).toEqual([["d0", "d1"], true]);
      expect(it.plane.numbers.failures[0]).toBe(1);
      it.check();
      it.dial(1).connect();
      it.dial(1).secured();
      expect(heardBy(it.dial(1))).toMatchObject({ version: 1, text: "question" });
      it.end();
    },
  );

  test("approach: a handshake that does not end is over with the connect's deadline", () => {
    using it = new FakePlane([{ outward: outward(0, "a"), addresses: fakeAddresses("x", "y") }]);
    it.accept(clientAddress);
    it.plane.pull();
    it.dial(0).connect();
    it.advance(4_990);
    expect(it.dialed).toEqual(["x"]);
    it.advance(20);
    expect([it.dialed, it.dial(0).fate]).toEqual([["x", "y"], "reset"]);
    it.dial(1).connect();
    it.dial(1).secured();
    expect(onlyPair(it).state).toBe("joined");
    it.end();
  });

  test("approach: over what was opened ahead, which costs its destination nothing when it is dead", async () => {
    using it = new FakePlane([{ warm: 1, outward: outward(2, "a") }]);
    await turn();
    it.dial(0).connect();
    it.accept(clientAddress);
    it.plane.pull();
    expect([heardBy(it.dial(0)).source, it.dial(0).handshake === null]).toEqual([
      clientAddress,
      false,
    ]);
    it.dial(0).fin(); // it was tired of waiting
    expect([it.dialed, it.plane.numbers.failures[0]]).toEqual([["d0", "d0"], 0]);
    it.dial(1).connect();
    it.dial(1).secured();
    expect([onlyPair(it).state, heardBy(it.dial(1)).text]).toEqual(["joined", ""]);
    it.end();
  });

  test("approach: who leaves meanwhile leaves nothing behind", () => {
    using it = new FakePlane([{ slots: 1, outward: outward(1, "a") }]);
    for (let n = 0; n < 2; n += 1) {
      const client = it.accept(clientAddress);
      it.plane.pull();
      it.dial(n).connect();
      client.reset();
      expect([it.dial(n).fate, it.used()]).toEqual(["reset", 0]);
    }
    it.check();
    it.end();
  });

  test("approach: an exception in it costs its own connection", () => {
    using it = new FakePlane([{ outward: outward(0, "a") }]);
    it.accept(clientAddress);
    it.plane.pull();
    it.plane.onFault(new Error("in a handler"), it.dial(0).events);
    expect(it.ends).toEqual(["error balancer"]);
    it.end();
  });
});
