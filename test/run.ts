// The balancer as a process of its own, and what /proc says of it.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "./wait.ts";

export function rssKiB(pid: number): number {
  const line = readFileSync(`/proc/${pid}/status`, "utf8").match(/^VmRSS:\s+(\d+)/m);
  return Number(line?.[1]);
}

export function fdCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** The same once its last connection is closed: when it has not changed for a while. */
export async function settledFdCount(pid: number): Promise<number> {
  let last = -1;
  let sinceMs = 0;
  await until(() => {
    const count = fdCount(pid);
    const nowMs = performance.now();
    if (count !== last) sinceMs = nowMs;
    last = count;
    return nowMs - sinceMs > 300;
  }, "a steady number of descriptors");
  return last;
}

/** CPU time used so far, of all its threads, user and system, to 10 ms. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10; // a tick is 10 ms on every Linux
}

export interface RunningBalancer extends AsyncDisposable {
  /** As printed: "127.0.0.1:40123", "[::1]:8080", "unix:/path". */
  readonly address: string;
  /** 0 for a unix socket. */
  readonly port: number;
  readonly pid: number;
  /** Whole lines of stdout so far: the access log. */
  readonly stdout: readonly string[];
  readonly stderr: string;
  /** The exit code, once all its output has been read. */
  readonly exited: Promise<number>;
  /** Sends the signal and returns the exit code. */
  stop(signal?: NodeJS.Signals): Promise<number>;
}

export interface SpawnOptions {
  /** What to run instead of `bun src/cli.ts`: the compiled binary. */
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  /** A descriptor that gets stdout; it is not collected then. */
  readonly stdout?: number;
  /** Descriptors that it finds from 3 on. */
  readonly given?: readonly number[];
}

export const CLI = join(import.meta.dir, "..", "src", "cli.ts");

/** Starts the balancer as a process and waits for its `listening on` line. */
export async function spawnBalancer(
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<RunningBalancer> {
  const command = options.command ?? [process.execPath, CLI];
  const child = Bun.spawn([...command, ...args], {
    stdio: ["ignore", options.stdout ?? "pipe", "pipe", ...(options.given ?? [])],
    // As a user would start it: libraries must not see that `bun test` is running.
    env: {
      ...process.env,
      NODE_ENV: undefined,
      NO_COLOR: "1",
      IAWLB_ADMIN: "off", // unless the test is about it
      ...options.env,
    },
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
  });
  const output = { lines: [] as string[], unended: "", stderr: "" };
  const collected = [
    collect(child.stdout, (text) => {
      const lines = (output.unended + text).split("\n");
      output.unended = lines.pop() ?? "";
      output.lines.push(...lines);
    }),
    collect(child.stderr, (text) => (output.stderr += Bun.stripANSI(text))),
  ];
  const ended = Promise.all([child.exited, ...collected]).then(([code]) => code);
  const LISTENING = /listening on (\S+)\n/;
  const exited = () => child.exitCode !== null || child.signalCode !== null;
  const kill = (signal: NodeJS.Signals) => {
    if (!exited()) child.kill(signal);
    return ended;
  };
  await until(() => LISTENING.test(output.stderr) || exited(), "listening", 20_000).catch(() => {});
  const address = output.stderr.match(LISTENING)?.[1];
  if (address === undefined) {
    await kill("SIGKILL");
    throw new Error(`the balancer did not say "listening on":\n${output.stderr}`);
  }
  return {
    address,
    port: address.startsWith("unix:") ? 0 : Number(address.slice(address.lastIndexOf(":") + 1)),
    pid: child.pid,
    get stdout() {
      return output.lines;
    },
    get stderr() {
      return output.stderr;
    },
    exited: ended,
    stop: (signal = "SIGTERM") => kill(signal),
    [Symbol.asyncDispose]: async () => void (await kill("SIGKILL")),
  };
}

type Output = ReadableStream<Uint8Array> | number | undefined;

async function collect(stream: Output, add: (text: string) => void) {
  if (!(stream instanceof ReadableStream)) return; // it went elsewhere
  const decoder = new TextDecoder();
  for await (const chunk of stream) add(decoder.decode(chunk, { stream: true }));
}
