// The ring against an array of objects: time of a step, and how often the collector runs.

import { Child } from "../children.ts";
import { interleave } from "../row.ts";
import type { Row, Sample } from "../row.ts";
import { countCollections } from "./collections.ts";
import { MICRO, timeMicro } from "./micro.ts";

const MILLIONS = [10, 100] as const;

export const ring: Row = {
  name: "ring",
  title: "Ring",
  method:
    "So many million steps, each a push and a shift with 64 items inside, in a fresh process; collections are counted in another (BUN_JSC_logGC=1).",
  needs: "nothing",
  measures: [
    { key: "ns", title: "ns a step", digits: 1 },
    { key: "collections", title: "collections", digits: 0 },
  ],
  limits: [],
  run: async (bench) => {
    const samples: Sample[] = [];
    for (const million of bench.small ? [1] : MILLIONS) {
      const count = String(million * 1e6);
      const measured = await interleave(
        bench,
        ["ring", "array"],
        bench.small ? 1 : 2,
        `${million} million`,
        async (name) => ({
          ns: await timeMicro(bench, [name, count]),
          collections: await collectionsOf([name, count]),
        }),
      );
      samples.push(...measured);
    }
    return samples;
  },
};

async function collectionsOf(words: readonly string[]): Promise<number> {
  await using child = new Child([...MICRO, ...words], { BUN_JSC_logGC: "1" });
  const { stderr } = await child.ended(60_000);
  return countCollections(stderr);
}
