// The short form of the storm; `npm run queue` is the long one, with a million connections.

import { expect, test } from "bun:test";
import { withSeed } from "../wait.ts";
import { storm } from "./storm.ts";

test.each([
  [1, "bun"],
  [3, "libc"],
] as const)(
  "storm: 10,000 connections and every fault keep every rule, %d threads, engine %s",
  (threadCount, engine) =>
    withSeed(async ({ seed }) => {
      const count = 10_000;
      const summary = await storm({ count, seed, threadCount, engine, queueMs: 1_000 });
      expect(summary.violations).toEqual([]);
      // That it was one.
      const { connections, ended, vain, kills, waitedLong } = summary;
      expect(connections).toBe(count);
      expect(ended).toMatchObject({
        done: expect.any(Number),
        "client-left": expect.any(Number),
        "client-reset": expect.any(Number),
        "destination-reset": expect.any(Number),
        "queue-timeout": expect.any(Number),
        "answer-timeout": expect.any(Number),
      });
      expect(Math.min(vain, kills, waitedLong)).toBeGreaterThan(0);
    }),
);
