// Who may connect: networks, connections and rates by client, exact over all threads; and how the refused are told of.

import { describe, expect, test } from "bun:test";
import { client, echoServer, serve, until, type Peer, type Place } from "../net.ts";
import { embed, endings, refused, spawn, waysInProcess } from "./ways.ts";

/** A client at an address of its own; refused ones see a reset. */
function from(address: string, place: Place): Promise<Peer> {
  return client(place, { from: address });
}

async function echo(peer: Peer): Promise<void> {
  peer.send("hello");
  await until(() => peer.text === "hello" || peer.over, "the echo");
}

describe.each(waysInProcess)("access, %s", (way) => {
  test("access: the longest prefix decides, and the line says who was denied", async () => {
    using server = echoServer();
    const rules = ["--allow", "127.0.0.0/8,127.0.7.5", "--deny", "127.0.7.0/24"];
    await using balancer = await embed([...rules, server.address], way);
    const addresses = ["127.0.0.1", "127.0.7.4", "127.0.7.5", "127.0.8.1"];
    const peers: Peer[] = [];
    for (const address of addresses) {
      const peer = await from(address, balancer.port);
      await echo(peer);
      peers.push(peer);
    }
    expect(peers.map((peer) => peer.wasReset)).toEqual([false, true, false, false]);
    for (const peer of peers) peer.finish();
    const ended = await balancer.finish(4);
    const denied = ended.filter((each) => each.reason === "denied");
    expect(endings(denied)).toEqual(["denied PC balancer"]);
    expect(denied[0]?.client).toStartWith("127.0.7.4:");
    expect(server.peers.length).toBe(3);
  });

  test("access: connections of one client, exactly so many at once, another client is served", async () => {
    using server = echoServer();
    const options = ["--max-per-client", "5", "--refusal-lines", "0", server.address];
    await using balancer = await embed(options, way);
    let count = 0;
    for (let round = 0; round < 3; round++) {
      const refusedBefore = balancer.status().closed["client-limit"];
      const crowd = Array.from({ length: 20 }, () => from("127.0.7.1", balancer.port));
      const peers = await Promise.all(crowd);
      using other = await from("127.0.7.2", balancer.port);
      count += 21;
      await echo(other);
      await until(() => peers.filter((peer) => peer.over).length === 15, "15 refusals");
      // A socket is closed first, counted then.
      const refusedCount = () => balancer.status().closed["client-limit"] - refusedBefore;
      await until(() => refusedCount() >= 15, "their count");
      expect(refusedCount()).toBe(15);
      const open = peers.filter((peer) => !peer.over);
      for (const peer of open) await echo(peer);
      expect(open.map((peer) => peer.text)).toEqual(open.map(() => "hello"));
      for (const peer of [...open, other]) peer.finish();
      await until(() => [...open, other].every((peer) => peer.over), "all ends");
      await until(() => balancer.status().open === 0, "none is open");
    }
    await balancer.finish(count);
  });

  test("access: new connections of one client, a second's worth at once and then its rate", async () => {
    using server = echoServer();
    const options = ["--rate-per-client", "10/m", "--refusal-lines", "0", server.address];
    await using balancer = await embed(options, way);
    const peers = await Promise.all(
      Array.from({ length: 8 }, () => from("127.0.7.3", balancer.port)),
    );
    for (const peer of peers) await echo(peer);
    expect(peers.filter((peer) => peer.text === "hello").length).toBe(1);
    const refusedCount = () => balancer.status().closed["client-rate"];
    await until(() => refusedCount() >= 7, "the count of the others");
    expect(refusedCount()).toBe(7);
    using other = await from("127.0.7.4", balancer.port);
    await echo(other);
    expect(other.text).toBe("hello");
    for (const peer of [...peers, other]) peer.finish();
    await balancer.finish(9);
  });

  test("access: --refuse fin ends a refused client in order", async () => {
    using server = echoServer();
    const options = ["--deny", "127.0.0.0/8", "--refuse", "fin", server.address];
    await using balancer = await embed(options, way);
    using peer = await from("127.0.7.1", balancer.port);
    await until(() => peer.over, "the refusal");
    expect([peer.ended, peer.wasReset]).toEqual([true, false]);
    expect(endings(await balancer.finish(1))).toEqual(["denied PC balancer"]);
  });

  test("age: a connection is closed in order at a quiet moment, a busy one goes on", async () => {
    // A question is answered when the test says so: until then that client is busy, however slow the machine is.
    using server = serve({
      onData: (peer, chunk) => chunk.includes("?") || peer.send(chunk),
      onEnd: (peer) => peer.finish(),
    });
    await using balancer = await embed(["--max-age", "300ms", server.address], way);
    using busy = await client(balancer.port);
    await echo(busy);
    busy.send("?");
    const asked = await until(() => server.peers.find(({ text }) => text === "hello?"), "it asks");
    for (let n = 0; n < 2; n++) {
      using quiet = await client(balancer.port); // the second one comes when the age of the busy one is over
      await echo(quiet);
      await until(() => quiet.over, "the quiet one's end");
      expect([quiet.ended, quiet.wasReset, busy.over]).toEqual([true, false, false]);
    }
    asked.send(", and its answer");
    await until(() => busy.over, "the busy one's end, once it is quiet");
    expect([busy.text, busy.wasReset]).toEqual(["hello, and its answer", false]);
    expect(endings(await balancer.finish(3))).toEqual(Array(3).fill("max-age LD balancer"));
  });
});

test("access: of many refusals so many a second have a line, the rest is counted and told", async () => {
  using server = echoServer();
  const options = ["--deny", "127.0.0.0/8", "--refusal-lines", "10", server.address];
  await using balancer = await spawn(options);
  const count = 500;
  for (let n = 0; n < count; n += 50) {
    const peers = await Promise.all(
      Array.from({ length: 50 }, () => from("127.0.7.1", balancer.port)),
    );
    await until(() => peers.every((peer) => peer.over), "50 refusals");
  }
  expect(await balancer.process.stop()).toBe(0);
  const { stdout, stderr } = balancer.process;
  const told = [...stderr.matchAll(/(\d+) refused clients have no access line: denied/g)];
  const unlogged = told.reduce((sum, match) => sum + Number(match[1]), 0);
  expect(stdout.length + unlogged).toBe(count);
  expect(stdout.length).toBeGreaterThanOrEqual(10);
  expect(stdout.length).toBeLessThan(count / 2);
});

test("access: IPv6 clients are counted by their network", async () => {
  using server = echoServer();
  await using balancer = await spawn(["--max-per-client", "1", server.address], {
    listen: "[::]:0",
  });
  using first = await client(`[::1]:${balancer.port}`);
  await echo(first);
  using second = await from("[::1]", `[::1]:${balancer.port}`);
  await echo(second);
  // The same machine by IPv4 is another client, whatever the listener's family.
  using third = await client(`127.0.0.1:${balancer.port}`);
  await echo(third);
  expect([first.text, second.text, third.text]).toEqual(["hello", "", "hello"]);
  for (const peer of [first, third]) peer.finish();
  await balancer.finish(3);
});

test("access: a unix socket's clients have no address and are let in", async () => {
  using server = echoServer();
  const options = ["--max-per-client", "1", "--deny", "0.0.0.0/0,::/0", server.address];
  const listen = `unix:${process.env["TMPDIR"] ?? "/var/tmp"}/iawlb-access-${process.pid}.sock`;
  await using balancer = await spawn(options, { listen });
  const peers = [await client(listen), await client(listen)];
  for (const peer of peers) {
    await echo(peer);
    peer.finish();
  }
  expect(peers.map((peer) => peer.text)).toEqual(["hello", "hello"]);
  await balancer.finish(2);
});

test("access: a destination that is the balancer itself is a mistake, also by another of its addresses", async () => {
  using server = serve({});
  for (const self of ["127.0.0.2", "localhost"]) {
    const { code, stderr } = await refused([
      `0.0.0.0:${server.port + 1}`,
      `${self}:${server.port + 1}`,
    ]);
    expect([code, stderr]).toEqual([2, expect.stringContaining("itself")]);
  }
});
