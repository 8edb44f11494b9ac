// Connections without a pause while one process after the other takes over. Each must be served in full; pairs that
// live through all of it must not notice.

import { client, echoServer, type Peer, until } from "../net.ts";
import { startChain } from "./chain.ts";

/** Longest a connection may take; it is a failure then. */
const connectionMs = 20_000;
const atOnce = 16;

export interface Course {
  readonly options: readonly string[];
  readonly count: number;
  readonly upgrades: number;
  /** What to run instead of `bun src/cli.ts`. */
  readonly command?: readonly string[];
  readonly onUpgrade?: (number: number, done: number, failed: number) => void;
}

export interface Outcome {
  /** Connections served in full. */
  readonly served: number;
  /** What went wrong with the others. */
  readonly faults: readonly string[];
  /** Pairs that lived from one process to after the last upgrade, and how many of them saw every byte. */
  readonly pairs: number;
  readonly pairsWell: number;
  /** Access lines of served connections, and lines that are none. */
  readonly lines: number;
  readonly brokenLines: readonly string[];
  readonly seconds: number;
}

export async function underLoad(course: Course): Promise<Outcome> {
  const { count, upgrades } = course;
  using server = echoServer();
  await using chain = await startChain(
    [...course.options, "127.0.0.1:0", server.address],
    course.command === undefined ? {} : { command: course.command },
  );
  const startedAt = performance.now();
  const faults: string[] = [];
  const pairs: Peer[] = [await pair(chain.port)];
  let begun = 0;
  let served = 0;
  let upgraded = 0;
  const goOn = () => begun < count || upgraded < upgrades;
  const clients = Array.from({ length: atOnce }, async () => {
    while (goOn() && faults.length < 1_000) {
      begun += 1;
      const fault = await connection(chain.port, `connection ${begun}`);
      if (fault === "") served += 1;
      else faults.push(fault);
    }
  });
  for (; upgraded < upgrades; upgraded += 1) {
    const due = (count * (upgraded + 1)) / (upgrades + 1);
    await until(() => served + faults.length >= due, `${due} connections`, 600_000);
    await chain.upgrade();
    pairs.push(await pair(chain.port));
    course.onUpgrade?.(upgraded + 1, served, faults.length);
  }
  await Promise.all(clients);
  const seconds = (performance.now() - startedAt) / 1_000;
  let pairsWell = 0;
  for (const each of pairs) {
    each.send(", after");
    const isWell = until(() => each.text === "before, after", "the echo of a pair", 5_000);
    pairsWell += await isWell.then(
      () => 1,
      () => 0,
    );
    each.finish();
  }
  await until(() => pairs.every((each) => each.over), "the end of the pairs");
  await chain.finish();
  const isWhole = (line: string) => /^time=\S+ id=\d+ .* reason=[a-z-]+$/.test(line);
  return {
    served,
    faults,
    pairs: pairs.length,
    pairsWell,
    lines: chain.lines.filter((line) => isWhole(line) && line.endsWith("reason=done")).length,
    brokenLines: chain.lines.filter((line) => !isWhole(line)),
    seconds,
  };
}

async function pair(port: number): Promise<Peer> {
  const peer = await client(port);
  peer.send("before");
  await until(() => peer.text === "before", "the first echo of a pair");
  return peer;
}

/** @returns what went wrong, "" = nothing. */
async function connection(port: number, text: string): Promise<string> {
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, connectionMs);
  try {
    using peer = await client(port, { onEnd: () => resolve(), onClose: () => resolve() });
    peer.send(text);
    peer.finish();
    await over;
    if (peer.wasReset) return `reset: ${peer.code}`;
    if (!peer.ended) return "not over in time";
    return peer.text === text ? "" : `cut short: ${peer.receivedCount} bytes`;
  } catch (error) {
    return `no connection: ${error instanceof Error ? error.message : String(error)}`;
  } finally {
    clearTimeout(timer);
  }
}
