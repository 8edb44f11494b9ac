import { describe, expect, test } from "bun:test";
import { Board } from "../../src/core/board.ts";
import { Line, Place, type Waiter } from "../../src/core/line.ts";
import { Tickets } from "../../src/core/tickets.ts";
import { withSeed } from "../wait.ts";

class Item implements Waiter {
  readonly order: number;
  place: Place = Place.arrived;
  left = false;
  constructor(order: number) {
    this.order = order;
  }
}

/** A line of 2 × `waiterCountMax` places in a thread of its own. */
function lineOf(waiterCountMax: number) {
  const board = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax });
  const tickets = new Tickets(board.ticketColumns, 0);
  const line = new Line<Item>(tickets, 1);
  const file = (item: Item): void => {
    line.file(item);
    line.publish();
  };
  /** Claims as another part of the same thread would, until somebody is found. */
  const take = (): number | null => {
    for (;;) {
      const place = tickets.claimOldest();
      if (place < 0) return null;
      const item = line.take(place);
      if (item !== null) return item.order;
    }
  };
  return { line, tickets, file, take };
}

describe("line", () => {
  test("line: more wait than there are places, in order all the same", () => {
    const { line, file, take } = lineOf(4);
    for (let order = 1; order <= 100; order += 1) file(new Item(order));
    expect(line.count).toBe(100);
    const taken = Array.from({ length: 100 }, () => take());
    expect(taken).toEqual(Array.from({ length: 100 }, (_, n) => n + 1));
    expect([take(), line.count]).toEqual([null, 0]);
  });

  test("line: who comes back is filed at its place, also when every place is taken", () => {
    const { file, take } = lineOf(4);
    for (const order of [10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 5, 35, 95]) file(new Item(order));
    const taken = Array.from({ length: 13 }, () => take());
    expect(taken).toEqual([5, 10, 20, 30, 35, 40, 50, 60, 70, 80, 90, 95, 100]);
  });

  test("line: random arrivals, returns, leaves and claims against a sorted array", () =>
    withSeed((random) => {
      const { line, tickets, file, take } = lineOf(8);
      const inside = new Map<number, Item>();
      const outside: number[] = [];
      let next = 1;
      for (let step = 0; step < 20_000; step += 1) {
        const what = random.int(8);
        if (what < 3 && inside.size < 60) {
          const item = new Item(next++);
          inside.set(item.order, item);
          file(item);
        } else if (what === 3 && outside.length > 0) {
          const [order = 0] = outside.splice(random.int(outside.length), 1);
          const item = new Item(order);
          inside.set(order, item);
          file(item);
        } else if (what === 4) {
          const item = [...inside.values()][random.int(inside.size)];
          if (item === undefined) continue;
          inside.delete(item.order);
          item.left = true;
          line.leave();
        } else if (what > 4) {
          const order = take();
          expect(order).toBe(inside.size === 0 ? null : Math.min(...inside.keys()));
          if (order === null) continue;
          inside.delete(order);
          if (random.int(2) === 0 && outside.length < 20) outside.push(order);
        }
        expect(line.count).toBe(inside.size);
        expect(line.oldest()?.order ?? null).toBe(
          inside.size === 0 ? null : Math.min(...inside.keys()),
        );
        expect(tickets.someoneWaits()).toBe(inside.size > 0);
      }
    }));
});
