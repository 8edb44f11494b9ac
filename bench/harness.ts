// Opens the benches on this machine, and runs one row with what is installed.

import type { Environment } from "./environment.ts";
import { Load, missingCompiler, missingWrk } from "./load.ts";
import { ENGINES, PEERS, missing } from "./programs.ts";
import type { Peer } from "./programs.ts";
import type { RowResult } from "./report.ts";
import type { Bench, Row } from "./row.ts";

export interface BenchOptions {
  readonly small: boolean;
  readonly rounds: number | undefined;
  readonly peers: readonly Peer[];
}

export type OpenBench = Bench & { readonly peers: readonly Peer[] };

export const SMALL: BenchOptions = { small: true, rounds: undefined, peers: PEERS };

export async function openBench(options: BenchOptions): Promise<OpenBench> {
  // An interrupt must go by way of the exit handlers, which end what was started.
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => process.exit(130));
  const installed = [...ENGINES, ...options.peers].filter((name) => missing(name) === null);
  return {
    small: options.small,
    rounds: options.rounds,
    peers: options.peers,
    programs: installed,
    load: await Load.open(),
    say: (line) => void process.stdout.write(`${line}\n`),
  };
}

/** Runs a row, or says why it cannot be run here: then it has no samples. */
export async function runRow(
  bench: OpenBench,
  row: Row,
  environment: Environment,
): Promise<RowResult> {
  const blocked = blockers(row);
  const absent = [...ENGINES, ...bench.peers].map(missing).filter((line) => line !== null);
  return {
    row: row.name,
    title: row.title,
    method: row.method,
    measures: row.measures,
    rest: row.rest ?? null,
    limits: row.limits,
    environment,
    blocked: blocked.length > 0,
    skipped: row.needs === "nothing" ? [] : [...blocked, ...absent],
    samples: blocked.length > 0 ? [] : await row.run(bench),
  };
}

function blockers({ needs }: Row): string[] {
  if (needs === "nothing") return [];
  const compiler = missingCompiler();
  if (compiler !== null) return [compiler];
  if (needs === "wrk") return [missingWrk()].filter((line) => line !== null);
  if (needs === "strace" && Bun.which("strace") === null) {
    return ["skipped: strace is not installed (apt-get install strace)"];
  }
  return [];
}
