// PROXY headers written: byte for byte, and read back.

import { describe, expect, test } from "bun:test";
import { readProxyHeader } from "../../src/wire/proxy-protocol.ts";
import { sslTlv, textTlv, tlvType } from "../../src/wire/proxy-tlv.ts";
import { writeLocalHeader, writeProxyHeader } from "../../src/wire/proxy-write.ts";
import type { ProxyFacts } from "../../src/wire/proxy-write.ts";
import { withSeed, type Random } from "../wait.ts";
import { expectedOf } from "./proxy-oracle.ts";
import { ipv4, ipv6, pathsOf, summed, tlv, unix, v2, withTlvs } from "./proxy-vectors.ts";

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function facts(source: string, destination: string, more: Partial<ProxyFacts> = {}): ProxyFacts {
  return { source, destination, tlvs: [], ...more };
}

function line(source: string, destination: string): string {
  return Buffer.from(writeProxyHeader(1, facts(source, destination))).toString("latin1");
}

function second(source: string, destination: string, more: Partial<ProxyFacts> = {}): string {
  return hex(writeProxyHeader(2, facts(source, destination, more)));
}

const four = ["192.0.2.1:4660", "198.51.100.2:443"] as const;
const six = ["[2001:db8::1]:4660", "[2001:db8:0:1::2]:443"] as const;

describe("version 1", () => {
  const lines: readonly (readonly [string, string, string])[] = [
    ["192.168.0.1:56324", "192.168.0.11:443", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"],
    ["0.0.0.0:0", "255.255.255.255:65535", "PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"],
    [...six, "PROXY TCP6 2001:db8::1 2001:db8:0:1::2 4660 443\r\n"],
    ["[2001:DB8:0:0:0:0:0:1]:1", "[::]:2", "PROXY TCP6 2001:db8::1 :: 1 2\r\n"],
    ["[fe80::1%eth0]:1", "[fe80::2%2]:2", "PROXY TCP6 fe80::1 fe80::2 1 2\r\n"],
    ["[::ffff:1.2.3.4]:1", "5.6.7.8:2", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"],
    ["1.2.3.4:1", "[2001:db8::1]:2", "PROXY TCP6 ::ffff:102:304 2001:db8::1 1 2\r\n"],
    ["[2001:db8::1]:1", "1.2.3.4:2", "PROXY TCP6 2001:db8::1 ::ffff:102:304 1 2\r\n"],
    ["unix:/a", "unix:/b", "PROXY UNKNOWN\r\n"],
    ["", "", "PROXY UNKNOWN\r\n"],
    ["1.2.3.4:1", "unix:/b", "PROXY UNKNOWN\r\n"],
    ["1.2.3.4:1", "", "PROXY UNKNOWN\r\n"],
  ];
  for (const [source, destination, expected] of lines) {
    test(`proxy out: v1 ${source || "nobody"} to ${destination || "nowhere"}`, () => {
      expect(line(source, destination)).toBe(expected);
    });
  }

  test("proxy out: v1, the longest line has 104 bytes", () => {
    const place = `[${Array.from({ length: 8 }, () => "ffff").join(":")}]:65535`;
    expect(line(place, place).length).toBe(104);
  });

  test("proxy out: text that is no place is nobody's, whatever it is", () => {
    for (const text of [
      "1.2.3.4",
      "1.2.3.4:65536",
      "1.2.3.4:",
      ":1",
      "a.example:1",
      "2001:db8::1",
      "[::1:1",
      "[1.2.3.4]:1",
      "01.2.3.4:1",
      "1.2.3.4:1\r\nX",
      "1.2.3.4\r\n:1",
    ]) {
      expect([text, line(text, "1.2.3.4:1")]).toEqual([text, "PROXY UNKNOWN\r\n"]);
      expect([text, second("1.2.3.4:1", text)]).toEqual([text, hex(v2(0x21, 0))]);
    }
  });
});

describe("version 2", () => {
  test("proxy out: v2, the bytes of each family", () => {
    const sign = "0d0a0d0a000d0a515549540a";
    expect(second("192.168.0.1:56324", "192.168.0.11:443")).toBe(
      `${sign}2111000c${"c0a80001"}${"c0a8000b"}${"dc04"}${"01bb"}`,
    );
    expect(second(...four)).toBe(hex(v2(0x21, 0x11, ipv4)));
    expect(second(...six)).toBe(`${sign}21210024${hex(ipv6)}`);
    expect(second("unix:/run/client", "unix:/run/proxy")).toBe(`${sign}213100d8${hex(unix)}`);
    expect(second("unix:", "unix:")).toBe(`${sign}213100d8${"00".repeat(216)}`);
    expect(second("unix:@name", "unix:\\x40a\\x00")).toBe(
      `${sign}213100d8${hex(pathsOf("\0name", "@a"))}`,
    );
    expect(second("1.2.3.4:1", "[2001:db8::1]:2")).toBe(
      `${sign}21210024${"00".repeat(10)}ffff01020304${"20010db8"}${"00".repeat(11)}0100010002`,
    );
    expect(second("", "")).toBe(`${sign}21000000`);
    expect(second("unix:/a", "1.2.3.4:1")).toBe(`${sign}21000000`);
  });

  test("proxy out: a path has 108 bytes and no more", () => {
    const path = `unix:/${"x".repeat(107)}`;
    expect(second(path, "unix:@")).toBe(hex(v2(0x21, 0x31, pathsOf(path.slice(5), ""))));
    expect(second(`${path}x`, "unix:")).toBe(hex(v2(0x21, 0)));
    expect(second(`unix:@${"x".repeat(108)}`, "unix:")).toBe(hex(v2(0x21, 0)));
    // Backslashes that are no escapes stand for themselves; an escape is one byte of the 108.
    expect(second("unix:\\x4", "unix:\\xgg\\\\x41")).toBe(
      hex(v2(0x21, 0x31, pathsOf("\\x4", "\\xgg\\A"))),
    );
    expect(second(`unix:/${"\\x01".repeat(107)}`, "unix:")).toBe(
      hex(v2(0x21, 0x31, pathsOf(`/${"\x01".repeat(107)}`, ""))),
    );
    expect(second("unix:", "unix:/ä")).toBe(hex(v2(0x21, 0x31, pathsOf("", "/\xc3\xa4"))));
  });

  test("proxy out: LOCAL, for a sender's own connections", () => {
    expect(hex(writeLocalHeader(2))).toBe("0d0a0d0a000d0a515549540a20000000");
    expect(Buffer.from(writeLocalHeader(1)).toString()).toBe("PROXY UNKNOWN\r\n");
    for (const version of [1, 2] as const) {
      const reading = readProxyHeader(writeLocalHeader(version), { v1: true, v2: true });
      expect(reading).toMatchObject({ kind: "header", header: { version, command: "local" } });
    }
  });

  test("proxy out: TLVs in order, padding and foreign sums left out", () => {
    const tlvs = [
      textTlv(tlvType.authority, "a.example"),
      { type: tlvType.noop, value: Buffer.from("x") },
      { type: tlvType.crc32c, value: Buffer.alloc(4) },
      textTlv(tlvType.alpn, "h2"),
      { type: tlvType.uniqueId, value: Buffer.alloc(0) },
    ];
    const told = [tlv(2, "a.example"), tlv(1, "h2"), tlv(5, "")];
    expect(second(...four, { tlvs })).toBe(hex(withTlvs(...told)));
    expect(second("", "", { tlvs })).toBe(hex(v2(0x21, 0, Buffer.concat(told))));
  });

  test("proxy out: the checksum, the same for a header without TLVs as an oracle has it", () => {
    expect(second(...four, { checksum: true })).toBe(hex(summed(0)));
    const tlvs = [textTlv(tlvType.authority, "a.example")];
    const bytes = writeProxyHeader(2, facts(...six, { tlvs, checksum: true }));
    expect(expectedOf(bytes)).toMatchObject({ header: { source: six[0], tlvs: [{ type: 2 }] } });
    expect(writeProxyHeader(1, facts(...four, { tlvs, checksum: true }))).toEqual(
      writeProxyHeader(1, facts(...four)),
    );
  });

  test("proxy out: what does not fit in 64 KiB is left out, and all behind it", () => {
    const room = 0xffff - 12;
    const full = { type: 0xe0, value: Buffer.alloc(room - 3) };
    const small = textTlv(tlvType.uniqueId, "id");
    const sizeOf = (more: Partial<ProxyFacts>) => writeProxyHeader(2, facts(...four, more)).length;
    expect(sizeOf({ tlvs: [full] })).toBe(16 + 0xffff);
    expect(sizeOf({ tlvs: [full, small] })).toBe(16 + 0xffff);
    expect(sizeOf({ tlvs: [small, full, small] })).toBe(16 + 12 + 5);
    expect(sizeOf({ tlvs: [full, small], checksum: true })).toBe(16 + 12 + 7);
    const huge = { type: 0xe0, value: Buffer.alloc(70_000) };
    const bytes = writeProxyHeader(
      2,
      facts(...four, { tlvs: [small, huge, small], checksum: true }),
    );
    const reading = readProxyHeader(bytes, { v1: false, v2: true });
    expect(reading).toMatchObject({
      kind: "header",
      header: { tlvs: [{ type: 5 }] },
      size: bytes.length,
    });
  });
});

describe("TLS", () => {
  const cases: readonly (readonly [string, Parameters<typeof sslTlv>[0], string])[] = [
    [
      "without a certificate",
      { version: "TLSv1.3", clientName: "", verified: false },
      "01 00000001 210007544c5376312e33",
    ],
    [
      "nothing is verified without one",
      { version: "TLSv1.2", clientName: "", verified: true },
      "01 00000001 210007544c5376312e32",
    ],
    [
      "with a good certificate",
      { version: "TLSv1.3", clientName: "Jü", verified: true, cipher: "X" },
      "07 00000000 210007544c5376312e33 2200034ac3bc 23000158",
    ],
    [
      "with one that is not",
      { version: "TLSv1.3", clientName: "a", verified: false },
      "07 00000001 210007544c5376312e33 22000161",
    ],
    [
      "with one of an earlier connection",
      { version: "TLSv1.3", clientName: "a", verified: true, resumed: true },
      "05 00000000 210007544c5376312e33 22000161",
    ],
    [
      "a name of 257 bytes is left out, not cut",
      { version: "TLSv1.3", clientName: "n".repeat(257), verified: true },
      "07 00000000 210007544c5376312e33",
    ],
  ];
  for (const [name, given, expected] of cases) {
    test(`proxy out: PP2_TYPE_SSL ${name}`, () => {
      const { type, value } = sslTlv(given);
      expect([type, hex(value)]).toEqual([0x20, expected.replaceAll(" ", "")]);
    });
  }
});

describe("read back", () => {
  function ipOf(random: Random): string {
    if (random.int(2) === 0) return [...random.bytes(4)].join(".");
    const groups = Array.from({ length: 8 }, () => (random.int(2) === 0 ? 0 : random.int(65_536)));
    return new URL(`http://[${groups.map((group) => group.toString(16)).join(":")}]`).hostname;
  }
  function placesOf(random: Random): [string, string] {
    const place = () => `${ipOf(random)}:${random.int(65_536)}`;
    if (random.int(4) > 0) return [place(), place()];
    const path = () => `unix:/${random.bytes(random.int(53)).toString("hex")}`;
    return [path(), path()];
  }
  function tlvsOf(random: Random): ProxyFacts["tlvs"] {
    const types = [1, 2, 5, 0x20, 0x30, 0xe0, 0xef];
    return Array.from({ length: random.int(5) }, () => ({
      type: types[random.int(types.length)] ?? 1,
      value: new Uint8Array(random.bytes(random.int(120))),
    }));
  }

  test("proxy out: what is written is read the same, by us and by the oracle", async () => {
    await withSeed((random) => {
      for (let n = 0; n < 3_000; n += 1) {
        const [source, destination] = placesOf(random);
        const tlvs = tlvsOf(random);
        for (const version of [1, 2] as const) {
          const checksum = random.int(2) === 0;
          const header = writeProxyHeader(version, { source, destination, tlvs, checksum });
          const reading = readProxyHeader(Buffer.concat([header, Buffer.from("hi")]), {
            v1: true,
            v2: true,
          });
          const isUnknown = version === 1 && source.startsWith("unix:");
          const told = isUnknown
            ? { command: "local", source: "", destination: "", tlvs: [] }
            : { command: "proxy", source, destination, tlvs: version === 1 ? [] : tlvs };
          expect(reading as unknown).toEqual({
            kind: "header",
            header: { version, ...told },
            size: header.length,
          });
          if (reading.kind !== "header") return;
          expect(expectedOf(header)).toEqual({ header: reading.header, size: reading.size });
        }
      }
    });
  });
});
