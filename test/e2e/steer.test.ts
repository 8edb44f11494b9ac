// Steering a running balancer: modes of destinations, a list of the open connections, the end of one or of some.

import { describe, expect, test } from "bun:test";
import type { Worker } from "node:worker_threads";
import { SteeringError, type ConnectionQuery, type Mode } from "../../src/control/steering.ts";
import { client, deadPort, echoServer, serve, tagServer, until, type Peer } from "../net.ts";
import { ask, change, echo, rowsOf } from "./steering.ts";
import { embed, endings, waysInProcess, type InProcess } from "./ways.ts";

const all: ConnectionQuery = {
  listener: "",
  destination: "",
  client: "",
  ageMsMin: 0,
  countMax: 1_000,
  after: "",
};

function stateOf(balancer: InProcess, row = 0): string {
  return balancer.status().destinations[row]?.state ?? "none";
}

async function leave(peers: readonly Peer[]): Promise<void> {
  for (const peer of peers) peer.finish();
  await until(() => peers.every((peer) => peer.over), "all ends");
}

describe.each(waysInProcess)("steer, %s", (way) => {
  test("mode: who is drained gets nobody and keeps its pairs, backups serve, then who waits is served", async () => {
    using first = echoServer();
    using spare = tagServer("spare");
    const [a, b] = [`${first.address},name=a`, `${spare.address},name=b,backup`];
    await using balancer = await embed([a, b], way);
    const setMode = (name: string, mode: Mode) => balancer.balancer.setMode(name, mode);
    using one = await client(balancer.port);
    await echo(one, "1");
    setMode("a", "drain");
    expect(rowsOf(balancer)).toEqual(["a drain 1/0", "b ready 0/0"]);
    for (let i = 0; i < 10; i++) expect(await ask(balancer.port)).toBe("spare");
    setMode("b", "maintenance");
    using waiting = await client(balancer.port);
    await until(() => balancer.status().queue.waiting === 1, "one waits");
    await echo(one, "2");
    // Its mode is that of its name, whatever else changes.
    await change(balancer, { destinations: [b, `${a},weight=2`], idleMs: 60_000 });
    expect(rowsOf(balancer)).toEqual(["b maintenance 0/0", "a drain 1/0"]);
    expect(balancer.status().queue.waiting).toBe(1);
    setMode("a", "ready");
    await echo(waiting, "served");
    expect(() => setMode("c", "drain")).toThrow(SteeringError);
    await leave([one, waiting]);
    await balancer.finish(12);
  });

  test("mode: under maintenance it is not checked, and who was down is up again when it is ready", async () => {
    const dead = deadPort();
    const args = ["--health-interval", "20ms", "--health-fall", "1", `${dead.address},name=a`];
    await using balancer = await embed(args, way);
    const { balancer: it } = balancer;
    await until(() => stateOf(balancer) === "down", "down");
    it.setMode("a", "drain"); // is checked still
    expect(stateOf(balancer)).toBe("down");
    it.setMode("a", "maintenance");
    expect(stateOf(balancer)).toBe("up");
    dead[Symbol.dispose]();
    using server = echoServer(dead.address);
    await Bun.sleep(60);
    expect(server.peers.length).toBe(0); // three checks would have come
    it.setMode("a", "ready");
    await until(() => server.peers.length > 1, "checks");
    using peer = await client(balancer.port);
    await echo(peer, "x");
    await leave([peer]);
    await balancer.finish(1);
  });

  test("checks: down stays down through a change, and ends when checks are switched off", async () => {
    using dead = deadPort();
    const args = ["--health-interval", "20ms", "--health-fall", "1", `${dead.address},name=a`];
    await using balancer = await embed(args, way);
    await until(() => stateOf(balancer) === "down", "down");
    await change(balancer, { healthTimeoutMs: 500, idleMs: 60_000, slots: 7 });
    expect(stateOf(balancer)).toBe("down");
    await change(balancer, { healthMs: 0, destinations: [`${dead.address},name=a`] });
    expect(stateOf(balancer)).toBe("up");
    const kinds = balancer.events.map(({ kind }) => kind).filter((kind) => kind.includes("-"));
    expect(kinds).toEqual(["destination-down", "destination-back"]);
  });

  test("connections: by pages, the oldest first, by destination, client and age", async () => {
    using first = echoServer();
    using second = echoServer();
    const places = [`${first.address},name=a,slots=4`, `${second.address},name=b,slots=2`];
    await using balancer = await embed(places, way);
    const { balancer: it } = balancer;
    const peers: Peer[] = [];
    for (let i = 0; i < 8; i++) {
      const from = i % 2 === 0 ? "127.0.5.1" : "127.0.5.2";
      const peer = await client(balancer.port, { from });
      peers.push(peer);
      await until(() => balancer.status().accepted === i + 1, "it is accepted");
      if (i < 6) await echo(peer, "hello");
    }
    const { connections, next } = await it.connections(all);
    expect([connections.map(({ id }) => Number(id)), next]).toEqual([[1, 2, 3, 4, 5, 6, 7, 8], ""]);
    expect(connections.map(({ client }) => client.split(":")[0])).toEqual(
      peers.map((_, i) => (i % 2 === 0 ? "127.0.5.1" : "127.0.5.2")),
    );
    const states = connections.map(({ state, destination }) => `${state} ${destination === ""}`);
    expect(states).toEqual([...Array(6).fill("joined false"), ...Array(2).fill("waiting true")]);
    expect(connections[0]).toMatchObject({ listener: "", bytesUp: 5, bytesDown: 5 });
    expect(connections.every(({ idleMs, ageMs }) => idleMs >= 0 && idleMs <= ageMs)).toBe(true);
    const pages: string[][] = [];
    for (let after = "", n = 0; n < 3; n++) {
      const page = await it.connections({ ...all, countMax: 3, after });
      pages.push(page.connections.map(({ id }) => id));
      after = page.next;
    }
    expect(pages).toEqual([
      ["1", "2", "3"],
      ["4", "5", "6"],
      ["7", "8"],
    ]);
    const count = async (query: Partial<ConnectionQuery>) =>
      (await it.connections({ ...all, ...query })).connections.length;
    const counts = [{ destination: "a" }, { destination: "b" }, { destination: "c" }].map(count);
    expect(await Promise.all(counts)).toEqual([4, 2, 0]);
    expect(await count({ client: "127.0.5.2" })).toBe(4);
    expect(await count({ client: "127.0.5.2", destination: "b" })).toBeLessThan(4);
    expect(await count({ ageMsMin: 60_000 })).toBe(0);
    await until(async () => (await count({ ageMsMin: 1 })) === 8, "all are 1 ms old");
    expect(it.connections({ ...all, after: "x" })).rejects.toThrow(SteeringError);
    for (const peer of peers) peer.reset();
    await balancer.finish(8);
  });

  test("kill: both sides are reset, the others go on, and nobody is killed twice", async () => {
    using server = echoServer();
    await using balancer = await embed([server.address], way);
    const peers: Peer[] = [];
    for (let i = 0; i < 6; i++) {
      const peer = await client(balancer.port);
      peers.push(peer);
      await echo(peer, "hello");
    }
    expect(await balancer.balancer.kill(3)).toBe(true);
    await until(() => peers[2]?.wasReset && server.peers.some((peer) => peer.wasReset), "resets");
    expect([await balancer.balancer.kill(3), await balancer.balancer.kill(99)]).toEqual([
      false,
      false,
    ]);
    const others = peers.filter((_, i) => i !== 2);
    for (const peer of others) await echo(peer, "still");
    await leave(others);
    const ended = endings(await balancer.finish(6));
    expect(ended).toEqual(peers.map((_, i) => (i === 2 ? "killed KD balancer" : "done -- client")));
  });

  test("rebalance: the oldest end in order at quiet moments, so many a second over all threads", async () => {
    // A question is answered when the test says so: until then that client is busy, however slow the machine is.
    using server = serve({
      onData: (peer, chunk) => chunk.includes("?") || peer.send(chunk),
      onEnd: (peer) => peer.finish(),
    });
    await using balancer = await embed([`${server.address},name=a`, "--max-age", "0"], way);
    const { balancer: it } = balancer;
    const peers: Peer[] = [];
    for (let i = 0; i < 8; i++) {
      const peer = await client(balancer.port);
      peers.push(peer);
      await echo(peer, "hello");
    }
    const [busy, ...quiet] = peers;
    busy?.send("?");
    const asked = await until(() => server.peers.find(({ text }) => text === "hello?"), "it asks");
    const perSecond = 20;
    expect(await it.rebalance("a", 5, perSecond)).toBe(5);
    const isOver = (peer: Peer) => peer.over;
    await until(() => quiet.filter(isOver).length === 4, "four ends");
    expect([busy?.over, quiet.map(isOver)]).toEqual([
      false,
      [true, true, true, true, false, false, false],
    ]);
    expect(quiet.some((peer) => peer.wasReset)).toBe(false);
    asked.send("!");
    await until(() => busy?.over, "the busy one's end, when it is quiet");
    await until(() => balancer.ended.length === 5, "a record of each");
    const records = [...balancer.ended].toSorted((a, b) => a.at + a.totalMs - b.at - b.totalMs);
    expect(new Set(endings(records))).toEqual(new Set(["rebalance LD balancer"]));
    const times = records.map(({ at, totalMs }) => at + totalMs);
    const gaps = times.slice(1).map((time, i) => time - (times[i] ?? 0));
    expect(Math.min(...gaps)).toBeGreaterThan(1_000 / perSecond - 3); // clocks are read a moment apart
    expect(await it.rebalance("a", 0, 1)).toBe(0);
    expect(it.rebalance("b", 1, 1)).rejects.toThrow(SteeringError);
    expect(it.rebalance("a", 1, 0)).rejects.toThrow(SteeringError);
    await leave(quiet.slice(4));
    await balancer.finish(8);
  });
});

test.each(["bun", "libc"])(
  "threads, %s: one in place of a dead one runs by what holds by now",
  async (engine) => {
    using first = tagServer("first");
    using second = echoServer();
    const args = ["--threads", "2", "--engine", engine, `${first.address},name=a`];
    await using balancer = await embed(args);
    const b = `${second.address},name=b`;
    await change(balancer, { destinations: [b], clientConnectionCountMax: 100, policy: "hash" });
    await until(() => balancer.status().destinations.length === 1, "the first has left");
    for (const mode of ["drain", "ready"] as const) balancer.balancer.setMode("b", mode);
    // Nobody but a test may reach into the supervisor; both fields are private.
    const { threads } = balancer.balancer as unknown as {
      readonly threads: { readonly members: readonly { readonly worker: Worker }[] };
    };
    const died = () => balancer.events.filter(({ kind }) => kind === "warning").length;
    for (const thread of [0, 1]) {
      const before = died();
      await threads.members[thread]?.worker.terminate();
      await until(() => died() === before + 1, "its end is told");
      const asked = change(balancer, { idleMs: 10_000 + thread }); // while it is dead
      expect((await asked).length).toBe(1);
    }
    const accepted = () => balancer.status().threads.map((each) => each.accepted);
    const before = accepted();
    await until(async () => {
      const crowd = Array.from({ length: 16 }, () => client(balancer.port, { from: "127.0.6.1" }));
      const peers = await Promise.all(crowd);
      for (const peer of peers) await echo(peer, "x");
      await leave(peers);
      return accepted().every((each, thread) => each > (before[thread] ?? 0));
    }, "clients in both");
    const count = balancer.status().accepted;
    await until(() => balancer.ended.length === count, "a record of each");
    expect(new Set(balancer.ended.map((each) => each.destination))).toEqual(new Set(["b"]));
    expect(first.peers.length).toBe(0);
    await balancer.finish(count);
  },
);
