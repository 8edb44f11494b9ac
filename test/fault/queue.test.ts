// Destinations that come and go while clients wait: nobody is lost, nobody overtakes, the log stays short.

import { expect } from "bun:test";
import { client, knock, until, type Peer } from "../net.ts";
import { lateMs, seeded, withSeed } from "../wait.ts";
import { fault, sized, type Subject } from "./lab.ts";
import { ask, crowd, expectOldestFirst, fateOf, over, ownPort, sourceOf } from "./load.ts";
import { teller, toldBy, type Fate, type Teller } from "./load.ts";

/** Lines of destinations that went out or came back. */
const changesTold = (balancer: Subject) =>
  toldBy(balancer).filter((line) => /is out: |is back$/.test(line));

interface Flapping {
  readonly heard: number;
  readonly flapCount: number;
  /** The last one that came up. */
  readonly up: Teller;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Comes up and goes down every 200 ms; `die` cuts its clients, else they are served to their end. */
function flap(place: string, flaps: number, how: "stop" | "die"): { done: Promise<Flapping> } {
  const run = async (): Promise<Flapping> => {
    const all: Teller[] = [];
    for (let n = 0; n < flaps; n++) {
      const server = teller(1, place);
      all.push(server);
      await Bun.sleep(200);
      if (how === "die") server[Symbol.dispose]();
      else server.stop();
      await Bun.sleep(200);
    }
    const up = teller(0, place);
    all.push(up);
    return {
      up,
      flapCount: flaps,
      heard: all.reduce((sum, each) => sum + each.heard.length, 0),
      [Symbol.asyncDispose]: async () => all.forEach((each) => each[Symbol.dispose]()),
    };
  };
  return { done: run() };
}

/** Clients ask, so many at a time, until it is over. @returns what came of them. */
async function askUntil(
  balancer: Subject,
  over: Promise<unknown>,
  atOnce: number,
): Promise<Record<Fate, number>> {
  const fates: Record<Fate, number> = { served: 0, cut: 0, truncated: 0 };
  const ended = new AbortController();
  void over.finally(() => ended.abort());
  let n = 0;
  const worker = async () => {
    while (!ended.signal.aborted) {
      const line = `ask ${n++}`;
      fates[fateOf(await ask(balancer.port, line, { from: sourceOf(n) }), line)] += 1;
      await Bun.sleep(2); // a flood is another case
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
  return fates;
}

fault(
  29,
  "the only destination flaps: who waits is served in the end, nobody is lost",
  async (lab) => {
    await withSeed(async (random) => {
      const place = `127.0.0.1:${ownPort(random)}`;
      const balancer = await lab.start(["--slots", "2", "--queue-timeout", "0", place]);
      const { done } = flap(place, sized(10, 5), "stop");
      const fates = await askUntil(balancer, done, 24);
      await using flapping = await done;
      expect(fates.truncated).toBe(0);
      // Whom the kernel holds for a listener that closes is reset: as many as there are slots, each time.
      expect(fates.cut).toBeLessThanOrEqual(2 * flapping.flapCount);
      expect(fates.served).toBeGreaterThan(24);
      expect(flapping.up.servingMax).toBeLessThanOrEqual(2);
      // A line for each time that it goes and comes, at the most.
      expect(changesTold(balancer).length).toBeLessThanOrEqual(2 * flapping.flapCount + 2);
      const ended = await balancer.finish(fates.served + fates.cut);
      const cut = ended.filter((each) => each.reason !== "done");
      expect(cut.length).toBe(fates.cut);
      expect(cut.filter((each) => each.reason !== "destination-reset")).toEqual([]);
    });
  },
);

fault(
  29,
  "a destination dies again and again beside a steady one: cuts are seen, nobody hangs",
  async (lab) => {
    await withSeed(async (random) => {
      const place = `127.0.0.1:${ownPort(random)}`;
      using steady = teller(1);
      const balancer = await lab.start(["--slots", "4", place, steady.address]);
      const { done } = flap(place, sized(10, 5), "die");
      const fates = await askUntil(balancer, done, 24);
      await using flapping = await done;
      expect(fates.truncated).toBe(0);
      // Each death can cost those whom it has heard, four at a time.
      expect(fates.cut).toBeLessThanOrEqual(4 * flapping.flapCount);
      expect(steady.heard.length).toBeGreaterThan(0);
      expect(flapping.heard).toBeGreaterThan(0);
      expect(changesTold(balancer).length).toBeLessThanOrEqual(2 * flapping.flapCount + 2);
      const ended = await balancer.finish(fates.served + fates.cut);
      const cut = ended.filter((each) => each.reason !== "done");
      expect(
        new Set(cut.map((each) => `${each.reason} ${each.closedBy} ${each.destination}`)),
      ).toEqual(new Set(cut.length === 0 ? [] : [`destination-reset destination ${place}`]));
    });
  },
);

/** So many clients, who have said who they are, wait. */
async function queueUp(balancer: Subject, count: number): Promise<Peer[]> {
  const peers: Peer[] = [];
  await crowd(count, 50, async () => void peers.push(await knock(balancer.port)));
  for (const peer of peers) peer.send(`${peer.socket.localPort}\n`);
  await balancer.when((now) => now.queue.waiting === count, `${count} wait`);
  return peers;
}

fault(
  30,
  "all are down, then one is back: the oldest first, never more than its slots",
  async (lab) => {
    for (const slots of [1, 3]) {
      const random = seeded();
      const places = [`127.0.0.1:${ownPort(random)}`, `127.0.0.1:${ownPort(random)}`];
      const balancer = await lab.start(["--slots", `${slots}`, "--queue-timeout", "0", ...places]);
      const peers = await queueUp(balancer, 300);
      await balancer.when(
        (now) => now.destinations.every((each) => each.outCount > 0),
        "all are out",
      );
      // A look by one client a second, not by all of them.
      const failuresOf = async () => {
        const { destinations } = await balancer.status();
        return destinations.reduce((sum, each) => sum + each.failures, 0);
      };
      const before = await failuresOf();
      const startedAt = performance.now();
      await Bun.sleep(1_200);
      const passedS = (performance.now() - startedAt) / 1_000;
      expect((await failuresOf()) - before).toBeLessThanOrEqual(
        places.length * (passedS / 0.8 + 4),
      );
      using server = teller(1, places[1]);
      await over(peers, 30_000);
      for (const peer of peers) peer.finish();
      expect(peers.filter((peer) => peer.wasReset)).toEqual([]);
      expect(server.servingMax).toBe(slots);
      const ended = await balancer.finish(300);
      if (slots === 1) expectOldestFirst(server.heard, ended);
      expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
      expect(changesTold(balancer).filter((line) => line.includes("is back")).length).toBe(1);
    }
  },
);

fault(
  33,
  "who has waited for 2 s is refused, the oldest first, and nobody earlier",
  async (lab) => {
    using server = teller();
    const queueMs = 2_000;
    const args = ["--slots", "1", "--queue-timeout", `${queueMs}ms`, server.address];
    const balancer = await lab.start(args);
    using holder = await client(balancer.port);
    holder.send("h");
    await until(() => server.serving === 1, "the holder at the destination");
    const peers: Peer[] = [];
    for (let wave = 1; wave <= 8; wave++) {
      await crowd(40, 40, async () => void peers.push(await knock(balancer.port)));
      await balancer.when((now) => now.accepted === 1 + 40 * wave, "a wave is accepted");
      await Bun.sleep(60);
    }
    await over(peers, 20_000);
    expect(new Set(peers.map((peer) => peer.code))).toEqual(new Set(["ECONNRESET"]));
    holder.send("\n");
    await until(() => holder.over, "the answer to the holder");
    holder.finish();
    expect(holder.wasReset).toBe(false);
    expect(server.heard.length).toBe(1);
    const lines = balancer.ended;
    const [first, ...waited] = await balancer.finish(321);
    expect(first?.reason).toBe("done");
    expect(new Set(waited.map((each) => `${each.reason} ${each.closedBy} ${each.state}`))).toEqual(
      new Set(["queue-timeout balancer sQ"]),
    );
    for (const each of waited) {
      expect(each.queueMs).toBeGreaterThanOrEqual(queueMs);
      expect(each.queueMs).toBeLessThan(queueMs + lateMs); // 2.05 s as a rule
    }
    // Each thread has its own clock hand, and its lines come on their own way.
    if (lab.threadCount > 1) return;
    const ids = lines.filter((each) => each.reason === "queue-timeout").map((each) => each.id);
    expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  },
);
