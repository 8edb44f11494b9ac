import { expect, test } from "bun:test";
import {
  centralQueue,
  encodeTrace,
  erlangMeanResponse,
  makeTrace,
  pushedQueues,
} from "./central-queue.ts";
import type { Trace } from "./central-queue.ts";

const COUNT = 400_000;

test.each([0.5, 0.7, 0.8, 0.9])("central queue: mean response is Erlang's, load %p", (load) => {
  const trace = exponentialTrace(load);
  expect(mean(centralQueue(trace, 4)) / erlangMeanResponse(load, 4)).toBeWithin(0.96, 1.04);
});

test.each([0.5, 0.8])("pushed queues: random is one M/M/1 a destination, load %p", (load) => {
  const trace = exponentialTrace(load);
  expect(mean(pushedQueues(trace, 4, "random")) * (1 - load)).toBeWithin(0.95, 1.05);
});

test("central queue: a hand-off gap costs, and nothing beats no gap", () => {
  const trace = exponentialTrace(0.8);
  const limit = mean(centralQueue(trace, 4));
  expect(mean(centralQueue(trace, 4, 0.05))).toBeGreaterThan(limit);
  expect(mean(pushedQueues(trace, 4, "least-connections"))).toBeGreaterThan(limit);
  expect(mean(pushedQueues(trace, 4, "round-robin"))).toBeGreaterThan(limit);
});

test("central queue: the oldest arrival takes the first destination to be free", () => {
  const trace: Trace = {
    atNs: Float64Array.of(0, 1, 2, 3),
    serviceNs: Float64Array.of(10, 4, 1, 1),
  };
  expect([...centralQueue(trace, 2)]).toEqual([10, 4, 4, 4]);
  expect([...pushedQueues(trace, 2, "round-robin")]).toEqual([10, 4, 9, 3]);
});

test("trace: the same seed makes the same trace, in whole nanoseconds", () => {
  const options = { service: "lognormal", meanNs: 5e6, load: 0.8, destinationCount: 4 } as const;
  const first = makeTrace({ ...options, count: 1000, seed: 7 });
  expect(first).toEqual(makeTrace({ ...options, count: 1000, seed: 7 }));
  expect(first).not.toEqual(makeTrace({ ...options, count: 1000, seed: 8 }));
  expect(Number(encodeTrace(first)[3])).toBe(first.serviceNs[1] ?? NaN);
});

// A mean service of 1e9 with times rounded to whole units stands for 1 with nine digits.
function exponentialTrace(load: number): Trace {
  const trace = makeTrace({
    service: "exponential",
    meanNs: 1e9,
    load,
    destinationCount: 4,
    count: COUNT,
    seed: 3,
  });
  return {
    atNs: trace.atNs.map((at) => at / 1e9),
    serviceNs: trace.serviceNs.map((service) => service / 1e9),
  };
}

function mean(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
