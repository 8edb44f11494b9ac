import { describe, expect, test } from "bun:test";
import { State } from "../../src/core/board.ts";
import type { Destination } from "../../src/core/destination.ts";
import { faultCodes } from "../../src/core/fault.ts";
import { FakeFleet, type FakePlan } from "./fake.ts";

const restMs = 100;

function only(fleet: FakeFleet, row = 0): Destination {
  const destination = fleet.destinations.list[row];
  if (destination === undefined) throw new Error(`there is no destination ${row}`);
  return destination;
}

function stateOf(fleet: FakeFleet, row = 0): string {
  return Object.keys(State)[fleet.board.state[row] ?? -1] ?? "none";
}

/** A connect that was given a slot, and failed. @returns false when there was no slot. */
function failOnce(fleet: FakeFleet): boolean {
  const destination = fleet.destinations.take(0);
  if (destination === null) return false;
  const isTrial = fleet.destinations.onTrial(destination);
  fleet.destinations.onFailure(destination, "ECONNREFUSED", fleet.clock.ms, isTrial);
  fleet.destinations.release(destination);
  return true;
}

/** Three failures in a row, each after the rest of the one before. */
function putOut(fleet: FakeFleet): void {
  for (let n = 0; n < 3; n += 1) {
    expect(failOnce(fleet)).toBe(true);
    if (n < 2) fleet.advance(restMs + 10);
  }
}

/** Out, and its rest over: the next client is its trial. */
function onTrial(plans: readonly FakePlan[] = [{}]): FakeFleet {
  const fleet = new FakeFleet(plans);
  putOut(fleet);
  fleet.advance(1_010);
  expect(stateOf(fleet)).toBe("trial");
  return fleet;
}

describe("destination: health", () => {
  test("destination: a failure is a short rest, then it is up again", () => {
    using fleet = new FakeFleet([{}]);
    failOnce(fleet);
    expect([stateOf(fleet), fleet.destinations.take(0)]).toEqual(["resting", null]);
    fleet.advance(restMs - 1);
    expect(stateOf(fleet)).toBe("resting");
    fleet.advance(11);
    expect([stateOf(fleet), fleet.destinations.take(0)?.name]).toEqual(["up", "d0"]);
    expect(fleet.told).toEqual([]);
  });

  test("destination: the third failure in a row puts it out, and that is told once with its cause", () => {
    using fleet = new FakeFleet([{}]);
    putOut(fleet);
    expect([stateOf(fleet), fleet.board.outCount[0]]).toEqual(["out", 1]);
    expect(fleet.told).toEqual(["out d0 ECONNREFUSED 1000"]);
    expect(faultCodes[fleet.board.lastFault[0] ?? 0]).toBe("ECONNREFUSED");
  });

  test("destination: a success in between begins the count anew", () => {
    using fleet = new FakeFleet([{}]);
    for (let n = 0; n < 10; n += 1) {
      failOnce(fleet);
      fleet.advance(restMs + 10);
      if (n % 2 === 0) continue;
      const destination = fleet.destinations.take(0);
      if (destination !== null) fleet.destinations.onSuccess(destination, 0);
    }
    expect([stateOf(fleet), fleet.told]).toEqual(["up", []]);
  });

  test("destination: it rests 1 s, doubling with each trial lost, up to 30 s", () => {
    using fleet = new FakeFleet([{}]);
    putOut(fleet);
    const rests: number[] = [];
    for (let n = 0; n < 8; n += 1) {
      rests.push((fleet.board.retryAtMs[0] ?? 0) - fleet.clock.ms);
      fleet.advance((rests[n] ?? 0) - 1);
      expect(stateOf(fleet)).toBe("out");
      fleet.advance(11);
      expect(failOnce(fleet)).toBe(true);
    }
    expect(rests).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    expect(fleet.told.length).toBe(1);
  });

  test("destination: a fifth of the rest is left to chance", () => {
    const rests = [0, 0.5, 1].map((chance) => {
      using fleet = new FakeFleet([{}]);
      fleet.chance = chance;
      putOut(fleet);
      return Math.round((fleet.board.retryAtMs[0] ?? 0) - fleet.clock.ms);
    });
    expect(rests).toEqual([900, 1_000, 1_100]);
  });

  test("destination: after years of failures the rest is still 30 s", () => {
    using fleet = new FakeFleet([{}]);
    putOut(fleet);
    for (let n = 0; n < 2_000; n += 1) {
      fleet.advance(30_010);
      failOnce(fleet);
    }
    expect((fleet.board.retryAtMs[0] ?? 0) - fleet.clock.ms).toBe(30_000);
  });

  test("destination: failures of connects that were under way when it went out do not double the rest", () => {
    using fleet = new FakeFleet([{}]);
    for (let n = 0; n < 10; n += 1) fleet.destinations.take(0);
    const { destinations, clock } = fleet;
    for (let n = 0; n < 10; n += 1) {
      destinations.onFailure(only(fleet), "ECONNREFUSED", clock.ms, false);
    }
    expect([stateOf(fleet), fleet.board.retryAtMs[0]]).toEqual(["out", clock.ms + 1_000]);
    expect(fleet.told.length).toBe(1);
    fleet.advance(1_010);
    destinations.onFailure(only(fleet), "ETIMEDOUT", clock.ms, false);
    expect(stateOf(fleet)).toBe("trial");
  });

  test("destination: a success of a connect that was under way brings it back before its rest is over", () => {
    using fleet = new FakeFleet([{}]);
    putOut(fleet);
    fleet.destinations.onSuccess(only(fleet), 0);
    expect([stateOf(fleet), fleet.told.at(-1)]).toEqual(["up", "back d0"]);
    fleet.advance(2_000);
    expect(stateOf(fleet)).toBe("up");
  });
});

describe("destination: trial", () => {
  test("destination: a trial admits exactly one, however many slots there are", () => {
    using fleet = onTrial();
    expect(fleet.destinations.take(0)?.name).toBe("d0");
    expect([stateOf(fleet), fleet.destinations.take(0)]).toEqual(["trying", null]);
    fleet.advance(60_000);
    expect(fleet.destinations.take(0)).toBeNull();
  });

  test("destination: a connect from before it was out has no say in the trial", () => {
    using fleet = onTrial();
    fleet.destinations.take(0);
    fleet.destinations.onFailure(only(fleet), "ETIMEDOUT", fleet.clock.ms, false);
    expect(stateOf(fleet)).toBe("trying");
  });

  test("destination: a trial that succeeds brings it back, and tells who waits", () => {
    using fleet = onTrial();
    let pulls = 0;
    fleet.destinations.onReady = () => (pulls += 1);
    const destination = fleet.destinations.take(0);
    expect(pulls).toBe(0);
    if (destination !== null) fleet.destinations.onSuccess(destination, 0);
    expect([stateOf(fleet), pulls, fleet.told.at(-1)]).toEqual(["up", 1, "back d0"]);
    expect([1, 2, 3].map(() => fleet.destinations.take(0)?.name)).toEqual(["d0", "d0", "d0"]);
    failOnce(fleet);
    expect(stateOf(fleet)).toBe("resting"); // the count began anew
  });

  test("destination: a trial without a verdict is open for the next client", () => {
    using fleet = onTrial();
    const destination = fleet.destinations.take(0);
    if (destination === null) throw new Error("the trial admits one");
    fleet.destinations.onUndecided(destination);
    fleet.destinations.release(destination);
    expect([stateOf(fleet), fleet.destinations.take(0)?.name]).toEqual(["trial", "d0"]);
  });

  test("destination: an undecided connect changes nothing where there is no trial", () => {
    using fleet = new FakeFleet([{}]);
    fleet.destinations.onUndecided(only(fleet));
    expect(stateOf(fleet)).toBe("up");
    putOut(fleet);
    fleet.destinations.onUndecided(only(fleet));
    expect(stateOf(fleet)).toBe("out");
  });

  test("destination: the end of a rest tells who waits", () => {
    using fleet = new FakeFleet([{}]);
    let pulls = 0;
    fleet.destinations.onReady = () => (pulls += 1);
    putOut(fleet);
    const before = pulls;
    fleet.advance(1_010);
    expect(pulls).toBe(before + 1);
  });
});

describe("destination: backups", () => {
  test("destination: backups serve only when every primary is out", () => {
    using fleet = new FakeFleet([{}, { backup: true }, { backup: true }]);
    const names: (string | undefined)[] = [];
    for (let n = 0; n < 3; n += 1) {
      failOnce(fleet);
      names.push(fleet.destinations.take(0)?.name); // resting is no reason for a backup
      if (n < 2) fleet.advance(restMs + 10);
    }
    names.push(fleet.destinations.take(0)?.name);
    expect(names).toEqual([undefined, undefined, "d1", "d2"]);
  });

  test("destination: full primaries are waited for, no backup is asked", () => {
    using fleet = new FakeFleet([{ slots: 1 }, { slots: 1 }, { backup: true }]);
    const names = [1, 2, 3].map(() => fleet.destinations.take(0)?.name);
    expect(names).toEqual(["d0", "d1", undefined]);
  });

  test("destination: a primary whose rest is over gets its trial, backups the rest until it is won", () => {
    using fleet = onTrial([{}, { backup: true }]);
    const names = [1, 2, 3].map(() => fleet.destinations.take(0)?.name);
    expect(names).toEqual(["d0", "d1", "d1"]);
    fleet.destinations.onSuccess(only(fleet), 0);
    expect(fleet.destinations.take(0)?.name).toBe("d0");
  });

  test("destination: backups alone serve as if they were none", () => {
    using fleet = new FakeFleet([
      { backup: true, slots: 1 },
      { backup: true, slots: 1 },
    ]);
    const names = [1, 2, 3].map(() => fleet.destinations.take(0)?.name);
    expect(names).toEqual(["d0", "d1", undefined]);
  });

  test("destination: with backups out as well, all come back by themselves", () => {
    using fleet = new FakeFleet([{}, { backup: true }]);
    for (let n = 0; n < 6; n += 1) {
      failOnce(fleet);
      if (n !== 2) fleet.advance(restMs + 10);
    }
    expect([stateOf(fleet, 0), stateOf(fleet, 1)]).toEqual(["out", "out"]);
    fleet.advance(2_000);
    expect([stateOf(fleet, 0), stateOf(fleet, 1)]).toEqual(["trial", "trial"]);
    expect([1, 2, 3].map(() => fleet.destinations.take(0)?.name)).toEqual(["d0", "d1", undefined]);
  });
});

describe("destination: slots and addresses", () => {
  test("destination: a slot given back twice ends the process", () => {
    using fleet = new FakeFleet([{ slots: 2 }]);
    const destination = fleet.destinations.take(0);
    if (destination === null) throw new Error("two are free");
    fleet.destinations.release(destination);
    expect(() => fleet.destinations.release(destination)).toThrow("given back twice");
  });

  test("destination: counts how many primaries can take a client now", () => {
    using fleet = new FakeFleet([{ slots: 1 }, {}, { backup: true }, { addresses: [] }]);
    expect(fleet.destinations.readyCount).toBe(2);
    const first = fleet.destinations.take(0);
    expect([first?.name, fleet.destinations.readyCount]).toEqual(["d0", 1]);
    fleet.destinations.onFailure(only(fleet, 1), "ECONNREFUSED", fleet.clock.ms, false);
    expect(fleet.destinations.readyCount).toBe(0);
    if (first !== null) fleet.destinations.release(first);
    fleet.advance(restMs + 10);
    expect(fleet.destinations.readyCount).toBe(2);
  });

  test("destination: one whose name resolves later becomes ready then, and tells who waits", () => {
    using fleet = new FakeFleet([{ addresses: [] }]);
    using other = new FakeFleet([{}]);
    let pulls = 0;
    fleet.destinations.onReady = () => (pulls += 1);
    expect(fleet.destinations.take(0)).toBeNull();
    fleet.destinations.setAddresses(only(fleet), only(other).addresses);
    expect([pulls, fleet.destinations.take(0)?.name]).toEqual([1, "d0"]);
    fleet.destinations.setAddresses(only(fleet), []);
    expect([pulls, fleet.destinations.take(0)]).toEqual([1, null]);
  });
});
