// A thread that breaks an assertion of its own gives back what it held, and its clients see a reset, never an end.

import { describe, expect, test } from "bun:test";
import type { MessagePort } from "node:worker_threads";
import type { Status } from "../../src/balancer.ts";
import {
  allWaysInProcess,
  boardOf,
  chosen,
  embed,
  isOneThread,
  type InProcess,
} from "../e2e/ways.ts";
import { seeded, until, type Peer } from "../net.ts";
import { Destination } from "./destination.ts";
import { asks, queueUp } from "./scene.ts";

/** By a command to forget a destination that nobody has removed: the thread trips as it is woken. */
function breakByWake({ balancer }: InProcess, thread: number): void {
  // Nobody but a test may reach into the supervisor; these are private.
  const { threads } = balancer as unknown as {
    readonly threads: {
      readonly members: readonly { readonly commands: MessagePort }[];
      wake(thread: number): void;
    };
  };
  threads.members[thread]?.commands.postMessage(
    { kind: "ask", number: -1, question: { kind: "forget", rows: [1] } },
    [],
  );
  threads.wake(thread);
}

/** By a slot that is not taken on the board although it is: the thread trips as a cooldown ends. */
function breakByAlarm(balancer: InProcess, destination: Destination): void {
  boardOf(balancer).used[0] = 0;
  destination.letGo("finish");
}

describe.each(chosen(allWaysInProcess.filter((way) => !isOneThread(way))))(
  "queue: death, %s",
  (way) => {
    test("queue: a slot freed by the death of its thread serves who waits in the others", async () => {
      using destination = new Destination("d", 1, seeded());
      await using balancer = await embed(
        ["--queue-timeout", "0", destination.place, "127.0.0.1:9,backup"],
        way,
      );
      const { status } = balancer;
      const openOf = () => status().threads.map(({ open }) => open);
      using holder = await asks(balancer, "w", {});
      await until(() => destination.heldCount === 1, "the holder at the destination");
      const victim = openOf().indexOf(1);
      const waiting: Peer[] = [];
      const othersCount = () => openOf().filter((open, n) => n !== victim && open > 0).length;
      while (othersCount() === 0) waiting.push(...(await queueUp(balancer, 1)));
      breakByWake(balancer, victim);
      await until(() => [holder, ...waiting].every((peer) => peer.over), "an end for each");
      const served = waiting.filter((peer) => peer.text === "answer\n");
      expect(served.length).toBeGreaterThanOrEqual(1);
      const cut = [holder, ...waiting].filter((peer) => peer.text === "" && peer.wasReset);
      expect(cut.length).toBe(1 + waiting.length - served.length);
      const counts = () => [status().open, status().queue.waiting, status().destinations[0]?.used];
      await until(() => `${counts()}` === "0,0,0", "nothing is left of them");
      // A thread may lose its core after it has counted one as open no more, before it counts why.
      const countOf = ({ done, error, shutdown }: Status["closed"]) => done + error + shutdown;
      await until(() => countOf(status().closed) >= 1 + waiting.length, "each has its reason");
      const { done, error, shutdown } = status().closed;
      expect({ done, cut: error + shutdown }).toEqual({ done: served.length, cut: cut.length });
      expect(destination.complaints).toEqual([]);
    });

    test("queue: a thread that trips as a cooldown ends resets its clients", async () => {
      using destination = new Destination("d", 1, seeded());
      using other = new Destination("other", 8, seeded());
      const options = ["--cooldown", "50ms", "--policy", "round-robin"];
      await using balancer = await embed([...options, destination.place, other.place], way);
      const peers: Peer[] = [];
      while (destination.heldCount === 0 || other.heldCount === 0) {
        peers.push(await asks(balancer, "w", {}));
        await until(() => destination.heldCount + other.heldCount === peers.length, "it is held");
      }
      breakByAlarm(balancer, destination);
      await until(() => peers.some((peer) => peer.wasReset), "the reset");
      const broken = () =>
        balancer.events.find(
          (each) => each.kind === "warning" && each.message.startsWith("thread"),
        );
      await until(broken, "the word of it");
      for (const peer of peers) peer.reset();
      await until(() => balancer.status().open === 0, "none is open");
    });
  },
);
