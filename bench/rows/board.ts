// What the board shared by all threads costs a connection that need not wait.

import { interleave } from "../row.ts";
import type { Limit, Row } from "../row.ts";
import { timeMicro } from "./micro.ts";

const THREADS = [1, 4, 16] as const;

export const board: Row = {
  name: "board",
  title: "Board",
  method:
    "All atomic steps of one connection that finds a free slot, on the board of so many threads, in one process: number of arrival, open and queued counted up and down, a look whether somebody waits before and after, slot taken and given back; 5 million times.",
  needs: "nothing",
  measures: [{ key: "ns", title: "ns a connection", digits: 0 }],
  limits: THREADS.map((count): Limit => ({
    title: `atomic work of an unsaturated connection, board of ${count}`,
    condition: "",
    program: labelOf(count),
    measure: "ns",
    kind: "value",
    sense: "at most",
    bound: 1000,
    unit: "ns",
  })),
  run: (bench) => {
    const count = String(bench.small ? 100_000 : 5_000_000);
    const labels = THREADS.map(labelOf);
    return interleave(bench, labels, bench.small ? 1 : 3, "", async (label) => ({
      ns: await timeMicro(bench, ["board", count, label.split(" ")[0] ?? ""]),
    }));
  },
};

function labelOf(count: number): string {
  return count === 1 ? "1 thread" : `${count} threads`;
}
