// Runs one loop of bench/micro.ts in a fresh process on the balancer's core.

import { fileURLToPath } from "node:url";
import type { Bench } from "../row.ts";

export const MICRO: readonly string[] = [
  process.execPath,
  fileURLToPath(new URL("../micro.ts", import.meta.url)),
];

/** @returns nanoseconds a step. */
export async function timeMicro(bench: Bench, words: readonly string[]): Promise<number> {
  await using child = bench.load.onBalancerCore([...MICRO, ...words]);
  const { code, stdout, stderr } = await child.ended(60_000);
  if (code !== 0) throw new Error(`micro ${words.join(" ")}: ${stderr.trim()}`);
  return JSON.parse(stdout).ns;
}
