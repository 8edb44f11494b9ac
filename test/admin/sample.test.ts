// Samples are the difference of two looks, and nothing else.

import { describe, expect, test } from "bun:test";
import { sampleOf } from "../../src/admin/sample.ts";
import { Sampler } from "../../src/admin/sampler.ts";
import { cumulated, histogramMetrics } from "../../src/admin/metric-rows.ts";
import type { ProgramStatus } from "../../src/control/steering.ts";
import {
  bucketEdge,
  histogramBucketCount,
  sizeScale,
  timeScale,
} from "../../src/core/histogram.ts";
import { statusWith } from "./wide.ts";

/** A status in which `change` is so and all else the same. */
function changed(status: ProgramStatus, change: object): ProgramStatus {
  const [listener] = status.listeners;
  if (listener === undefined) throw new Error("no listener");
  return { ...status, listeners: [{ ...listener, ...change }] };
}

describe("samples", () => {
  test("sample: rates are of the time that has passed, refused ones are a part of the closed", () => {
    const before = statusWith(2);
    const [listener] = before.listeners;
    const after = changed(before, {
      accepted: 30,
      bytesUp: 1_000,
      closed: { ...listener?.closed, done: 10, "queue-full": 4, denied: 2 },
    });
    const [main] = sampleOf(before, after, 5, 2_000).listeners;
    expect(main).toMatchObject({ accepted: 15, closed: 8, refused: 3, bytesUpPerSecond: 500 });
  });

  test("sample: quantiles are of what came since, not of all times", () => {
    const before = changed(
      statusWith(1),
      histogram("connect", [
        [1, 90],
        [8, 10],
      ]),
    );
    const after = changed(
      before,
      histogram("connect", [
        [1, 90],
        [8, 20],
        [64, 1],
      ]),
    );
    const [main] = sampleOf(before, after, 0, 1_000).listeners;
    expect(main?.times.connect).toEqual({ p50: 8, p90: 8, p99: 64 });
    expect(main?.times.queue).toBeNull();
    expect(sampleOf(after, after, 0, 1_000).listeners[0]?.times.connect).toBeNull();
  });

  test("sample: a destination that has come counts from nothing, one that began anew is no minus", () => {
    const before = statusWith(2, 100);
    const after = statusWith(3, 40);
    const [main] = sampleOf(before, after, 0, 1_000).listeners;
    expect(main?.destinations.connectionsPerSecond).toEqual([40, 40, 40]);
    expect(main?.destinations.name.length).toBe(3);
  });

  test("metrics: every edge is an edge of the histogram, so that the counts are exact", () => {
    for (const { name, edges, of } of histogramMetrics) {
      const scale = of === "size" ? sizeScale : timeScale;
      const known = Array.from({ length: histogramBucketCount - 1 }, (_, n) =>
        bucketEdge(n, scale),
      );
      for (const edge of edges) {
        const isKnown = known.some((each) => Math.abs(each / edge - 1) < 1e-9);
        expect([name, edge, isKnown]).toEqual([name, edge, true]);
      }
      const each = known.map((edge): [number, number] => [edge, 1]);
      const status = { count: known.length, sum: 0, buckets: each };
      const counts = edges.map((edge) => known.filter((one) => one <= edge * (1 + 1e-9)).length);
      expect(cumulated(status, edges)).toEqual(counts);
    }
  });

  test("sampler: where a look is dear none is taken while nobody listens", async () => {
    let lookCount = 0;
    const status = statusWith(1);
    const sampler = new Sampler(() => {
      lookCount += 1;
      const until = performance.now() + 12;
      while (performance.now() < until);
      return status;
    }, 10);
    try {
      const told: number[] = [];
      const end = sampler.subscribe(({ at }) => told.push(at));
      await Bun.sleep(0);
      while (told.length < 3) await Bun.sleep(5);
      end();
      const before = lookCount;
      await Bun.sleep(60);
      expect(lookCount - before).toBeLessThanOrEqual(1);
      sampler.subscribe(({ at }) => told.push(at));
      while (told.length < 5) await Bun.sleep(5);
      expect(lookCount).toBeGreaterThan(before);
    } finally {
      sampler.close();
    }
  });
});

function histogram(name: string, buckets: readonly [number, number][]): object {
  const count = buckets.reduce((sum, [, each]) => sum + each, 0);
  const none = { count: 0, sum: 0, buckets: [] };
  const all = {
    queue: none,
    connect: none,
    firstByte: none,
    session: none,
    handOff: none,
    size: none,
  };
  return { histograms: { ...all, [name]: { count, sum: count, buckets } } };
}
