// Several listeners of one process: what a reload does to their addresses, what they share, who may stand behind whom.

import { expect, setDefaultTimeout, test } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ProgramStatus } from "../../src/control/steering.ts";
import { CLI, client, echoServer, fdCount, settledFdCount } from "../net.ts";
import { spawnBalancer, until, type Peer } from "../net.ts";
import { folder, freePort, type Folder } from "./program.ts";

setDefaultTimeout(30_000);

interface Wanted {
  readonly name: string;
  readonly listen: string;
  readonly destinations: readonly string[];
  readonly "max-connections"?: number;
}

class Scene implements AsyncDisposable {
  private readonly home: Folder = folder();
  readonly socket = join(this.home.path, "admin.sock");
  private readonly file = join(this.home.path, "a.json");
  balancer: Awaited<ReturnType<typeof spawnBalancer>> | null = null;

  async start(listener: readonly Wanted[], options: readonly string[] = [], descriptors = 0) {
    this.write(listener);
    const run = [process.execPath, CLI];
    const limited = ["sh", "-c", `ulimit -n ${descriptors} && exec "$@"`, "sh", ...run];
    this.balancer = await spawnBalancer(["--config", this.file, ...options], {
      command: descriptors > 0 ? limited : run,
      env: { IAWLB_ADMIN: `unix:${this.socket}` },
    });
    await until(() => this.status().catch(() => null), "its admin side");
  }

  get pid(): number {
    return this.balancer?.pid ?? 0;
  }

  write(listener: readonly Wanted[]): void {
    writeFileSync(`${this.file}.new`, JSON.stringify({ listener }));
    renameSync(`${this.file}.new`, this.file);
  }

  async ask(method: string, path: string, body?: unknown): Promise<unknown> {
    const headers = { "Content-Type": "application/json" };
    const rest = body === undefined ? {} : { body: JSON.stringify(body), headers };
    const answer = await fetch(`http://localhost${path}`, {
      method,
      unix: this.socket,
      keepalive: false,
      ...rest,
    });
    return answer.json();
  }

  async status(): Promise<ProgramStatus> {
    return (await this.ask("GET", "/status")) as ProgramStatus;
  }

  async reload(listener: readonly Wanted[]): Promise<{ changes: readonly string[] }> {
    this.write(listener);
    const answer = (await this.ask("POST", "/reload")) as { changes: readonly string[] };
    if (!Array.isArray(answer.changes)) throw new Error(JSON.stringify(answer));
    return answer;
  }

  /** `name max-connections` of each. */
  async limits(): Promise<readonly string[]> {
    const { listeners } = await this.status();
    return listeners.map(({ name, connectionCountMax }) => `${name} ${connectionCountMax}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.balancer?.[Symbol.asyncDispose]();
    this.home[Symbol.dispose]();
  }
}

async function echo(peer: Peer, text: string): Promise<void> {
  const before = peer.text;
  peer.send(text);
  await until(() => peer.text === before + text, "the echo");
}

test.each([
  ["one thread", []],
  ["threads", ["--threads", "2"]],
  ["the libc engine", ["--engine", "libc"]],
] as const)(
  "listeners: one that gets another name, and two that swap addresses, lose nobody, %s",
  async (_, options) => {
    using server = echoServer();
    const [x, y] = ["127.0.0.1", "127.0.0.2"].map((ip) => `${ip}:${freePort()}`) as [
      string,
      string,
    ];
    const portOf = (place: string) => Number(place.split(":")[1]);
    const destinations = [server.address];
    await using it = new Scene();
    await it.start([{ name: "one", listen: x, destinations }], options);
    using pair = await client(x);
    await echo(pair, "a");
    const over = new AbortController();
    let count = 0;
    const knocking = (async () => {
      for (; !over.signal.aborted; count += 1) {
        using peer = await client(portOf(x));
        await echo(peer, "hello");
        peer.finish();
        await until(() => peer.over, "its end");
        if (peer.wasReset) throw new Error("a client was reset");
      }
    })();
    for (const name of ["two", "four"]) {
      const { changes } = await it.reload([{ name, listen: x, destinations }]);
      expect(changes.some((each) => each.includes(` is called ${name} now`))).toBe(true);
      const since = count;
      await until(() => count > since + 1, "clients");
    }
    over.abort();
    await knocking;
    await it.reload([
      { name: "four", listen: x, destinations },
      { name: "five", listen: y, destinations },
    ]);
    await until(async () => (await it.status()).listeners.length === 2, "two");
    let before = 0;
    for (let n = 0; n < 4; n += 1) {
      if (n === 2) before = await settledFdCount(it.pid); // by then the pair's own listener leaves
      const [first, second] = n % 2 === 0 ? [y, x] : [x, y];
      await it.reload([
        { name: "four", listen: first, destinations },
        { name: "five", listen: second, destinations },
      ]);
      const { listeners } = await it.status();
      expect(listeners.slice(0, 2).map(({ addresses }) => addresses[0])).toEqual([first, second]);
      for (const place of [x, y]) {
        using peer = await client(place);
        await echo(peer, "hello");
      }
    }
    if (!options.some((each) => each === "libc")) expect(await settledFdCount(it.pid)).toBe(before); // its pipes come with use
    await echo(pair, "b");
    expect(pair.wasReset).toBe(false);
  },
);

test("listeners: who drains stays so when its listener gets another name, or another address", async () => {
  using server = echoServer();
  const [x, y] = [`127.0.0.1:${freePort()}`, `127.0.0.1:${freePort()}`];
  const destinations = [`${server.address},name=a`, "127.0.0.1:1,name=b"];
  await using it = new Scene();
  await it.start([{ name: "one", listen: x, destinations }]);
  await it.ask("POST", "/destinations/a/drain");
  for (const [name, listen] of [
    ["two", x],
    ["two", y],
  ] as const) {
    await it.reload([{ name, listen, destinations }]);
    const { listeners } = await it.status();
    expect([listeners[0]?.name, listeners[0]?.addresses]).toEqual([name, [listen]]);
    expect(listeners[0]?.destinations.map(({ mode }) => mode)).toEqual(["drain", "ready"]);
  }
});

test("listeners: a reload that cannot have one address takes nothing from anybody", async () => {
  using server = echoServer();
  const x = `127.0.0.1:${freePort()}`;
  const destinations = [server.address];
  await using it = new Scene();
  await it.start([{ name: "one", listen: x, destinations }]);
  const before = await settledFdCount(it.pid);
  const next = [
    { name: "two", listen: x, destinations },
    { name: "three", listen: server.address, destinations: ["127.0.0.1:1"] }, // it is taken
  ];
  await expect(it.reload(next)).rejects.toThrow("EADDRINUSE");
  await until(() => fdCount(it.pid) === before, "what was opened is closed");
  using peer = await client(x);
  await echo(peer, "hello");
  expect((await it.status()).listeners.map(({ name }) => name)).toEqual(["one"]);
});

test("listeners: they share the descriptors, also when a reload brings another one or a limit", async () => {
  using server = echoServer();
  const destinations = [server.address];
  const wanted = (name: string, more = {}): Wanted => {
    return { name, listen: "127.0.0.1:0", destinations, ...more };
  };
  await using it = new Scene();
  await it.start([wanted("a")], [], 512);
  const limitOf = (line: string | undefined) => Number(line?.split(" ")[1]);
  const alone = limitOf((await it.limits())[0]);
  expect(alone).toBeGreaterThan(200);
  expect(alone).toBeLessThan(250);
  await it.reload([wanted("a"), wanted("b")]);
  const two = (await it.limits()).map(limitOf);
  expect(two[0]).toBe(two[1]);
  expect(Math.abs((two[0] ?? 0) - alone / 2)).toBeLessThan(4);
  await it.reload([wanted("a"), wanted("b", { "max-connections": 10 })]);
  const [most, least] = (await it.limits()).map(limitOf);
  expect(least).toBe(10);
  expect(Math.abs((most ?? 0) - (alone - 10))).toBeLessThan(4); // what one does not want is for the others
  await it.reload([wanted("a")]);
  expect((await it.limits()).slice(0, 1)).toEqual([`a ${alone}`]);
  const { changes } = await it.reload([wanted("a"), wanted("b"), wanted("c"), wanted("d")]);
  expect(changes.some((each) => each.startsWith(`a: max-connections: ${alone} -> `))).toBe(true);
  const four = (await it.limits()).map(limitOf);
  expect(2 * four.reduce((sum, each) => sum + each, 0)).toBeLessThan(512);
  const words = "shared by 4 listeners, allows";
  await until(() => it.balancer?.stderr.includes(words), "the word of it");
});

test("listeners: one may stand behind another one, a circle is refused, by the API as well", async () => {
  using server = echoServer();
  const [x, y] = [`127.0.0.1:${freePort()}`, `127.0.0.2:${freePort()}`];
  await using it = new Scene();
  await it.start([
    { name: "outer", listen: x, destinations: [`${y},name=inner`] },
    { name: "inner", listen: y, destinations: [server.address] },
  ]);
  using peer = await client(x);
  await echo(peer, "through both");
  const answer = await it.ask("POST", "/destinations", { listener: "inner", place: x });
  expect(JSON.stringify(answer)).toContain("goes round in a circle: outer → inner → outer");
  const { listeners } = await it.status();
  expect(listeners.map(({ destinations }) => destinations.length)).toEqual([1, 1]);
});
