// Medians, quantiles and the interval of a median, and a generator of random numbers that repeats itself.

export type Random = () => number;

export interface Interval {
  readonly low: number;
  readonly high: number;
}

/** Doubles in [0, 1) from a small counter-driven generator (sfc32): the same seed, the same numbers. */
export function randomFrom(seed: number): Random {
  let a = 0x9e3779b9;
  let b = seed | 0;
  let c = 0x243f6a88;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  for (let warm = 0; warm < 16; warm++) next();
  return () => (next() * 0x200000 + (next() >>> 11)) / 2 ** 53;
}

/** The value below which `share` of the values lie. NaN when there are none. */
export function quantile(values: Iterable<number>, share: number): number {
  const sorted = Float64Array.from(values).toSorted();
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
}

export function median(values: Iterable<number>): number {
  const sorted = Float64Array.from(values).toSorted();
  const upper = sorted[sorted.length >> 1] ?? NaN;
  if (sorted.length % 2 === 1) return upper;
  return (upper + (sorted[(sorted.length >> 1) - 1] ?? NaN)) / 2;
}

/** The middle 95 % of the medians of 2,000 samples drawn again from these values. */
export function medianInterval(values: readonly number[], seed = 1): Interval {
  const random = randomFrom(seed);
  const medians = Array.from({ length: 2000 }, () =>
    median(values.map(() => values[Math.floor(random() * values.length)] ?? NaN)),
  );
  return { low: quantile(medians, 0.025), high: quantile(medians, 0.975) };
}
