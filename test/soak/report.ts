// A soak in words.

import { outcomes } from "./judge.ts";
import type { Progress, SoakReport } from "./run.ts";

export function progressText(progress: Progress): string {
  const { seconds, connectionCount, rate, bytes, open, waiting } = progress;
  return (
    `${seconds.toFixed(0).padStart(4)} s  ${connectionCount} connections, ${rate.toFixed(0)}/s, ` +
    `${(bytes / 2 ** 20).toFixed(0)} MiB, ${open} open, ${waiting} waiting, ` +
    `RSS ${progress.rssMiB.toFixed(0)} MiB, ${progress.troubleCount} troubles, ` +
    `${progress.violationCount} violations`
  );
}

export function reportText(report: SoakReport): string {
  const { seconds, connectionCount, bytes, memory, violations } = report;
  const violationCount = Object.values(report.violationCounts).reduce((sum, each) => sum + each, 0);
  const lines = [
    `${connectionCount} connections in ${seconds.toFixed(1)} s, ` +
      `${(connectionCount / seconds).toFixed(0)}/s, ${(bytes / 2 ** 20).toFixed(0)} MiB checked, ` +
      `${report.waitedCount} had to wait`,
    `destinations: ${counted(report.troubles)}; ${report.downCount} times taken down by checks`,
    `ends: ${counted(report.closed ?? {})}`,
    "",
    ...kindTable(report),
    "",
  ];
  if (memory !== null) {
    lines.push(
      `memory: ${memory.middleMiB.toFixed(0)} MiB in the middle third, ` +
        `${memory.lastMiB.toFixed(0)} MiB in the last, ${memory.mostMiB.toFixed(0)} MiB at most; ` +
        `${memory.limitMiB.toFixed(1)} MiB more would be a leak`,
    );
  }
  for (const { kind, text } of violations) lines.push(`${kind}: ${text}`);
  if (violations.length < violationCount) lines.push("and so on");
  lines.push(
    violationCount === 0
      ? "all is well: 0 wrong bytes, nothing missing, nothing left"
      : `${violationCount} violations: ${counted(report.violationCounts)}`,
  );
  return `${lines.join("\n")}\n`;
}

function kindTable({ kinds }: SoakReport): string[] {
  const row = (name: string, cells: readonly (string | number)[]) =>
    name.padEnd(24) + cells.map((cell) => String(cell).padStart(16)).join("");
  const head = row("kind", ["started", ...outcomes]);
  const rows = Object.entries(kinds)
    .toSorted(([a], [b]) => a.localeCompare(b))
    .map(([kind, counts]) => row(kind, [counts.started, ...outcomes.map((of) => counts[of] ?? 0)]));
  return [head, ...rows];
}

function counted(counts: Readonly<Record<string, number | undefined>>): string {
  const some = Object.entries(counts).filter(([, count]) => (count ?? 0) > 0);
  return some.map(([name, count]) => `${count} ${name}`).join(", ") || "none";
}
