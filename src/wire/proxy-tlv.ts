// TLVs of the PROXY protocol v2: type, length and value behind the addresses. Source: proxy-protocol.txt §2.2.

export interface ProxyTlv {
  /** 0 to 255. */
  readonly type: number;
  /** As read: a copy, the bytes it came in may be used anew. */
  readonly value: Uint8Array;
}

/** Types by their names. `ssl…` are those inside the value of `ssl`. */
export const tlvType = {
  alpn: 0x01,
  authority: 0x02,
  crc32c: 0x03,
  noop: 0x04,
  uniqueId: 0x05,
  ssl: 0x20,
  sslVersion: 0x21,
  sslCommonName: 0x22,
  sslCipher: 0x23,
  sslSignatureAlgorithm: 0x24,
  sslKeyAlgorithm: 0x25,
  netns: 0x30,
} as const;

/** Bytes before a value: one of the type, two of the length. */
export const tlvHeadSize = 3;
/** Bytes of a checksum. */
export const checksumSize = 4;

/** Bytes of a name, a version or a cipher that is told; a longer one is left out, for half of it is another one. */
const sslTextSizeMax = 256;

const clientSsl = 0x01;
const certificateOfConnection = 0x02;
const certificateOfSession = 0x04;
const verifySize = 4;

export interface SslFacts {
  /** As OpenSSL calls it: "TLSv1.3". */
  readonly version: string;
  /** The common name of the client's certificate, "" when it gave none. */
  readonly clientName: string;
  /** That certificate was found good. */
  readonly verified: boolean;
  /** As OpenSSL calls it: "TLS_AES_128_GCM_SHA256". */
  readonly cipher?: string;
  /** The certificate was given in an earlier connection of the same session. Default false. */
  readonly resumed?: boolean;
}

/** A TLV whose value is text: ALPN, authority. */
export function textTlv(type: number, text: string): ProxyTlv {
  return { type, value: new TextEncoder().encode(text) };
}

/** What a destination is told of a client's TLS. Source: proxy-protocol.txt §2.2.6. */
export function sslTlv(facts: SslFacts): ProxyTlv {
  const subs = [textTlv(tlvType.sslVersion, facts.version)];
  const hasCertificate = facts.clientName !== "";
  if (hasCertificate) subs.push(textTlv(tlvType.sslCommonName, facts.clientName));
  if (facts.cipher !== undefined) subs.push(textTlv(tlvType.sslCipher, facts.cipher));
  const told = subs.filter(({ value }) => value.length <= sslTextSizeMax);
  const size = told.reduce((sum, { value }) => sum + tlvHeadSize + value.length, 1 + verifySize);
  const value = new Uint8Array(size);
  if (!hasCertificate) value[0] = clientSsl;
  else if (facts.resumed === true) value[0] = clientSsl | certificateOfSession;
  else value[0] = clientSsl | certificateOfConnection | certificateOfSession;
  // 0 says that there was a certificate and that it is good.
  value[verifySize] = hasCertificate && facts.verified ? 0 : 1;
  let at = 1 + verifySize;
  for (const sub of told) at = putTlv(value, at, sub);
  return { type: tlvType.ssl, value };
}

/** @returns where the next one goes. */
export function putTlv(bytes: Uint8Array, at: number, tlv: ProxyTlv): number {
  bytes[at] = tlv.type;
  bytes[at + 1] = tlv.value.length >>> 8;
  bytes[at + 2] = tlv.value.length;
  bytes.set(tlv.value, at + tlvHeadSize);
  return at + tlvHeadSize + tlv.value.length;
}
