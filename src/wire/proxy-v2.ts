// The PROXY protocol v2: 16 bytes, addresses, TLVs. Source: proxy-protocol.txt §2.2.

import { crc32c } from "./crc32c.ts";
import { ipSize, ipv4From, textOfPlace } from "./ip.ts";
import type { ProxyFault, ProxyHeader, ProxyReading } from "./proxy-protocol.ts";
import { checksumSize, tlvHeadSize, tlvType, type ProxyTlv } from "./proxy-tlv.ts";
import { textOfUnixPath, unixPathSize } from "./unix-path.ts";

/** What every header of this version begins with; no other protocol does. */
export const v2Signature = Uint8Array.of(13, 10, 13, 10, 0, 13, 10, 0x51, 0x55, 0x49, 0x54, 10);
/** Bytes before the addresses. */
export const v2HeadSize = 16;
/** Bytes of addresses and TLVs: the length has two bytes. */
export const v2BodySizeMax = 0xffff;
/** TLVs of a header that are kept, as many as there are types; a header with more is refused. */
const tlvCountMax = 256;
/** Bytes. Source: proxy-protocol.txt §2.2.5. */
const uniqueIdSizeMax = 128;

/** The byte behind the signature: version 2, and who speaks. */
export const v2Local = 0x20;
export const v2Proxy = 0x21;

/** The byte of family and transport. */
export const v2Unspecified = 0x00;
export const v2Ipv4 = 0x11;
export const v2Ipv6 = 0x21;
export const v2Unix = 0x31;

/** Bytes of the two addresses, ports included. */
export const v2AddressSize = { ipv4: 12, ipv6: 36, unix: 2 * unixPathSize } as const;

const more: ProxyReading = { kind: "more" };

/** Any bytes may come in. Looks at 16 of them while the header is not whole. */
export function readProxyV2(bytes: Uint8Array): ProxyReading {
  const wanted = Math.min(bytes.length, v2Signature.length);
  for (let at = 0; at < wanted; at += 1) {
    if (bytes[at] !== v2Signature[at]) return bad("not-proxy");
  }
  const command = bytes[v2Signature.length];
  if (command === undefined) return more;
  if (command >>> 4 !== 2) return bad("version");
  if (command !== v2Local && command !== v2Proxy) return bad("command");
  const family = bytes[v2Signature.length + 1];
  if (family === undefined) return more;
  // Who speaks for itself says nothing by family and addresses: they are skipped.
  const addressSize = command === v2Local ? 0 : addressSizeOf(family);
  if (addressSize < 0) return bad("family");
  if (bytes.length < v2HeadSize) return more;
  const bodySize = ((bytes[14] ?? 0) << 8) | (bytes[15] ?? 0);
  if (bodySize < addressSize) return bad("length");
  const size = v2HeadSize + bodySize;
  if (bytes.length < size) return more;
  if (addressSize === 0) return { kind: "header", header: local, size };
  const tlvs = readTlvs(bytes, v2HeadSize + addressSize, size);
  if (typeof tlvs === "string") return bad(tlvs);
  return { kind: "header", header: { ...readAddresses(bytes, addressSize), tlvs }, size };
}

const local: ProxyHeader = { version: 2, command: "local", source: "", destination: "", tlvs: [] };

/**
 * Datagrams count like streams: it is about who calls, not about how. The other choice that the specification leaves,
 * to take them for unspecified, would lay their acts at the proxy's door.
 * @returns bytes, 0 for what is not specified, −1 for what there is not.
 */
function addressSizeOf(family: number): number {
  switch (family) {
    case v2Unspecified:
      return 0;
    case v2Ipv4:
    case v2Ipv4 + 1:
      return v2AddressSize.ipv4;
    case v2Ipv6:
    case v2Ipv6 + 1:
      return v2AddressSize.ipv6;
    case v2Unix:
    case v2Unix + 1:
      return v2AddressSize.unix;
    default:
      return -1;
  }
}

function readAddresses(bytes: Uint8Array, addressSize: number): Omit<ProxyHeader, "tlvs"> {
  const start = v2HeadSize;
  let source: string;
  let destination: string;
  if (addressSize === v2AddressSize.unix) {
    const middle = start + unixPathSize;
    source = `unix:${textOfUnixPath(bytes.subarray(start, middle))}`;
    destination = `unix:${textOfUnixPath(bytes.subarray(middle, middle + unixPathSize))}`;
  } else {
    const size = addressSize === v2AddressSize.ipv4 ? ipSize - ipv4From : ipSize;
    const ports = start + 2 * size;
    source = textOfPlace(ipAt(bytes, start, size), wordAt(bytes, ports));
    destination = textOfPlace(ipAt(bytes, start + size, size), wordAt(bytes, ports + 2));
  }
  return { version: 2, command: "proxy", source, destination };
}

function ipAt(bytes: Uint8Array, at: number, size: number): Uint8Array {
  const ip = new Uint8Array(ipSize);
  if (size < ipSize) ip.fill(0xff, ipv4From - 2, ipv4From);
  ip.set(bytes.subarray(at, at + size), ipSize - size);
  return ip;
}

/** The last TLV ends where the header does, and none is looked into: a peer cannot lead us beyond or deep. */
function readTlvs(bytes: Uint8Array, start: number, end: number): ProxyTlv[] | ProxyFault {
  const tlvs: ProxyTlv[] = [];
  let checksumAt = -1;
  let at = start;
  while (at < end) {
    if (at + tlvHeadSize > end) return "tlv";
    const type = bytes[at] ?? 0;
    const from = at + tlvHeadSize;
    const size = wordAt(bytes, at + 1);
    at = from + size;
    if (at > end) return "tlv";
    if (type === tlvType.noop) continue;
    if (type === tlvType.crc32c) {
      if (size !== checksumSize || checksumAt >= 0) return "tlv";
      checksumAt = from;
      continue;
    }
    if (type === tlvType.uniqueId && size > uniqueIdSizeMax) return "tlv";
    if (tlvs.length === tlvCountMax) return "tlv";
    // Not `slice`, which lets a Buffer share its bytes.
    tlvs.push({ type, value: new Uint8Array(bytes.subarray(from, at)) });
  }
  if (checksumAt < 0) return tlvs;
  const sent = wordAt(bytes, checksumAt) * 0x1_0000 + wordAt(bytes, checksumAt + 2);
  return crc32c(bytes, end, checksumAt) === sent ? tlvs : "checksum";
}

function wordAt(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function bad(fault: ProxyFault): ProxyReading {
  return { kind: "bad", fault };
}
