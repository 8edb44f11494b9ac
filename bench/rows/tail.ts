// Tail latency in front of destinations that serve one connection at a time, against the theory.

import { makeTrace, pushedQueues } from "../central-queue.ts";
import type { Push, Service } from "../central-queue.ts";
import { NO_SERVICE } from "../load.ts";
import type { ProgramName, Setting } from "../programs.ts";
import { bothEngines, interleave, withProgram } from "../row.ts";
import type { Bench, Limit, Row, Sample } from "../row.ts";
import { quantile } from "../stats.ts";
import { replayTrace, settled } from "./replaying.ts";

const DESTINATIONS = 4;
const MEAN_NS = 5e6;
const SERVICES = ["exponential", "lognormal"] as const;
const LOADS = [0.5, 0.7, 0.8, 0.9] as const;
/** The load of the limit: repeated with another trace each round. */
const JUDGED_LOAD = 0.8;
const AWAKE_LOADS = [0.8, 0.9] as const;
const MANY_THREADS = 4;
const BELOW = "haproxy maxconn 1";

interface Contender {
  readonly label: string;
  readonly program: ProgramName;
  readonly setting: Omit<Setting, "ports">;
  /** What theory makes of its way; null: one central queue. */
  readonly push: Push | null;
}

const CONTENDERS: readonly Contender[] = [
  contender("iawlb", "iawlb", 1, null),
  contender("iawlb libc", "iawlb libc", 1, null),
  contender(withThreads("iawlb"), "iawlb", 1, null, MANY_THREADS),
  contender(withThreads("iawlb libc"), "iawlb libc", 1, null, MANY_THREADS),
  contender(BELOW, "haproxy", 1, null),
  contender("haproxy leastconn", "haproxy", 0, "least-connections"),
  contender("haproxy roundrobin", "haproxy", 0, "round-robin"),
  contender("nginx least_conn", "nginx", 0, "least-connections"),
];

export const tail: Row = {
  name: "tail",
  title: "Tail latency",
  method: `Open loop: a recorded trace of Poisson arrivals, one connection each, is replayed to ${DESTINATIONS} destinations that serve one connection at a time and really sleep, ${MEAN_NS / 1e6} ms on average; times count from the intended arrival. Each quantile is divided by that of the theoretical central queue for the very same trace; the first tenth is left out. "theory" is what a program's own way would give at no cost. The balancer's core may sleep between connections, and a virtual machine takes long to wake it; "core kept awake" is the same without that. ${MANY_THREADS} threads share the one core.`,
  needs: "load",
  measures: [
    { key: "p50Ratio", title: "p50 / central", digits: 2 },
    { key: "p99Ratio", title: "p99 / central", digits: 2 },
    { key: "theoryRatio", title: "theory", digits: 2 },
    { key: "p99Ms", title: "p99, ms", digits: 1 },
  ],
  limits: SERVICES.flatMap((service) => limitsOf(conditionOf(service, JUDGED_LOAD))),
  run: async (bench) => {
    const samples: Sample[] = [];
    const contenders = CONTENDERS.filter(({ program }) => bench.programs.includes(program));
    await using _load = bench.load.keepAwake("load");
    for (const service of SERVICES) {
      for (const load of bench.small ? [JUDGED_LOAD] : LOADS) {
        samples.push(...(await runCase(bench, contenders, service, load)));
      }
      if (!bench.small) samples.push(...(await runAwake(bench, contenders, service)));
    }
    return samples;
  },
};

async function runCase(
  bench: Bench,
  contenders: readonly Contender[],
  service: Service,
  load: number,
): Promise<Sample[]> {
  const judged = load === JUDGED_LOAD;
  const count = bench.small ? 100 : judged ? 4000 : 1200;
  const measure = measureOf(bench, contenders, service, load, count);
  const condition = conditionOf(service, load);
  const chosen = judged ? contenders : alone(contenders);
  const first = await interleave(bench, labelsOf(chosen), 1, condition, measure);
  if (!judged || bench.small || bench.rounds !== undefined) return first;
  // Only what waits in the balancer itself is near enough to the limit to need more rounds.
  const near = labelsOf(contenders.filter(({ push }) => push === null));
  return [...first, ...(await interleave(bench, near, 3, condition, measure, 1))];
}

/** What is left of the hand-off's price when the balancer's core need not be woken for each. */
async function runAwake(
  bench: Bench,
  contenders: readonly Contender[],
  service: Service,
): Promise<Sample[]> {
  const samples: Sample[] = [];
  const chosen = labelsOf(alone(contenders).filter(({ push }) => push === null));
  await using _balancer = bench.load.keepAwake("balancer");
  for (const load of AWAKE_LOADS) {
    const condition = `${conditionOf(service, load)}, core kept awake`;
    const measure = measureOf(bench, contenders, service, load, 1500);
    samples.push(...(await interleave(bench, chosen, 1, condition, measure)));
  }
  return samples;
}

/** Each round has a trace of its own, the same for all. */
function measureOf(
  bench: Bench,
  contenders: readonly Contender[],
  service: Service,
  load: number,
  count: number,
) {
  const shape = { service, load, count, meanNs: MEAN_NS, destinationCount: DESTINATIONS };
  return async (label: string, round: number) => {
    const chosen = contenders.find((one) => one.label === label);
    if (chosen === undefined) throw new Error(`no contender ${label}`);
    return await replay(bench, chosen, { ...shape, seed: round + 1 });
  };
}

/** Those with one thread. */
function alone(contenders: readonly Contender[]): Contender[] {
  return contenders.filter(({ setting }) => (setting.threads ?? 1) === 1);
}

function labelsOf(contenders: readonly Contender[]): string[] {
  return contenders.map(({ label }) => label);
}

async function replay(
  bench: Bench,
  { program, setting, push }: Contender,
  shape: Parameters<typeof makeTrace>[0],
) {
  const trace = makeTrace(shape);
  await using slots = await bench.load.slots(DESTINATIONS);
  return await withProgram(bench, program, { ...setting, ports: slots.ports }, async ({ port }) => {
    await bench.load.connect(port, bench.small ? 100 : 5000, 16, NO_SERVICE);
    const { values, central } = await replayTrace(bench, port, trace, DESTINATIONS);
    const theory = push === null ? central : settled(pushedQueues(trace, DESTINATIONS, push));
    return { ...values, theoryRatio: quantile(theory, 0.99) / quantile(central, 0.99) };
  });
}

/** For one thread and for many, against the theory; and libc against who queues as we do. */
function limitsOf(condition: string): Limit[] {
  const limit = { condition, measure: "p99Ratio", sense: "at most", unit: "" } as const;
  const overCentral = bothEngines(
    { bun: 1.12, libc: 1.1 },
    { ...limit, title: `p99 over the central queue's, ${condition}`, kind: "value" },
  );
  const belowPeer: Limit = {
    ...limit,
    title: `p99 over HAProxy maxconn 1's, ${condition}`,
    program: "iawlb libc",
    over: BELOW,
    kind: "ratio",
    bound: 1,
  };
  return [...overCentral, belowPeer].flatMap((one) => [
    one,
    {
      ...one,
      title: `${one.title}, ${MANY_THREADS} threads`,
      program: withThreads(one.program ?? ""),
    },
  ]);
}

function withThreads(label: string): string {
  return `${label} ${MANY_THREADS} threads`;
}

function contender(
  label: string,
  program: ProgramName,
  slots: number,
  push: Push | null,
  threads = 1,
): Contender {
  const balance = push === "round-robin" ? push : "least-connections";
  return { label, program, setting: { balance, slots, threads, probe: NO_SERVICE }, push };
}

function conditionOf(service: Service, load: number): string {
  return `${service} ${load}`;
}
