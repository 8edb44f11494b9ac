// The balancer of a soak: a process of its own that is read line by line, however long it runs.

import { readdirSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { Status } from "../../src/balancer.ts";
import type { ProgramStatus } from "../../src/control/steering.ts";
import { toEnded, type Ended } from "../e2e/ways.ts";
import { CLI, rssKiB } from "../run.ts";
import { until } from "../wait.ts";
import { eachLine, endsWithUs } from "./process.ts";

export interface SubjectHost {
  onLine(line: Ended): void;
  /** A line of stderr, but for the answers to `status`. */
  onWord(line: string): void;
}

export class Subject implements AsyncDisposable {
  readonly pid: number;
  port = 0;
  private readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  private readonly read: Promise<unknown>;
  private readonly answers: ((status: Status) => void)[] = [];

  constructor(args: readonly string[], host: SubjectHost) {
    const log = ["--access-log", "json", "--refusal-lines", "0"];
    this.child = Bun.spawn([process.execPath, CLI, ...log, "127.0.0.1:0", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NODE_ENV: undefined, NO_COLOR: "1", IAWLB_ADMIN: "off" },
    });
    endsWithUs(this.child);
    this.pid = this.child.pid;
    const lines = eachLine(this.child.stdout, (line) => host.onLine(toEnded(line)));
    const words = eachLine(this.child.stderr, (line) => {
      if (line.startsWith("status: ")) {
        const said = JSON.parse(line.slice("status: ".length)) as ProgramStatus; // it writes what it says
        const [status] = said.listeners;
        if (status !== undefined) this.answers.shift()?.(status);
        return;
      }
      const port = /^listening on .*:(\d+)$/.exec(line)?.[1];
      if (port !== undefined) this.port = Number(port);
      else host.onWord(line);
    });
    this.read = Promise.all([lines, words]);
  }

  get isRunning(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null;
  }

  get rssKiB(): number {
    return this.isRunning ? rssKiB(this.pid) : 0;
  }

  /** Open descriptors. The libc engine keeps its pipes, so those are counted for themselves. */
  get descriptors(): { readonly pipes: number; readonly others: number } {
    if (!this.isRunning) return { pipes: 0, others: 0 };
    const directory = `/proc/${this.pid}/fd`;
    const targets = readdirSync(directory).map((fd) => targetOf(join(directory, fd)));
    const open = targets.filter((target) => target !== "");
    const pipes = open.filter((target) => target.startsWith("pipe:")).length;
    return { pipes, others: open.length - pipes };
  }

  async listening(): Promise<void> {
    await until(() => this.port > 0 || !this.isRunning, "listening", 30_000);
    if (!this.isRunning) throw new Error("the balancer did not start");
  }

  /** Asked by SIGUSR1. Throws when it has ended, or does not answer. */
  async status(): Promise<Status> {
    let status: Status | null = null;
    this.answers.push((answer) => (status = answer));
    this.child.kill("SIGUSR1");
    return until(() => status, "the status", 20_000);
  }

  /** By SIGTERM. @returns its exit code, once all its lines have been read. */
  async stop(): Promise<number> {
    this.child.kill("SIGTERM");
    await Promise.race([this.child.exited, Bun.sleep(40_000)]);
    await this[Symbol.asyncDispose]();
    return this.child.exitCode ?? -1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isRunning) this.child.kill("SIGKILL");
    await this.child.exited;
    await this.read;
  }
}

/** @returns "" when it has been closed meanwhile. */
function targetOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
