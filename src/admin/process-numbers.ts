// What the kernel counts of this process; what cannot be had is left out.

import { readdirSync, readFileSync, statSync } from "node:fs";

export interface ProcessNumbers {
  readonly residentBytes: number;
  /** Of all threads, user and system. */
  readonly cpuSeconds: number;
  readonly openDescriptors: number | null;
  readonly descriptorsMax: number | null;
}

export function processNumbers(): ProcessNumbers {
  const { user, system } = process.cpuUsage();
  return {
    residentBytes: process.memoryUsage.rss(),
    cpuSeconds: (user + system) / 1e6,
    openDescriptors: orNull(countDescriptors),
    descriptorsMax: orNull(readDescriptorLimit),
  };
}

/** Since Linux 6.2 the directory's size is the count; before, its names are counted. @throws */
export function countDescriptors(): number {
  const { size } = statSync("/proc/self/fd");
  return size > 0 ? size : readdirSync("/proc/self/fd").length;
}

/** @throws where it cannot be told. */
export function readDescriptorLimit(): number {
  const limit = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  if (limit === undefined) throw new Error("unlimited, or told in other words");
  return Number(limit);
}

function orNull(read: () => number): number | null {
  try {
    return read();
  } catch {
    return null;
  }
}
