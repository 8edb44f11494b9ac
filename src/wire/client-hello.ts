// Reads a TLS ClientHello from the start of a stream, over any split into segments and records: what it asks for, while
// not a byte is decrypted or changed (RFC 8446 §4.1.2, §5.1).
//
//   record    22 │ 3 x │ size (16) │ fragment     one after the other, until the message is whole
//   message    1 │ size (24) │ version │ random │ session id │ suites │ compressions │ extensions
//
// Two kinds of wrong. Where a length does not fit what it is in, two readers may see two different hellos, and ours
// would choose a destination for another name than the destination reads: that is `bad`. Where all lengths fit and only
// a content makes no sense (a name with a dot at its end, a name of an unknown type), it counts as not given, and the
// destination is the one to answer. Of what is given twice the first counts, as it does with those that allow it.
// With Encrypted Client Hello (RFC 9849) the outer name is the one to route by: it is the one in plain sight.

/** Bytes of the stream, headers of records included, in which a hello has to end. */
export const helloSizeMax = 32 * 1024;
/** Bytes of a host name; of one of its labels (RFC 1035 §2.3.4; without the root's dot). */
export const nameSizeMax = 253;
const labelSizeMax = 63;
/** Ids of ALPN that are kept; those behind them are checked and dropped. */
export const alpnCountMax = 32;

const recordHeaderSize = 5;
const messageHeaderSize = 4;
/** A client in plain text has 2^14 (RFC 8446 §5.1); some count the room for encryption that TLS 1.2 had (§5.2). */
const fragmentSizeMax = 16 * 1024 + 256;
const handshakeRecord = 22;
const clientHelloMessage = 1;
const versionMajor = 3;
const randomSize = 32;
const sessionIdSizeMax = 32;
const tls12 = 0x0303;
const extension = { serverName: 0, alpn: 16, supportedVersions: 43 } as const;
const hostNameType = 0;
const dot = 46;

/**
 * What is wrong with a hello:
 * - `record-version`: not 3.x, which is what every TLS calls itself there
 * - `record-size`: an empty record, or one of more than 16,640 bytes
 * - `record-type`: a record that is no handshake, before the hello is whole
 * - `message-type`: a handshake that does not begin with a hello of the client
 * - `hello-size`: it cannot end within `helloSizeMax`
 * - `session-id`: of more than 32 bytes
 * - `length`: a length inside it does not fit what it is in
 */
export type HelloFault =
  | "record-version"
  | "record-size"
  | "record-type"
  | "message-type"
  | "hello-size"
  | "session-id"
  | "length";

export interface ClientHello {
  /** In lower case; "" when there is none, or none that is a host name (RFC 6066 §3). */
  readonly sni: string;
  /** As offered, at most `alpnCountMax`, each byte as the character of its number (RFC 7301 §3.1). */
  readonly alpn: readonly string[];
  /** The highest that is offered: 0x0304 is TLS 1.3, 0x0303 TLS 1.2. */
  readonly version: number;
}

export type HelloReading =
  | { readonly kind: "more" }
  | { readonly kind: "hello"; readonly hello: ClientHello }
  | { readonly kind: "not-tls" }
  | { readonly kind: "bad"; readonly fault: HelloFault };

const more: HelloReading = { kind: "more" };
const notTls: HelloReading = { kind: "not-tls" };
const none: readonly string[] = [];

/** One per connection. */
export class ClientHelloReader {
  /** Where in the stream the next byte stands that was not looked at. */
  private at = 0;
  /** Bytes of the record's fragment behind it; 0 where the header of a record comes. */
  private left = 0;
  private recordCount = 0;
  /** Bytes of the message so far, and of all of it: of its header until that is known. */
  private taken = 0;
  private wanted = messageHeaderSize;
  /** As far as its three bytes in the message's header have come. */
  private bodySize = 0;
  private verdict: HelloReading | null = null;

  /**
   * Reads on. Never throws; looks at no byte behind `size`, nor behind `helloSizeMax`. The cost of all calls together is
   * linear in the bytes; nothing is copied when the hello is in one record.
   * @param bytes all that the peer has sent so far, from its first byte on (or from where its TLS begins); it may be
   * another buffer each time, with the same beginning.
   * @param size how many bytes of it count.
   * @returns `more` until it is decided; from then on always the same. What follows the hello is not looked at.
   */
  read(bytes: Uint8Array, size: number): HelloReading {
    if (this.verdict !== null) return this.verdict;
    const reading = this.advance(bytes, Math.min(size, bytes.length));
    if (reading !== more) this.verdict = reading;
    return reading;
  }

  private advance(bytes: Uint8Array, end: number): HelloReading {
    while (this.taken < this.wanted) {
      if (this.left === 0) {
        const reading = this.openRecord(bytes, end);
        if (reading !== null) return reading;
      }
      const count = Math.min(this.left, end - this.at, this.wanted - this.taken);
      if (count <= 0) return more;
      const from = this.at;
      this.at += count;
      this.left -= count;
      if (this.taken >= messageHeaderSize) {
        this.taken += count;
        continue;
      }
      for (let at = from; at < from + count; at += 1) {
        if (!this.takeHeader(bytes[at] ?? 0)) return bad("message-type");
      }
      if (this.at + this.wanted - this.taken > helloSizeMax) return bad("hello-size");
    }
    const whole = this.recordCount === 1;
    const message = whole ? bytes : join(bytes, this.wanted);
    const start = whole ? recordHeaderSize : 0;
    return readHello(message, start + messageHeaderSize, start + this.wanted);
  }

  /** Reads the header of a record. @returns null when it is whole and in order. */
  private openRecord(bytes: Uint8Array, end: number): HelloReading | null {
    const { at, recordCount } = this;
    const soonest = at + recordHeaderSize + this.wanted - this.taken;
    if (soonest > helloSizeMax) return bad("hello-size");
    if (at >= end) return more;
    if (bytes[at] !== handshakeRecord) return recordCount === 0 ? notTls : bad("record-type");
    if (at + 1 >= end) return more;
    const major = bytes[at + 1];
    if (major !== versionMajor) {
      // 22 may begin anything, and TLS only with 3 behind it; 4 is taken for a TLS that nobody speaks.
      return recordCount === 0 && major !== versionMajor + 1 ? notTls : bad("record-version");
    }
    if (at + recordHeaderSize > end) return more;
    const fragmentSize = word(bytes, at + 3);
    if (fragmentSize === 0 || fragmentSize > fragmentSizeMax) return bad("record-size");
    this.at += recordHeaderSize;
    this.left = fragmentSize;
    this.recordCount += 1;
    return null;
  }

  /** A byte of the message's header: type, then three of the size. @returns false when it is no hello. */
  private takeHeader(byte: number): boolean {
    if (this.taken === 0 && byte !== clientHelloMessage) return false;
    if (this.taken > 0) this.bodySize = this.bodySize * 256 + byte;
    this.taken += 1;
    if (this.taken === messageHeaderSize) this.wanted += this.bodySize;
    return true;
  }
}

/** The first bytes of the message out of its records, which have been looked at. */
function join(bytes: Uint8Array, size: number): Uint8Array {
  const message = new Uint8Array(size);
  let taken = 0;
  for (let at = 0; taken < size;) {
    const end = at + recordHeaderSize + word(bytes, at + 3);
    // Byte by byte: records may be of one byte, and a view for each would cost more.
    for (at += recordHeaderSize; at < end && taken < size; at += 1) {
      message[taken++] = bytes[at] ?? 0;
    }
  }
  return message;
}

/** Reads what is behind the message's header, from `start` to `end`. */
function readHello(bytes: Uint8Array, start: number, end: number): HelloReading {
  let at = start + 2 + randomSize;
  if (at >= end) return bad("length");
  const sessionIdSize = bytes[at] ?? 0;
  if (sessionIdSize > sessionIdSizeMax) return bad("session-id");
  at += 1 + sessionIdSize;
  if (at + 2 > end) return bad("length");
  const suitesSize = word(bytes, at);
  at += 2 + suitesSize;
  if (suitesSize === 0 || suitesSize % 2 !== 0 || at >= end) return bad("length");
  const compressionsSize = bytes[at] ?? 0;
  at += 1 + compressionsSize;
  if (compressionsSize === 0 || at > end) return bad("length");
  // Before TLS 1.3 a hello may end here (RFC 5246 §7.4.1.2).
  const size = at === end ? 0 : sizeOfRest(bytes, at, end);
  return size < 0
    ? bad("length")
    : readExtensions(bytes, end - size, end, Math.min(word(bytes, start), tls12));
}

/** @param version what it offers without an extension for that; at most TLS 1.2 (RFC 8446 §4.2.1). */
function readExtensions(bytes: Uint8Array, start: number, end: number, version: number) {
  let sni: string | null = null;
  let alpn: readonly string[] | null = null;
  let highest: number | null = null;
  for (let at = start, next = 0; at < end; at = next) {
    if (at + 4 > end) return bad("length");
    const type = word(bytes, at);
    at += 4;
    next = at + word(bytes, at - 2);
    if (next > end) return bad("length");
    if (type === extension.serverName && sni === null) {
      sni = readServerName(bytes, at, next);
      if (sni === null) return bad("length");
    } else if (type === extension.alpn && alpn === null) {
      alpn = readProtocols(bytes, at, next);
      if (alpn === null) return bad("length");
    } else if (type === extension.supportedVersions && highest === null) {
      highest = readVersions(bytes, at, next, version);
      if (highest === null) return bad("length");
    }
  }
  const hello = { sni: sni ?? "", alpn: alpn ?? none, version: highest ?? version };
  return { kind: "hello", hello } satisfies HelloReading;
}

/**
 * RFC 6066 §3. Entries of another type than a host name are passed over: their length stands where a name's does.
 * @returns null when a length does not fit.
 */
function readServerName(bytes: Uint8Array, start: number, end: number): string | null {
  const size = sizeOfRest(bytes, start, end);
  if (size < 0) return null;
  let name: string | null = null;
  for (let at = end - size, next = 0; at < end; at = next) {
    if (at + 3 > end) return null;
    next = at + 3 + word(bytes, at + 1);
    if (next > end) return null;
    if (bytes[at] === hostNameType) name ??= readHostName(bytes, at + 3, next);
  }
  return name ?? "";
}

/** Letters and digits, lower case, hyphen and underscore by their byte; 0 for what no host name has. */
const nameBytes = new Uint8Array(256);
for (const character of "abcdefghijklmnopqrstuvwxyz0123456789-_") {
  nameBytes[character.charCodeAt(0)] = character.charCodeAt(0);
  nameBytes[character.toUpperCase().charCodeAt(0)] = character.charCodeAt(0);
}

/** For the text that is being made: one call makes a string of it. */
const scratch = Buffer.alloc(256);

/**
 * @returns "" for what is no host name: with an empty or too long label (a dot at its end leaves an empty one), with
 * other characters than those of `nameBytes`, or an address, which is not to be sent (RFC 6066 §3).
 */
function readHostName(bytes: Uint8Array, start: number, end: number): string {
  const size = end - start;
  if (size > nameSizeMax) return "";
  let labelSize = 0;
  let isNumber = true;
  for (let index = 0; index < size; index += 1) {
    const byte = bytes[start + index] ?? 0;
    if (byte === dot) {
      if (labelSize === 0) return "";
      labelSize = 0;
      scratch[index] = dot;
      continue;
    }
    const lower = nameBytes[byte] ?? 0;
    labelSize += 1;
    if (lower === 0 || labelSize > labelSizeMax) return "";
    if (lower < 48 || lower > 57) isNumber = false;
    scratch[index] = lower;
  }
  return labelSize === 0 || isNumber ? "" : scratch.toString("latin1", 0, size);
}

/** RFC 7301 §3.1; empty ids, which are not allowed, are passed over. @returns null when a length does not fit. */
function readProtocols(bytes: Uint8Array, start: number, end: number): string[] | null {
  const size = sizeOfRest(bytes, start, end);
  if (size < 0) return null;
  const ids: string[] = [];
  for (let at = end - size, next = 0; at < end; at = next) {
    const idSize = bytes[at] ?? 0;
    at += 1;
    next = at + idSize;
    if (next > end) return null;
    if (idSize === 0 || ids.length === alpnCountMax) continue;
    for (let index = 0; index < idSize; index += 1) scratch[index] = bytes[at + index] ?? 0;
    ids.push(scratch.toString("latin1", 0, idSize));
  }
  return ids;
}

/**
 * RFC 8446 §4.2.1; values that are no 3.x are drafts or grease (RFC 8701), half a value at the end is none.
 * @returns `otherwise` when no other is left; null when a length does not fit.
 */
function readVersions(bytes: Uint8Array, start: number, end: number, otherwise: number) {
  const size = end - start - 1;
  if (size < 2 || bytes[start] !== size) return null;
  let highest = 0;
  for (let at = start + 1; at + 1 < end; at += 2) {
    const version = word(bytes, at);
    if (version >> 8 === versionMajor) highest = Math.max(highest, version);
  }
  return highest === 0 ? otherwise : highest;
}

/** The 16-bit length at `at`, which has to be that of all behind it. @returns −1 when it is not. */
function sizeOfRest(bytes: Uint8Array, at: number, end: number): number {
  const size = end - at - 2;
  return size >= 0 && word(bytes, at) === size ? size : -1;
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
}

function bad(fault: HelloFault): HelloReading {
  return { kind: "bad", fault };
}
