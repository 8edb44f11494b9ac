// One direction of a connection: bytes from `socket` to the socket of the opposite flow. Origin: IAWLB §17, which
// moved one read each way and resent a short write from the start.
//
//                          up.socket                    down.socket
//   client ─────────────> [ client's ] ── up flow ───> [ destination's ] ───────> destination
//          <───────────── [  socket  ] <── down flow ── [    socket    ] <───────
//
// Invariant of a joined pair: `rest` is held ⇔ the source is paused. At most one chunk is held.
import type { Engine, Socket, SocketEvents } from "./engine.ts";
import type { Pair } from "./pair.ts";

/** Bytes of a client that are held before its destination is connected; it is paused when they are more. */
const earlySizeMax = 16 * 1024;

export class Flow implements SocketEvents {
  /** Where the bytes come from. */
  socket: Socket | null = null;
  /** The opposite direction; its socket is where our bytes go. Itself while there is no destination. */
  other: Flow;
  readonly pair: Pair;
  /** What the target has not taken yet, from `restFrom` on. */
  rest: Uint8Array | null = null;
  restFrom = 0;
  /** So many bytes of `rest` are our own words to the target, not the source's: a PROXY header. */
  private headerSize = 0;
  private isHeaderHeld = false;
  /** Bytes the target has taken, and bytes that the source has given. */
  size = 0;
  receivedSize = 0;
  /** Number of the last chunk, among those of both directions. */
  lastChunk = 0;
  /** `socket` can be written to. */
  connected = false;
  paused = false;
  /** The source has sent its last byte. */
  ended = false;
  /** The target has been told so: every byte is out, its write side is shut. */
  finished = false;
  /** A write to `socket` has failed: what it has still to say is passed on, then the pair is reset (R4). */
  broken = false;
  /** `socket` is gone, or nobody wants it. */
  closed = false;
  private readonly engine: Engine;

  constructor(pair: Pair, engine: Engine) {
    this.pair = pair;
    this.engine = engine;
    this.other = this;
  }

  onConnected(): void {
    this.connected = true;
    this.pair.onConnected(this);
  }

  onDialFailed(code: string): void {
    if (this.closed) return;
    this.closed = true;
    this.pair.onDialFailed(code);
  }

  onChunk(chunk: Uint8Array): void {
    if (this.closed) return;
    this.receivedSize += chunk.length;
    this.lastChunk = this.pair.chunkCount += 1;
    const target = this.other;
    if (this.isHeaderHeld) return this.sendWithHeader(chunk);
    if (this.rest !== null || !target.connected || target.socket === null) return this.hold(chunk);
    if (this.size === 0) this.pair.onFirstBytes(this);
    const count = this.engine.write(target.socket, chunk, 0);
    if (count === chunk.length) {
      this.size += count;
      return;
    }
    this.size += Math.max(0, count);
    this.rest = this.engine.keep(chunk, Math.max(0, count));
    this.restFrom = 0;
    if (count < 0) this.breakTarget();
    else this.pause();
  }

  onMoved(size: number): void {
    this.size += size;
    this.receivedSize += size;
    this.lastChunk = this.pair.chunkCount += 1;
  }

  /**
   * What the target is to be told before the source's first byte.
   * @returns true when it waits for those bytes, up to `releaseHeader`; false: they are here.
   */
  setHeader(header: Uint8Array): boolean {
    const early = this.rest?.subarray(this.restFrom) ?? null;
    this.rest = early === null ? header : concatenate(header, early);
    this.restFrom = 0;
    this.headerSize = header.length;
    this.isHeaderHeld = early === null && !this.ended;
    return this.isHeaderHeld;
  }

  /** The first bytes are late: the header goes alone. */
  releaseHeader(): void {
    if (!this.isHeaderHeld) return;
    this.isHeaderHeld = false;
    if (!this.closed && !this.pair.settled) this.push();
  }

  /** There will be another target: what of the header is not out is not for it. */
  dropHeader(): void {
    if (this.headerSize === 0 || this.rest === null) return;
    const rest = this.rest.subarray(this.restFrom + this.headerSize);
    this.headerSize = 0;
    this.isHeaderHeld = false;
    this.rest = rest.length === 0 ? null : rest;
    this.restFrom = 0;
    if (this.rest === null) this.unpause();
  }

  /** Our socket has room: the opposite flow goes on. */
  onWritable(): void {
    if (!this.closed) this.other.push();
  }

  onEnd(): void {
    if (this.closed || this.ended) return;
    if (this.broken && this.rest === null) return this.pair.onReset(this);
    this.ended = true;
    this.pair.onEnd(this);
    if (!this.pair.settled && !this.closed) this.push();
  }

  onClose(code: string | null): void {
    if (this.closed) return;
    this.closed = true;
    // Once we have shut our side, the peer's FIN shows as a close in order (R3). Anything else cuts bytes off.
    if (code !== null || !this.other.finished) return this.pair.onReset(this);
    if (!this.ended) {
      this.ended = true;
      this.pair.onEnd(this);
    }
    if (!this.pair.settled) this.push();
  }

  /** Moves the rest, then lets the source go on or passes its end on. Harmless when there is nothing to do (R7). */
  push(): void {
    const target = this.other;
    if (this.finished || target.broken || !target.connected || target.socket === null) return;
    if (this.isHeaderHeld && !this.ended) return;
    if (this.rest !== null) {
      if (this.size === 0 && this.rest.length - this.restFrom > this.headerSize)
        this.pair.onFirstBytes(this);
      const count = this.engine.write(target.socket, this.rest, this.restFrom);
      if (count < 0) return this.breakTarget();
      const ofHeader = Math.min(count, this.headerSize);
      this.headerSize -= ofHeader;
      this.size += count - ofHeader;
      this.restFrom += count;
      if (this.restFrom < this.rest.length) return this.pause();
      this.engine.giveBack?.(this.rest);
      this.rest = null;
      this.restFrom = 0;
    }
    if (this.ended) this.finish();
    else this.unpause();
  }

  /** Bytes that the target will never get. */
  get undeliveredSize(): number {
    const restSize = this.rest === null ? 0 : this.rest.length - this.restFrom;
    return this.heldSize + restSize - this.headerSize;
  }

  /** Bytes from the source, those included that only the engine has seen. */
  get inSize(): number {
    return this.receivedSize + this.heldSize;
  }

  private get heldSize(): number {
    return this.socket === null ? 0 : (this.engine.heldSize?.(this.socket) ?? 0);
  }

  /** After the last byte: the target's write side is shut, or the pair is done when both directions have ended. */
  private finish(): void {
    if (this.broken) return this.pair.onReset(this);
    this.finished = true;
    const target = this.other;
    if (target.finished) return this.pair.onDone();
    if (target.socket !== null && !target.closed) this.engine.shutdown(target.socket);
  }

  /**
   * The target has reset the connection. An answer that it gave before may still lie unread (a server that refuses an
   * upload and closes): its flow goes on to its end, ours does not.
   */
  private breakTarget(): void {
    this.other.broken = true;
    this.pause();
    this.pair.onBroken();
  }

  private sendWithHeader(chunk: Uint8Array): void {
    this.isHeaderHeld = false;
    this.rest = this.rest === null ? chunk : concatenate(this.rest, chunk);
    this.push();
  }

  /** Keeps what cannot be written yet. */
  private hold(chunk: Uint8Array): void {
    this.rest =
      this.rest === null
        ? this.engine.keep(chunk, 0)
        : concatenate(this.rest.subarray(this.restFrom), chunk);
    this.restFrom = 0;
    if (this.rest.length >= earlySizeMax || this.other.connected) this.pause();
  }

  private pause(): void {
    if (this.paused || this.closed || this.socket === null) return;
    this.paused = true;
    this.engine.pause(this.socket);
  }

  private unpause(): void {
    if (!this.paused || this.closed || this.socket === null) return;
    this.paused = false;
    this.engine.resume(this.socket);
  }
}

function concatenate(a: Uint8Array, b: Uint8Array): Uint8Array {
  const both = new Uint8Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
