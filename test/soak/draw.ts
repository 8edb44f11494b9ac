// Draws the courses of a soak: what kinds of connections there are, how often, how large, how slow.

import type { Random } from "../wait.ts";
import { period } from "./pattern.ts";
import type { Course, Kind, Role, Stretch } from "./course.ts";

const KiB = 1_024;

/** How often each kind comes, in a thousand; long ones are kept apart. */
const shares: Readonly<Record<Exclude<Kind, "long">, number>> = {
  short: 540,
  echo: 60,
  bulk: 10,
  "client-ends-first": 60,
  "destination-ends-first": 60,
  "client-resets": 60,
  "destination-resets": 60,
  slow: 40,
  leaving: 50,
  silent: 20,
  scan: 40,
};

/** A kind, as often as its share says. */
export function drawKind(random: Random): Kind {
  let left = random.int(1_000);
  for (const [kind, share] of Object.entries(shares)) {
    left -= share;
    if (left < 0) return kind as Kind; // a key of `shares`
  }
  return "short";
}

/** @param longMs how long a long one lasts. */
export function drawCourse(random: Random, id: number, kind: Kind, longMs = 0): Course {
  const plain: Course = {
    id,
    kind,
    up: stretch(random, 1, 400),
    down: stretch(random, 1, 4_000),
    asks: "at once",
    answers: "after up",
    clientEnds: pick(random, ["when sent", "after answer", "after end"]),
    destinationEnds: "when sent",
    cut: null,
    slow: null,
    leaves: null,
    mute: false,
  };
  return { ...plain, ...draws[kind](random, plain, longMs) };
}

type Draw = (random: Random, plain: Course, longMs: number) => Partial<Course>;

const draws: Readonly<Record<Kind, Draw>> = {
  short: () => ({}),
  echo: (random) => inStep(random, 1 + random.int(20), 1 + random.int(2_000), 1),
  long: (random, _, longMs) => {
    const ms = pick(random, [100, 500, 2_000, 10_000]);
    const count = Math.max(1, Math.floor((longMs * 0.9) / ms));
    return inStep(random, count, 1 + random.int(8 * KiB), ms);
  },
  bulk: (random) => ({
    up: stretch(random, 512 * KiB, 4_096 * KiB),
    down: stretch(random, 512 * KiB, 4_096 * KiB),
    answers: "at once",
    ...neverBoth(random),
  }),
  "client-ends-first": (random) => ({
    up: stretch(random, 0, 64 * KiB),
    down: stretch(random, 0, 64 * KiB),
    answers: "after end",
    clientEnds: "when sent",
  }),
  "destination-ends-first": (random) => ({
    up: stretch(random, 0, 64 * KiB),
    down: stretch(random, 0, 64 * KiB),
    asks: pick(random, ["at once", "after end"]),
    answers: "at once",
    clientEnds: "after end",
  }),
  "client-resets": (random) => cutBy(random, "client"),
  "destination-resets": (random) => cutBy(random, "destination"),
  slow: (random) => slowly(random),
  leaving: (random) => ({
    up: stretch(random, 0, 32 * KiB),
    leaves: { ms: random.int(pick(random, [3, 30, 300])), how: pick(random, ["reset", "close"]) },
    answers: pick(random, ["at once", "after end"]),
    clientEnds: "after end",
  }),
  silent: (random) => ({
    mute: true,
    leaves: { ms: 50 + random.int(2_000), how: pick(random, ["reset", "close", "end"]) },
  }),
  scan: (random) => ({
    mute: true,
    leaves: { ms: random.int(2), how: pick(random, ["reset", "close", "end"]) },
  }),
};

/** Either side may wait for the other's end, not both. */
function neverBoth(random: Random): Partial<Course> {
  return pick<Partial<Course>>(random, [
    { clientEnds: "when sent", destinationEnds: "when sent" },
    { clientEnds: "after end", destinationEnds: "when sent" },
    { clientEnds: "when sent", destinationEnds: "after end" },
  ]);
}

function inStep(random: Random, count: number, size: number, ms: number): Partial<Course> {
  const both = count * size;
  return {
    up: stretch(random, both, both),
    down: stretch(random, both, both),
    asks: "in step",
    answers: "in step",
    slow: { who: "client", does: "writes", size, ms },
    ...neverBoth(random),
  };
}

function cutBy(random: Random, by: Role): Partial<Course> {
  const sizeMax = pick(random, [16, 4 * KiB, 256 * KiB]);
  const up = stretch(random, 1, sizeMax);
  const down = stretch(random, 1, sizeMax);
  const answers = pick(random, ["at once", "after up"] as const);
  return { up, down, answers, cut: { by, at: random.int(up.size + down.size) } };
}

/** From a fifth of a second to a second and a half, in pieces. */
function slowly(random: Random): Partial<Course> {
  const pieces = 10 + random.int(60);
  const size = 1 + random.int(pick(random, [10, 1_000, 20 * KiB]));
  const all = pieces * size;
  const who = pick(random, ["client", "destination"] as const);
  const does = pick(random, ["reads", "writes"] as const);
  const isUp = (who === "client") === (does === "writes");
  const large = stretch(random, all, all);
  return {
    ...(isUp ? { up: large } : { down: large }),
    answers: pick(random, ["at once", "after up"]),
    slow: { who, does, size, ms: 20 },
  };
}

function stretch(random: Random, sizeMin: number, sizeMax: number): Stretch {
  return { start: random.int(period), size: sizeMin + random.int(sizeMax - sizeMin + 1) };
}

function pick<const T>(random: Random, choices: readonly [T, ...T[]]): T {
  return choices[random.int(choices.length)] ?? choices[0];
}
