// The bytes of a soak: two endless repetitions, one for each direction, in which each connection has a place of its
// own. Whatever is wrong, lost, doubled, out of order or another connection's does not fit there.

import { seeded } from "../wait.ts";

/** Bytes after which it repeats: no multiple of any buffer's size. */
export const period = 1_048_576 + 4_099;

export interface Pattern {
  readonly up: Buffer;
  readonly down: Buffer;
}

/** The same bytes for the same seed. */
export function patternOf(seed: number): Pattern {
  const random = seeded(seed);
  return { up: random.bytes(period), down: random.bytes(period) };
}

/** The bytes that stand at `offset`, no more than `size`; fewer where the repetition ends. */
export function pieceAt(bytes: Buffer, offset: number, size: number): Buffer {
  const from = offset % period;
  return bytes.subarray(from, Math.min(from + size, period));
}

/** @returns where the chunk differs first from what stands at `offset`, or −1 when it is the same. */
export function wrongAt(bytes: Buffer, offset: number, chunk: Uint8Array): number {
  for (let from = 0; from < chunk.length;) {
    const wanted = pieceAt(bytes, offset + from, chunk.length - from);
    const given = chunk.subarray(from, from + wanted.length);
    if (!wanted.equals(given)) return from + wanted.findIndex((byte, at) => byte !== given[at]);
    from += wanted.length;
  }
  return -1;
}
