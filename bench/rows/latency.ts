// What a balancer adds to the time of a request, at half of the load it could carry.

import { PLAIN } from "../programs.ts";
import { interleave, withProgram } from "../row.ts";
import type { Bench, Row } from "../row.ts";
import type { Setting } from "../programs.ts";

const CONNECTIONS = 32;

export const latency: Row = {
  name: "latency",
  title: "Added latency",
  method: `Open loop, ${CONNECTIONS} kept connections, requests at half the rate that the slowest of all reached in a closed loop; times count from the intended start. "direct" is without a balancer; the first fifth is left out.`,
  needs: "wrk",
  measures: [
    { key: "p50Us", title: "p50, µs", digits: 0 },
    { key: "p99Us", title: "p99, µs", digits: 0 },
    { key: "p999Us", title: "p99.9, µs", digits: 0 },
    { key: "rate", title: "requests/s", digits: 0 },
  ],
  limits: [],
  run: async (bench) => {
    await using destinations = await bench.load.serve(4, "keep");
    const setting = { ...PLAIN, ports: destinations.ports };
    const direct = destinations.ports[0] ?? 0;
    await using _awake = bench.load.keepAwake("load");
    const rate = await halfOfSlowest(bench, setting);
    const count = Math.round(rate * (bench.small ? 0.5 : 2));
    const names = ["direct", ...bench.programs] as const;
    return await interleave(bench, names, bench.small ? 1 : 5, "", async (name) => {
      const pace = async (port: number) => {
        if (!bench.small) await bench.load.wrk(port, 1, CONNECTIONS);
        const { p50Us, p99Us, p999Us } = await bench.load.pace(port, rate, count, CONNECTIONS);
        return { p50Us, p99Us, p999Us, rate, count };
      };
      if (name === "direct") return await pace(direct);
      return await withProgram(bench, name, setting, ({ port }) => pace(port));
    });
  },
};

async function halfOfSlowest(bench: Bench, setting: Setting): Promise<number> {
  const rates: number[] = [];
  for (const name of bench.programs) {
    await withProgram(bench, name, setting, async ({ port }) => {
      const { count, seconds } = await bench.load.wrk(port, bench.small ? 1 : 2, CONNECTIONS);
      rates.push(count / seconds);
    });
  }
  return Math.max(100, Math.floor(Math.min(...rates) / 2));
}
