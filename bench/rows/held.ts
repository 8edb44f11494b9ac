// As many idle pairs as the descriptors allow, and each of them still serves.

import { PLAIN } from "../programs.ts";
import { descriptorLimit } from "../proc.ts";
import { bothEngines, interleave, isOurs, withProgram } from "../row.ts";
import type { Limit, Row } from "../row.ts";
import { askAll, hold, settledKiB } from "./holding.ts";

const WANTED = 50_000;
/** What a balancer keeps for itself, and some to spare; every pair takes two of the others. */
const OWN_DESCRIPTORS = 200;
const BATCH = 5000;

const allowed = Math.min(WANTED, Math.floor((descriptorLimit() - OWN_DESCRIPTORS) / 2));
const why =
  allowed === WANTED
    ? "The limit of open files allows them here."
    : `Here the hard limit of ${descriptorLimit()} open files allows ${allowed} of them, two for each pair.`;

const VALUE = { condition: "", kind: "value" } as const;

export const held: Row = {
  name: "held",
  title: "Pairs held and served",
  method: `${WANTED} pairs are opened through a fresh balancer to 4 destinations, with one request each; then one more request goes through every one of them, one after the other. ${why} The peers are set up for fewer.`,
  needs: "load",
  measures: [
    { key: "heldCount", title: "held", digits: 0 },
    { key: "servedCount", title: "served once more", digits: 0 },
    { key: "pairKiB", title: "KiB a pair", digits: 2 },
    { key: "serveUs", title: "a request then, µs", digits: 0 },
  ],
  limits: [
    ...bothEngines(
      { bun: 1, libc: 1 },
      {
        ...VALUE,
        title: `idle pairs held and served, share of ${allowed} that descriptors allow`,
        measure: "servedShare",
        sense: "at least",
        unit: "",
      },
    ),
    ...bothEngines(
      { bun: 3, libc: 2 },
      {
        ...VALUE,
        title: `idle pair, user memory, ${allowed} held`,
        measure: "pairKiB",
        sense: "at most",
        unit: "KiB",
      },
    ),
  ] satisfies Limit[],
  run: async (bench) => {
    await using destinations = await bench.load.serve(4, "keep");
    const setting = { ...PLAIN, ports: destinations.ports };
    const names = bench.programs.filter(isOurs);
    const count = bench.small ? 300 : allowed;
    return await interleave(bench, names, bench.small ? 1 : 2, "", (name) =>
      withProgram(bench, name, setting, async ({ pid, port }) => {
        const start = await settledKiB(bench, pid);
        await using holder = bench.load.holdPairs(port);
        for (let left = count; left > 0; left -= BATCH) await hold(holder, Math.min(BATCH, left));
        const end = await settledKiB(bench, pid);
        const askedAt = performance.now();
        const servedCount = await askAll(holder);
        return {
          heldCount: count,
          servedCount,
          servedShare: servedCount / count,
          pairKiB: (end - start) / count,
          serveUs: ((performance.now() - askedAt) / count) * 1e3,
        };
      }),
    );
  },
};
