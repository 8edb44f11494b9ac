// When checks are made, on a clock that only the test moves; the last test is over real sockets.
import { describe, expect, test } from "bun:test";
import { Health } from "../../src/control/health.ts";
import { EventLoop } from "../../src/core/loop.ts";
import { BunEngine } from "../../src/engine/bun.ts";
import { libc } from "../../src/linux/libc.ts";
import { deadPort, sink, until } from "../net.ts";
import { checkMsMax, plain, Ward } from "./ward.ts";

describe("health: when", () => {
  test("health: an interval from one check to the next, give or take a tenth", () => {
    using it = new Ward([{}]);
    for (const [chance, ms] of [
      [0, 1_800],
      [0.5, 2_000],
      [0.999_999, 2_200],
    ] as const) {
      it.chance = () => chance;
      it.check(1);
      const sinceMs = it.loop.ms - 100;
      it.check(10);
      const gaps = it.gaps(0, sinceMs);
      expect(gaps.length).toBe(10);
      expect(Math.min(...gaps)).toBeGreaterThanOrEqual(ms - 0.01);
      expect(Math.max(...gaps)).toBeLessThan(ms + checkMsMax);
    }
  });

  test("health: the interval counts from the end of the last check", () => {
    using it = new Ward([{ http: "/" }]);
    for (let n = 0; n < 3; n += 1) it.check(1);
    // Each of them waited its second for an answer, then its server ended.
    expect(Math.min(...it.gaps(0))).toBeGreaterThanOrEqual(3_000);
  });

  test("health: an interval longer than the sweep's horizon, whoever waits", () => {
    using it = new Ward([{ intervalMs: 300_000 }]);
    it.isWaited = true;
    it.check(3);
    expect(Math.min(...it.gaps(0))).toBeGreaterThanOrEqual(300_000);
    expect(Math.max(...it.gaps(0))).toBeLessThan(300_000 + checkMsMax);
  });

  test("health: few destinations are first checked soon, many over the first interval", () => {
    const firsts = (count: number) => {
      using it = new Ward(Array.from({ length: count }, () => ({})));
      const startedAt = it.loop.ms;
      it.loop.advance(2_100);
      const first = new Map(it.checks.toReversed());
      expect(first.size).toBe(count);
      return [...first.values()].map((at) => at - startedAt).toSorted((a, b) => a - b);
    };
    expect(firsts(1)[0]).toBeLessThanOrEqual(200);
    expect(firsts(20).at(-1)).toBeLessThanOrEqual(220);
    const many = firsts(1_000);
    expect(many[0]).toBeLessThanOrEqual(20);
    for (let fromMs = 0; fromMs < 2_000; fromMs += 100) {
      const count = many.filter((ms) => ms >= fromMs && ms < fromMs + 100).length;
      expect(count).toBeGreaterThan(30);
      expect(count).toBeLessThan(70);
    }
  });

  test("health: one without an interval is not checked", () => {
    using it = new Ward([{ intervalMs: 0 }, {}]);
    it.loop.advance(20_000);
    expect(new Set(it.checks.map(([row]) => row))).toEqual(new Set([1]));
    expect([it.health.isPassing(0), it.health.causeOf(0)]).toEqual([null, ""]);
    expect(it.health.countsOf(0)).toEqual({ checks: 0, failed: 0, skipped: 0 });
  });

  test("health: one whose name does not resolve is checked when it does", () => {
    using it = new Ward([{}]);
    const { addressesOf } = it;
    it.addressesOf = () => [];
    it.loop.advance(10_000);
    expect([it.checks, it.told]).toEqual([[], []]);
    it.addressesOf = addressesOf;
    it.loop.advance(2_100);
    expect(it.told).toEqual(["pass 0 1"]);
  });
});

describe("health: traffic", () => {
  test("health: what traffic has proven within the interval is not checked", () => {
    using it = new Ward([{}]);
    it.check(1);
    const before = it.checks.length;
    for (let ms = 0; ms < 60_000; ms += 1_000) {
      it.provenAt[0] = it.loop.ms;
      it.loop.advance(1_000);
    }
    expect(it.checks.length).toBe(before);
    expect(it.health.countsOf(0).skipped).toBeGreaterThan(20);
    const provenAt = it.provenAt[0] ?? 0; // now no more
    it.check(1);
    const checkedAt = it.checks.at(-1)?.[1] ?? 0;
    expect(checkedAt - provenAt).toBeGreaterThanOrEqual(2_000);
    expect(checkedAt - provenAt).toBeLessThan(2_000 + 2_000 + checkMsMax);
  });

  test("health: a connect proves nothing of an answer", () => {
    for (const asked of [{ http: "/" }, { send: Buffer.from("?") }, { expect: Buffer.from("!") }]) {
      using it = new Ward([asked]);
      for (let ms = 0; ms < 20_000; ms += 1_000) {
        it.provenAt[0] = it.loop.ms;
        it.loop.advance(1_000);
      }
      expect(it.health.countsOf(0).skipped).toBe(0);
      expect(it.checks.length).toBeGreaterThan(4);
    }
  });

  test("health: a fallen one is checked whatever traffic says", () => {
    using it = new Ward([{ fall: 1 }]);
    it.fault(0, "ECONNREFUSED");
    it.check(1);
    const before = it.checks.length;
    it.provenAt[0] = it.loop.ms;
    it.loop.advance(2_200);
    expect([it.checks.length, it.health.countsOf(0).skipped]).toEqual([before + 1, 0]);
  });

  test("health: traffic proves what came after a failed check, not before it; then the row begins anew", () => {
    using it = new Ward([{}]);
    it.check(1);
    it.loop.advance(1_900);
    it.fault(0, "ECONNREFUSED");
    it.provenAt[0] = it.loop.ms - 500;
    it.loop.advance(150); // skipped
    expect([it.checks.length, it.health.countsOf(0).skipped]).toEqual([1, 1]);
    it.chance = () => 0; // so that the next one comes within an interval of that proof
    it.check(1);
    it.provenAt[0] = it.loop.ms - 100; // before the failure
    it.check(1);
    expect([it.health.countsOf(0).failed, it.health.causeOf(0)]).toEqual([2, "ECONNREFUSED"]);
    it.provenAt[0] = it.loop.ms;
    it.loop.advance(1_900);
    expect([it.health.countsOf(0).skipped, it.health.causeOf(0)]).toEqual([2, ""]);
    it.check(2);
    expect([it.health.countsOf(0).failed, it.told]).toEqual([4, ["pass 0 1"]]);
    it.check(1);
    expect(it.told).toEqual(["pass 0 1", "fall 0 ECONNREFUSED"]);
  });

  test("health: one that traffic proves before its first check passes", () => {
    using it = new Ward([{}]);
    it.provenAt[0] = it.loop.ms;
    it.loop.advance(300);
    expect([it.checks, it.health.isPassing(0), it.told]).toEqual([[], true, []]);
  });
});

describe("health: the long dead", () => {
  test("health: after 30 s the interval doubles up to 30 s", () => {
    using it = new Ward([{}]);
    it.fault(0, "ECONNREFUSED");
    it.check(3);
    const fallenAt = it.checks.at(-1)?.[1] ?? 0;
    it.loop.advance(200_000);
    const gaps = it.gaps(0, fallenAt).map((ms) => Math.round(ms / 1_000));
    expect(gaps.slice(0, 15)).toEqual(Array.from({ length: 15 }, () => 2));
    const longer = gaps.slice(gaps.findIndex((s) => s > 2));
    expect(longer.slice(0, 5)).toEqual([4, 8, 16, 30, 30]);
  });

  test("health: an interval above 30 s stays what it is", () => {
    using it = new Ward([{ intervalMs: 60_000, fall: 1 }]);
    it.fault(0, "ECONNREFUSED");
    it.check(6);
    for (const ms of it.gaps(0)) expect(Math.round(ms / 1_000)).toBe(60);
  });

  /** Fallen so long that its interval is 30 s. */
  function longDead(): Ward {
    const it = new Ward([{}]);
    it.fault(0, "ECONNREFUSED");
    it.loop.advance(200_000);
    it.check(1);
    return it;
  }

  test("health: while clients wait it is checked at its normal interval", () => {
    using it = longDead();
    it.loop.advance(7_000);
    const sinceMs = it.loop.ms;
    it.isWaited = true;
    it.loop.advance(10_000);
    const firstAt = it.checks.find(([, at]) => at >= sinceMs)?.[1] ?? Number.NaN;
    expect(firstAt - sinceMs).toBeLessThan(2_000 + checkMsMax);
    expect(it.gaps(0, sinceMs).length).toBeGreaterThanOrEqual(3);
    for (const ms of it.gaps(0, sinceMs)) expect(Math.round(ms / 1_000)).toBe(2);
    it.isWaited = false;
    const restMs = it.loop.ms;
    it.loop.advance(25_000);
    expect(it.checks.filter(([, at]) => at > restMs).length).toBeLessThanOrEqual(1);
  });

  test("health: the first pass brings the normal interval back", () => {
    using it = longDead();
    it.fault(0, null);
    it.check(2);
    expect(Math.round((it.gaps(0).at(-1) ?? 0) / 1_000)).toBe(2);
    expect(it.told.slice(-2)).toEqual(["pass 0 2", "rise 0"]);
  });
});

describe("health: many", () => {
  test("health: so many at once, all others in order, and nobody is forgotten", () => {
    const count = 1_000;
    using it = new Ward(
      Array.from({ length: count }, () => ({ http: "/" })),
      10,
    );
    let openCountMax = 0;
    while (it.checks.length < 2 * count) {
      it.loop.advance(50);
      openCountMax = Math.max(openCountMax, it.openCount);
    }
    expect(openCountMax).toBe(10);
    const rows = it.checks.map(([row]) => row);
    expect(new Set(rows.slice(0, count)).size).toBe(count);
    expect(new Set(rows.slice(count, 2 * count)).size).toBe(count);
  });

  test("health: a place that is given back is the next one's at once", () => {
    using it = new Ward(
      Array.from({ length: 3 }, () => ({ intervalMs: 60_000, http: "/" })),
      1,
    );
    it.loop.advance(200 + 3 * (1_000 + checkMsMax)); // each waits for an answer
    expect(it.checks.length).toBe(3);
  });

  test("health: a burst is spread over turns of the event loop", () => {
    using it = new Ward(Array.from({ length: 200 }, () => ({ fall: 99 })));
    for (const each of it.addresses) each.fault = "ECONNREFUSED";
    it.loop.advance(10_000);
    const before = it.checks.length;
    it.loop.ms += 60_000;
    for (let last = before; it.loop.step(); last = it.checks.length) {
      expect(it.checks.length - last).toBeLessThanOrEqual(16);
    }
    expect(it.checks.length - before).toBe(200);
  });

  test("health: never two checks of one destination", () => {
    using it = new Ward([{ intervalMs: 100, timeoutMs: 5_000, http: "/" }, { intervalMs: 100 }]);
    for (let ms = 0; ms < 20_000; ms += 10) {
      it.loop.advance(10);
      const open = it.engine.dials.filter((each) => each.fate === "open" && !each.gone);
      expect(open.filter((each) => each.name === "0").length).toBeLessThanOrEqual(1);
    }
    expect(it.checks.filter(([row]) => row === 0).length).toBeGreaterThan(2);
    expect(it.checks.filter(([row]) => row === 1).length).toBeGreaterThan(100);
  });

  test("health: close ends what is in flight, tells nothing, and leaves no alarm", () => {
    using it = new Ward(
      Array.from({ length: 30 }, () => ({ http: "/" })),
      20,
    );
    it.loop.advance(320);
    expect(it.openCount).toBe(20);
    it.health.close();
    expect(it.loop.alarmCount).toBe(0);
    it.loop.advance(100_000);
    expect([it.openCount, it.checks.length, it.told, it.loop.alarmCount]).toEqual([0, 20, [], 0]);
    expect(new Set(it.engine.dials.map((each) => each.fate))).toEqual(new Set(["reset"]));
  });

  test("health: close, when a check is about to begin", () => {
    using it = new Ward([{}, {}]);
    while (it.loop.alarmCount < 2) it.loop.step(it.loop.ms + 1_000);
    it.health.close();
    expect(it.loop.alarmCount).toBe(0);
    it.loop.advance(100_000);
    expect(it.checks).toEqual([]);
  });

  test("health: who is told of a fall may close it all", () => {
    using it = new Ward([{ fall: 1, http: "/" }, { http: "/" }]);
    it.onFall = () => it.health.close();
    it.loop.advance(100_000);
    expect(it.told).toEqual(["fall 0 no answer within 1 s"]);
    expect([it.checks.length, it.openCount, it.loop.alarmCount]).toEqual([2, 0, 0]);
  });
});

test("health: over real sockets and a real clock, a server that dies falls, and rises when it is back", async () => {
  using dead = deadPort();
  using alive = sink();
  const engine = new BunEngine(libc, (error) => {
    throw error;
  });
  const told: string[] = [];
  let port = alive.port;
  const health = new Health({
    engine,
    loop: new EventLoop(() => performance.now()),
    plans: [{ ...plain, intervalMs: 20 }],
    addressesOf: () => [engine.address({ ip: "127.0.0.1", port })],
    provenAt: () => 0,
    isWaited: () => false,
    checkCountMax: 4,
    events: {
      onFall: (row, cause) => told.push(`fall ${row} ${cause}`),
      onRise: (row) => told.push(`rise ${row}`),
      onPass: (row) => told.push(`pass ${row}`),
    },
  });
  health.start();
  await until(() => told.length >= 2, "passes");
  ({ port } = dead);
  await until(() => told.at(-1)?.startsWith("fall"), "a fall");
  ({ port } = alive);
  await until(() => told.includes("rise 0"), "a rise");
  expect(alive.peers.some((peer) => peer.wasReset)).toBe(false);
  health.close();
  const story = told.filter((each) => !each.startsWith("pass"));
  expect(story).toEqual(["fall 0 ECONNREFUSED", "rise 0"]);
});
