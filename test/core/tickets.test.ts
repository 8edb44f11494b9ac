// Interleavings of tickets that need more clients than the search over all of them bears (interleave.test.ts).
import { expect, test } from "bun:test";
import { Board } from "../../src/core/board.ts";
import { Line, Place, type Waiter } from "../../src/core/line.ts";
import { Tickets } from "../../src/core/tickets.ts";

const waiter = (order: number): Waiter => ({ order, place: Place.back, left: false });

// A known fault: `prepend` moves a head back to a value that it has had, and a claim that was on its way succeeds.
test.failing(
  "tickets: a claim does not take who came back to the place of who was read there",
  () => {
    const board = new Board({ destinationCountMax: 1, threadCount: 2, waiterCountMax: 4 });
    let beforeClaim: (() => void) | null = null;
    const compareExchange: typeof Atomics.compareExchange = (
      array: never,
      index: number,
      expected: never,
      to: never,
    ): never => {
      const run = beforeClaim;
      beforeClaim = null;
      run?.();
      return Atomics.compareExchange(array, index, expected, to) as never;
    };
    const { add, and, exchange, load, or, store, sub } = Atomics;
    const memory = { add, and, exchange, load, or, store, sub, compareExchange };
    const first = new Tickets(board.ticketColumns, 0);
    const second = new Tickets(board.ticketColumns, 1, memory);
    const lines = [new Line<Waiter>(first, 0), new Line<Waiter>(second, 0)] as const;
    for (const order of [1, 4]) lines[0].file(waiter(order));
    lines[1].file(waiter(2));
    for (const line of lines) line.publish();
    beforeClaim = () => {
      lines[0].take(first.claimOldest()); // number 1
      lines[0].file(waiter(3));
      lines[0].publish();
    };
    const place = second.claimOldest();
    expect(board.ticketColumns.numbers[place]).toBe(2);
  },
);
