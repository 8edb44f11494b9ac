// Processor time and speed of a GiB, over one connection and over 64.

import { PLAIN } from "../programs.ts";
import { bothEngines, interleave, metered, withProgram } from "../row.ts";
import type { Limit, Row, Sample } from "../row.ts";

const GIB = 2 ** 30;
const CASES = [1, 64] as const;

export const bulk: Row = {
  name: "bulk",
  title: "Bulk",
  method:
    "The destination sends from memory, the client drops what comes (MSG_TRUNC), so that the balancer is the narrow place. 0.25 GiB of warm-up, then 2 GiB.",
  needs: "load",
  measures: [
    { key: "cpuSeconds", title: "CPU per GiB, s", digits: 3 },
    { key: "gibPerSecond", title: "GiB/s", digits: 2 },
  ],
  limits: CASES.flatMap((count): Limit[] => [
    ...bothEngines(
      { bun: 1.2, libc: 0.8 },
      {
        title: `CPU per bulk GiB, ${conditionOf(count)}`,
        condition: conditionOf(count),
        measure: "cpuSeconds",
        kind: "ratio",
        sense: "at most",
        unit: "s",
      },
    ),
    ...bothEngines(
      { bun: 1.1, libc: 1.1 },
      {
        title: `bulk throughput, ${conditionOf(count)}`,
        condition: conditionOf(count),
        measure: "gibPerSecond",
        kind: "ratio",
        sense: "at least",
        unit: "GiB/s",
      },
    ),
  ]),
  run: async (bench) => {
    await using destinations = await bench.load.serve(1, "keep");
    const setting = { ...PLAIN, ports: destinations.ports };
    const [warmGib, gib] = bench.small ? [0.0625, 0.25] : [0.25, 2];
    const samples: Sample[] = [];
    for (const count of CASES) {
      const run = (port: number, size: number) =>
        bench.load.bulk(port, count, (size * GIB) / count);
      const measured = await interleave(
        bench,
        bench.programs,
        bench.small ? 1 : 5,
        conditionOf(count),
        (name) =>
          withProgram(bench, name, setting, async (running) => {
            await run(running.port, warmGib);
            const { result, cpuSeconds } = await metered(running, () => run(running.port, gib));
            const size = result.bytes / GIB;
            return {
              cpuSeconds: cpuSeconds / size,
              gibPerSecond: size / result.seconds,
              gib: size,
            };
          }),
      );
      samples.push(...measured);
    }
    return samples;
  },
};

function conditionOf(count: number): string {
  return count === 1 ? "1 connection" : `${count} connections`;
}
