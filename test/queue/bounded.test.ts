// Whoever has thousands to serve does it a few at a time: a pair that has nothing to do with it goes on meanwhile
// (HAProxy ddab05b9: one thread took from the queue for all the others, 500,000 rounds, and never came back).

import { describe, expect, test } from "bun:test";
import {
  allWaysInProcess,
  boardOf,
  chosen,
  embed,
  isInThisThread,
  type InProcess,
  waysInProcess,
} from "../e2e/ways.ts";
import { echoServer, seeded, until, type ClientOptions, type Peer } from "../net.ts";
import { Destination } from "./destination.ts";
import { asks, expectHistory } from "./scene.ts";

const crowdSize = 2_000;

/** Many who wait, of whom nobody asks for anything special. */
async function crowd(balancer: InProcess): Promise<Peer[]> {
  const peers: Peer[] = [];
  for (let n = 0; n < crowdSize; n += 500) {
    peers.push(...(await Promise.all(Array.from({ length: 500 }, () => asks(balancer, "a")))));
  }
  await until(() => balancer.status().queue.waiting === crowdSize, "they all wait");
  return peers;
}

describe.each(chosen(allWaysInProcess.filter(isInThisThread)))("queue: bounded, %s", (way) => {
  test("queue: 2,000 wait, their destination is back, not all are served in one turn (HAProxy ddab05b9)", async () => {
    using destination = new Destination("d", 0, seeded());
    await using balancer = await embed(["--queue-timeout", "0", destination.place], way);
    const board = boardOf(balancer);
    destination.kill();
    const peers = await crowd(balancer);
    let mostInTurn = 0;
    let before = crowdSize;
    let over = false;
    const look = () => {
      const waiting = board.total("queued");
      mostInTurn = Math.max(mostInTurn, before - waiting);
      before = waiting;
      if (!over) setImmediate(look);
    };
    look();
    destination.start();
    await until(() => peers.every((peer) => peer.over), "all answers", 20_000);
    over = true;
    expect(peers.filter((peer) => peer.text !== "answer\n")).toEqual([]);
    expect(mostInTurn).toBeLessThanOrEqual(crowdSize / 2);
    // One thread is the balancer, its destination and all clients here: their turns take their time.
    await expectHistory(way, balancer, crowdSize, [destination], { idleMs: 10_000 });
  });
});

describe.each(waysInProcess)("queue: bounded, %s", (way) => {
  test("queue: 2,000 wait, one slot is freed, an innocent pair's echo still comes (HAProxy ddab05b9)", async () => {
    using destination = new Destination("d", 1, seeded());
    using echo = echoServer();
    const options = ["--queue-timeout", "0", "--policy", "hash"];
    const places = [destination.place, `${echo.address},name=echo,slots=1`];
    await using balancer = await embed([...options, ...places], way);
    const heldCount = () =>
      balancer.status().destinations.reduce((sum, each) => sum + each.used, 0);
    let echoCount = 0;
    let isOn = false;
    /** Most clients that were served between two echoes. */
    let mostBetween = 0;
    let before = 0;
    const pairOptions: ClientOptions = {
      onData(peer, chunk) {
        if (!isOn || !chunk.equals(Buffer.from("w\n"))) return;
        echoCount += 1;
        mostBetween = Math.max(mostBetween, destination.servedCount - before);
        before = destination.servedCount;
        peer.send("w\n");
      },
    };
    // Which of the two is the pair and which the holder is the policy's choice.
    using first = await asks(balancer, "w", pairOptions);
    using second = await asks(balancer, "w", pairOptions);
    await until(() => heldCount() === 2 && destination.heldCount === 1, "both slots are taken");
    await until(() => first.text + second.text === "w\n", "an echo");
    const peers = await crowd(balancer);
    isOn = true;
    (first.text === "" ? second : first).send("w\n");
    destination.letGo("finish");
    await until(() => peers.every((peer) => peer.over), "all answers", 30_000);
    isOn = false;
    expect(peers.filter((peer) => peer.text !== "answer\n")).toEqual([]);
    expect(echoCount).toBeGreaterThan(20);
    if (isInThisThread(way)) expect(mostBetween).toBeLessThan(crowdSize / 4);
    for (const peer of [first, second]) peer.reset();
    await balancer.finish(crowdSize + 2);
  });
});
