// A flush of one against a flush by count or time, for bursts of arrivals.

import { missingCompiler } from "../load.ts";
import { PLAIN } from "../programs.ts";
import { interleave, metered, withProgram } from "../row.ts";
import type { Bench, Row, Sample } from "../row.ts";
import { timeMicro } from "./micro.ts";

const BURSTS = [1, 8, 64, 512] as const;
const FLUSHES = ["flush of one", "count or time"] as const;
type Flush = (typeof FLUSHES)[number];

export const batch: Row = {
  name: "batch",
  title: "Batch",
  method:
    "A burst arrives within one turn of the event loop. The batch alone: nanoseconds an arrival, the turn included, placed by a stub. Through sockets: bursts of connections to 4 destinations, all ended before the next burst; `--flush-count 1` against `--flush-count 512`, where the end of the turn flushes.",
  needs: "nothing",
  measures: [
    { key: "ns", title: "batch alone, ns an arrival", digits: 0 },
    { key: "cpuUs", title: "CPU per connection, µs", digits: 1 },
    { key: "p50Us", title: "p50, µs", digits: 0 },
    { key: "p99Us", title: "p99, µs", digits: 0 },
  ],
  limits: [],
  run: async (bench) => {
    const samples: Sample[] = [];
    for (const burst of bench.small ? [8] : BURSTS) {
      const measured = await interleave(
        bench,
        FLUSHES,
        bench.small ? 1 : 3,
        `burst of ${burst}`,
        (name) => measure(bench, name, burst),
      );
      samples.push(...measured);
    }
    return samples;
  },
};

async function measure(bench: Bench, flush: Flush, burst: number): Promise<Record<string, number>> {
  const steps = bench.small ? 20_000 : burst === 1 ? 200_000 : 1_000_000;
  const arrivals = flush === "flush of one" ? "1" : "0";
  const ns = await timeMicro(bench, ["flush", String(steps), String(burst), arrivals]);
  if (missingCompiler() !== null) return { ns };
  await using destinations = await bench.load.serve(4, "close");
  const flags = ["--flush-count", flush === "flush of one" ? "1" : "512"];
  const setting = { ...PLAIN, ports: destinations.ports, flags };
  return await withProgram(bench, "iawlb", setting, async (running) => {
    const { port } = running;
    await bench.load.connect(port, bench.small ? 500 : 5000, 32);
    const count = bench.small ? 512 : 5120;
    const { result, cpuSeconds } = await metered(running, () =>
      bench.load.burst(port, count, burst),
    );
    const cpuUs = (cpuSeconds / result.count) * 1e6;
    return { ns, cpuUs, p50Us: result.p50Us, p99Us: result.p99Us, count: result.count };
  });
}
