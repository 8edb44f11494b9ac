// What /proc says about a process, its threads and children, and about this machine.

import { readdirSync, readFileSync } from "node:fs";

/** Nanoseconds on a processor, by thread. */
export type CpuTimes = ReadonlyMap<number, number>;

export interface MachineTicks {
  readonly total: number;
  readonly steal: number;
}

/** The process and all its descendants, itself first. */
export function processTree(pid: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    // The name in the second field may hold spaces and brackets; what follows the last bracket is plain.
    const stat = read(`/proc/${name}/stat`);
    const parent = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1];
    if (parent !== undefined) parents.set(Number(name), Number(parent));
  }
  const tree = [pid];
  for (const member of tree) {
    for (const [child, parent] of parents) if (parent === member) tree.push(child);
  }
  return tree;
}

/** The time every thread of the process and of its children has run: field 1 of schedstat. */
export function cpuTimes(pid: number): CpuTimes {
  const times = new Map<number, number>();
  for (const member of processTree(pid)) {
    for (const thread of list(`/proc/${member}/task`)) {
      const [ran] = read(`/proc/${member}/task/${thread}/schedstat`).split(" ");
      if (ran !== undefined && ran !== "") times.set(Number(thread), Number(ran));
    }
  }
  return times;
}

/** A thread that ended in between is left out: what it ran is no longer told. */
export function cpuSecondsBetween(before: CpuTimes, after: CpuTimes): number {
  let ns = 0;
  for (const [thread, ran] of after) ns += ran - (before.get(thread) ?? 0);
  return ns / 1e9;
}

export interface Memory {
  /** All of it, shared pages by their share. */
  readonly pssKiB: number;
  /**
   * The part that no file backs: heaps and stacks. Only this may be compared between two moments, since the share of a
   * program's own pages changes whenever another process of the same program comes or goes.
   */
  readonly anonKiB: number;
}

/** Memory of the process and its children. Zeros when /proc does not tell. */
export function memory(pid: number): Memory {
  const fields = processTree(pid).map((member) => read(`/proc/${member}/smaps_rollup`));
  const sum = (name: string) =>
    fields.reduce(
      (total, text) => total + Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(text)?.[1] ?? 0),
      0,
    );
  return { pssKiB: sum("Pss"), anonKiB: sum("Pss_Anon") + sum("Pss_Shmem") };
}

/** Writes to files, pipes and wake descriptors since the start; sending on a socket is none. NaN when not told. */
export function writeCount(pid: number): number {
  return Number(/^syscw:\s+(\d+)/m.exec(read(`/proc/${pid}/io`))?.[1] ?? NaN);
}

/** The hard limit of open files, as children will see it. */
export function descriptorLimit(): number {
  const [, text] = /^Max open files\s+\S+\s+(\S+)/m.exec(read("/proc/self/limits")) ?? [];
  return Number(text) || 20_000;
}

/** Ticks of all processors since the start of the machine. */
export function machineTicks(): MachineTicks {
  const fields = read("/proc/stat").split("\n")[0]?.split(/\s+/).slice(1, 9).map(Number) ?? [];
  return { total: fields.reduce((sum, ticks) => sum + ticks, 0), steal: fields[7] ?? 0 };
}

/** Share of the machine's time that its host gave to others, 0 to 1. */
export function stealShare(before: MachineTicks, after: MachineTicks): number {
  return (after.steal - before.steal) / Math.max(1, after.total - before.total);
}

/** The processors this process may use, by number. */
export function allowedCpus(): number[] {
  const text = /^Cpus_allowed_list:\s+(\S+)/m.exec(read("/proc/self/status"))?.[1] ?? "";
  return text.split(",").flatMap((range) => {
    const [first, last] = range.split("-").map(Number);
    if (first === undefined || Number.isNaN(first)) return [];
    return Array.from({ length: (last ?? first) - first + 1 }, (_, index) => first + index);
  });
}

export function cpuModel(): string {
  return /^model name\s*:\s*(.+)$/m.exec(read("/proc/cpuinfo"))?.[1]?.trim() ?? "unknown processor";
}

/** Empty when the file is gone: processes end while they are being listed. */
function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function list(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
