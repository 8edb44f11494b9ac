// A data-plane thread that dies takes its own connections with it and nothing else: the other threads go on, its slots
// come back, and another thread takes its place.

import { expect, test } from "bun:test";
import type { Worker } from "node:worker_threads";
import { client, deadPort, echoServer, seeded, until, type Peer } from "../net.ts";
import { lineCounter } from "./counter.ts";
import { embed, endings, type InProcess } from "./ways.ts";

function workerOf({ balancer }: InProcess, thread: number): Worker | undefined {
  // Nobody but a test may reach into the supervisor; both fields are private.
  const { threads } = balancer as unknown as {
    readonly threads: { readonly members: readonly { readonly worker: Worker }[] };
  };
  return threads.members[thread]?.worker;
}

/** Ends a thread, as a fault of the runtime would. */
async function kill(balancer: InProcess, thread: number): Promise<void> {
  await workerOf(balancer, thread)?.terminate();
}

const deathsOf = ({ events }: InProcess, thread: number) =>
  events.filter(
    (each) => each.kind === "warning" && each.message.startsWith(`thread ${thread} has ended`),
  );

interface Client {
  readonly peer: Peer;
  readonly thread: number;
}

/** One more client that stays, and the thread that has accepted it. */
async function join(balancer: InProcess): Promise<Client> {
  const accepted = () => balancer.status().threads.map((each) => each.accepted);
  const before = accepted();
  const peer = await client(balancer.port);
  const isNew = (each: number, thread: number) => each > (before[thread] ?? 0);
  await until(() => accepted().some(isNew), "the client is accepted");
  return { peer, thread: accepted().findIndex(isNew) };
}

/** Says a word to each of these and hears it back. */
async function talk(clients: readonly Client[], word: string): Promise<void> {
  const heard = clients.map(({ peer }) => peer.text + word);
  for (const { peer } of clients) peer.send(word);
  const isBack = ({ peer }: Client, i: number) => peer.text === heard[i];
  await until(() => clients.every(isBack), `the echo of ${word}`);
}

function expectBetween(value: number, least: number, most: number): void {
  expect(value).toBeGreaterThanOrEqual(least);
  expect(value).toBeLessThanOrEqual(most);
}

const threadCount = 4;
const pairsEach = 3;
const slots = threadCount * pairsEach;

/** `pairsEach` pairs in each thread, which take all slots. */
async function fill(balancer: InProcess): Promise<Client[]> {
  const pairs: Client[] = [];
  while (pairs.length < slots) {
    const next = await join(balancer);
    const ofThread = pairs.filter((each) => each.thread === next.thread);
    if (ofThread.length < pairsEach) {
      pairs.push(next);
    } else {
      next.peer.reset();
      await until(() => balancer.status().open === pairs.length, "one too many has gone");
    }
  }
  await talk(pairs, "joined");
  return pairs;
}

/** Clients that wait, at least two in each thread, in order of arrival. */
async function queueUp(balancer: InProcess): Promise<Client[]> {
  const waiting: Client[] = [];
  const countOf = (thread: number) => waiting.filter((each) => each.thread === thread).length;
  while (waiting.length < 4 * threadCount || [0, 1, 2, 3].some((each) => countOf(each) < 2)) {
    waiting.push(await join(balancer));
    await balancer.queued(waiting.length, "it waits");
  }
  return waiting;
}

test.each([
  ["one after the other", [2, 0, 3, 1, 2]],
  ["the same again and again", [1, 1, 1, 1, 1]],
])("death: of threads, %s, costs their own clients and nobody else", async (_, victims) => {
  using server = echoServer();
  const options = ["--threads", `${threadCount}`, "--slots", `${slots}`];
  await using balancer = await embed([...options, server.address]);
  const { status } = balancer;
  let killedCount = 0;
  for (const [round, victim] of victims.entries()) {
    const isVictim = ({ thread }: Client) => thread === victim;
    const pairs = await fill(balancer); // in each thread: so the one that died is back
    const waiting = await queueUp(balancer);
    const acceptedCount = status().accepted;
    expect(status().destinations[0]?.used).toBe(slots);

    const deathCount = deathsOf(balancer, victim).length;
    await kill(balancer, victim);
    await until(() => deathsOf(balancer, victim).length === deathCount + 1, "the word of it");
    const lost = [...pairs, ...waiting].filter(isVictim);
    killedCount += lost.length;
    await until(() => lost.every(({ peer }) => peer.over), "its clients see it");

    // Its slots go to those who have waited longest in the other threads.
    const stillWaiting = waiting.filter((each) => !isVictim(each));
    const served = stillWaiting.splice(0, pairsEach);
    const joined = [...pairs.filter((each) => !isVictim(each)), ...served];
    await talk(joined, "alive");
    expect(stillWaiting.filter(({ peer }) => peer.over || peer.text !== "")).toEqual([]);
    await until(() => status().open === joined.length + stillWaiting.length, "its places are free");
    expect(status()).toMatchObject({
      accepted: acceptedCount,
      queue: { waiting: stillWaiting.length },
      closed: { error: killedCount },
      destinations: [{ used: slots }],
    });

    for (const { peer } of [...joined, ...stillWaiting]) peer.finish();
    await until(() => joined.every(({ peer }) => peer.over), "their ends");
    await until(() => stillWaiting.every(({ peer }) => peer.over), "the ends of who waited");
    expect([...joined, ...stillWaiting].filter(({ peer }) => peer.wasReset)).toEqual([]);
    await until(() => status().open === 0, `none is open after round ${round}`);
    expect(status()).toMatchObject({ queue: { waiting: 0 }, destinations: [{ used: 0 }] });
  }
  const closedCount = () => Object.values(status().closed).reduce((sum, each) => sum + each, 0);
  await until(() => closedCount() >= status().accepted, "each is counted by its reason");
  expect(closedCount()).toBe(status().accepted);
  expect(status().closed.error).toBe(killedCount);
  const pair = await join(balancer);
  await talk([pair], "before the drain");
  const drained = balancer.drain();
  await talk([pair], "; during the drain");
  pair.peer.finish();
  await drained;
  expect(balancer.events.at(-1)).toEqual({ kind: "drained", cut: 0 });
  expect(balancer.ended.length).toBe(status().accepted - killedCount);
});

test("death: of threads at work, under load, loses no slot and leaves nobody behind", async () => {
  const servers = Array.from({ length: 8 }, () => lineCounter());
  const destinations = servers.map((each) => each.address);
  await using balancer = await embed(["--threads", "4", "--slots", "1", ...destinations]);
  const { status } = balancer;
  const random = seeded();
  let servedCount = 0;
  let cutCount = 0;
  const over = new AbortController();
  const ask = async () => {
    using peer = await client(balancer.port, {
      from: "127.0.7.2", // it may be cut before it is connected
      onEnd: (each) => each.finish(),
    });
    peer.send("request\n");
    await until(() => peer.over, "an answer or a cut");
    if (peer.text === "served request") servedCount += 1;
    else cutCount += 1;
  };
  const load = async () => {
    while (!over.signal.aborted) await ask();
  };
  const done = Promise.all(Array.from({ length: 48 }, load));
  for (let n = 0; n < 5; n++) {
    const goal = servedCount + 200;
    await until(() => servedCount >= goal, "200 answers");
    const victim = random.int(4);
    const count = deathsOf(balancer, victim).length;
    await kill(balancer, victim);
    await until(() => deathsOf(balancer, victim).length === count + 1, "the word of it");
    const { accepted = 0 } = status().threads[victim] ?? {};
    await until(() => (status().threads[victim]?.accepted ?? 0) > accepted, "another takes over");
  }
  over.abort();
  await done;
  await until(() => status().open === 0, "none is open");
  expect(status()).toMatchObject({ queue: { waiting: 0 } });
  expect(status().destinations.map((each) => each.used)).toEqual(servers.map(() => 0));
  // Those of other threads have not noticed, nor does anybody now. (Whom the runtime has accepted for a thread that
  // dies before it has heard of it is cut and counted nowhere.)
  const cutBefore = cutCount;
  await Promise.all(Array.from({ length: 100 }, ask));
  expect(cutCount).toBe(cutBefore);
  await balancer.drain();
  const { closed, accepted } = status();
  // Each death may fall between the count of one and its record.
  expectBetween(accepted - closed.done - closed.error, 0, 5);
  expectBetween(closed.done - balancer.ended.length, 0, 5);
  expect(new Set(endings(balancer.ended))).toEqual(new Set(["done -- destination"]));
  for (const server of servers) server[Symbol.dispose]();
});

test.each(["while it drains", "before", "and another is being born"] as const)(
  "death: of a thread, %s, keeps no drain from its end",
  async (moment) => {
    using server = echoServer();
    const options = ["--threads", `${threadCount}`, "--slots", `${slots}`];
    await using balancer = await embed([...options, server.address]);
    const pairs = await fill(balancer);
    const waiting = await queueUp(balancer);
    const victim = workerOf(balancer, 1);
    const start = () => {
      const drained = balancer.drain();
      return { drained };
    };
    let draining = moment === "while it drains" ? start() : null;
    await kill(balancer, 1);
    if (moment === "and another is being born") {
      await until(() => workerOf(balancer, 1) !== victim, "its successor is on its way");
    }
    draining ??= start();
    const left = pairs.filter((each) => each.thread !== 1);
    await talk(left, "; during the drain");
    // Some who waited in other threads may have got its slots before they were refused.
    for (const { peer } of waiting) peer.send("at last");
    for (const { peer } of [...left, ...waiting]) peer.finish();
    await draining.drained;
    await until(() => [...pairs, ...waiting].every(({ peer }) => peer.over), "the ends");
    expect(left.filter(({ peer }) => peer.wasReset)).toEqual([]);
    const served = waiting.filter(({ peer }) => !peer.wasReset);
    expect(served.map(({ peer }) => peer.text)).toEqual(served.map(() => "at last"));
    expect(served.length).toBeLessThanOrEqual(moment === "while it drains" ? 0 : pairsEach);
    const { accepted, open, queue, closed, destinations } = balancer.status();
    expect(Object.values(closed).reduce((sum, each) => sum + each, 0)).toBe(accepted);
    expect({ open, waiting: queue.waiting, used: destinations[0]?.used }).toEqual({
      open: 0,
      waiting: 0,
      used: 0,
    });
  },
);

test("death: of all threads at once: who comes meanwhile is served by their successors", async () => {
  using server = echoServer();
  await using balancer = await embed(["--threads", `${threadCount}`, server.address]);
  for (let round = 1; round <= 2; round++) {
    const pairs = await fill(balancer);
    await Promise.all([0, 1, 2, 3].map((thread) => kill(balancer, thread)));
    using peer = await client(balancer.port);
    peer.send("is anybody there?");
    peer.finish();
    await until(() => pairs.every((each) => each.peer.over), "the cuts");
    await until(() => peer.over, "the answer");
    expect([peer.text, peer.wasReset]).toEqual(["is anybody there?", false]);
    await until(() => balancer.status().open === 0, "none is open");
    expect(balancer.status().destinations[0]?.used).toBe(0);
    expect(balancer.status().closed.error).toBe(slots * round);
  }
  await balancer.drain();
});

test("death: of a thread after health checks have changed a destination: another takes its place", async () => {
  using server = echoServer();
  using gone = deadPort();
  const eager = ["--health-interval", "40ms", "--health-fall", "1"];
  await using balancer = await embed(["--threads", "2", ...eager, server.address, gone.address]);
  const isDown = ({ kind }: { kind: string }) => kind === "destination-down";
  await until(() => balancer.events.some(isDown), "one is down");
  await kill(balancer, 1);
  await until(() => deathsOf(balancer, 1).length === 1, "the word of it");
  await until(async () => (await join(balancer)).thread === 1, "a client in its place");
});
