// Follows the records of TLS as they come in, to know whether an end cuts one in two. Source: RFC 8446 §5.1.
//
//   | type | version | version | length, high | length, low | so many bytes |
import type { SocketEvents } from "../core/engine.ts";

const headerSize = 5;

/** What the plain socket beneath a TLS one is told: Bun shows it every byte as it came, and its end (R18). */
export class TlsRecords implements SocketEvents {
  socket = null;
  readonly closed = false;
  readonly connected = true;
  /** Bytes of a header that have come, the length so far, and what is still to come of the record behind it. */
  private headerCount = 0;
  private length = 0;
  private missing = 0;

  /** An end now would be in the middle of a record: bytes have been cut off. */
  get isInside(): boolean {
    return this.headerCount > 0 || this.missing > 0;
  }

  onChunk(chunk: Uint8Array): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.missing > 0) {
        const count = Math.min(this.missing, chunk.length - at);
        this.missing -= count;
        at += count;
      } else {
        this.readHeader(chunk[at] ?? 0);
        at += 1;
      }
    }
  }

  private readHeader(byte: number): void {
    this.headerCount += 1;
    if (this.headerCount >= headerSize - 1) this.length = (this.length << 8) | byte;
    if (this.headerCount < headerSize) return;
    this.missing = this.length;
    this.headerCount = 0;
    this.length = 0;
  }

  // The TLS socket above tells all these in its own way.
  onConnected(): void {}
  onDialFailed(): void {}
  onMoved(): void {}
  onWritable(): void {}
  onEnd(): void {}
  onClose(): void {}
}
