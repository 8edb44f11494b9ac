// What a flush by count or time saves, and costs, when every slot of many threads is busy and clients wait.

import { NO_SERVICE } from "../load.ts";
import type { Setting } from "../programs.ts";
import { writeCount } from "../proc.ts";
import { interleave, isOurs, metered, withProgram } from "../row.ts";
import type { Bench, Row, Sample } from "../row.ts";

const DESTINATIONS = 8;
const THREADS = 4;
const WAITING = 300;
const SERVICE_NS = 1_000_000;

const FLUSHES = {
  "flush of one": ["--flush-count", "1"],
  default: [],
  "64 or 1 ms": ["--flush-count", "64", "--flush-time", "1ms"],
} as const;
const NAMES = ["flush of one", "default", "64 or 1 ms"] as const;
type Flush = (typeof NAMES)[number];

export const flush: Row = {
  name: "flush",
  title: "Flush under saturation",
  method: `${WAITING} clients at once in a closed loop for ${DESTINATIONS} one-slot destinations that really sleep ${SERVICE_NS / 1e6} ms; ${THREADS} threads on all cores. "flush of one" is \`--flush-count 1\`; the default holds an arrival to the end of its turn; the last is \`--flush-count 64 --flush-time 1ms\`. "wakes" are the writes to other threads' wake descriptors for each connection, as the kernel counts the balancer's writes (\`syscw\`; its log is off, and what is sent on a socket is no write).`,
  needs: "load",
  measures: [
    { key: "perSecond", title: "connections/s", digits: 0 },
    { key: "p50Ms", title: "p50, ms", digits: 1 },
    { key: "p99Ms", title: "p99, ms", digits: 1 },
    { key: "cpuUs", title: "CPU per connection, µs", digits: 1 },
    { key: "wakes", title: "wakes per connection", digits: 3 },
  ],
  limits: [],
  run: async (bench) => {
    const samples: Sample[] = [];
    const spread = { ...bench, load: bench.load.spread() };
    for (const engine of bench.programs.filter(isOurs)) {
      const rounds = bench.small ? 1 : 3;
      const measured = await interleave(spread, NAMES, rounds, engine, (name) =>
        measure(spread, engine, name),
      );
      samples.push(...measured);
    }
    return samples;
  },
};

async function measure(bench: Bench, engine: Bench["programs"][number], name: Flush) {
  await using slots = await bench.load.slots(DESTINATIONS);
  const setting: Setting = {
    ports: slots.ports,
    balance: "least-connections",
    slots: 1,
    threads: THREADS,
    flags: FLUSHES[name],
    probe: NO_SERVICE,
  };
  const [warm, count] = bench.small ? [100, 400] : [5000, 10_000];
  return await withProgram(bench, engine, setting, async (running) => {
    await bench.load.connect(running.port, warm, 32, NO_SERVICE);
    const before = writeCount(running.pid);
    const { result, cpuSeconds } = await metered(running, () =>
      bench.load.connect(running.port, count, WAITING, `S${SERVICE_NS}\n`),
    );
    const wakes = (writeCount(running.pid) - before) / count;
    return {
      perSecond: result.count / result.seconds,
      p50Ms: result.p50Us / 1e3,
      p99Ms: result.p99Us / 1e3,
      cpuUs: (cpuSeconds / result.count) * 1e6,
      ...(Number.isNaN(wakes) ? {} : { wakes }),
      count: result.count,
    };
  });
}
