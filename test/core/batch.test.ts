import { afterEach, describe, expect, jest, test } from "bun:test";
import { Batch, type BatchLimits, Place, type Room, type Waiter } from "../../src/core/batch.ts";
import { Board } from "../../src/core/board.ts";
import { EventLoop } from "../../src/core/loop.ts";
import { Tickets } from "../../src/core/tickets.ts";
import { until, withSeed } from "../wait.ts";
import { turn } from "./fake.ts";

class Item implements Waiter {
  readonly order: number;
  place: Place = Place.nowhere;
  left = false;
  constructor(order: number) {
    this.order = order;
  }
}

/** A room with so many slots, that remembers in which order they went. */
class FakeRoom implements Room<Item> {
  readonly placed: number[] = [];
  readonly refused: number[] = [];
  readonly stayed = new Set<number>();
  readonly waiting = new Set<Item>();
  queueCountMax = 1_000;
  slots = Number.POSITIVE_INFINITY;
  countForFlush = 1_000_000;
  onPlace: (item: Item) => void = () => {};

  take(): number {
    if (this.slots === 0) return -1;
    this.slots -= 1;
    return 0;
  }
  give(item: Item): void {
    this.waiting.delete(item);
    this.placed.push(item.order);
    this.onPlace(item);
  }
  release(): void {
    this.slots += 1;
  }
  releaseUnused(): void {
    this.slots += 1;
  }
  mayServe(): boolean {
    return true;
  }
  onSent(): void {
    throw new Error("there is no other thread");
  }
  onReceived(): void {
    throw new Error("there is no other thread");
  }
  stay(item: Item): boolean {
    for (const each of this.waiting) if (each.left) this.waiting.delete(each);
    if (this.waiting.size >= this.queueCountMax) {
      this.refused.push(item.order);
      return false;
    }
    this.waiting.add(item);
    this.stayed.add(item.order);
    return true;
  }
  flushCount(): number {
    return this.countForFlush;
  }
}

interface Setting extends BatchLimits {
  readonly queueCountMax: number;
  /** Items that can wait at all. */
  readonly waiterCountMax: number;
}

function batchOf(setting: Partial<Setting> = {}) {
  const { queueCountMax = 1_000, waiterCountMax = 16_384, flushMs = 0 } = setting;
  const room = new FakeRoom();
  room.queueCountMax = queueCountMax;
  const board = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax });
  const tickets = new Tickets(board.ticketColumns, 0);
  const loop = new EventLoop(() => performance.now());
  const batch = new Batch<Item>(room, { flushMs }, loop, tickets);
  let last = 0;
  const add = (count = 1): Item[] =>
    Array.from({ length: count }, () => {
      const item = new Item((last += 1));
      batch.add(item);
      return item;
    });
  return { room, batch, add };
}

const upTo = (count: number, from = 1): number[] =>
  Array.from({ length: count - from + 1 }, (_, index) => from + index);

describe("batch: when it is flushed", () => {
  afterEach(() => void jest.useRealTimers());

  test("batch: flushes at the count, before this turn is over", () => {
    const { room, add } = batchOf();
    room.countForFlush = 3;
    add(2);
    expect(room.placed).toEqual([]);
    add();
    expect(room.placed).toEqual([1, 2, 3]);
  });

  test("batch: flushes a count anew after each flush", () => {
    const { room, add } = batchOf();
    room.countForFlush = 3;
    add(7);
    expect(room.placed).toEqual(upTo(6));
  });

  test("batch: flushes at the end of the turn, with time 0", async () => {
    const { room, add } = batchOf();
    add(2);
    await Promise.resolve();
    expect(room.placed).toEqual([]);
    await turn();
    expect(room.placed).toEqual([1, 2]);
  });

  test("batch: flushes when the time since the first arrival has passed", () => {
    jest.useFakeTimers();
    const { room, add } = batchOf({ flushMs: 20 });
    add();
    jest.advanceTimersByTime(15);
    add(); // does not begin the time anew
    jest.advanceTimersByTime(4);
    expect(room.placed).toEqual([]);
    jest.advanceTimersByTime(1);
    expect(room.placed).toEqual([1, 2]);
  });

  test("batch: the count comes first, and then the time begins anew", () => {
    jest.useFakeTimers();
    const { room, add } = batchOf({ flushMs: 20 });
    room.countForFlush = 2;
    add(2);
    jest.advanceTimersByTime(15);
    add();
    jest.advanceTimersByTime(15);
    expect(room.placed).toEqual([1, 2]);
    jest.advanceTimersByTime(5);
    expect(room.placed).toEqual([1, 2, 3]);
    expect(jest.getTimerCount()).toBe(0);
  });

  test("batch: close ends its timers", async () => {
    const { room, batch, add } = batchOf();
    add();
    batch.close();
    await turn();
    expect(room.placed).toEqual([]);
  });

  test("batch: a flush from inside a flush comes in the next turn", async () => {
    const { room, batch, add } = batchOf();
    room.slots = 1;
    add(3);
    room.onPlace = () => {
      if (room.placed.length < 3) room.slots = 1;
      batch.flush();
      expect(room.placed.length).toBeLessThanOrEqual(3);
    };
    await turn();
    await turn();
    expect(room.placed).toEqual([1, 2, 3]);
  });

  test("batch: a flush ends though each item comes back from it", () => {
    const { room, batch, add } = batchOf();
    room.onPlace = (item) => batch.giveBack(item);
    add(5);
    batch.flush();
    expect(room.placed.length).toBeLessThanOrEqual(5 + 3 * (64 + 5));
    expect(batch.count).toBe(5);
    batch.close();
  });
});

describe("batch: order", () => {
  test("batch: what could not be placed goes before what comes later", () => {
    const { room, batch, add } = batchOf();
    room.slots = 2;
    add(5);
    batch.flush();
    add(2);
    room.slots = 4;
    batch.flush();
    expect(room.placed).toEqual(upTo(6));
    expect([batch.count, batch.peek()?.order]).toEqual([1, 7]);
  });

  // IAWLB §37 inserts a list at the front of the other. So that this test can fail, it counts what that would do.
  test("batch: strict order of arrival over many flushes, where pouring in at the front would not hold it", () =>
    withSeed((random) => {
      const { room, batch, add } = batchOf();
      const poured: Item[] = [];
      const pouredOut: number[] = [];
      let total = 0;
      room.slots = 0;
      for (let round = 0; round < 2_000; round += 1) {
        const count = Math.min(random.int(6), 900 - batch.count);
        total += count;
        poured.unshift(...add(count));
        room.slots = random.int(6);
        for (let n = Math.min(room.slots, poured.length); n > 0; n -= 1) {
          pouredOut.push(poured.shift()?.order ?? 0);
        }
        batch.flush();
      }
      room.slots = total;
      batch.flush();
      expect(room.placed).toEqual(upTo(total));
      expect(pouredOut.some((order, at) => order < (pouredOut[at - 1] ?? 0))).toBe(true);
    }));

  test("batch: who comes back takes its place by arrival", () => {
    const { room, batch, add } = batchOf();
    room.slots = 4;
    const items = add(6);
    batch.flush();
    for (const index of [2, 0, 3, 1]) batch.giveBack(items[index] ?? new Item(0));
    room.slots = 6;
    batch.flush();
    expect(room.placed).toEqual([1, 2, 3, 4, ...upTo(6)]);
  });

  test("batch: who comes back in any order, among those that wait and leave, goes out by arrival", () =>
    withSeed((random) => {
      const { room, batch, add } = batchOf();
      const dialing = new Map<number, Item>();
      const inside = new Map<number, Item>();
      room.onPlace = (item) => {
        const oldest = Math.min(...inside.keys());
        expect(item.order).toBe(oldest);
        inside.delete(item.order);
        dialing.set(item.order, item);
      };
      for (let step = 0; step < 5_000; step += 1) {
        const what = random.int(4);
        const from = what === 2 ? inside : dialing;
        const chosen = [...from.values()][random.int(from.size)];
        if (what === 0 && inside.size < 50) for (const item of add()) inside.set(item.order, item);
        if (what === 1 && chosen !== undefined) {
          dialing.delete(chosen.order);
          inside.set(chosen.order, chosen);
          batch.giveBack(chosen);
        }
        if (what === 2 && chosen !== undefined) {
          inside.delete(chosen.order);
          batch.leave(chosen);
        }
        room.slots = what === 3 ? random.int(4) : 0;
        if (what === 3) batch.flush();
        expect(batch.count).toBe(inside.size);
      }
      batch.close();
    }));
});

describe("batch: room", () => {
  test("batch: who has left is passed over, and counts no more", () => {
    const { room, batch, add } = batchOf();
    const [first, second] = add(3);
    if (first === undefined || second === undefined) throw new Error("two were added");
    room.slots = 0;
    batch.leave(first);
    batch.flush();
    expect([batch.count, batch.peek()?.order]).toEqual([2, 2]);
    room.slots = 1;
    batch.leave(second);
    expect(() => batch.leave(second)).toThrow("left twice");
    batch.flush();
    expect([room.placed, batch.count, batch.peek()]).toEqual([[3], 0, null]);
  });

  test("batch: beyond the limit the newest are refused, those that fit stay", () => {
    const { room, batch, add } = batchOf({ queueCountMax: 3 });
    room.slots = 2;
    add(7);
    batch.flush();
    expect([room.placed, room.refused, batch.count]).toEqual([[1, 2], [6, 7], 3]);
  });

  test("batch: nobody is refused before the free slots are given out", () => {
    const { room, batch, add } = batchOf({ queueCountMax: 0 });
    room.slots = 2;
    add(2);
    batch.flush();
    expect([room.placed, room.refused]).toEqual([[1, 2], []]);
  });

  test("batch: who left makes room for others before anybody is refused", () => {
    const { room, batch, add } = batchOf({ queueCountMax: 3 });
    room.slots = 0;
    for (const item of add(3).slice(1)) batch.leave(item);
    add(2);
    batch.flush();
    expect([room.refused, batch.count]).toEqual([[], 3]);
  });

  test("batch: who came back is never refused, nor who waits already; who comes then is", () => {
    const { room, batch, add } = batchOf({ queueCountMax: 2 });
    room.slots = 3;
    const items = add(3);
    batch.flush();
    add(2);
    batch.flush();
    for (const item of items) batch.giveBack(item);
    expect(batch.count).toBe(5);
    batch.flush();
    add();
    batch.flush();
    expect([room.refused, batch.count]).toEqual([[6], 5]);
  });

  test("batch: everybody may come back at once, however many they are", () => {
    const count = 140_000;
    const { room, batch, add } = batchOf({ waiterCountMax: count });
    room.countForFlush = 1;
    const items = add(count);
    room.slots = 0;
    for (const item of items.toReversed()) batch.giveBack(item);
    expect([room.refused.length, batch.count]).toEqual([0, count]);
    room.slots = count;
    room.placed.length = 0;
    batch.flush();
    expect(room.placed.every((order, index) => order === index + 1)).toBe(true);
  });

  test("batch: who comes back in order of arrival costs a few steps each, not one for each that came back", async () => {
    const { room, batch, add } = batchOf({ queueCountMax: 5_000 });
    room.slots = 2_000;
    const items = add(4_000).slice(0, 2_000);
    batch.flush();
    let reads = 0;
    for (const item of items) {
      const { order } = item;
      Object.defineProperty(item, "order", { get: () => ((reads += 1), order) });
    }
    for (const item of items) batch.giveBack(item);
    expect(reads / items.length).toBeLessThan(20);
    room.slots = 4_000;
    batch.flush();
    expect(room.placed.length).toBeLessThan(3_000); // not all in one step: others have their turn
    await until(() => room.placed.length === 6_000, "the turns after it");
    expect(room.placed.slice(2_000)).toEqual(upTo(4_000));
  });

  test("batch: a hundred thousand arrive and leave behind a blocked head, and it keeps its place", () => {
    const { room, batch, add } = batchOf({ queueCountMax: 100 });
    room.slots = 0;
    add();
    batch.flush();
    for (let n = 0; n < 100_000; n += 1) {
      const [item] = add();
      if (item !== undefined) batch.leave(item);
      expect(batch.count).toBe(1);
    }
    add();
    room.slots = 5;
    batch.flush();
    expect([room.placed, room.refused]).toEqual([[1, 100_002], []]);
  });

  test("batch: a burst larger than the ring is placed in order, without a turn in between", () => {
    const { room, batch, add } = batchOf({ queueCountMax: 16 });
    add(10_000);
    batch.flush();
    expect(room.placed).toEqual(upTo(10_000));
  });

  test("batch: every arrival that is left waiting is told so, not the oldest alone", () => {
    const { room, batch, add } = batchOf({ queueCountMax: 3 });
    room.slots = 1;
    const items = add(6);
    const fourth = items[3];
    if (fourth !== undefined) batch.leave(fourth);
    batch.flush();
    expect([...room.stayed]).toEqual([2, 3, 5]);
    expect(room.refused).toEqual([6]);
  });
});
