// The system calls of one connection and of one request, counted by strace.

import { join } from "node:path";
import { Child } from "../children.ts";
import { processTree } from "../proc.ts";
import { PLAIN } from "../programs.ts";
import { interleave, withProgram } from "../row.ts";
import type { Bench, Row, Sample } from "../row.ts";
import type { Running } from "../programs.ts";

export const systemCalls: Row = {
  name: "system-calls",
  title: "System calls",
  method:
    "strace -c -f over all threads and children while connections (open, one request, close), or requests on a kept connection, go through: one at a time, and 32 at once.",
  needs: "strace",
  measures: [{ key: "all", title: "all", digits: 2 }],
  rest: "calls",
  limits: [],
  run: async (bench) => {
    const samples: Sample[] = [];
    for (const mode of ["close", "keep"] as const) {
      await using destinations = await bench.load.serve(1, mode);
      const setting = { ...PLAIN, ports: destinations.ports };
      for (const inflight of bench.small ? [32] : [1, 32]) {
        const count = bench.small ? 200 : 1000 * Math.min(inflight, 4);
        const condition = `${mode === "close" ? "a connection" : "a request"}, ${inflight} at once`;
        const measured = await interleave(bench, bench.programs, 1, condition, (name) =>
          withProgram(bench, name, setting, async (running) => {
            const work = (units: number) =>
              mode === "close"
                ? bench.load.connect(running.port, units, inflight)
                : bench.load.pace(running.port, 1000 * inflight, units, inflight);
            await work(count);
            const calls = await countCalls(bench, running, () => work(count));
            return perUnit(calls, count);
          }),
        );
        samples.push(...measured);
      }
    }
    return samples;
  },
};

async function countCalls(
  bench: Bench,
  running: Running,
  work: () => Promise<unknown>,
): Promise<ReadonlyMap<string, number>> {
  const path = join(bench.load.directory, "strace");
  const tree = processTree(running.pid).flatMap((pid) => ["-p", String(pid)]);
  await using strace = new Child(["strace", "-c", "-f", "-o", path, ...tree]);
  await strace.stderrLine(/attached/);
  // Further threads are attached one after the other; the last one is not announced apart.
  await Bun.sleep(200);
  await work();
  strace.interrupt();
  await strace.ended(10_000);
  return parseCounts(await Bun.file(path).text());
}

/** The fourth column counts the calls, the last names them. */
export function parseCounts(table: string): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const line of table.split("\n")) {
    const columns = line.trim().split(/\s+/);
    const name = columns.at(-1);
    const count = Number(columns[3]);
    if (name === undefined || name === "total" || !Number.isInteger(count)) continue;
    counts.set(name, (counts.get(name) ?? 0) + count);
  }
  return counts;
}

/** Calls made less than once in 50 units belong to timers and collectors; they count in the sum only. */
function perUnit(counts: ReadonlyMap<string, number>, units: number): Record<string, number> {
  const values: Record<string, number> = { all: 0 };
  for (const [name, count] of [...counts].toSorted(([, a], [, b]) => b - a)) {
    values["all"] = (values["all"] ?? 0) + count / units;
    if (count / units >= 0.02) values[name] = count / units;
  }
  return values;
}
