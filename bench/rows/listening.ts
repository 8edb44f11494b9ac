// From the start of the process to the first answer through it.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { PLAIN, commandOf, freePort, untilAnswer } from "../programs.ts";
import { interleave } from "../row.ts";
import type { Row } from "../row.ts";

const BINARY = join(import.meta.dir, "..", "..", "dist", "iawlb");
const BINARY_NAME = "iawlb (dist/iawlb)";

export const listening: Row = {
  name: "listening",
  title: "Time to listening",
  method:
    "From the start of the process to the first answer through it, asked again each millisecond.",
  needs: "load",
  measures: [{ key: "ms", title: "ms", digits: 1 }],
  limits: [],
  run: async (bench) => {
    await using destinations = await bench.load.serve(1, "keep");
    const setting = { ...PLAIN, ports: destinations.ports };
    const binary = existsSync(BINARY) ? [BINARY_NAME] : [];
    const names: readonly string[] = [...bench.programs, ...binary];
    return await interleave(bench, names, bench.small ? 2 : 15, "", async (name) => {
      const port = freePort();
      const program = bench.programs.find((known) => known === name) ?? "iawlb";
      const command = await commandOf(bench.load, program, setting, port);
      const words = name === BINARY_NAME ? [BINARY, ...command.slice(2)] : command;
      const startAt = performance.now();
      await using child = bench.load.onBalancerCore(words);
      await untilAnswer(child, port, setting.probe);
      return { ms: performance.now() - startAt };
    });
  },
};
