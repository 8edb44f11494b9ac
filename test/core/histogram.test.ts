import { describe, expect, test } from "bun:test";
import {
  bucketEdge,
  Histogram,
  histogramBucketCount,
  histogramNumberCount,
  sizeScale,
} from "../../src/core/histogram.ts";
import { withSeed } from "../wait.ts";

const widthMax = 2 ** (1 / 4); // 1.19

function filled(times: readonly number[]): Histogram {
  const histogram = new Histogram(new Float64Array(histogramNumberCount));
  for (const ms of times) histogram.add(ms);
  return histogram;
}

describe("histogram", () => {
  test("histogram: a time is told within 19 %, from a microsecond to an hour", () =>
    withSeed((random) => {
      for (let n = 0; n < 20_000; n += 1) {
        const ms = 0.001 * 3_600_000_000 ** random.next();
        const told = filled([ms]).quantile(0.5) ?? 0;
        expect(told).toBeGreaterThanOrEqual(ms * (1 - 1e-9));
        expect(told).toBeLessThanOrEqual(ms * widthMax * (1 + 1e-9));
      }
    }));

  test("histogram: quantiles of a known sample", () => {
    const histogram = filled(Array.from({ length: 1_000 }, (_, index) => index + 1));
    for (const q of [0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
      const told = histogram.quantile(q) ?? 0;
      expect(told).toBeGreaterThanOrEqual(q * 1_000);
      expect(told).toBeLessThanOrEqual(q * 1_000 * widthMax);
    }
  });

  test("histogram: a rare long time shows in the high quantiles alone", () => {
    const histogram = filled([...Array.from({ length: 99 }, () => 1), 1_000]);
    expect(histogram.quantile(0.99)).toBeLessThan(1.2);
    expect(histogram.quantile(0.995)).toBeGreaterThan(999);
  });

  test("histogram: nothing observed is null", () => {
    expect(filled([]).quantile(0.5)).toBeNull();
  });

  test("histogram: nothing, less than nothing and no number are the shortest time", () => {
    const histogram = filled([0, -5, Number.NaN, 0.0005]);
    expect(histogram.counts[0]).toBe(4);
    expect(histogram.quantile(1)).toBe(0.001);
  });

  test("histogram: the sum is of the true values, and of several histograms together", () => {
    const [one, other] = [filled([1, 2.5]), filled([-3, Number.NaN, 4])];
    expect(one.total).toBe(3.5);
    expect(Histogram.sum([one, other]).total).toBe(7.5);
    expect(Histogram.sum([one, other]).quantile(1)).toBe(other.quantile(1));
  });

  test("histogram: a size that is an edge belongs to the bucket below it", () => {
    const sizes = new Histogram(new Float64Array(histogramNumberCount), sizeScale);
    for (const size of [0, 1, 1_024, 1_025]) sizes.add(size);
    const bucket = 4 * Math.log2(1_024);
    expect([sizes.counts[0], sizes.counts[bucket], sizes.counts[bucket + 1]]).toEqual([2, 1, 1]);
    expect(bucketEdge(bucket, sizeScale)).toBe(1_024);
    expect(sizes.total).toBe(2_050);
    expect(sizes.quantile(0.5)).toBe(1);
  });

  test("histogram: what is beyond its end falls into the last bucket", () => {
    const histogram = filled([1e12, Number.POSITIVE_INFINITY]);
    expect(histogram.counts[histogramBucketCount - 1]).toBe(2);
    expect(histogram.quantile(0.5)).toBe(bucketEdge(histogramBucketCount - 1));
    expect(bucketEdge(histogramBucketCount - 1)).toBeGreaterThan(3_600_000);
  });
});
