// A client and the destination it was given: two flows, a slot, the times, and one end. Origin: IAWLB §13–§18.
//
//  (its start is read: preface.ts)
//            no slot        slot taken         connected            both ended, reset, deadline
//   accept ──────────> waiting ──────> dialing ─────────> joined ───────────────────────> closed
//                         ^               │ failed           (settle, exactly once, from every state)
//                         └───────────────┘ at its place by arrival
//
//   event \ state      waiting            dialing             joined
//   client's FIN       kept (or left)     kept (or left)      passed on after the last byte
//   client's reset     client-left        client-left         client-reset, passed on
//   destination's FIN  –                  –                   passed on after the last byte
//   destination's reset –                 connect failed      destination-reset, passed on
import type { Admission } from "./admission.ts";
import { assert } from "./assert.ts";
import { Place, type Waiter } from "./batch.ts";
import type { Destination } from "./destination.ts";
import type { Engine } from "./engine.ts";
import { Flow } from "./flow.ts";
import type { PairHost } from "./pair-host.ts";
import type { Preface } from "./preface.ts";
import { refusals, type CloseReason, type Side } from "./reason.ts";
import { never } from "./loop.ts";
import { Expiring, horizonMs } from "./sweep.ts";

/** A destination that resets a connection so soon, without a word, is not well. */
const soonMs = 1_000;
/** Neither side has said anything for so long, the destination last: a quiet moment. */
const quietMomentMs = 200;
/** The same when the client spoke last: it may wait for an answer. */
const unansweredMomentMs = 30_000;

/** After a write has failed, the longest wait for what the other side said before its reset. */
const resetGraceMs = 1_000;

/** Both sides get a FIN. */
const ordered: ReadonlySet<CloseReason> = new Set(["done", "max-age", "rebalance"]);

export class Pair extends Expiring implements Waiter {
  /** Number of arrival; anew when the start of its connection has been read. */
  order: number;
  place: Place = Place.nowhere;
  left = false;
  /** Counted as waiting for a slot; `waited` stays once it was. */
  waiting = false;
  waited = false;
  readonly host: PairHost;
  /** Index of the listener that accepted it. */
  readonly listener: number;
  readonly up: Flow;
  down: Flow | null = null;
  state: "preface" | "waiting" | "dialing" | "joined" | "closed" = "waiting";
  /** Number of the lane it waits in. */
  lane = 0;
  /** Reads the start of its connection, and keeps what that has said; null where nobody asks. */
  preface: Preface | null = null;
  destination: Destination | null = null;
  holdsSlot = false;
  /** It is the one client that tries whether its destination is back. */
  onTrial = false;
  /** Whether its destination is well is not known: `onHeld` will tell. */
  inDoubt = false;
  /** Its destination's connection was opened ahead. */
  onWarm = false;
  /** Where among this destination's addresses it began, and how many it has dialed in vain. */
  addressFirst = 0;
  addressesTried = 0;
  /** Rows of destinations whose connect failed, oldest first; null when none did. */
  tried: number[] | null = null;
  /** Client's address; "" when nobody asked for it. */
  client = "";
  /** Its client's entry where clients are counted by address; −1 = none. */
  clientEntry = -1;
  admission: Admission | null = null;
  /** Hash of the client's address, for policies that hash. */
  key = 0;
  /** Moments in ms of the host's clock; −1 when not reached. */
  readonly acceptedAt: number;
  enteredAt: number;
  dialedAt = -1;
  joinedAt = -1;
  firstUpAt = -1;
  firstDownAt = -1;
  /** When the slot it got was freed; −1 when it did not wait for one. */
  slotFreedAt = -1;
  /** When its own slot was given back; −1 while it has it, or had none. */
  slotLeftAt = -1;
  settledAt = -1;
  /** When its age is reached. */
  private oldAt = never;
  /** When a write found one side reset. */
  private brokenAt = -1;
  /** Who ended first, once somebody has. */
  endedFirst: Side | null = null;
  reason: CloseReason | null = null;
  closedBy: Side = "balancer";
  /** Bytes moved and the time at the last look: activity costs nothing per chunk. */
  private seenSize = 0;
  /** Chunks of both directions. */
  chunkCount = 0;
  private activeAt = 0;

  constructor(host: PairHost, order: number, listener: number) {
    super();
    this.host = host;
    this.order = order;
    this.listener = listener;
    this.acceptedAt = host.now();
    this.enteredAt = this.acceptedAt;
    this.up = new Flow(this, host.engine);
  }

  get settled(): boolean {
    return this.state === "closed";
  }

  /** A new flow for a dial; the old one, if any, is not listened to any more. */
  startDial(): Flow {
    const down = new Flow(this, this.host.engine);
    down.other = this.up;
    this.up.other = down;
    this.down = down;
    return down;
  }

  /** Forgets the dial: the client is as it was before. */
  endDial(): void {
    const { down } = this;
    if (down === null) return;
    if (!down.closed) {
      down.closed = true;
      this.host.engine.abort(down);
    }
    this.up.other = this.up;
    this.up.dropHeader();
    this.down = null;
  }

  onConnected(down: Flow): void {
    if (down !== this.down || this.state !== "dialing") return;
    this.state = "joined";
    this.joinedAt = this.host.now();
    this.activeAt = this.joinedAt;
    this.setAge();
    this.up.connected = true;
    const { engine } = this.host;
    if (this.up.socket !== null && down.socket !== null) engine.link?.(this.up.socket, down.socket);
    this.host.onJoined(this);
    this.watchJoined(this.joinedAt);
    this.up.push();
  }

  /** What is known of its destination by now is good. */
  private hold(): void {
    if (!this.inDoubt) return;
    this.inDoubt = false;
    this.host.onHeld(this);
  }

  onDialFailed(code: string): void {
    if (this.state === "dialing") this.host.onDialFailed(this, code);
  }

  onFirstBytes(flow: Flow): void {
    if (flow === this.up) this.firstUpAt = this.host.now();
    else this.firstDownAt = this.host.now();
    if (flow !== this.up) this.hold();
    this.host.onFirstBytes(this, flow);
    if (flow === this.up && this.host.limits.answerMs > 0) this.watchJoined(this.firstUpAt);
  }

  /** One side has sent its last byte. */
  onEnd(flow: Flow): void {
    if (this.state === "joined" && this.onWarm && flow === this.down && this.isUntouched(flow)) {
      return this.dialAgain(); // it was tired of waiting, which is not its client's affair
    }
    this.endedFirst ??= flow === this.up ? "client" : "destination";
    if (this.state === "joined") {
      const { halfCloseMs } = this.host.limits;
      this.activeAt = this.host.now();
      this.seenSize = this.up.size + (this.down?.size ?? 0);
      if (halfCloseMs > 0) this.watch(this.activeAt + halfCloseMs);
      if (flow === this.down) {
        this.hold();
        this.host.onDestinationOver(this);
      }
    } else if (this.host.limits.queueFin === "leave") {
      this.settle("client-left", "client");
    }
  }

  /** The peer of a flow's socket has reset it; the other side gets a reset too, so that it sees the cut. */
  onReset(flow: Flow): void {
    if (this.state === "joined") {
      if (flow === this.up) this.settle("client-reset", "client");
      else if (this.isUntouched(flow)) this.dialAgain();
      else {
        const isSoon = this.host.now() - this.joinedAt < soonMs;
        if (isSoon && flow.receivedSize === 0) this.host.onResetAtOnce(this);
        this.settle("destination-reset", "destination");
      }
    } else if (flow === this.up) {
      this.settle("client-left", "client");
    }
  }

  /** A write has found one side reset: its last bytes have this long to be read. */
  onBroken(): void {
    if (this.brokenAt >= 0) return;
    this.brokenAt = this.host.now();
    this.watch(this.brokenAt + resetGraceMs);
  }

  onDone(): void {
    this.settle("done", this.endedFirst ?? "client");
  }

  /** Looks at the deadlines of the present state. */
  override onSweep(nowMs: number): number {
    const { limits } = this.host;
    switch (this.state) {
      case "preface":
        return this.endAt(this.acceptedAt + limits.prefaceMs, nowMs, "preface-timeout");
      case "waiting":
        if (limits.queueMs === 0) return never;
        return this.endAt(this.enteredAt + limits.queueMs, nowMs, "queue-timeout");
      case "dialing":
        if (nowMs < this.dialedAt + limits.connectMs) return this.dialedAt + limits.connectMs;
        this.host.onDialFailed(this, "ETIMEDOUT");
        return never;
      case "joined":
        return this.sweepJoined(nowMs);
      case "closed":
        return never;
    }
  }

  /** The limits have changed: what is due is looked at anew, at `atMs`. @param agesAnew its longest age is another one. */
  onLimits(atMs: number, agesAnew: boolean): void {
    if (agesAnew && this.state === "joined") this.setAge();
    this.watch(atMs);
  }

  /** Its time is over at `atMs`: it is closed in order at its next quiet moment. */
  retire(atMs: number): void {
    this.oldAt = Math.min(this.oldAt, atMs);
    this.watch(atMs);
  }

  /** ms since the last step or byte that is known of; bytes count from when they are noticed, at a look or here. */
  idleMs(nowMs: number): number {
    this.notice(nowMs);
    return nowMs - Math.max(this.acceptedAt, this.dialedAt, this.activeAt);
  }

  /**
   * The end, exactly once: state first, then sockets, then whoever counts (and frees the slot).
   * `done`, `max-age` and `rebalance` close in order, and refusals where that is asked for; every other reason resets
   * both sides, so that neither takes a cut for an end.
   */
  settle(reason: CloseReason, closedBy: Side): void {
    if (this.state === "closed") return;
    const { engine, limits } = this.host;
    this.state = "closed";
    this.reason = reason;
    this.closedBy = closedBy;
    this.settledAt = this.host.now();
    const inOrder = ordered.has(reason) || (limits.refuseBy === "fin" && refusals.has(reason));
    this.closeFlow(this.up, inOrder, engine);
    if (this.down !== null) this.closeFlow(this.down, inOrder, engine);
    this.host.onSettled(this);
  }

  /** Files a look, unless an earlier one is filed. */
  watch(atMs: number): void {
    this.host.watch(this, atMs);
  }

  /** Nothing has gone either way, nor has the client's end: another destination can serve it as well. */
  private isUntouched(down: Flow): boolean {
    const { up } = this;
    const nothing = up.size === 0 && !up.finished && down.size === 0 && down.rest === null;
    return nothing && this.holdsSlot;
  }

  /** A destination that accepts and resets has not connected: a process that was killed leaves such dials behind. */
  private dialAgain(): void {
    this.state = "dialing";
    this.inDoubt = false;
    this.joinedAt = -1;
    this.firstUpAt = -1;
    this.brokenAt = -1;
    this.up.connected = false;
    this.host.onDialFailed(this, "ECONNRESET");
  }

  private closeFlow(flow: Flow, inOrder: boolean, engine: Engine): void {
    if (flow.closed) return;
    flow.closed = true; // before the socket: its close event may run inside the call
    if (inOrder && flow.socket !== null) engine.close(flow.socket);
    else engine.abort(flow);
  }

  private sweepJoined(nowMs: number): number {
    const { limits } = this.host;
    const { up, down } = this;
    assert(down !== null, "pair: joined to nothing");
    this.notice(nowMs);
    if (nowMs >= this.joinedAt + soonMs) this.hold();
    if (nowMs >= this.oldAt && this.isQuiet(nowMs)) {
      const end = this.host.onQuiet(this, nowMs);
      if (typeof end === "string") {
        this.settle(end, "balancer");
        return never;
      }
      this.oldAt = nowMs + end;
    }
    if (this.brokenAt >= 0 && nowMs >= this.brokenAt + resetGraceMs) {
      this.onReset(up.broken ? up : down);
      return never;
    }
    if (limits.answerMs > 0 && this.firstUpAt >= 0 && this.firstDownAt < 0) {
      const endAt = this.firstUpAt + limits.answerMs;
      if (nowMs >= endAt) return this.endAt(endAt, nowMs, "answer-timeout");
    }
    const halfClosed = this.endedFirst !== null && limits.halfCloseMs > 0;
    const quietMs = halfClosed ? limits.halfCloseMs : limits.idleMs;
    if (quietMs > 0 && nowMs >= this.activeAt + quietMs) {
      const reason = halfClosed ? "half-close-timeout" : "idle-timeout";
      return this.endAt(this.activeAt + quietMs, nowMs, reason);
    }
    return this.nextLook(nowMs);
  }

  /** @returns when to look again. */
  private endAt(atMs: number, nowMs: number, reason: CloseReason): number {
    if (nowMs < atMs) return atMs;
    this.settle(reason, "balancer");
    return never;
  }

  private setAge(): void {
    const { ms, jitter } = this.host.limits.maxAge;
    const chance = jitter * (2 * Math.random() - 1);
    this.oldAt = ms > 0 ? this.joinedAt + ms * (1 + chance) : never;
  }

  private notice(nowMs: number): void {
    const size = this.up.size + (this.down?.size ?? 0);
    if (size === this.seenSize) return;
    this.seenSize = size;
    this.activeAt = nowMs;
  }

  /** Nothing has moved for a moment, and nothing is on its way. */
  private isQuiet(nowMs: number): boolean {
    const { up, down } = this;
    const underWay = up.undeliveredSize + (down?.undeliveredSize ?? 0);
    const isAsked = up.lastChunk > (down?.lastChunk ?? 0);
    const momentMs = isAsked ? unansweredMomentMs : quietMomentMs;
    return nowMs >= this.activeAt + momentMs && underWay === 0;
  }

  private watchJoined(nowMs: number): void {
    const atMs = this.nextLook(nowMs);
    if (atMs !== never) this.watch(atMs);
  }

  /** Often enough to see within an eighth of a deadline that bytes have moved. */
  private nextLook(nowMs: number): number {
    const { limits } = this.host;
    let atMs = never;
    const halfClosed = this.endedFirst !== null && limits.halfCloseMs > 0;
    const quietMs = halfClosed ? limits.halfCloseMs : limits.idleMs;
    if (quietMs > 0) {
      atMs = Math.min(
        this.activeAt + quietMs,
        nowMs + Math.max(quietMs / 8, 10),
        nowMs + horizonMs,
      );
    }
    if (limits.answerMs > 0 && this.firstUpAt >= 0 && this.firstDownAt < 0) {
      atMs = Math.min(atMs, this.firstUpAt + limits.answerMs);
    }
    if (this.inDoubt) atMs = Math.min(atMs, this.joinedAt + soonMs);
    if (this.oldAt !== never) {
      atMs = Math.min(atMs, Math.max(this.oldAt, nowMs + quietMomentMs), nowMs + horizonMs);
    }
    if (this.brokenAt >= 0) atMs = Math.min(atMs, this.brokenAt + resetGraceMs);
    return Math.max(atMs, nowMs + 1);
  }
}
