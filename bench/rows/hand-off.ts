// How soon a freed slot is in use again while clients wait.

import { NO_SERVICE } from "../load.ts";
import { bothEngines, interleave, withProgram } from "../row.ts";
import type { Bench, Limit, Row, Sample } from "../row.ts";

const DESTINATIONS = 4;
const CLIENTS = 2000;
const WARM_AT_ONCE = 32;
const SERVICE_NS = 2_000_000;

const ONE_SLOT = { balance: "least-connections", slots: 1, probe: NO_SERVICE } as const;
const CONDITIONS = ["core kept awake", "core may sleep"] as const;
type Condition = (typeof CONDITIONS)[number];

export const handOff: Row = {
  name: "hand-off",
  title: "Hand-off",
  method: `${CLIENTS} clients wait at once for ${DESTINATIONS} one-slot destinations, ${SERVICE_NS / 1e6} ms each: from a destination's close to the first byte of the next connection, both taken at the destination. nginx does not queue. Between two hand-offs the balancer's core goes to sleep, and a virtual machine takes long to wake it; so once it is kept awake, and once it may sleep.`,
  needs: "load",
  measures: [
    { key: "p50Ms", title: "median, ms", digits: 3 },
    { key: "p90Ms", title: "p90, ms", digits: 3 },
    { key: "p99Ms", title: "p99, ms", digits: 3 },
  ],
  limits: CONDITIONS.flatMap((condition): Limit[] =>
    bothEngines(
      { bun: 0.12, libc: 0.08 },
      {
        title: `hand-off: slot freed until the next client's first byte, median, ${condition}`,
        condition,
        measure: "p50Ms",
        kind: "value",
        sense: "at most",
        unit: "ms",
      },
    ),
  ),
  run: async (bench) => {
    const samples: Sample[] = [];
    await using _load = bench.load.keepAwake("load");
    for (const condition of CONDITIONS) {
      await using _balancer =
        condition === "core kept awake" ? bench.load.keepAwake("balancer") : null;
      samples.push(...(await runCondition(bench, condition)));
    }
    return samples;
  },
};

function runCondition(bench: Bench, condition: Condition): Promise<Sample[]> {
  // nginx refuses over its limit instead of letting clients wait, so it has no hand-off.
  const names = bench.programs.filter((name) => name !== "nginx");
  const clients = bench.small ? 200 : CLIENTS;
  return interleave(bench, names, bench.small ? 1 : 5, condition, async (name) => {
    await using slots = await bench.load.slots(DESTINATIONS);
    const setting = { ...ONE_SLOT, ports: slots.ports };
    return await withProgram(bench, name, setting, async ({ port }) => {
      await bench.load.connect(port, bench.small ? 100 : 5000, WARM_AT_ONCE, NO_SERVICE);
      await bench.load.connect(port, clients, clients, `S${SERVICE_NS}\n`);
      const { p50Us, p90Us, p99Us, gaps } = await bench.load.gaps(slots);
      return { p50Ms: p50Us / 1e3, p90Ms: p90Us / 1e3, p99Ms: p99Us / 1e3, count: gaps };
    });
  });
}
