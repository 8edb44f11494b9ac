// Tells a destination, before anything else, who its client is. Source: HAProxy's doc/proxy-protocol.txt.

import { crc32c } from "./crc32c.ts";
import { ipv4From, isIpv4, parseIpv4, parseIpv6, parsePort, textOfIpv4, textOfIpv6 } from "./ip.ts";
import { checksumSize, putTlv, tlvHeadSize, tlvType, type ProxyTlv } from "./proxy-tlv.ts";
import {
  v2AddressSize,
  v2BodySizeMax,
  v2HeadSize,
  v2Ipv4,
  v2Ipv6,
  v2Local,
  v2Proxy,
  v2Signature,
  v2Unix,
  v2Unspecified,
} from "./proxy-v2.ts";
import { unixPathOf, unixPathSize } from "./unix-path.ts";

export interface ProxyFacts {
  /** The client: `1.2.3.4:5`, `[2001:db8::1]:5`, `unix:/path`, `unix:`; "" and any other text: not known. */
  readonly source: string;
  /** Where it went to, in the same forms. */
  readonly destination: string;
  /** Of v2; NOOP and CRC32C among them are left out. */
  readonly tlvs: readonly ProxyTlv[];
  /** A CRC32C in v2. Default false. */
  readonly checksum?: boolean;
}

interface IpPlace {
  readonly kind: "ip";
  /** 16 bytes. */
  readonly ip: Uint8Array;
  readonly port: number;
}

type Place = IpPlace | { readonly kind: "unix"; readonly path: Uint8Array };

const unknownLine = "PROXY UNKNOWN\r\n";

/**
 * The header of a client's connection. An IPv4 address beside an IPv6 one is written as a mapped one, so that both have
 * one family. What is not a pair — an address unknown, one of them of a unix socket, a path of more than 108 bytes — is
 * unspecified (v1: UNKNOWN, so is a pair of unix sockets); TLVs are told all the same. A header has room for 65,535
 * bytes behind its first 16: the first TLV that does not fit is left out, and all behind it.
 */
export function writeProxyHeader(version: 1 | 2, facts: ProxyFacts): Uint8Array {
  const source = placeOf(facts.source);
  const destination = placeOf(facts.destination);
  if (version === 1) return lineOf(source, destination);
  const addresses = addressesOf(source, destination);
  const space = v2BodySizeMax - addresses.bytes.length;
  const tlvs = fitting(
    facts.tlvs,
    space - (facts.checksum === true ? tlvHeadSize + checksumSize : 0),
  );
  if (facts.checksum === true) {
    tlvs.unshift({ type: tlvType.crc32c, value: new Uint8Array(checksumSize) });
  }
  const bytes = headOf(v2Proxy, addresses.family, addresses.bytes.length + sizeOf(tlvs));
  bytes.set(addresses.bytes, v2HeadSize);
  const tlvsAt = v2HeadSize + addresses.bytes.length;
  let at = tlvsAt;
  for (const tlv of tlvs) at = putTlv(bytes, at, tlv);
  if (facts.checksum === true) {
    const sumAt = tlvsAt + tlvHeadSize;
    const sum = crc32c(bytes, bytes.length, sumAt);
    putWord(bytes, sumAt, sum >>> 16);
    putWord(bytes, sumAt + 2, sum);
  }
  return bytes;
}

/** The header of a connection of our own, such as a health check: the sender speaks for itself. */
export function writeLocalHeader(version: 1 | 2): Uint8Array {
  return version === 1 ? encode(unknownLine) : headOf(v2Local, v2Unspecified, 0);
}

function lineOf(source: Place | null, destination: Place | null): Uint8Array {
  if (source?.kind !== "ip" || destination?.kind !== "ip") return encode(unknownLine);
  const isFour = isIpv4(source.ip) && isIpv4(destination.ip);
  // Mapped addresses as groups: the specification knows no dots in IPv6.
  const textOf = isFour ? textOfIpv4 : textOfIpv6;
  const addresses = `${textOf(source.ip)} ${textOf(destination.ip)}`;
  return encode(
    `PROXY ${isFour ? "TCP4" : "TCP6"} ${addresses} ${source.port} ${destination.port}\r\n`,
  );
}

interface Addresses {
  readonly family: number;
  readonly bytes: Uint8Array;
}

function addressesOf(source: Place | null, destination: Place | null): Addresses {
  if (source?.kind === "ip" && destination?.kind === "ip") return ipAddresses(source, destination);
  if (source?.kind !== "unix" || destination?.kind !== "unix") {
    return { family: v2Unspecified, bytes: new Uint8Array(0) };
  }
  const bytes = new Uint8Array(v2AddressSize.unix);
  bytes.set(source.path);
  bytes.set(destination.path, unixPathSize);
  return { family: v2Unix, bytes };
}

function ipAddresses(source: IpPlace, destination: IpPlace): Addresses {
  const isFour = isIpv4(source.ip) && isIpv4(destination.ip);
  const from = isFour ? ipv4From : 0;
  const bytes = new Uint8Array(isFour ? v2AddressSize.ipv4 : v2AddressSize.ipv6);
  bytes.set(source.ip.subarray(from));
  bytes.set(destination.ip.subarray(from), source.ip.length - from);
  putWord(bytes, bytes.length - 4, source.port);
  putWord(bytes, bytes.length - 2, destination.port);
  return { family: isFour ? v2Ipv4 : v2Ipv6, bytes };
}

function headOf(command: number, family: number, bodySize: number): Uint8Array {
  const bytes = new Uint8Array(v2HeadSize + bodySize);
  bytes.set(v2Signature);
  bytes[v2Signature.length] = command;
  bytes[v2Signature.length + 1] = family;
  putWord(bytes, v2Signature.length + 2, bodySize);
  return bytes;
}

/** @returns null for what has no address. A zone is ours alone and is not told. */
function placeOf(text: string): Place | null {
  if (text.startsWith("unix:")) {
    const path = unixPathOf(text.slice("unix:".length));
    return path === null ? null : { kind: "unix", path };
  }
  const end = text.lastIndexOf(":");
  const port = parsePort(text.slice(end + 1));
  if (end < 0 || port < 0) return null;
  const host = text.slice(0, end);
  const isSix = host.startsWith("[") && host.endsWith("]");
  const ip = isSix ? parseIpv6(host.slice(1, -1).replace(/%.*$/, "")) : parseIpv4(host);
  return ip === null ? null : { kind: "ip", ip, port };
}

function fitting(tlvs: readonly ProxyTlv[], space: number): ProxyTlv[] {
  const told = tlvs.filter(({ type }) => type !== tlvType.noop && type !== tlvType.crc32c);
  let left = space;
  const count = told.findIndex(({ value }) => (left -= tlvHeadSize + value.length) < 0);
  return count < 0 ? told : told.slice(0, count);
}

function sizeOf(tlvs: readonly ProxyTlv[]): number {
  return tlvs.reduce((sum, { value }) => sum + tlvHeadSize + value.length, 0);
}

function putWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 8;
  bytes[at + 1] = word;
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
