// The PROXY protocol v1: one line of text. Source: proxy-protocol.txt §2.1.

import { parseIpv4, parseIpv6, parsePort, textOfPlace } from "./ip.ts";
import type { ProxyFault, ProxyReading } from "./proxy-protocol.ts";

/** Bytes of the longest line, CR and LF counted. */
export const v1SizeMax = 107;

const cr = 13;
const lf = 10;
const space = 32;
const dot = 46;
const colon = 58;
/** Where the CR of the longest line stands. */
const lastCr = v1SizeMax - 2;

/** What a line begins with, up to the addresses. */
const tcp4 = "PROXY TCP4 ";
const tcp6 = "PROXY TCP6 ";
const unknown = "PROXY UNKNOWN";
/** Bytes that all three begin with. */
const prefixSize = 6;
const fieldCount = 4;

const more: ProxyReading = { kind: "more" };

/** Any bytes may come in. Looks at 107 of them at most. */
export function readProxyV1(bytes: Uint8Array): ProxyReading {
  if (matched(bytes, unknown) === unknown.length) return readUnknown(bytes);
  const isIpv4 = matched(bytes, tcp4) === tcp4.length;
  if (isIpv4 || matched(bytes, tcp6) === tcp6.length) {
    const end = endOfFields(bytes, isIpv4);
    return typeof end === "number" ? readFields(bytes, end, isIpv4) : end;
  }
  const size = Math.max(matched(bytes, tcp4), matched(bytes, tcp6), matched(bytes, unknown));
  if (size === bytes.length) return more;
  return bad(size < prefixSize ? "not-proxy" : "family");
}

/** How many of the first bytes are those of the text. */
function matched(bytes: Uint8Array, text: string): number {
  const size = Math.min(bytes.length, text.length);
  let at = 0;
  while (at < size && bytes[at] === text.charCodeAt(at)) at += 1;
  return at;
}

/** Whatever stands behind that word means nothing, but the line ends with the first CR, and LF follows. */
function readUnknown(bytes: Uint8Array): ProxyReading {
  const next = bytes[unknown.length];
  if (next !== undefined && next !== cr && next !== space) return bad("family");
  let at = unknown.length;
  while (at < bytes.length && bytes[at] !== cr) {
    if (bytes[at] === lf) return bad("line");
    if (at === lastCr) return bad("too-long");
    at += 1;
  }
  const end = endAt(bytes, at);
  if (typeof end !== "number") return end;
  const header = { version: 1, command: "local", source: "", destination: "", tlvs: [] } as const;
  return { kind: "header", header, size: end + 2 };
}

/** Where the CR behind four fields stands; each of them has only characters that it may have. */
function endOfFields(bytes: Uint8Array, isIpv4: boolean): number | ProxyReading {
  let field = 0;
  let start = tcp4.length;
  let at = start;
  for (; at < bytes.length; at += 1) {
    const code = bytes[at] ?? 0;
    if (code === cr) break;
    if (at === lastCr) return bad("too-long");
    if (code === lf) return bad("line");
    if (code === space) {
      if (at === start || field === fieldCount - 1) return bad("line");
      field += 1;
      start = at + 1;
    } else if (field < 2 ? !isOfAddress(code, isIpv4) : !isDigit(code)) {
      return bad(field < 2 ? "address" : "port");
    }
  }
  const isWhole = field === fieldCount - 1 && at > start;
  return at < bytes.length && !isWhole ? bad("line") : endAt(bytes, at);
}

/** @returns the place of the CR, if it stands there, when LF follows. */
function endAt(bytes: Uint8Array, at: number): number | ProxyReading {
  if (at + 1 >= bytes.length) return more;
  return bytes[at + 1] === lf ? at : bad("line");
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** A digit or a dot; in IPv6 a colon and the letters of hexadecimal numbers as well. */
function isOfAddress(code: number, isIpv4: boolean): boolean {
  if (isDigit(code) || code === dot) return true;
  const letter = code | 32; // in lower case
  return !isIpv4 && (code === colon || (letter >= 97 && letter <= 102));
}

function readFields(bytes: Uint8Array, end: number, isIpv4: boolean): ProxyReading {
  let text = "";
  for (let at = tcp4.length; at < end; at += 1) text += String.fromCharCode(bytes[at] ?? 0);
  const [from = "", to = "", fromPort = "", toPort = ""] = text.split(" ");
  const parse = isIpv4 ? parseIpv4 : parseIpv6;
  const source = parse(from);
  const destination = parse(to);
  if (source === null || destination === null) return bad("address");
  const sourcePort = parsePort(fromPort);
  const destinationPort = parsePort(toPort);
  if (sourcePort < 0 || destinationPort < 0) return bad("port");
  return {
    kind: "header",
    header: {
      version: 1,
      command: "proxy",
      source: textOfPlace(source, sourcePort),
      destination: textOfPlace(destination, destinationPort),
      tlvs: [],
    },
    size: end + 2,
  };
}

function bad(fault: ProxyFault): ProxyReading {
  return { kind: "bad", fault };
}
