// What a client's address is as bits: every form of both families, and texts that are none.
import { expect, test } from "bun:test";
import { isIPv4, isIPv6 } from "node:net";
import { hashAddress, maskOf, readClient, readPlainAddress } from "../../src/core/client.ts";
import { type Random, withSeed } from "../wait.ts";

/** Family and words, as "6 20010db8 00000000 00000000 00000001"; "0" for none. */
function read(text: string, reader = readClient): string {
  const words = new Int32Array(4);
  const family = reader(text, words);
  if (family === 0) return "0";
  return [family, ...Array.from(words, (word) => hex(word >>> 0))].join(" ");
}

function hex(word: number): string {
  return word.toString(16).padStart(8, "0");
}

const four = "4 00000000 00000000 0000ffff";

test.each([
  ["1.2.3.4:5", `${four} 01020304`],
  ["255.255.255.255:65535", `${four} ffffffff`],
  ["0.0.0.0:0", `${four} 00000000`],
  ["[::ffff:1.2.3.4]:5", `${four} 01020304`],
  ["[::FFFF:102:304]:5", `${four} 01020304`],
  ["[0:0:0:0:0:ffff:128.0.0.1]:5", `${four} 80000001`],
  ["[::]:5", "6 00000000 00000000 00000000 00000000"],
  ["[::1]:5", "6 00000000 00000000 00000000 00000001"],
  ["[::1.2.3.4]:5", "6 00000000 00000000 00000000 01020304"],
  ["[2001:db8::1]:5", "6 20010db8 00000000 00000000 00000001"],
  ["[2001:DB8::]:5", "6 20010db8 00000000 00000000 00000000"],
  ["[1:2:3:4:5:6:7:8]:5", "6 00010002 00030004 00050006 00070008"],
  ["[1:2:3:4:5:6:7::]:5", "6 00010002 00030004 00050006 00070000"],
  ["[::2:3:4:5:6:7:8]:5", "6 00000002 00030004 00050006 00070008"],
  ["[64:ff9b::1.2.3.4]:5", "6 0064ff9b 00000000 00000000 01020304"],
  ["[fe80::1%eth0]:5", "6 fe800000 00000000 00000000 00000001"],
])("client: the address of %s is read", (text, expected) => {
  expect(read(text)).toBe(expected);
});

test.each([
  "",
  "unix:",
  ":5",
  "[]:5",
  "[%eth0]:5",
  "[::1:5",
  "::1",
  "1.2.3:5",
  "1.2.3.4.5:6",
  "1.2.3.256:5",
  "1.2..3:5",
  "01.2.3.4:5",
  "1.2.3.-4:5",
  "name:5",
  "[:1]:5",
  "[1:]:5",
  "[:::]:5",
  "[1::2::3]:5",
  "[1:2:3:4:5:6:7]:5",
  "[1:2:3:4:5:6:7:8:9]:5",
  "[1:2:3:4:5:6:7:8::]:5",
  "[::1:2:3:4:5:6:7:8]:5",
  "[1:2:3:4:5:6:7:1.2.3.4]:5",
  "[::1.2.3.4:5]:6",
  "[::12345]:5",
  "[::g]:5",
])("client: %p has no address", (text) => {
  expect(read(text)).toBe("0");
});

test("client: an address alone is read, with neither port nor brackets", () => {
  expect(read("10.0.0.1", readPlainAddress)).toBe(`${four} 0a000001`);
  expect(read("::ffff:10.0.0.1", readPlainAddress)).toBe(`${four} 0a000001`);
  expect(read("fe80::", readPlainAddress)).toBe("6 fe800000 00000000 00000000 00000000");
  expect(read("10.0.0.1:80", readPlainAddress)).toBe("0");
});

/** The same by other means: what Bun holds for an address, taken apart with strings. */
function readNaively(text: string): string {
  if (!text.startsWith("[")) {
    const host = text.split(":", 1)[0] ?? "";
    return isIPv4(host) ? `${four} ${hexOf(host)}` : "0";
  }
  const inner = /^\[([^\]]*)\]/.exec(text)?.[1] ?? "";
  const literal = inner.split("%", 1)[0] ?? "";
  if (!isIPv6(literal)) return "0";
  const plain = literal.replace(
    /[\d.]+\.\d+$/,
    (host) => `${hexOf(host).slice(0, 4)}:${hexOf(host).slice(4)}`,
  );
  const [head = "", tail] = plain.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  const all = [...before, ...zeros, ...after].map((group) => group.padStart(4, "0")).join("");
  const family = all.toLowerCase().startsWith("00000000000000000000ffff") ? 4 : 6;
  return [family, ...(all.toLowerCase().match(/.{8}/g) ?? [])].join(" ");
}

function hexOf(host: string): string {
  return hex(host.split(".").reduce((bits, part) => bits * 256 + Number(part), 0));
}

const starts = [
  "1.2.3.4:5",
  "203.0.113.77:65535",
  "[2001:db8::1]:5",
  "[1:2:3:4:5:6:7:8]:9",
  "[::ffff:1.2.3.4]:5",
  "[a:b:c:d:e:f:1.2.3.4]:5",
  "[fe80::1%eth0]:5",
  "unix:",
  "",
];
const letters = "0123456789abcdefABCDEFg.:[]%/ é";

function mutated({ int }: Random): string {
  let text = starts[int(starts.length)] ?? "";
  for (let change = int(4); change > 0; change -= 1) {
    const at = int(text.length + 1);
    const letter = letters[int(letters.length)] ?? "";
    text = text.slice(0, at) + (int(3) === 0 ? "" : letter) + text.slice(at + int(2));
  }
  return text;
}

test("client: 20,000 texts near to addresses are read as other means read them, none throws", () =>
  withSeed((random) => {
    let goodCount = 0;
    for (let n = 0; n < 20_000; n += 1) {
      const text = mutated(random);
      const expected = readNaively(text);
      if (expected !== "0") goodCount += 1;
      if (read(text) !== expected) expect([text, read(text)]).toEqual([text, expected]);
    }
    expect(goodCount).toBeGreaterThan(2_000);
    expect(goodCount).toBeLessThan(18_000);
  }));

test("client: the hash is HalfSipHash-1-3, as Linux has it for 16 bytes", () => {
  const words = Int32Array.of(0x03020100, 0x07060504, 0x0b0a0908, 0x0f0e0d0c);
  expect(hashAddress(words, 0x03020100, 0x07060504) >>> 0).toBe(0x8b31d501); // lib/test_siphash.c
});

test("client: a mask has as many bits as it is asked for, within one word", () => {
  expect([-5, 0, 1, 31, 32, 99].map((count) => hex(maskOf(count) >>> 0))).toEqual([
    "00000000",
    "00000000",
    "80000000",
    "fffffffe",
    "ffffffff",
    "ffffffff",
  ]);
});
