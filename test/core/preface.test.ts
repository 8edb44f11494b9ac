// The start of a connection, read over the fake engine: what it says, and in which pieces, and when.
import { describe, expect, test } from "bun:test";
import { Admission } from "../../src/core/admission.ts";
import { ClientTable } from "../../src/core/clients.ts";
import type { FakePlane, FakeSocket } from "./fake.ts";
import {
  accessOf,
  bytesTo,
  clientAddress,
  headerOf,
  helloOf,
  localHeader,
  onlyPair,
  prefaceMs,
  proxyAddress,
  proxyIn,
  reading,
  routes,
  serve,
  tlsIn,
  wantedAddress,
} from "./prefaces.ts";

const body = Buffer.from("GET / HTTP/1.1\r\n\r\n");

/** A client whose start comes in these pieces. */
function arriveIn(it: FakePlane, pieces: readonly Uint8Array[]): FakeSocket {
  const client = it.accept(proxyAddress);
  for (const piece of pieces) if (piece.length > 0) client.send(piece);
  return client;
}

describe("preface: pieces", () => {
  const whole = (version: 1 | 2) => Buffer.concat([headerOf(version), helloOf("b.example"), body]);

  test.each([1, 2] as const)("preface: v%d header and hello, cut at every byte", (version) => {
    const start = whole(version);
    const headerSize = headerOf(version).length;
    const helloEnd = start.length - body.length;
    for (let cut = 1; cut < start.length; cut += 1) {
      using it = reading({ proxy: proxyIn, routes });
      const client = arriveIn(it, [start.subarray(0, cut)]);
      const pair = onlyPair(it);
      expect([cut, pair.client]).toEqual([cut, cut < headerSize ? proxyAddress : clientAddress]);
      expect([cut, pair.state]).toEqual([cut, cut < helloEnd ? "preface" : "dialing"]);
      client.send(start.subarray(cut));
      const server = serve(it);
      expect([server.name, bytesTo(server).equals(start.subarray(headerSize))]).toEqual([
        "d2",
        true,
      ]);
      it.end();
    }
  });

  test.each([1, 2] as const)(
    "preface: v%d header and hello, byte by byte and in one",
    (version) => {
      const start = whole(version);
      for (const pieces of [[start], Array.from(start, (byte) => Buffer.of(byte))]) {
        using it = reading({ proxy: proxyIn, routes });
        const client = arriveIn(it, pieces);
        const { facts } = onlyPair(it).preface ?? {};
        expect(facts).toMatchObject({ via: proxyAddress, target: wantedAddress, sni: "b.example" });
        const server = serve(it);
        expect(bytesTo(server).equals(start.subarray(headerOf(version).length))).toBe(true);
        server.send("answer");
        expect(client.text).toBe("answer");
        expect(onlyPair(it).up.size).toBe(start.length - headerOf(version).length);
        it.end();
      }
    },
  );

  test("preface: 1 MiB behind header and hello in one chunk reaches the destination whole", () => {
    using it = reading({ proxy: proxyIn, routes });
    const bulk = Buffer.alloc(2 ** 20, "0123456789abcdef!");
    const sent = Buffer.concat([helloOf("a.example"), bulk]);
    const client = arriveIn(it, [Buffer.concat([headerOf(2), sent])]);
    expect(client.paused).toBe(true); // more is not wanted before there is a destination
    it.plane.pull();
    const server = it.dial(0);
    server.room = 100_000;
    server.connect();
    while (bytesTo(server).length < sent.length) server.writable(100_000);
    expect([server.name, bytesTo(server).equals(sent), client.paused]).toEqual(["d1", true, false]);
    it.end();
  });

  test("preface: what is read before a handshake is the engine's, and what it reads the client's", () => {
    using it = reading({ proxy: proxyIn, tls: tlsIn, routes });
    const greeting = helloOf("a.example", "h2");
    const client = arriveIn(it, [Buffer.concat([headerOf(1), greeting]).subarray(0, 60)]);
    expect(client.handshake).toBeNull();
    client.send(Buffer.concat([headerOf(1), greeting]).subarray(60));
    expect(client.handshake).toMatchObject({ side: "a.example", isServer: true, alpn: tlsIn.alpn });
    expect(client.handshake?.initial).toEqual(new Uint8Array(greeting));
    client.secured({ alpn: "h2", peerName: "alice" });
    expect(onlyPair(it).preface?.facts.tls).toMatchObject({ alpn: "h2", peerName: "alice" });
    client.send("question");
    const server = serve(it);
    expect([server.name, server.text, onlyPair(it).up.size]).toEqual(["d1", "question", 8]);
    server.send("answer");
    client.fin();
    server.fin();
    expect([client.text, it.ends, client.fate]).toEqual(["answer", ["done client"], "closed"]);
    it.end();
  });
});

describe("preface: time", () => {
  const greeting = helloOf("a.example");
  /** How a start stands still, by what is read then; the plane has one handshake at a time. */
  const stands: [string, (it: FakePlane) => FakeSocket, reason: string][] = [
    ["before anything", (it) => it.accept(proxyAddress), "client-left"],
    ["in the header", (it) => arriveIn(it, [headerOf(2).subarray(0, 20)]), "client-left"],
    ["before the hello", (it) => arriveIn(it, [headerOf(2)]), "client-left"],
    ["in the hello", (it) => arriveIn(it, [headerOf(2), greeting.subarray(0, 99)]), "client-left"],
    [
      "before the handshake's turn",
      (it) => {
        arriveIn(it, [headerOf(2), greeting]);
        return arriveIn(it, [headerOf(2), greeting]);
      },
      "client-left",
    ],
    ["in the handshake", (it) => arriveIn(it, [headerOf(2), greeting]), "client-left"],
  ];
  const plane = () =>
    reading({ proxy: proxyIn, tls: tlsIn, routes }, { handshakeCountMax: 1, queueMs: 0 });

  test.each(stands)("preface: silence %s is over at the deadline", (_, begin) => {
    using it = plane();
    const client = begin(it);
    it.advance(prefaceMs - 20);
    expect(it.ends).toEqual([]);
    it.advance(30);
    expect(new Set(it.ends)).toEqual(new Set(["preface-timeout balancer"]));
    expect([client.fate, it.dialed]).toEqual(["reset", []]);
    it.end();
  });

  test.each(stands)("preface: a reset %s", (_, begin, reason) => {
    using it = plane();
    begin(it).reset();
    expect(it.ends).toEqual([`${reason} client`]);
    it.end();
  });

  test.each(stands.slice(0, 5))("preface: a FIN %s", (_, begin, reason) => {
    using it = plane();
    const client = begin(it);
    client.fin();
    expect([it.ends, client.fate]).toEqual([[`${reason} client`], "reset"]);
    it.end();
  });

  test("preface: a FIN in the handshake is passed on behind the handshake", () => {
    using it = plane();
    const client = arriveIn(it, [headerOf(2), greeting]);
    client.fin();
    client.secured();
    const server = serve(it);
    expect([server.shut, it.ends]).toEqual([true, []]);
    it.end();
  });

  test("preface: the deadline counts from accept, whatever comes meanwhile", () => {
    const start = Buffer.concat([headerOf(2), greeting]);
    using it = plane();
    const client = it.accept(proxyAddress);
    const pieceCount = 9;
    for (let n = 0; n < pieceCount; n += 1) {
      it.advance(prefaceMs / 10);
      const at = Math.floor((n * start.length) / pieceCount);
      client.send(start.subarray(at, Math.floor(((n + 1) * start.length) / pieceCount)));
    }
    expect([it.ends, client.handshake === null]).toEqual([[], false]);
    it.advance(prefaceMs / 10 + 10);
    expect(it.ends).toEqual(["preface-timeout balancer"]);
    it.end();
  });

  test("preface: the deadline is over for who has arrived, and who waits may wait", () => {
    using it = reading({ routes }, { queueMs: 0 }, [{}, { lane: 1, slots: 1 }]);
    arriveIn(it, [greeting]);
    serve(it);
    arriveIn(it, [greeting]);
    it.advance(10 * prefaceMs);
    expect([it.ends, it.dialed]).toEqual([[], ["d1"]]);
    it.dial(0).crash();
    expect(it.dialed).toEqual(["d1", "d1"]);
    it.end();
  });
});

describe("preface: who is believed", () => {
  const startOf = (header: Uint8Array) => Buffer.concat([header, body]);

  test("preface: who is not in the list passes by its own address, and its header is its own", () => {
    using it = reading({ proxy: proxyIn });
    it.accept("172.16.0.1:5").send(startOf(headerOf(1)));
    expect(onlyPair(it)).toMatchObject({ client: "172.16.0.1:5", preface: { facts: { via: "" } } });
    expect(bytesTo(serve(it)).equals(startOf(headerOf(1)))).toBe(true);
    it.end();
  });

  test("preface: who is not in the list is refused where that is asked for", () => {
    using it = reading({ proxy: { ...proxyIn, othersRefused: true } });
    expect(it.accept("172.16.0.1:5").fate).toBe("reset");
    expect(it.accept("unix:").fate).toBe("open"); // the file has permissions of its own
    expect(it.accept(proxyAddress).fate).toBe("open");
    expect(it.ends).toEqual(["denied balancer"]);
    it.end();
  });

  test.each([
    ["GET / HTTP/1.1\r\n", "not-proxy"],
    ["PROXY TCP4 1.2.3.4 5.6.7.8 9 70000\r\n", "port"],
    ["PROXY TCP4 1.2.3.4 x 9 10\r\n", "address"],
  ])("preface: a header that is none: %j", (text, fault) => {
    using it = reading({ proxy: proxyIn });
    const client = it.accept(proxyAddress);
    client.send(text);
    expect([it.ends, client.fate]).toEqual([["proxy-header balancer"], "reset"]);
    expect(it.settled[0]?.preface?.facts.fault).toBe(fault);
    it.end();
  });

  test("preface: a version that is not accepted", () => {
    using it = reading({ proxy: { ...proxyIn, versions: { v1: false, v2: true } } });
    it.accept(proxyAddress).send(headerOf(1));
    it.accept(proxyAddress).send(startOf(headerOf(2)));
    expect(it.ends).toEqual(["proxy-header balancer"]);
    it.end();
  });

  test("preface: rules go by the true address, LOCAL and UNKNOWN by the proxy's own", () => {
    const admission = new Admission(accessOf({ deny: "192.0.2.0/24" }), null);
    using it = reading({ proxy: proxyIn }, {}, [{}], { admission });
    it.accept(proxyAddress).send(startOf(headerOf(2)));
    it.accept(proxyAddress).send(startOf(headerOf(1)));
    expect(it.ends).toEqual(["denied balancer", "denied balancer"]);
    it.accept(proxyAddress).send(startOf(headerOf(2, "203.0.113.1:9")));
    for (const version of [1, 2] as const)
      it.accept(proxyAddress).send(startOf(localHeader(version)));
    expect(it.ends.length).toBe(2);
    expect([...it.plane.pairs].map((pair) => pair.client)).toEqual([
      "203.0.113.1:9",
      proxyAddress,
      proxyAddress,
    ]);
    it.accept("192.0.2.9:1"); // its own address, and not one of those that are believed
    expect(it.ends.length).toBe(3);
    it.end();
  });

  test("preface: a proxy whose own address is denied is let in for its clients, and not for itself", () => {
    const admission = new Admission(accessOf({ deny: "10.0.0.0/8" }), null);
    using it = reading({ proxy: proxyIn }, {}, [{}], { admission });
    it.accept(proxyAddress).send(startOf(headerOf(2)));
    expect(it.ends).toEqual([]);
    it.accept(proxyAddress).send(startOf(localHeader(2)));
    expect(it.ends).toEqual(["denied balancer"]);
    it.end();
  });

  test("preface: limits of a client count by the true address, and are given back", () => {
    const limits = { countMax: 1, ratePerSecond: 0, prefix6: 64 };
    const clients = new ClientTable({ clientCountMax: 8, threadCount: 1 }, limits, 0);
    using it = reading({ proxy: proxyIn }, {}, [{}], { admission: new Admission(null, clients) });
    const first = it.accept(proxyAddress);
    first.send(startOf(headerOf(2)));
    it.accept(proxyAddress).send(startOf(headerOf(2)));
    expect(it.ends).toEqual(["client-limit balancer"]);
    it.accept(proxyAddress).send(startOf(headerOf(2, "192.0.2.8:1")));
    it.accept(proxyAddress).send(localHeader(2));
    it.accept(proxyAddress).send(localHeader(2)); // that is the proxy itself, twice
    it.accept(proxyAddress); // nobody yet
    expect(it.ends).toEqual(["client-limit balancer", "client-limit balancer"]);
    first.reset();
    it.accept(proxyAddress).send(startOf(headerOf(2)));
    expect(it.ends.length).toBe(3);
    it.end();
    const entries = it.settled.filter((pair) => pair.clientEntry >= 0);
    expect(entries).toEqual([]);
  });
});
