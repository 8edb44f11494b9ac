// `npm run upgrades`: many connections while one process after the other takes over, in each way to run.
// --count N connections, --upgrades N of the process, --way NAME for one way alone.

import { parseArgs } from "node:util";
import { underLoad } from "./load.ts";

export const upgradeWays: Readonly<Record<string, readonly string[]>> = {
  bun: ["--engine", "bun"],
  "bun-threads": ["--engine", "bun", "--threads", "2"],
  libc: ["--engine", "libc"],
  "libc-threads": ["--engine", "libc", "--threads", "2"],
};

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      count: { type: "string", default: "100000" },
      upgrades: { type: "string", default: "20" },
      way: { type: "string", default: Object.keys(upgradeWays).join(",") },
    },
  });
  let isWell = true;
  for (const way of values.way.split(",")) {
    const options = upgradeWays[way];
    if (options === undefined) throw new Error(`ways are ${Object.keys(upgradeWays).join(", ")}`);
    const course = { options, count: Number(values.count), upgrades: Number(values.upgrades) };
    const onUpgrade = (number: number, done: number, failed: number) =>
      console.log(`${way}: upgrade ${number}, ${done} served, ${failed} failed`);
    const outcome = await underLoad({ ...course, onUpgrade });
    const { served, faults, pairs, pairsWell, lines, brokenLines, seconds } = outcome;
    console.log(
      `${way}: ${served} served and ${faults.length} failed in ${seconds.toFixed(1)} s, ` +
        `${course.upgrades} upgrades; ${pairsWell} of ${pairs} pairs untouched; ` +
        `${lines} access lines, ${brokenLines.length} broken`,
    );
    for (const fault of new Set(faults)) console.log(`  ${fault}`);
    for (const line of brokenLines.slice(0, 10)) console.log(`  broken line: ${line}`);
    isWell &&= faults.length === 0 && pairsWell === pairs && lines === served + pairs;
  }
  console.log(isWell ? "well" : "NOT WELL");
  process.exit(isWell ? 0 : 1);
}
