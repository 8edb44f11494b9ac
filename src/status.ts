// What a balancer says of itself: the board and the plane as a plain object (IAWLB §10, whose status nobody read).
import { State, type Board, type ThreadNumbers } from "./core/board.ts";
import type { Destination, Destinations } from "./core/destination.ts";
import type { Limits } from "./core/limits.ts";
import type { Plane } from "./core/plane.ts";
import { faultCodes } from "./core/fault.ts";
import { closeReasons, type CloseReason } from "./core/reason.ts";

export interface DestinationStatus {
  readonly name: string;
  readonly state: "up" | "resting" | "out" | "trial" | "unresolved";
  readonly used: number;
  readonly slots: number;
  readonly weight: number;
  readonly backup: boolean;
  readonly connections: number;
  readonly failures: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Times it was put out, and why the last connect failed ("" = none did). */
  readonly outCount: number;
  readonly lastFault: string;
}

/** Milliseconds; null when nothing was observed. Each is the upper edge of a bucket 19 % wide. */
export interface TimeStatus {
  readonly p50: number | null;
  readonly p90: number | null;
  readonly p99: number | null;
}

export interface Status {
  readonly addresses: readonly string[];
  readonly accepted: number;
  /** Open now, waiting ones included. */
  readonly open: number;
  readonly connectionCountMax: number;
  readonly queue: {
    readonly waiting: number;
    /** Age of the one that waits longest. */
    readonly oldestMs: number;
    /** Connections that had to wait, since the start. */
    readonly waited: number;
    readonly countMax: number;
  };
  readonly closed: Readonly<Record<CloseReason, number>>;
  readonly bytesUp: number;
  readonly bytesDown: number;
  readonly bytesUndelivered: number;
  readonly localFaults: number;
  readonly times: Readonly<
    Record<"queue" | "connect" | "firstByte" | "session" | "handOff", TimeStatus>
  >;
  readonly destinations: readonly DestinationStatus[];
}

export function statusOf(
  plane: Plane,
  destinations: Destinations,
  addresses: readonly string[],
  limits: Limits,
): Status {
  const { numbers, board } = plane;
  const oldest = plane.batch.peek();
  const times = (name: keyof Status["times"]): TimeStatus => ({
    p50: numbers.histograms[name].quantile(0.5),
    p90: numbers.histograms[name].quantile(0.9),
    p99: numbers.histograms[name].quantile(0.99),
  });
  const closed = closeReasons.map((reason) => [reason, numbers.get(`closed ${reason}`)]);
  return {
    addresses,
    accepted: numbers.get("accepted"),
    open: numbers.get("open"),
    connectionCountMax: limits.connectionCountMax,
    queue: {
      waiting: numbers.get("queued"),
      oldestMs: oldest === null ? 0 : plane.now() - oldest.acceptedAt,
      waited: numbers.get("waited"),
      countMax: limits.queueCountMax,
    },
    closed: Object.fromEntries(closed) as Record<CloseReason, number>, // the keys are the reasons
    bytesUp: numbers.get("bytesUp"),
    bytesDown: numbers.get("bytesDown"),
    bytesUndelivered: numbers.get("bytesUndelivered"),
    localFaults: numbers.get("localFaults"),
    times: {
      queue: times("queue"),
      connect: times("connect"),
      firstByte: times("firstByte"),
      session: times("session"),
      handOff: times("handOff"),
    },
    destinations: destinations.list.map((each) => destinationStatus(each, board, numbers)),
  };
}

function destinationStatus(
  destination: Destination,
  board: Board,
  numbers: ThreadNumbers,
): DestinationStatus {
  const { row } = destination;
  return {
    name: destination.name,
    state: destination.addresses.length === 0 ? "unresolved" : stateName(board.state[row] ?? 0),
    used: board.used[row] ?? 0,
    slots: board.slots[row] ?? 0,
    weight: board.weight[row] ?? 0,
    backup: destination.backup,
    connections: numbers.joined[row] ?? 0,
    failures: numbers.failures[row] ?? 0,
    bytesUp: numbers.bytesUp[row] ?? 0,
    bytesDown: numbers.bytesDown[row] ?? 0,
    outCount: board.outCount[row] ?? 0,
    lastFault: faultCodes[board.lastFault[row] ?? 0] ?? "",
  };
}

function stateName(state: number): DestinationStatus["state"] {
  if (state === State.up) return "up";
  if (state === State.resting) return "resting";
  return state === State.out ? "out" : "trial";
}
