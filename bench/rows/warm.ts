// Connections opened ahead: what they save of the hand-off, on loopback and over a path with delay.

import { makeTrace } from "../central-queue.ts";
import { NO_SERVICE } from "../load.ts";
import { missingPath, openPath } from "../path.ts";
import type { Engine, Setting } from "../programs.ts";
import { interleave, withProgram } from "../row.ts";
import type { Bench, Row, Sample } from "../row.ts";
import { replayTrace } from "./replaying.ts";

const DESTINATIONS = 4;
const CLIENTS = 1000;
const LOAD = 0.9;
const WARM_COUNT = 2;
const DELAY_MS = 1;

interface Case {
  readonly condition: string;
  readonly host: string;
  /** The hand-off's service, and the mean one of the trace: long beside the delay, else nobody keeps up. */
  readonly serviceMs: number;
  readonly meanMs: number;
  readonly count: number;
  readonly rounds: number;
}

interface Contender {
  readonly label: string;
  readonly program: Engine;
  readonly count: number;
}

const LOOPBACK: Case = {
  condition: "loopback",
  host: "127.0.0.1",
  serviceMs: 2,
  meanMs: 5,
  count: 1500,
  rounds: 3,
};
const FAR: Case = {
  condition: `${2 * DELAY_MS} ms away`,
  host: "",
  serviceMs: 4,
  meanMs: 50,
  count: 500,
  rounds: 2,
};

const absent = missingPath();

export const warm: Row = {
  name: "warm",
  title: "Connections opened ahead",
  method: `\`--warm 0\` against \`--warm ${WARM_COUNT}\`, ${DESTINATIONS} one-slot destinations. Hand-off as in its row (${CLIENTS} clients wait at once, ${LOOPBACK.serviceMs} ms each; over the path ${FAR.serviceMs} ms); tail as in its row (exponential, load ${LOAD}, ${LOOPBACK.meanMs} ms on average; over the path ${FAR.meanMs} ms, since there each hand-off takes some of the destinations' time). The path has ${DELAY_MS} ms of delay each way between balancer and destinations: two network namespaces with a relay between their tunnels, which needs no netem.${absent === null ? "" : ` Here: ${absent}.`}`,
  needs: "load",
  measures: [
    { key: "handOffMs", title: "hand-off, median, ms", digits: 3 },
    { key: "handOffP99Ms", title: "hand-off, p99, ms", digits: 3 },
    { key: "p50Ratio", title: "p50 / central", digits: 2 },
    { key: "p99Ratio", title: "p99 / central", digits: 2 },
    { key: "p99Ms", title: "p99, ms", digits: 1 },
  ],
  limits: [],
  run: async (bench) => {
    await using _awake = bench.load.keepAwake("load");
    const near = await runCase(bench, LOOPBACK);
    if (absent !== null) {
      bench.say(`  ${absent}`);
      return near;
    }
    await using path = await openPath(bench.load, DELAY_MS);
    const along = { ...bench, load: bench.load.along(path) };
    return [...near, ...(await runCase(along, { ...FAR, host: path.host }))];
  },
};

function runCase(bench: Bench, one: Case): Promise<Sample[]> {
  const contenders = (["iawlb", "iawlb libc"] as const)
    .filter((program) => bench.programs.includes(program))
    .flatMap((program): Contender[] => [
      { label: program, program, count: 0 },
      { label: `${program} warm ${WARM_COUNT}`, program, count: WARM_COUNT },
    ]);
  const labels = contenders.map(({ label }) => label);
  const rounds = bench.small ? 1 : one.rounds;
  return interleave(bench, labels, rounds, one.condition, async (label, round) => {
    const chosen = contenders.find((each) => each.label === label);
    if (chosen === undefined) throw new Error(`no contender ${label}`);
    return {
      ...(await measureHandOff(bench, one, chosen)),
      ...(await measureTail(bench, one, chosen, round)),
    };
  });
}

async function measureHandOff(bench: Bench, one: Case, { program, count }: Contender) {
  await using slots = await bench.load.slots(DESTINATIONS);
  const setting = settingOf(slots.ports, one.host, count);
  return await withProgram(bench, program, setting, async ({ port }) => {
    const clients = bench.small ? 50 : CLIENTS;
    await bench.load.connect(port, warmUpOf(bench), 16, NO_SERVICE);
    await bench.load.connect(port, clients, clients, `S${one.serviceMs * 1e6}\n`);
    const { p50Us, p99Us } = await bench.load.gaps(slots);
    return { handOffMs: p50Us / 1e3, handOffP99Ms: p99Us / 1e3 };
  });
}

async function measureTail(bench: Bench, one: Case, { program, count }: Contender, round: number) {
  const trace = makeTrace({
    service: "exponential",
    meanNs: one.meanMs * 1e6,
    load: LOAD,
    destinationCount: DESTINATIONS,
    count: bench.small ? 20 : one.count,
    seed: round + 1,
  });
  await using slots = await bench.load.slots(DESTINATIONS);
  const setting = settingOf(slots.ports, one.host, count);
  return await withProgram(bench, program, setting, async ({ port }) => {
    await bench.load.connect(port, warmUpOf(bench), 16, NO_SERVICE);
    const { values } = await replayTrace(bench, port, trace, DESTINATIONS);
    return { p50Ratio: values.p50Ratio, p99Ratio: values.p99Ratio, p99Ms: values.p99Ms };
  });
}

function warmUpOf(bench: Bench): number {
  return bench.small ? 50 : 1500;
}

function settingOf(ports: readonly number[], host: string, count: number): Setting {
  const flags = ["--warm", String(count)];
  return { ports, host, flags, balance: "least-connections", slots: 1, probe: NO_SERVICE };
}
