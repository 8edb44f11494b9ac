// Processor time of one connection: open, one request, close.

import { PLAIN } from "../programs.ts";
import { bothEngines, interleave, metered, withProgram } from "../row.ts";
import type { Row } from "../row.ts";

const IN_FLIGHT = 32;
const DESTINATIONS = 4;

export const connections: Row = {
  name: "connections",
  title: "New connections",
  method: `Closed loop, ${IN_FLIGHT} at once from 8 loopback addresses: open, one request, answer, the destination closes first. 20,000 connections of warm-up, then 20,000, in a fresh process each round.`,
  needs: "load",
  measures: [
    { key: "cpuUs", title: "CPU per connection, µs", digits: 1 },
    { key: "firstCpuUs", title: "of the first 20,000 after the start", digits: 1 },
    { key: "perSecond", title: "connections/s", digits: 0 },
    { key: "p99Us", title: "p99, µs", digits: 0 },
  ],
  limits: bothEngines(
    { bun: 1.15, libc: 1.02 },
    {
      title: "CPU per connection (open, one request, close)",
      condition: "",
      measure: "cpuUs",
      kind: "ratio",
      sense: "at most",
      unit: "µs",
    },
  ),
  run: async (bench) => {
    await using destinations = await bench.load.serve(DESTINATIONS, "close");
    const setting = { ...PLAIN, ports: destinations.ports };
    const count = bench.small ? 1000 : 20_000;
    return await interleave(bench, bench.programs, bench.small ? 1 : 8, "", (name) =>
      withProgram(bench, name, setting, async (running) => {
        const connect = () => bench.load.connect(running.port, count, IN_FLIGHT);
        const first = await metered(running, connect);
        const { result, cpuSeconds } = await metered(running, connect);
        return {
          cpuUs: (cpuSeconds / result.count) * 1e6,
          firstCpuUs: (first.cpuSeconds / first.result.count) * 1e6,
          perSecond: result.count / result.seconds,
          p99Us: result.p99Us,
          count: result.count,
        };
      }),
    );
  },
};
