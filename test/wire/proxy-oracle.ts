// The PROXY protocol read a second time, in another way: patterns, `node:net`, URLs. Slow, and it knows no faults by name.

import { isIPv4, isIPv6 } from "node:net";
import type { ProxyHeader } from "../../src/wire/proxy-protocol.ts";
import type { ProxyTlv } from "../../src/wire/proxy-tlv.ts";

export type Expected =
  "more" | "bad" | { readonly header: ProxyHeader; /** Bytes. */ readonly size: number };

export const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");

/** What both versions together make of these bytes. */
export function expectedOf(bytes: Uint8Array): Expected {
  const prefix = Buffer.from(bytes.subarray(0, signature.length));
  if (prefix.equals(signature.subarray(0, prefix.length))) return expectedV2(Buffer.from(bytes));
  return expectedV1(Buffer.from(bytes.subarray(0, lineSizeMax)).toString("latin1"));
}

// ---- version 1 -------------------------------------------------------------------------------

const lineSizeMax = 107;
const words = ["PROXY TCP4 ", "PROXY TCP6 ", "PROXY UNKNOWN"];
const unknown = /^PROXY UNKNOWN(?: [^\r\n]*)?\r\n/;
const unknownBegun = /^PROXY UNKNOWN(?: [^\r\n]*)?\r?$/;

function lineOf(word: string, ip: string): { whole: RegExp; begun: RegExp } {
  const begun = `(?:${ip}(?: (?:${ip}(?: (?:[0-9]+(?: (?:[0-9]+\r?)?)?)?)?)?)?)?`;
  return {
    whole: new RegExp(`^PROXY ${word} (${ip}) (${ip}) ([0-9]+) ([0-9]+)\r\n`),
    begun: new RegExp(`^PROXY ${word} ${begun}$`),
  };
}

const four = lineOf("TCP4", "[0-9.]+");
const six = lineOf("TCP6", "[0-9a-fA-F:.]+");

function expectedV1(text: string): Expected {
  if (words.some((word) => word.startsWith(text))) return "more";
  const ignored = unknown.exec(text);
  if (ignored !== null) {
    const nobody = { source: "", destination: "", tlvs: [] };
    return { header: { version: 1, command: "local", ...nobody }, size: ignored[0].length };
  }
  for (const { whole, begun } of [four, six, { whole: unknown, begun: unknownBegun }]) {
    const [line = "", from = "", to = "", fromPort = "", toPort = ""] = whole.exec(text) ?? [];
    if (line !== "") {
      const isIp = whole === four.whole ? isIPv4 : isIPv6;
      const isOk = isIp(from) && isIp(to) && isPort(fromPort) && isPort(toPort);
      if (!isOk) return "bad";
      const source = `${hostOf(from)}:${fromPort}`;
      const destination = `${hostOf(to)}:${toPort}`;
      const header = { version: 1, command: "proxy", source, destination, tlvs: [] } as const;
      return { header, size: line.length };
    }
    const room = lineSizeMax - text.length;
    if (begun.test(text) && (room >= 2 || (room === 1 && text.endsWith("\r")))) return "more";
  }
  return "bad";
}

function isPort(text: string): boolean {
  return String(Number(text)) === text && Number(text) <= 65_535;
}

/** As RFC 5952 has it, in brackets; a mapped address in the form of the one it stands for. */
function hostOf(ip: string): string {
  if (isIPv4(ip)) return ip;
  // Bun's URLs do not take each dotted end that is right: `1:2:3:4::1.2.3.4`.
  const groups = ip.replace(/[^:]*\..*$/, (end) =>
    Buffer.from(end.split(".").map(Number))
      .toString("hex")
      .replace(/....(?=.)/, "$&:"),
  );
  const { hostname } = new URL(`http://[${groups}]/`);
  const mapped = /^\[::ffff:([0-9a-f]+):([0-9a-f]+)\]$/.exec(hostname);
  if (mapped === null) return hostname;
  const words = mapped.slice(1).map((group) => Number.parseInt(group, 16));
  return words.flatMap((word) => [word >> 8, word & 255]).join(".");
}

// ---- version 2 -------------------------------------------------------------------------------

/** Bytes of the addresses by the byte of family and transport. */
const sizes = new Map([
  [0x00, 0],
  [0x11, 12],
  [0x12, 12],
  [0x21, 36],
  [0x22, 36],
  [0x31, 216],
  [0x32, 216],
]);

function expectedV2(bytes: Buffer): Expected {
  const [command, family] = bytes.subarray(12, 14);
  if (command !== undefined && command !== 0x20 && command !== 0x21) return "bad";
  const isLocal = command === 0x20;
  if (family !== undefined && !isLocal && !sizes.has(family)) return "bad";
  if (family === undefined || bytes.length < 16) return "more";
  const addressSize = isLocal ? 0 : (sizes.get(family) ?? 0);
  const size = 16 + bytes.readUInt16BE(14);
  if (size < 16 + addressSize) return "bad";
  if (bytes.length < size) return "more";
  if (addressSize === 0) {
    return {
      header: { version: 2, command: "local", source: "", destination: "", tlvs: [] },
      size,
    };
  }
  const tlvs = tlvsOf(bytes.subarray(0, size), 16 + addressSize);
  if (tlvs === null) return "bad";
  const [source, destination] = placesOf(bytes.subarray(16, 16 + addressSize));
  return { header: { version: 2, command: "proxy", source, destination, tlvs }, size };
}

function placesOf(field: Buffer): [string, string] {
  if (field.length === 216) return [pathOf(field.subarray(0, 108)), pathOf(field.subarray(108))];
  const ipSize = (field.length - 4) / 2;
  const ip = (at: number) => {
    const part = field.subarray(at, at + ipSize);
    return hostOf(
      ipSize === 4 ? part.join(".") : part.toString("hex").replace(/.{4}(?!$)/g, "$&:"),
    );
  };
  const port = (at: number) => field.readUInt16BE(field.length - at);
  return [`${ip(0)}:${port(4)}`, `${ip(ipSize)}:${port(2)}`];
}

function pathOf(field: Buffer): string {
  const text = field.toString("latin1");
  const isAbstract = text.startsWith("\0") && /[^\0]/.test(text);
  const name = isAbstract ? text.slice(1).replace(/\0+$/, "") : text.replace(/\0[^]*$/, "");
  const escape = (char: string) => `\\x${Buffer.from(char, "latin1").toString("hex")}`;
  const shown = name.replaceAll(/[^!#-[\]-~]/g, escape);
  return `unix:${isAbstract ? `@${shown}` : shown.replace(/^@/, escape)}`;
}

function tlvsOf(header: Buffer, start: number): ProxyTlv[] | null {
  const all: { type: number; at: number; value: Uint8Array }[] = [];
  for (let at = start; at < header.length;) {
    if (header.length - at < 3) return null;
    const value = new Uint8Array(header.subarray(at + 3, at + 3 + header.readUInt16BE(at + 1)));
    if (value.length !== header.readUInt16BE(at + 1)) return null;
    all.push({ type: header.readUInt8(at), at: at + 3, value });
    at += 3 + value.length;
  }
  const sums = all.filter(({ type }) => type === 3);
  const [sum] = sums;
  if (sums.length > 1 || (sum !== undefined && sum.value.length !== 4)) return null;
  if (sum !== undefined) {
    const zeroed = Buffer.from(header).fill(0, sum.at, sum.at + 4);
    if (slowCrc32c(zeroed) !== header.readUInt32BE(sum.at)) return null;
  }
  const kept = all.filter(({ type }) => type !== 3 && type !== 4);
  if (kept.length > 256 || kept.some(({ type, value }) => type === 5 && value.length > 128))
    return null;
  return kept.map(({ type, value }) => ({ type, value }));
}

/** By the definition: the remainder, bit by bit, of what is read with its lowest bits first. */
export function slowCrc32c(bytes: Uint8Array): number {
  let rest = 0xffff_ffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit += 1) {
      const isSet = ((rest ^ (byte >> bit)) & 1) === 1;
      rest = isSet ? (rest >>> 1) ^ 0x82f6_3b78 : rest >>> 1;
    }
  }
  return ~rest >>> 0;
}
