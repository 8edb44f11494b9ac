// The theory: what one central queue, and each way of pushing, makes of a recorded trace.
//
// Every destination serves one connection at a time, in order of arrival. A response time is the
// departure less the arrival. Nothing here costs time but the service itself, so this is the limit.

import { randomFrom } from "./stats.ts";
import type { Random } from "./stats.ts";

/** Arrival and service times in nanoseconds, by arrival. */
export interface Trace {
  readonly atNs: Float64Array;
  readonly serviceNs: Float64Array;
}

export type Service = "exponential" | "lognormal";
export type Push = "round-robin" | "random" | "least-connections";

export interface TraceOptions {
  readonly service: Service;
  readonly meanNs: number;
  /** Share of the destinations' whole capacity that is asked for. */
  readonly load: number;
  readonly destinationCount: number;
  readonly count: number;
  readonly seed: number;
}

/** Poisson arrivals; service times exponential, or lognormal with sigma 1 (squared variation 1.7). */
export function makeTrace(options: TraceOptions): Trace {
  const random = randomFrom(options.seed);
  const betweenNs = options.meanNs / (options.load * options.destinationCount);
  const atNs = new Float64Array(options.count);
  const serviceNs = new Float64Array(options.count);
  let at = 0;
  for (let index = 0; index < options.count; index++) {
    at += betweenNs * exponential(random);
    atNs[index] = Math.round(at);
    const share = options.service === "exponential" ? exponential(random) : lognormal(random);
    serviceNs[index] = Math.round(options.meanNs * share);
  }
  return { atNs, serviceNs };
}

/** Pairs of unsigned 64-bit numbers, as the load program reads them. */
export function encodeTrace(trace: Trace): BigUint64Array {
  const pairs = new BigUint64Array(trace.atNs.length * 2);
  trace.atNs.forEach((at, index) => {
    pairs[2 * index] = BigInt(at);
    pairs[2 * index + 1] = BigInt(trace.serviceNs[index] ?? 0);
  });
  return pairs;
}

/**
 * One queue for all: the oldest arrival takes the first destination to be free.
 * @param gapNs how long a destination stays unusable after each connection; 0 is the limit.
 * @returns response times in nanoseconds, by arrival.
 */
export function centralQueue(trace: Trace, destinationCount: number, gapNs = 0): Float64Array {
  const freeAt = new Float64Array(destinationCount);
  return trace.atNs.map((at, index) => {
    const first = indexOfLeast(freeAt);
    const departed = Math.max(at, freeAt[first] ?? 0) + (trace.serviceNs[index] ?? 0);
    freeAt[first] = departed + gapNs;
    return departed - at;
  });
}

/** Each arrival is pushed at once to one destination, and waits in that destination's own queue. */
export function pushedQueues(trace: Trace, destinationCount: number, push: Push): Float64Array {
  const random = randomFrom(1);
  const freeAt = new Float64Array(destinationCount);
  const departures = Array.from({ length: destinationCount }, (): number[] => []);
  return trace.atNs.map((at, index) => {
    for (const held of departures) {
      while (held[0] !== undefined && held[0] <= at) held.shift();
    }
    const chosen = choose(push, index, departures, random);
    const departed = Math.max(at, freeAt[chosen] ?? 0) + (trace.serviceNs[index] ?? 0);
    freeAt[chosen] = departed;
    departures[chosen]?.push(departed);
    return departed - at;
  });
}

/** Mean response over mean service of an M/M/k queue. Source: Erlang's second formula. */
export function erlangMeanResponse(load: number, destinationCount: number): number {
  const offered = load * destinationCount;
  let blocked = 1;
  for (let count = 1; count <= destinationCount; count++) {
    blocked = (offered * blocked) / (count + offered * blocked);
  }
  const waits = blocked / (1 - load * (1 - blocked));
  return 1 + waits / (destinationCount * (1 - load));
}

function choose(
  push: Push,
  index: number,
  departures: readonly (readonly number[])[],
  random: Random,
): number {
  if (push === "round-robin") return index % departures.length;
  if (push === "random") return Math.floor(random() * departures.length);
  const least = Math.min(...departures.map((held) => held.length));
  const equals = departures.flatMap((held, at) => (held.length === least ? [at] : []));
  return equals[Math.floor(random() * equals.length)] ?? 0;
}

function indexOfLeast(values: Float64Array): number {
  let least = 0;
  for (let index = 1; index < values.length; index++) {
    if ((values[index] ?? 0) < (values[least] ?? 0)) least = index;
  }
  return least;
}

function exponential(random: Random): number {
  return -Math.log(1 - random());
}

/** Mean 1: a normal number by Box and Muller's way, shifted by half its variance. */
function lognormal(random: Random): number {
  const normal = Math.sqrt(2 * exponential(random)) * Math.cos(2 * Math.PI * random());
  return Math.exp(normal - 0.5);
}
