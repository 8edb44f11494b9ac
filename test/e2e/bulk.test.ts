// A lot of bytes: all of them, in their order, and in little memory. The peers are processes of their own, so that
// the balancer has a processor when it needs one.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { client, rssKiB, serve, until } from "../net.ts";
import type { BulkOrders, BulkReport } from "./bulk-peer.ts";
import { runsAllWays, spawn } from "./ways.ts";

setDefaultTimeout(120_000);

const GiB = 1024 ** 3;

interface BulkPeer extends Disposable {
  /** Lines printed so far. */
  readonly lines: readonly string[];
  readonly report: Promise<BulkReport>;
}

function bulkPeer(orders: BulkOrders): BulkPeer {
  const command = [process.execPath, join(import.meta.dir, "bulk-peer.ts"), JSON.stringify(orders)];
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  const collect = async () => {
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) output += decoder.decode(chunk);
    return JSON.parse(output.trimEnd().split("\n").at(-1) ?? "null") as BulkReport; // its last words
  };
  const report = collect();
  return {
    get lines() {
      return output.split("\n").slice(0, -1);
    },
    report,
    [Symbol.dispose]: () => child.kill("SIGKILL"),
  };
}

/** A server and a client of it through a balancer; both report when both have ended. */
async function transfer(
  engine: string,
  way: { readonly upCount: number; readonly downCount: number; readonly readMiBPerSecond: number },
  look: (pid: number, lines: readonly string[]) => void,
) {
  const { upCount, downCount, readMiBPerSecond } = way;
  const up = { sendCount: upCount, sendSeed: 1, receiveSeed: 2, readMiBPerSecond: 0 };
  const down = { sendCount: downCount, sendSeed: 2, receiveSeed: 1, readMiBPerSecond };
  using server = bulkPeer({ port: 0, ...down });
  const port = await until(() => server.lines[0], "the server's port");
  await using balancer = await spawn(["--engine", engine, `127.0.0.1:${port}`]);
  const { pid } = balancer.process;
  const startKiB = rssKiB(pid);
  let highestKiB = startKiB;
  const watch = setInterval(() => {
    highestKiB = Math.max(highestKiB, rssKiB(pid));
    look(pid, server.lines);
  }, 20);
  using sender = bulkPeer({ port: balancer.port, ...up });
  const reports = await Promise.all([server.report, sender.report]).finally(() => {
    clearInterval(watch);
  });
  const [ended] = await balancer.finish(1);
  return { reports, ended, growthMiB: (highestKiB - startKiB) / 1_024 };
}

/** What the collector has not taken yet comes to 20 to 45 MiB; whoever keeps what he cannot write needs a thousand. */
const growthMaxMiB = 64;
const engines = ["bun", "libc"] as const;

test.each(engines)("bulk: 1 GiB each way at once, byte by byte, engine %s", async (engine) => {
  const way = { upCount: GiB, downCount: GiB, readMiBPerSecond: 0 };
  const { reports, ended, growthMiB } = await transfer(engine, way, () => {});
  const whole = { receivedCount: GiB, isExact: true, isReset: false };
  expect(reports).toEqual([expect.objectContaining(whole), expect.objectContaining(whole)]);
  expect(ended).toMatchObject({ reason: "done", bytesUp: GiB, bytesDown: GiB });
  expect(growthMiB).toBeLessThan(growthMaxMiB);
});

/** `npm run ways` has both: each takes ten seconds. */
test.each(runsAllWays ? engines : engines.slice(0, 1))(
  "bulk: 4 GiB to a slower reader, in memory that does not grow, engine %s",
  async (engine) => {
    const way = { upCount: 4 * GiB, downCount: 0, readMiBPerSecond: 1_000 };
    const seenKiB: number[][] = [];
    const { reports, ended, growthMiB } = await transfer(engine, way, (pid, lines) => {
      const doneGiB = lines.length - 1; // the first line is the port
      (seenKiB[doneGiB] ??= []).push(rssKiB(pid));
    });
    expect(reports[0]).toMatchObject({ receivedCount: 4 * GiB, isExact: true, isReset: false });
    expect(ended).toMatchObject({ reason: "done", bytesUp: 4 * GiB, bytesDown: 0 });
    expect(growthMiB).toBeLessThan(growthMaxMiB);
    // What the collector has not yet taken differs by some MiB from one moment to the next, so a peak says little;
    // what leaks lifts the median. The first GiB is left out: code is compiled and heaps find their size. Medians of
    // GiBs apart differ by up to 10 MiB; a hundredth of the bytes would lift the last one by 20.
    const medianKiB = (values: readonly number[] = []) =>
      values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
    expect((medianKiB(seenKiB[3]) - medianKiB(seenKiB[1])) / 1_024).toBeLessThan(16);
  },
);

test.each(engines)(
  "bulk: a reader that stands still stops the sender, and loses nothing, engine %s",
  async (engine) => {
    using server = serve({ keep: false, paused: true, onEnd: (peer) => peer.finish() });
    await using balancer = await spawn(["--engine", engine, server.address]);
    const startKiB = rssKiB(balancer.process.pid);
    using peer = await client(balancer.port);
    const piece = Buffer.alloc(1024 ** 2);
    for (let i = 0; i < 200; i++) peer.send(piece);
    peer.finish();
    let seen = { count: -1, at: 0 };
    await until(() => {
      if (seen.count !== peer.unsentCount)
        seen = { count: peer.unsentCount, at: performance.now() };
      return performance.now() - seen.at > 300;
    }, "the sender stands still");
    expect(seen.count).toBeGreaterThan(0);
    expect((rssKiB(balancer.process.pid) - startKiB) / 1_024).toBeLessThan(growthMaxMiB);
    server.peers[0]?.resume();
    await until(() => peer.over, "the end", 20_000);
    expect(server.peers[0]?.receivedCount).toBe(200 * piece.length);
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ reason: "done", bytesUp: 200 * piece.length });
  },
);
