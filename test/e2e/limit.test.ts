// Limits: connections, the kernel's queue, descriptors. Over each of them somebody is refused, nobody is stuck.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { CLI, client, cpuMs, echoServer, fdCount, knock, limitDescriptors } from "../net.ts";
import { settledFdCount, tagServer, until, type Peer } from "../net.ts";
import { retransmitCount } from "../raw.ts";
import { endings, spawn, start, ways } from "./ways.ts";

async function echo(peer: Peer): Promise<void> {
  peer.send("hello");
  await until(() => peer.text === "hello", "the echo");
}

test.each(ways)("limit: one connection more than --max-connections is refused, %s", async (way) => {
  using server = echoServer();
  await using balancer = await start(way, ["--max-connections", "3", server.address]);
  const peers: Peer[] = [];
  for (let i = 0; i < 3; i++) {
    peers[i] = await client(balancer.port);
    await echo(peers[i] as Peer); // set in the line above
  }
  using fourth = await knock(balancer.port);
  await until(() => fourth.over, "the refusal");
  expect(fourth.code).toBe("ECONNRESET");
  for (const peer of peers) peer.send("!");
  await until(() => peers.every((peer) => peer.text === "hello!"), "the others go on");
  peers[0]?.finish();
  await until(() => peers[0]?.over && balancer.ended.length === 2, "one place is free");
  using fifth = await client(balancer.port);
  await echo(fifth);
  for (const peer of [...peers.slice(1), fifth]) peer.finish();
  const ended = await balancer.finish(5);
  const done = "done -- client";
  expect(endings(ended)).toEqual([done, done, done, "connection-limit PC balancer", done]);
});

test("limit: the kernel holds 1,500 clients while the balancer stands still, nobody waits a second", async () => {
  const somaxconn = Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
  if (somaxconn < 2_048) return console.log(`skipped: net.core.somaxconn is ${somaxconn}`);
  using server = tagServer("hello");
  await using balancer = await spawn(["--slots", "100", server.address]);
  process.kill(balancer.process.pid, "SIGSTOP");
  const peers: Peer[] = [];
  // So many at a time, for a busy machine's network may lose what comes at once beyond a thousand packets.
  while (peers.length < 1_500) {
    const next = Array.from({ length: 250 }, () => client(balancer.port));
    peers.push(...(await Promise.all(next)));
  }
  process.kill(balancer.process.pid, "SIGCONT");
  // A queue that overflows drops the SYN, and its client knocks again after a second.
  expect(peers.filter((peer) => retransmitCount(peer.socket) > 0).length).toBe(0);
  for (const peer of peers) peer.finish();
  await until(() => peers.every((peer) => peer.over), "all answers");
  expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["hello"]));
  await balancer.finish(1_500);
});

/** The balancer where at most `count` descriptors may be open. */
function withDescriptors(count: number): readonly string[] {
  return ["sh", "-c", `ulimit -n ${count}; exec "$@"`, "sh", process.execPath, CLI];
}

test("descriptors: with 64 of them 100 clients make no spin, and the next one is served", async () => {
  using server = echoServer();
  const command = withDescriptors(64);
  await using balancer = await spawn(["--slots", "1", server.address], { command });
  const { pid } = balancer.process;
  const peers = await Promise.all(Array.from({ length: 100 }, () => knock(balancer.port)));
  const refused = () => peers.filter((peer) => peer.over);
  await until(() => balancer.ended.length === refused().length && refused().length > 0, "refusals");
  const before = { cpuMs: cpuMs(pid), at: performance.now() };
  await until(() => performance.now() - before.at > 1_000, "a second of peace");
  expect(cpuMs(pid) - before.cpuMs).toBeLessThan(150);
  expect(fdCount(pid)).toBeLessThan(64);
  expect(new Set(refused().map((peer) => peer.code))).toEqual(new Set(["ECONNRESET"]));
  for (const peer of peers) peer.finish();
  await until(() => peers.every((peer) => peer.over), "all ends");
  using next = await client(balancer.port);
  await echo(next);
  next.finish();
  const ended = await balancer.finish(101);
  const reasons = new Set(ended.map((each) => each.reason));
  expect(reasons).toEqual(new Set(["done", "connection-limit"]));
});

test("descriptors: a dial without one blames no destination, its client waits and is served", async () => {
  using server = tagServer("served after all");
  await using balancer = await spawn([server.address]);
  const { pid } = balancer.process;
  const count = await settledFdCount(pid);
  limitDescriptors(pid, count + 1); // one for the client, none for the dial
  using peer = await client(balancer.port);
  await until(
    () => balancer.process.stderr.includes("no destination is to blame"),
    "the word of it",
  );
  const before = cpuMs(pid);
  await Bun.sleep(500); // the time in which a spin would show
  expect(cpuMs(pid) - before).toBeLessThan(100);
  expect([peer.over, fdCount(pid)]).toEqual([false, count + 1]);
  limitDescriptors(pid, count + 20);
  await until(() => peer.over, "the answer");
  expect(peer.text).toBe("served after all");
  peer.finish();
  const [ended] = await balancer.finish(1);
  expect(ended).toMatchObject({ reason: "done", tried: [] });
  expect(balancer.process.stderr).not.toContain("is out");
});
