// The one buffer that everything a thread receives goes through, and views of its beginning for the core.
import { bytes } from "../linux/calls.ts";

/** Larger ones cost less per byte; beyond this it is no longer so, for the processor's cache is left behind. */
export const receiveSize = 512 * 1024;
const viewCountLog2 = 8;

export class ReceiveBuffer {
  /** All of it, as libc is given it. */
  readonly whole = bytes(receiveSize);
  /** A view costs an object and an entry in the buffer's list of views: recurring lengths share one. */
  private readonly views: Uint8Array[] = Array.from({ length: 1 << viewCountLog2 }, () =>
    this.whole.subarray(0, 0),
  );

  /** The first `size` bytes, lent until the next receive. */
  first(size: number): Uint8Array {
    if (size === receiveSize) return this.whole;
    const slot = Math.imul(size, 0x9e3779b1) >>> (32 - viewCountLog2); // Knuth's multiplicative hash
    const found = this.views[slot];
    if (found !== undefined && found.length === size) return found;
    const view = this.whole.subarray(0, size);
    this.views[slot] = view;
    return view;
  }
}

/** Chunks larger than this are kept in buffers that are used again; smaller ones are the collector's. */
const largeSizeMin = receiveSize / 4;
/** Free buffers that are held for the next chunks. */
const freeCountMax = 16;

/** Copies of what a target has not taken. A slow reader leaves one per chunk: without reuse they would be garbage. */
export class KeptChunks {
  private readonly free: ArrayBuffer[] = [];

  copy(chunk: Uint8Array, from: number): Uint8Array {
    const size = chunk.length - from;
    const isLarge = size >= largeSizeMin && size <= receiveSize;
    const buffer = isLarge
      ? (this.free.pop() ?? new ArrayBuffer(receiveSize))
      : new ArrayBuffer(size);
    const kept = new Uint8Array(buffer, 0, size);
    kept.set(from === 0 ? chunk : chunk.subarray(from));
    return kept;
  }

  giveBack({ buffer }: Uint8Array): void {
    if (
      buffer instanceof ArrayBuffer &&
      buffer.byteLength === receiveSize &&
      this.free.length < freeCountMax
    ) {
      this.free.push(buffer);
    }
  }
}
