// Host names and wildcards, against a look at every pattern.

import { describe, expect, test } from "bun:test";
import { NameTable, type WildcardReach } from "../../src/core/names.ts";
import { withSeed, type Random } from "../wait.ts";

function table(reach: WildcardReach, ...patterns: readonly string[]): NameTable<string> {
  const names = new NameTable<string>(reach);
  for (const pattern of patterns) names.add(pattern, pattern);
  return names;
}

describe("table", () => {
  test("names: a name is found as it is, and nothing near it", () => {
    const names = table("any", "a.example", "localhost");
    expect(names.find("a.example")).toBe("a.example");
    expect(names.find("localhost")).toBe("localhost");
    for (const other of ["", "example", "b.example", "a.example.", "x.a.example", "a.exampl"]) {
      expect([other, names.find(other)]).toEqual([other, undefined]);
    }
  });

  test("names: a wildcard stands for any number of labels, but for at least one, with reach any", () => {
    const names = table("any", "*.example");
    expect([names.find("a.example"), names.find("b.a.example")]).toEqual([
      "*.example",
      "*.example",
    ]);
    for (const other of ["example", "", "a.examples", "aexample", "a.example.org"]) {
      expect([other, names.find(other)]).toEqual([other, undefined]);
    }
  });

  test("names: a wildcard stands for exactly one label, with reach one", () => {
    const names = table("one", "*.example", "*.b.example");
    expect(names.find("a.example")).toBe("*.example");
    expect(names.find("a.b.example")).toBe("*.b.example");
    expect(names.find("b.example")).toBe("*.example");
    expect(names.find("a.c.example")).toBeUndefined();
    expect(names.find("example")).toBeUndefined();
  });

  test("names: the most specific counts, in whatever order they were added", () => {
    const patterns = ["*.example", "a.b.example", "*.b.example", "*.a.b.example"];
    for (const order of [patterns, patterns.toReversed()]) {
      const names = table("any", ...order);
      expect(names.find("a.b.example")).toBe("a.b.example");
      expect(names.find("x.b.example")).toBe("*.b.example");
      expect(names.find("x.a.b.example")).toBe("*.a.b.example");
      expect(names.find("x.y.a.b.example")).toBe("*.a.b.example");
      expect(names.find("b.example")).toBe("*.example");
    }
  });

  test("names: patterns in any case; of two that are the same the first counts", () => {
    const names = new NameTable<number>("any");
    names.add("A.Example", 1);
    names.add("a.example", 2);
    names.add("*.B.Example", 3);
    names.add("*.b.example", 4);
    expect([names.find("a.example"), names.find("x.b.example")]).toEqual([1, 3]);
  });

  test("names: a value may be 0 or an empty text", () => {
    const names = new NameTable<number | string>("any");
    names.add("a.example", 0);
    names.add("*.b.example", "");
    names.add("*.example", 9);
    expect([names.find("a.example"), names.find("x.b.example")]).toEqual([0, ""]);
  });

  test("names: the next wider pattern", () => {
    const names = table("any", "a.b.example", "*.b.example", "*.example");
    expect(names.findWider("A.B.example")).toBe("*.b.example");
    expect(names.findWider("*.B.example")).toBe("*.example");
    expect(names.findWider("*.example")).toBeUndefined();
    expect(names.findWider("*.x.b.example")).toBe("*.b.example");
    const single = table("one", "a.b.example", "*.b.example", "*.example");
    expect(single.findWider("a.b.example")).toBe("*.b.example");
    expect(single.findWider("*.b.example")).toBeUndefined();
  });

  test("names: random tables decide as a look at each pattern does", () =>
    withSeed((random) => {
      let foundCount = 0;
      for (let round = 0; round < 200; round += 1) {
        const reach = random.int(2) === 0 ? "one" : "any";
        const patterns = Array.from({ length: random.int(12) }, () => randomPattern(random));
        const names = table(reach, ...patterns);
        for (let n = 0; n < 50; n += 1) {
          const name = randomName(random);
          const expected = findNaively(reach, patterns, name);
          if (expected !== undefined) foundCount += 1;
          const found = names.find(name);
          if (found !== expected) expect({ reach, patterns, name, found }).toBe(expected as never);
        }
      }
      expect(foundCount).toBeGreaterThan(1_000);
      expect(foundCount).toBeLessThan(9_000);
    }));

  test("names: a look costs the same among many names, and in a name of many labels", () => {
    const many = new NameTable<number>("any");
    for (let n = 0; n < 100_000; n += 1) many.add(`${n % 2 === 0 ? "*." : ""}h${n}.example`, n);
    const few = table("any", "*.h4.example");
    const nameOf = (labels: number) => `${"x.".repeat(labels)}h4.example`;
    const one = leastMs(() => few.find(nameOf(2)));
    // Ratios of a hundred thousand, and of tens: far more than a loaded machine adds to the least of many.
    expect(leastMs(() => many.find(nameOf(2)))).toBeLessThan(50 * one + 1);
    expect(leastMs(() => many.find(nameOf(120)))).toBeLessThan(50 * one + 1);
  });
});

function leastMs(body: () => unknown): number {
  const times = Array.from({ length: 20 }, () => {
    const start = performance.now();
    for (let n = 0; n < 200; n += 1) body();
    return performance.now() - start;
  });
  return Math.min(...times);
}

function randomName({ int }: Random): string {
  return Array.from({ length: 1 + int(4) }, () => "ab"[int(2)] ?? "").join(".");
}

function randomPattern(random: Random): string {
  return `${random.int(2) === 0 ? "*." : ""}${randomName(random)}`;
}

function findNaively(reach: WildcardReach, patterns: readonly string[], name: string) {
  const labels = reach === "one" ? "[^.]+" : ".+";
  return patterns
    .filter((each) =>
      new RegExp(`^${each.replaceAll(".", "\\.").replace("*", labels)}$`).test(name),
    )
    .toSorted((a, b) => rankOf(b) - rankOf(a))[0];
}

function rankOf(pattern: string): number {
  return pattern.startsWith("*") ? pattern.length : 1_000;
}
