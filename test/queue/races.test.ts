// What has gone wrong where a queue and its slots meet in HAProxy's own history: a client that is filed as the last
// slot becomes free, a choice that finds everybody full, several that take from the queue, slots that are counted late.

import { describe, expect, test } from "bun:test";
import {
  allWaysInProcess,
  byCommandLine,
  chosen,
  embed,
  isOneThread,
  start,
  type Balancing,
  waysInProcess,
} from "../e2e/ways.ts";
import { seeded, until, withSeed, type Peer } from "../net.ts";
import { Destination } from "./destination.ts";
import { asks, expectHistory, watchBoard } from "./scene.ts";

const forEver = ["--queue-timeout", "0"];
const loopCount = 8;
const requestsEach = 25;

/** Clients come and go, each as soon as the one before is served: a slot is freed as somebody comes. */
async function comeAndGo(balancer: Balancing): Promise<number> {
  const loop = async () => {
    for (let n = 0; n < requestsEach; n += 1) {
      const peer = await asks(balancer, "a");
      await until(() => peer.over, "an answer, though a slot may have been freed as it came");
      expect([peer.text, peer.wasReset]).toEqual(["answer\n", false]);
    }
  };
  await Promise.all(Array.from({ length: loopCount }, loop));
  return loopCount * requestsEach;
}

const raceName =
  "queue: check-then-enqueue race leaves nobody waiting beside an idle slot (HAProxy 5541d499)";

test(`${raceName}, ${byCommandLine}`, async () => {
  using destination = new Destination("d", 1, seeded());
  await using balancer = await start(byCommandLine, [...forEver, destination.place]);
  const count = await comeAndGo(balancer);
  await expectHistory(byCommandLine, balancer, count, [destination]);
});

describe.each(waysInProcess)("queue: races, %s", (way) => {
  test(raceName, async () => {
    using destination = new Destination("d", 1, seeded());
    await using balancer = await embed([...forEver, destination.place], way);
    using watch = watchBoard(balancer, way);
    const count = await comeAndGo(balancer);
    await expectHistory(way, balancer, count, [destination]);
    expect(watch.found).toEqual([]);
    expect(watch.waitingCount).toBeGreaterThan(0);
  });

  test.each(["pull", "round-robin", "random", "hash"])(
    "queue: two full destinations, three clients: %s looks no longer than it must (HAProxy 6be02d1c)",
    async (policy) => {
      using a = new Destination("a", 1, seeded());
      using b = new Destination("b", 1, seeded());
      const options = [...forEver, "--policy", policy];
      await using balancer = await embed([...options, a.place, b.place], way);
      const { status } = balancer;
      const peers = await Promise.all([1, 2, 3].map(() => asks(balancer, "w")));
      await until(() => a.heldCount === 1 && b.heldCount === 1, "both are full");
      await until(() => status().queue.waiting === 1, "the third waits");
      // A thread that looks for ever would notice none of these.
      const passersByCount = 12;
      for (let n = 1; n <= passersByCount; n += 1) {
        const peer = await asks(balancer, "a");
        await until(() => status().queue.waiting === 2, `passer-by ${n} waits`);
        peer.reset();
        await until(() => status().queue.waiting === 1, `passer-by ${n} has left`);
      }
      a.letGo("finish");
      await until(() => a.heldCount === 1, "the third is served");
      a.letGo("finish");
      b.letGo("finish");
      await until(() => peers.every((peer) => peer.over), "all answers");
      expect(peers.map((peer) => peer.text)).toEqual(peers.map(() => "answer\n"));
      const reasons = await expectHistory(way, balancer, 3 + passersByCount, [a, b]);
      expect(Object.fromEntries(reasons)).toEqual({ done: 3, "client-left": passersByCount });
    },
  );

  test("queue: never more than three at a destination, however they end (HAProxy 3372a2ea)", () =>
    withSeed(async (random) => {
      using destination = new Destination("d", 3, random);
      await using balancer = await embed([...forEver, destination.place], way);
      using watch = watchBoard(balancer, way);
      const count = 200;
      const peers: Peer[] = [];
      for (let n = 0; n < count; n += 1) {
        const letter = "adhsre"[random.int(6)] ?? "a";
        const peer = await asks(balancer, letter, {
          onData: (each) => letter === "s" && each.finish(),
          onEnd: (each) => each.finish(),
        });
        if (letter === "h") peer.finish();
        if (random.int(5) === 0) setTimeout(() => peer.reset(), random.int(100));
        peers.push(peer);
      }
      await until(() => peers.every((peer) => peer.closed), "all ends");
      await expectHistory(way, balancer, count, [destination]);
      expect(watch.found).toEqual([]);
      expect(destination.servingMax).toBe(3);
    }));
});

describe.each(chosen(allWaysInProcess.filter((way) => !isOneThread(way))))(
  "queue: dequeue, %s",
  (way) => {
    test("queue: several threads take from it at once, nobody twice (HAProxy 99f5be56, 87154e30)", async () => {
      const slotsEach = 2;
      const destinations = ["a", "b", "c"].map(
        (name) => new Destination(name, slotsEach, seeded()),
      );
      const places = destinations.map(({ place }) => place);
      await using balancer = await embed([...forEver, ...places], way);
      const heldCount = () => destinations.reduce((sum, each) => sum + each.heldCount, 0);
      const { status } = balancer;
      // Until each thread has clients, for who accepts is the kernel's choice.
      const peers: Peer[] = [];
      const isOneIdle = () => status().threads.some(({ open }) => open < slotsEach);
      while (peers.length < 180 || (peers.length < 2_000 && isOneIdle())) {
        peers.push(await asks(balancer, "w"));
      }
      const slots = slotsEach * destinations.length;
      for (let left = peers.length; left > 0; left -= slots) {
        const expected = Math.min(left, slots);
        await until(() => heldCount() === expected, `${expected} are served, ${left} are left`);
        await until(() => status().queue.waiting === left - expected, "the others wait");
        for (const each of destinations) each.letGo("finish"); // in all threads at once
      }
      await until(() => peers.every((peer) => peer.over), "all answers");
      const servedCount = destinations.reduce((sum, each) => sum + each.servedCount, 0);
      expect(servedCount).toBe(peers.length);
      await expectHistory(way, balancer, peers.length, destinations);
      for (const each of destinations) each[Symbol.dispose]();
    });
  },
);
