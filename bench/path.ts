// A path with delay between balancer and destinations: two network namespaces and a relay (path.c) between them.

import { existsSync } from "node:fs";
import { missingCompiler } from "./load.ts";
import type { Ends, Load } from "./load.ts";

/** Ends with both namespaces, as does this process. */
export interface Path extends Ends, AsyncDisposable {
  /** The destinations' address, seen from the balancer. */
  readonly host: string;
}

/** @returns why no such path can be made here, or null. */
export function missingPath(): string | null {
  const words = "skipped: a path with delay, which needs ";
  if (missingCompiler() !== null) return `${words}a C compiler`;
  if (process.getuid?.() !== 0) return `${words}root, for network namespaces`;
  if (!existsSync("/dev/net/tun")) return `${words}a kernel with tunnels (/dev/net/tun)`;
  const unshare = Bun.which("unshare");
  const allowed = unshare !== null && Bun.spawnSync([unshare, "--net", "true"]).success;
  return allowed ? null : `${words}the right to make network namespaces`;
}

/** @param delayMs of each direction. @throws when the kernel refuses the tunnels after all. */
export async function openPath(load: Load, delayMs: number): Promise<Path> {
  const program = await load.compile("path");
  const child = load.onLoadCore([program, String(delayMs * 1e6)]);
  try {
    const [, json] = await child.stdoutLine(/^(\{"near".*\})$/);
    const { near, far, host } = JSON.parse(json ?? "{}");
    const within = (pid: number) => [program, "within", String(pid)];
    const end = () => child[Symbol.asyncDispose]();
    return { near: within(near), far: within(far), host, [Symbol.asyncDispose]: end };
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
}
