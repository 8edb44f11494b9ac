// PROXY headers read: the conformance table, headers in pieces, all values of each byte.

import { describe, expect, test } from "bun:test";
import { crc32c } from "../../src/wire/crc32c.ts";
import { proxyHeaderSizeMax, readProxyHeader } from "../../src/wire/proxy-protocol.ts";
import type { ProxyReading } from "../../src/wire/proxy-protocol.ts";
import { expectedOf, slowCrc32c } from "./proxy-oracle.ts";
import {
  ipv4,
  ipv6,
  summed,
  tlv,
  unix,
  v2,
  versionOne,
  versionTwo,
  withTlvs,
} from "./proxy-vectors.ts";
import type { Vector } from "./proxy-vectors.ts";

const both = { v1: true, v2: true };

function read(bytes: Uint8Array): ProxyReading {
  return readProxyHeader(bytes, both);
}

/** What the client sends behind a header. */
const payload = Buffer.from("hi");

/** The answer as an oracle has it: without the name of a fault. */
function plain(reading: ProxyReading): unknown {
  if (reading.kind !== "header") return reading.kind;
  return { header: reading.header, size: reading.size };
}

function check({ bytes, answer, types }: Vector): void {
  const input = Buffer.concat([bytes, payload]);
  const reading = read(input);
  const version = bytes[0] === 13 ? 2 : 1;
  if (Array.isArray(answer) || answer === "local") {
    const command = answer === "local" ? "local" : "proxy";
    const [source, destination] = answer === "local" ? ["", ""] : answer;
    const header = { version, command, source, destination };
    expect(reading).toMatchObject({ kind: "header", header, size: bytes.length });
    if (reading.kind !== "header") return;
    if (types !== undefined)
      expect(reading.header.tlvs.map(({ type }) => type)).toEqual([...types]);
    if (version === 1 || command === "local") expect(reading.header.tlvs).toEqual([]);
  } else {
    expect(reading).toEqual({ kind: "bad", fault: answer as never }); // a fault, the only case left
  }
  expect(plain(reading)).toEqual(expectedOf(input));
}

/** Where an input is cut: behind every byte; those of many KiB behind the first and the last ones, and now and then. */
function endsOf(size: number): number[] {
  const ends = Array.from({ length: size + 1 }, (_, end) => end);
  return ends.filter((end) => end < 300 || end > size - 5 || end % 997 === 0);
}

describe("vectors", () => {
  for (const vector of [...versionOne, ...versionTwo]) {
    test(`proxy: ${vector.name}`, () => check(vector));
  }

  test("proxy: every vector in pieces, split at every byte, as whole", () => {
    for (const { name, bytes, answer } of [...versionOne, ...versionTwo]) {
      const input = Buffer.concat([bytes, payload]);
      const whole = read(input);
      let decidedAt = -1;
      for (const end of endsOf(input.length)) {
        const reading = read(input.subarray(0, end));
        if (reading.kind === "more") {
          expect({ name, end, decidedAt }).toEqual({ name, end, decidedAt: -1 });
          continue;
        }
        expect({ name, end, reading }).toEqual({ name, end, reading: whole as typeof reading }); // or it fails
        if (decidedAt < 0) decidedAt = end;
      }
      const isHeader = Array.isArray(answer) || answer === "local";
      if (isHeader) expect([name, decidedAt]).toEqual([name, bytes.length]);
    }
  });
});

describe("as early as can be told", () => {
  const cases: readonly (readonly [string, Uint8Array, number])[] = [
    ["not PROXY", Buffer.from("GET /"), 1],
    ["POST", Buffer.from("POST /"), 2],
    ["TCP5", Buffer.from("PROXY TCP5"), 10],
    ["UNKNOWNX", Buffer.from("PROXY UNKNOWNX"), 14],
    ["LF", Buffer.from("PROXY TCP4 1\n"), 13],
    ["a letter in a port", Buffer.from("PROXY TCP4 1.1.1.1 1.1.1.1 x"), 28],
    ["a signature that is none", Buffer.from("\r\n\r\n\0\r\nQUIX", "latin1"), 11],
    ["version", v2(0x31, 0x11, ipv4), 13],
    ["command", v2(0x22, 0x11, ipv4), 13],
    ["family", v2(0x21, 0x41, ipv4), 14],
    ["length", v2(0x21, 0x11, ipv4.subarray(0, 11)), 16],
    ["line of 108 bytes", Buffer.from(`PROXY UNKNOWN ${"x".repeat(100)}`), 106],
  ];
  for (const [name, bytes, size] of cases) {
    test(`proxy: ${name} is bad after ${size} bytes`, () => {
      expect(read(bytes.subarray(0, size - 1))).toEqual({ kind: "more" });
      expect(read(bytes.subarray(0, size)).kind).toBe("bad");
    });
  }

  test("proxy: a version that is not accepted is none, by its first byte", () => {
    const first = v2(0x21, 0x11, ipv4);
    const second = Buffer.from("PROXY UNKNOWN\r\n");
    const bad = { kind: "bad", fault: "not-proxy" };
    for (const size of [1, 6, 15]) {
      expect(readProxyHeader(first.subarray(0, size), { v1: true, v2: false })).toEqual(
        bad as never,
      );
      expect(readProxyHeader(second.subarray(0, size), { v1: false, v2: true })).toEqual(
        bad as never,
      );
      for (const bytes of [first, second, Buffer.alloc(0)]) {
        expect(readProxyHeader(bytes, { v1: false, v2: false })).toEqual(bad as never);
      }
    }
    expect(readProxyHeader(first, { v1: false, v2: true }).kind).toBe("header");
    expect(readProxyHeader(second, { v1: true, v2: false }).kind).toBe("header");
    expect(read(Buffer.alloc(0))).toEqual({ kind: "more" });
  });
});

describe("limits", () => {
  /** How many times bytes are looked at until it answers. */
  function looksAt(bytes: Uint8Array): number {
    let count = 0;
    const counted = new Proxy(bytes, {
      get(target, key) {
        count += typeof key === "string" && /^\d+$/.test(key) ? 1 : 0;
        return Reflect.get(target, key, target) as unknown; // whatever it is, as the bytes have it
      },
    });
    expect(read(counted)).toEqual({ kind: "more" });
    return count;
  }

  test("proxy: waiting costs the same at each size", () => {
    const long = v2(0x21, 0x11, Buffer.concat([ipv4, tlv(0xe0, Buffer.alloc(0xffff - 15))]));
    expect(long.length).toBe(proxyHeaderSizeMax);
    const counts = [16, 28, 536, 20_000, long.length - 1].map((size) =>
      looksAt(long.subarray(0, size)),
    );
    expect(new Set(counts).size).toBe(1);
    expect(counts[0]).toBeLessThan(40);
    expect(looksAt(Buffer.from(`PROXY UNKNOWN ${"x".repeat(91)}`))).toBeLessThan(5 * 107);
    expect(looksAt(Buffer.from(`PROXY TCP6 ${"1".repeat(94)}`))).toBeLessThan(5 * 107);
  });

  test("proxy: values of TLVs are copies", () => {
    const input = withTlvs(tlv(5, "unique"), tlv(2, "a.example"));
    const reading = read(input);
    input.fill(0);
    if (reading.kind !== "header") throw new Error(reading.kind);
    expect(reading.header.tlvs.map(({ value }) => Buffer.from(value).toString())).toEqual([
      "unique",
      "a.example",
    ]);
  });

  test("proxy: a reading shares nothing with the one before it", () => {
    const one = read(v2(0x21, 0x11, ipv4));
    const two = read(v2(0x21, 0x21, ipv6));
    expect(one).toMatchObject({ header: { source: "192.0.2.1:4660" } });
    expect(two).toMatchObject({ header: { source: "[2001:db8::1]:4660" } });
  });
});

describe("all 256 values of each byte", () => {
  const bases: Readonly<Record<string, Uint8Array>> = {
    "v2 TCP4": v2(0x21, 0x11, ipv4),
    "v2 TCP4 with TLVs": withTlvs(tlv(2, "a"), tlv(4, ""), tlv(5, "id")),
    "v2 TCP4 with CRC32C": summed(0, tlv(2, "a")),
    "v2 TCP6": v2(0x21, 0x21, ipv6),
    "v2 UNIX": v2(0x21, 0x31, unix),
    "v2 LOCAL": v2(0x20, 0x00, ipv4),
    "v1 TCP4": Buffer.from("PROXY TCP4 1.20.3.255 10.0.0.1 1024 65535\r\n"),
    "v1 TCP6": Buffer.from("PROXY TCP6 2001:db8::a ::ffff:1.2.3.4 0 443\r\n"),
    "v1 UNKNOWN": Buffer.from("PROXY UNKNOWN ::1 ::1 1 2\r\n"),
  };
  for (const [name, base] of Object.entries(bases)) {
    test(`proxy: ${name}, as the oracle has them`, () => {
      for (let at = 0; at < base.length; at += 1) {
        for (let value = 0; value < 256; value += 1) {
          const bytes = Buffer.concat([base, payload]);
          bytes[at] = value;
          expect([at, value, plain(read(bytes))]).toEqual([at, value, expectedOf(bytes)]);
        }
      }
    });
  }

  /** The values of a byte with which there is a header; what follows is long enough for each. */
  function accepted(base: Uint8Array, at: number): number[] {
    return Array.from({ length: 256 }, (_, value) => value).filter((value) => {
      const bytes = Buffer.concat([base, Buffer.alloc(0xffff)]);
      bytes[at] = value;
      return read(bytes).kind === "header";
    });
  }
  const all = Array.from({ length: 256 }, (_, value) => value);

  test("proxy: the 16 bytes of a PROXY header have these values, and no others", () => {
    const base = v2(0x21, 0x31, Buffer.concat([unix, tlv(4, Buffer.alloc(37))])); // length 256
    for (const [at, byte] of [...base.subarray(0, 12)].entries()) {
      expect([at, accepted(base, at)]).toEqual([at, [byte]]);
    }
    expect(accepted(base, 12)).toEqual([0x20, 0x21]);
    // Zeros behind the addresses are TLVs of no type and no length, three bytes each.
    const zeros = v2(0x21, 0x11, Buffer.alloc(228)); // 12 and 216 more, for each family a multiple of 3
    expect(accepted(zeros, 13)).toEqual([0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32]);
    const whole = (length: number, addressSize: number) =>
      length >= addressSize &&
      (length - addressSize) % 3 === 0 &&
      (length - addressSize) / 3 <= 256;
    const four = v2(0x21, 0x11, ipv4);
    expect(accepted(four, 14)).toEqual(all.filter((high) => whole(high * 256 + 12, 12)));
    expect(accepted(four, 15)).toEqual(all.filter((low) => whole(low, 12)));
  });

  test("proxy: the 16 bytes of a LOCAL header have these values, and no others", () => {
    const base = v2(0x20, 0x00);
    for (const [at, byte] of [...base.subarray(0, 12)].entries()) {
      expect([at, accepted(base, at)]).toEqual([at, [byte]]);
    }
    expect(accepted(base, 12)).toEqual([0x20, 0x21]);
    for (const at of [13, 14, 15]) expect([at, accepted(base, at)]).toEqual([at, all]);
  });
});

describe("CRC32C", () => {
  test("crc32c: the published sums (RFC 3720, B.4)", () => {
    const sums: readonly (readonly [Uint8Array, number])[] = [
      [Buffer.from("123456789"), 0xe306_9283],
      [Buffer.alloc(32), 0x8a91_36aa],
      [Buffer.alloc(32, 0xff), 0x62a8_ab43],
      [Uint8Array.from({ length: 32 }, (_, n) => n), 0x46dd_794e],
      [Uint8Array.from({ length: 32 }, (_, n) => 31 - n), 0x113f_db5c],
    ];
    for (const [bytes, sum] of sums) {
      expect(crc32c(bytes, bytes.length, bytes.length)).toBe(sum);
      expect(slowCrc32c(bytes)).toBe(sum);
    }
  });

  test("crc32c: every wrong bit of what it covers is found", () => {
    const header = summed(0, tlv(2, "a.example"), tlv(5, "id"));
    const sumAt = header.length - 7;
    for (let bit = 16 * 8; bit < header.length * 8; bit += 1) {
      const at = bit >> 3;
      const bytes = Buffer.from(header);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
      // Without the type of a checksum there is none to be wrong.
      if (at === sumAt) expect(read(bytes).kind).toBe("header");
      else expect([bit, read(bytes).kind]).toEqual([bit, "bad"]);
    }
  });
});
