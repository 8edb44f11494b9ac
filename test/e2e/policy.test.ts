// Who gets the next client, as the destinations see it.

import { describe, expect, test } from "bun:test";
import { client, serve, tagServer, until, type Peer, type Server } from "../net.ts";
import { embed, isOneThread, portably, start, ways, type Balancing } from "./ways.ts";

/** The name of the destination that a new client from `from` gets; the connection is over then. */
async function ask(port: number, from = "127.0.0.1"): Promise<string> {
  using peer = await client(port, { from });
  await until(() => peer.ended, "the name of the destination");
  peer.finish();
  await until(() => peer.over, "the end");
  return peer.text;
}

function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

/** `count` clients, one after the other: the names that they get, by the thread that has accepted them. */
async function askInTurn(balancer: Balancing, count: number): Promise<string[][]> {
  const names: string[][] = [];
  const accepted = () => balancer.status()?.threads.map((each) => each.accepted) ?? [];
  for (let i = 0; i < count; i++) {
    const before = accepted();
    const name = await ask(balancer.port);
    const thread = accepted().findIndex((each, index) => each > (before[index] ?? 0));
    (names[Math.max(0, thread)] ??= []).push(name);
  }
  expect(names.flat().length).toBe(count);
  return names;
}

/** Those of `size` that are whole, in order. */
function roundsOf(names: readonly string[], size: number): Record<string, number>[] {
  const count = Math.floor(names.length / size);
  return Array.from({ length: count }, (_, i) => tally(names.slice(i * size, (i + 1) * size)));
}

/** `count` clients that stay; each destination sees its own. */
async function hold(port: number, count: number, servers: readonly Server[]): Promise<Peer[]> {
  const peers = await Promise.all(Array.from({ length: count }, () => client(port)));
  await until(() => openOf(servers).reduce((sum, each) => sum + each) === count, "all joined");
  return peers;
}

const openOf = (servers: readonly Server[]) => servers.map((server) => server.openCount);

describe.each(ways)("policy, %s", (way) => {
  test("hash: a client address keeps its destination, and when one goes only its clients move", async () => {
    const names = ["a", "b", "c", "d"];
    const servers = names.map((name) => tagServer(name));
    const destinations = servers.map((server, i) => `${server.address},name=${names[i]}`);
    await using balancer = await start(way, ["--policy", "hash", ...destinations]);
    const clients = Array.from({ length: 40 }, (_, i) => `127.0.1.${i + 1}`);
    const before: string[] = [];
    for (const from of clients) before.push(await ask(balancer.port, from));
    for (const [i, from] of clients.entries()) {
      expect(await ask(balancer.port, from)).toBe(before[i] ?? "");
    }
    expect(Object.keys(tally(before)).toSorted()).toEqual(names);
    servers[0]?.[Symbol.dispose]();
    const after: string[] = [];
    for (const from of clients) after.push(await ask(balancer.port, from));
    expect(after).not.toContain("a");
    const moved = clients.filter((_, i) => before[i] !== after[i]);
    expect(moved).toEqual(clients.filter((_, i) => before[i] === "a"));
    for (const server of servers) server[Symbol.dispose]();
    await balancer.finish(120);
  });

  test("round-robin: each in turn, three times as often with a weight of three", async () => {
    using a = tagServer("a");
    using b = tagServer("b");
    const destinations = [`${a.address},weight=3`, b.address];
    await using balancer = await start(way, ["--policy", "round-robin", ...destinations]);
    const names = await askInTurn(balancer, 40); // of several threads each goes round for itself
    if (isOneThread(way)) expect(tally(names.flat())).toEqual({ a: 30, b: 10 });
    const rounds = names.flatMap((each) => roundsOf(each, 4));
    expect(rounds).toEqual(rounds.map(() => ({ a: 3, b: 1 })));
    await balancer.finish(40);
  });

  test("pull: the longest idle first, so that lone clients go round", async () => {
    using a = tagServer("a");
    using b = tagServer("b");
    using c = tagServer("c");
    await using balancer = await start(way, [a.address, b.address, c.address]);
    const names = await askInTurn(balancer, 12);
    if (isOneThread(way)) expect(tally(names.flat())).toEqual({ a: 4, b: 4, c: 4 });
    const rounds = names.flatMap((each) => roundsOf(each, 3));
    expect(rounds).toEqual(rounds.map(() => ({ a: 1, b: 1, c: 1 })));
    await balancer.finish(12);
  });

  test("pull: open connections are spread by weight", async () => {
    using a = serve({ onEnd: (peer) => peer.finish() });
    using b = serve({ onEnd: (peer) => peer.finish() });
    await using balancer = await start(way, [`${a.address},weight=3`, b.address]);
    const peers = await hold(balancer.port, 40, [a, b]);
    const [countOfA = 0, countOfB = 0] = openOf([a, b]);
    // Each other thread may pick by a view one step old.
    expect(Math.abs(countOfA - 30)).toBeLessThanOrEqual(isOneThread(way) ? 0 : 2);
    expect(countOfA + countOfB).toBe(40);
    for (const peer of peers) peer.finish();
    await balancer.finish(40);
  });

  test("pull: open connections that come one by one are spread by weight at every step", async () => {
    using a = serve({ onEnd: (peer) => peer.finish() });
    using b = serve({ onEnd: (peer) => peer.finish() });
    await using balancer = await start(way, [`${a.address},weight=3`, b.address]);
    const peers: Peer[] = [];
    for (let i = 1; i <= 40; i++) {
      peers.push(await client(balancer.port));
      await until(() => a.peers.length + b.peers.length === i, `client ${i} joined`);
      if (i % 4 === 0) expect(openOf([a, b])).toEqual([(i / 4) * 3, i / 4]);
    }
    for (const peer of peers) peer.finish();
    await balancer.finish(40);
  });

  test("random: nobody is left out, and nobody gets much more than the others", async () => {
    const servers = Array.from({ length: 4 }, () => serve({ onEnd: (peer) => peer.finish() }));
    const destinations = servers.map((server) => server.address);
    await using balancer = await start(way, ["--policy", "random", ...destinations]);
    const peers = await hold(balancer.port, 200, servers);
    // Taking the less used of two keeps the numbers together; they differ by a few.
    for (const count of openOf(servers)) expect(Math.abs(count - 50)).toBeLessThan(10);
    for (const peer of peers) peer.finish();
    await balancer.finish(200);
    for (const server of servers) server[Symbol.dispose]();
  });
});

test("slots: a destination's own number counts before that of all", async () => {
  using a = serve({ onEnd: (peer) => peer.finish() });
  using b = serve({ onEnd: (peer) => peer.finish() });
  await using balancer = await embed(["--slots", "3", `${a.address},slots=1`, b.address], portably);
  const peers = await Promise.all(Array.from({ length: 10 }, () => client(balancer.port)));
  await until(() => a.openCount === 1 && b.openCount === 3, "all slots taken");
  await until(() => balancer.status().queue.waiting === 6, "the others wait");
  for (const peer of peers) peer.finish();
  await balancer.finish(10);
});
