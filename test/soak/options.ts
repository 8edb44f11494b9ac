// The options of `bun run soak`, and its help.

import { parseArgs } from "node:util";
import type { Reading } from "../../src/control/mistake.ts";
import { readChoice, readCount, readDuration } from "../../src/control/value.ts";
import type { SoakOptions } from "./run.ts";

export const help = `usage: bun run soak [options]

Drives mixed traffic through the balancer's command line, while its destinations are killed, stopped and started
again, and checks every byte, every end, every access line, and at the end that nothing is left.

  --time TIME         how long connections are started (default: 20s)
  --seed N            the same traffic again (default: another one each time)
  --threads N|auto    of the balancer (default: 1)
  --engine bun|libc   of the balancer (default: bun)
  --rate N            new connections a second, at most (default: 300)
  --json              the report as JSON
  --help              this text

Example: bun run soak --time 2m --threads 3 --engine libc

Exit codes: 0 all is well, 1 something is not, 2 mistakes in the options. Memory is judged from 60s on: the median of
its last third may be 8 MiB and 256 B a connection above that of the middle one; 2 minutes show a leak of 1 KiB a
connection.
`;

export interface SoakCommand extends SoakOptions {
  readonly json: boolean;
}

/** @returns what to do; "help"; or the mistakes, a line each. */
export function parseSoak(args: readonly string[]): SoakCommand | "help" | readonly string[] {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        time: { type: "string", default: "20s" },
        seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
        threads: { type: "string", default: "1" },
        engine: { type: "string", default: "bun" },
        rate: { type: "string", default: "300" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    }));
  } catch (error) {
    return [(error as Error).message]; // parseArgs throws TypeErrors
  }
  if (values.help) return "help";
  const mistakes: string[] = [];
  const valueOf = <T>(option: string, { value, fault }: Reading<T>, otherwise: T): T => {
    if (fault === null) return value;
    const hint = fault.suggestion === "" ? "" : `; did you mean ${fault.suggestion}?`;
    mistakes.push(`--${option}: ${fault.problem}; ${fault.accepted}${hint}`);
    return otherwise;
  };
  const { threads } = values;
  const command: SoakCommand = {
    ms: valueOf("time", readDuration(values.time, 1_000, 24 * 3_600_000), 0),
    seed: valueOf("seed", readCount(values.seed, 0, 2 ** 31), 0),
    threads: threads === "auto" ? threads : `${valueOf("threads", readCount(threads, 1, 64), 1)}`,
    engine: valueOf("engine", readChoice(values.engine, ["bun", "libc"]), "bun"),
    rate: valueOf("rate", readCount(values.rate, 1, 1_000), 1),
    json: values.json,
  };
  return mistakes.length === 0 ? command : mistakes;
}
