// Destinations of a thread come, go and change while they serve; limits change under open pairs.
import { describe, expect, test } from "bun:test";
import { Board, State } from "../../src/core/board.ts";
import type { DestinationPlan } from "../../src/core/destination.ts";
import type { DialAddress } from "../../src/core/engine.ts";
import { listPairs, unusedOf } from "../../src/core/live.ts";
import { policyOf, type PolicyName } from "../../src/core/policy.ts";
import { fakeAddresses, FakeFleet, FakePlane, type FakePlan } from "./fake.ts";
import { noLimits } from "./no-limits.ts";
import { tally, taken } from "./policy.cases.ts";
import { beginSlowStart, growSlowStart } from "../../src/core/slow-start.ts";

const policies = ["pull", "round-robin", "random", "hash"] as const;

/**
 * Other destinations from now on, row by row; null: the row is free. Board first, as the control plane does it: who
 * leaves is not enabled, and the slots and weights of the others are those of their plans.
 */
function change(
  { board, destinations }: FakeFleet,
  plans: readonly (FakePlan | null)[],
  policy: PolicyName = "pull",
): void {
  const full = plans.map((plan, row): DestinationPlan | null => {
    if (plan === null) return null;
    // Opaque to the core.
    const addresses = (plan.addresses ?? fakeAddresses(`d${row}`)) as unknown as DialAddress[];
    const { slots = 0, weight = 1 } = plan;
    const old = destinations.find(row);
    if (old !== null && old.generation === (plan.generation ?? 0)) {
      board.resize(row, slots, weight);
      board.setEnabled(row, plan.isLeaving !== true);
    } else {
      board.fill(row, slots, weight, addresses.length > 0);
    }
    return { name: `d${row}`, backup: false, ...plan, addresses };
  });
  destinations.change(full, (on, members) => policyOf(policy, on, members), policy);
}

/** Clients' keys, so that a hash spreads them. */
function takeMany(fleet: FakeFleet, count: number): (string | undefined)[] {
  return Array.from({ length: count }, (_, key) => fleet.destinations.take(key * 7_919)?.name);
}

describe.each(policies)("change, %s", (policy) => {
  test("change: who comes is given clients, who leaves none, and slots in use stay in use", () => {
    using fleet = new FakeFleet([{ slots: 3 }, { slots: 3 }], policy, undefined, 0, 2);
    const held = takeMany(fleet, 6);
    expect(tally(held)).toEqual({ d0: 3, d1: 3 });
    expect(fleet.destinations.take(1)).toBeNull();
    change(fleet, [{ slots: 3, isLeaving: true }, { slots: 3 }, { slots: 2 }], policy);
    expect(tally(takeMany(fleet, 3))).toEqual({ d2: 2, nobody: 1 });
    // A slot of who leaves comes back and is nobody's.
    fleet.destinations.release(fleet.destinations.at(0));
    expect([fleet.used(0), fleet.destinations.take(1)]).toEqual([2, null]);
    fleet.destinations.release(fleet.destinations.at(1));
    expect(fleet.destinations.take(5)?.name).toBe("d1");
    expect(fleet.destinations.mayServe(0)).toBe(false);
  });

  test("change: who comes back before it is gone has the slots that it had", () => {
    using fleet = new FakeFleet([{ slots: 2 }, { slots: 1 }], policy);
    takeMany(fleet, 3);
    change(fleet, [{ slots: 2, isLeaving: true }, { slots: 1 }], policy);
    fleet.destinations.release(fleet.destinations.at(0));
    change(fleet, [{ slots: 2 }, { slots: 1 }], policy);
    expect(tally(takeMany(fleet, 2))).toEqual({ d0: 1, nobody: 1 });
  });

  test("change: more slots and fewer", () => {
    using fleet = new FakeFleet([{ slots: 2 }], policy);
    takeMany(fleet, 2);
    change(fleet, [{ slots: 4 }], policy);
    expect(tally(takeMany(fleet, 3))).toEqual({ d0: 2, nobody: 1 });
    change(fleet, [{ slots: 1 }], policy);
    for (let n = 4; n > 1; n -= 1) {
      fleet.destinations.release(fleet.destinations.at(0));
      expect([fleet.used(), fleet.destinations.take(1)]).toEqual([n - 1, null]);
    }
    fleet.destinations.release(fleet.destinations.at(0));
    expect(fleet.destinations.take(1)?.name).toBe("d0");
    change(fleet, [{ slots: 0 }], policy);
    expect(tally(takeMany(fleet, 50))).toEqual({ d0: 50 });
  });

  test("change: a row is used anew by another, with its own name and nothing of the old one", () => {
    using fleet = new FakeFleet([{}, {}], policy);
    const before = fleet.destinations.at(1);
    change(fleet, [{}, { isLeaving: true }], policy);
    fleet.destinations.forget(1);
    fleet.board.clear(1);
    expect(fleet.destinations.find(1)).toBeNull();
    change(fleet, [{}, { generation: 7, name: "new", slots: 1 }], policy);
    expect(fleet.destinations.at(1)).not.toBe(before);
    expect(new Set(takeMany(fleet, 200))).toEqual(new Set(["d0", "new"]));
  });
});

describe("change", () => {
  test("change: a weight counts from then on, a primary may become a backup and the other way round", () => {
    using fleet = new FakeFleet([{}, {}], "pull");
    change(fleet, [{ weight: 3 }, {}]);
    expect(tally(taken(fleet, 8))).toEqual({ d0: 6, d1: 2 });
    change(fleet, [{ backup: true }, {}]);
    expect([tally(taken(fleet, 4)), fleet.destinations.readyCount]).toEqual([{ d1: 4 }, 1]);
    change(fleet, [{}, { backup: true }]);
    expect([tally(taken(fleet, 4)), fleet.destinations.readyCount]).toEqual([{ d0: 4 }, 1]);
  });

  test("change: who was out is out still, and who leaves ends no rest", () => {
    using fleet = new FakeFleet([{}, {}], "pull");
    const first = fleet.destinations.at(0);
    for (let n = 0; n < 3; n += 1) {
      fleet.destinations.onFailure(first, "ECONNREFUSED", fleet.clock.ms, false);
      if (n < 2) fleet.advance(110);
    }
    expect(fleet.board.stateOf(0)).toBe(State.out);
    change(fleet, [{ weight: 2 }, {}], "round-robin");
    expect([fleet.board.stateOf(0), new Set(takeMany(fleet, 4))]).toEqual([
      State.out,
      new Set(["d1"]),
    ]);
    change(fleet, [{ isLeaving: true }, {}]);
    fleet.advance(5_000);
    expect(fleet.board.stateOf(0)).toBe(State.out);
    change(fleet, [{}, {}]);
    fleet.advance(10);
    expect(fleet.board.stateOf(0)).toBe(State.trial);
  });

  test("change: one who is drained after it was filed gets nobody", () => {
    using fleet = new FakeFleet([{}, { backup: true }], "pull");
    fleet.board.setEnabled(0, false); // by another thread: nobody has told us
    expect(fleet.destinations.take(0)?.name).toBe("d1");
    expect(fleet.used(0)).toBe(0);
    fleet.board.setEnabled(0, true);
    expect(fleet.destinations.take(0)?.name).toBe("d0");
  });

  test("change: random changes leave every ready destination filed, and no other", () => {
    using fleet = new FakeFleet([{}], "pull", undefined, 0, 7);
    let generation = 1;
    const plans: (FakePlan | null)[] = [{}, null, null, null, null, null, null, null];
    const random = (count: number) => Math.floor(Math.random() * count);
    for (let step = 0; step < 500; step += 1) {
      const row = random(8);
      const plan = plans[row] ?? null;
      if (plan === null) plans[row] = { slots: random(3), generation: generation++ };
      else if (plan.isLeaving !== true) plans[row] = { ...plan, isLeaving: random(2) === 0 };
      else if (fleet.used(row) > 0) plans[row] = { ...plan, isLeaving: false };
      else {
        fleet.destinations.forget(row);
        fleet.board.clear(row);
        plans[row] = null;
      }
      change(fleet, plans, policies[random(4)]);
      const free = plans.filter((each, at) => {
        return each !== null && each.isLeaving !== true && fleet.board.isFree(at);
      });
      expect(fleet.destinations.readyCount).toBe(free.length);
      const given = fleet.destinations.take(random(1_000));
      expect(given === null).toBe(free.length === 0);
      for (const each of plans.keys()) {
        if (fleet.used(each) > 0 && random(2) === 0)
          fleet.destinations.release(fleet.destinations.at(each));
      }
    }
  });
});

describe("change: a plane", () => {
  test("change: pairs of who leaves go on, who waits goes to who comes", () => {
    using it = new FakePlane([{ slots: 1 }], {}, "pull", { spareCount: 1 });
    const { client, server } = it.join();
    const waiting = it.accept();
    it.plane.pull();
    expect(it.dialed).toEqual(["d0"]);
    change(it, [{ slots: 1, isLeaving: true }, { slots: 1 }]);
    it.plane.onDestinations();
    expect(it.dialed).toEqual(["d0", "d1"]);
    it.dial(1).connect();
    waiting.send("w");
    client.send("c");
    expect([server.text, it.dial(1).text]).toEqual(["c", "w"]);
    expect(unusedOf(it.plane.pairs, [0, 1])).toEqual([]);
    it.engine.mayCloseEarly = true;
    client.fin();
    server.fin();
    expect([unusedOf(it.plane.pairs, [0, 1]), it.used(0)]).toEqual([[0], 0]);
    it.end();
  });

  test("change: a destination that was tried in vain is not unused while the client lives", () => {
    using it = new FakePlane([{}, {}]);
    it.accept();
    it.plane.pull();
    const first = it.dialed[0] === "d0" ? 0 : 1;
    it.dial(0).fail();
    expect(unusedOf(it.plane.pairs, [0, 1])).toEqual([]);
    it.dial(1).connect();
    it.dial(1).crash();
    expect(unusedOf(it.plane.pairs, [0, 1]).length).toBe(2);
    expect(it.settled[0]?.tried).toEqual([first]);
    it.end();
  });

  test("change: a dial to who leaves that fails goes to another", () => {
    using it = new FakePlane([{}], {}, "pull", { spareCount: 1 });
    const client = it.accept();
    it.plane.pull();
    change(it, [{ isLeaving: true }, {}]);
    it.plane.onDestinations();
    it.dial(0).fail();
    expect(it.dialed).toEqual(["d0", "d1"]);
    it.dial(1).connect();
    client.send("x");
    expect(it.dial(1).text).toBe("x");
    expect([it.used(0), it.used(1)]).toEqual([0, 1]);
    it.end();
  });

  test("change: connections opened ahead follow what is wanted", async () => {
    using it = new FakePlane([{ warm: 2 }], {}, "pull", { spareCount: 1 });
    const settle = () => new Promise<void>((done) => setImmediate(done));
    await settle();
    expect(it.dialed).toEqual(["d0", "d0"]);
    change(it, [{ warm: 3 }]);
    it.plane.onDestinations();
    await settle();
    expect(it.dialed.length).toBe(3);
    change(it, [{ isLeaving: true, warm: 3 }, { warm: 1 }]);
    it.plane.onDestinations();
    await settle();
    expect(it.engine.dials.map(({ name, fate }) => `${name} ${fate}`)).toEqual([
      "d0 reset",
      "d0 reset",
      "d0 reset",
      "d1 open",
    ]);
    it.end();
  });

  test("change: limits that come late are judged from what has happened, not from then on", () => {
    using it = new FakePlane([{}]);
    const { client } = it.join();
    it.advance(5_000);
    it.plane.change({ limits: { ...noLimits, idleMs: 1_000 }, hashes: false, admission: null });
    it.advance(20);
    expect(it.ends).toEqual(["idle-timeout balancer"]);
    expect(client.fate).toBe("reset");
    it.board.setEnabled(0, false);
    const waiting = it.accept();
    it.plane.pull();
    it.advance(400);
    const limits = { ...noLimits, queueMs: 500 };
    it.plane.change({ limits, hashes: true, admission: null });
    it.advance(90);
    expect(it.ends.length).toBe(1);
    it.advance(30);
    expect([it.ends[1], waiting.fate]).toEqual(["queue-timeout balancer", "reset"]);
    it.end();
  });

  test("change: those that leave for others end oldest first, each in its turn, at a quiet moment", () => {
    using it = new FakePlane([{}]);
    it.engine.mayCloseEarly = true;
    const pairs = [1, 2, 3, 4].map(() => it.join());
    for (const { client, server } of pairs) {
      client.send("hello");
      server.send("hello");
    }
    const { retiring } = it.plane;
    expect(retiring.candidates(it.plane.pairs, 0, 3)).toEqual([1, 2, 3]);
    it.board.startClosing(0, it.clock.ms);
    expect(retiring.start(it.plane.pairs, 0, 3, 1_000, it.clock.ms)).toBe(3);
    expect(retiring.candidates(it.plane.pairs, 0, 9)).toEqual([4]);
    const counts: number[] = [];
    for (let n = 0; n < 20; n += 1) {
      it.advance(100);
      if (n < 12) pairs[1]?.server.send("."); // it has no quiet moment
      counts.push(it.settled.length);
    }
    it.advance(2_000);
    expect([counts[2], counts[9], counts[19], it.settled.length]).toEqual([1, 1, 2, 3]);
    expect(new Set(it.ends)).toEqual(new Set(["rebalance balancer"]));
    expect(pairs.map(({ client }) => client.fate)).toEqual(["closed", "closed", "closed", "open"]);
    it.end();
  });

  test("change: a list tells what each pair does and for how long it has done nothing", () => {
    using it = new FakePlane([{ slots: 1 }]);
    const { client } = it.join();
    it.accept();
    it.plane.pull();
    client.send("hello");
    const query = { rows: null, client: "", ageMsMin: 0, countMax: 10, after: 0 };
    const list = () => listPairs(it.plane.pairs, it.engine, query, it.clock.ms);
    it.advance(100);
    list(); // the bytes are noticed
    it.advance(50);
    expect(list()).toEqual([
      {
        order: 1,
        client: "client1:1",
        row: 0,
        state: "joined",
        ageMs: 150,
        idleMs: 50,
        bytesUp: 5,
        bytesDown: 0,
      },
      {
        order: 2,
        client: "client2:1",
        row: -1,
        state: "waiting",
        ageMs: 150,
        idleMs: 150,
        bytesUp: 0,
        bytesDown: 0,
      },
    ]);
    it.end();
  });
});

describe("change: the board", () => {
  test("board: turns to close come an interval apart, whoever asks, and wrap with the clock", () => {
    for (const start of [0, 5, 2 ** 31 - 10, 2 ** 32 - 10, 2 ** 33 + 7]) {
      const board = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax: 1 });
      board.startClosing(0, start);
      const waits = [0, 0, 40, 100, 100, 199, 205].map((ms) =>
        board.waitToClose(0, start + ms, 100),
      );
      expect(waits).toEqual([0, 100, 60, 0, 100, 1, 0]);
      board.startClosing(0, start + 206); // does not shorten what is under way
      expect(board.waitToClose(0, start + 206, 100)).toBe(99);
    }
  });

  test("board: a row that is cleared is as new", () => {
    const board = new Board({ destinationCountMax: 2, threadCount: 2, waiterCountMax: 1 });
    const views = [board.used, board.slots, board.share, board.state, board.enabled, board.closeAt];
    const fresh = JSON.stringify(views.map((view) => view[1]));
    board.fill(1, 4, 2, true);
    board.takeDown(1);
    board.addOut(1);
    board.startClosing(1, 99);
    for (const thread of [0, 1]) board.thread(thread).addFailure(1);
    board.clear(1);
    expect(JSON.stringify(views.map((view) => view[1]))).toBe(fresh);
    expect([board.outCount[1], board.thread(0).failures[1], board.thread(1).failures[1]]).toEqual([
      0, 0, 0,
    ]);
    board.fill(1, 1, 1, true);
    board.take(1);
    expect(() => board.clear(1)).toThrow();
  });

  test("board: a slow start goes on from where it is when slots change", () => {
    const board = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax: 1 });
    board.fill(0, 10, 1, true);
    beginSlowStart(board, 0, 1_000);
    growSlowStart(board, 0, 1_500, 1_000);
    board.resize(0, 20, 2);
    expect([board.slots[0], board.slotsFull[0]]).toEqual([5, 20]);
    growSlowStart(board, 0, 1_600, 1_000);
    expect([board.slots[0], board.share[0]]).toEqual([12, 120]);
    expect(growSlowStart(board, 0, 1_600, 0)).toBe(false); // switched off
    expect([board.slots[0], board.share[0], board.slowFromMs[0]]).toEqual([20, 200, 0]);
  });
});
