import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { Ring } from "../../src/core/ring.ts";
import { withSeed } from "../wait.ts";

interface Item {
  readonly n: number;
}

const item = (n: number): Item => ({ n });
const numbers = (ring: Ring<Item>): (number | undefined)[] =>
  Array.from({ length: ring.count }, (_, offset) => ring.at(offset)?.n);

function filled(capacity: number, count: number): Ring<Item> {
  const ring = new Ring<Item>(capacity);
  for (let n = 0; n < count; n += 1) ring.push(item(n));
  return ring;
}

describe("ring", () => {
  test("ring: gives out in the order of arrival", () => {
    const ring = filled(8, 5);
    expect([ring.shift()?.n, ring.shift()?.n]).toEqual([0, 1]);
    ring.push(item(5));
    expect(numbers(ring)).toEqual([2, 3, 4, 5]);
  });

  test("ring: gives null when empty, from either end", () => {
    const ring = filled(4, 1);
    ring.shift();
    expect([ring.shift(), ring.pop(), ring.at(0), ring.count]).toEqual([null, null, null, 0]);
  });

  test("ring: the capacity is the next power of two", () => {
    const capacities = [1, 2, 3, 4, 5, 1000].map((count) => new Ring<Item>(count).capacity);
    expect(capacities).toEqual([1, 2, 4, 4, 8, 1024]);
    expect(() => new Ring<Item>(0)).toThrow("capacity");
  });

  test("ring: says no and keeps what it has, when full", () => {
    const ring = filled(4, 4);
    expect([ring.push(item(9)), ring.unshift(item(9))]).toEqual([false, false]);
    expect(numbers(ring)).toEqual([0, 1, 2, 3]);
    expect([ring.shift()?.n, ring.push(item(4)), ring.unshift(item(9))]).toEqual([0, true, false]);
    expect(numbers(ring)).toEqual([1, 2, 3, 4]);
  });

  test("ring: works on where its counters of 32 bits wrap around", () => {
    const ring = new Ring<Item>(4);
    // Before the first push the head is 0: put back there, it goes below zero, that is to 2^32 − 1.
    for (let n = 3; n > 0; n -= 1) expect(ring.unshift(item(n))).toBe(true);
    expect([ring.count, numbers(ring)]).toEqual([3, [1, 2, 3]]);
    expect([ring.push(item(4)), ring.push(item(5))]).toEqual([true, false]);
    expect([1, 2, 3, 4].map(() => ring.shift()?.n)).toEqual([1, 2, 3, 4]);
    expect(ring.count).toBe(0);
  });

  test("ring: its tail wraps below zero as well", () => {
    const ring = new Ring<Item>(4);
    ring.unshift(item(1));
    expect([ring.pop()?.n, ring.count, ring.pop(), ring.shift()]).toEqual([1, 0, null, null]);
    for (let n = 2; n < 6; n += 1) expect(ring.push(item(n))).toBe(true);
    expect([ring.push(item(6)), numbers(ring)]).toEqual([false, [2, 3, 4, 5]]);
  });

  test("ring: takes an item back at the head and the newest off the tail", () => {
    const ring = filled(8, 4);
    const first = ring.shift();
    if (first !== null) ring.unshift(first);
    expect([ring.pop()?.n, numbers(ring)]).toEqual([3, [0, 1, 2]]);
  });

  test("ring: exchanges two items, and no free place", () => {
    const ring = filled(4, 3);
    ring.swap(0, 2);
    expect(numbers(ring)).toEqual([2, 1, 0]);
    expect(() => ring.swap(0, 3)).toThrow("free place");
  });

  test("ring: compact keeps the order of what stays", () => {
    const ring = filled(8, 8);
    ring.compact(({ n }) => n % 3 !== 0);
    expect(numbers(ring)).toEqual([1, 2, 4, 5, 7]);
  });

  test("ring: does the same as an array, whatever is asked", () =>
    withSeed((random) => {
      const ring = new Ring<Item>(16);
      const array: Item[] = [];
      for (let n = 0; n < 20_000; n += 1) {
        const what = random.int(6);
        const room = array.length < 16;
        if (what < 2) expect(ring.push(item(n))).toBe(room && array.push(item(n)) > 0);
        else if (what === 2) expect(ring.unshift(item(n))).toBe(room && array.unshift(item(n)) > 0);
        else if (what === 3) expect(ring.pop()).toEqual(array.pop() ?? null);
        else expect(ring.shift()).toEqual(array.shift() ?? null);
        expect(ring.count).toBe(array.length);
      }
      expect(numbers(ring)).toEqual(array.map((each) => each.n));
    }));

  test("ring: keeps nobody alive who has left it", async () => {
    const ring = new Ring<Item>(64);
    const references: WeakRef<Item>[] = [];
    (() => {
      for (let n = 0; n < 60; n += 1) {
        const each = item(n);
        references.push(new WeakRef(each));
        ring.push(each);
      }
      for (let n = 0; n < 20; n += 1) ring.shift();
      for (let n = 0; n < 20; n += 1) ring.pop();
      ring.compact(() => false);
    })();
    await Bun.sleep(0); // a WeakRef holds its target to the end of the turn
    Bun.gc(true);
    const alive = references.filter((each) => each.deref() !== undefined).length;
    expect(alive).toBeLessThan(5); // the stack may hold a few
    expect(ring.count).toBe(0);
  });
});

describe("ring: allocation", () => {
  /** Garbage collections of a process that takes `count` steps through a ring or an array. */
  async function collections(what: "ring" | "array", count: number): Promise<number> {
    const script = join(import.meta.dir, "ring.gc.ts");
    const child = Bun.spawn([process.execPath, script, what, String(count)], {
      env: { ...process.env, BUN_JSC_logGC: "1" },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [out, err, code] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      child.exited,
    ]);
    expect(code).toBe(0);
    expect(out + err).toContain("[GC<"); // the log is on
    return (out + err).match(/: START /g)?.length ?? 0;
  }

  test("ring: collects as often for 100 million steps as for 10 million, an array all the time", async () => {
    const ring = [await collections("ring", 10_000_000), await collections("ring", 100_000_000)];
    expect(ring[1]).toBe(ring[0] ?? -1);
    expect(await collections("array", 30_000_000)).toBeGreaterThan(100);
  }, 60_000);
});
