// Processor time of one request on a kept connection; and the same program against itself.

import { PLAIN, isEngine } from "../programs.ts";
import type { ProgramName } from "../programs.ts";
import { KEPT_CONNECTIONS, bothEngines, interleave, meteredRequests, withProgram } from "../row.ts";
import type { Bench, Row } from "../row.ts";

const DESTINATIONS = 4;

const MEASURES = [
  { key: "cpuUs", title: "CPU per request, µs", digits: 2 },
  { key: "perSecond", title: "requests/s", digits: 0 },
] as const;

export const requests: Row = {
  name: "requests",
  title: "Keep-alive requests",
  method: `wrk, 1 thread, ${KEPT_CONNECTIONS} kept connections, ${DESTINATIONS} destinations that answer 40 bytes at once; 1 s of warm-up, then 2 s.`,
  needs: "wrk",
  measures: MEASURES,
  limits: bothEngines(
    { bun: 1.03, libc: 0.98 },
    {
      title: "CPU per keep-alive request",
      condition: "",
      measure: "cpuUs",
      kind: "ratio",
      sense: "at most",
      unit: "µs",
    },
  ),
  run: (bench) => run(bench, bench.programs, 7, (name) => name),
};

/** A against A: what differs here is the machine's noise, and no ratio below it means anything. */
export const nothing: Row = {
  name: "null",
  title: "Null test: one program against itself",
  method:
    "The next row with one peer, as A and as B. B over A must be 1.00 within 3 %, else the machine is too noisy today.",
  needs: "wrk",
  measures: MEASURES,
  limits: (["at most", "at least"] as const).map((sense) => ({
    title: "null test: a program over itself",
    condition: "",
    program: "B",
    measure: "cpuUs",
    kind: "ratio",
    sense,
    bound: sense === "at most" ? 1.03 : 0.97,
    unit: "µs",
  })),
  run: (bench) => {
    const peer = bench.programs.find((name) => !isEngine(name)) ?? "iawlb";
    return run(bench, ["A", "B"], 6, () => peer);
  },
};

async function run<Name extends string>(
  bench: Bench,
  names: readonly Name[],
  rounds: number,
  programOf: (name: Name) => ProgramName,
) {
  await using destinations = await bench.load.serve(DESTINATIONS, "keep");
  const setting = { ...PLAIN, ports: destinations.ports };
  const seconds = bench.small ? 1 : 2;
  return await interleave(bench, names, bench.small ? 1 : rounds, "", (name) =>
    withProgram(bench, programOf(name), setting, (running) =>
      meteredRequests(bench, running, seconds),
    ),
  );
}
