// What is known of a destination beyond its connects: connections that hold or do not, checks that take it down, and
// the slow start when it is back.

import { describe, expect, test } from "bun:test";
import { State } from "../../src/core/board.ts";
import { cutDestination } from "../../src/core/live.ts";
import { FakePlane, fakeAddresses, type FakePlan } from "./fake.ts";
import { beginSlowStart, growSlowStart } from "../../src/core/slow-start.ts";

const soonMs = 1_000;

function stateOf(it: FakePlane, row = 0): string {
  return Object.keys(State)[it.board.state[row] ?? -1] ?? "none";
}

/** A joined pair whose client has sent something. */
function join(it: FakePlane) {
  const { client, server } = it.join();
  client.send("hello");
  return { client, server };
}

describe("health: a destination that accepts and resets", () => {
  test("health: before a byte of either side, the client goes elsewhere, the third time puts it out", () => {
    using it = new FakePlane([{ slots: 1, weight: 256 }, { backup: true }]);
    for (let n = 0; n < 3; n += 1) {
      const client = it.accept();
      it.plane.pull();
      const server = it.dial(it.dialed.length - 1);
      server.connect();
      server.reset();
      expect([client.gone, it.board.failures[0]]).toEqual([false, n + 1]);
      it.advance(110);
    }
    expect([stateOf(it), it.told]).toEqual(["out", ["out d0 ECONNRESET 1000"]]);
    it.end();
  });

  test("health: after what a client sent, three times in a row, it is out while another one is up", () => {
    using it = new FakePlane([{}, {}]);
    it.destinations.at(1); // there
    for (let n = 0; n < 3; n += 1) {
      while (it.board.state[0] !== State.up) it.advance(110);
      const pairs = [join(it), join(it)];
      for (const { server } of pairs) {
        if (server.name === "d0") server.reset();
        else server.send("answer");
      }
      for (const { client } of pairs) if (!client.gone && client.fate === "open") client.reset();
    }
    expect([stateOf(it), stateOf(it, 1)]).toEqual(["out", "up"]);
    expect(new Set(it.ends)).toEqual(
      new Set(["destination-reset destination", "client-reset client"]),
    );
    it.end();
  });

  test("health: the last one that is up is not put out by what a client may have caused", () => {
    using it = new FakePlane([{}]);
    for (let n = 0; n < 10; n += 1) join(it).server.reset();
    expect([stateOf(it), it.board.failures[0], it.told]).toEqual(["up", 0, []]);
    it.end();
  });

  test("health: not in a row, while it answers others in between", () => {
    using it = new FakePlane([{}, {}]);
    const pairs = Array.from({ length: 20 }, () => join(it)).filter(
      ({ server }) => server.name === "d0",
    );
    expect(pairs.length).toBe(10);
    for (const [n, { server }] of pairs.entries()) {
      if (n % 3 === 2) server.send("answer");
      else server.reset();
      if (it.board.state[0] === State.resting) it.advance(110);
    }
    expect([it.told, it.board.failures[0]]).toEqual([[], 1]);
    it.end();
  });

  test.each([
    ["it has answered", (it: FakePlane) => join(it).server.crash()],
    [
      "it has held for a second",
      (it: FakePlane) => {
        const { server } = join(it);
        it.advance(soonMs + 10);
        server.reset();
      },
    ],
    ["the client reset", (it: FakePlane) => join(it).client.reset()],
  ])("health: no failure when %s", (_, happen) => {
    using it = new FakePlane([{}, {}], { idleMs: 60_000 });
    for (let n = 0; n < 6; n += 1) happen(it);
    expect([it.board.failures[0], it.board.failures[1], it.told]).toEqual([0, 0, []]);
    it.end();
  });
});

/** Three clients whose dials fail; they wait. */
function putOut(it: FakePlane): FakePlane {
  for (let n = 0; n < 3; n += 1) it.accept();
  it.plane.pull();
  for (let n = 0; n < 3; n += 1) it.dial(n).fail();
  expect([stateOf(it), it.dialed.length]).toEqual(["out", 3]);
  return it;
}

/** One destination, out, its rest over, and `waiting` clients: the first is its trial, and connected. */
function tried(waiting: number, plan: FakePlan = {}): FakePlane {
  const it = putOut(new FakePlane([plan], { idleMs: 60_000 }));
  for (let n = 3; n < waiting; n += 1) it.accept();
  it.advance(1_010);
  expect(stateOf(it)).toBe("trying");
  it.dial(3).connect();
  return it;
}

describe("health: a trial is won when its connection holds", () => {
  test.each([
    ["by the destination's first byte", (it: FakePlane) => it.dial(3).send("!")],
    ["by its end in order", (it: FakePlane) => it.dial(3).fin()],
    ["by a second without a reset", (it: FakePlane) => it.advance(soonMs + 10)],
  ])("health: %s", (_, happen) => {
    using it = tried(4);
    expect([stateOf(it), it.dialed.length]).toEqual(["trying", 4]);
    happen(it);
    expect([stateOf(it), it.dialed.length, it.told.at(-1)]).toEqual(["up", 4 + 3, "back d0"]);
    it.end();
  });

  test("health: lost by a reset before a byte, and the client keeps its place", () => {
    using it = tried(4);
    it.dial(3).reset();
    expect([stateOf(it), it.ends, it.dialed.length]).toEqual(["out", [], 4]);
    it.end();
  });

  test("health: undecided when its client leaves, the next one tries", () => {
    using it = tried(4);
    [...it.plane.pairs].find((pair) => pair.state === "joined")?.settle("client-reset", "client");
    expect([stateOf(it), it.dialed.length]).toEqual(["trying", 5]);
    it.end();
  });
});

describe("health: down by its checks", () => {
  test("health: it gets nobody, whatever connects say; when it is back it serves who waits", () => {
    using it = new FakePlane([{ slots: 4 }]);
    const { server } = it.join();
    it.accept();
    it.plane.pull(); // under way when it is taken down
    expect(it.board.takeDown(0)).toBe(State.up);
    expect(it.board.takeDown(0)).toBe(State.down);
    it.accept();
    it.plane.pull();
    it.dial(1).connect();
    it.dial(1).send("!");
    server.send("!");
    it.destinations.rest(it.destinations.at(0), it.clock.ms);
    it.destinations.onFailure(it.destinations.at(0), "ECONNREFUSED", it.clock.ms, false);
    it.destinations.onSuccess(it.destinations.at(0), it.clock.ms);
    it.advance(60_000);
    expect([stateOf(it), it.dialed.length, it.told]).toEqual(["down", 2, []]);
    expect([it.board.isUp(0), it.destinations.mayServe(0)]).toEqual([false, false]);
    it.board.changeState(0, State.down, State.up);
    it.destinations.onChanged(it.destinations.at(0));
    expect(it.dialed.length).toBe(3);
    it.end();
  });

  test("health: a backup serves while the primary is down", () => {
    using it = new FakePlane([{}, { backup: true }]);
    it.board.takeDown(0);
    it.accept();
    it.plane.pull();
    expect(it.dialed).toEqual(["d1"]);
    it.end();
  });

  test("health: a freed slot of it is nobody's", () => {
    using it = new FakePlane([{ slots: 1 }]);
    const { server } = it.join();
    it.accept();
    it.board.takeDown(0);
    server.crash();
    expect([it.dialed.length, it.used()]).toEqual([1, 0]);
    it.end();
  });

  test("health: its open pairs are closed when that is asked for, those of others are not", () => {
    using it = new FakePlane([{}, {}]);
    it.join();
    it.join();
    it.accept();
    it.plane.pull(); // a dial under way stays
    cutDestination(it.plane.pairs, 0, "destination-down");
    expect([it.ends, it.plane.pairs.size]).toEqual([["destination-down balancer"], 2]);
    it.end();
  });
});

describe("health: slow start", () => {
  const slowStartMs = 1_000;

  /** A destination that is back after it was out. */
  function back(plan: FakePlan): FakePlane {
    const it = putOut(new FakePlane([plan], { slowStartMs }));
    for (let n = 3; n < 20; n += 1) it.accept();
    it.advance(1_010);
    it.dial(3).connect();
    it.dial(3).send("!");
    return it;
  }

  test("health: slots grow from one to all of them, in a line", () => {
    using it = back({ slots: 10 });
    expect([it.dialed.length, it.used()]).toEqual([4, 1]);
    const used: number[] = [];
    for (let n = 1; n <= 12; n += 1) {
      it.clock.ms += 100;
      growSlowStart(it.board, 0, it.clock.ms, slowStartMs);
      it.destinations.onChanged(it.destinations.at(0));
      used.push(it.used());
    }
    expect(used).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 10, 10]);
    expect(growSlowStart(it.board, 0, it.clock.ms, slowStartMs)).toBe(false);
    it.end();
  });

  test("health: without a limit of slots its share grows", () => {
    using it = back({ weight: 3 });
    expect(it.board.share[0]).toBe(1);
    expect(growSlowStart(it.board, 0, it.clock.ms + 500, slowStartMs)).toBe(true);
    expect(it.board.share[0]).toBe(150);
    expect(growSlowStart(it.board, 0, it.clock.ms + 1_000, slowStartMs)).toBe(false);
    expect([it.board.share[0], it.board.slots[0]]).toEqual([300, 0]);
    it.end();
  });

  test.each(["pull", "round-robin", "random"] as const)(
    "health: under %s it gets less at the beginning, and its part of it later",
    (policy) => {
      using it = new FakePlane([{}, {}], {}, policy);
      beginSlowStart(it.board, 0, it.clock.ms);
      const shareOf = (count: number): number => {
        const before = it.dialed.length;
        for (let n = 0; n < count; n += 1) it.accept();
        it.plane.pull();
        return it.dialed.slice(before).filter((name) => name === "d0").length / count;
      };
      const early = shareOf(100);
      growSlowStart(it.board, 0, it.clock.ms + slowStartMs, slowStartMs);
      it.plane.cut("drain");
      for (const row of [0, 1]) it.destinations.onChanged(it.destinations.at(row));
      const late = shareOf(100);
      expect(early).toBeLessThan(0.1);
      expect(late).toBeGreaterThan(0.3);
      it.end();
    },
  );
});

describe("health: trials while clients wait", () => {
  test("health: while clients wait a trial follows each second, whenever others come", () => {
    const addresses = fakeAddresses("d0");
    using it = new FakePlane([{ addresses }]);
    for (const each of addresses) each.fault = "ECONNREFUSED";
    it.accept();
    const failures = () => it.plane.numbers.failures[0] ?? 0;
    let failedAt = it.clock.ms;
    for (let step = 0, comesAt = Infinity; step < 600; step += 1) {
      const before = failures();
      it.advance(50);
      if (failures() > before) {
        expect(it.clock.ms - failedAt).toBeLessThan(1_300);
        failedAt = it.clock.ms;
        comesAt = failedAt + 750; // shortly before the next trial
      }
      if (it.clock.ms < comesAt) continue;
      comesAt = Infinity;
      it.accept();
      it.plane.pull();
    }
    expect(failures()).toBeGreaterThan(20);
    for (const each of addresses) each.fault = null;
    it.advance(1_300);
    it.dial(0).connect();
    it.plane.cut("drain");
    it.end();
  });
});

describe("health: the age of a pair", () => {
  test("health: it is closed in order at the first quiet moment after its age, not before", () => {
    using it = new FakePlane([{}], { maxAge: { ms: 10_000, jitter: 0 } });
    it.engine.mayCloseEarly = true;
    const { client, server } = join(it);
    it.advance(9_900);
    expect(it.ends).toEqual([]);
    for (let n = 0; n < 10; n += 1) {
      server.send("busy");
      it.advance(100);
    }
    expect(it.ends).toEqual([]);
    it.advance(250);
    it.advance(250);
    expect([it.ends, client.fate, server.fate]).toEqual([["max-age balancer"], "closed", "closed"]);
    it.end();
  });

  test("health: bytes that are still on their way are no quiet moment", () => {
    using it = new FakePlane([{}], { maxAge: { ms: 1_000, jitter: 0 } });
    it.engine.mayCloseEarly = true;
    const { client, server } = join(it);
    client.room = 0;
    server.send("for a slow reader");
    for (let n = 0; n < 30; n += 1) it.advance(250);
    expect(it.ends).toEqual([]);
    client.writable();
    for (let n = 0; n < 3; n += 1) it.advance(250);
    expect([it.ends, client.text]).toEqual([["max-age balancer"], "for a slow reader"]);
    it.end();
  });

  test("health: a client that has asked may wait for its answer: no quiet moment for half a minute", () => {
    using it = new FakePlane([{}], { maxAge: { ms: 1_000, jitter: 0 } });
    it.engine.mayCloseEarly = true;
    const { client, server } = join(it);
    client.send("a question");
    for (let n = 0; n < 100; n += 1) it.advance(250);
    expect(it.ends).toEqual([]);
    server.send("an answer");
    for (let n = 0; n < 3; n += 1) it.advance(250);
    expect([it.ends, client.text]).toEqual([["max-age balancer"], "an answer"]);
    const { client: mute } = join(it);
    mute.send("nobody answers");
    for (let n = 0; n < 110; n += 1) it.advance(250);
    expect(it.ends.length).toBe(1);
    for (let n = 0; n < 20; n += 1) it.advance(250);
    expect(it.ends.length).toBe(2);
    it.end();
  });

  test("health: ages are spread by chance, within their part", () => {
    using it = new FakePlane([{}], { maxAge: { ms: 10_000, jitter: 0.5 } });
    it.engine.mayCloseEarly = true;
    for (let n = 0; n < 200; n += 1) it.join();
    const counts: number[] = [];
    for (let n = 0; n < 64; n += 1) {
      it.advance(250);
      counts.push(it.ends.length);
    }
    expect(counts[18]).toBe(0); // 4.75 s
    expect(counts[40]).toBeGreaterThan(20);
    expect(counts[40]).toBeLessThan(180);
    expect(counts.at(-1)).toBe(200);
    it.end();
  });
});

test.each([
  ["reset", "reset"],
  ["fin", "closed"],
] as const)("health: a refusal by %s", (refuseBy, fate) => {
  for (const limit of [{ connectionCountMax: 1 }, { queueCountMax: 0 }]) {
    using it = new FakePlane([{ slots: 1 }], { refuseBy, ...limit });
    it.join();
    const refused = it.accept();
    it.plane.pull();
    const reason = "queueCountMax" in limit ? "queue-full" : "connection-limit";
    expect([refused.fate, it.ends]).toEqual([fate, [`${reason} balancer`]]);
    it.end();
  }
});
