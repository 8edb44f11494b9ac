// One health check of one destination. It is polite, so that no server's log tells of it: it ends with a FIN, reads
// what is still being said, and closes when the server has ended too. What a server can cost it is bounded. Who awaits
// a PROXY header or TLS from its clients gets them from a check.
//
//   dial ──> connected ──> asked, answered ──> verdict, our FIN ──> the server's FIN: closed
//     │  next address                                │ too much, too long: reset; closed where nothing was asked
import { Approach } from "../core/approach.ts";
import { assert } from "../core/assert.ts";
import type { Outward } from "../core/destination.ts";
import { connectedAlready } from "../core/engine.ts";
import type { DialAddress, Engine, Socket, SocketEvents } from "../core/engine.ts";
import { kindOfFault } from "../core/fault.ts";
import { never, type Loop } from "../core/loop.ts";
import { Expiring, type Sweep } from "../core/sweep.ts";
import { writeLocalHeader } from "../wire/proxy-write.ts";
import type { AnswerReader, Question } from "./answer.ts";

/** A connect that is all that was asked stands so long before it is ended: who resets what it accepts shows by then. */
const graceMs = 10;
/** So long after its deadline, or its verdict where nothing was asked, a server may take to end. */
const lingerMs = 1_000;
/** Bytes of an answer that are read in all; the rest is cut off. */
const readSizeMax = 64 * 1024;
/** A deadline noticed later than by this and the timeout was slept through, by the process or the whole machine. */
const lateMs = 1_000;

/** `undecided`: it is a fault of ours, or the time was slept through. */
export type Verdict = "passed" | "failed" | "undecided";

/** Each is told once, in this order, and perhaps from inside `start`. */
export interface CheckEvents {
  /** @param cause why it has not passed, in words for one line; "" when it has. */
  onVerdict(check: Check, verdict: Verdict, cause: string): void;
  /** It holds no socket any more. */
  onOver(check: Check): void;
}

export interface CheckParts {
  readonly engine: Engine;
  readonly loop: Loop;
  readonly sweep: Sweep;
  readonly question: Question;
  /** What comes before the question; null = nothing. */
  readonly outward: Outward | null;
  /** Of the destination; at least one. */
  readonly addresses: readonly DialAddress[];
  /** The address to begin with. */
  readonly addressFirst: number;
  /** From the start to the verdict, all addresses together. */
  readonly timeoutMs: number;
  readonly events: CheckEvents;
}

export class Check extends Expiring {
  /** The address that is dialed, or has answered. */
  addressIndex = 0;
  private readonly parts: CheckParts;
  private readonly reader: AnswerReader | null;
  /** All that is said once it is connected: a header, unless that went before TLS, and the question in one write. */
  private readonly words: Uint8Array | null;
  private readonly header: Uint8Array | null;
  private readonly deadlineAt: number;
  /** When the next thing is due: another address, the end of the grace, the deadline, the end of the linger. */
  private dueAt = never;
  private triedCount = 0;
  /** Why the last address could not be had that is to blame for it, and the last that is not. */
  private dialCause = "";
  private localCause = "";
  private attempt: Attempt | null = null;
  /** Towards the attempt being connected, where that takes a handshake. */
  private approach: Approach | null = null;
  private sentSize = 0;
  private readSize = 0;
  private verdict: Verdict | null = null;
  private hasEnded = false;
  private isOver = false;

  constructor(parts: CheckParts) {
    super();
    assert(parts.addresses.length > 0, "check: nothing to dial");
    this.parts = parts;
    const { question, outward } = parts;
    this.reader = question.reader?.() ?? null;
    this.header = outward === null || outward.proxy === 0 ? null : writeLocalHeader(outward.proxy);
    const isPlain = outward === null || outward.tls === null;
    const header = isPlain ? this.header : null;
    const { send } = question;
    this.words =
      header === null || send === null ? (header ?? send) : Buffer.concat([header, send]);
    this.deadlineAt = parts.loop.now() + parts.timeoutMs;
  }

  start(): void {
    this.dialNext();
  }

  /** Ends it at once; nothing more is told. */
  abort(): void {
    if (!this.isOver) this.release("reset");
  }

  /** Something is due. @returns when to look again. */
  onSweep(nowMs: number): number {
    if (nowMs < this.dueAt) return this.dueAt;
    if (this.verdict !== null) {
      // Nothing was said that could be lost: a server that has not come to accept us yet sees a FIN.
      this.finish(this.asksNothing ? "close" : "reset");
    } else if (this.attempt?.connected !== true) {
      const what = this.approach?.connected === true ? "no TLS handshake" : "no connection";
      this.dialCause = `${what} within ${this.timeText}`;
      this.drop();
      if (nowMs < this.deadlineAt) this.dialNext();
      else this.settle("failed", this.dialCause);
    } else if (this.isSatisfied) {
      this.settle("passed");
    } else {
      const what = this.readSize > 0 ? `${this.awaited} did not come` : "no answer";
      this.settle("failed", `${what} within ${this.timeText}`);
    }
    return never; // filed already, if there is more to wait for
  }

  onConnected(): void {
    this.wait(this.deadlineAt);
    this.write();
    if (this.verdict === null && this.isSatisfied) this.waitForGrace();
  }

  onDialFailed(code: string): void {
    this.attempt = null;
    if (this.mayDialNext(code)) this.dialNext();
  }

  onChunk(chunk: Uint8Array): void {
    this.readSize += chunk.length;
    if (this.verdict === null && this.reader !== null) {
      const cause = this.reader.take(chunk);
      if (cause !== null) this.settle(cause === "" ? "passed" : "failed", cause);
    }
    if (this.verdict !== null && !this.isOver && this.readSize > readSizeMax) this.finish("reset");
  }

  onWritable(): void {
    if (this.verdict !== null || this.isSatisfied) return;
    this.write();
    if (this.verdict === null && this.isSatisfied) this.waitForGrace();
  }

  /** The server has said its last. */
  onEnd(): void {
    this.hasEnded = true;
    if (this.verdict !== null) this.finish("close");
    else if (this.isSatisfied) this.settle("passed");
    else this.settle("failed", `it ended the connection before ${this.awaited}`);
  }

  /** The socket is gone. Before the verdict, and so our FIN, only a reset ends it. */
  onClose(): void {
    this.attempt = null;
    if (this.verdict === null) this.settleReset();
    else this.finish("close");
  }

  /** Dials the addresses in turn, until one is under way; each has an equal share of the time that is left. */
  private dialNext(): void {
    const { addresses, addressFirst, engine } = this.parts;
    for (;;) {
      this.addressIndex = (addressFirst + this.triedCount) % addresses.length;
      const address = addresses[this.addressIndex];
      if (this.triedCount === addresses.length || address === undefined) break;
      this.triedCount += 1;
      const attempt = new Attempt(this);
      this.attempt = attempt;
      const events = this.approachTo(attempt);
      const code = engine.dial(address, events);
      if (code === connectedAlready) {
        if (events !== attempt) this.waitForShare();
        return events.onConnected();
      }
      if (code === null) return this.waitForShare();
      attempt.closed = true;
      this.attempt = null;
      if (!this.mayDialNext(code)) return;
    }
    if (this.dialCause === "") this.settle("undecided", this.localCause);
    else this.settle("failed", this.dialCause);
  }

  /** @returns who is told of the dial: the attempt, or who shakes hands first. */
  private approachTo(target: Attempt): SocketEvents {
    const { outward, engine } = this.parts;
    if (outward === null || outward.tls === null) return target;
    const { tls, name } = outward;
    const { header } = this;
    this.approach = new Approach({ engine, target, header: () => header, tls, name, alpn: [] });
    return this.approach;
  }

  private waitForShare(): void {
    const nowMs = this.parts.loop.now();
    const shareCount = this.parts.addresses.length - this.triedCount + 1;
    this.wait(nowMs + (this.deadlineAt - nowMs) / shareCount);
  }

  /** Weighs a failed dial. @returns false when there is a verdict. */
  private mayDialNext(code: string): boolean {
    const kind = kindOfFault(code);
    if (kind === "destination") this.dialCause = code;
    else this.localCause = code;
    // No address can be dialed now; or one is alive, and has too much to do to say more.
    const isOver = kind === "system" || kind === "busy";
    if (isOver) this.settle("undecided", code);
    return !isOver;
  }

  private write(): void {
    const { words } = this;
    const socket = this.attempt?.socket ?? null;
    if (words === null || socket === null) return;
    const count = this.parts.engine.write(socket, words, this.sentSize);
    if (count >= 0) this.sentSize += count;
    else this.settleReset();
  }

  private settleReset(): void {
    this.drop();
    const cause = `it reset the connection before ${this.awaited}`;
    this.settle("failed", this.isSatisfied ? "reset at once" : cause);
  }

  private settle(verdict: Verdict, cause = ""): void {
    assert(this.verdict === null, "check: a second verdict");
    const { loop, timeoutMs, events, engine } = this.parts;
    const nowMs = loop.now();
    const isLate = nowMs - this.deadlineAt > timeoutMs + lateMs;
    this.verdict = verdict === "failed" && isLate ? "undecided" : verdict;
    events.onVerdict(this, this.verdict, cause);
    if (this.isOver) return; // aborted by whom it was told
    const socket = this.attempt?.socket ?? null;
    if (this.attempt?.connected !== true || socket === null) return this.finish("reset");
    if (this.hasEnded) return this.finish("close");
    this.wait((this.asksNothing ? nowMs : this.deadlineAt) + lingerMs);
    engine.shutdown(socket);
  }

  private finish(end: "close" | "reset"): void {
    this.release(end);
    this.parts.events.onOver(this);
  }

  private release(end: "close" | "reset"): void {
    this.isOver = true;
    this.parts.sweep.remove(this);
    const { attempt } = this;
    if (end === "reset" || attempt?.socket == null) return this.drop();
    this.attempt = null;
    attempt.closed = true;
    this.parts.engine.close(attempt.socket);
  }

  /** Ends the dial or the connection at once. */
  private drop(): void {
    const { attempt } = this;
    if (attempt === null) return;
    this.attempt = null;
    attempt.closed = true;
    this.parts.engine.abort(attempt);
  }

  private wait(atMs: number): void {
    this.dueAt = atMs;
    this.parts.sweep.file(this, atMs);
  }

  private waitForGrace(): void {
    this.wait(this.parts.loop.now() + graceMs);
  }

  /** All is said, and no answer is waited for. */
  private get isSatisfied(): boolean {
    return this.reader === null && this.sentSize === (this.words?.length ?? 0);
  }

  private get asksNothing(): boolean {
    return this.reader === null && this.parts.question.send === null;
  }

  private get awaited(): string {
    return this.reader?.awaited ?? "all was sent";
  }

  private get timeText(): string {
    return `${this.parts.timeoutMs / 1_000} s`;
  }
}

/** One dial of a check, and the connection it becomes. */
class Attempt implements SocketEvents {
  socket: Socket | null = null;
  closed = false;
  connected = false;
  private readonly check: Check;

  constructor(check: Check) {
    this.check = check;
  }

  onConnected(): void {
    if (this.closed) return;
    this.connected = true;
    this.check.onConnected();
  }

  onDialFailed(code: string): void {
    if (this.closed) return;
    this.closed = true;
    this.check.onDialFailed(code);
  }

  onChunk(chunk: Uint8Array): void {
    if (!this.closed) this.check.onChunk(chunk);
  }

  /** It is linked with nothing. */
  onMoved(): void {}

  onWritable(): void {
    if (!this.closed) this.check.onWritable();
  }

  onEnd(): void {
    if (!this.closed) this.check.onEnd();
  }

  onClose(): void {
    if (this.closed) return;
    this.closed = true;
    this.check.onClose();
  }
}
