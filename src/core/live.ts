// What is asked of the open pairs of a thread while it runs: a list of them, the end of one, the end of some at quiet
// moments, whether anybody still has to do with a destination. Looks at each pair, and none of them pays for it before.
import type { Board } from "./board.ts";
import type { Engine } from "./engine.ts";
import type { Pair } from "./pair.ts";
import type { CloseReason } from "./reason.ts";

/** New limits are looked at by every pair, so many at a time, so that traffic goes on between. */
const lookCountEach = 256;
const lookStepMs = 10;

/** An open pair as others see it. */
export interface OpenPair {
  /** Number of arrival. */
  readonly order: number;
  /** As `Engine.remote` gives it; "" when it has gone. */
  readonly client: string;
  /** −1 = it waits for a destination. */
  readonly row: number;
  /** `preface`: the start of its connection is being read. */
  readonly state: "preface" | "waiting" | "dialing" | "joined";
  readonly ageMs: number;
  readonly idleMs: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

/** Which pairs are listed. */
export interface PairQuery {
  /** Only of these destinations; null = of all, those that wait included. */
  readonly rows: readonly number[] | null;
  /** Address without port; "" = any. */
  readonly client: string;
  readonly ageMsMin: number;
  /** The oldest so many, behind this number of arrival. */
  readonly countMax: number;
  readonly after: number;
}

/** @param pairs in order of arrival. */
export function listPairs(
  pairs: Iterable<Pair>,
  engine: Engine,
  query: PairQuery,
  nowMs: number,
): OpenPair[] {
  const found: OpenPair[] = [];
  for (const pair of pairs) {
    if (found.length >= query.countMax) break;
    const { order, state, up, down, acceptedAt } = pair;
    const row = pair.destination?.row ?? -1;
    const ageMs = nowMs - acceptedAt;
    if (state === "closed" || order <= query.after || ageMs < query.ageMsMin) continue;
    if (query.rows !== null && !query.rows.includes(row)) continue;
    const client = clientOf(pair, engine);
    if (query.client !== "" && hostOf(client) !== query.client) continue;
    const idleMs = pair.idleMs(nowMs);
    const [bytesUp, bytesDown] = [up.size, down?.size ?? 0];
    found.push({ order, client, row, state, ageMs, idleMs, bytesUp, bytesDown });
  }
  return found;
}

/** Nobody may have asked for it before. */
export function clientOf({ client, up }: Pair, engine: Engine): string {
  return client === "" && up.socket !== null && !up.closed ? engine.remote(up.socket) : client;
}

/** The address of `1.2.3.4:5` or `[::1]:5` without its port and brackets; a unix socket is what it is. */
function hostOf(client: string): string {
  if (client.startsWith("unix:")) return client;
  const host = client.slice(0, Math.max(0, client.lastIndexOf(":")));
  return host.startsWith("[") ? host.slice(1, -1) : host;
}

/** Resets both sides of a pair. @returns false when it is not open here. */
export function killPair(pairs: Iterable<Pair>, order: number): boolean {
  for (const pair of pairs) {
    if (pair.order !== order) continue;
    pair.settle("killed", "balancer");
    return true;
  }
  return false;
}

/** Cuts the pairs of a destination, as far as they are joined. */
export function cutDestination(pairs: Iterable<Pair>, row: number, reason: CloseReason): void {
  for (const pair of pairs) if (isJoinedTo(pair, row)) pair.settle(reason, "balancer");
}

/** Those of these destinations that no pair has anything to do with: none is there, nor has tried it. */
export function unusedOf(pairs: Iterable<Pair>, rows: readonly number[]): number[] {
  const unused = new Set(rows);
  for (const { destination, tried } of pairs) {
    if (unused.size === 0) break;
    if (destination !== null) unused.delete(destination.row);
    for (const row of tried ?? []) unused.delete(row);
  }
  return [...unused];
}

/** Every pair looks at its deadlines anew, soon. */
export function lookAnew(pairs: Iterable<Pair>, nowMs: number, agesAnew: boolean): void {
  let index = 0;
  for (const pair of pairs) {
    pair.onLimits(nowMs + lookStepMs * Math.floor(index / lookCountEach), agesAnew);
    index += 1;
  }
}

/** Pairs that are to leave their destination to others: one after the other, at quiet moments. */
export class Retiring {
  private readonly board: Board;
  /** From one to the next of its destination, over all threads. */
  private readonly intervals = new Map<Pair, number>();

  constructor(board: Board) {
    this.board = board;
  }

  /**
   * Joined pairs of a destination, the oldest first, up to this number of arrival.
   * @returns how many.
   */
  start(pairs: Iterable<Pair>, row: number, to: number, intervalMs: number, nowMs: number): number {
    let count = 0;
    for (const pair of pairs) {
      if (pair.order > to) break;
      if (!isJoinedTo(pair, row) || this.intervals.has(pair)) continue;
      this.intervals.set(pair, intervalMs);
      pair.retire(nowMs + count * intervalMs);
      count += 1;
    }
    return count;
  }

  /** Numbers of arrival of the oldest joined pairs of a destination that are not retiring yet. */
  candidates(pairs: Iterable<Pair>, row: number, countMax: number): number[] {
    const found: number[] = [];
    for (const pair of pairs) {
      if (found.length >= countMax) break;
      if (isJoinedTo(pair, row) && !this.intervals.has(pair)) found.push(pair.order);
    }
    return found;
  }

  /** It may end now: for its age, or when it is its turn. @returns the reason, or how many ms to wait. */
  onQuiet(pair: Pair, nowMs: number): CloseReason | number {
    const intervalMs = this.intervals.get(pair);
    const row = pair.destination?.row;
    if (intervalMs === undefined || row === undefined) return "max-age";
    return this.board.waitToClose(row, nowMs, intervalMs) || "rebalance";
  }

  delete(pair: Pair): void {
    if (this.intervals.size > 0) this.intervals.delete(pair);
  }
}

function isJoinedTo({ state, destination }: Pair, row: number): boolean {
  return state === "joined" && destination?.row === row;
}
