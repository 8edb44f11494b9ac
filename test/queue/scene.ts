// What the tests of the queue share: the board watched while a balancer works in this process, its history afterwards.

import { expect } from "bun:test";
import {
  boardOf,
  isInThisThread,
  isOneThread,
  type Balancing,
  type InProcess,
  type Way,
} from "../e2e/ways.ts";
import { client, type ClientOptions, type Peer } from "../net.ts";
import { checkHistory } from "./history.ts";
import { lineClockMs, Recorder, usualCourse, type Course, type DestinationCourse } from "./life.ts";

/** In the order of their coming: each says what it wants, and ends after its destination has, unless it is to stay. */
export async function asks(
  { port }: Balancing,
  letter: string,
  options: ClientOptions = { onEnd: (peer) => peer.finish() },
): Promise<Peer> {
  // An address of its own: it has ports of its own, and sees a refusal at once.
  const peer = await client(port, { from: "127.0.7.3", ...options });
  peer.send(`${letter}\n`);
  return peer;
}

/** `count` clients that ask for an answer and wait, one after the other. */
export async function queueUp(balancer: InProcess, count: number): Promise<Peer[]> {
  const before = balancer.status().queue.waiting;
  const peers: Peer[] = [];
  for (let n = 1; n <= count; n += 1) {
    peers.push(await asks(balancer, "a"));
    await balancer.queued(before + n, `client ${n} waits`);
  }
  return peers;
}

/** Stops the balancer after `count` connections: nothing is left of them, and their history is in order. */
export async function expectHistory(
  way: Way,
  balancer: Balancing,
  count: number,
  destinations: readonly DestinationCourse[],
  more: Partial<Course> = {},
): Promise<ReadonlyMap<string, number>> {
  const ended = await balancer.finish(count);
  const recorder = new Recorder(destinations.map(({ name }) => name));
  for (const each of ended) recorder.add(each);
  const status = balancer.status();
  const course: Course = {
    ...usualCourse,
    threadCount: isOneThread(way) ? 1 : 3,
    ...(status === null ? { clockMs: lineClockMs } : {}),
    destinations,
    ...more,
  };
  const history = recorder.history(course, status, count);
  expect(checkHistory(history)).toEqual([]);
  return history.reasons;
}

export interface BoardWatch extends Disposable {
  /** What was wrong at any moment. */
  readonly found: readonly string[];
  /** How often somebody waited when it was looked at. */
  readonly waitingCount: number;
}

/** A slot may lie idle so long beside a client when other threads are at it; in this thread, for no turn. */
const idleMs = 1_000;

/**
 * Looks at the board of a balancer after every turn of the event loop: never more in use than slots, and no free slot
 * while somebody waits.
 */
export function watchBoard(balancer: InProcess, way: Way): BoardWatch {
  const board = boardOf(balancer);
  const rows = board.slots.length;
  const found: string[] = [];
  const graceMs = isInThisThread(way) ? 0 : idleMs;
  /** By row: since when it is idle beside a client; −1 = it is not. */
  const idleSince = Array.from({ length: rows }, () => -1);
  let waitingCount = 0;
  let over = false;
  const look = () => {
    const waiting = board.total("queued");
    if (waiting > 0) waitingCount += 1;
    const now = performance.now();
    for (let row = 0; row < rows; row += 1) {
      const [used = 0, slots = 0] = [board.used[row], board.slots[row]];
      if (slots > 0 && used > slots) found.push(`${used} slots of ${slots} in use of row ${row}`);
      const since = idleSince[row] ?? -1;
      if (waiting === 0 || !board.isFree(row)) idleSince[row] = -1;
      else if (since < 0) idleSince[row] = now;
      else if (now - since > graceMs) found.push(`row ${row} is idle while ${waiting} wait`);
    }
    if (!over && found.length < 10) setImmediate(look);
  };
  look();
  return {
    found,
    get waitingCount() {
      return waitingCount;
    },
    [Symbol.dispose]: () => void (over = true),
  };
}
