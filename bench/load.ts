// Runs the load program (load.c, compiled on the spot) and wrk, and reads what they found.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Child, finish } from "./children.ts";
import { allowedCpus } from "./proc.ts";

export const REQUEST = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";
/** An empty job for a one-slot destination. */
export const NO_SERVICE = "S0\n";

const COMPILERS = ["cc", "gcc", "clang"] as const;

export interface Quantiles {
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
}

export interface Loaded {
  readonly count: number;
  readonly errors: number;
  readonly seconds: number;
}

/** Destinations in one process; `ports` are theirs. */
export interface Destinations extends AsyncDisposable {
  readonly ports: readonly number[];
  readonly child: Child;
}

/** Cores for the two sides; −1 where there is only one core to share. */
export interface Cores {
  readonly load: number;
  readonly balancer: number;
}

const ANY_CORE: Cores = { load: -1, balancer: -1 };

/** Words before a command that bring it to one end of a path; see `openPath`. */
export interface Ends {
  readonly near: readonly string[];
  readonly far: readonly string[];
}

function chooseCores(): Cores {
  const [first, second] = allowedCpus();
  return first === undefined || second === undefined ? ANY_CORE : { load: first, balancer: second };
}

/** @returns why the load program cannot be had, or null. */
export function missingCompiler(): string | null {
  return COMPILERS.some((name) => Bun.which(name) !== null)
    ? null
    : "skipped: no C compiler is installed (apt-get install gcc libc6-dev)";
}

export function missingWrk(): string | null {
  return Bun.which("wrk") === null ? "skipped: wrk is not installed (apt-get install wrk)" : null;
}

/** The load side, with a directory of its own for programs, configurations and traces. */
export class Load {
  readonly directory: string;
  readonly cores: Cores;
  private readonly ends: Ends | null;
  private readonly program: string;

  private constructor(directory: string, cores: Cores, ends: Ends | null) {
    this.directory = directory;
    this.cores = cores;
    this.ends = ends;
    this.program = join(directory, "load");
  }

  /** Compiles the load program, where there is a compiler; see `missingCompiler`. */
  static async open(): Promise<Load> {
    const directory = mkdtempSync(join(tmpdir(), "iawlb-bench-"));
    const load = new Load(directory, chooseCores(), null);
    process.on("exit", () => load.close());
    if (missingCompiler() === null) await load.compile("load");
    return load;
  }

  /** The same, but nothing keeps to a core. */
  spread(): Load {
    return new Load(this.directory, ANY_CORE, this.ends);
  }

  /** The same with the destinations at the far end, all else at the near one. */
  along(ends: Ends): Load {
    return new Load(this.directory, this.cores, ends);
  }

  /** This process itself can connect to what is started here. */
  get reachable(): boolean {
    return this.ends === null;
  }

  /** Compiles bench/NAME.c. @returns the program. */
  async compile(name: string): Promise<string> {
    const compiler = COMPILERS.find((known) => Bun.which(known) !== null) ?? "cc";
    const program = join(this.directory, name);
    const source = join(import.meta.dir, `${name}.c`);
    await finish([compiler, "-O2", "-pthread", "-o", program, source]);
    return program;
  }

  /** Removes the directory. A test runner does not tell of its exit, so tests call it themselves. */
  close(): void {
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** Starts a program on the balancer's core. It ends with this process, even a killed one. */
  onBalancerCore(command: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
    if (!existsSync(this.program)) return new Child(command, env);
    const words = [this.program, "child", String(this.cores.balancer), ...command];
    return new Child([...(this.ends?.near ?? []), ...words], env);
  }

  /** Starts a program on the load's core, outside of any path. */
  onLoadCore(command: readonly string[]): Child {
    return new Child([this.program, "child", String(this.cores.load), ...command]);
  }

  /** Destinations that answer each request at once; "close": and then end the connection. */
  async serve(count: number, mode: "keep" | "close"): Promise<Destinations> {
    return this.destinations(["serve", String(count), mode]);
  }

  /** Destinations that serve one connection at a time, for as long as it asks. */
  async slots(count: number): Promise<Destinations> {
    return this.destinations(["slots", String(count), this.ends === null ? "loopback" : "any"]);
  }

  /** Ends one-slot destinations. @returns the gaps from a close to the next connection's first byte. */
  async gaps(slots: Destinations): Promise<Quantiles & { served: number; gaps: number }> {
    slots.child.closeStdin();
    const ended = await slots.child.ended(10_000);
    return JSON.parse(ended.stdout.trim().split("\n").at(-1) ?? "{}");
  }

  /** Keeps a core from sleeping, so that what runs there wakes in time. */
  keepAwake(side: keyof Cores): AsyncDisposable {
    const core = this.cores[side];
    if (core < 0) return { async [Symbol.asyncDispose]() {} };
    return new Child([this.program, "child", String(core), this.program, "awake"]);
  }

  /** New connections, one request each, `inflight` at once; the destination closes first. */
  async connect(port: number, count: number, inflight: number, text = REQUEST) {
    const words = ["connect", String(port), String(count), String(inflight), text];
    return complete(await this.run<Loaded & Quantiles>(words));
  }

  /** The same, but `size` are opened at once, and all end before the next. */
  async burst(port: number, count: number, size: number) {
    const words = ["burst", String(port), String(count), String(size), REQUEST];
    return complete(await this.run<Loaded & Quantiles>(words));
  }

  /** Requests at a fixed rate on kept connections; times count from the intended start. */
  async pace(port: number, rate: number, count: number, connections: number) {
    const words = ["pace", String(port), String(rate), String(count), String(connections)];
    return complete(await this.run<Loaded & Quantiles>(words));
  }

  async bulk(port: number, connections: number, bytesEach: number) {
    const words = ["bulk", String(port), String(connections), String(bytesEach)];
    return complete(await this.run<Loaded & { bytes: number }>(words));
  }

  /** Holds pairs, as many more as each line of its stdin says; asks through each when it says "ask". */
  holdPairs(port: number): Child {
    return new Child([...this.near, this.program, "idle", String(port)]);
  }

  /** One connection for each arrival of the trace file. @returns response times in ns, by arrival. */
  async replay(port: number, tracePath: string) {
    const path = join(this.directory, "times");
    const words = ["replay", String(port), tracePath, path];
    const loaded = complete(
      await this.run<Loaded & { lateP50Us: number; lateP99Us: number }>(words),
    );
    const ns = new BigUint64Array(await Bun.file(path).arrayBuffer());
    return { ...loaded, responseNs: Float64Array.from(ns, Number) };
  }

  /** Kept connections, one request after the other on each; whole seconds. @returns requests answered. */
  async wrk(port: number, seconds: number, connections: number, threads = 1): Promise<Loaded> {
    const { stdout } = await finish([
      ...this.near,
      "wrk",
      `-t${threads}`,
      `-c${connections}`,
      `-d${seconds}s`,
      `http://127.0.0.1:${port}/`,
    ]);
    const [, requests, took, unit] = /(\d+) requests in ([\d.]+)(m?s)/.exec(stdout) ?? [];
    const count = Number(requests ?? 0);
    const failed = /Socket errors: (.+)/.exec(stdout)?.[1] ?? /Non-2xx.+/.exec(stdout)?.[0];
    if (count === 0 || failed !== undefined) throw new Error(`wrk: ${failed ?? "no answer"}`);
    return { count, errors: 0, seconds: Number(took) / (unit === "ms" ? 1000 : 1) };
  }

  private get near(): readonly string[] {
    return [...(this.ends?.near ?? []), this.program, "child", String(this.cores.load)];
  }

  private get far(): readonly string[] {
    return [...(this.ends?.far ?? []), this.program, "child", String(this.cores.load)];
  }

  private async destinations(words: readonly string[]): Promise<Destinations> {
    const child = new Child([...this.far, this.program, ...words]);
    const [, json] = await child.stdoutLine(/^(\{"ports".*\})$/);
    const { ports } = JSON.parse(json ?? "{}");
    return { ports, child, [Symbol.asyncDispose]: () => child[Symbol.asyncDispose]() };
  }

  private async run<T>(words: readonly string[]): Promise<T> {
    const { stdout } = await finish([...this.near, this.program, ...words]);
    return JSON.parse(stdout);
  }
}

/** A run with failures, or with nothing done, is no figure. */
function complete<T extends { readonly errors: number }>(loaded: T): T {
  if (loaded.errors === 0) return loaded;
  throw new Error(`load: ${loaded.errors} connections failed`);
}
