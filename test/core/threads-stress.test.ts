// Real threads over one board: what every interleaving of a few clients keeps (interleave.test.ts), thousands keep.
import { expect, test } from "bun:test";
import { Board, type BoardSize } from "../../src/core/board.ts";
import { withSeed } from "../wait.ts";
import { Fate, StressRecord, type StressJob } from "./threads-stress.ts";

const rowCount = 8;
const clientCountEach = 500;
const roundCount = 4;
const size: BoardSize = { destinationCountMax: rowCount, threadCount: 4, waiterCountMax: 512 };
const clientCount = size.threadCount * clientCountEach;

async function runThreads(seed: number): Promise<{ board: Board; record: StressRecord }> {
  const board = new Board(size);
  const record = new StressRecord(size, clientCount);
  for (let row = 0; row < rowCount; row += 1) {
    board.slots[row] = 1;
    board.enabled[row] = 1;
    board.setResolved(row, true);
  }
  const shared = { size, board: board.buffer, record: record.buffer };
  const runs = Array.from({ length: size.threadCount }, (_, thread) => {
    const job: StressJob = { ...shared, thread, seed, clientCount, clientCountEach };
    return runThread(job);
  });
  expect(await Promise.all(runs)).toEqual(runs.map(() => ""));
  return { board, record };
}

async function runThread(job: StressJob): Promise<string> {
  const worker = new Worker(new URL("./threads-stress.ts", import.meta.url).href);
  try {
    return await new Promise<string>((done) => {
      worker.addEventListener("message", ({ data }: MessageEvent<string>) => done(data));
      worker.addEventListener("error", ({ message }) => done(message));
      worker.postMessage(job, []);
    });
  } finally {
    worker.terminate();
  }
}

/**
 * Who was published before another was filed, and is older, is not claimed after it. More cannot be said of real
 * threads: a number is given at accept, and an older one may be published later.
 * @returns how many pairs that are so, and how many of them went the wrong way.
 */
function countOrder(record: StressRecord): { pairCount: number; overtakenCount: number } {
  const { filedFrom, filedTo, claimedFrom, claimedTo, hasFailed } = record;
  const at = (column: Int32Array, order: number) => column[order] ?? 0;
  const waited = Array.from({ length: clientCount }, (_, index) => index + 1).filter(
    (order) => at(claimedFrom, order) > 0 && at(filedTo, order) > 0 && at(hasFailed, order) === 0,
  );
  let pairCount = 0;
  let overtakenCount = 0;
  for (const older of waited) {
    for (const newer of waited) {
      if (newer <= older || at(filedTo, older) >= at(filedFrom, newer)) continue;
      pairCount += 1;
      if (at(claimedTo, newer) < at(claimedFrom, older)) overtakenCount += 1;
    }
  }
  return { pairCount, overtakenCount };
}

test(
  "threads: 4 threads, 2,000 clients, 8 slots: each ends once, alone at its destination, in order",
  () =>
    withSeed(async ({ seed }) => {
      for (let round = 0; round < roundCount; round += 1) await checkRound(seed + 100 * round);
    }),
  20_000,
);

async function checkRound(seed: number): Promise<void> {
  const { board, record } = await runThreads(seed);
  expect(record.faultCount[0]).toBe(0);
  const fates = [...record.fates.subarray(1)];
  expect(fates.filter((fate) => fate === Fate.none)).toEqual([]);
  expect(fates.filter((fate) => fate === Fate.served).length).toBeGreaterThan(clientCount / 4);
  expect(fates.filter((fate) => fate === Fate.left).length).toBeGreaterThan(0);
  expect([...record.owners]).toEqual([...record.owners].map(() => 0));
  const { pairCount, overtakenCount } = countOrder(record);
  expect(pairCount).toBeGreaterThan(1_000);
  expect(overtakenCount).toBe(0);
  const { heads, tails } = board.ticketColumns;
  expect([...heads]).toEqual([...tails]);
  expect([...board.used]).toEqual([...board.used].map(() => 0));
}
