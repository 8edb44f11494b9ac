// A balancer and its successors, as one user starts and upgrades them.

import { readFileSync } from "node:fs";
import { askToUpgrade, type Answer } from "../../src/upgrade-command.ts";
import { type RunningBalancer, type SpawnOptions, spawnBalancer, until } from "../net.ts";

export class Chain implements AsyncDisposable {
  /** Output of all of them; `exited` when the last has closed it. */
  readonly first: RunningBalancer;
  readonly pids: number[];

  constructor(first: RunningBalancer) {
    this.first = first;
    this.pids = [first.pid];
  }

  /** The one that accepts. */
  get pid(): number {
    return this.pids.at(-1) ?? 0;
  }
  get port(): number {
    return this.first.port;
  }
  get stderr(): string {
    return this.first.stderr;
  }
  get lines(): readonly string[] {
    return this.first.stdout;
  }

  /** One upgrade, that must succeed unless `done` says otherwise. */
  async upgrade(done = true): Promise<Answer> {
    const answer = await askToUpgrade(this.pid);
    const successor = Number(/process (\d+) serves/.exec(answer.words)?.[1] ?? 0);
    if (successor > 0) this.pids.push(successor);
    if (answer.done !== done) throw new Error(`${answer.words}\n${this.stderr}`);
    return answer;
  }

  /** Sends SIGTERM to whoever accepts; fulfils when all have ended and all output was read. */
  async finish(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (isThere(this.pid)) process.kill(this.pid, signal);
    await this.first.exited;
  }

  async gone(pid: number): Promise<void> {
    await until(() => !isThere(pid), `the end of process ${pid}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const pid of this.pids.slice(1)) if (isThere(pid)) process.kill(pid, "SIGKILL");
    await this.first[Symbol.asyncDispose]();
  }
}

export async function startChain(
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<Chain> {
  return new Chain(await spawnBalancer(args, options));
}

/** One that has ended and that nobody has asked for yet is gone as well. */
function isThere(pid: number): boolean {
  try {
    return !/^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
