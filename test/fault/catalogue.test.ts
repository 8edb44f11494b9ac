// Every fault of the catalogue (perf-reliability.md, section 6) has its test.

import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

const faultCount = 52;
const root = join(import.meta.dir, "../..");

/** Faults whose tests stand beside what they are about. */
const elsewhere: ReadonlyMap<number, string> = new Map([
  [24, "test/e2e/proxy-matrix.test.ts"],
  [27, "test/e2e/route-matrix.test.ts"],
  [36, "test/control/check.test.ts"],
  [40, "test/e2e/thread-death.test.ts"],
  [52, "test/soak/soak.test.ts"],
]);

test("fault catalogue: every fault has a test", () => {
  const glob = new Bun.Glob("*.test.ts");
  const here = new Set<number>();
  for (const file of glob.scanSync(import.meta.dir)) {
    const text = readFileSync(join(import.meta.dir, file), "utf8");
    for (const [, number] of text.matchAll(/^ *fault\(\s*(\d+),/gm)) here.add(Number(number));
  }
  const places = Array.from({ length: faultCount }, (_, index) => {
    const number = index + 1;
    const count = [here, elsewhere].filter((each) => each.has(number)).length;
    return { number, count };
  });
  expect(places.filter(({ count }) => count !== 1)).toEqual([]);
  for (const file of elsewhere.values()) expect(existsSync(join(root, file))).toBe(true);
});
