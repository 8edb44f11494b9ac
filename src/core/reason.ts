// Why a connection ended: a closed set, counted and logged, never thrown.

export const closeReasons = [
  "done",
  "client-reset",
  "destination-reset",
  "client-left",
  "preface-timeout",
  "proxy-header",
  "tls-handshake",
  "no-route",
  "queue-full",
  "queue-timeout",
  "idle-timeout",
  "half-close-timeout",
  "answer-timeout",
  "max-age",
  "destination-down",
  "denied",
  "connection-limit",
  "client-limit",
  "client-rate",
  "drain",
  "shutdown",
  "killed",
  "rebalance",
  "error",
] as const;

/**
 * - `done`: both sides ended, every byte was passed on
 * - `client-reset`, `destination-reset`: that side sent a reset, the other side got one
 * - `client-left`: it went away while it waited or while its destination was dialed
 * - `preface-timeout`, `proxy-header`, `tls-handshake`, `no-route`: the start of its connection took too long, or was none
 *   that is accepted, or leads to no destination
 * - `queue-full`, `queue-timeout`: no slot came, by number or by age
 * - `idle-timeout`, `half-close-timeout`, `answer-timeout`: a deadline of a joined pair
 * - `max-age`: old enough, closed at a quiet moment, in order
 * - `destination-down`: its destination failed its health checks, and `--on-down close` says so
 * - `denied`, `connection-limit`, `client-limit`, `client-rate`: refused at accept
 * - `drain`: cut at the drain deadline; `shutdown`: refused while waiting, because we stop
 * - `killed`: by whoever steers us; `rebalance`: at a quiet moment, in order, for others to have its destination
 * - `error`: an exception of ours in a handler of this connection
 */
export type CloseReason = (typeof closeReasons)[number];

export const reasonIndex: Readonly<Record<CloseReason, number>> = Object.fromEntries(
  closeReasons.map((reason, index) => [reason, index]),
) as Record<CloseReason, number>; // fromEntries forgets the keys it was given

/** Refused before anything was done for the client. */
export const refusals: ReadonlySet<CloseReason> = new Set([
  "denied",
  "connection-limit",
  "client-limit",
  "client-rate",
  "queue-full",
  "preface-timeout",
  "proxy-header",
  "tls-handshake",
  "no-route",
]);

export type Side = "client" | "destination" | "balancer";
