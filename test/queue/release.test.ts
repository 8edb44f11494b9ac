// Every way in which a slot becomes free serves who has waited longest: one test each, for what frees a slot without
// looking into the queue leaves its clients there for ever (HAProxy dc9ce9c2).

import { describe, expect, test } from "bun:test";
import { embed, waysInProcess, type InProcess } from "../e2e/ways.ts";
import { blackhole, seeded, until, type Peer } from "../net.ts";
import { Destination } from "./destination.ts";
import { asks, expectHistory, queueUp, watchBoard } from "./scene.ts";

interface Scene {
  readonly balancer: InProcess;
  readonly destination: Destination;
  readonly holder: Peer;
}

/** One way: who holds the slot asks for this, and what then frees it, if not time alone. */
interface Release {
  readonly name: string;
  readonly letter: string;
  readonly options?: readonly string[];
  readonly free?: (scene: Scene) => void;
  /** How the holder ends. */
  readonly reason: string;
  readonly cooldownMs?: number;
}

const releases: readonly Release[] = [
  {
    name: "the destination's end, while its client stays",
    letter: "w",
    free: ({ destination }) => destination.letGo("finish"),
    reason: "done",
  },
  {
    name: "the destination's reset",
    letter: "w",
    free: ({ destination }) => destination.letGo("reset"),
    reason: "destination-reset",
  },
  {
    name: "the client's reset",
    letter: "w",
    free: ({ holder }) => holder.reset(),
    reason: "client-reset",
  },
  {
    name: "the client's end, then the destination's",
    letter: "h",
    free: ({ holder }) => holder.finish(),
    reason: "done",
  },
  {
    name: "the idle timeout",
    letter: "i",
    options: ["--idle-timeout", "1s"],
    reason: "idle-timeout",
  },
  {
    name: "the half-close timeout",
    letter: "q",
    options: ["--half-close-timeout", "1s"],
    free: ({ holder }) => holder.finish(),
    reason: "half-close-timeout",
  },
  {
    name: "the answer timeout",
    letter: "q",
    options: ["--answer-timeout", "1s"],
    reason: "answer-timeout",
  },
  {
    name: "the end of a cooldown",
    letter: "w",
    options: ["--cooldown", "100ms"],
    free: ({ destination }) => destination.letGo("finish"),
    reason: "done",
    cooldownMs: 100,
  },
  {
    name: "the destination's end, and the connection opened ahead is dead",
    letter: "w",
    options: ["--warm", "1"],
    free: ({ destination }) => {
      destination.resetSilent();
      destination.letGo("finish");
    },
    reason: "done",
  },
];

const waitingCount = 3;

describe.each(waysInProcess)("queue: HAProxy dc9ce9c2, %s", (way) => {
  test.each(releases)("queue: a slot freed by $name serves who waits", async (release) => {
    const { letter, options = [], free, reason, cooldownMs = 0 } = release;
    using destination = new Destination("d", 1, seeded());
    const args = ["--queue-timeout", "0", ...options, destination.place];
    await using balancer = await embed(args, way);
    using watch = watchBoard(balancer, way);
    using holder = await asks(balancer, letter, {});
    await until(() => destination.servedCount === 1, "the holder at the destination");
    const waiting = await queueUp(balancer, waitingCount);
    if (options.includes("--warm")) {
      await until(() => destination.silentCount === 1, "a connection opened ahead");
    }
    free?.({ balancer, destination, holder });
    await until(() => waiting.every((peer) => peer.over), "all answers");
    expect(waiting.map((peer) => peer.text)).toEqual(waiting.map(() => "answer\n"));
    holder.finish();
    const count = 1 + waitingCount;
    const reasons = await expectHistory(way, balancer, count, [destination], { cooldownMs });
    expect(Object.fromEntries(reasons)).toEqual(
      reason === "done" ? { done: count } : { [reason]: 1, done: waitingCount },
    );
    expect(watch.found).toEqual([]);
    expect(watch.waitingCount).toBeGreaterThan(0);
    expect(destination.servingMax).toBe(1);
  });

  test("queue: a slot freed by a client that leaves while it is dialed serves who waits", async () => {
    using hole = blackhole();
    const args = ["--queue-timeout", "0", `${hole.address},name=hole,slots=1`];
    await using balancer = await embed(args, way);
    using watch = watchBoard(balancer, way);
    const { status } = balancer;
    const places = () => [status().destinations[0]?.used, status().queue.waiting];
    const isSo = (used: number, waiting: number) => () => `${places()}` === `${[used, waiting]}`;
    const first = await asks(balancer, "a");
    await until(isSo(1, 0), "it is dialed");
    const peers = [first, ...(await queueUp(balancer, waitingCount))];
    for (const [n, peer] of peers.entries()) {
      const left = waitingCount - n;
      await until(isSo(1, left), `client ${n} is dialed`);
      peer.reset();
      await until(isSo(left > 0 ? 1 : 0, Math.max(0, left - 1)), `client ${n} has left`);
    }
    const course = { name: "hole", slots: 1, downs: [], complaints: [] };
    const reasons = await expectHistory(way, balancer, 1 + waitingCount, [course]);
    expect(Object.fromEntries(reasons)).toEqual({ "client-left": 1 + waitingCount });
    expect(watch.found).toEqual([]);
  });

  test("queue: a slot freed by a connect that failed serves who waits", async () => {
    using destination = new Destination("d", 1, seeded());
    await using balancer = await embed(["--queue-timeout", "0", destination.place], way);
    destination.kill();
    const peers = await Promise.all([1, 2, 3, 4].map(() => asks(balancer, "a")));
    await until(() => (balancer.status().destinations[0]?.failures ?? 0) > 0, "a refusal");
    destination.start();
    await until(() => peers.every((peer) => peer.over), "all answers");
    expect(peers.map((peer) => peer.text)).toEqual(peers.map(() => "answer\n"));
    const reasons = await expectHistory(way, balancer, 4, [destination]);
    expect(Object.fromEntries(reasons)).toEqual({ done: 4 });
  });

  test("queue: a slot freed by a connect that timed out serves who waits", async () => {
    const hole = blackhole();
    const options = ["--queue-timeout", "0", "--connect-timeout", "100ms"];
    const args = [...options, `${hole.address},name=d,slots=1`];
    await using balancer = await embed(args, way);
    const peers = await Promise.all([1, 2, 3, 4].map(() => asks(balancer, "a")));
    await until(() => (balancer.status().destinations[0]?.failures ?? 0) > 0, "a timeout");
    hole[Symbol.dispose]();
    using destination = new Destination("d", 1, seeded(), "127.0.0.1", hole.port);
    await until(() => peers.every((peer) => peer.over), "all answers");
    expect(peers.map((peer) => peer.text)).toEqual(peers.map(() => "answer\n"));
    const reasons = await expectHistory(way, balancer, 4, [destination]);
    expect(Object.fromEntries(reasons)).toEqual({ done: 4 });
  });
});
