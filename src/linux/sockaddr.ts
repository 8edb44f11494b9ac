// Socket addresses as the kernel wants them (sockaddr_in, sockaddr_in6, sockaddr_un), written and read.
import { networkInterfaces } from "node:os";
import { linux } from "./libc.ts";

/** Bytes of the longest path of a unix socket, the closing zero not counted. */
const unixPathSizeMax = 107;

/** An IP literal without brackets, and a port. @returns null when `ip` is no literal. */
export function encodeIp(ip: string, port: number): Uint8Array | null {
  const zone = ip.indexOf("%");
  const literal = zone < 0 ? ip : ip.slice(0, zone);
  const v4 = parseIpv4(literal);
  if (v4 !== null) {
    const bytes = new Uint8Array(new ArrayBuffer(16));
    const view = new DataView(bytes.buffer);
    view.setUint16(0, linux.AF_INET, true);
    view.setUint16(2, port);
    bytes.set(v4, 4);
    return bytes;
  }
  const v6 = parseIpv6(literal);
  if (v6 === null) return null;
  const bytes = new Uint8Array(new ArrayBuffer(28));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, linux.AF_INET6, true);
  view.setUint16(2, port);
  bytes.set(v6, 8);
  if (zone >= 0) view.setUint32(24, zoneNumber(ip.slice(zone + 1)), true);
  return bytes;
}

/** Of an interface, by its number or its name; 0 = there is none, and the kernel will say so. */
function zoneNumber(zone: string): number {
  if (/^\d{1,9}$/.test(zone)) return Number(zone);
  const six = networkInterfaces()[zone]?.find(({ family }) => family === "IPv6");
  return six !== undefined && "scopeid" in six ? six.scopeid : 0;
}

/** A path, or an abstract name after `@`. @returns null when it is too long. */
export function encodeUnix(path: string): Uint8Array | null {
  const name = new TextEncoder().encode(path.startsWith("@") ? `\0${path.slice(1)}` : path);
  if (name.length > unixPathSizeMax) return null;
  const abstract = path.startsWith("@");
  const bytes = new Uint8Array(new ArrayBuffer(2 + name.length + (abstract ? 0 : 1)));
  new DataView(bytes.buffer).setUint16(0, linux.AF_UNIX, true);
  bytes.set(name, 2);
  return bytes;
}

/** The path of a unix socket's address of so many bytes, an abstract name after `@`; "" = it has none. */
export function unixPathOf(address: Uint8Array, size: number): string {
  const isAbstract = size > 2 && address[2] === 0;
  const end = isAbstract ? size : address.indexOf(0, 2);
  const name = address.subarray(isAbstract ? 3 : 2, end < 0 ? size : Math.min(end, size));
  return `${isAbstract ? "@" : ""}${new TextDecoder().decode(name)}`;
}

export function familyOf(address: Uint8Array): number {
  return (address[0] ?? 0) | ((address[1] ?? 0) << 8);
}

/** The port of an IP address of the kernel's. */
export function portOf(address: Uint8Array): number {
  return ((address[2] ?? 0) << 8) | (address[3] ?? 0);
}

/** `host:port` of an address of the kernel's, IPv4 in its own form, `unix:` for a unix socket; "" for any other. */
export function textOfAddress(address: Uint8Array): string {
  const family = familyOf(address);
  if (family === linux.AF_UNIX) return "unix:";
  if (family === linux.AF_INET) return `${textOfIpv4(address, 4)}:${portOf(address)}`;
  if (family !== linux.AF_INET6) return "";
  const isMapped = mappedPrefix.every((byte, i) => address[8 + i] === byte);
  const host = isMapped ? textOfIpv4(address, 20) : `[${textOfIpv6(address)}]`;
  return `${host}:${portOf(address)}`;
}

/** How an IPv4 address begins that an IPv6 socket shows. */
const mappedPrefix: readonly number[] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255];

function textOfIpv4(address: Uint8Array, from: number): string {
  return `${address[from]}.${address[from + 1]}.${address[from + 2]}.${address[from + 3]}`;
}

/** The longest run of two zero groups or more becomes `::`, as RFC 5952 has it. */
function textOfIpv6(address: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => {
    return (((address[8 + 2 * i] ?? 0) << 8) | (address[9 + 2 * i] ?? 0)).toString(16);
  });
  let best = { at: 0, count: 0 };
  for (let at = 0; at < 8; at += 1) {
    let count = 0;
    while (groups[at + count] === "0") count += 1;
    if (count > best.count) best = { at, count };
  }
  if (best.count < 2) return groups.join(":");
  const left = groups.slice(0, best.at).join(":");
  const right = groups.slice(best.at + best.count).join(":");
  return `${left}::${right}`;
}

function parseIpv4(text: string): Uint8Array | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  const bytes = new Uint8Array(4);
  for (const [index, part] of parts.entries()) {
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return null;
    bytes[index] = Number(part);
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | null {
  if (!text.includes(":")) return null;
  let head = text;
  const dot = text.lastIndexOf(".");
  if (dot >= 0) {
    const colon = text.lastIndexOf(":");
    const v4 = parseIpv4(text.slice(colon + 1));
    if (v4 === null) return null;
    const group = (i: number) => (((v4[i] ?? 0) << 8) | (v4[i + 1] ?? 0)).toString(16);
    head = `${text.slice(0, colon + 1)}${group(0)}:${group(2)}`;
  }
  const halves = head.split("::");
  if (halves.length > 2) return null;
  const groups = halves.map((half) => (half === "" ? [] : half.split(":")));
  const left = groups[0] ?? [];
  const right = groups[1] ?? [];
  const missing = 8 - left.length - right.length;
  if (halves.length === 1 ? missing !== 0 : missing < 1) return null;
  const all = [...left, ...Array.from({ length: Math.max(0, missing) }, () => "0"), ...right];
  const bytes = new Uint8Array(16);
  for (const [index, part] of all.entries()) {
    if (!/^[0-9a-f]{1,4}$/i.test(part)) return null;
    const value = Number.parseInt(part, 16);
    bytes[2 * index] = value >>> 8;
    bytes[2 * index + 1] = value & 0xff;
  }
  return bytes;
}
