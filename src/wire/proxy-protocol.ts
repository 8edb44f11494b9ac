// Reads what a proxy before us says of its client. Source: HAProxy's doc/proxy-protocol.txt.

import type { ProxyTlv } from "./proxy-tlv.ts";
import { readProxyV1, v1SizeMax } from "./proxy-v1.ts";
import { readProxyV2, v2BodySizeMax, v2HeadSize, v2Signature } from "./proxy-v2.ts";

/** Bytes of the longest header of either version; nobody needs to keep more for `readProxyHeader`. */
export const proxyHeaderSizeMax: number = Math.max(v1SizeMax, v2HeadSize + v2BodySizeMax);

export interface ProxyHeader {
  readonly version: 1 | 2;
  /** local: the sender speaks for itself, or does not know the client: the connection's own addresses count. */
  readonly command: "proxy" | "local";
  /**
   * `1.2.3.4:5`, also of a mapped IPv6 address, as `Engine.remote` has it; `[2001:db8::1]:5`; `unix:/path`, `unix:@name`
   * for an abstract one, `unix:` when it has none, what is not printable as `\x1b`; "" for local.
   */
  readonly source: string;
  /** Where the client went to, in the same forms. */
  readonly destination: string;
  /** In order, without NOOP and CRC32C; only of v2 and `proxy`. */
  readonly tlvs: readonly ProxyTlv[];
}

/**
 * What was wrong: `not-proxy` it begins otherwise; v2: `version`, `command`, `family`, `length` too short for the
 * addresses, `tlv` beyond the end, twice or of a wrong size, `checksum`; v1: `family`, `address`, `port`, `line` its
 * fields or its end, `too-long`.
 */
export type ProxyFault =
  | "not-proxy"
  | "version"
  | "command"
  | "family"
  | "length"
  | "address"
  | "port"
  | "line"
  | "tlv"
  | "checksum"
  | "too-long";

export type ProxyReading =
  /** Too few bytes to say. */
  | { readonly kind: "more" }
  /** The first `size` bytes are the header, what follows is the client's. */
  | { readonly kind: "header"; readonly header: ProxyHeader; readonly size: number }
  | { readonly kind: "bad"; readonly fault: ProxyFault };

const more: ProxyReading = { kind: "more" };
const notProxy: ProxyReading = { kind: "bad", fault: "not-proxy" };

/**
 * Reads the header of a connection, of which more bytes may be to come; tells what is wrong by the first byte that
 * is. Once it has answered, more bytes do not change the answer.
 * @param bytes all so far, from the first one on; nothing of them is kept.
 * @param versions which are accepted.
 * @returns "more" only while there are fewer bytes than `proxyHeaderSizeMax`; that answer costs no more than a look at
 * 107 of them. Never throws.
 */
export function readProxyHeader(
  bytes: Uint8Array,
  versions: { readonly v1: boolean; readonly v2: boolean },
): ProxyReading {
  if (!versions.v1 && !versions.v2) return notProxy;
  if (bytes.length === 0) return more;
  // The first byte of a v2 header is none of a v1 header.
  if (bytes[0] === v2Signature[0]) return versions.v2 ? readProxyV2(bytes) : notProxy;
  return versions.v1 ? readProxyV1(bytes) : notProxy;
}
