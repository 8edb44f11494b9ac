// A program that runs by a configuration file, as tests of it and of its reloads see it: its file, its admin side, the
// commands that speak to it.

import { renameSync, writeFileSync } from "node:fs";
import type { ListenerStatus, ProgramStatus, ReloadOutcome } from "../../src/control/steering.ts";
import { Files } from "../config/files.ts";
import { client, CLI, spawnBalancer, until, type Peer, type RunningBalancer } from "../net.ts";

export interface Answer {
  readonly status: number;
  readonly body: unknown;
}

/** The number of listeners changes what each has of the descriptors; `listeners.test.ts` looks at that. */
const shares = /: max-connections: \d+ -> \d+/;

export class Configured implements AsyncDisposable {
  readonly file: string;
  readonly process: RunningBalancer;
  readonly #files: Files;
  readonly #socket: string;

  private constructor(files: Files, file: string, socket: string, process: RunningBalancer) {
    this.#files = files;
    this.file = file;
    this.#socket = socket;
    this.process = process;
  }

  /** Without checks, for they are connections as well; with its access log as JSON. */
  static start(text: string, ...args: string[]): Promise<Configured> {
    const common = ["--health-interval", "0", "--access-log", "json"];
    return Configured.by(text, (own, env) => spawnBalancer([...own, ...common, ...args], { env }));
  }

  /** @param start is given what makes it run by that file and gives it an admin side. */
  static async by(
    text: string,
    start: (
      args: readonly string[],
      env: Readonly<Record<string, string>>,
    ) => Promise<RunningBalancer>,
  ): Promise<Configured> {
    const files = new Files();
    const file = files.add("iawlb.toml", text);
    const socket = files.path("admin.sock");
    const started = await start(["--config", file], { IAWLB_ADMIN: `unix:${socket}` });
    const it = new Configured(files, file, socket, started);
    await until(() => it.ask("GET", "/healthz").catch(() => null), "the admin side");
    return it;
  }

  /** Replaces the file in one step, as editors do. */
  write(text: string): void {
    writeFileSync(`${this.file}.new`, text);
    renameSync(`${this.file}.new`, this.file);
  }

  /** Asks the admin side. */
  async ask(method: string, path: string, body?: object): Promise<Answer> {
    const answer = await fetch(`http://localhost${path}`, {
      method,
      unix: this.#socket,
      keepalive: false, // descriptors are counted
      ...(body === undefined
        ? {}
        : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
    });
    return { status: answer.status, body: await answer.json() };
  }

  /** The body of an answer as it comes, such as that of /metrics. */
  async text(path: string): Promise<string> {
    const answer = await fetch(`http://localhost${path}`, { unix: this.#socket, keepalive: false });
    return answer.text();
  }

  async status(): Promise<ProgramStatus> {
    return (await this.ask("GET", "/status")).body as ProgramStatus; // what this route answers
  }

  async listener(name: string): Promise<ListenerStatus> {
    const { listeners } = await this.status();
    const found = listeners.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no listener ${name}`);
    return found;
  }

  async portOf(name: string): Promise<number> {
    return Number((await this.listener(name)).addresses[0]?.split(":").at(-1));
  }

  /** `name mode used/slots` of each destination. */
  async rows(name: string): Promise<string[]> {
    const { destinations } = await this.listener(name);
    return destinations.map((d) => `${d.name} ${d.mode} ${d.used}/${d.slots}`);
  }

  /** What was changed, and what takes a new process; throws what a fault says. */
  async reload(method = "POST", path = "/reload"): Promise<readonly string[]> {
    const { status, body } = await this.ask(method, path);
    if (status !== 200) throw new Error(messageOf(body));
    const { changes, kept } = body as ReloadOutcome; // what this route answers
    const told = [...changes, ...kept.map((each) => `kept: ${each}`)];
    return told.filter((each) => !shares.test(each));
  }

  /** As `reload` says it. */
  plan(): Promise<readonly string[]> {
    return this.reload("GET", "/reload/plan");
  }

  /** Why a reload is refused. */
  async fault(): Promise<string> {
    const { status, body } = await this.ask("POST", "/reload");
    return status === 409 ? messageOf(body).replaceAll(`${this.file}:`, "FILE:") : `HTTP ${status}`;
  }

  /** A command, run by itself. */
  async iawlb(...args: string[]): Promise<{ code: number; out: string; told: string }> {
    const admin = ["--admin", `unix:${this.#socket}`];
    await using child = Bun.spawn([process.execPath, CLI, ...args, ...admin], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NODE_ENV: undefined, NO_COLOR: "1" },
    });
    const [out, told] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    return { code: await child.exited, out: out.trimEnd(), told: told.trimEnd() };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#files[Symbol.dispose]();
    return Promise.resolve(this.process[Symbol.asyncDispose]());
  }
}

function messageOf(body: unknown): string {
  const { error } = body as { error: { message: string } }; // what every refusal has
  return error.message;
}

/** A listener of a file, at a port of its own. */
export function listener(name: string, destinations: readonly string[], ...more: string[]): string {
  const listen = more.some((line) => line.startsWith("listen")) ? [] : ['listen = "127.0.0.1:0"'];
  return [
    "[[listener]]",
    `name = "${name}"`,
    ...listen,
    `destinations = ${JSON.stringify(destinations)}`,
    ...more,
    "",
  ].join("\n");
}

/** A client whose word has come back. */
export async function talk(port: number, word = "hello"): Promise<Peer> {
  const peer = await client(port);
  peer.send(word);
  await until(() => peer.text.endsWith(word), `the echo of ${word}`);
  return peer;
}

/** It goes on: its next word comes back. */
export async function expectLive(peer: Peer, word = "."): Promise<void> {
  const expected = peer.text + word;
  peer.send(word);
  await until(() => peer.text === expected || peer.over, "an echo");
  if (peer.text !== expected) throw new Error(`${peer.text} instead of ${expected}`);
}
