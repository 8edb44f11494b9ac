// The ways in which a test runs the balancer: its command line, and the library in this process, dialing by descriptor
// or the portable way. All take the same arguments and tell the same of every connection that has ended.

import { expect } from "bun:test";
import { basename } from "node:path";
import { balance, type Balancer, type BalancerEvent, type Status } from "../../src/balancer.ts";
import type { AccessRecord } from "../../src/control/access-log.ts";
import { parseOptions } from "../../src/control/options.ts";
import type { Board } from "../../src/core/board.ts";
import { Tickets } from "../../src/core/tickets.ts";
import { CLI, spawnBalancer, until, type RunningBalancer, type SpawnOptions } from "../net.ts";

/** What the balancer tells of a connection; the names are those of the library. */
export type Ended = Pick<
  AccessRecord,
  | "id"
  | "at"
  | "client"
  | "listener"
  | "destination"
  | "tried"
  | "queueMs"
  | "connectMs"
  | "totalMs"
  | "slotMs"
  | "bytesUp"
  | "bytesDown"
  | "state"
  | "closedBy"
  | "reason"
  | "preface"
>;

export interface Balancing extends AsyncDisposable {
  readonly address: string;
  /** 0 for a unix socket. */
  readonly port: number;
  /** Connections that have ended, oldest first. */
  readonly ended: readonly Ended[];
  /** null: a process of its own cannot be asked. */
  status(): Status | null;
  /**
   * Waits until the status is so, for threads accept in any order. Where it cannot be asked there is one thread, and
   * who connects first is first.
   */
  when(isSo: (status: Status) => boolean, what: string): Promise<void>;
  /**
   * Waits until so many wait and all threads can see each of them: who connects afterwards is behind them. A thread
   * counts a client first and shows its place then, and may lose its core in between. As `when` where it cannot be asked.
   */
  queued(count: number, what: string): Promise<void>;
  /**
   * Waits until `count` connections have ended, and makes sure that nothing is left of them: no slot, no place in the
   * queue, no socket. The balancer stops. @returns the connections by number of arrival.
   */
  finish(count: number): Promise<readonly Ended[]>;
}

export interface InProcess extends Balancing {
  /** What the library has given. */
  readonly balancer: Balancer;
  status(): Status;
  readonly events: readonly BalancerEvent[];
  drain(): Promise<void>;
}

export interface Spawned extends Balancing {
  readonly process: RunningBalancer;
}

export const byCommandLine = "by the command line";
export const byDescriptor = "in process, by descriptor";
export const portably = "in process, the portable way";
export const byThreads = "in three threads";
const byLibc = "over the libc engine";
const byLibcThreads = "over the libc engine, in three threads";
const spawnWays = { [byCommandLine]: [] } as const;
const embedWays = {
  [byDescriptor]: [],
  [portably]: [],
  [byThreads]: ["--threads", "3"],
  [byLibc]: ["--engine", "libc"],
  [byLibcThreads]: ["--engine", "libc", "--threads", "3"],
} as const;
type WayInProcess = keyof typeof embedWays;
export type Way = keyof typeof spawnWays | WayInProcess;
export const allWaysInProcess = Object.keys(embedWays) as readonly WayInProcess[]; // its own keys

/** `npm run ways`: every case in every way. */
export const runsAllWays = process.env["IAWLB_WAYS"] === "all";

/** Under `npm test` a file has the first of its ways and one more, by its name; `npm run ways` has all of them. */
export function chosen<W extends Way>(all: readonly W[]): readonly W[] {
  const others = all.slice(1);
  if (runsAllWays || others.length < 2) return all;
  const turn = Number(Bun.hash(basename(Bun.main)) % BigInt(others.length));
  return [...all.slice(0, 1), ...others.slice(turn, turn + 1)];
}

export const waysInProcess = chosen(allWaysInProcess);
export const ways: readonly Way[] = [byCommandLine, ...waysInProcess];

/** It shares this thread, so that it does nothing before this turn is over. */
export function isInThisThread(way: Way): boolean {
  return way === byDescriptor || way === portably;
}

/** Threads take turns each for itself: what is strict in one thread is so on average among several. */
export function isOneThread(way: Way): boolean {
  return way !== byThreads && way !== byLibcThreads;
}

/** Arguments by which a first client goes to `first`, whichever thread accepts it, and then to `second`. */
export function inTurn(way: Way, first: string, second: string): string[] {
  // Each thread begins its turns with another destination; a hash is the same in all of them.
  const policy = isOneThread(way) ? [] : ["--policy", "hash"];
  return [...policy, `${first},name=first,weight=100`, `${second},name=second`];
}

/** Checks are connections as well: where they are not the subject, destinations see clients alone. */
const unchecked = ["--health-interval", "0"] as const;

/** Starts a balancer on a free port of 127.0.0.1, unless `args` begin with another address to listen on. */
export function start(way: Way, args: readonly string[]): Promise<Balancing> {
  return way === byCommandLine ? spawn([...spawnWays[way], ...args]) : embed(args, way);
}

/** In this process, where the numbers of its status can be read at any time. */
export async function embed(
  args: readonly string[],
  way: WayInProcess = byDescriptor,
): Promise<InProcess> {
  const ended: Ended[] = [];
  const events: BalancerEvent[] = [];
  const options = parseOptions([...unchecked, ...embedWays[way], "127.0.0.1:0", ...args]);
  const balancer = await balance(
    { ...options, libc: way !== portably },
    { access: (record) => void ended.push(record), event: (event) => void events.push(event) },
  );
  const tickets = new Tickets(boardOf({ balancer }).ticketColumns, 0); // only to look
  return {
    balancer,
    address: balancer.addresses[0] ?? "",
    port: balancer.port,
    ended,
    when: async (isSo, what) => void (await until(() => isSo(balancer.status()), what)),
    async queued(count, what) {
      const seenCount = () => tickets.waitingCount();
      await until(() => balancer.status().queue.waiting === count && seenCount() >= count, what);
    },
    events,
    status: () => balancer.status(),
    drain: () => balancer.drain(),
    async finish(count) {
      await until(() => ended.length >= count, `${count} ended connections`);
      // After a cooldown, the last ones too.
      await until(
        () => balancer.status().destinations.every(({ used }) => used === 0),
        "no slot taken",
      );
      expectNothingLeft(balancer.status(), count);
      await balancer.drain();
      return ended.toSorted((a, b) => a.id - b.id);
    },
    [Symbol.asyncDispose]: async () => balancer.stop(),
  };
}

export function boardOf({ balancer }: Pick<InProcess, "balancer">): Board {
  // Nobody but a test may reach into a balancer; the field is private.
  const { board } = balancer as unknown as { readonly board: Board };
  return board;
}

/** Nothing open, nothing waiting, no slot taken, and every connection ended for one reason. */
function expectNothingLeft(status: Status, count: number): void {
  const { accepted, open, queue, closed, destinations } = status;
  const closedCount = Object.values(closed).reduce((sum, each) => sum + each, 0);
  const usedCount = destinations.reduce((sum, each) => sum + each.used, 0);
  const lostSize = status.bytesIn - status.bytesUp - status.bytesDown - status.bytesUndelivered;
  expect({ accepted, closedCount, open, waiting: queue.waiting, usedCount, lostSize }).toEqual({
    accepted: count,
    closedCount: count,
    open: 0,
    waiting: 0,
    usedCount: 0,
    lostSize: 0,
  });
}

/** As a process of its own, on a free port of 127.0.0.1 unless `listen` or a file says otherwise. */
export async function spawn(
  args: readonly string[],
  options: SpawnOptions & { readonly listen?: string } = {},
): Promise<Spawned> {
  const { listen = "127.0.0.1:0", ...rest } = options;
  const places = args.includes("--config") ? [] : [listen]; // a file says it itself
  const all = [...unchecked, "--access-log", "json", ...places, ...args];
  const balancer = await spawnBalancer(all, rest);
  return {
    address: balancer.address,
    port: balancer.port,
    process: balancer,
    get ended() {
      return balancer.stdout.map(toEnded);
    },
    status: () => null,
    when: async () => {},
    queued: async () => {},
    async finish(count) {
      await until(() => balancer.stdout.length >= count, `${count} lines of ended connections`);
      expect(await balancer.stop()).toBe(0);
      expect(balancer.stderr).toContain("draining: 0 open go on, 0 waiting refused");
      expect(balancer.stdout.length).toBe(count);
      return balancer.stdout.map(toEnded).toSorted((a, b) => a.id - b.id);
    },
    [Symbol.asyncDispose]: () => balancer[Symbol.asyncDispose](),
  };
}

/** A balancer that does not come to listen. */
export async function refused(args: readonly string[]): Promise<{ code: number; stderr: string }> {
  const command = [process.execPath, CLI, ...args];
  const child = Bun.spawn(command, { stdio: ["ignore", "ignore", "pipe"], timeout: 20_000 });
  const [code, stderr] = await Promise.all([child.exited, new Response(child.stderr).text()]);
  return { code, stderr };
}

interface JsonLine extends Ended {
  readonly time: string;
  readonly queue_ms: number;
  readonly connect_ms: number;
  readonly total_ms: number;
  readonly slot_ms: number;
  readonly bytes_up: number;
  readonly bytes_down: number;
  readonly closed_by: Ended["closedBy"];
  readonly preface_ms?: number;
}

export function toEnded(line: string): Ended {
  const fields = JSON.parse(line) as JsonLine;
  return {
    id: fields.id,
    at: Date.parse(fields.time),
    client: fields.client,
    listener: fields.listener,
    destination: fields.destination,
    tried: fields.tried,
    queueMs: fields.queue_ms,
    connectMs: fields.connect_ms,
    totalMs: fields.total_ms,
    slotMs: fields.slot_ms,
    bytesUp: fields.bytes_up,
    bytesDown: fields.bytes_down,
    state: fields.state,
    closedBy: fields.closed_by,
    reason: fields.reason,
    preface: prefaceIn(fields),
  };
}

/** What has nothing to say is left out of a line. */
function prefaceIn(fields: JsonLine): Ended["preface"] {
  const { preface_ms: ms, preface: _, ...words } = fields;
  if (ms === undefined) return null;
  const nothing = { via: "", sni: "", alpn: "", tls: "", peer: "", fault: "" };
  const told = Object.keys(nothing).flatMap((name) => {
    const text: unknown = Reflect.get(words, name);
    return typeof text === "string" ? [[name, text] as const] : [];
  });
  return { ms, ...nothing, ...Object.fromEntries(told) };
}

/** The ends of connections in short, such as "done -- client". */
export function endings(ended: readonly Ended[]): string[] {
  return ended.map(({ reason, state, closedBy }) => `${reason} ${state} ${closedBy}`);
}
