// How often the collector runs while much goes through one connection.

import { PLAIN } from "../programs.ts";
import { interleave, isOurs, withProgram } from "../row.ts";
import type { Row } from "../row.ts";

const GIB = 2 ** 30;
/** Makes JavaScriptCore say each collection on stderr, in all threads. */
const LOG = { BUN_JSC_logGC: "1" };
/** What has happened is written soon, not at once. */
const WRITTEN_MS = 200;

export const collections: Row = {
  name: "collections",
  title: "Collections under bulk",
  method:
    "2 GiB through one connection after 0.25 GiB of warm-up; collections are the lines that Bun says of them with BUN_JSC_logGC=1, of all threads.",
  needs: "load",
  measures: [
    { key: "collections", title: "collections", digits: 0 },
    { key: "full", title: "of the whole heap", digits: 0 },
    { key: "startCollections", title: "before, from the start on", digits: 0 },
    { key: "gib", title: "GiB", digits: 2 },
  ],
  limits: [],
  run: async (bench) => {
    await using destinations = await bench.load.serve(1, "keep");
    const setting = { ...PLAIN, ports: destinations.ports };
    const [warmGib, gib] = bench.small ? [0.0625, 0.25] : [0.25, 2];
    const names = bench.programs.filter(isOurs);
    return await interleave(bench, names, bench.small ? 1 : 3, "", (name) =>
      withProgram(
        bench,
        name,
        setting,
        async (running) => {
          await bench.load.bulk(running.port, 1, warmGib * GIB);
          await Bun.sleep(WRITTEN_MS);
          const before = running.errorText;
          const { bytes } = await bench.load.bulk(running.port, 1, gib * GIB);
          await Bun.sleep(WRITTEN_MS);
          const after = running.errorText.slice(before.length);
          return {
            collections: countCollections(after),
            full: after.match(/=> FullCollection/g)?.length ?? 0,
            startCollections: countCollections(before),
            gib: bytes / GIB,
          };
        },
        LOG,
      ),
    );
  },
};

/** In what a program has said with the log on. */
export function countCollections(text: string): number {
  return text.match(/=> (Eden|Full)Collection/g)?.length ?? 0;
}
