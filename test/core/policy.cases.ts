// What every policy must do, whatever its way of choosing: one suite of cases over all of them.
import { describe, expect, test } from "bun:test";
import type { Destination } from "../../src/core/destination.ts";
import type { PolicyName } from "../../src/core/policy.ts";
import { withSeed } from "../wait.ts";
import { FakeFleet } from "./fake.ts";

/** Times each name was chosen. */
export function tally(names: readonly (string | undefined)[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name ?? "nobody"] = (counts[name ?? "nobody"] ?? 0) + 1;
  return counts;
}

/** The names of `count` destinations taken one after the other, each held. */
export function taken(fleet: FakeFleet, count: number, key = 0): (string | undefined)[] {
  return Array.from({ length: count }, (_, n) => fleet.destinations.take(key + n)?.name);
}

export function policyCases(policy: PolicyName): void {
  describe(`policy ${policy}`, () => {
    test(`policy ${policy}: gives out every slot and no more, then nobody`, () => {
      using fleet = new FakeFleet([{ slots: 2 }, { slots: 3 }, { slots: 1 }], policy);
      expect(tally(taken(fleet, 8))).toEqual({ d0: 2, d1: 3, d2: 1, nobody: 2 });
    });

    test(`policy ${policy}: nobody when all are out`, () => {
      using fleet = new FakeFleet([{}, {}], policy);
      const { list } = fleet.destinations;
      for (const each of list) {
        for (let n = 0; n < 3; n += 1) fleet.destinations.onFailure(each, "ECONNREFUSED", n, false);
      }
      expect(fleet.destinations.take(1)).toBeNull();
    });

    test(`policy ${policy}: one without an address is never chosen`, () => {
      using fleet = new FakeFleet([{ addresses: [] }, {}, { addresses: [] }], policy);
      expect(tally(taken(fleet, 50))).toEqual({ d1: 50 });
    });

    test(`policy ${policy}: weights are respected within a tenth, connections held`, () => {
      const weights = [1, 2, 5];
      using fleet = new FakeFleet(
        weights.map((weight) => ({ weight })),
        policy,
      );
      const counts = tally(taken(fleet, 16_000));
      weights.forEach((weight, row) => {
        const share = (counts[`d${row}`] ?? 0) / 16_000;
        // The points of one destination on the circle spread by about 1/√160.
        const tolerance = policy === "hash" ? 0.25 : 0.1;
        expect(share / (weight / 8)).toBeGreaterThan(1 - tolerance);
        expect(share / (weight / 8)).toBeLessThan(1 + tolerance);
      });
    });

    test(`policy ${policy}: never one that is not ready, whatever comes and goes`, () =>
      withSeed((random) => {
        const plans = Array.from({ length: 9 }, (_, row) => ({
          slots: row % 4,
          weight: 1 + row,
          backup: row > 6,
        }));
        using fleet = new FakeFleet(plans, policy);
        const { destinations, board } = fleet;
        const held: Destination[] = [];
        for (let step = 0; step < 5_000; step += 1) {
          const before = [...board.used];
          const destination = destinations.take(random.int(2 ** 31));
          if (destination === null) {
            expect(free(fleet, false)).toEqual([]);
          } else {
            const { row, backup } = destination;
            const slots = board.slots[row] ?? 0;
            expect(before[row]).toBe((board.used[row] ?? 0) - 1);
            expect(slots === 0 || (board.used[row] ?? 0) <= slots).toBe(true);
            if (backup) expect(free(fleet, true)).toEqual([]);
            held.push(destination);
          }
          if (held.length > 20 || random.int(2) === 0) {
            const [gone] = held.splice(random.int(held.length), 1);
            if (gone !== undefined) end(fleet, gone, random.int(4));
          }
          if (random.int(3) === 0) fleet.advance(random.int(200));
        }
        for (const each of held) destinations.release(each);
        expect([...board.used]).toEqual(plans.map(() => 0));
      }));
  });
}

/** A held connection ends: connected, failed, undecided. */
function end({ destinations, clock }: FakeFleet, destination: Destination, how: number): void {
  if (how < 2) destinations.onSuccess(destination, 0);
  else if (how === 2) destinations.onFailure(destination, "ECONNREFUSED", clock.ms, true);
  else destinations.onUndecided(destination);
  destinations.release(destination);
}

/** Names of those that could take a client though nobody was chosen; the backups count only with no primary up. */
function free({ board, destinations }: FakeFleet, primaryOnly: boolean): string[] {
  const states = [...board.state];
  const primaryIsUp = destinations.list.some((each) => !each.backup && (states[each.row] ?? 0) < 2);
  return destinations.list
    .filter(({ row, backup }) => {
      if (backup && (primaryOnly || primaryIsUp)) return false;
      const slots = board.slots[row] ?? 0;
      const isUp = states[row] === 0 || states[row] === 3;
      return isUp && (slots === 0 || (board.used[row] ?? 0) < slots);
    })
    .map((each) => each.name);
}
