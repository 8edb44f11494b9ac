// What clients and others send where a ClientHello is expected, and where each of it should lead: a route for the name
// a.example is A, the default is D. Measured of peers: a hello of 16 KiB, one in two records and one of a byte a record
// go astray in HAProxy 3.4.0, one with a session id of 33 bytes in nginx 1.31.4.

import type { HelloFault } from "../../src/wire/client-hello.ts";
import * as h from "./hellos.ts";

/** `close`: it is refused. `wait`: nothing is decided, so the deadline closes it. */
export type Outcome = "A" | "D" | "close" | "wait";

export interface Vector {
  readonly name: string;
  readonly bytes: h.Bytes;
  /** All that is sensible. */
  readonly sensible: readonly Outcome[];
  /** What the reader says: a fault, or else the outcome says it. */
  readonly fault?: HelloFault;
}

const a = h.sni("a.example");
const grease = h.extension(0x0a0a, Buffer.alloc(0));
const D = ["D"] as const;
const refused = ["D", "close"] as const;

/** About as long as those of today: grease, a name, protocols, versions, a key share. */
export const modern = h.message({
  suites: h.joined(h.u16(0x3a3a), h.u16(0x1301), h.u16(0x1302), h.u16(0xc02b)),
  extensions: [
    grease,
    a,
    h.alpn("h2", "http/1.1"),
    h.versions(0x4a4a, 0x0304, 0x0303),
    h.needed,
    h.extension(0x1a1a, Buffer.of(0)),
  ],
});

/** A hello whose message has `size` bytes, most of them before the name. */
export function longMessage(size: number): h.Bytes {
  const rest = h.message({ extensions: [h.padding(0), a] }).length;
  return h.message({ extensions: [h.padding(size - rest), a] });
}

/** The plain one with other bytes from `at` on. */
function altered(at: number, ...bytes: readonly number[]): h.Bytes {
  const hello = Buffer.from(h.hello([a]));
  for (const [index, byte] of bytes.entries()) hello[at + index] = byte;
  return hello;
}

const plain = h.hello([a]);
const whole = h.message({ extensions: [h.needed, a] });
const midName = whole.length - 5;

function right(name: string, bytes: h.Bytes): Vector {
  return { name, bytes, sensible: ["A"] };
}

function unnamed(name: string, extensions: readonly h.Bytes[], more?: h.HelloParts): Vector {
  return { name, bytes: h.hello(extensions, more), sensible: D };
}

function wrong(name: string, bytes: h.Bytes, fault: HelloFault): Vector {
  return { name, bytes, sensible: refused, fault };
}

export const matrix: readonly Vector[] = [
  right("plain", plain),
  right("TLS 1.3 with grease", h.record(modern)),
  right("name after 1.5 KiB", h.hello([h.padding(1_500), a])),
  right("name after 12 KiB", h.hello([h.padding(12_000), a])),
  right("name after grease of 300 bytes", h.hello([h.extension(0xfafa, Buffer.alloc(300)), a])),
  right("upper case", h.hello([h.sni("A.EXAMPLE")])),
  right("two names, a first", h.hello([a, h.sni("b.example")])),
  right(
    "two names in one extension, a first",
    h.hello([h.names(h.entry("a.example"), h.entry("b"))]),
  ),
  right(
    "a name of type 1 before",
    h.hello([h.names(h.entry("b.example", 1), h.entry("a.example"))]),
  ),
  right(
    "encrypted hello, whose outer name is a",
    h.hello([h.extension(0xfe0d, Buffer.alloc(200)), a]),
  ),
  // Bun's server goes on with it, OpenSSL's does not.
  right("half a version behind the last", h.hello([a, h.extension(43, Buffer.of(3, 3, 4, 3))])),
  right("16 KiB in one record", h.record(longMessage(16_384))),
  right("20 KiB in two records", h.recordsOf(longMessage(20_480), 16_384)),
  right("as long as can be", h.recordsOf(longMessage(32_768 - 10), 16_384)),
  right("two records, split in the name", h.records(whole, [midName])),
  right("a byte a record", h.recordsOf(whole, 1)),
  right("bytes behind it in its record", h.record(h.joined(whole, 1, 2, 3))),
  right(
    "a record behind it that is no handshake",
    h.joined(plain, h.record(Buffer.of(1, 0), 0x0303, 20)),
  ),
  right("record version 0x0303", h.record(whole, 0x0303)),
  right("record version 0x0300", h.record(whole, 0x0300)),

  unnamed("dot at the end", [h.sni("a.example.")]),
  unnamed("NUL at the end", [h.sni("a.example\0")]),
  unnamed("NUL and more", [h.sni("a.example\0.b.example")]),
  unnamed("space", [h.sni(" a.example")]),
  unnamed("letters of Latin 1", [h.sni("ä.example")]),
  unnamed("empty label", [h.sni("a..example")]),
  unnamed("dot at the start", [h.sni(".a.example")]),
  unnamed("dot alone", [h.sni(".")]),
  unnamed("label of 64", [h.sni(`${"a".repeat(64)}.example`)]),
  unnamed("name of 254", [h.sni(`${"a.".repeat(126)}bb`)]),
  unnamed("name of 16,000", [h.padding(0), h.sni("a".repeat(16_000))]),
  unnamed("IPv4 address", [h.sni("192.0.2.1")]),
  unnamed("IPv6 address", [h.sni("2001:db8::1")]),
  unnamed("star", [h.sni("*.example")]),
  unnamed("empty name", [h.sni("")]),
  unnamed("empty list of names", [h.names()]),
  unnamed("no name", []),
  unnamed("no extensions", [], { extensions: null }),
  unnamed("name of type 1", [h.names(h.entry("a.example", 1))]),
  unnamed("illegal name before a", [h.names(h.entry("x."), h.entry("a.example"))]),
  unnamed("illegal extension before a", [h.sni("x."), a]),

  wrong("name_len one too long", h.hello([h.names(h.entry("a.example", 0, 1))]), "length"),
  wrong("name_len one too short", h.hello([h.names(h.entry("a.example", 0, -1))]), "length"),
  wrong(
    "list_len one too long",
    h.hello([h.extension(0, h.sized(h.entry("a.example"), 1))]),
    "length",
  ),
  wrong(
    "list_len one too short",
    h.hello([h.extension(0, h.sized(h.entry("a.example"), -1))]),
    "length",
  ),
  wrong(
    "list_len 0 before a name",
    h.hello([h.extension(0, h.sized(h.entry("a.example"), -12))]),
    "length",
  ),
  wrong("empty extension of names", h.hello([h.extension(0, Buffer.alloc(0))]), "length"),
  wrong(
    "bytes behind the list of names",
    h.hello([h.extension(0, h.joined(h.sized(h.entry("a")), 0))]),
    "length",
  ),
  wrong("all extensions one too long", h.hello([a], { wrong: 1 }), "length"),
  wrong("all extensions one too short", h.hello([a], { wrong: -1 }), "length"),
  wrong("extension that is cut off", h.hello([a, Buffer.of(0, 99, 0, 1)]), "length"),
  wrong("header of an extension that is cut off", h.hello([a, Buffer.of(0, 99, 0)]), "length"),
  wrong(
    "message that ends in the random",
    h.record(h.joined(1, 0, 0, 34, Buffer.alloc(34))),
    "length",
  ),
  wrong(
    "message that ends in the length of the suites",
    h.record(h.joined(1, 0, 0, 36, Buffer.alloc(36))),
    "length",
  ),
  wrong("empty message", h.record(Buffer.of(1, 0, 0, 0)), "length"),
  wrong("odd suites", h.hello([a], { suites: Buffer.of(0x13, 1, 0) }), "length"),
  wrong("no suites", h.hello([a], { suites: Buffer.alloc(0) }), "length"),
  wrong("no compressions", h.hello([a], { compressions: Buffer.alloc(0) }), "length"),
  wrong("ALPN cut off", h.hello([a, h.extension(16, h.sized(Buffer.of(3, 104, 50)))]), "length"),
  wrong(
    "ALPN's length wrong",
    h.hello([a, h.extension(16, h.sized(Buffer.of(2, 104, 50), 1))]),
    "length",
  ),
  wrong("no versions in their extension", h.hello([a, h.extension(43, Buffer.of(0))]), "length"),
  wrong("session id of 33 bytes", h.hello([a], { sessionIdSize: 33 }), "session-id"),
  wrong("session id of 255 bytes", h.hello([a], { sessionIdSize: 255 }), "session-id"),
  wrong("record version 0x0400", h.record(whole, 0x0400), "record-version"),
  wrong(
    "version of the second record",
    h.joined(h.record(whole.subarray(0, 50)), h.record(whole.subarray(50), 0x0200)),
    "record-version",
  ),
  wrong("record length 65535, then silence", altered(3, 0xff, 0xff), "record-size"),
  wrong("record length 16,641", altered(3, 0x41, 0x01), "record-size"),
  wrong("record length 0", altered(3, 0, 0), "record-size"),
  wrong(
    "record length 0 in the middle",
    h.joined(h.record(whole.subarray(0, 50)), h.record(Buffer.alloc(0))),
    "record-size",
  ),
  wrong(
    "another content type in the middle",
    h.joined(h.record(whole.subarray(0, 50)), h.record(Buffer.of(2, 0), 0x0301, 21)),
    "record-type",
  ),
  wrong("huge length of the message", altered(6, 0xff, 0xff, 0xff), "hello-size"),
  wrong("a byte longer than can be", h.recordsOf(longMessage(32_768 - 9), 16_384), "hello-size"),
  wrong("16 KiB, a byte a record", h.recordsOf(longMessage(16_384), 1), "hello-size"),
  wrong("hello of a server", altered(5, 2), "message-type"),

  { name: "truncated record", bytes: plain.subarray(0, 60), sensible: ["wait"] },
  { name: "5 bytes only", bytes: plain.subarray(0, 5), sensible: ["wait"] },
  { name: "one byte", bytes: plain.subarray(0, 1), sensible: ["wait"] },
  { name: "nothing sent", bytes: Buffer.alloc(0), sensible: ["wait"] },
  { name: "first of two records", bytes: h.record(whole.subarray(0, midName)), sensible: ["wait"] },

  {
    name: "hello of SSL 2",
    bytes: Buffer.from("802e0103000015000000100100800300800700c0060040020080040080", "hex"),
    sensible: D,
  },
  { name: "alert", bytes: h.record(Buffer.of(2, 40), 0x0303, 21), sensible: D },
  { name: "HTTP", bytes: h.bytesOf("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), sensible: D },
  { name: "SSH", bytes: h.bytesOf("SSH-2.0-OpenSSH_9.2\r\n"), sensible: D },
  {
    name: "first byte of a handshake, then another protocol",
    bytes: Buffer.of(22, 0),
    sensible: D,
  },
];
