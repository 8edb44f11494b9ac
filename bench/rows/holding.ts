// Holds idle pairs through a balancer, and reads its memory once that is steady.

import type { Child } from "../children.ts";
import { memory } from "../proc.ts";
import type { Bench } from "../row.ts";

const SETTLE_MS = 500;
const SETTLE_TRIES = 8;
/** Two readings this near to each other are one value. */
const STEADY_KIB = 32;
const HOLD_MS = 120_000;

/** Opens so many more pairs; each has carried one request then. */
export async function hold(holder: Child, count: number): Promise<void> {
  holder.send(`${count}\n`);
  const [, errors] = await holder.stdoutLine(/"errors":(\d+)/, HOLD_MS);
  if (errors !== "0") throw new Error(`idle: ${errors} of ${count} pairs failed`);
}

/** One more request through each pair. @returns how many were answered. */
export async function askAll(holder: Child): Promise<number> {
  holder.send("ask\n");
  const [, served] = await holder.stdoutLine(/"served":(\d+)/, HOLD_MS);
  return Number(served);
}

/** Reads until two readings agree, since collectors and allocators give back late. */
export async function settledKiB(bench: Bench, pid: number): Promise<number> {
  let last = memory(pid).anonKiB;
  for (let tries = 0; tries < (bench.small ? 1 : SETTLE_TRIES); tries++) {
    await Bun.sleep(bench.small ? SETTLE_MS / 5 : SETTLE_MS);
    const next = memory(pid).anonKiB;
    if (Math.abs(next - last) <= STEADY_KIB) return next;
    last = next;
  }
  return last;
}
