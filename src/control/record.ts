// What is told of a connection that has ended, made from its pair once everything is over.
import type { Pair } from "../core/pair.ts";
import type { CloseReason } from "../core/reason.ts";
import type { AccessRecord } from "./access-log.ts";

/** First letter of HAProxy's state: who or what ended it. */
const letters: Readonly<Record<CloseReason, string>> = {
  done: "-",
  "client-reset": "C",
  "destination-reset": "S",
  "client-left": "C",
  "queue-full": "P",
  "queue-timeout": "s",
  "idle-timeout": "c",
  "half-close-timeout": "c",
  "answer-timeout": "s",
  "connection-limit": "P",
  drain: "K",
  shutdown: "K",
  error: "I",
};

/** @param startedAt ms since 1970 at the zero of the balancer's clock. */
export function recordOf(
  pair: Pair,
  listeners: readonly string[],
  startedAt: number,
): AccessRecord {
  const { acceptedAt, dialedAt, joinedAt, firstDownAt, settledAt } = pair;
  const reason = pair.reason ?? "error";
  const listener = listeners[pair.listener] ?? "";
  const nameless = listener.startsWith("unix:") ? "unix:" : ""; // or it had gone before we asked
  return {
    at: startedAt + acceptedAt,
    id: pair.order,
    client: pair.client === "" ? nameless : pair.client,
    listener,
    destination: pair.destination?.name ?? "",
    tried: pair.tried ?? [],
    queueMs: (dialedAt < 0 ? settledAt : dialedAt) - acceptedAt,
    connectMs: joinedAt < 0 ? -1 : joinedAt - dialedAt,
    firstByteMs: firstDownAt < 0 ? -1 : firstDownAt - acceptedAt,
    totalMs: settledAt - acceptedAt,
    bytesUp: pair.up.size,
    bytesDown: pair.down?.size ?? 0,
    state: stateOf(pair, reason),
    closedBy: pair.closedBy,
    reason,
  };
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
  return pair.destination !== null || reason === "connection-limit" ? "C" : "Q";
}
