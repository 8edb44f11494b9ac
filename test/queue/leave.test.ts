// Clients that leave the queue, and destinations that leave it without anybody to serve it.

import { describe, expect, test } from "bun:test";
import { embed, waysInProcess } from "../e2e/ways.ts";
import { until, withSeed } from "../net.ts";
import { Destination } from "./destination.ts";
import { asks, expectHistory, queueUp, watchBoard } from "./scene.ts";

describe.each(waysInProcess)("queue: leaving, %s", (way) => {
  test("queue: who leaves or waits too long is counted no more, in waves of 250 (HAProxy 099c1b24)", () =>
    withSeed(async (random) => {
      using destination = new Destination("d", 1, random);
      const waveCount = process.env["IAWLB_QUEUE"] === "all" ? 400 : 2;
      const size = 250;
      // As many as a wave may wait: one that is still counted would cost a client its place.
      const options = ["--queue-timeout", "400ms", "--queue-max", `${size}`];
      await using balancer = await embed([...options, destination.place], way);
      const { status } = balancer;
      using _holder = await asks(balancer, "w", {});
      await until(() => destination.heldCount === 1, "the holder at the destination");
      let leftCount = 0;
      for (let wave = 1; wave <= waveCount; wave += 1) {
        const leaves = Array.from({ length: size }, () => random.int(4) > 0);
        const peers = await Promise.all(leaves.map(() => asks(balancer, "a")));
        for (const [n, peer] of peers.entries()) {
          if (leaves[n]) setTimeout(() => peer.reset(), random.int(50));
        }
        await until(() => peers.every((peer) => peer.over), "all have gone");
        const counts = () => [
          status().queue.waiting,
          status().open,
          status().destinations[0]?.used,
        ];
        await until(() => `${counts()}` === "0,1,1", `nobody is counted after wave ${wave}`);
        leftCount += leaves.filter(Boolean).length;
      }
      using last = (await queueUp(balancer, 1))[0] ?? _holder;
      destination.letGo("finish");
      await until(() => last.over, "the answer");
      expect(last.text).toBe("answer\n");
      _holder.finish();
      const count = 2 + waveCount * size;
      const reasons = await expectHistory(way, balancer, count, [destination], { queueMs: 400 });
      expect(reasons.get("queue-full") ?? 0).toBe(0);
      // Some may have waited too long before they could leave.
      const goneCount = (reasons.get("client-left") ?? 0) + (reasons.get("queue-timeout") ?? 0);
      expect(goneCount).toBe(waveCount * size);
      expect(reasons.get("client-left") ?? 0).toBeLessThanOrEqual(leftCount);
      expect(reasons.get("queue-timeout") ?? 0).toBeGreaterThan(0);
    }));
});

/** A destination that comes and goes ten times a second, over and over. */
const goneCount = 8;
const goneMs = 50;

describe.each(waysInProcess)("queue: the last destination, %s", (way) => {
  test("queue: gone while clients wait, 10 times a second (HAProxy 53f52e67, ca275d99)", () =>
    withSeed(async (random) => {
      using destination = new Destination("d", 1, random);
      await using balancer = await embed(["--queue-timeout", "0", destination.place], way);
      using watch = watchBoard(balancer, way);
      const { status } = balancer;
      const count = 280; // more than can be served while it is there
      const peers = await Promise.all(Array.from({ length: count }, () => asks(balancer, "d")));
      await until(() => status().queue.waiting > 0, "clients that wait");
      const from = performance.now();
      for (let n = 0; n < goneCount; n += 1) {
        destination.kill();
        expect(status().queue.waiting).toBeGreaterThan(0);
        await Bun.sleep(goneMs); // the pace of its going, nothing is awaited
        destination.start();
        await Bun.sleep(goneMs);
      }
      // Each failure is followed by a rest: whoever goes round and round has many more.
      const restMs = 100;
      const most = 2 + goneCount + (performance.now() - from) / (restMs / 2);
      expect(status().destinations[0]?.failures).toBeLessThan(most);
      await until(() => peers.every((peer) => peer.over), "an end for each", 20_000);
      // One that was being served, and one that had its answer and had not ended yet, each time that it went.
      const cutCount = peers.filter((peer) => peer.text !== "answer\n").length;
      expect(peers.filter((peer) => peer.text !== "answer\n" && !peer.wasReset)).toEqual([]);
      expect(cutCount).toBeLessThanOrEqual(goneCount);
      const reasons = await expectHistory(way, balancer, count, [destination]);
      const { done = 0, "destination-reset": resetCount = 0 } = Object.fromEntries(reasons);
      expect(done + resetCount).toBe(count);
      expect(resetCount).toBeGreaterThanOrEqual(cutCount);
      expect(watch.found).toEqual([]);
      expect(watch.waitingCount).toBeGreaterThan(0);
    }));
});
