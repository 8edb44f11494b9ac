// User memory of one idle pair.

import { PLAIN } from "../programs.ts";
import type { Child } from "../children.ts";
import { memory } from "../proc.ts";
import { interleave, withProgram } from "../row.ts";
import type { Row } from "../row.ts";

const SETTLE_MS = 500;
const SETTLE_TRIES = 8;
/** Two readings this near to each other are one value. */
const STEADY_KIB = 32;

export const idle: Row = {
  name: "idle",
  title: "Memory of idle pairs",
  method:
    "PSS without file-backed pages (the program's own code is shared with whoever runs it) of a fresh balancer with 0, 1,000 and 2,000 pairs that have each carried one request; the slope over the three points.",
  needs: "load",
  measures: [
    { key: "pairKiB", title: "KiB a pair", digits: 2 },
    { key: "secondPairKiB", title: "of the second 1,000", digits: 2 },
    { key: "startMiB", title: "without pairs, MiB", digits: 1 },
    { key: "startAllMiB", title: "and with its own code", digits: 1 },
  ],
  limits: [
    {
      title: "idle pair, user memory",
      condition: "",
      measure: "pairKiB",
      kind: "value",
      sense: "at most",
      bound: 3.5,
      unit: "KiB",
    },
  ],
  run: async (bench) => {
    await using destinations = await bench.load.serve(4, "keep");
    const setting = { ...PLAIN, ports: destinations.ports };
    const step = bench.small ? 200 : 1000;
    return await interleave(bench, bench.programs, bench.small ? 1 : 5, "", (name) =>
      withProgram(bench, name, setting, async (running) => {
        const start = await settledKiB(running.pid);
        const startAllMiB = memory(running.pid).pssKiB / 1024;
        await using holder = bench.load.holdPairs(running.port);
        await hold(holder, step);
        const middle = await settledKiB(running.pid);
        await hold(holder, step);
        const end = await settledKiB(running.pid);
        return {
          pairKiB: (end - start) / (2 * step),
          secondPairKiB: (end - middle) / step,
          startMiB: start / 1024,
          startAllMiB,
          endMiB: end / 1024,
        };
      }),
    );
  },
};

async function hold(holder: Child, count: number): Promise<void> {
  holder.send(`${count}\n`);
  const [, errors] = await holder.stdoutLine(/"errors":(\d+)/, 60_000);
  if (errors !== "0") throw new Error(`idle: ${errors} of ${count} pairs failed`);
}

/** Reads until two readings agree, since collectors and allocators give back late. */
async function settledKiB(pid: number): Promise<number> {
  let last = memory(pid).anonKiB;
  for (let tries = 0; tries < SETTLE_TRIES; tries++) {
    await Bun.sleep(SETTLE_MS);
    const next = memory(pid).anonKiB;
    if (Math.abs(next - last) <= STEADY_KIB) return next;
    last = next;
  }
  return last;
}
