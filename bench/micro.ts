// Runs one small loop of the core in a process of its own and prints nanoseconds per step as JSON.
//
//   bun bench/micro.ts ring|array COUNT
//   bun bench/micro.ts flush COUNT BURST ARRIVALS     ARRIVALS make a flush; 0: the end of the turn does
//   bun bench/micro.ts pick COUNT DESTINATIONS POLICY
//   bun bench/micro.ts board COUNT THREADS

import { Batch, Place } from "../src/core/batch.ts";
import { EventLoop } from "../src/core/loop.ts";
import type { Room, Waiter } from "../src/core/batch.ts";
import { Board } from "../src/core/board.ts";
import type { Destination } from "../src/core/destination.ts";
import { Destinations } from "../src/core/destinations.ts";
import type { DialAddress } from "../src/core/engine.ts";
import { policyOf } from "../src/core/policy.ts";
import type { PolicyName } from "../src/core/policy.ts";
import { Ring } from "../src/core/ring.ts";
import { Sweep } from "../src/core/sweep.ts";
import { Tickets } from "../src/core/tickets.ts";

/** Items that wait, or connections that are open, while a loop runs. */
const DEPTH = 64;
const WARM_SHARE = 0.1;

interface Item {
  readonly index: number;
}

const [what = "", countText = "", ...rest] = process.argv.slice(2);
const count = Number(countText);
const step = await loop(what, rest);
await step(Math.ceil(count * WARM_SHARE));
const startAt = Bun.nanoseconds();
await step(count);
process.stdout.write(`${JSON.stringify({ ns: (Bun.nanoseconds() - startAt) / count })}\n`);

/** @returns a function that does so many steps. */
function loop(name: string, words: readonly string[]): (count: number) => void | Promise<void> {
  if (name === "ring") return throughRing();
  if (name === "array") return throughArray;
  if (name === "flush") return flushes(Number(words[0]), Number(words[1]));
  if (name === "pick") return picks(Number(words[0]), (words[1] ?? "pull") as PolicyName); // checked by policyOf
  if (name === "board") return connections(Number(words[0]));
  throw new Error(`no loop is called ${name}`);
}

/** The atomic steps of a connection that finds a free slot. */
function connections(threadCount: number): (count: number) => void {
  const board = new Board({ destinationCountMax: 4, threadCount, waiterCountMax: 1024 });
  board.fill(0, DEPTH, 1, true);
  const tickets = new Tickets(board.ticketColumns, 0);
  return (steps) => {
    for (let n = 0; n < steps; n++) {
      tickets.nextOrder();
      board.addTotal("open", 1);
      board.addTotal("queued", 1);
      if (tickets.someoneWaits() || !board.take(0)) throw new Error("a slot must be free");
      board.addTotal("queued", -1);
      board.give(0);
      if (tickets.someoneWaits()) throw new Error("nobody waits here");
      board.addTotal("open", -1);
    }
  };
}

function throughRing(): (count: number) => void {
  const ring = new Ring<Item>(2 * DEPTH);
  for (let index = 0; index < DEPTH; index++) ring.push({ index });
  return (steps) => {
    for (let n = 0; n < steps; n++) {
      const item = ring.shift();
      if (item !== null) ring.push(item);
    }
  };
}

/** As the original's list: each arrival makes a new object, each departure leaves one behind. */
function throughArray(steps: number): void {
  const items: Item[] = Array.from({ length: DEPTH }, (_, index) => ({ index }));
  let sum = 0;
  for (let index = 0; index < steps; index++) {
    items.push({ index });
    sum += items.shift()?.index ?? 0;
  }
  if (sum < 0) throw new Error("the loop must not be dropped");
}

function flushes(burst: number, arrivals: number): (count: number) => Promise<void> {
  let placed = 0;
  const room: Room<Waiter> = {
    take: () => 0,
    give: () => void (placed += 1),
    release: () => {},
    releaseUnused: () => {},
    mayServe: () => true,
    onSent: () => {},
    onReceived: () => {},
    stay: () => true,
    flushCount: () => (arrivals === 0 ? 2 * DEPTH : arrivals),
  };
  const board = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax: 1024 });
  const tickets = new Tickets(board.ticketColumns, 0);
  const loop = new EventLoop(() => performance.now());
  const batch = new Batch<Waiter>(room, { flushMs: 0 }, loop, tickets);
  const waiters = Array.from({ length: burst }, (_, order) => ({
    order,
    place: Place.nowhere,
    left: false,
  }));
  return async (steps) => {
    for (let done = 0; done < steps; done += burst) {
      for (const waiter of waiters) batch.add(waiter);
      await new Promise<void>((resolve) => setImmediate(resolve));
    }
    if (placed < steps) throw new Error("not all were placed");
  };
}

function picks(destinationCount: number, policy: PolicyName): (count: number) => void {
  const board = new Board({
    destinationCountMax: destinationCount,
    threadCount: 1,
    waiterCountMax: 1,
  });
  const plans = Array.from({ length: destinationCount }, (_, index) => ({
    name: `d${index}`,
    // Nobody dials it, so it may be anything.
    addresses: [{} as DialAddress],
    slots: 0,
    weight: 1,
    backup: false,
  }));
  plans.forEach((each, row) => board.fill(row, each.slots, each.weight, true));
  const destinations = new Destinations(
    plans,
    board,
    0,
    (own, members) => policyOf(policy, own, members),
    new Sweep(new EventLoop(() => 0)),
    { onOut: () => {}, onBack: () => {} },
  );
  const open = Array.from({ length: DEPTH }, (): Destination | null => null);
  return (steps) => {
    for (let n = 0; n < steps; n++) {
      const before = open[n % DEPTH];
      if (before) destinations.release(before);
      open[n % DEPTH] = destinations.take(n);
    }
  };
}
