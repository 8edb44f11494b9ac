// Checks over real sockets, on a clock that only the test moves.
import { describe, expect, test } from "bun:test";
import type { DialAddress } from "../../src/core/engine.ts";
import { libc, type Libc } from "../../src/linux/libc.ts";
import { fakeAddresses, FakeEngine, turn } from "../core/fake.ts";
import {
  blackhole,
  deadPort,
  serve,
  sink,
  tagServer,
  unixPlace,
  until,
  type Peer,
} from "../net.ts";
import { answering, bytes, politely, real, Run, type Asked } from "./check-run.ts";

const ways: [string, Libc | null][] = [
  ["by descriptor", libc],
  ["the portable way", null],
];

describe.each(ways)("check, %s", (_, c) => {
  test("check: a connect is enough, and the server sees a FIN", async () => {
    using server = sink();
    using it = real([server.address], {}, c);
    expect(await it.verdict()).toBe("passed");
    await it.over();
    await politely(server.peers);
  });

  test("check: a server that speaks first sees a FIN as well, however much it says after it", async () => {
    using server = serve({
      onOpen: (peer) => peer.send("220 ready\r\n"),
      onEnd: (peer) => {
        peer.send("x".repeat(40_000));
        peer.finish();
      },
    });
    using it = real([server.address], {}, c);
    expect(await it.verdict()).toBe("passed");
    await it.over();
    await politely(server.peers);
  });

  test("check: one that says its word and ends at once has passed", async () => {
    using server = tagServer("14:01:59\n");
    using it = real([server.address], {}, c);
    expect(await it.verdict(0)).toBe("passed");
    await it.over();
    await politely(server.peers);
  });

  test("check: one that resets what it accepts has failed", async () => {
    using server = serve({ onOpen: (peer) => peer.reset() });
    using it = real([server.address], {}, c);
    expect(await it.verdict(0)).toMatch(/^failed (?:reset at once|ECONNRESET)$/);
    await it.over();
  });

  test("check: a refused connect has failed, and the cause is the system's", async () => {
    using dead = deadPort();
    using it = real([dead.address], {}, c);
    expect(await it.verdict(0)).toBe("failed ECONNREFUSED");
    await it.over();
  });

  test("check: a unix socket", async () => {
    using server = sink(unixPlace());
    using it = real([server.address], {}, c);
    expect(await it.verdict()).toBe("passed");
    await it.over();
    await politely(server.peers);
  });

  test("check: what was sent is answered by the expected bytes, in two chunks", async () => {
    using server = serve({
      onData: (peer) => {
        peer.send("+PO");
        setImmediate(() => peer.send("NG\r\n"));
      },
      onEnd: (peer) => peer.finish(),
    });
    using it = real([server.address], { send: bytes("PING\r\n"), expect: bytes("PONG") }, c);
    expect(await it.verdict(0)).toBe("passed");
    await it.over();
    await politely(server.peers);
    expect(server.peers[0]?.text).toBe("PING\r\n");
  });

  test.each([
    [200, "passed"],
    [204, "passed"],
    [302, "passed"],
    [404, "failed HTTP 404"],
    [503, "failed HTTP 503"],
  ])("check: HTTP %d: %s, by one request", async (status, verdict) => {
    const seen: string[] = [];
    using server = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch(request) {
        const { headers, method } = request;
        const { pathname, search } = new URL(request.url);
        seen.push(
          `${method} ${pathname}${search} ${headers.get("host")} ${headers.get("user-agent")}`,
        );
        return new Response(null, { status, headers: { location: "/elsewhere" } });
      },
    });
    using it = real([`127.0.0.1:${server.port}`], { http: "/health?deep=1" }, c);
    expect(await it.verdict(0)).toBe(verdict);
    await it.over();
    expect(seen).toEqual(["GET /health?deep=1 example iawlb-health-check"]);
  });
});

describe("check: bounds", () => {
  const second = { timeoutMs: 1_000 };

  test("check: an answer that does not come is none, however its server drips", async () => {
    using server = answering(() => {});
    using it = real([server.address], { ...second, send: bytes("?"), expect: bytes("!") });
    await until(() => server.peers[0]?.receivedCount, "the question");
    for (let ms = 0; ms < 900; ms += 100) {
      server.peers[0]?.send(".");
      await turn();
      it.loop.advance(100);
    }
    expect(it.told).toEqual([]);
    it.loop.advance(110);
    expect(it.told).toEqual(["failed the expected bytes did not come within 1 s"]);
    await it.over();
    await politely(server.peers);
  });

  test("check: silence has failed at the deadline; who then does not end is reset a second later", async () => {
    using server = serve({});
    using it = real([server.address], { ...second, http: "/" });
    await until(() => server.peers[0]?.receivedCount, "the question");
    it.loop.advance(990);
    expect(it.told).toEqual([]);
    it.loop.advance(20);
    expect(it.told).toEqual(["failed no answer within 1 s"]);
    await until(() => server.peers[0]?.ended, "our FIN");
    it.loop.advance(970);
    expect(it.told.length).toBe(1);
    it.loop.advance(30);
    expect(it.told).toEqual(["failed no answer within 1 s", "over"]);
    await until(() => server.peers[0]?.closed, "our reset");
    expect(server.peers[0]?.wasReset).toBe(true);
  });

  test("check: who does not end, and was not asked, sees no reset ever", async () => {
    using server = serve({ paused: true });
    using it = real([server.address], second);
    expect(await it.verdict()).toBe("passed");
    await until(() => server.peers.length, "it accepts");
    it.loop.advance(1_020);
    expect(it.told).toEqual(["passed", "over"]);
    server.peers[0]?.resume();
    await until(() => server.peers[0]?.ended, "our FIN");
    server.peers[0]?.finish();
    await politely(server.peers);
  });

  // Its server never ends, and the clock stands: only the bound of bytes can end it.
  test("check: a flood is cut off after 64 KiB, be the verdict what it may", async () => {
    const flooding = { onOpen: (peer: Peer) => peer.send(new Uint8Array(32 << 20)) };
    for (const [asked, verdict] of [
      [{}, "passed"],
      [{ http: "/" }, "failed answer is not HTTP"],
      [{ expect: bytes("!") }, "failed the expected bytes did not come in 16 KiB"],
    ] satisfies [Asked, string][]) {
      using server = serve(flooding);
      using it = real([server.address], asked);
      expect(await it.verdict()).toBe(verdict);
      await it.over();
      await until(() => server.peers[0]?.wasReset, "our reset");
    }
  });

  test("check: 60 KB behind a good status line are read, so that their server sees no reset", async () => {
    using server = answering((peer) => {
      peer.send(`HTTP/1.1 200 OK\r\n\r\n${"x".repeat(30_000)}`);
      setImmediate(() => peer.send("x".repeat(30_000)));
    });
    using it = real([server.address], { http: "/" });
    expect(await it.verdict(0)).toBe("passed");
    await it.over();
    await politely(server.peers);
  });

  test("check: a connect that nobody answers", () => {
    using hole = blackhole();
    using it = real([hole.address], { timeoutMs: 500 });
    it.loop.advance(490);
    expect(it.told).toEqual([]);
    it.loop.advance(20);
    expect(it.told).toEqual(["failed no connection within 0.5 s", "over"]);
  });

  test("check: a deadline that was slept through says nothing", async () => {
    using hole = blackhole();
    using dialing = real([hole.address], second);
    dialing.loop.sleep(3_100);
    expect(dialing.told).toEqual(["undecided no connection within 1 s", "over"]);

    using server = answering(() => {});
    using waiting = real([server.address], { ...second, http: "/" });
    await until(() => server.peers[0]?.receivedCount, "the question");
    waiting.loop.sleep(3_100);
    expect(waiting.told[0]).toBe("undecided no answer within 1 s");

    using late = real([hole.address], second);
    late.loop.sleep(2_900); // a busy machine is no excuse
    expect(late.told[0]).toBe("failed no connection within 1 s");
  });

  test("check: nothing is told of one that is aborted", async () => {
    using server = serve({});
    using it = real([server.address], { http: "/" });
    await until(() => server.peers[0]?.receivedCount, "the question");
    it.check.abort();
    it.check.abort();
    await until(() => server.peers[0]?.wasReset, "our reset");
    it.loop.advance(4_000_000);
    expect([it.told, it.loop.alarmCount]).toEqual([[], 0]);
  });
});

describe("check: addresses", () => {
  test("check: the next one is dialed when one is dead, beginning with the one that answered last", async () => {
    using dead = deadPort();
    using server = sink();
    using it = real([dead.address, server.address]);
    expect([await it.verdict(), it.check.addressIndex]).toEqual(["passed", 1]);
    using again = real([dead.address, server.address], { addressFirst: 1 });
    expect([await again.verdict(), again.check.addressIndex]).toEqual(["passed", 1]);
    using turned = real([server.address, dead.address], { addressFirst: 1 });
    expect([await turned.verdict(), turned.check.addressIndex]).toEqual(["passed", 0]);
    using none = real([dead.address, dead.address]);
    expect(await none.verdict()).toBe("failed ECONNREFUSED");
  });

  test("check: one that nobody answers leaves the others their share of the time", async () => {
    using hole = blackhole();
    using server = sink();
    const places = [hole.address, hole.address, server.address];
    using it = real(places, { timeoutMs: 3_000 });
    it.loop.advance(1_990);
    expect([it.told, it.check.addressIndex]).toEqual([[], 1]);
    it.loop.advance(60);
    expect([it.told, it.check.addressIndex]).toEqual([["passed"], 2]);
    await it.over();
    await politely(server.peers);
  });

  test("check: one deadline for all", () => {
    using hole = blackhole();
    using it = real([hole.address, hole.address, hole.address], { timeoutMs: 3_000 });
    it.loop.advance(3_040);
    expect(it.told).toEqual(["failed no connection within 3 s", "over"]);
  });
});

describe("check: faults of our own", () => {
  /** Addresses that fail so, one after the other. */
  function faults(...codes: string[]): string[] {
    const engine = new FakeEngine();
    const dialed: string[] = [];
    engine.onDial = ({ name }) => dialed.push(name);
    const addresses = fakeAddresses(...codes);
    for (const each of addresses) each.fault = each.name;
    using it = new Run(engine, addresses as unknown as DialAddress[]); // opaque to the core
    return [...dialed, ...it.told];
  }

  test("check: without descriptors, ports or memory there is no verdict", () => {
    expect(faults("EMFILE")).toEqual(["EMFILE", "undecided EMFILE", "over"]);
    expect(faults("EADDRNOTAVAIL")).toEqual(["EADDRNOTAVAIL", "undecided EADDRNOTAVAIL", "over"]);
    expect(faults("ENOBUFS", "x")).toEqual(["ENOBUFS", "undecided ENOBUFS", "over"]);
  });

  test("check: a full accept queue is a sign of life, and no verdict", () => {
    expect(faults("EAGAIN", "x")).toEqual(["EAGAIN", "undecided EAGAIN", "over"]);
  });

  test("check: an address that we cannot dial from here does not hide that the others are dead", () => {
    const [a, b] = ["EADDRNOTAVAIL", "ECONNREFUSED"];
    expect(faults(a, b)).toEqual([a, b, "failed ECONNREFUSED", "over"]);
    expect(faults(b, a)).toEqual([b, a, "failed ECONNREFUSED", "over"]);
  });

  /** A check over the fake engine, connected. */
  function faked(asked: Asked) {
    const engine = new FakeEngine();
    const it = new Run(engine, fakeAddresses("d0") as unknown as DialAddress[], asked); // as above
    const [socket] = engine.dials;
    if (socket === undefined) throw new Error("nothing was dialed");
    return { it, socket };
  }

  test("check: what the socket does not take at once is sent when it does", () => {
    const { it, socket } = faked({ send: bytes("hello world") });
    socket.room = 4;
    socket.connect();
    it.loop.advance(100);
    expect([socket.text, it.told]).toEqual(["hell", []]);
    socket.writable(3);
    socket.writable(0);
    socket.writable();
    expect([socket.text, it.told]).toEqual(["hello world", []]);
    it.loop.advance(20);
    socket.fin();
    expect(it.told).toEqual(["passed", "over"]);
  });

  test("check: a reset that only the write finds", () => {
    const { it, socket } = faked({ send: bytes("hello") });
    socket.resetUnseen = true;
    socket.connect();
    expect(it.told).toEqual(["failed it reset the connection before all was sent", "over"]);
    expect(socket.fate).toBe("reset");
  });

  test("check: an answer that came while we slept is an answer", () => {
    const { it, socket } = faked({ expect: bytes("a"), timeoutMs: 1_000 });
    socket.connect();
    it.loop.ms += 10_000;
    socket.send("a");
    expect(it.told).toEqual(["passed"]);
  });

  test("check: a connect is watched for 10 ms before it has passed; one that ends in order, no longer", () => {
    const { it, socket } = faked({});
    it.loop.advance(5);
    socket.connect();
    it.loop.advance(9);
    expect([it.told, socket.shut]).toEqual([[], false]);
    it.loop.advance(11);
    expect([it.told, socket.shut]).toEqual([["passed"], true]);
    const ending = faked({});
    ending.socket.connect();
    ending.socket.fin();
    expect([ending.it.told, ending.socket.fate]).toEqual([["passed", "over"], "closed"]);
  });

  test("check: a dial that is given up for the next address is ended", () => {
    const engine = new FakeEngine();
    const addresses = fakeAddresses("d0", "d1") as unknown as DialAddress[]; // as above
    const it = new Run(engine, addresses, { timeoutMs: 1_000 });
    it.loop.advance(510);
    expect(engine.dials.map((each) => each.fate)).toEqual(["reset", "open"]);
    it.loop.advance(510);
    expect(engine.dials.map((each) => each.fate)).toEqual(["reset", "reset"]);
  });

  test("check: a verdict is told once, whatever comes later", () => {
    const { it, socket } = faked({ expect: bytes("a") });
    socket.connect();
    socket.send("a");
    socket.send("b");
    socket.reset();
    it.loop.advance(10_000_000);
    expect([it.told, it.loop.alarmCount]).toEqual([["passed", "over"], 0]);
  });
});
