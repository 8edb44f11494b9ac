// The new program beside the old one: it is started with our listening descriptors, and we wait until it serves. If
// anything goes wrong it is ended again, and nothing has changed. `inherited.ts` is its side of the door.
import { resolve } from "node:path";
import type { Environment } from "./inherited.ts";
import { givenCountMax, handOverVariable } from "./inherited.ts";

/** After SIGTERM one that is not wanted any more has so long to end, then it is killed. */
const endMsDefault = 5_000;

/** What a successor says once it serves, and what it hears when the one before has let go. */
const readyWord = "iawlb-ready";
const yoursWord = "iawlb-yours";

/** A descriptor that is handed on. */
export interface HandedDescriptor {
  readonly fd: number;
  readonly address: string;
  /** A service manager's. */
  readonly isForeign: boolean;
}

export interface UpgradeRequest {
  readonly descriptors: readonly HandedDescriptor[];
  /** The new program and its arguments. */
  readonly command: readonly string[];
  readonly environment: Environment;
  /** Longest wait for its word. */
  readonly timeoutMs: number;
  readonly endMs?: number;
  /** Called in the turn in which its word comes. */
  readonly onReady: (successor: Successor) => void;
}

interface Successor {
  readonly pid: number;
  /** Tells it that it is alone in charge. */
  letGo(): void;
  /** Fulfils when it ends while we still run, with the way it did; "" = in order. */
  readonly ended: Promise<string>;
}

export interface Upgrade {
  /** null once a successor serves; else why there is none, and it is not running any more. */
  readonly fault: Promise<string | null>;
  /** Ends the successor unless it serves already; `now`: without giving it time. */
  cancel(cause: string, now: boolean): void;
}

/** Starts the new program with the descriptors from 3 on, in their order. */
export function upgrade(request: UpgradeRequest): Upgrade {
  const { descriptors } = request;
  const isPossible = descriptors.length > 0 && descriptors.length <= givenCountMax;
  if (isPossible) return new Attempt(request);
  const words =
    descriptors.length === 0
      ? "there is no listening descriptor to hand on (it takes the C library of Linux)"
      : `${descriptors.length} listening descriptors are more than ${givenCountMax}`;
  return { fault: Promise.resolve(words), cancel() {} };
}

class Attempt implements Upgrade {
  readonly fault: Promise<string | null>;
  private readonly request: UpgradeRequest;
  private readonly settle: (fault: string | null) => void;
  private readonly ended = Promise.withResolvers<string>();
  private readonly child: Bun.Subprocess | null;
  private readonly deadline: ReturnType<typeof setTimeout>;
  private killTimer: ReturnType<typeof setTimeout> | undefined;
  /** Why it is being ended; null = it is not. */
  private endCause: string | null = null;
  private isReady = false;

  constructor(request: UpgradeRequest) {
    const { promise, resolve } = Promise.withResolvers<string | null>();
    this.request = request;
    this.fault = promise;
    this.settle = resolve;
    const { timeoutMs } = request;
    const late = () => this.cancel(`it was not ready within ${timeoutMs} ms`, false);
    this.deadline = setTimeout(late, timeoutMs);
    this.child = this.start();
    this.child?.unref();
  }

  cancel(cause: string, now: boolean): void {
    const { child } = this;
    if (this.isReady || child === null || child.exitCode !== null || child.signalCode !== null) {
      return;
    }
    this.endCause ??= cause;
    clearTimeout(this.deadline);
    clearTimeout(this.killTimer);
    child.kill(now ? "SIGKILL" : "SIGTERM");
    const { endMs = endMsDefault } = this.request;
    if (!now) this.killTimer = setTimeout(() => child.kill("SIGKILL"), endMs);
  }

  private start(): Bun.Subprocess | null {
    const { command, descriptors, environment } = this.request;
    const owners = descriptors.map(({ isForeign }) => (isForeign ? "foreign" : "own"));
    try {
      return Bun.spawn([...command], {
        stdio: ["ignore", "inherit", "inherit", ...descriptors.map(({ fd }) => fd)],
        env: { ...environment, [handOverVariable]: owners.join(",") },
        serialization: "json",
        ipc: (message: unknown) => this.onMessage(message),
        onExit: (_, code, signal) =>
          this.onExit(signal === null ? `with exit code ${code}` : `by signal ${signal}`),
      });
    } catch (error) {
      clearTimeout(this.deadline);
      this.settle(
        `it cannot be started: ${error instanceof Error ? error.message : String(error)}`,
      );
      return null;
    }
  }

  private onMessage(message: unknown): void {
    const pid = pidIn(message);
    if (pid === null || this.isReady || this.endCause !== null) return;
    this.isReady = true;
    clearTimeout(this.deadline);
    const letGo = () => this.child?.send(yoursWord);
    this.request.onReady({ pid, letGo, ended: this.ended.promise });
    this.settle(null);
  }

  private onExit(end: string): void {
    clearTimeout(this.deadline);
    clearTimeout(this.killTimer);
    this.ended.resolve(end === inOrder ? "" : end);
    this.settle(this.endCause ?? `it has ended ${end} before it was ready`);
  }
}

const inOrder = "with exit code 0";

/** @returns the process that says that it serves, or null when a message says anything else. */
function pidIn(message: unknown): number | null {
  if (typeof message !== "object" || message === null) return null;
  const { word, pid } = message as { word?: unknown; pid?: unknown }; // nothing is known of it yet
  return word === readyWord && Number.isSafeInteger(pid) ? Number(pid) : null;
}

/** Tells the process before us that we serve. @returns when it has let go, or is gone. */
export async function sayReady(): Promise<void> {
  if (process.send === undefined || !process.connected) return; // it is gone
  const { promise, resolve } = Promise.withResolvers<void>();
  process.on("message", (message) => {
    if (message === yoursWord) resolve();
  });
  process.once("disconnect", resolve);
  process.send({ word: readyWord, pid: process.pid });
  await promise;
  if (process.connected) process.disconnect?.();
}

/** How this program is started anew: by the name it was called by, so that a file or link that was replaced counts. */
export function ownCommand(
  runtime: Pick<NodeJS.Process, "argv" | "argv0" | "execArgv" | "execPath">,
  script: string,
  directory: string,
): readonly string[] {
  const { argv, argv0, execArgv } = runtime;
  const execPath = runtime.execPath.replace(/ \(deleted\)$/, "");
  const args = argv.slice(2);
  if (!script.startsWith(compiledRoot)) return [execPath, ...execArgv, script, ...args];
  const called = argv0.includes("/") ? resolve(directory, argv0) : Bun.which(argv0);
  return [called ?? execPath, ...args];
}

/** Where the files of a compiled program lie. */
const compiledRoot = "/$bunfs/";
