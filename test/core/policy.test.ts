import { describe, expect, test } from "bun:test";
import { keyOfClient, loadLevel, RandomPolicy } from "../../src/core/policy.ts";
import { FakeFleet, type FakePlan } from "./fake.ts";
import { policyCases, tally, taken } from "./policy.cases.ts";

for (const policy of ["pull", "round-robin", "random", "hash"] as const) policyCases(policy);

const many = (count: number, plan: FakePlan = {}): FakePlan[] =>
  Array.from({ length: count }, () => plan);

describe("pull", () => {
  test("pull: the smallest used / weight, as weights say", () => {
    using fleet = new FakeFleet([{ weight: 2 }, { weight: 1 }], "pull");
    // used / weight before each: 0 0, ½ 0, ½ 1, 1 1 (d1 was filed first), 1 2, 1½ 2, 2 2
    expect(taken(fleet, 6)).toEqual(["d0", "d1", "d0", "d1", "d0", "d0"]);
  });

  test("pull: the longest idle first among equals", () => {
    using fleet = new FakeFleet(many(3), "pull");
    const [d0, d1, d2] = [1, 2, 3].map(() => fleet.destinations.take(0));
    for (const each of [d1, d2, d0]) if (each) fleet.destinations.release(each);
    expect(taken(fleet, 3)).toEqual(["d1", "d2", "d0"]);
  });

  test("pull: one connection after the other visits all destinations", () => {
    using fleet = new FakeFleet(many(5), "pull");
    const names = Array.from({ length: 10 }, () => {
      const each = fleet.destinations.take(0);
      if (each !== null) fleet.destinations.release(each);
      return each?.name;
    });
    expect(tally(names)).toEqual({ d0: 2, d1: 2, d2: 2, d3: 2, d4: 2 });
  });

  test("pull: the least used also among ten thousand, whatever the loads", () => {
    using fleet = new FakeFleet(many(10_000), "pull");
    fleet.board.used.forEach((_, row) => {
      const destination = fleet.destinations.list[row];
      const load = row === 7_777 ? 3 : 4 + (row % 200);
      for (let n = 0; n < load; n += 1) fleet.board.take(row);
      if (destination === undefined) return;
      fleet.board.take(row);
      fleet.destinations.release(destination); // files it by what is used now
    });
    expect(fleet.destinations.take(0)?.name).toBe("d7777");
  });

  test("pull: levels grow with used / weight; small loads are told apart, large ones within 1 %", () => {
    expect(loadLevel(0, 7)).toBe(0);
    let before = -1;
    for (let used = 0; used < 200_000; used += used < 2_000 ? 1 : 173) {
      const level = loadLevel(used, 1);
      expect(level).toBeGreaterThanOrEqual(before);
      if (used <= 128) expect(level).toBeGreaterThan(before);
      expect(loadLevel(Math.ceil(used * 1.01) + 1, 1)).toBeGreaterThan(level);
      before = level;
    }
    expect(loadLevel(2, 256)).toBeGreaterThan(loadLevel(1, 256));
    expect(loadLevel(2 ** 31 - 1, 1)).toBeGreaterThanOrEqual(loadLevel(2 ** 30, 1));
  });
});

describe("round-robin", () => {
  test("round-robin: each in turn", () => {
    using fleet = new FakeFleet(many(3), "round-robin");
    expect(taken(fleet, 7)).toEqual(["d0", "d1", "d2", "d0", "d1", "d2", "d0"]);
  });

  test("round-robin: weight times per round, interleaved", () => {
    using fleet = new FakeFleet([{ weight: 3 }, { weight: 1 }, { weight: 2 }], "round-robin");
    expect(taken(fleet, 6)).toEqual(["d0", "d1", "d2", "d0", "d2", "d0"]);
    expect(tally(taken(fleet, 6))).toEqual({ d0: 3, d1: 1, d2: 2 });
    expect(tally(taken(fleet, 60))).toEqual({ d0: 30, d1: 10, d2: 20 });
  });

  test("round-robin: weights hold with one slot each, connections one after the other", () => {
    using fleet = new FakeFleet(
      [
        { weight: 3, slots: 1 },
        { weight: 1, slots: 1 },
      ],
      "round-robin",
    );
    const names = Array.from({ length: 400 }, () => {
      const each = fleet.destinations.take(0);
      if (each !== null) fleet.destinations.release(each);
      return each?.name;
    });
    expect(tally(names)).toEqual({ d0: 300, d1: 100 });
  });

  test("round-robin: one that was full in its turn is not passed over for good", () => {
    using fleet = new FakeFleet([{ slots: 1 }, {}, {}], "round-robin");
    const d0 = fleet.destinations.take(0);
    expect(taken(fleet, 4)).toEqual(["d1", "d2", "d1", "d2"]);
    if (d0 !== null) fleet.destinations.release(d0);
    expect(taken(fleet, 3)).toContain("d0");
  });
});

describe("random", () => {
  /** Chance says these numbers in turn. */
  function drawn(members: number, ...draws: number[]): { name: string | undefined } {
    using fleet = new FakeFleet(many(members));
    const policy = new RandomPolicy(fleet.board, () => draws.shift() ?? 0);
    for (const each of fleet.destinations.list) each.place = -1;
    for (const each of fleet.destinations.list) policy.file(each);
    fleet.board.used.set([5, 1, 3].slice(0, members));
    return { name: policy.pick()?.name };
  }

  test("random: the less used of two that are drawn", () => {
    expect(drawn(3, 0, 0).name).toBe("d1"); // d0 with 5 against d1 with 1
    expect(drawn(3, 0, 0.9).name).toBe("d2"); // d0 with 5 against d2 with 3
    expect(drawn(3, 0.5, 0).name).toBe("d1"); // d1 with 1 against d2 with 3
    expect(drawn(3, 0.99, 0.99).name).toBe("d1"); // d2 with 3 against d1 with 1
  });

  test("random: never draws the same twice, and takes the only one there is", () => {
    for (const first of [0, 0.4, 0.999]) {
      for (const second of [0, 0.5, 0.999]) expect(drawn(3, first, second).name).not.toBe("d0");
    }
    expect(drawn(1, 0.7, 0.7).name).toBe("d0");
  });

  test("random: best of two keeps the fullest within a few of the mean", () => {
    using fleet = new FakeFleet(many(100), "random");
    taken(fleet, 10_000);
    expect(Math.max(...fleet.board.used)).toBeLessThan(110); // one draw alone: about 127
  });
});

describe("hash", () => {
  const clientCount = 10_000;
  const client = (n: number): number => keyOfClient(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`);

  /** The name each client gets; nothing stays taken. */
  function places(fleet: FakeFleet): string[] {
    return Array.from({ length: clientCount }, (_, n) => {
      const each = fleet.destinations.take(client(n));
      if (each !== null) fleet.destinations.release(each);
      return each?.name ?? "nobody";
    });
  }

  function fleetOf(names: readonly string[]): FakeFleet {
    return new FakeFleet(
      names.map((name) => ({ name })),
      "hash",
    );
  }

  const names = Array.from({ length: 11 }, (_, n) => `10.1.0.${n + 1}:3001`);

  test("hash: the same client gets the same destination, whatever is in use", () => {
    using fleet = fleetOf(names);
    const first = places(fleet);
    taken(fleet, 500);
    expect(places(fleet)).toEqual(first);
    using again = fleetOf(names.toReversed());
    expect(places(again)).toEqual(first); // nor does the order of the list matter
  });

  test("hash: clients are spread evenly, within a quarter", () => {
    using fleet = fleetOf(names);
    const counts = Object.values(tally(places(fleet)));
    expect(counts.length).toBe(11);
    const mean = clientCount / 11;
    expect(Math.max(...counts)).toBeLessThan(1.25 * mean);
    expect(Math.min(...counts)).toBeGreaterThan(0.75 * mean);
  });

  test("hash: one added to ten moves about an eleventh of the clients, all of them to it", () => {
    using ten = fleetOf(names.slice(0, 10));
    using eleven = fleetOf(names);
    const before = places(ten);
    const after = places(eleven);
    const moved = after.filter((name, n) => name !== before[n]);
    expect(moved.length).toBeGreaterThan((0.75 * clientCount) / 11);
    expect(moved.length).toBeLessThan((1.25 * clientCount) / 11);
    expect(new Set(moved)).toEqual(new Set([names[10] ?? ""]));
  });

  test("hash: one that is not ready moves its own clients alone, to many, and back", () => {
    using fleet = fleetOf(names);
    const { destinations } = fleet;
    const gone = destinations.list[4];
    if (gone === undefined) throw new Error("there are eleven");
    const before = places(fleet);
    destinations.onFailure(gone, "ECONNREFUSED", fleet.clock.ms, false);
    const after = places(fleet);
    before.forEach((name, n) => {
      if (name === gone.name) expect(after[n]).not.toBe(name);
      else expect(after[n]).toBe(name);
    });
    const heirs = new Set(after.filter((_, n) => before[n] === gone.name));
    expect(heirs.size).toBe(10);
    fleet.advance(200);
    expect(places(fleet)).toEqual(before);
  });

  test("hash: thousands of destinations share the points of the circle, and most of them serve", () => {
    const count = 8_000;
    using fleet = new FakeFleet(many(count), "hash");
    const served = Object.values(tally(places(fleet))).length;
    expect(served).toBeGreaterThan(0.65 * count); // an even spread of 10,000 clients reaches 71 %
  });

  test("hash: the only destination gets everybody", () => {
    using fleet = fleetOf(["alone"]);
    expect(tally(places(fleet))).toEqual({ alone: clientCount });
  });
});
