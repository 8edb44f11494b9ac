// What Bun's threads do: how a thread is woken, what is left of one that dies, how listeners share a descriptor, how a
// thread's file is named. A failure here after an update of Bun means: read the design of threads again.

import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { MessageChannel, Worker } from "node:worker_threads";
import { libc, rawConnect, rawListen } from "../raw.ts";
import { until, withSeed } from "../wait.ts";
import { accept, codeOf, RawPeer } from "./facts.ts";
import { cell, type Part } from "./thread-facts-worker.ts";

/** A Worker that keeps what it posted, and how it ended. */
class Thread implements AsyncDisposable {
  readonly messages: unknown[] = [];
  /** "error thrown", "exit", in order. The code of an exit is no fact: `bun test` makes 0 of the 1 of `bun run`. */
  readonly ends: string[] = [];
  readonly worker: Worker;

  constructor(workerData: Part, transferList: MessageChannel["port1"][] = []) {
    const file = new URL("./thread-facts-worker.ts", import.meta.url);
    this.worker = new Worker(file, { workerData, transferList });
    this.worker.on("message", (message: unknown) => this.messages.push(message));
    this.worker.on("error", (error: Error) => this.ends.push(`error ${error.message}`));
    this.worker.on("exit", () => this.ends.push("exit"));
  }
  /** Takes the oldest message that was not taken. */
  async take<T>(): Promise<T> {
    await until(() => this.messages.length > 0 || this.ends.length > 0, "a message or an end");
    if (this.messages.length === 0) throw new Error(`no message, but ${this.ends.join(", ")}`);
    return this.messages.shift() as T; // the caller knows what its thread posts
  }
  tell(message: string): void {
    this.worker.postMessage(message, []); // without the list the linter takes it for a window's
  }
  async end(): Promise<string[]> {
    await until(() => this.ends.includes("exit"), "the thread's exit");
    return this.ends;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    await this.worker.terminate();
  }
}

function sharedCells(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(new SharedArrayBuffer(64));
}

test("thread: one that never returns from epoll_wait gets messages, and what it posts arrives", async () => {
  const { port1, port2 } = new MessageChannel();
  await using thread = new Thread({ part: "blocked", port: port2 }, [port2]);
  const { wakeFd, epoll } = await thread.take<{ wakeFd: number; epoll: number }>();
  const one = new Uint8Array(new BigUint64Array([1n]).buffer);
  for (const round of ["first", "second"]) {
    port1.postMessage(`${round} a`);
    port1.postMessage(`${round} b`);
    writeSync(wakeFd, one);
    expect(await thread.take<string>()).toBe(`found ${round} a`);
    expect(await thread.take<string>()).toBe(`found ${round} b`);
  }
  await thread.worker.terminate();
  expect(thread.ends).toEqual(["exit"]);
  port1.close();
  for (const fd of [wakeFd, epoll]) expect(libc().close(fd)).toBe(0); // they outlive their thread
});

test("thread: a byte at a socket pair wakes Bun's loop; of 2,000 coalesced wakes none is missed", async () => {
  await withSeed(async (random) => {
    const cells = sharedCells();
    await using thread = new Thread({ part: "woken", cells });
    const end = await thread.take<number>();
    const byte = new Uint8Array(1);
    const batchCount = 50;
    let sentCount = 0;
    for (let asked = 1; asked <= 2_000; asked++) {
      for (let spin = random.int(4_000); spin > 0; spin--) Atomics.load(cells, cell.seen);
      Atomics.store(cells, cell.asked, asked);
      if (Atomics.exchange(cells, cell.isWakeDue, 1) === 0) {
        sentCount += Number(libc().send(end, byte, 1, 0));
      }
      if (asked % (2_000 / batchCount) > 0) continue;
      await until(() => Atomics.load(cells, cell.seen) === asked, `sight of ${asked}`, 2_000);
    }
    const runCount = Atomics.load(cells, cell.runCount);
    expect(runCount).toBeGreaterThanOrEqual(batchCount);
    expect(runCount).toBeLessThanOrEqual(sentCount);
    libc().close(end);
  });
});

interface Owned {
  readonly port: number;
  readonly fd: number;
  readonly raw: { readonly fd: number; readonly port: number };
  readonly wakeFd: number;
  readonly theirs: number;
}

const deaths: Readonly<Record<string, readonly string[]>> = {
  throw: ["error thrown", "exit"],
  reject: ["error rejected", "exit"],
  exit: ["exit"],
  terminate: ["exit"],
};

for (const [way, ends] of Object.entries(deaths)) {
  test(`thread: its sockets are closed when it dies, its raw descriptors are not, ${way}`, async () => {
    const peers = rawListen("127.0.0.1:0", 16);
    await using thread = new Thread({ part: "sockets", peerPort: peers.port });
    using dialed = new RawPeer(await accept(peers.fd));
    const owned = await thread.take<Owned>();
    using paired = new RawPeer(owned.theirs);
    using accepted = new RawPeer(rawConnect(owned.port));
    expect(await thread.take<string>()).toBe("open 1");
    using paused = new RawPeer(rawConnect(owned.port));
    expect(await thread.take<string>()).toBe("open 2");
    paused.send(Buffer.from("never read"));

    if (way === "terminate") await thread.worker.terminate();
    else thread.tell(way);
    expect(await thread.end()).toEqual([...ends]);

    const all = { dialed, paired, accepted, paused };
    for (const peer of Object.values(all)) peer.read(); // at once: nothing is left for later
    const fates = Object.entries(all).map(([name, peer]) => `${name} ${peer.fate}`);
    expect(fates).toEqual(["dialed FIN", "paired FIN", "accepted FIN", "paused RST"]);
    const late = Bun.connect({ hostname: "127.0.0.1", port: owned.port, socket: { data() {} } });
    expect(await late.catch(codeOf)).toBe("ECONNREFUSED");
    using guest = new RawPeer(rawConnect(owned.raw.port));
    using host = new RawPeer(await accept(owned.raw.fd));
    expect(host.send(Buffer.from("x"))).toBe(1);
    expect((await until(() => guest.read(1).length > 0 && guest, "the byte")).receivedCount).toBe(
      1,
    );
    for (const fd of [peers.fd, owned.raw.fd, owned.wakeFd]) expect(libc().close(fd)).toBe(0);
  });
}

interface Crew extends AsyncDisposable {
  readonly port: number;
  readonly threads: Readonly<Record<"a" | "b", Thread>>;
  readonly cells: Readonly<Record<"a" | "b", Int32Array>>;
}

/** Two threads that listen on one descriptor. */
async function crew(): Promise<Crew> {
  const { fd, port } = rawListen("127.0.0.1:0", 4096);
  const cells = { a: sharedCells(), b: sharedCells() };
  const start = (name: "a" | "b") =>
    new Thread({ part: "listener", fd: libc().dup(fd), name, cells: cells[name] });
  const threads = { a: start("a"), b: start("b") };
  for (const each of Object.values(threads)) expect(await each.take<string>()).toBe("listens");
  libc().close(fd);
  const stop = async () => {
    free(cells.a);
    free(cells.b);
    for (const each of Object.values(threads)) await each[Symbol.asyncDispose]();
  };
  return { port, threads, cells, [Symbol.asyncDispose]: stop };
}

/** The thread blocks inside a callback until it is freed. */
async function hold(thread: Thread, order: "hold" | "hold, then stop" = "hold"): Promise<void> {
  thread.tell(order);
  expect(await thread.take<string>()).toBe("holds");
}

function free(cells: Int32Array): void {
  Atomics.store(cells, cell.isFree, 1);
  Atomics.notify(cells, cell.isFree);
}

/** The names that so many clients are told, each connected before the first is read. */
function clients(port: number, count: number): { names(): Promise<string[]> } {
  const peers = Array.from({ length: count }, () => new RawPeer(rawConnect(port)));
  const nameOf = async (peer: RawPeer) => {
    let name = "";
    await until(() => {
      name += peer.read().toString();
      return peer.fate !== "open";
    }, "a name and its end");
    peer.close();
    return peer.fate === "FIN" ? name : peer.fate;
  };
  return { names: () => Promise.all(peers.map(nameOf)) };
}

for (const [held, awake] of [
  ["a", "b"],
  ["b", "a"],
] as const) {
  test(`thread: of two on one descriptor the other serves while one is blocked, ${held}`, async () => {
    await using both = await crew();
    await hold(both.threads[held]);
    const names = await clients(both.port, 20).names();
    expect(names).toEqual(Array.from({ length: 20 }, () => awake));
    free(both.cells[held]);
    expect(await both.threads[held].take<string>()).toBe("goes on");
  });
}

test("thread: of two on one descriptor one stops, and loses no client of the queue", async () => {
  await using both = await crew();
  await hold(both.threads.a, "hold, then stop");
  await hold(both.threads.b);
  const waiting = clients(both.port, 50);
  free(both.cells.a);
  expect(await both.threads.a.take<string>()).toBe("goes on");
  free(both.cells.b);
  expect(await waiting.names()).toEqual(Array.from({ length: 50 }, () => "b"));
});

test("thread: one dies of an exception, and another on its descriptor serves on", async () => {
  await using both = await crew();
  const peers = rawListen("127.0.0.1:0", 16);
  await using victim = new Thread({ part: "sockets", peerPort: peers.port });
  using _dialed = new RawPeer(await accept(peers.fd));
  const owned = await victim.take<Owned>();
  victim.tell("throw");
  await both.threads.a.worker.terminate();
  expect(await victim.end()).toEqual(["error thrown", "exit"]);
  const names = await clients(both.port, 20).names();
  expect(names).toEqual(Array.from({ length: 20 }, () => "b"));
  for (const fd of [peers.fd, owned.raw.fd, owned.wakeFd, owned.theirs]) libc().close(fd);
});

/** A start from the first folder, and one from the thread's own; the answer is what the thread says. */
const program: Readonly<Record<string, string>> = {
  "src/main.ts": `
    import { start } from "./start.ts";
    import { near } from "./deep/near.ts";
    const tell = (file) => start(file).catch((error) => error.message.replace(/'.*\\//, "'"));
    console.log(await tell(new URL("./deep/thread.ts", import.meta.url)), "|", await tell(near));
    process.exit(0);`,
  "src/start.ts": `
    import { Worker } from "node:worker_threads";
    export const start = (file) => new Promise((resolve, reject) => {
      new Worker(file, { workerData: "told" }).on("message", resolve).on("error", reject);
    });`,
  "src/deep/near.ts": `export const near = new URL("./thread.ts", import.meta.url);`,
  "src/deep/thread.ts": `
    import { parentPort, workerData } from "node:worker_threads";
    parentPort.postMessage(workerData);`,
};

function outputOf(cwd: string, ...command: string[]): string {
  const { stdout, stderr, exitCode } = Bun.spawnSync(command, { cwd });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  return stdout.toString().trim();
}

test("thread: its file is found from source anywhere, compiled only as seen from the first folder", () => {
  const folder = mkdtempSync(join(tmpdir(), "iawlb-thread-"));
  for (const [name, text] of Object.entries(program)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  try {
    const main = join(folder, "src/main.ts");
    expect(outputOf("/", process.execPath, main)).toBe("told | told");
    const flags = ["--compile", "--minify", "--bytecode", "--format=esm"];
    const entries = ["src/main.ts", "src/deep/thread.ts"];
    outputOf(folder, process.execPath, "build", ...flags, ...entries, "--outfile", "program");
    rmSync(join(folder, "src"), { recursive: true });
    expect(outputOf("/", join(folder, "program"))).toBe("told | Cannot find module 'thread.ts'");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
