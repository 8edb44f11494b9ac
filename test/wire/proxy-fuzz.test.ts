// Twenty thousand wrong PROXY headers; `npm run fuzz` takes a million.

import { expect, test } from "bun:test";
import { withSeed } from "../wait.ts";
import { fuzzReader } from "./fuzz.ts";
import { fuzzProxy } from "./proxy-fuzz.ts";

const count = 20_000;

test("proxy: 20,000 inputs made from valid ones, in pieces as whole, as the oracle has them", async () => {
  await withSeed(({ seed }) => {
    const report = fuzzProxy(seed, count);
    // It would say nothing if all went one way.
    for (const kind of ["header", "bad", "more"]) {
      expect([kind, (report[kind] ?? 0) > count / 50]).toEqual([kind, true]);
    }
  });
}, 60_000);

test("fuzz: readers that are wrong are found, with the seed in words", () => {
  const seeds = [Buffer.from("0123456789")];
  const wrong: Readonly<Record<string, (bytes: Uint8Array) => { kind: string }>> = {
    throws: (bytes) => {
      if (bytes.length > 12) throw new Error("throws");
      return { kind: "bad" };
    },
    limit: () => ({ kind: "more" }),
    "after [0-9]+ bytes": (bytes) => ({ kind: bytes.length > 5 ? "header" : "bad" }),
    changed: (bytes) => {
      bytes.fill(7);
      return { kind: "bad" };
    },
  };
  for (const [words, read] of Object.entries(wrong)) {
    const reader = { seeds, sizeMax: 20, start: () => read };
    expect(() => fuzzReader(1, 1_000, reader)).toThrow(new RegExp(`${words}[^]*IAWLB_SEED=1, `));
  }
  const right = { seeds, sizeMax: 20, start: () => () => ({ kind: "bad" }) };
  expect(fuzzReader(1, 1_000, right)).toEqual({ bad: 1_000 });
});
