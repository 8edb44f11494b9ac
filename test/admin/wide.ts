// The status of a board with as many destinations as a test wants, as the program would give it.

import { parseOptions } from "../../src/control/options.ts";
import type { ProgramStatus } from "../../src/control/steering.ts";
import { Board } from "../../src/core/board.ts";
import { statusOf } from "../../src/status.ts";

/** A board of that many destinations, each with so many connections, and what reads its status. */
export function wideStatus(count: number, joined = 0, threadCount = 1): () => ProgramStatus {
  const places = Array.from({ length: count }, (_, n) => `10.0.0.1:${n + 1},name=d${n}`);
  const options = parseOptions(["127.0.0.1:8080", ...places]);
  const board = new Board({ destinationCountMax: count, threadCount, waiterCountMax: 4 });
  const rows = options.destinations.map((each, row) => {
    return { row, options: each, mode: "ready", isLeaving: false } as const;
  });
  rows.forEach(({ row }) => {
    board.fill(row, 4, 1, true);
    for (let n = 0; n < joined; n += 1) board.thread(0).addJoined(row, 1 + (row % 50));
  });
  const certificates = [{ file: "a.pem", names: ["a.example"], notAfter: 0 }];
  return () => {
    const status = statusOf(
      board,
      rows,
      ["127.0.0.1:8080"],
      { options, certificates },
      1_000,
      () => "",
    );
    const listeners = [{ ...status, name: "main" }];
    const about = { version: "0", pid: 1, startedAt: 0, uptimeMs: 1, config: "", reload: null };
    return { ...about, state: "running", listeners };
  };
}

export function statusWith(count: number, joined = 0): ProgramStatus {
  return wideStatus(count, joined)();
}
