// A million inputs made wrong on purpose for each reader of a peer's bytes: `npm run fuzz [-- COUNT [NAME...]]`.

import { seeded } from "../wait.ts";
import type { FuzzReport } from "./fuzz.ts";
import { fuzzHello } from "./hello-fuzz.ts";
import { fuzzProxy } from "./proxy-fuzz.ts";

/** What is fuzzed, by its name. */
const bodies: Readonly<Record<string, (seed: number, count: number) => FuzzReport>> = {
  proxy: fuzzProxy,
  hello: fuzzHello,
};

const usage = `usage: bun test/wire/million.ts [COUNT] [NAME...]
COUNT inputs for each of ${Object.keys(bodies).join(", ")} (default: 1000000, all); IAWLB_SEED has them again\n`;

process.exitCode = main();

function main(): number {
  const [countText = "1000000", ...names] = process.argv.slice(2);
  const count = Number(countText);
  const unknown = names.filter((name) => bodies[name] === undefined);
  if (!Number.isInteger(count) || count < 1 || unknown.length > 0) {
    process.stderr.write(usage);
    return 2;
  }
  const { seed } = seeded();
  let failedCount = 0;
  for (const [name, body] of Object.entries(bodies)) {
    if (names.length > 0 && !names.includes(name)) continue;
    const startAt = performance.now();
    try {
      const report = body(seed, count);
      const seconds = ((performance.now() - startAt) / 1_000).toFixed(1);
      const kinds = Object.entries(report).map(([kind, n]) => `${n} ${kind}`);
      process.stdout.write(`${name}: ${count} inputs in ${seconds} s, ${kinds.join(", ")}\n`);
    } catch (error) {
      failedCount += 1;
      process.stdout.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
  return failedCount === 0 ? 0 : 1;
}
