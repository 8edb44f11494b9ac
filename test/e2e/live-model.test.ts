// Random changes of a running balancer while clients come and go: no destination ever serves more than its slots, every
// client is served or ends for a reason, and everything adds up afterwards.

import { expect, test } from "bun:test";
import { modes } from "../../src/control/steering.ts";
import { client, serve, until, withSeed, type Peer, type Random, type Server } from "../net.ts";
import { change } from "./steering.ts";
import { embed, waysInProcess, type InProcess } from "./ways.ts";

const stepCount = 60;
const serverCount = 6;
const slotsOf = (index: number) => 1 + (index % 3);

const policies = ["pull", "round-robin", "random", "hash"] as const;

interface Counter extends Server {
  /** Most clients that it has had at once, from a client's first word to its answer. */
  readonly servingMax: number;
}

/** Answers a client's first word after a moment, and ends. One that was opened ahead says nothing. */
function slowCounter(random: Random): Counter {
  const heard = new WeakSet<Peer>();
  // +1 and −1 at the moments when a client began to be served and was answered. A reset may be heard late, on another
  // core than what came after it: who was reset does not count.
  const moments: [number, 1 | -1][] = [];
  const server = serve({
    onData(peer) {
      if (heard.has(peer)) return;
      heard.add(peer);
      const heardAt = performance.now();
      setTimeout(() => {
        if (peer.closed) return;
        moments.push([heardAt, 1], [performance.now(), -1]);
        peer.send("served");
        peer.finish();
      }, random.int(12));
    },
    onEnd: (peer) => peer.finish(),
  });
  return {
    ...server,
    get openCount() {
      return server.openCount;
    },
    get servingMax() {
      let serving = 0;
      const inOrder = moments.toSorted(([a, i], [b, j]) => a - b || i - j);
      return Math.max(0, ...inOrder.map(([, change]) => (serving += change)));
    },
  };
}

function placeOf(server: Counter, index: number, random: Random): string {
  const backup = random.int(5) === 0 ? ",backup" : "";
  const warm = random.int(4) === 0 ? ",warm=1" : "";
  const weight = 1 + random.int(3);
  return `${server.address},name=d${index},slots=${slotsOf(index)},weight=${weight}${backup}${warm}`;
}

/** Some of the servers, at least one. */
function someOf(servers: readonly Counter[], random: Random): string[] {
  const places = servers.map((server, index) => placeOf(server, index, random));
  const some = places.filter(() => random.int(3) > 0);
  return some.length > 0 ? some : places.slice(0, 1);
}

async function changeSomething(
  balancer: InProcess,
  servers: readonly Counter[],
  random: Random,
): Promise<void> {
  const { destinations } = balancer.status();
  switch (random.int(4)) {
    case 0: {
      const serving = destinations.filter(({ mode }) => mode !== "leaving");
      const one = serving[random.int(serving.length)];
      const mode = modes[random.int(modes.length)];
      if (one !== undefined && mode !== undefined) balancer.balancer.setMode(one.name, mode);
      return;
    }
    case 1:
      await change(balancer, {
        policy: policies[random.int(policies.length)] ?? "pull",
        clientConnectionCountMax: random.int(2) * 10_000,
        clientPrefix6: 56 + 8 * random.int(2),
        allow: random.int(2) === 0 ? "" : "127.0.0.0/8",
        flushCount: random.int(3),
      });
      return;
    default: {
      const given = change(balancer, { destinations: someOf(servers, random) });
      if (random.int(2) === 0) await given;
      else given.catch(() => {}); // the next one comes before it is taken
    }
  }
}

test.each(waysInProcess)("live: random changes while clients come and go, %s", async (way) => {
  await withSeed(async (random) => {
    const servers = Array.from({ length: serverCount }, () => slowCounter(random));
    const args = ["--queue-timeout", "0", ...someOf(servers, random)];
    await using balancer = await embed(args, way);
    const peers: Peer[] = [];
    const left = new Set<Peer>();
    for (let step = 0; step < stepCount; step++) {
      await changeSomething(balancer, servers, random);
      const crowd = Array.from({ length: random.int(6) }, () =>
        client(balancer.port, { from: "127.0.8.1", onEnd: (peer) => peer.finish() }),
      );
      peers.push(...(await Promise.all(crowd)));
      await until(() => balancer.status().accepted === peers.length, "all are accepted");
      for (const peer of peers) {
        const chance = random.int(8);
        if (chance < 3 && !peer.over && !left.has(peer)) peer.send(`${step}\n`);
        if (chance !== 7 || peer.over || random.int(4) > 0) continue;
        left.add(peer);
        peer.reset();
      }
    }
    const places = servers.map((server, i) => `${server.address},name=d${i},slots=${slotsOf(i)}`);
    await change(balancer, { destinations: places, clientConnectionCountMax: 0 });
    for (const { name, mode } of balancer.status().destinations) {
      if (mode !== "leaving") balancer.balancer.setMode(name, "ready");
    }
    const staying = peers.filter((peer) => !left.has(peer));
    for (const peer of staying) if (!peer.over) peer.send("last\n");
    await until(() => staying.every((peer) => peer.over), "all are served");
    expect(staying.filter((peer) => peer.text !== "served")).toEqual([]);
    servers.forEach((server, i) => expect(server.servingMax).toBeLessThanOrEqual(slotsOf(i)));
    const ended = await balancer.finish(peers.length);
    const reasons = new Set(ended.map(({ reason }) => reason));
    for (const each of ["done", "client-left", "client-reset"] as const) reasons.delete(each);
    expect([...reasons]).toEqual([]);
    for (const server of servers) server[Symbol.dispose]();
  });
});
