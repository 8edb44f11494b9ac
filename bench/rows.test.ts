// Every row in its small form: it runs, counts what it should, and nothing fails. Never how fast.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { environment } from "./environment.ts";
import { SMALL, openBench, runRow } from "./harness.ts";
import type { OpenBench } from "./harness.ts";
import { renderTable } from "./report.ts";
import { ROWS } from "./rows/index.ts";

const ROW_MS = 60_000;
let bench: OpenBench;

beforeAll(async () => {
  bench = { ...(await openBench(SMALL)), say: () => {} };
});

afterAll(() => bench.load.close());

test.each(ROWS.map((row) => [row.name, row] as const))(
  "%s: runs, counts, fails nowhere",
  async (name, row) => {
    const result = await runRow(bench, row, environment());
    for (const line of result.skipped) process.stdout.write(`${name}: ${line}\n`);
    if (result.blocked) return;

    expect(result.samples).not.toBeEmpty();
    // Memory may shrink while pairs are opened: so little of it is measured here.
    const wrong = result.samples.filter(({ values }) =>
      Object.entries(values).some(
        ([key, value]) => !Number.isFinite(value) || (value < 0 && !/[KM]iB$/.test(key)),
      ),
    );
    expect(wrong).toEqual([]);
    for (const { key } of result.measures) {
      if (key === "full") continue; // a small transfer may need no collection of the whole heap
      // Of memory any figure is one: it may shrink, as above.
      const least = /[KM]iB$/.test(key) ? Number.NEGATIVE_INFINITY : 0;
      expect(result.samples.some(({ values }) => (values[key] ?? least) > least)).toBeTrue();
    }
    // Each condition has been measured with the same programs.
    const conditions = Map.groupBy(result.samples, ({ condition }) => condition);
    const programs = [...conditions.values()].map((samples) =>
      samples.map((each) => each.program).toSorted(),
    );
    expect(new Set(programs.map(String)).size).toBe(1);
    expect(renderTable(result).split("\n").length).toBeGreaterThan(2);
  },
  ROW_MS,
);
