// Whether the balancer's memory stays where it is. The first third of a run is warm-up; what counts is how much more
// the median of the last third is than that of the middle one, per connection that came between.

import type { Violation } from "./judge.ts";

export interface MemorySample {
  readonly at: number;
  readonly kiB: number;
  readonly connectionCount: number;
}

export interface MemoryVerdict {
  readonly middleMiB: number;
  readonly lastMiB: number;
  readonly mostMiB: number;
  /** Between the middles of the two thirds. */
  readonly connectionCount: number;
  readonly limitMiB: number;
  readonly violation: Violation | null;
}

/** What a heap goes up and down by from one third of a run to the next. Each thread has one of its own. */
const noiseMiBEach = 8;
/** Below a minute all is warm-up: only the gross is seen. */
const shortNoiseMiB = 96;
const shortMs = 60_000;
/** More than so much per connection is a leak. */
const leakKiB = 0.25;

/**
 * @param heapCount the main thread's, and one of each thread beside it.
 * @returns null when there are too few samples to say anything.
 */
export function judgeMemory(
  samples: readonly MemorySample[],
  heapCount: number,
): MemoryVerdict | null {
  const [first, last] = [samples[0], samples.at(-1)];
  if (first === undefined || last === undefined || samples.length < 9) return null;
  const ms = last.at - first.at;
  const third = (number: number) =>
    samples.filter(({ at }) => {
      const part = ((at - first.at) / ms) * 3;
      return part >= number && part < number + 1;
    });
  const middle = third(1);
  const end = third(2);
  const middleMiB = median(middle.map(({ kiB }) => kiB)) / 1_024;
  const lastMiB = median(end.map(({ kiB }) => kiB)) / 1_024;
  const connectionCount =
    median(end.map((each) => each.connectionCount)) -
    median(middle.map((each) => each.connectionCount));
  const noise = ms < shortMs ? shortNoiseMiB : noiseMiBEach * heapCount;
  const limitMiB = noise + (connectionCount * leakKiB) / 1_024;
  const grownMiB = lastMiB - middleMiB;
  const text =
    `grown by ${grownMiB.toFixed(1)} MiB in ${connectionCount} connections, ` +
    `${limitMiB.toFixed(1)} MiB is the most`;
  return {
    middleMiB,
    lastMiB,
    mostMiB: Math.max(...samples.map(({ kiB }) => kiB)) / 1_024,
    connectionCount,
    limitMiB,
    violation: grownMiB > limitMiB ? { kind: "memory", text } : null,
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}
