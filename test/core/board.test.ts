import { describe, expect, test } from "bun:test";
import { Board } from "../../src/core/board.ts";
import { counterNames } from "../../src/core/numbers.ts";

/** Every view of a board, those of all threads included, by name. */
function viewsOf(board: Board): Map<string, Int32Array | Float64Array> {
  const views = new Map<string, Int32Array | Float64Array>([
    ["used", board.used],
    ["slots", board.slots],
    ["slotsFull", board.slotsFull],
    ["share", board.share],
    ["slowFromMs", board.slowFromMs],
    ["provenAtMs", board.provenAtMs],
    ["weight", board.weight],
    ["enabled", board.enabled],
    ["state", board.state],
    ["failures", board.failures],
    ["retryAtMs", board.retryAtMs],
    ["freedAtMs", board.freedAtMs],
    ["resolved", board.resolved],
    ["outCount", board.outCount],
    ["lastFault", board.lastFault],
    ["closeAt", board.closeAt],
    ["lane", board.lane],
    ["episodes", board.episodes],
    ["machine", board.machine],
    ["freeBits", board.freeBits],
  ]);
  const { arrivals: _, ...tickets } = board.ticketColumns; // lies in `machine`
  for (const [name, view] of Object.entries(tickets)) views.set(`tickets ${name}`, view);
  board.held.forEach((view, index) => views.set(`${index} held`, view));
  for (let index = 0; index < board.size.threadCount; index += 1) {
    const numbers = board.thread(index);
    views.set(`${index} counters`, numbers.counters);
    views.set(`${index} joined`, numbers.joined);
    views.set(`${index} failures`, numbers.failures);
    views.set(`${index} bytesUp`, numbers.bytesUp);
    views.set(`${index} bytesDown`, numbers.bytesDown);
    for (const [name, histogram] of Object.entries(numbers.histograms)) {
      views.set(`${index} histogram ${name}`, histogram.numbers);
    }
  }
  return views;
}

describe("board: layout", () => {
  test("board: no view lies upon another, with several threads and an odd count of rows", () => {
    const board = new Board({ destinationCountMax: 5, threadCount: 3, waiterCountMax: 3 });
    const views = viewsOf(board);
    let value = 1;
    for (const view of views.values()) for (let i = 0; i < view.length; i += 1) view[i] = value++;
    value = 1;
    for (const [name, view] of views) {
      const expected = Array.from(view, () => value++);
      expect([name, ...view]).toEqual([name, ...expected]);
    }
  });

  test("board: its views fill the buffer, and have a place per row", () => {
    const board = new Board({ destinationCountMax: 7, threadCount: 2, waiterCountMax: 3 });
    const views = [...viewsOf(board).values()];
    const bytes = views.reduce((sum, view) => sum + view.byteLength, 0);
    expect(bytes).toBe(board.buffer.byteLength);
    expect(views.filter((view) => view.length === 7).length).toBe(17 + 2 * 5);
  });

  test("board: every counter has a place of its own, found by its name", () => {
    const numbers = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax: 3 }).thread(
      0,
    );
    expect(numbers.counters.length).toBe(counterNames.length);
    counterNames.forEach((_, index) => (numbers.counters[index] = 100 + index));
    expect(counterNames.map((name) => numbers.get(name))).toEqual(
      counterNames.map((_, index) => 100 + index),
    );
  });

  test("board: two boards on one buffer see each other", () => {
    const size = { destinationCountMax: 3, threadCount: 2, waiterCountMax: 3 };
    const one = new Board(size);
    const other = new Board(size, one.buffer);
    one.slots[1] = 1;
    one.retryAtMs[2] = 1.5;
    one.thread(1).counters[0] = 7;
    one.thread(1).histograms.queue.add(3);
    expect(one.take(1)).toBe(true);
    expect([other.used[1], other.slots[1], other.retryAtMs[2]]).toEqual([1, 1, 1.5]);
    expect([other.thread(1).counters[0], other.thread(0).counters[0]]).toEqual([7, 0]);
    expect(other.thread(1).histograms.queue.quantile(1)).not.toBeNull();
    expect(other.take(1)).toBe(false);
    other.give(1);
    expect(one.take(1)).toBe(true);
  });

  test("board: a buffer of another size, an empty board and a thread too many are refused", () => {
    const board = new Board({ destinationCountMax: 3, threadCount: 2, waiterCountMax: 3 });
    const larger = { destinationCountMax: 4, threadCount: 2, waiterCountMax: 3 };
    expect(() => new Board(larger, board.buffer)).toThrow("another size");
    expect(() => new Board({ destinationCountMax: 0, threadCount: 1, waiterCountMax: 3 })).toThrow(
      "empty",
    );
    expect(() => board.thread(2)).toThrow("no such thread");
    expect(() => board.thread(-1)).toThrow("no such thread");
  });
});

describe("board: slots", () => {
  test("board: takes as many as there are, and one again for each that is given back", () => {
    const board = new Board({ destinationCountMax: 2, threadCount: 1, waiterCountMax: 3 });
    board.slots.fill(3);
    expect([1, 2, 3, 4].map(() => board.take(1))).toEqual([true, true, true, false]);
    board.give(1);
    expect([board.take(1), board.take(1)]).toEqual([true, false]);
    expect([...board.used]).toEqual([0, 3]);
  });

  test("board: 0 slots is no limit, and is counted all the same", () => {
    const board = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax: 3 });
    for (let n = 0; n < 1_000; n += 1) expect(board.take(0)).toBe(true);
    expect(board.used[0]).toBe(1_000);
  });

  test("board: fewer slots than are used admit nobody until enough are given back", () => {
    const board = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax: 3 });
    for (let n = 0; n < 3; n += 1) board.take(0);
    board.slots[0] = 2;
    expect(board.take(0)).toBe(false);
    board.give(0);
    expect(board.take(0)).toBe(false);
    board.give(0);
    expect(board.take(0)).toBe(true);
  });

  test("board: a slot given back twice ends the process", () => {
    const board = new Board({ destinationCountMax: 1, threadCount: 1, waiterCountMax: 3 });
    board.take(0);
    board.give(0);
    expect(() => board.give(0)).toThrow("given back twice");
  });
});
