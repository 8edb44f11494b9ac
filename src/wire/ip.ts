// IP addresses as text and as 16 bytes, IPv4 in its mapped form ::ffff:a.b.c.d, without asking the system.

/** Bytes of an address. */
export const ipSize = 16;
/** Where the four bytes of an IPv4 address begin. */
export const ipv4From = 12;

const dot = 46;
const zero = 48;
const nine = 57;
const colon = 58;
const groupCount = 8;

/**
 * Four plain numbers; a heading zero is refused, for it means octal to some.
 * @returns the address, or null when the text is none.
 */
export function parseIpv4(text: string): Uint8Array | null {
  const ip = new Uint8Array(ipSize);
  return readIpv4(ip, text, 0, text.length) ? ip : null;
}

/** Every form of RFC 4291 §2.2, without a zone. @returns the address, or null when the text is none. */
export function parseIpv6(text: string): Uint8Array | null {
  const ip = new Uint8Array(ipSize);
  return readIpv6(ip, text, 0, text.length) ? ip : null;
}

/** Reads a part of a text into `ip`, and allocates nothing. @returns false when it is no IPv4 address. */
export function readIpv4(ip: Uint8Array, text: string, start: number, end: number): boolean {
  ip.fill(0, 0, ipv4From - 2);
  ip.fill(0xff, ipv4From - 2, ipv4From);
  return putIpv4(ip, ipv4From, text, start, end);
}

/** The same for IPv6; `ip` is anything where the text is none. */
export function readIpv6(ip: Uint8Array, text: string, start: number, end: number): boolean {
  let count = 0; // groups so far
  let gap = -1; // how many of them stand before `::`
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
    if (at === first || count === groupCount) return false;
    if (at < end && text.charCodeAt(at) === dot) {
      if (count > groupCount - 2 || !putIpv4(ip, 2 * count, text, first, end)) return false;
      count += 2;
      break;
    }
    ip[2 * count] = group >>> 8;
    ip[2 * count + 1] = group;
    count += 1;
    if (at === end) break;
    if (text.charCodeAt(at) !== colon) return false;
    at += 1;
    if (at === end) return false;
    if (text.charCodeAt(at) !== colon) continue;
    if (gap >= 0) return false;
    gap = count;
    at += 1;
  }
  if (gap < 0) return count === groupCount;
  if (count === groupCount) return false; // `::` stands for one group at least
  const behind = ipSize - 2 * (count - gap);
  ip.copyWithin(behind, 2 * gap, 2 * count);
  ip.fill(0, 2 * gap, behind);
  return true;
}

/** 0 to 65535 without a heading zero or a sign. @returns −1 when the text is no port. */
export function parsePort(text: string): number {
  if (text.length === 0 || text.length > 5 || (text.length > 1 && text.startsWith("0"))) return -1;
  let port = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code < zero || code > nine) return -1;
    port = port * 10 + code - zero;
  }
  return port > 0xffff ? -1 : port;
}

/** It stands for an IPv4 address: `::ffff:0:0/96`. */
export function isIpv4(ip: Uint8Array): boolean {
  for (let at = 0; at < ipv4From; at += 1) {
    if (ip[at] !== (at < ipv4From - 2 ? 0 : 0xff)) return false;
  }
  return true;
}

/** `1.2.3.4:5`, `[2001:db8::1]:5`: a client has one name, however its address was written. Source: RFC 5952. */
export function textOfPlace(ip: Uint8Array, port: number): string {
  if (!isIpv4(ip)) return `[${textOfIpv6(ip)}]:${port}`;
  return `${textOfIpv4(ip)}:${port}`;
}

/** The last four bytes. */
export function textOfIpv4(ip: Uint8Array): string {
  return `${ip[12]}.${ip[13]}.${ip[14]}.${ip[15]}`;
}

/** Groups in lower case; the longest run of two zero groups or more, the first of equal ones, is `::`. */
export function textOfIpv6(ip: Uint8Array): string {
  let start = 0;
  let size = 1;
  for (let at = 0; at < groupCount; at += 1) {
    let end = at;
    while (end < groupCount && groupOf(ip, end) === 0) end += 1;
    if (end - at > size) {
      start = at;
      size = end - at;
    }
  }
  if (size < 2) return groupsOf(ip, 0, groupCount);
  return `${groupsOf(ip, 0, start)}::${groupsOf(ip, start + size, groupCount)}`;
}

function groupsOf(ip: Uint8Array, start: number, end: number): string {
  let text = "";
  for (let at = start; at < end; at += 1) {
    text += `${at === start ? "" : ":"}${groupOf(ip, at).toString(16)}`;
  }
  return text;
}

function groupOf(ip: Uint8Array, index: number): number {
  return ((ip[2 * index] ?? 0) << 8) | (ip[2 * index + 1] ?? 0);
}

/** Puts the IPv4 address that is all the text from `start` to `end`. @returns false when it is none. */
function putIpv4(ip: Uint8Array, to: number, text: string, start: number, end: number): boolean {
  let count = 0;
  let part = -1; // no digit yet
  for (let at = start; at < end; at += 1) {
    const code = text.charCodeAt(at);
    if (code === dot) {
      if (part < 0 || count === 3) return false;
      ip[to + count] = part;
      count += 1;
      part = -1;
      continue;
    }
    if (code < zero || code > nine || part === 0) return false;
    part = (part < 0 ? 0 : part * 10) + code - zero;
    if (part > 255) return false;
  }
  if (count !== 3 || part < 0) return false;
  ip[to + count] = part;
  return true;
}

/** The value of a hexadecimal digit, −1 for everything else and from `end` on. */
function hexAt(text: string, at: number, end: number): number {
  if (at >= end) return -1;
  const code = text.charCodeAt(at);
  if (code >= zero && code <= nine) return code - zero;
  const letter = code | 32; // in lower case
  return letter >= 97 && letter <= 102 ? letter - 87 : -1;
}
