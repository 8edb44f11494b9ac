// The commands against a program that serves: what one of them says, the next one takes.

import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import type { ConnectionPage } from "../../src/control/steering.ts";
import { Files } from "../config/files.ts";
import { client, CLI, echoServer, spawnBalancer, until } from "../net.ts";

async function ask(...args: string[]): Promise<string> {
  await using child = Bun.spawn([process.execPath, CLI, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_ENV: undefined },
  });
  const [out, told] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect([args, await child.exited, told]).toEqual([args, 0, ""]);
  return out;
}

test("console: connections of all listeners come by pages, and kill takes the ids that they have", async () => {
  using files = new Files();
  using server = echoServer();
  const listener = (name: string) =>
    `[[listener]]\nname = "${name}"\nlisten = "127.0.0.1:0"\ndestinations = [${server.port}]\n`;
  const file = files.add("a.toml", listener("web") + listener("db"));
  const admin = `unix:${files.path("admin.sock")}`;
  await using balancer = await spawnBalancer(["--config", file], { env: { IAWLB_ADMIN: admin } });
  await until(() => /db: listening on \S+\n/.test(balancer.stderr), "the second listener");
  const ports = [...balancer.stderr.matchAll(/listening on 127\.0\.0\.1:(\d+)/g)];
  expect(ports).toHaveLength(2);
  const peers = await Promise.all(
    ports.flatMap(([, port]) => [Number(port), Number(port)]).map((port) => client(port)),
  );
  for (const peer of peers) peer.send("x");
  await until(() => peers.every((peer) => peer.receivedCount === 1), "echoes");
  await until(() => existsSync(files.path("admin.sock")), "the admin side");

  const pageAt = async (...args: string[]): Promise<ConnectionPage> =>
    JSON.parse(
      await ask("connections", "--count", "1", "--json", "--admin", admin, ...args),
    ) as ConnectionPage; // what it answers
  const ids: string[] = [];
  for (let after: string[] = []; ;) {
    const { connections, next } = await pageAt(...after);
    ids.push(...connections.map(({ id }) => id));
    for (const { id, listener } of connections) expect(id).toStartWith(`${listener}/`);
    if (next === "") break;
    after = ["--after", next];
  }
  expect(ids.map((id) => id.split("/")[0])).toEqual(["web", "web", "db", "db"]);
  expect(new Set(ids).size).toBe(4);

  await ask("kill", ids[0] ?? "", ids[3] ?? "", "--admin", admin);
  await until(() => peers.filter((peer) => peer.wasReset).length === 2, "two resets");
  const left = JSON.parse(await ask("connections", "--json", "--admin", admin)) as ConnectionPage; // likewise
  expect(left.connections.map(({ id }) => id)).toEqual(ids.slice(1, 3));
  for (const peer of peers) peer.reset();
  expect(await balancer.stop()).toBe(0);
}, 30_000);

test("console: a change that cannot be written says whether it holds; without a file it is not made", async () => {
  using files = new Files();
  using server = echoServer();
  const destination = `${server.port},name=a`;
  const file = files.add("a.toml", `listen = "127.0.0.1:0"\ndestinations = ["${destination}"]\n`);
  for (const [args, words, slots] of [
    [["--config", file], "a has slots 9, but the file is as it was", 9],
    [["127.0.0.1:0", destination], "there is no file to write to; start with --config FILE", 0],
  ] as const) {
    const admin = `unix:${files.path(`${slots}.sock`)}`;
    await using balancer = await spawnBalancer(args, { env: { IAWLB_ADMIN: admin } });
    await until(() => existsSync(files.path(`${slots}.sock`)), "the admin side");
    files.add("a.toml", `${readFileSync(file, "utf8")}# by somebody else\n`);
    const set = [process.execPath, CLI, "set", "a", "--slots", "9", "--persist", "--admin", admin];
    await using child = Bun.spawn(set, { stdio: ["ignore", "pipe", "pipe"] });
    expect(await child.stderr.text()).toContain(words);
    expect(await child.exited).toBe(1);
    const status = JSON.parse(await ask("status", "--json", "--admin", admin));
    expect(status.listeners[0].destinations[0].slots).toBe(slots);
    expect(await balancer.stop()).toBe(0);
  }
}, 30_000);
