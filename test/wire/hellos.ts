// ClientHellos made by hand, right ones and wrong ones, and a second reader of them, written as plainly as can be.

import type { ClientHello } from "../../src/wire/client-hello.ts";

export type Bytes = Uint8Array;

export function bytesOf(text: string): Bytes {
  return Buffer.from(text, "latin1");
}

export function joined(...parts: readonly (Bytes | number)[]): Bytes {
  return Buffer.concat(parts.map((part) => (typeof part === "number" ? Buffer.of(part) : part)));
}

export function u16(value: number): Bytes {
  return Buffer.of(value >> 8, value & 0xff);
}

function u24(value: number): Bytes {
  return Buffer.of(value >> 16, (value >> 8) & 0xff, value & 0xff);
}

/** With its length of two bytes before it, which `wrong` makes another. */
export function sized(body: Bytes, wrong = 0): Bytes {
  return joined(u16(body.length + wrong), body);
}

function short(body: Bytes): Bytes {
  return joined(body.length, body);
}

// ---- extensions --------------------------------------------------------------------------------

export function extension(type: number, body: Bytes): Bytes {
  return joined(u16(type), sized(body));
}

/** An entry of server_name; the type 0 is a host name. */
export function entry(name: string, type = 0, wrong = 0): Bytes {
  return joined(type, sized(bytesOf(name), wrong));
}

export function names(...entries: readonly Bytes[]): Bytes {
  return extension(0, sized(joined(...entries)));
}

export function sni(name: string): Bytes {
  return names(entry(name));
}

export function alpn(...ids: readonly string[]): Bytes {
  return extension(16, sized(joined(...ids.map((id) => short(bytesOf(id))))));
}

export function versions(...list: readonly number[]): Bytes {
  return extension(43, short(joined(...list.map(u16))));
}

export function padding(size: number): Bytes {
  return extension(21, new Uint8Array(size));
}

/** What a server needs besides, to be content with a hello: groups (X25519, P-256), signatures, a share. */
export const needed = joined(
  extension(10, sized(joined(u16(29), u16(23)))),
  extension(13, sized(joined(u16(0x0403), u16(0x0804), u16(0x0401)))),
  extension(11, Buffer.of(1, 0)),
  extension(51, sized(joined(u16(29), sized(new Uint8Array(32).fill(9))))),
);

// ---- messages and records ----------------------------------------------------------------------

export interface HelloParts {
  readonly version?: number;
  readonly sessionIdSize?: number;
  readonly suites?: Bytes;
  readonly compressions?: Bytes;
  /** Null: the message ends before them. */
  readonly extensions?: readonly Bytes[] | null;
  /** Added to the length of all extensions. */
  readonly wrong?: number;
}

/** The message: its header and what is behind. */
export function message(parts: HelloParts): Bytes {
  const extensions = parts.extensions === undefined ? [] : parts.extensions;
  const body = joined(
    u16(parts.version ?? 0x0303),
    new Uint8Array(32).fill(7),
    short(new Uint8Array(parts.sessionIdSize ?? 32).fill(8)),
    sized(parts.suites ?? joined(u16(0x1301), u16(0xc02b), u16(0xc02f))),
    short(parts.compressions ?? Buffer.of(0)),
    extensions === null ? Buffer.alloc(0) : sized(joined(...extensions), parts.wrong),
  );
  return joined(1, u24(body.length), body);
}

export function record(fragment: Bytes, version = 0x0301, type = 22): Bytes {
  return joined(type, u16(version), sized(fragment));
}

/** The message in records that end at `cuts`, which rise, and at its own end. */
export function records(whole: Bytes, cuts: readonly number[]): Bytes {
  const ends = [...cuts, whole.length];
  return joined(...ends.map((end, index) => record(whole.subarray(ends[index - 1] ?? 0, end))));
}

/** In records of `size` bytes each. */
export function recordsOf(whole: Bytes, size: number): Bytes {
  const count = Math.ceil(whole.length / size);
  return records(
    whole,
    Array.from({ length: count - 1 }, (_, index) => size * (index + 1)),
  );
}

/** In one record, with all that a server needs before `extensions`; `more` replaces other parts. */
export function hello(extensions: readonly Bytes[], more: HelloParts = {}): Bytes {
  return record(message({ extensions: [needed, ...extensions], ...more }));
}

// ---- a second reader ---------------------------------------------------------------------------

/** Takes bytes from the front and throws when there are not so many. */
class Cursor {
  #bytes: Bytes;
  constructor(bytes: Bytes) {
    this.#bytes = bytes;
  }
  get size(): number {
    return this.#bytes.length;
  }
  get empty(): boolean {
    return this.size === 0;
  }
  take(size: number): Bytes {
    if (this.#bytes.length < size) throw new RangeError("too short");
    const head = this.#bytes.subarray(0, size);
    this.#bytes = this.#bytes.subarray(size);
    return head;
  }
  number(size: number): number {
    return this.take(size).reduce((sum, byte) => sum * 256 + byte, 0);
  }
  /** What stands behind a length of `size` bytes. */
  part(size: number): Cursor {
    return new Cursor(this.take(this.number(size)));
  }
  /** The same where nothing may follow. */
  rest(size: number): Cursor {
    const part = this.part(size);
    if (!this.empty) throw new RangeError("too long");
    return part;
  }
  get text(): string {
    return this.#bytes.reduce((sum, byte) => sum + String.fromCharCode(byte), "");
  }
}

const HOST = /^(?=.{1,253}$)(?![\d.]*$)[a-z\d_-]{1,63}(?:\.[a-z\d_-]{1,63})*$/i;

export interface Seen extends ClientHello {
  /** The types of all extensions, in their order. */
  readonly types: readonly number[];
}

/** What a stream that begins with a whole hello says; null where it is cut off or broken in any way. */
export function readPlainly(stream: Bytes): Seen | null {
  try {
    return readBody(new Cursor(messageOf(stream).subarray(4)));
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}

/** The message out of its records. @throws a RangeError where it is not whole. */
export function messageOf(stream: Bytes): Bytes {
  const got: number[] = [];
  for (let at = 0; ;) {
    const header = new Cursor(stream.subarray(at, at + 5));
    if (header.number(1) !== 22 || header.number(1) !== 3) throw new RangeError("no handshake");
    header.take(1);
    const size = header.number(2);
    if (size === 0 || size > 16_640) throw new RangeError("size of a record");
    got.push(...stream.subarray(at + 5, at + 5 + size));
    at += 5 + size;
    if (got.length < 4) continue;
    const wanted = 4 + new Cursor(Buffer.from(got.slice(1, 4))).number(3);
    if (at - (got.length - wanted) > 32_768 || got[0] !== 1) throw new RangeError("no hello");
    if (got.length >= wanted) return Buffer.from(got.slice(0, wanted));
  }
}

function readBody(body: Cursor): Seen {
  const alpn: string[] = [];
  const types: number[] = [];
  const seen = { sni: "", alpn, version: Math.min(body.number(2), 0x0303), types };
  body.take(32);
  const sizes = [body.part(1).size, body.part(2).size, body.part(1).size] as const;
  const isRight = sizes[0] <= 32 && sizes[1] > 0 && sizes[1] % 2 === 0 && sizes[2] > 0;
  if (!isRight) throw new RangeError("session id, suites or compressions");
  if (body.empty) return seen;
  const extensions = body.rest(2);
  while (!extensions.empty) {
    const type = extensions.number(2);
    const inside = extensions.part(2);
    const isFirst = !seen.types.includes(type);
    seen.types.push(type);
    if (!isFirst) continue;
    if (type === 0) seen.sni = nameIn(inside.rest(2));
    else if (type === 16) seen.alpn = idsIn(inside.rest(2));
    else if (type === 43) seen.version = versionIn(inside.rest(1), seen.version);
  }
  return seen;
}

function nameIn(list: Cursor): string {
  const found: string[] = [];
  while (!list.empty) {
    const type = list.number(1);
    const { text } = list.part(2);
    if (type === 0) found.push(text);
  }
  const [first = ""] = found;
  return HOST.test(first) ? first.toLowerCase() : "";
}

function idsIn(list: Cursor): string[] {
  const found: string[] = [];
  while (!list.empty) found.push(list.part(1).text);
  return found.filter((id) => id !== "").slice(0, 32);
}

function versionIn(list: Cursor, otherwise: number): number {
  if (list.size < 2) throw new RangeError("no version");
  let highest = -1;
  while (list.size >= 2) {
    const version = list.number(2);
    if (version >> 8 === 3) highest = Math.max(highest, version);
  }
  return highest < 0 ? otherwise : highest;
}
