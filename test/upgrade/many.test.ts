// The small version of `npm run upgrades`: no connection is lost while one process takes over from the other.

import { expect, test } from "bun:test";
import { underLoad } from "./load.ts";
import { upgradeWays } from "./many.ts";

test.each(Object.entries(upgradeWays))(
  "upgrade: under load no connection is lost, pairs go on, %s",
  async (_, options) => {
    const outcome = await underLoad({ options, count: 800, upgrades: 3 });
    expect(outcome.faults).toEqual([]);
    expect([outcome.pairs, outcome.pairsWell]).toEqual([4, 4]);
    expect(outcome.served).toBeGreaterThanOrEqual(800);
    expect(outcome.brokenLines).toEqual([]);
    expect(outcome.lines).toBe(outcome.served + outcome.pairs);
  },
  60_000,
);
