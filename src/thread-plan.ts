// What a data-plane thread is made of, what is asked of it while it runs, and what it tells. All of it travels between
// threads as it is.
import type { ChangeEvent } from "./control/hooks.ts";
import type { Settings } from "./control/options.ts";
import type { RowRecord } from "./control/record-ring.ts";
import type { Network } from "./core/access.ts";
import type { BoardSize } from "./core/board.ts";
import type { Outward } from "./core/destination.ts";
import type { OpenPair, PairQuery } from "./core/live.ts";
import type { Route } from "./core/routes.ts";
import type { Target } from "./engine/dial.ts";
import type { TlsClientParts, TlsServerParts } from "./engine/tls-side.ts";

/** A destination, without what is on the board. */
export interface RowPlan {
  /** Grows each time that the row is used anew. */
  readonly generation: number;
  readonly name: string;
  readonly backup: boolean;
  /** Of all threads together. */
  readonly warm: number;
  /** Its addresses; empty until its name resolves. */
  readonly targets: readonly Target[];
  /** It gets no connection any more. */
  readonly isLeaving: boolean;
  /** Number of the lane that it serves. */
  readonly lane: number;
  /** What it is told before a client's first byte; null = nothing. */
  readonly outward: OutwardPlan | null;
}

export interface OutwardPlan extends Omit<Outward, "tls"> {
  readonly tls: TlsClientParts | null;
}

/** What is read of the start of a connection, each null where it is not. */
export interface PrefacePlan {
  readonly proxy: {
    readonly versions: { readonly v1: boolean; readonly v2: boolean };
    readonly from: readonly Network[];
    readonly othersRefused: boolean;
  } | null;
  readonly tls: {
    /** The first one serves names that none is for. */
    readonly identities: readonly {
      readonly names: readonly string[];
      readonly parts: TlsServerParts;
    }[];
    readonly alpn: readonly string[];
  } | null;
  readonly routes: { readonly list: readonly Route[]; readonly defaultLane: number } | null;
}

/** The table of clients, where there is a limit for each of them. */
export interface ClientsPlan {
  /** Tells one table from another. */
  readonly number: number;
  readonly buffer: SharedArrayBuffer;
  readonly clientCountMax: number;
}

/** What may change while it runs. */
export interface Present {
  readonly settings: Settings;
  /** By row of the board; null: the row is free. */
  readonly rows: readonly (RowPlan | null)[];
  readonly clients: ClientsPlan | null;
  /** null: a client is handed on at once. */
  readonly preface: PrefacePlan | null;
}

export interface ThreadPlan extends Present {
  readonly thread: number;
  /** false: dial without libc. */
  readonly usesLibc: boolean;
  readonly boardSize: BoardSize;
  readonly board: SharedArrayBuffer;
  /** Listening descriptors. */
  readonly listeners: readonly number[];
  /** By thread: where a write wakes it; and the other end of our own. Empty and −1 when it is alone. */
  readonly wakeFds: readonly number[];
  readonly wakeFd: number;
  /** Somebody wants a record of every connection. */
  readonly wantsRecords: boolean;
  /** ms since 1970 at the zero of the balancer's clock. */
  readonly startedAt: number;
}

/** What the control plane asks, and every thread answers. */
export type ThreadQuestion =
  /** Nothing but whether it still turns. */
  | { readonly kind: "turn" }
  /** Runs by this from now on. */
  | ({ readonly kind: "change" } & Present)
  /** Forgets these rows, which nobody is served from any more. @returns those that it has forgotten. */
  | { readonly kind: "forget"; readonly rows: readonly number[] }
  | { readonly kind: "list"; readonly query: PairQuery }
  | { readonly kind: "kill"; readonly order: number }
  /** Numbers of arrival of the oldest pairs of a row that may leave it to others. */
  | { readonly kind: "candidates"; readonly row: number; readonly countMax: number }
  /** Those up to this number leave it, one each `intervalMs` over all threads. */
  | {
      readonly kind: "retire";
      readonly row: number;
      readonly to: number;
      readonly intervalMs: number;
    };

/** What the control plane asks of a thread. */
export type ThreadCommand =
  | { readonly kind: "addresses"; readonly row: number; readonly targets: readonly Target[] }
  /** What the board says of a destination has changed: serve who waits, as far as it can. */
  | { readonly kind: "changed"; readonly row: number }
  /** Closes the joined pairs of a destination that its checks have taken down. */
  | { readonly kind: "cut"; readonly row: number }
  | { readonly kind: "ask"; readonly number: number; readonly question: ThreadQuestion }
  /** Accepts no more, refuses who waits; what is open goes on. */
  | { readonly kind: "drain" }
  /** Accepts no more, for a successor does; what is open or waits goes on. */
  | { readonly kind: "hand-over" }
  /** Cuts what is left and ends. */
  | { readonly kind: "stop" };

/** What a question has found; empty and 0 where it does not ask for that. */
export interface ThreadAnswer {
  readonly pairs: readonly OpenPair[];
  /** Rows, or numbers of arrival. */
  readonly numbers: readonly number[];
  readonly count: number;
}

/** What a thread tells the control plane. */
export type ThreadEvent =
  | ChangeEvent
  | { readonly kind: "connection-limit" }
  | { readonly kind: "fault"; readonly message: string }
  | { readonly kind: "answer"; readonly number: number; readonly answer: ThreadAnswer }
  /** It was asked to drain, and nothing is open any more. */
  | { readonly kind: "empty" }
  | { readonly kind: "stopped" };

export interface ThreadLink {
  tell(event: ThreadEvent): void;
  /** A connection has ended. */
  record(record: RowRecord): void;
}
