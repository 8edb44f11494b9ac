// What is told of a connection that has ended, made from its pair once everything is over.
import type { Pair } from "../core/pair.ts";
import { refusals, type CloseReason } from "../core/reason.ts";
import type { AccessRecord, PrefaceRecord } from "./access-log.ts";
import type { RowRecord } from "./record-ring.ts";

/** Letters of a peer's words that are told. */
const wordSizeMax = 64;

/** First letter of HAProxy's state: who or what ended it. */
const letters: Readonly<Record<CloseReason, string>> = {
  done: "-",
  "client-reset": "C",
  "destination-reset": "S",
  "client-left": "C",
  "preface-timeout": "c",
  "proxy-header": "P",
  "tls-handshake": "P",
  "no-route": "P",
  "queue-full": "P",
  "queue-timeout": "s",
  "idle-timeout": "c",
  "half-close-timeout": "c",
  "answer-timeout": "s",
  "max-age": "L",
  "destination-down": "D",
  denied: "P",
  "connection-limit": "P",
  "client-limit": "P",
  "client-rate": "P",
  drain: "K",
  shutdown: "K",
  killed: "K",
  rebalance: "L",
  error: "I",
};

/** @param startedAt ms since 1970 at the zero of the balancer's clock. */
export function recordOf(pair: Pair, startedAt: number): RowRecord {
  const { acceptedAt, dialedAt, joinedAt, firstDownAt, settledAt } = pair;
  const reason = pair.reason ?? "error";
  return {
    at: startedAt + acceptedAt,
    id: pair.order,
    client: pair.client,
    listenerIndex: pair.listener,
    row: pair.destination?.row ?? -1,
    triedRows: pair.tried ?? none,
    queueMs: queueMsOf(pair),
    connectMs: joinedAt < 0 ? -1 : joinedAt - dialedAt,
    firstByteMs: firstDownAt < 0 ? -1 : firstDownAt - acceptedAt,
    totalMs: settledAt - acceptedAt,
    slotMs: slotMsOf(pair),
    bytesUp: pair.up.size,
    bytesDown: pair.down?.size ?? 0,
    state: stateOf(pair, reason),
    closedBy: pair.closedBy,
    reason,
    preface: prefaceOf(pair),
  };
}

/** One whose start was refused has not come so far. */
function queueMsOf({ dialedAt, settledAt, enteredAt, preface }: Pair): number {
  if (preface !== null && !preface.hasArrived) return 0;
  return (dialedAt < 0 ? settledAt : dialedAt) - enteredAt;
}

function prefaceOf({ preface, acceptedAt, enteredAt, settledAt }: Pair): PrefaceRecord | null {
  if (preface === null) return null;
  const { via, sni, alpn, tls, fault } = preface.facts;
  return {
    ms: (preface.hasArrived ? enteredAt : settledAt) - acceptedAt,
    via,
    sni,
    alpn: shown(tls === null ? alpn.join(",") : tls.alpn),
    tls: tls?.version ?? "",
    peer: shown(tls?.peerName ?? ""),
    fault: shown(fault),
  };
}

/** What a peer has chosen the words of: one line, of letters that a log can bear. */
function shown(text: string): string {
  return text.slice(0, wordSizeMax).replace(/[^ -~]/g, "?");
}

/** The same with names, as the outside sees it. */
export function withNames(
  record: RowRecord,
  nameOf: (row: number) => string,
  listeners: readonly string[],
): AccessRecord {
  const { listenerIndex, row, triedRows, ...rest } = record;
  const listener = listeners[listenerIndex] ?? "";
  const nameless = listener.startsWith("unix:") ? "unix:" : ""; // or it had gone before we asked
  return {
    ...rest,
    client: rest.client === "" ? nameless : rest.client,
    listener,
    destination: nameOf(row),
    tried: triedRows.map(nameOf),
  };
}

const none: readonly number[] = [];

/** It has its last slot still when it ends by what both sides do at once. */
function slotMsOf({ holdsSlot, slotLeftAt, dialedAt, settledAt }: Pair): number {
  if (dialedAt < 0 || (!holdsSlot && slotLeftAt < 0)) return -1;
  return (holdsSlot ? settledAt : slotLeftAt) - dialedAt;
}

function stateOf(pair: Pair, reason: CloseReason): string {
  if (reason === "done") return "--";
  // The side that has not ended is the one that is late.
  const late = reason === "half-close-timeout" && pair.endedFirst === "client" ? "s" : null;
  return (late ?? letters[reason]) + phaseOf(pair, reason);
}

/** Second letter: queue, connect or data. */
function phaseOf(pair: Pair, reason: CloseReason): string {
  if (pair.joinedAt >= 0) return "D";
  const isAtAccept = reason !== "queue-full" && refusals.has(reason);
  return pair.destination !== null || isAtAccept ? "C" : "Q";
}
