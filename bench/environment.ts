// Where and with what a figure was taken, to stand beside it.

import { arch, release, type } from "node:os";
import { join } from "node:path";
import { allowedCpus, cpuModel } from "./proc.ts";
import { PEERS, versionOf } from "./programs.ts";

export interface Environment {
  readonly date: string;
  /** Short, with a "+" when the tree differs from it. */
  readonly commit: string;
  readonly machine: string;
  readonly versions: readonly string[];
}

export function environment(): Environment {
  return {
    date: new Date().toISOString().slice(0, 16).replace("T", " ") + " UTC",
    commit: commit(),
    machine: `${cpuModel()}, ${allowedCpus().length} cores, ${type()} ${release()} ${arch()}`,
    versions: [`Bun ${Bun.version}`, ...[...PEERS, "wrk" as const, "cc" as const].map(versionOf)],
  };
}

function commit(): string {
  if (Bun.which("git") === null) return "unknown";
  const git = (...words: string[]) => {
    const { stdout, exitCode } = Bun.spawnSync(["git", ...words], {
      cwd: join(import.meta.dir, ".."),
    });
    return exitCode === 0 ? stdout.toString().trim() : "";
  };
  // The report itself is no change of what was measured.
  const changed = git(
    "status",
    "--porcelain",
    "--",
    ":!bench/RESULTS.md",
    ":!bench/results",
    ":!doc/tail.svg",
  );
  return `${git("rev-parse", "--short", "HEAD") || "no commit"}${changed === "" ? "" : "+"}`;
}
