// The balancers under test: each with its best settings, started and found to answer.

import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Child } from "./children.ts";
import { REQUEST } from "./load.ts";
import type { Load } from "./load.ts";
import { descriptorLimit } from "./proc.ts";

export const PEERS = ["haproxy", "nginx"] as const;
export type Peer = (typeof PEERS)[number];
/** Our two engines: Bun's sockets, and the C library's. */
export const ENGINES = ["iawlb", "iawlb libc"] as const;
export type Engine = (typeof ENGINES)[number];
export type ProgramName = Engine | Peer;

type Balance = "round-robin" | "least-connections";

/** What a balancer stands in front of. */
export interface Setting {
  readonly ports: readonly number[];
  readonly balance: Balance;
  /** Connections at once per destination, the rest waits in the balancer; 0 = no limit. */
  readonly slots: number;
  /** Threads, or processes where the program has those instead; absent: 1. */
  readonly threads?: number;
  /** Destinations are there, when not on loopback. */
  readonly host?: string;
  /** More words for iawlb's command line. */
  readonly flags?: readonly string[];
  /** What a ready destination answers. */
  readonly probe: string;
}

export interface Running extends AsyncDisposable {
  readonly pid: number;
  /** What it has said on stderr so far. */
  readonly errorText: string;
  readonly port: number;
}

export const PLAIN: Omit<Setting, "ports"> = { balance: "round-robin", slots: 0, probe: REQUEST };

const ROOT = join(import.meta.dir, "..");
const READY_MS = 10_000;
const NGINX_MODULE = "ngx_stream_module.so";
const TRIES = 3;

let iawlb: readonly string[] = [process.execPath, join(ROOT, "src", "cli.ts")];

/** Measures another build of the balancer, such as the compiled binary. */
export function setIawlb(command: readonly string[]): void {
  iawlb = command;
}

export function isEngine(name: string): name is Engine {
  return ENGINES.some((engine) => engine === name);
}

/** @returns why a program cannot be measured here, or null. */
export function missing(name: ProgramName): string | null {
  if (name === "iawlb") return null;
  if (name === "iawlb libc") {
    return process.platform === "linux" ? null : "skipped: iawlb libc, which needs Linux";
  }
  const words = `skipped: ${name} is not installed (apt-get install `;
  if (Bun.which(name) === null) {
    return `${words}${name === "nginx" ? "nginx libnginx-mod-stream" : name})`;
  }
  if (name === "nginx" && streamModule() === null) {
    return "skipped: nginx has no stream module (apt-get install libnginx-mod-stream)";
  }
  return null;
}

/** The first line a program says of its version. */
export function versionOf(name: Peer | "wrk" | "cc"): string {
  const [program, flag] = {
    haproxy: ["haproxy", "-v"],
    nginx: ["nginx", "-v"],
    wrk: ["wrk", "-v"],
    cc: ["cc", "--version"],
  }[name];
  if (program === undefined || flag === undefined || Bun.which(program) === null) return "absent";
  const { stdout, stderr } = Bun.spawnSync([program, flag]);
  return `${stdout.toString()}${stderr.toString()}`.trim().split("\n")[0]?.trim() ?? "unknown";
}

/** The whole configuration, for the report and for the program itself. */
export function configurationOf(name: ProgramName, setting: Setting, port: number): string {
  if (name === "haproxy") return haproxyConfiguration(setting, port);
  if (name === "nginx") return nginxConfiguration(setting, port);
  return `iawlb ${iawlbArguments(name, setting, port).join(" ")}`;
}

/** The command that starts a program on `port` (0: iawlb picks one and says which). */
export async function commandOf(
  load: Load,
  name: ProgramName,
  setting: Setting,
  port: number,
): Promise<readonly string[]> {
  if (isEngine(name)) return [...iawlb, ...iawlbArguments(name, setting, port)];
  const path = join(load.directory, `${name}-${port}.conf`);
  await Bun.write(path, configurationOf(name, setting, port));
  if (name === "haproxy") return ["haproxy", "-db", "-f", path];
  return ["nginx", "-e", "stderr", "-p", load.directory, "-c", path];
}

/** Starts a fresh process and waits until an answer has come through it. @param env added to ours. */
export async function start(
  load: Load,
  name: ProgramName,
  setting: Setting,
  env: Readonly<Record<string, string>> = {},
): Promise<Running> {
  for (let tries = 1; ; tries++) {
    const wanted = isEngine(name) ? 0 : freePort();
    const child = load.onBalancerCore(await commandOf(load, name, setting, wanted), env);
    try {
      const port = wanted === 0 ? await listeningPort(child) : wanted;
      // Over a path only the load program gets there; its first connection is the proof then.
      if (load.reachable) await untilAnswer(child, port, setting.probe);
      return {
        pid: child.pid,
        port,
        get errorText() {
          return child.errorText;
        },
        [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
      };
    } catch (error) {
      await child[Symbol.asyncDispose]();
      // A port that was free may be taken by the time it is used.
      if (tries === TRIES || isEngine(name)) throw error;
    }
  }
}

export function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

/** Waits until a request through `port` is answered. Throws when the program ends or time runs out. */
export async function untilAnswer(child: Child, port: number, probe: string): Promise<void> {
  const deadline = performance.now() + READY_MS;
  while (child.running && performance.now() < deadline) {
    if (await answers(port, probe)) return;
    await Bun.sleep(1);
  }
  throw new Error(`no answer on port ${port}: ${child.errorText}`);
}

async function answers(port: number, probe: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), 1000);
  try {
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: (opened) => void opened.write(probe),
        data: () => resolve(true),
        close: () => resolve(false),
        error: () => resolve(false),
      },
    });
    const answered = await promise;
    socket.end();
    return answered;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}

async function listeningPort(child: Child): Promise<number> {
  const [, port] = await child.stderrLine(/listening on .*:(\d+)/);
  return Number(port);
}

function iawlbArguments(name: Engine, setting: Setting, port: number): string[] {
  const { host = "127.0.0.1", threads = 1 } = setting;
  return [
    `127.0.0.1:${port}`,
    ...setting.ports.map((destination) => `${host}:${destination}`),
    "--slots",
    String(setting.slots),
    "--access-log",
    "off",
    ...(name === "iawlb" ? [] : ["--engine", "libc"]),
    ...(threads === 1 ? [] : ["--threads", String(threads)]),
    ...(setting.flags ?? []),
  ];
}

// Splicing and the smart handshakes are its best settings; limits must fit the descriptors.
function haproxyConfiguration(setting: Setting, port: number): string {
  const fits = Math.max(100, Math.floor((fewDescriptors() - 100) / 3));
  const servers = setting.ports.map(
    (destination, index) =>
      `  server d${index} 127.0.0.1:${destination}${setting.slots ? ` maxconn ${setting.slots}` : ""}`,
  );
  return `global
  nbthread ${setting.threads ?? 1}
  maxconn ${Math.min(6000, fits)}
  maxpipes ${Math.min(1000, Math.floor(fits / 6))}
defaults
  mode tcp
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout queue 30s
  option splice-auto
  option tcp-smart-accept
  option tcp-smart-connect
listen bench
  bind 127.0.0.1:${port} backlog 4096
  balance ${setting.balance === "round-robin" ? "roundrobin" : "leastconn"}
${servers.join("\n")}
`;
}

// 16 KiB is its best buffer: 64 KiB doubles the processor time of a GiB.
function nginxConfiguration(setting: Setting, port: number): string {
  const limit = fewDescriptors();
  const servers = setting.ports.map(
    (destination) => `    server 127.0.0.1:${destination} max_fails=0;`,
  );
  const module = streamModule();
  return `${module ? `load_module ${module};\n` : ""}daemon off;
pid nginx-${port}.pid;
${process.getuid?.() === 0 ? "user root;\n" : ""}worker_processes ${setting.threads ?? 1};
worker_rlimit_nofile ${limit};
error_log stderr error;
events {
  worker_connections ${Math.min(18_000, limit - 100)};
  accept_mutex off;
  multi_accept on;
}
stream {
  tcp_nodelay on;
  proxy_connect_timeout 2s;
  proxy_timeout 60s;
  proxy_buffer_size 16k;
  upstream bench {${setting.balance === "least-connections" ? "\n    least_conn;" : ""}
${servers.join("\n")}
  }
  server {
    listen 127.0.0.1:${port} backlog=4096${(setting.threads ?? 1) > 1 ? " reuseport" : ""};
    proxy_pass bench;
  }
}
`;
}

/** @returns the module's path, "" when it is built in, null when there is none. */
function streamModule(): string | null {
  const built = Bun.spawnSync(["nginx", "-V"]).stderr.toString();
  if (/--with-stream(\s|$)/.test(built)) return "";
  const directory = /--modules-path=(\S+)/.exec(built)?.[1];
  if (directory === undefined) return null;
  const path = join(directory, NGINX_MODULE);
  return existsSync(path) ? path : null;
}

/** At most what the rows of all programs need: the peers set memory aside for each. */
function fewDescriptors(): number {
  return Math.min(20_000, descriptorLimit());
}
