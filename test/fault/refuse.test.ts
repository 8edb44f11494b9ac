// Destinations that cannot be reached: refused, swallowed, unreachable, or reset as soon as they are.

import { expect } from "bun:test";
import {
  blackhole,
  client,
  deadPort,
  echoServer,
  serve,
  tagServer,
  until,
  type Peer,
} from "../net.ts";
import { endings } from "../e2e/ways.ts";
import { fault } from "./lab.ts";
import { missingNetwork, network } from "./network.ts";
import { ask, askMany, hearer, longMs, numbered } from "./peers.ts";

const served = "done -- client";

fault(1, "a destination that refuses costs no client, and its slot is free", async (lab) => {
  using dead = deadPort();
  using server = echoServer();
  const balancer = await lab.start(["--slots", "4", dead.address, server.address]);
  const peers = await Promise.all(Array.from({ length: 40 }, () => client(balancer.port)));
  for (const peer of peers) {
    peer.send("hello");
    peer.finish();
  }
  await until(() => peers.every((peer) => peer.over), "all answers");
  expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["hello"]));
  const ended = await balancer.finish(40);
  expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  expect(ended.some((each) => each.tried.includes(dead.address))).toBe(true);
});

fault(1, "while every destination refuses, who waits keeps age and bytes", async (lab) => {
  const dead = deadPort();
  const balancer = await lab.start(["--slots", "1", dead.address]);
  const words = numbered(8, "client ");
  const peers: Peer[] = [];
  for (const [i, each] of words.entries()) {
    const peer = await client(balancer.port);
    peers.push(peer);
    peer.send(each);
    peer.finish();
    await balancer.when((now) => now.open === i + 1, `client ${i} is in`);
  }
  await balancer.when((now) => (now.destinations[0]?.outCount ?? 0) > 0, "it is out");
  await balancer.when((now) => now.queue.waiting === 8, "all wait");
  expect(peers.filter((peer) => peer.over)).toEqual([]);
  dead[Symbol.dispose]();
  using server = hearer("it", dead.address);
  await until(() => peers.every((peer) => peer.over), "all answers", longMs);
  expect(server.heard).toEqual(words);
  expect(peers.map((peer) => peer.text)).toEqual(words.map((each) => `it heard ${each}`));
  const { destinations } = await balancer.status();
  expect(destinations[0]).toMatchObject({ lastFault: "ECONNREFUSED", connections: 8 });
  const ended = await balancer.finish(8);
  expect(new Set(endings(ended))).toEqual(new Set([served]));
});

const netMissing = missingNetwork("nft");

fault(
  2,
  "a destination whose network swallows everything costs its connect deadline, and comes back",
  async (lab) => {
    using net = network();
    using server = net.within(() => hearer("live"));
    using lost = net.within(() => hearer("lost", "127.0.0.9:0"));
    const lostAddress = `127.0.0.9:${lost.port}`;
    const args = ["--connect-timeout", "300ms", `${lostAddress},name=lost`, server.address];
    const balancer = await lab.start(args, { command: net.command });
    net.cut("127.0.0.9");
    const words = numbered(30);
    const answers = await askMany(balancer.port, words, { net, atOnce: 15 });
    expect(answers).toEqual(words.map((each) => `live heard ${each}`));
    const status = await balancer.status();
    expect(status.destinations[0]).toMatchObject({ lastFault: "ETIMEDOUT", connections: 0 });
    net.heal();
    let count = 30;
    const isBack = async () => {
      count += 1;
      return (await ask(balancer.port, "again", net)).text.startsWith("lost");
    };
    await until(isBack, "a client at the one that was lost", longMs);
    const ended = await balancer.finish(count);
    expect(new Set(endings(ended))).toEqual(new Set([served]));
    const late = ended.filter((each) => each.tried.includes("lost"));
    expect(late.length).toBeGreaterThan(0);
    for (const each of late) expect(each.totalMs).toBeGreaterThanOrEqual(300);
  },
  { skip: netMissing },
);

fault(
  2,
  "when everything is swallowed, who waits is refused at its age, and no slot is left",
  async (lab) => {
    using net = network();
    net.cut("127.0.0.9");
    const args = ["--connect-timeout", "200ms", "--queue-timeout", "1s", "--slots", "2"];
    const balancer = await lab.start([...args, "127.0.0.9:80,name=lost"], {
      command: net.command,
    });
    const words = numbered(6);
    const answers = await askMany(balancer.port, words, { net });
    expect(answers).toEqual(words.map(() => "cut after "));
    const ended = await balancer.finish(6);
    // At that age some are in the queue, and who is being dialed goes back to it first.
    expect(new Set(endings(ended))).toEqual(new Set(["queue-timeout sQ balancer"]));
    for (const each of ended) expect(each.totalMs).toBeGreaterThanOrEqual(1_000);
    expect(ended.some((each) => each.tried.includes("lost"))).toBe(true);
  },
  { skip: netMissing },
);

fault(
  2,
  "a route that is gone, forbidden or a black hole costs no client",
  async (lab) => {
    using net = network();
    for (const [i, kind] of ["unreachable", "prohibit", "blackhole"].entries()) {
      net.run(`ip route add ${kind} 10.79.${i}.0/24`);
    }
    using server = net.within(() => hearer("live"));
    const nowhere = numbered(3).map((i) => `10.79.${i}.1:80`);
    const balancer = await lab.start([...nowhere, server.address], { command: net.command });
    const words = numbered(30);
    const answers = await askMany(balancer.port, words, { net });
    expect(answers).toEqual(words.map((each) => `live heard ${each}`));
    const { destinations, localFaults } = await balancer.status();
    const causes = destinations.map((each) => each.lastFault);
    expect(causes).toEqual(["EHOSTUNREACH", "EACCES", "EINVAL", ""]);
    expect(localFaults).toBe(0);
    const ended = await balancer.finish(30);
    expect(new Set(endings(ended))).toEqual(new Set([served]));
  },
  { skip: netMissing },
);

fault(
  3,
  "a full accept queue counts against its own destination, which comes back",
  async (lab) => {
    const hole = blackhole();
    using server = hearer("live");
    const args = ["--connect-timeout", "300ms", "--slots", "8", `${hole.address},name=full`];
    const balancer = await lab.start([...args, server.address]);
    const words = numbered(30);
    const answers = await askMany(balancer.port, words, { atOnce: 15 });
    expect(answers).toEqual(words.map((each) => `live heard ${each}`));
    const { destinations } = await balancer.status();
    expect(destinations[0]).toMatchObject({ lastFault: "ETIMEDOUT", connections: 0 });
    expect(destinations[1]).toMatchObject({ failures: 0, state: "up", connections: 30 });
    hole[Symbol.dispose]();
    using back = hearer("back", hole.address);
    let count = 30;
    const isBack = async () => {
      count += 1;
      return (await ask(balancer.port, "again")).text.startsWith("back");
    };
    await until(isBack, "a client at the one that was full", longMs);
    expect(back.heard).toEqual(["again"]);
    const ended = await balancer.finish(count);
    expect(new Set(endings(ended))).toEqual(new Set([served]));
  },
);

fault(6, "who resets at accept has not connected: a silent client goes elsewhere", async (lab) => {
  using resetting = serve({ onOpen: (peer) => peer.reset() });
  using server = tagServer("live");
  const balancer = await lab.start([`${resetting.address},name=resetting`, server.address]);
  const peers = await Promise.all(Array.from({ length: 40 }, () => client(balancer.port)));
  await until(() => peers.every((peer) => peer.ended), "all greetings", longMs);
  expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["live"]));
  expect(peers.filter((peer) => peer.wasReset)).toEqual([]);
  for (const peer of peers) peer.finish();
  const ended = await balancer.finish(40);
  expect(new Set(endings(ended))).toEqual(new Set(["done -- destination"]));
  expect(new Set(ended.map((each) => each.destination))).toEqual(new Set([server.address]));
  expect(ended.some((each) => each.tried.includes("resetting"))).toBe(true);
});
