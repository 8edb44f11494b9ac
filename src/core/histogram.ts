// Times by their logarithm: four buckets to an octave, from 1 µs to over an hour, in memory that threads can share.

/** Buckets of one histogram. */
export const histogramBucketCount = 128;

/** The bucket of a time in ms: within 19 % of its true value. */
function bucketOf(ms: number): number {
  const us = ms * 1000;
  if (!(us >= 1)) return 0;
  return Math.min(histogramBucketCount - 1, 1 + Math.floor(Math.log2(us) * 4));
}

/** The upper edge of a bucket, in ms. */
export function bucketEdgeMs(bucket: number): number {
  return 2 ** (bucket / 4) / 1000;
}

/** One writer; readers may look at any time. */
export class Histogram {
  /** Observations by bucket. */
  readonly counts: Float64Array;

  /** @param counts `histogramBucketCount` numbers on the board. */
  constructor(counts: Float64Array) {
    this.counts = counts;
  }

  /** One of all observations of several. */
  static sum(histograms: readonly Histogram[]): Histogram {
    const counts = new Float64Array(histogramBucketCount);
    for (const each of histograms) {
      for (let n = 0; n < counts.length; n += 1)
        counts[n] = (counts[n] ?? 0) + (each.counts[n] ?? 0);
    }
    return new Histogram(counts);
  }

  add(ms: number): void {
    const bucket = bucketOf(ms);
    this.counts[bucket] = (this.counts[bucket] ?? 0) + 1;
  }

  /** @returns the upper edge in ms of the bucket where the quantile lies, or null when nothing was observed. */
  quantile(q: number): number | null {
    let total = 0;
    for (const count of this.counts) total += count;
    if (total === 0) return null;
    let rank = Math.ceil(q * total);
    for (let bucket = 0; bucket < this.counts.length; bucket += 1) {
      rank -= this.counts[bucket] ?? 0;
      if (rank <= 0) return bucketEdgeMs(bucket);
    }
    return bucketEdgeMs(this.counts.length - 1);
  }
}
