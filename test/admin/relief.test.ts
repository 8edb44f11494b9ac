// What is done when descriptors run out: by turns that a test decides, for the fault lab does it in earnest.

import { expect, test } from "bun:test";
import { Relief } from "../../src/admin/relief.ts";
import { until } from "../net.ts";

test("relief: cuts while descriptors run out, tells it once, and opens again what could not be", async () => {
  const cuts: boolean[] = [];
  const told: string[] = [];
  let isShort = false;
  let lookCount = 0;
  const relief = new Relief(
    () => {
      cuts.push(cuts.length > 0); // the first cut finds no descriptor to listen by
      if (cuts.length === 1) isShort = false;
      return cuts.length > 1;
    },
    (line) => told.push(line),
    () => {
      lookCount += 1;
      return isShort;
    },
  );
  await until(() => lookCount > 0, "a look");
  expect(cuts).toEqual([]);
  isShort = true;
  await until(() => cuts.length === 2, "it listens again");
  const seen = lookCount;
  await until(() => lookCount > seen, "another look");
  expect([cuts.length, told.length]).toEqual([2, 1]);
  relief.close();
});
