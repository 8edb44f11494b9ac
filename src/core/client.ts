// A client's address as bits: four words of 32, an IPv4 address in its mapped form ::ffff:a.b.c.d, so that one rule and
// one table serve both families.

import { ipSize, isIpv4, readIpv4, readIpv6 } from "../wire/ip.ts";

const bracket = 91;

/** The address that is being read. */
const ip = new Uint8Array(ipSize);
const view = new DataView(ip.buffer);

/**
 * Reads what `Engine.remote` gives: `1.2.3.4:5`, `[2001:db8::1]:5`, `[fe80::1%eth0]:5`; the port and the zone are not
 * looked at. Runs once per client: allocates nothing.
 * @param words gets the address, the highest bits first; undefined when there is none.
 * @returns its family, 4 also for a mapped `[::ffff:1.2.3.4]:5`; 0 for what has no IP address: `unix:`, "", or any
 * other text. Never throws.
 */
export function readClient(text: string, words: Int32Array): 4 | 6 | 0 {
  if (text.charCodeAt(0) === bracket) return readIPv6(text, 1, text.indexOf("]"), words);
  const end = text.indexOf(":");
  return readWith(readIpv4, text, 0, end < 0 ? text.length : end, words);
}

/** The same for an address alone: `1.2.3.4`, `2001:db8::1`. */
export function readPlainAddress(text: string, words: Int32Array): 4 | 6 | 0 {
  return text.includes(":")
    ? readIPv6(text, 0, text.length, words)
    : readWith(readIpv4, text, 0, text.length, words);
}

/** The mask of a prefix in one word: its first `count` bits are set; below 0 is 0, above 32 is 32. */
export function maskOf(count: number): number {
  return count <= 0 ? 0 : -1 << (32 - Math.min(count, 32));
}

/**
 * HalfSipHash-1-3 of an address: nobody who does not know the key can find addresses that fall together.
 * Source: https://github.com/veorq/SipHash, and `hsiphash` of Linux for 32-bit machines.
 * @returns 32 bits.
 */
export function hashAddress(words: Int32Array, key0: number, key1: number): number {
  let v0 = key0;
  let v1 = key1;
  let v2 = 0x6c796765 ^ key0;
  let v3 = 0x74656462 ^ key1;
  // Four words, the length in bytes as the last block, and three rounds that only stir.
  for (let round = 0; round < 8; round += 1) {
    const block = round < 4 ? (words[round] ?? 0) : round === 4 ? 16 << 24 : 0;
    v3 ^= block;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= block;
    if (round === 4) v2 ^= 0xff;
  }
  return v1 ^ v3;
}

function readWith(
  read: typeof readIpv4,
  text: string,
  start: number,
  end: number,
  words: Int32Array,
): 4 | 6 | 0 {
  if (!read(ip, text, start, end)) return 0;
  for (let word = 0; word < 4; word += 1) words[word] = view.getInt32(4 * word);
  return isIpv4(ip) ? 4 : 6;
}

function readIPv6(text: string, start: number, end: number, words: Int32Array): 4 | 6 | 0 {
  const zone = text.indexOf("%");
  return readWith(readIpv6, text, start, zone < 0 ? end : Math.min(zone, end), words);
}
