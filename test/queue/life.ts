// The life of a connection as its access record tells it, and how a run was of which the lives are.
//
//   accepted ───── waits ─────> given a slot ───── holds it ─────> slot free ──> ended
//   acceptedAt                  waitedTo                           slotTo        endedAt
//                └─────────────────────────────> ended without:    waitedTo = endedAt, row −1

import type { Status } from "../../src/balancer.ts";
import type { Ended } from "../e2e/ways.ts";
import { lateMs } from "../wait.ts";

/** A connection; moments are in ms since 1970. */
export interface Life {
  /** Number of arrival over all threads, from 1. */
  readonly id: number;
  readonly acceptedAt: number;
  /** When it waited no more: it was given a slot, for the last time, or it ended without one. */
  readonly waitedTo: number;
  /** Index of the destination whose slot it was given; −1 = none. */
  readonly row: number;
  /** When it gave that slot back; −1 = it had none. */
  readonly slotTo: number;
  readonly endedAt: number;
  /** Connects that failed before: each time it waited again, at its place by arrival. */
  readonly vainCount: number;
  readonly joined: boolean;
  /** Turned away when it came: it never waited. */
  readonly refused: boolean;
}

/** A destination as the run had it. */
export interface DestinationCourse {
  readonly name: string;
  readonly slots: number;
  /** From when to when it refused, in ms since 1970; the last may have no end (`Infinity`). */
  readonly downs: readonly (readonly [fromMs: number, toMs: number])[];
  /** What it has seen itself that must not be: more clients at once than slots. */
  readonly complaints: readonly string[];
}

/** How the run was, and how exact what is known of it. */
export interface Course {
  readonly threadCount: number;
  readonly destinations: readonly DestinationCourse[];
  /** Moments of the records may be too early by so much: the command line writes whole ms. */
  readonly clockMs: number;
  /**
   * Longest turn of a thread, of several: a client gets its number when it is accepted and its place in the queue at
   * the end of that turn; and a slot from another thread waits for the turn to end. One thread needs no such grace.
   */
  readonly turnMs: number;
  /** Longest connect in vain, its time to be noticed included. */
  readonly vainMs: number;
  /** A slot may lie idle for so long beside a client that waits. */
  readonly idleMs: number;
  /** A deadline may be noticed so late: a process that is kept from its core closes nobody. */
  readonly overdueMs: number;
  readonly cooldownMs: number;
  /** Longest wait for a slot; 0 = for ever. */
  readonly queueMs: number;
}

export interface History {
  readonly course: Course;
  /** By number of arrival. */
  readonly lives: readonly Life[];
  /** How many have ended for which reason. */
  readonly reasons: ReadonlyMap<string, number>;
  /** At the end, when all have gone; null = it was not asked. */
  readonly status: Status | null;
  /** Connections that the clients had; null = they did not count. */
  readonly clientCount: number | null;
}

/** For a loaded machine: a thread may be kept from its core, with a turn of a thousand clients to do. */
export const usualCourse: Omit<Course, "threadCount" | "destinations"> = {
  clockMs: 0.01, // records in this process: to the precision of a double
  turnMs: 1_000,
  vainMs: 2_000,
  idleMs: 1_000,
  overdueMs: lateMs,
  cooldownMs: 0,
  queueMs: 0,
};
/** The same of records that the command line has written. */
export const lineClockMs = 1.01;

/** Takes records in any order and keeps of each what the rules need. */
export class Recorder {
  private readonly rowOf: ReadonlyMap<string, number>;
  private readonly lives: Life[] = [];
  private readonly reasons = new Map<string, number>();

  /** @param names of the destinations, in the order of the course. */
  constructor(names: readonly string[]) {
    this.rowOf = new Map(names.map((name, row) => [name, row]));
  }

  add(record: Ended): void {
    const { id, at, queueMs, slotMs, totalMs, destination, tried, reason } = record;
    const row = destination === "" ? -1 : (this.rowOf.get(destination) ?? unknownRow);
    const given = row !== -1;
    this.lives.push({
      id,
      acceptedAt: at,
      waitedTo: at + (given ? queueMs : totalMs),
      row,
      slotTo: given ? at + queueMs + slotMs : -1,
      endedAt: at + totalMs,
      vainCount: tried.length,
      joined: record.connectMs >= 0,
      refused: refusals.has(reason),
    });
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1);
  }

  /** What was added, by number of arrival. */
  history(
    course: Course,
    status: Status | null = null,
    clientCount: number | null = null,
  ): History {
    const lives = this.lives.toSorted((a, b) => a.id - b.id);
    return { course, lives, reasons: this.reasons, status, clientCount };
  }
}

export const unknownRow = -2;
/** Whoever is refused when it comes has never waited; who stops or breaks with us may have been anywhere. */
const refusals: ReadonlySet<string> = new Set([
  "denied",
  "connection-limit",
  "client-limit",
  "client-rate",
  "queue-full",
  "shutdown",
  "error",
]);

/** So many violations of one rule are told in full. */
const toldCountMax = 10;

/** Violations of one rule, the first few in full. */
export class Findings {
  readonly found: string[] = [];
  private count = 0;

  add(violation: () => string): void {
    this.count += 1;
    if (this.count <= toldCountMax) this.found.push(violation());
    else this.found[toldCountMax] = `… and ${this.count - toldCountMax} more of these`;
  }
}
