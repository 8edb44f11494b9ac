// The checksum of PROXY headers: CRC-32C, reflected, as RFC 9260 (Appendix A) has it.

const polynomial = 0x82f63b78;

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let sum = byte;
  for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (sum & 1 ? polynomial : 0);
  return sum;
});

/**
 * @param bytes are summed up to `end`; the four from `hole` on count as zeros: where the sum itself stands. A hole
 * beyond `end` is none.
 * @returns 32 bits without sign.
 */
export function crc32c(bytes: Uint8Array, end: number, hole: number): number {
  let sum = 0xffffffff;
  for (let at = 0; at < end; at += 1) {
    const byte = at >= hole && at < hole + 4 ? 0 : (bytes[at] ?? 0);
    sum = (sum >>> 8) ^ (table[(sum ^ byte) & 0xff] ?? 0);
  }
  return ~sum >>> 0;
}
