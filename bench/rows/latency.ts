// What a balancer adds to the time of a request, at half of the load it could carry.

import { PLAIN } from "../programs.ts";
import { bothEngines, interleave, withProgram } from "../row.ts";
import type { Bench, Limit, Row, Sample } from "../row.ts";
import type { Setting } from "../programs.ts";

const CONNECTIONS = 32;
const DIRECT = "direct";
const ADDED = [
  { from: "p50Us", key: "addedP50Us", title: "added p50" },
  { from: "p99Us", key: "addedP99Us", title: "added p99" },
] as const;

export const latency: Row = {
  name: "latency",
  title: "Added latency",
  method: `Open loop, ${CONNECTIONS} kept connections, requests at half the rate that the slowest of all reached in a closed loop; times count from the intended start. "${DIRECT}" is without a balancer; "added" is a quantile less that of "${DIRECT}" in the same round. The first fifth is left out.`,
  needs: "wrk",
  measures: [
    { key: "p50Us", title: "p50, µs", digits: 0 },
    { key: "p99Us", title: "p99, µs", digits: 0 },
    { key: "p999Us", title: "p99.9, µs", digits: 0 },
    ...ADDED.map(({ key, title }) => ({ key, title: `${title}, µs`, digits: 0 })),
    { key: "rate", title: "requests/s", digits: 0 },
  ],
  limits: ADDED.flatMap(({ key, title }): Limit[] =>
    bothEngines(
      { bun: 1, libc: 1 },
      {
        title: `${title} latency at half load`,
        condition: "",
        measure: key,
        kind: "ratio",
        sense: "at most",
        unit: "µs",
      },
    ),
  ),
  run: async (bench) => {
    await using destinations = await bench.load.serve(4, "keep");
    const setting = { ...PLAIN, ports: destinations.ports };
    const direct = destinations.ports[0] ?? 0;
    await using _awake = bench.load.keepAwake("load");
    const rate = await halfOfSlowest(bench, setting);
    const count = Math.round(rate * (bench.small ? 0.2 : 2));
    const names = [DIRECT, ...bench.programs] as const;
    const samples = await interleave(bench, names, bench.small ? 1 : 5, "", async (name) => {
      const pace = async (port: number) => {
        if (!bench.small) await bench.load.wrk(port, 1, CONNECTIONS);
        const { p50Us, p99Us, p999Us } = await bench.load.pace(port, rate, count, CONNECTIONS);
        return { p50Us, p99Us, p999Us, rate, count };
      };
      if (name === DIRECT) return await pace(direct);
      return await withProgram(bench, name, setting, ({ port }) => pace(port));
    });
    return samples.map((sample) => withAdded(sample, samples));
  },
};

/** Never below 0: what is faster than the direct way was only luckier. */
function withAdded(sample: Sample, samples: readonly Sample[]): Sample {
  const direct = samples.find(({ program, round }) => program === DIRECT && round === sample.round);
  if (direct === undefined || direct === sample) return sample;
  const added = ADDED.map(({ from, key }) => {
    const less = (sample.values[from] ?? NaN) - (direct.values[from] ?? NaN);
    return [key, Math.max(0, less)];
  });
  return { ...sample, values: { ...sample.values, ...Object.fromEntries(added) } };
}

async function halfOfSlowest(bench: Bench, setting: Setting): Promise<number> {
  if (bench.small) return 5000;
  const rates: number[] = [];
  for (const name of bench.programs) {
    await withProgram(bench, name, setting, async ({ port }) => {
      const { count, seconds } = await bench.load.wrk(port, 2, CONNECTIONS);
      rates.push(count / seconds);
    });
  }
  return Math.max(100, Math.floor(Math.min(...rates) / 2));
}
