// What more threads cost: processor time of a request and of a connection, and memory.

import type { Destinations } from "../load.ts";
import { allowedCpus } from "../proc.ts";
import { PLAIN, isEngine } from "../programs.ts";
import type { ProgramName, Setting } from "../programs.ts";
import { interleave, metered, withProgram } from "../row.ts";
import type { Bench, Limit, Row, Sample } from "../row.ts";
import { settledKiB } from "./holding.ts";

const COUNTS = [1, 2, 4, 8] as const;
const MOST = 8;
/** Of the peers, beside one. */
const PEER_COUNT = 4;
const JUDGED = [2, 4] as const;
const CONNECTIONS = 64;
const IN_FLIGHT = 32;
/** Below this there is no room for so many threads and for the load. */
const CORES_MIN = 8;

const cores = allowedCpus().length;
const measuresSpeed = cores >= CORES_MIN;
const loadThreads = measuresSpeed ? Math.floor(cores / 2) : 1;
const speed = measuresSpeed
  ? `Throughput over linear is requests/s over those of one thread times the number of threads, where that is at most half of the ${cores} cores.`
  : `Throughput against linear was not measured: it takes ${CORES_MIN} cores for threads and load, and here are ${cores}.`;

interface Contender {
  readonly label: string;
  readonly program: ProgramName;
  readonly threads: number;
}

export const threads: Row = {
  name: "threads",
  title: "Threads",
  method: `The balancer with so many threads (nginx: processes) and the load share all cores. wrk, ${CONNECTIONS} kept connections, 1 s of warm-up, then 1 s; then, in a fresh process, connections as in their own row, 5,000 of warm-up, then 10,000. Memory is PSS without file-backed pages before the first connection; a thread's is what it grows by, from one thread on. ${speed}`,
  needs: "wrk",
  measures: [
    { key: "cpuUs", title: "CPU per request, µs", digits: 2 },
    { key: "connectionUs", title: "CPU per connection, µs", digits: 1 },
    { key: "perSecond", title: "requests/s", digits: 0 },
    { key: "connectionsPerSecond", title: "connections/s", digits: 0 },
    { key: "anonMiB", title: "memory, MiB", digits: 1 },
    { key: "threadMiB", title: "a further thread, MiB", digits: 2 },
    ...(measuresSpeed ? [{ key: "linearShare", title: "throughput / linear", digits: 2 }] : []),
  ],
  limits: (["iawlb", "iawlb libc"] as const).flatMap(limitsOf),
  run: async (bench) => {
    const spread = { ...bench, load: bench.load.spread() };
    await using keeping = await serveWide(spread, "keep");
    await using closing = await serveWide(spread, "close");
    const contenders = bench.programs.flatMap((program) => contendersOf(bench, program));
    const labels = contenders.map(({ label }) => label);
    const samples = await interleave(spread, labels, bench.small ? 1 : 3, "", async (label) => {
      const chosen = contenders.find((one) => one.label === label);
      if (chosen === undefined) throw new Error(`no contender ${label}`);
      return {
        ...(await measureRequests(spread, chosen, keeping.ports)),
        ...(await measureConnections(spread, chosen, closing.ports)),
      };
    });
    return samples.map((sample) => overOne(sample, samples, contenders));
  },
};

async function measureRequests(bench: Bench, { program, threads }: Contender, ports: number[]) {
  const setting: Setting = { ...PLAIN, threads, ports };
  return await withProgram(bench, program, setting, async (running) => {
    const anonMiB = (await settledKiB(bench, running.pid)) / 1024;
    const ask = (seconds: number) =>
      bench.load.wrk(running.port, seconds, CONNECTIONS, loadThreads);
    if (!bench.small) await ask(1);
    const { result, cpuSeconds } = await metered(running, () => ask(1));
    return {
      cpuUs: (cpuSeconds / result.count) * 1e6,
      perSecond: result.count / result.seconds,
      anonMiB,
    };
  });
}

async function measureConnections(bench: Bench, { program, threads }: Contender, ports: number[]) {
  const setting: Setting = { ...PLAIN, threads, ports };
  const [warm, count] = bench.small ? [200, 500] : [5000, 10_000];
  return await withProgram(bench, program, setting, async (running) => {
    await bench.load.connect(running.port, warm, IN_FLIGHT);
    const { result, cpuSeconds } = await metered(running, () =>
      bench.load.connect(running.port, count, IN_FLIGHT),
    );
    return {
      connectionUs: (cpuSeconds / result.count) * 1e6,
      connectionsPerSecond: result.count / result.seconds,
    };
  });
}

/** Adds what can only be told beside the same program with one thread, in the same round. */
function overOne(
  sample: Sample,
  samples: readonly Sample[],
  contenders: readonly Contender[],
): Sample {
  const own = contenders.find(({ label }) => label === sample.program);
  if (own === undefined || own.threads === 1) return sample;
  const oneLabel = labelOf(own.program, 1);
  const one = samples.find(({ program, round }) => program === oneLabel && round === sample.round);
  if (one === undefined) return sample;
  const { anonMiB: oneMiB = NaN, perSecond: onePerSecond = NaN } = one.values;
  const { anonMiB = NaN, perSecond = NaN } = sample.values;
  const threadMiB = (anonMiB - oneMiB) / (own.threads - 1);
  const fits = measuresSpeed && own.threads <= cores / 2;
  const linear = fits ? { linearShare: perSecond / (onePerSecond * own.threads) } : {};
  return { ...sample, values: { ...sample.values, threadMiB, ...linear } };
}

function limitsOf(program: ProgramName): Limit[] {
  const perUnit = JUDGED.flatMap((count): Limit[] =>
    (
      [
        ["cpuUs", "request"],
        ["connectionUs", "connection"],
      ] as const
    ).map(([measure, unit]) => ({
      title: `CPU per ${unit}, ${count} threads over 1`,
      condition: "",
      program: labelOf(program, count),
      over: labelOf(program, 1),
      measure,
      kind: "ratio",
      sense: "at most",
      bound: 1.05,
      unit: "µs",
    })),
  );
  const value = { condition: "", kind: "value" } as const;
  return [
    ...perUnit,
    {
      ...value,
      title: `memory of a further thread, 1 to ${MOST}`,
      program: labelOf(program, MOST),
      measure: "threadMiB",
      sense: "at most",
      bound: 8,
      unit: "MiB",
    },
    {
      ...value,
      title: "throughput over linear, 4 threads",
      program: labelOf(program, 4),
      measure: "linearShare",
      sense: "at least",
      bound: 0.9,
      unit: "",
    },
  ];
}

function contendersOf(bench: Bench, program: ProgramName): Contender[] {
  const [few, all] = isEngine(program) ? [[1, 2], COUNTS] : [[PEER_COUNT], [1, PEER_COUNT]];
  const counts = bench.small ? few : all;
  return counts.map((count) => ({ label: labelOf(program, count), program, threads: count }));
}

function labelOf(program: string, count: number): string {
  return `${program} ${count} ${count === 1 ? "thread" : "threads"}`;
}

/** As many destinations as the load has threads, at least 4, each a process of its own. */
async function serveWide(bench: Bench, mode: "keep" | "close") {
  const stack = new AsyncDisposableStack();
  const all: Destinations[] = [];
  for (let left = Math.max(4, loadThreads); left > 0; left--) {
    all.push(stack.use(await bench.load.serve(1, mode)));
  }
  const ports = all.flatMap((each) => each.ports);
  return { ports, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}
