// Headers and what becomes of them: the conformance table, as data.

import type { ProxyFault } from "../../src/wire/proxy-protocol.ts";
import { signature, slowCrc32c } from "./proxy-oracle.ts";

export interface Vector {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Source and destination, "local", or the fault. */
  readonly answer: readonly [source: string, destination: string] | "local" | ProxyFault;
  /** Types of the TLVs that are kept. */
  readonly types?: readonly number[];
}

type Answer = Vector["answer"];

/** Bytes of the addresses of TCP4: 192.0.2.1:4660 to 198.51.100.2:443. */
export const ipv4 = Buffer.from("c0000201c6336402123401bb", "hex");
/** 2001:db8::1, port 4660, to 2001:db8:0:1::2, port 443. */
export const ipv6 = Buffer.from(
  "20010db800000000000000000000000120010db8000000010000000000000002123401bb",
  "hex",
);
export const unix = pathsOf("/run/client", "/run/proxy");

const fourToFour = ["192.0.2.1:4660", "198.51.100.2:443"] as const;
const sixToSix = ["[2001:db8::1]:4660", "[2001:db8:0:1::2]:443"] as const;
const pathToPath = ["unix:/run/client", "unix:/run/proxy"] as const;

export function pathsOf(source: string, destination: string): Buffer {
  const field = (path: string) =>
    Buffer.concat([Buffer.from(path, "latin1"), Buffer.alloc(108)], 108);
  return Buffer.concat([field(source), field(destination)]);
}

/** A header with the right length, or with another one. */
export function v2(
  command: number,
  family: number,
  body: Uint8Array = Buffer.alloc(0),
  length = body.length,
): Buffer {
  return Buffer.concat([
    signature,
    Uint8Array.of(command, family, length >> 8, length & 255),
    body,
  ]);
}

export function tlv(type: number, value: Uint8Array | string, length = value.length): Buffer {
  const head = Uint8Array.of(type, length >> 8, length & 255);
  return Buffer.concat([head, typeof value === "string" ? Buffer.from(value, "latin1") : value]);
}

/** TCP4 with these TLVs. */
export function withTlvs(...tlvs: readonly Uint8Array[]): Buffer {
  return v2(0x21, 0x11, Buffer.concat([ipv4, ...tlvs]));
}

/** TCP4 with these TLVs and a checksum behind them, changed by `wrong`. */
export function summed(wrong: number, ...tlvs: readonly Uint8Array[]): Buffer {
  const header = withTlvs(...tlvs, tlv(3, Buffer.alloc(4)));
  header.writeUInt32BE((slowCrc32c(header) ^ wrong) >>> 0, header.length - 4);
  return header;
}

function line(text: string, answer: Answer, name = text.trimEnd()): Vector {
  return { name: `v1 ${name}`, bytes: Buffer.from(text, "latin1"), answer };
}

function binary(
  name: string,
  bytes: Uint8Array,
  answer: Answer,
  types?: readonly number[],
): Vector {
  return { name: `v2 ${name}`, bytes, answer, ...(types === undefined ? {} : { types }) };
}

const ffff = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
const longest = `PROXY UNKNOWN ${ffff} ${ffff} 65535 65535\r\n`;

export const versionOne: readonly Vector[] = [
  line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", [
    "192.168.0.1:56324",
    "192.168.0.11:443",
  ]),
  line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", [
    "255.255.255.255:65535",
    "255.255.255.255:65535",
  ]),
  line("PROXY TCP4 0.0.0.0 1.2.3.4 0 0\r\n", ["0.0.0.0:0", "1.2.3.4:0"], "port 0"),
  line(
    `PROXY TCP6 ${ffff} ${ffff} 65535 65535\r\n`,
    [`[${ffff}]:65535`, `[${ffff}]:65535`],
    "TCP6, longest",
  ),
  line("PROXY TCP6 ::1 :: 1 2\r\n", ["[::1]:1", "[::]:2"]),
  line("PROXY TCP6 2001:DB8:0:0:1:0:0:1 1:0:0:2:0:0:0:3 1 2\r\n", [
    "[2001:db8::1:0:0:1]:1",
    "[1:0:0:2::3]:2",
  ]),
  line("PROXY TCP6 0001:0:3:4:5:6:7:0008 1:2:3:4:5:6:7:: 1 2\r\n", [
    "[1:0:3:4:5:6:7:8]:1",
    "[1:2:3:4:5:6:7:0]:2",
  ]),
  line("PROXY TCP6 ::2:3:4:5:6:7:8 1:: 1 2\r\n", ["[0:2:3:4:5:6:7:8]:1", "[1::]:2"]),
  line("PROXY TCP6 ::ffff:1.2.3.4 ::FFFF:102:305 1 2\r\n", ["1.2.3.4:1", "1.2.3.5:2"]),
  line("PROXY TCP6 64:ff9b::1.2.3.4 1:2:3:4:5:6:255.0.1.2 1 2\r\n", [
    "[64:ff9b::102:304]:1",
    "[1:2:3:4:5:6:ff00:102]:2",
  ]),
  line("PROXY UNKNOWN\r\n", "local"),
  line(longest, "local", "UNKNOWN, longest legal line (107 bytes)"),
  line("PROXY UNKNOWN \r\n", "local"),
  line("PROXY UNKNOWN 1.1.1.1 ::1 no port \0\x80\xff\r\n", "local", "UNKNOWN, anything behind it"),
  line(longest.replace("\r\n", "5\r\n"), "too-long", "UNKNOWN of 108 bytes"),
  line(`PROXY UNKNOWN ${"x".repeat(200)}`, "too-long", "UNKNOWN without an end"),
  line(`PROXY TCP6 ${ffff} ${"1".repeat(80)}`, "too-long", "TCP6 without an end"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n", "port", "port 65536"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 65536 1\r\n", "port", "source port 65536"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 080 1\r\n", "port", "port 080"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n", "port", "port 00"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 -1 1\r\n", "port", "port -1"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 123456\r\n", "port", "port of six digits"),
  line("PROXY TCP4 01.1.1.1 5.6.7.8 1 1\r\n", "address", "leading zero"),
  line("PROXY TCP4 1.1.1.1 5.6.00.8 1 1\r\n", "address", "00"),
  line("PROXY TCP4 256.1.1.1 5.6.7.8 1 1\r\n", "address", "256"),
  line("PROXY TCP4 1.1.1 5.6.7.8 1 1\r\n", "address", "three numbers"),
  line("PROXY TCP4 1.1.1.1.1 5.6.7.8 1 1\r\n", "address", "five numbers"),
  line("PROXY TCP4 1.1.1. 5.6.7.8 1 1\r\n", "address", "a number is missing"),
  line("PROXY TCP4 .1.1.1 5.6.7.8 1 1\r\n", "address", "the first number is missing"),
  line("PROXY TCP4 ::1 ::2 1 2\r\n", "address", "IPv6 addresses in TCP4"),
  line("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n", "address", "IPv4 addresses in TCP6"),
  line("PROXY TCP6 ::1 1.2.3.4 1 2\r\n", "address", "one IPv4 address in TCP6"),
  line("PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "address", "a zone"),
  line("PROXY TCP6 [::1] ::1 1 2\r\n", "address", "brackets"),
  ...[
    "1::2::3",
    ":::",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7:8::",
    "::1:2:3:4:5:6:7:8",
    "12345::",
    ":1::",
    "1::2:",
    ":",
    "1:2:3:4:5:6:7:1.2.3.4",
    "::1.2.3",
    "::1.2.3.4:5",
    "::01.2.3.4",
    "1:2:3:4:5:6:7:",
    ":1:2:3:4:5:6:7",
    "::1.2.3.4.5",
    "1:2:3:4::5:6:7:8",
  ].map((ip) => line(`PROXY TCP6 ${ip} ::1 1 2\r\n`, "address", `no address: ${ip}`)),
  line("PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "family", "two spaces before TCP4"),
  line("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n", "line", "two spaces behind TCP4"),
  line("PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n", "line", "two spaces between addresses"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1  2\r\n", "line", "two spaces between ports"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n", "line", "a space at the end"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n", "line", "an extra field"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "line", "a missing field"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n", "line", "an empty field"),
  line("PROXY TCP4\r\n", "family", "TCP4 alone"),
  line("PROXY TCP4 \r\n", "line", "TCP4 and a space"),
  line("PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n", "family", "TCP5"),
  line("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n", "family", "UDP4"),
  line("PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n", "family", "tcp4"),
  line("PROXY unknown\r\n", "family", "unknown"),
  line("PROXY UNKNOWNS\r\n", "family", "UNKNOWNS"),
  line("PROXY UNKNOWN\n", "family", "UNKNOWN, LF only"),
  line("PROXY UNKNOWN a\nb\r\n", "line", "UNKNOWN, LF inside"),
  line("PROXY UNKNOWN a\rb\r\n", "line", "UNKNOWN, CR inside"),
  line("PROXY UNKNOWN\r\r\n", "line", "UNKNOWN, two CR"),
  line("proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "not-proxy", "proxy in lower case"),
  line(" PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", "not-proxy", "a space in front"),
  line("PROXY\tTCP4 1.2.3.4 5.6.7.8 1 2\r\n", "not-proxy", "a tab"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r", "line", "CR only"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n", "line", "LF only"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r", "line", "LF and CR"),
  line("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\0\r\n", "port", "NUL"),
  line("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n", "address", "NUL behind an address"),
  line("GET / HTTP/1.1\r\n", "not-proxy", "HTTP"),
  line("POST / HTTP/1.1\r\n", "not-proxy", "HTTP that begins with P"),
  line("PROXYTCP4", "not-proxy", "no space"),
  line("\x16\x03\x01\x02\0\x01", "not-proxy", "TLS"),
  line("\r\n\r\nPROXY", "not-proxy", "empty lines"),
];

export const versionTwo: readonly Vector[] = [
  binary("PROXY TCP4", v2(0x21, 0x11, ipv4), fourToFour, []),
  binary("PROXY TCP6", v2(0x21, 0x21, ipv6), sixToSix, []),
  binary("PROXY UNSPEC, length 0", v2(0x21, 0x00), "local"),
  binary("PROXY UNSPEC, length 12", v2(0x21, 0x00, ipv4), "local"),
  binary("PROXY UDP4", v2(0x21, 0x12, ipv4), fourToFour),
  binary("PROXY UDP6", v2(0x21, 0x22, ipv6), sixToSix),
  binary("PROXY UNIX stream, length 216", v2(0x21, 0x31, unix), pathToPath),
  binary("PROXY UNIX datagram, length 216", v2(0x21, 0x32, unix), pathToPath),
  binary("LOCAL UNSPEC, length 0", v2(0x20, 0x00), "local"),
  binary("LOCAL TCP4, length 0", v2(0x20, 0x11), "local"),
  binary(
    "LOCAL UNSPEC, 12 bytes that are no TLVs",
    v2(0x20, 0x00, Buffer.alloc(12, 0xff)),
    "local",
  ),
  binary("LOCAL TCP4, length 12", v2(0x20, 0x11, ipv4), "local"),
  binary("LOCAL of a family that there is not", v2(0x20, 0xff, ipv4), "local"),
  binary("LOCAL, longest", v2(0x20, 0x00, Buffer.alloc(0xffff, 1)), "local"),
  binary("unknown family 0x41", v2(0x21, 0x41, ipv4), "family"),
  binary("unknown transport 0x13", v2(0x21, 0x13, ipv4), "family"),
  binary("IPv4 without a transport 0x10", v2(0x21, 0x10, ipv4), "family"),
  binary("stream without a family 0x01", v2(0x21, 0x01, ipv4), "family"),
  binary("command 0x22", v2(0x22, 0x11, ipv4), "command"),
  binary("version 3", v2(0x31, 0x11, ipv4), "version"),
  binary("version 1", v2(0x11, 0x11, ipv4), "version"),
  binary("version 0, LOCAL", v2(0x00, 0x00), "version"),
  binary("TCP4, length 11", v2(0x21, 0x11, ipv4.subarray(0, 11)), "length"),
  binary("TCP4, length 0", v2(0x21, 0x11), "length"),
  binary("TCP4, length 4", v2(0x21, 0x11, ipv4.subarray(0, 4)), "length"),
  binary("TCP6 with length 12", v2(0x21, 0x21, ipv4), "length"),
  binary("TCP6, length 35", v2(0x21, 0x21, ipv6.subarray(0, 35)), "length"),
  binary("UNIX, length 215", v2(0x21, 0x31, unix.subarray(0, 215)), "length"),
  binary(
    "mapped addresses",
    v2(0x21, 0x21, Buffer.from(`${"00000000000000000000ffff01020304".repeat(2)}00010002`, "hex")),
    ["1.2.3.4:1", "1.2.3.4:2"],
  ),
  binary("UNIX without a path", v2(0x21, 0x31, Buffer.alloc(216)), ["unix:", "unix:"]),
  binary("UNIX, abstract", v2(0x21, 0x31, pathsOf("\0name", "\0a\0b")), [
    "unix:@name",
    "unix:@a\\x00b",
  ]),
  binary("UNIX, full", v2(0x21, 0x31, pathsOf("/".padEnd(108, "x"), "/")), [
    `unix:/${"x".repeat(107)}`,
    "unix:/",
  ]),
  binary(
    "UNIX, what no log may get",
    v2(0x21, 0x31, pathsOf('a\r\n b\x1b[1m"\\', "@\xe4\x7f\0x")),
    ["unix:a\\x0d\\x0a\\x20b\\x1b[1m\\x22\\x5c", "unix:\\x40\\xe4\\x7f"],
  ),
  binary("TLV NOOP", withTlvs(tlv(4, ""), tlv(4, "padding")), fourToFour, []),
  binary(
    "TLVs in order",
    withTlvs(
      tlv(2, "a.example"),
      tlv(4, "x"),
      tlv(1, "h2"),
      tlv(5, "id"),
      tlv(0xea, "\x01vpce-1"),
      tlv(2, ""),
    ),
    fourToFour,
    [2, 1, 5, 0xea, 2],
  ),
  binary("TLVs behind TCP6", v2(0x21, 0x21, Buffer.concat([ipv6, tlv(5, "id")])), sixToSix, [5]),
  binary("TLVs behind UNIX", v2(0x21, 0x31, Buffer.concat([unix, tlv(5, "id")])), pathToPath, [5]),
  binary(
    "TLVs in a TLV are not looked at",
    withTlvs(tlv(0x20, "\x01\0\0\0\0\x21\xff\xff")),
    fourToFour,
    [0x20],
  ),
  binary("TLV beyond the header", withTlvs(tlv(5, "id", 3)), "tlv"),
  binary("second TLV beyond the header", withTlvs(tlv(5, "id"), tlv(2, "a", 0xffff)), "tlv"),
  binary("1 stray byte", withTlvs(Uint8Array.of(4)), "tlv"),
  binary("2 stray bytes", withTlvs(tlv(5, "id"), Uint8Array.of(4, 0)), "tlv"),
  binary("TLV of 4 KiB", withTlvs(tlv(0xe0, Buffer.alloc(4096))), fourToFour, [0xe0]),
  binary("TLV of 20 KiB", withTlvs(tlv(0xe0, Buffer.alloc(20_480))), fourToFour, [0xe0]),
  binary(
    "TLV that fills the header",
    withTlvs(tlv(0xe0, Buffer.alloc(0xffff - 15))),
    fourToFour,
    [0xe0],
  ),
  binary(
    "256 TLVs",
    withTlvs(...Array.from({ length: 256 }, (_, n) => tlv(n % 2 ? 2 : 0xe0, ""))),
    fourToFour,
    Array.from({ length: 256 }, (_, n) => (n % 2 ? 2 : 0xe0)),
  ),
  binary("257 TLVs", withTlvs(...Array.from({ length: 257 }, () => tlv(2, ""))), "tlv"),
  binary(
    "as many NOOPs as fit",
    withTlvs(...Array.from({ length: 21_841 }, () => tlv(4, ""))),
    fourToFour,
    [],
  ),
  binary("unique id of 128 bytes", withTlvs(tlv(5, Buffer.alloc(128))), fourToFour, [5]),
  binary("unique id of 129 bytes", withTlvs(tlv(5, Buffer.alloc(129))), "tlv"),
  binary("CRC32C", summed(0), fourToFour, []),
  binary("CRC32C and TLVs", summed(0, tlv(2, "a.example"), tlv(4, "x")), fourToFour, [2]),
  binary("wrong CRC32C", summed(1, tlv(2, "a.example")), "checksum"),
  binary("wrong CRC32C in its first bit", summed(0x8000_0000), "checksum"),
  binary("CRC32C of 3 bytes", withTlvs(tlv(3, Buffer.alloc(3))), "tlv"),
  binary("CRC32C of 5 bytes", withTlvs(tlv(3, Buffer.alloc(5))), "tlv"),
  binary("two CRC32C", summed(0, tlv(3, Buffer.alloc(4))), "tlv"),
  binary(
    "wrong CRC32C in LOCAL",
    v2(0x20, 0x11, Buffer.concat([ipv4, tlv(3, Buffer.alloc(4))])),
    "local",
  ),
];
