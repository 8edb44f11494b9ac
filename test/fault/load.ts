// Loads for the fault lab, bounded in count: clients that ask and hear, clients that come and go without Bun, and a
// destination that knows how many it serves at once.

import { expect } from "bun:test";
import { client, serve, until, type ClientOptions, type Peer, type Server } from "../net.ts";
import { errno, libc, rawConnect, sockaddr, type Place } from "../raw.ts";
import type { Status } from "../../src/balancer.ts";
import type { Random } from "../wait.ts";
import type { Ended } from "../e2e/ways.ts";
import type { Subject } from "./lab.ts";

/** Addresses of clients: each has all its ports, so that what stays of a connection for a minute does no harm. */
export function sourceOf(n: number): string {
  return `127.0.7.${1 + (n % 16)}`;
}

// ---- a destination ---------------------------------------------------------------------------

export interface Teller extends Server {
  /** What clients have said, in the order in which they were heard. */
  readonly heard: readonly string[];
  readonly serving: number;
  /** Most clients that were served at the same time; one that says nothing is none. */
  readonly servingMax: number;
  /** Counts that from now on. */
  countAgain(): void;
}

/** Hears a line, answers with it after `ms`, and ends. A connection without a byte is no client to it. */
export function teller(ms = 0, place?: Place): Teller {
  const heard: string[] = [];
  const busy = new Set<Peer>();
  let servingMax = 0;
  const answer = (peer: Peer) => {
    busy.delete(peer);
    peer.send(peer.text);
    peer.finish();
  };
  const server = serve(
    {
      onData(peer) {
        busy.add(peer);
        servingMax = Math.max(servingMax, busy.size);
        if (!peer.text.endsWith("\n")) return;
        heard.push(peer.text.trimEnd());
        if (ms === 0) answer(peer);
        else setTimeout(answer, ms, peer);
      },
      onEnd(peer) {
        if (peer.text.endsWith("\n")) return; // it has its answer, or will
        busy.delete(peer);
        peer.finish();
      },
      onClose: (peer) => void busy.delete(peer),
    },
    place,
  );
  return {
    ...server,
    heard,
    get openCount() {
      return server.openCount;
    },
    get serving() {
      return busy.size;
    },
    get servingMax() {
      return servingMax;
    },
    countAgain: () => void (servingMax = busy.size),
  };
}

// ---- clients ---------------------------------------------------------------------------------

/** A client that is still there after so long is a failure of its case. */
const askMs = 40_000;

/** Says a line and waits until the connection is over; then `peer.text` is the answer, or it was reset. */
export async function ask(place: Place, line: string, options: ClientOptions = {}): Promise<Peer> {
  const { promise, resolve } = Promise.withResolvers<Peer>();
  const peer = await client(place, {
    ...options,
    onEnd: (each) => each.finish(),
    onClose: resolve,
  });
  if (peer.closed) return peer;
  peer.send(`${line}\n`);
  const late = setTimeout(() => {
    console.error(`no end in ${askMs} ms for: ${line}`);
    peer.reset();
    resolve(peer);
  }, askMs);
  await promise;
  clearTimeout(late);
  return peer;
}

/** An answer in full, or what came instead of it: a cut that is plain to see, or one that is not. */
export type Fate = "served" | "cut" | "truncated";

export function fateOf(peer: Peer, line: string): Fate {
  if (peer.text === `${line}\n` && peer.ended) return "served";
  return peer.wasReset ? "cut" : "truncated";
}

/** Runs `one` so often, so many at a time. */
export async function crowd(
  count: number,
  atOnce: number,
  one: (n: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await one(next++);
  };
  await Promise.all(Array.from({ length: Math.min(count, atOnce) }, worker));
}

/** `count` clients ask, so many at a time; each is served. */
export async function expectServed(place: Place, count: number, atOnce = 16): Promise<void> {
  const fates = new Set<string>();
  await crowd(count, atOnce, async (n) => {
    fates.add(fateOf(await ask(place, `ask ${n}`, { from: sourceOf(n) }), `ask ${n}`));
  });
  expect(fates).toEqual(new Set(["served"]));
}

// ---- clients without Bun, which come and go by the thousand -----------------------------------

const SOL_SOCKET = 1;
const SO_LINGER = 13;
const MSG_NOSIGNAL = 0x4000;
const EALREADY = 114;
const lingerNot = new Int32Array([1, 0]);

/** Ends a connection by libc; a reset is at once, whatever is unread. */
export function rawClose(fd: number, how: "end" | "reset"): void {
  if (how === "reset") libc().setsockopt(fd, SOL_SOCKET, SO_LINGER, lingerNot, 8);
  libc().close(fd);
}

/** So many are opened, then the balancer's accepting has to catch up: the kernel's queue must not overflow. */
const aheadCountMax = 1_000;

/**
 * Clients that come and go as `live` says: it is called with each new descriptor, and closes it now or later.
 * @param before how many connections the balancer has accepted before.
 */
export async function comeAndGo(
  balancer: Subject,
  count: number,
  live: (fd: number, n: number) => void,
  before = 0,
): Promise<void> {
  const to = sockaddr(balancer.port);
  for (let n = 0; n < count; n++) {
    const fd = rawConnect(balancer.port, `${sourceOf(n)}:0`);
    // One that is closed before it is connected would be no client.
    await until(() => libc().connect(fd, to, to.length) === 0 || errno() !== EALREADY, "a connect");
    live(fd, n);
    if (n % 50 === 49) await Bun.sleep(0);
    if (n % aheadCountMax === aheadCountMax - 1) await hasAccepted(balancer, before + n + 1);
  }
  await hasAccepted(balancer, before + count);
}

/** Nor may so many of them be left that others are refused. */
const openCountMax = 3_000;

function hasAccepted(balancer: Subject, count: number): Promise<unknown> {
  const isSo = (now: Status) => now.accepted >= count && now.open < openCountMax;
  return balancer.when(isSo, `${count} accepted`, 30_000);
}

/** Sends what the kernel takes at once. */
export function rawSend(fd: number, bytes: Uint8Array): void {
  libc().send(fd, bytes, bytes.length, MSG_NOSIGNAL);
}

/** Half-closes. */
export function rawFinish(fd: number): void {
  libc().shutdown(fd, 1);
}

/** Descriptors that are closed at random moments, at most so many open at a time. */
export class Leavers {
  private readonly fds: number[] = [];
  private readonly random: Random;
  private readonly countMax: number;

  constructor(random: Random, countMax: number) {
    this.random = random;
    this.countMax = countMax;
  }

  /** One more that stays for a while; somebody else may have to go. */
  add(fd: number): void {
    this.fds.push(fd);
    if (this.fds.length > this.countMax) this.closeOne();
  }

  closeAll(): void {
    while (this.fds.length > 0) this.closeOne();
  }

  private closeOne(): void {
    const at = this.random.int(this.fds.length);
    const [fd = -1] = this.fds.splice(at, 1);
    rawClose(fd, this.random.int(3) === 0 ? "end" : "reset");
  }
}

// ---- what is said of it ----------------------------------------------------------------------

/** Lines on stderr that are neither the listener's nor an answer to a test's question. */
export function toldBy(balancer: Subject): string[] {
  return balancer.stderr
    .split("\n")
    .filter((line) => !/^(?:listening on .*|status: .*|)$/.test(line));
}

/** Memory has stopped growing: the last measurements are not far above those before. */
export function expectFlat(kiB: readonly number[], marginKiB = 24 * 1024): void {
  const half = Math.ceil(kiB.length / 2);
  const early = Math.max(...kiB.slice(0, half));
  const late = Math.min(...kiB.slice(half));
  if (late > early + marginKiB) throw new Error(`memory grows: ${kiB.join(", ")} KiB`);
}

/** A port below those that the system picks, so that nobody else gets it while its server is down. */
export function ownPort(random: Random): number {
  for (let n = 0; n < 100; n++) {
    const port = 20_000 + random.int(12_000);
    try {
      Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } }).stop();
      return port;
    } catch {
      // Somebody is there.
    }
  }
  throw new Error("no port is free");
}

/** Who was heard, each by the port it came from, in the order of the numbers that they had by arrival. */
export function expectOldestFirst(heard: readonly string[], ended: readonly Ended[]): void {
  const idOf = new Map(ended.map((each) => [each.client.split(":").at(-1), each.id]));
  const ids = heard.map((port) => idOf.get(port) ?? -1);
  expect(ids).toEqual(ids.toSorted((a, b) => a - b));
  expect(new Set(ids).size).toBe(heard.length);
  expect(ids[0]).toBeGreaterThanOrEqual(0);
}

/** All of these are over. */
export function over(peers: readonly Peer[], ms?: number): Promise<boolean> {
  return until(() => peers.every((peer) => peer.over), `${peers.length} clients are over`, ms);
}
