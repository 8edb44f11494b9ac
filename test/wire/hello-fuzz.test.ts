// Twenty thousand hellos made wrong on purpose; the long form has a million.

import { expect, test } from "bun:test";
import { withSeed } from "../wait.ts";
import { fuzzHello } from "./hello-fuzz.ts";

test("client hello: 20,000 mutated inputs are answered alike whole and in pieces, as by a second reader", () =>
  withSeed((random) => {
    const report = fuzzHello(random.seed, 20_000);
    // All ways to answer were met, so that each of them was put to the test.
    for (const kind of ["hello", "bad", "more", "not-tls"]) {
      expect([kind, (report[kind] ?? 0) > 200]).toEqual([kind, true]);
    }
  }));
