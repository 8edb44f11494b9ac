// Replays a recorded trace through a balancer, and compares what comes out with the central queue of that trace.

import { join } from "node:path";
import { centralQueue, encodeTrace } from "../central-queue.ts";
import type { Trace } from "../central-queue.ts";
import type { Bench } from "../row.ts";
import { quantile } from "../stats.ts";

/** Arrivals that fill an empty system say little. */
const LEFT_OUT_SHARE = 0.1;

/** @returns quantiles over those of the central queue, and the queue's response times in ns. */
export async function replayTrace(bench: Bench, port: number, trace: Trace, destinations: number) {
  const path = join(bench.load.directory, "trace");
  await Bun.write(path, encodeTrace(trace).buffer);
  const { responseNs, lateP50Us, lateP99Us, count } = await bench.load.replay(port, path);
  const central = settled(centralQueue(trace, destinations));
  const seen = settled(responseNs);
  const ratio = (share: number) => quantile(seen, share) / quantile(central, share);
  const values = {
    p50Ratio: ratio(0.5),
    p90Ratio: ratio(0.9),
    p99Ratio: ratio(0.99),
    meanRatio: mean(seen) / mean(central),
    p99Ms: quantile(seen, 0.99) / 1e6,
    lateP50Us,
    lateP99Us,
    count,
  };
  return { values, central };
}

/** Without the first arrivals. */
export function settled(values: Float64Array): Float64Array {
  return values.subarray(Math.floor(values.length * LEFT_OUT_SHARE));
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
