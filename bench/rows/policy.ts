// What it costs to pick a destination among few and among many.

import { interleave } from "../row.ts";
import type { Row } from "../row.ts";
import { timeMicro } from "./micro.ts";

const POLICIES = ["pull", "round-robin", "random", "hash"] as const;
const FEW = 4;
const MANY = 10_000;

export const policy: Row = {
  name: "policy",
  title: "Policy",
  method: `Take and release with 64 connections open, among ${FEW} and among ${MANY} destinations, 5 million times in a fresh process.`,
  needs: "nothing",
  measures: [
    { key: "fewNs", title: `among ${FEW}, ns`, digits: 0 },
    { key: "manyNs", title: `among ${MANY}, ns`, digits: 0 },
    { key: "ratio", title: "ratio", digits: 2 },
  ],
  limits: [
    {
      title: `picking among ${MANY} over picking among ${FEW}, pull`,
      condition: "",
      program: "pull",
      measure: "ratio",
      kind: "value",
      sense: "at most",
      bound: 2,
      unit: "",
    },
  ],
  run: (bench) => {
    const count = String(bench.small ? 100_000 : 5_000_000);
    return interleave(bench, POLICIES, bench.small ? 1 : 3, "", async (name) => {
      const fewNs = await timeMicro(bench, ["pick", count, String(FEW), name]);
      const manyNs = await timeMicro(bench, ["pick", count, String(MANY), name]);
      return { fewNs, manyNs, ratio: manyNs / fewNs };
    });
  },
};
