// How many shake hands at once, and who has to wait for that.
import { describe, expect, test } from "bun:test";
import { withSeed } from "../wait.ts";
import type { FakePlane, FakeSocket } from "./fake.ts";
import { helloOf, prefaceMs, proxyAddress, reading, serve, tlsIn } from "./prefaces.ts";

const greeting = helloOf("a.example");

function plane(handshakeCountMax: number, limits = {}): FakePlane {
  return reading({ tls: tlsIn }, { handshakeCountMax, connectionCountMax: 5_000, ...limits }, [{}]);
}

function clients(it: FakePlane, count: number): FakeSocket[] {
  return Array.from({ length: count }, () => {
    const client = it.accept(proxyAddress);
    client.send(greeting);
    return client;
  });
}

function setCountMax(it: FakePlane, handshakeCountMax: number): void {
  const limits = { ...it.plane.limits, handshakeCountMax };
  const preface = { proxy: null, tls: tlsIn, routes: null };
  it.plane.change({ limits, hashes: false, admission: null, preface });
}

const shaking = (all: readonly FakeSocket[]) =>
  all.flatMap((client, index) => (client.handshake === null || client.gone ? [] : [index]));

describe("handshakes", () => {
  test("handshakes: so many at once, the others in order as those before them are over", () => {
    using it = plane(2);
    const all = clients(it, 6);
    expect(shaking(all)).toEqual([0, 1]);
    all[1]?.secured();
    expect(shaking(all)).toEqual([0, 2]);
    all[0]?.insecure("EPROTO");
    expect(shaking(all)).toEqual([2, 3]);
    all[4]?.reset(); // it has left the line
    all[2]?.reset();
    expect(shaking(all)).toEqual([3, 5]);
    expect(it.plane.numbers.get("handshaking")).toBe(2);
    it.check();
    it.end();
    expect(it.engine.handshakeCount).toBe(5);
  });

  test("handshakes: who arrives while others are let in goes behind them", () => {
    using it = plane(1);
    const all = clients(it, 4);
    const secure = it.engine.secure.bind(it.engine);
    it.engine.secure = (events, side, how) => {
      it.engine.secure = secure;
      all.push(...clients(it, 1)); // from inside of the step that lets in who waits
      secure(events, side, how);
    };
    setCountMax(it, 3);
    expect([all.length, shaking(all)]).toEqual([5, [0, 1, 2]]);
    all[0]?.secured();
    expect(shaking(all)).toEqual([1, 2, 3]);
    all[1]?.secured();
    expect(shaking(all)).toEqual([2, 3, 4]);
    it.end();
  });

  test("handshakes: a deadline that passes in the line or in the handshake makes room", () => {
    using it = plane(1);
    clients(it, 2);
    it.advance(prefaceMs / 2);
    const late = clients(it, 1);
    it.advance(prefaceMs / 2 + 20);
    expect(it.ends).toEqual(["preface-timeout balancer", "preface-timeout balancer"]);
    expect(shaking(late)).toEqual([0]);
    it.end();
  });

  test("handshakes: a limit that grows lets in who waits, one that shrinks lets who is in go on", () => {
    using it = plane(1);
    const all = clients(it, 5);
    setCountMax(it, 3);
    expect(shaking(all)).toEqual([0, 1, 2]);
    setCountMax(it, 1);
    all[0]?.secured();
    all[1]?.secured();
    expect(shaking(all)).toEqual([2]);
    all[2]?.secured();
    expect(shaking(all)).toEqual([3]);
    it.end();
  });

  test("handshakes: a thousand that fail at once do so one after the other", () => {
    using it = plane(1);
    const [first] = clients(it, 1_001);
    let depth = 0;
    let depthMax = 0;
    const secure = it.engine.secure.bind(it.engine);
    it.engine.secure = (...args) => {
      depth += 1;
      depthMax = Math.max(depthMax, depth);
      secure(...args);
      depth -= 1;
    };
    it.engine.handshakeFault = "ECONNRESET";
    first?.secured();
    serve(it);
    expect([it.ends.length, depthMax]).toEqual([1_000, 1]);
    expect(new Set(it.ends)).toEqual(new Set(["tls-handshake balancer"]));
    it.engine.handshakeFault = null;
    const [next] = clients(it, 1);
    expect(next?.handshake).not.toBeNull();
    it.check();
    it.end();
  });

  test("handshakes: an exception in one that was let in costs that one alone", () => {
    using it = plane(1);
    const all = clients(it, 3);
    const secure = it.engine.secure.bind(it.engine);
    it.engine.secure = () => {
      it.engine.secure = secure;
      throw new Error("no memory");
    };
    all[0]?.reset();
    expect(it.ends).toEqual(["error balancer", "client-left client"]);
    expect(shaking(all)).toEqual([2]);
    it.check();
    it.end();
  });

  test("handshakes: what is sent ahead in the line has a limit", () => {
    using it = plane(1);
    const [, second] = clients(it, 2);
    second?.send(new Uint8Array(40 * 1024));
    expect(it.ends).toEqual([]);
    second?.send(new Uint8Array(8 * 1024));
    expect([it.ends, it.settled[0]?.preface?.facts.fault]).toEqual([
      ["tls-handshake balancer"],
      "too-long",
    ]);
    it.end();
  });

  test("handshakes: any row of beginnings and ends keeps the limit and leaves nobody in the line", async () => {
    await withSeed((random) => {
      for (let run = 0; run < 20; run += 1) {
        const countMax = 1 + random.int(4);
        using it = plane(countMax, { prefaceMs: 300 });
        const all: FakeSocket[] = [];
        for (let step = 0; step < 200; step += 1) {
          const open = all.filter((client) => !client.gone);
          const client = open[random.int(open.length + 1)];
          const what = random.int(10);
          it.engine.handshakeFault = random.int(10) === 0 ? "EPROTO" : null;
          if (what < 4 || client === undefined) all.push(...clients(it, 1));
          else if (what < 6 && client.handshake !== null) client.secured();
          else if (what < 7 && client.handshake !== null) client.insecure("EPROTO");
          else if (what < 8 && client.handshake === null) client.reset();
          else it.advance(random.int(60));
          const waiting = [...it.plane.pairs].filter(
            (pair) => pair.state === "preface" && pair.up.socket !== null,
          ).length;
          expect(shaking(all).length).toBe(Math.min(countMax, waiting));
          it.check();
        }
        it.end();
      }
    });
  });
});
