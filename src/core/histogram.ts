// Times and sizes by their logarithm: four buckets to an octave, from 1 µs to over an hour, or from 1 byte to 3.6 GB,
// in memory that threads can share.

/** Buckets of one histogram; the last one has no upper edge. */
export const histogramBucketCount = 128;
/** Numbers of one histogram: its buckets, and the sum of what was observed. */
export const histogramNumberCount = histogramBucketCount + 1;
/** A time in ms is filed by its whole µs, a size by its bytes. */
export const timeScale = 1_000;
export const sizeScale = 1;

/** The bucket of a number of µs or bytes: within 19 % of its true value. An edge belongs to the bucket below it. */
function bucketOf(units: number): number {
  if (!(units > 1)) return 0;
  return Math.min(histogramBucketCount - 1, Math.ceil(Math.log2(units) * 4));
}

/** The upper edge of a bucket: in ms, or in bytes with `sizeScale`. */
export function bucketEdge(bucket: number, scale: number = timeScale): number {
  return 2 ** (bucket / 4) / scale;
}

/** One writer; readers may look at any time. */
export class Histogram {
  /** Observations by bucket. */
  readonly counts: Float64Array;
  /** The same, and their sum behind them: all that it has on the board. */
  readonly numbers: Float64Array;
  private readonly scale: number;

  /** @param numbers `histogramNumberCount` numbers on the board. @param scale `timeScale` or `sizeScale`. */
  constructor(numbers: Float64Array, scale: number = timeScale) {
    this.numbers = numbers;
    this.counts = numbers.subarray(0, histogramBucketCount);
    this.scale = scale;
  }

  /** One of all observations of several of one scale. */
  static sum(histograms: readonly Histogram[]): Histogram {
    const numbers = new Float64Array(histogramNumberCount);
    for (const each of histograms) {
      for (let n = 0; n < numbers.length; n += 1)
        numbers[n] = (numbers[n] ?? 0) + (each.numbers[n] ?? 0);
    }
    return new Histogram(numbers, histograms[0]?.scale);
  }

  /** Of all observations, in ms or bytes. */
  get total(): number {
    return this.numbers[histogramBucketCount] ?? 0;
  }

  /** @param value in ms or bytes; what is below 0 or no number counts as 0. */
  add(value: number): void {
    const { numbers } = this;
    const bucket = bucketOf(value * this.scale);
    numbers[bucket] = (numbers[bucket] ?? 0) + 1;
    if (value > 0) numbers[histogramBucketCount] = (numbers[histogramBucketCount] ?? 0) + value;
  }

  /** @returns the upper edge of the bucket where the quantile lies, or null when nothing was observed. */
  quantile(q: number): number | null {
    let total = 0;
    for (const count of this.counts) total += count;
    if (total === 0) return null;
    let rank = Math.ceil(q * total);
    for (let bucket = 0; bucket < this.counts.length; bucket += 1) {
      rank -= this.counts[bucket] ?? 0;
      if (rank <= 0) return bucketEdge(bucket, this.scale);
    }
    return bucketEdge(this.counts.length - 1, this.scale);
  }
}
