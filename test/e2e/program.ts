// Real programs for tests: found or skipped with a line that says so, started in a folder of their own,
// ended by their own process number.

import { test } from "bun:test";
import { chmodSync, chownSync, globSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "../net.ts";

const PATH = [
  process.env["PATH"],
  "/usr/sbin",
  "/sbin",
  ...globSync("/usr/lib/postgresql/*/bin"),
].join(":");

/** `test`, or `test.skip` after one line for each program that is not installed. */
export function testWith(programs: Readonly<Record<string, string>>): typeof test {
  const missing = Object.keys(programs).filter((name) => Bun.which(name, { PATH }) === null);
  for (const name of missing) {
    console.log(`skipped: ${name} is not installed (apt-get install ${programs[name]})`);
  }
  // `test.skip` has the same calls, less the modifiers, which nobody uses here.
  return missing.length === 0 ? test : (test.skip as typeof test);
}

/** Where a program is; only for those `testWith` has found. */
export function pathOf(name: string): string {
  return Bun.which(name, { PATH }) ?? name;
}

export interface Folder extends Disposable {
  readonly path: string;
}

/** A folder that programs running as somebody else can enter; `owner` makes it theirs. */
export function folder(owner?: number): Folder {
  const path = mkdtempSync(join(tmpdir(), "iawlb-test-"));
  chmodSync(path, owner === undefined ? 0o755 : 0o700);
  if (owner !== undefined) chownSync(path, owner, owner);
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** A port that was free just now, and not of those that the system gives to others meanwhile. */
export function freePort(): number {
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    try {
      Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop(true);
      return port;
    } catch {
      // Somebody has it; another one.
    }
  }
}

/** Something listens there; asked of the kernel, for a connection would already be a client to it. */
function listens(port: number): boolean {
  const place = `:${port.toString(16).toUpperCase().padStart(4, "0")} `;
  const LISTEN = /^\s*\d+: (\S+ )\S+ 0A /gm;
  return ["tcp", "tcp6"].some((table) =>
    [...readFileSync(`/proc/net/${table}`, "utf8").matchAll(LISTEN)].some((m) =>
      m[1]?.endsWith(place),
    ),
  );
}

/** Starts a server program, waits for its port, and ends it by its number when disposed. */
export async function server(command: readonly string[], port: number): Promise<AsyncDisposable> {
  const [name = "", ...args] = command;
  const child = Bun.spawn([pathOf(name), ...args], { stdio: ["ignore", "pipe", "pipe"] });
  const output = Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const stop = async () => {
    child.kill("SIGTERM");
    const late = setTimeout(() => child.kill("SIGKILL"), 5_000);
    await child.exited;
    clearTimeout(late);
  };
  try {
    await until(() => child.exitCode !== null || listens(port), `${name} listening`, 20_000);
    if (child.exitCode !== null) throw new Error(`${name} ended:\n${(await output).join("")}`);
  } catch (error) {
    await stop();
    throw error;
  }
  return { [Symbol.asyncDispose]: stop };
}

/** Runs a program to its end and returns its output; any other exit code than 0 is an error with its words. */
export async function run(
  command: readonly string[],
  options: {
    readonly input?: string | Uint8Array | undefined;
    readonly env?: Record<string, string>;
  } = {},
): Promise<Buffer> {
  const [name = "", ...args] = command;
  const child = Bun.spawn([pathOf(name), ...args], {
    stdio: [options.input === undefined ? "ignore" : Buffer.from(options.input), "pipe", "pipe"],
    env: { ...process.env, ...options.env },
    timeout: 60_000,
  });
  const [output, complaint, code] = await Promise.all([
    new Response(child.stdout).arrayBuffer(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code === 0) return Buffer.from(output);
  const ending = child.signalCode ?? `exit code ${code}`;
  throw new Error(`${command.join(" ")}: ${ending}\n${complaint}${Buffer.from(output)}`);
}
