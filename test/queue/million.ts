// The long form of the storm, from the command line:
//
//   npm run queue -- [--count N] [--seed S] [--threads N] [--engine bun|libc] [--json]
//
// A million connections unless `--count` says otherwise. Exit code 1, and what was found, when a rule was broken.

import { parseArgs } from "node:util";
import { storm, type StormSummary } from "./storm.ts";

/** Between two lines of progress. */
const progressMs = 5_000;

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "1000000" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    threads: { type: "string", default: "3" },
    engine: { type: "string", default: "bun" },
    json: { type: "boolean", default: false },
  },
});
const count = whole("count", values.count, 1);
const seed = whole("seed", values.seed, 0);
const threadCount = whole("threads", values.threads, 1);
const { engine } = values;
if (engine !== "bun" && engine !== "libc") fail(`--engine ${engine}: bun or libc is accepted`);

const startedAt = performance.now();
let toldAt = startedAt;
process.stderr.write(
  `${count} connections, seed ${seed}, ${threadCount} threads, engine ${engine}\n`,
);
const summary = await storm({
  count,
  seed,
  threadCount,
  engine,
  queueMs: 2_000,
  onProgress({ startedCount, openCount, answeredCount }, destinations) {
    const now = performance.now();
    if (now - toldAt < progressMs) return;
    toldAt = now;
    const seconds = Math.round((now - startedAt) / 1_000);
    const upCount = destinations.filter((each) => each.isUp).length;
    process.stderr.write(
      `${seconds} s: ${startedCount} came, ${openCount} are open, ${answeredCount} were answered,` +
        ` ${upCount} of ${destinations.length} destinations are up\n`,
    );
  },
});
process.stdout.write(`${values.json ? JSON.stringify(summary, null, 2) : told(summary)}\n`);
process.exit(summary.violations.length === 0 ? 0 : 1);

function told({ violations, ended, servingMax, ...rest }: StormSummary): string {
  const rows = Object.entries({ ...rest, servingMax: servingMax.join(", "), ...prefixed(ended) });
  const width = Math.max(...rows.map(([name]) => name.length));
  const table = rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`);
  const verdict =
    violations.length === 0
      ? ["every rule was kept"]
      : [`rules were broken (again with --seed ${seed} --count ${count}):`, ...violations];
  return [...table, ...verdict].join("\n");
}

function prefixed(ended: StormSummary["ended"]): Record<string, number> {
  return Object.fromEntries(Object.entries(ended).map(([reason, n]) => [`ended ${reason}`, n]));
}

function whole(name: string, text: string, least: number): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < least) {
    fail(`--${name} ${text}: a whole number from ${least} is accepted`);
  }
  return value;
}

function fail(message: string): never {
  process.stderr.write(`${message}\n`);
  process.exit(2);
}
