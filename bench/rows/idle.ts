// User memory of one idle pair.

import { PLAIN } from "../programs.ts";
import { memory } from "../proc.ts";
import { bothEngines, interleave, withProgram } from "../row.ts";
import type { Row } from "../row.ts";
import { hold, settledKiB } from "./holding.ts";

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
  limits: bothEngines(
    { bun: 3, libc: 2 },
    {
      title: "idle pair, user memory",
      condition: "",
      measure: "pairKiB",
      kind: "value",
      sense: "at most",
      unit: "KiB",
    },
  ),
  run: async (bench) => {
    await using destinations = await bench.load.serve(4, "keep");
    const setting = { ...PLAIN, ports: destinations.ports };
    const step = bench.small ? 200 : 1000;
    return await interleave(bench, bench.programs, bench.small ? 1 : 4, "", (name) =>
      withProgram(bench, name, setting, async (running) => {
        const start = await settledKiB(bench, running.pid);
        const startAllMiB = memory(running.pid).pssKiB / 1024;
        await using holder = bench.load.holdPairs(running.port);
        await hold(holder, step);
        const middle = await settledKiB(bench, running.pid);
        await hold(holder, step);
        const end = await settledKiB(bench, running.pid);
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
