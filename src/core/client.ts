// A client's address as bits: four words of 32, an IPv4 address in its mapped form ::ffff:a.b.c.d, so that one rule and
// one table serve both families.

const dot = 46;
const zero = 48;
const colon = 58;
const bracket = 91;
/** The third word of an IPv4 address that is written as IPv6; the two before it are 0. */
const mappedWord = 0xffff;

/** The eight groups of the IPv6 address that is being read. */
const groups = new Uint16Array(8);

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
  return readIPv4(text, end < 0 ? text.length : end, words);
}

/** The same for an address alone: `1.2.3.4`, `2001:db8::1`. */
export function readPlainAddress(text: string, words: Int32Array): 4 | 6 | 0 {
  return text.includes(":")
    ? readIPv6(text, 0, text.length, words)
    : readIPv4(text, text.length, words);
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

function readIPv4(text: string, end: number, words: Int32Array): 4 | 0 {
  const bits = bitsOfIPv4(text, 0, end);
  if (bits < 0) return 0;
  words[0] = 0;
  words[1] = 0;
  words[2] = mappedWord;
  words[3] = bits;
  return 4;
}

/** @returns 32 bits without sign; −1 when it is no IPv4 address of four plain numbers. */
function bitsOfIPv4(text: string, start: number, end: number): number {
  let bits = 0;
  let partCount = 0;
  let part = -1; // no digit yet
  for (let at = start; at < end; at += 1) {
    const code = text.charCodeAt(at);
    if (code === dot) {
      if (part < 0) return -1;
      bits = bits * 256 + part;
      partCount += 1;
      part = -1;
      continue;
    }
    const digit = code - zero;
    // A leading zero means octal to some: it is no address to anybody here.
    if (digit < 0 || digit > 9 || part === 0) return -1;
    part = part < 0 ? digit : part * 10 + digit;
    if (part > 255) return -1;
  }
  return partCount === 3 && part >= 0 ? bits * 256 + part : -1;
}

function readIPv6(text: string, start: number, end: number, words: Int32Array): 4 | 6 | 0 {
  const zone = text.indexOf("%");
  if (!readGroups(text, start, zone < 0 ? end : Math.min(zone, end))) return 0;
  for (let word = 0; word < 4; word += 1) {
    words[word] = ((groups[2 * word] ?? 0) << 16) | (groups[2 * word + 1] ?? 0);
  }
  return words[0] === 0 && words[1] === 0 && words[2] === mappedWord ? 4 : 6;
}

/** Reads an IPv6 address into `groups` (RFC 4291, 2.2). @returns false when it is none. */
function readGroups(text: string, start: number, end: number): boolean {
  let count = 0;
  let gap = -1; // how many groups stand before `::`
  let at = start;
  if (at + 1 < end && text.charCodeAt(at) === colon && text.charCodeAt(at + 1) === colon) {
    gap = 0;
    at += 2;
  }
  while (at < end) {
    const first = at;
    let group = 0;
    for (let digit = hexAt(text, at, end); digit >= 0; digit = hexAt(text, at, end)) {
      group = group * 16 + digit;
      at += 1;
      if (at - first > 4) return false;
    }
    if (at === first || count === 8) return false;
    if (at < end && text.charCodeAt(at) === dot) {
      const bits = bitsOfIPv4(text, first, end);
      if (bits < 0 || count > 6) return false;
      groups[count++] = bits >>> 16;
      groups[count++] = bits;
      break;
    }
    groups[count++] = group;
    if (at === end) break;
    if (text.charCodeAt(at) !== colon) return false;
    at += 1;
    if (at === end) return false;
    if (text.charCodeAt(at) !== colon) continue;
    if (gap >= 0) return false;
    gap = count;
    at += 1;
  }
  if (gap < 0) return count === 8;
  if (count === 8) return false;
  groups.copyWithin(gap + 8 - count, gap, count);
  groups.fill(0, gap, gap + 8 - count);
  return true;
}

/** The value of a hexadecimal digit, −1 for everything else. */
function hexAt(text: string, at: number, end: number): number {
  if (at >= end) return -1;
  const code = text.charCodeAt(at);
  if (code >= zero && code < zero + 10) return code - zero;
  const letter = code | 32; // in lower case
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
