// A ClientHello by every split there is, and every wrong one by the table of `hello-matrix.ts`.

import { describe, expect, test } from "bun:test";
import { Routes } from "../../src/core/routes.ts";
import {
  alpnCountMax,
  ClientHelloReader,
  helloSizeMax,
  type ClientHello,
  type HelloReading,
} from "../../src/wire/client-hello.ts";
import { longMessage, matrix, modern, type Outcome } from "./hello-matrix.ts";
import * as h from "./hellos.ts";

function read(bytes: h.Bytes): HelloReading {
  return new ClientHelloReader().read(bytes, bytes.length);
}

/** Feeds prefixes of these sizes, each in a buffer of its own, and stops at the first answer. */
function readBy(bytes: h.Bytes, sizes: Iterable<number>): HelloReading {
  const reader = new ClientHelloReader();
  let reading: HelloReading = { kind: "more" };
  for (const size of sizes) {
    reading = reader.read(Uint8Array.from(bytes.subarray(0, size)), size);
    if (reading.kind !== "more") break;
  }
  return reading;
}

function helloOf(bytes: h.Bytes): ClientHello {
  const reading = read(bytes);
  if (reading.kind !== "hello") throw new Error(`no hello: ${JSON.stringify(reading)}`);
  return reading.hello;
}

describe("matrix", () => {
  const routes = new Routes([{ sni: ["a.example"], alpn: [], plain: false, lane: 0 }], 1);

  function outcomeOf(reading: HelloReading): Outcome {
    if (reading.kind === "more") return "wait";
    if (reading.kind === "bad") return "close";
    const lane = routes.choose(reading.kind === "hello" ? reading.hello : null);
    return lane === 0 ? "A" : "D";
  }

  test.each(matrix.map((vector) => [vector.name, vector] as const))(
    "client hello: %s",
    (_, { bytes, sensible, fault }) => {
      const reading = read(bytes);
      expect(sensible).toContain(outcomeOf(reading));
      if (fault === undefined) expect(reading.kind).not.toBe("bad");
      else expect(reading).toEqual({ kind: "bad", fault });
      const plainly = h.readPlainly(bytes);
      if (reading.kind === "hello") expect(plainly).toMatchObject(reading.hello);
      else expect(plainly).toBeNull();
    },
  );

  test.each(matrix.map((vector) => [vector.name, vector] as const))(
    "client hello: %s, cut in two at every byte",
    (_, { bytes }) => {
      const whole = read(bytes);
      // Long ones everywhere in their headers, and in every 37th place behind.
      const step = bytes.length > 4_096 ? 37 : 1;
      for (let cut = 0; cut <= bytes.length; cut += cut < 64 ? 1 : step) {
        const reader = new ClientHelloReader();
        const first = reader.read(bytes, cut);
        expect(["more", whole.kind]).toContain(first.kind);
        const second = reader.read(bytes, bytes.length);
        if (!Bun.deepEquals(second, whole)) expect({ cut, second }).toEqual({ cut, second: whole });
      }
    },
  );

  test.each(
    matrix.filter(({ bytes }) => bytes.length < 2_000).map((each) => [each.name, each] as const),
  )("client hello: %s, a byte at a time, each in another buffer", (_, { bytes }) => {
    expect(
      readBy(
        bytes,
        bytes.keys().map((at) => at + 1),
      ),
    ).toEqual(read(bytes));
  });
});

describe("records", () => {
  const expected = { sni: "a.example", alpn: ["h2", "http/1.1"], version: 0x0304 };

  test("client hello: the same with a boundary of records at every place", () => {
    for (let cut = 1; cut < modern.length; cut += 1) {
      expect([cut, helloOf(h.records(modern, [cut]))]).toEqual([cut, expected]);
    }
  });

  test("client hello: the same with every pair of boundaries", () => {
    for (let first = 1; first < modern.length - 1; first += 1) {
      for (let second = first + 1; second < modern.length; second += 1) {
        const hello = helloOf(h.records(modern, [first, second]));
        if (Bun.deepEquals(hello, expected)) continue;
        expect([first, second, hello]).toEqual([first, second, expected]);
      }
    }
  });

  test("client hello: a byte a record and a byte at a time, in time linear in the bytes", () => {
    // 5,461 records of 6 bytes: the most that the limit holds.
    const bytes = h.recordsOf(longMessage(5_461), 1);
    expect(bytes.length).toBe(helloSizeMax - 2);
    const counted = new Proxy(bytes, {
      get(target, key) {
        if (typeof key === "string" && /^\d+$/.test(key)) lookCount += 1;
        return Reflect.get(target, key) as unknown;
      },
    });
    let lookCount = 0;
    const reader = new ClientHelloReader();
    for (let size = 0; size < bytes.length; size += 1) {
      expect(reader.read(counted, size).kind).toBe("more");
    }
    const reading = reader.read(counted, bytes.length);
    expect(reading).toMatchObject({ kind: "hello", hello: { sni: "a.example" } });
    // A header is begun once more for each byte of it that comes alone; then all is put together.
    expect(lookCount).toBeGreaterThan(bytes.length);
    expect(lookCount).toBeLessThan(6 * bytes.length);
  });

  test("client hello: no byte behind the size is looked at, nor one behind the limit", () => {
    for (const { bytes } of matrix) {
      const more = h.joined(bytes, 22, 3, 1, 0xff, 0xff, Buffer.alloc(64, 1));
      let furthest = -1;
      const watched = new Proxy(more, {
        get(target, key) {
          if (typeof key === "string" && /^\d+$/.test(key)) furthest = Math.max(furthest, +key);
          return Reflect.get(target, key) as unknown;
        },
      });
      expect(new ClientHelloReader().read(watched, bytes.length)).toEqual(read(bytes));
      expect(furthest).toBeLessThan(Math.min(bytes.length, helloSizeMax));
    }
  });

  test("client hello: what is said once is said again, whatever comes then", () => {
    for (const { bytes } of matrix) {
      const reader = new ClientHelloReader();
      const reading = reader.read(bytes, bytes.length);
      if (reading.kind === "more") continue;
      const other = Buffer.concat([bytes, Buffer.alloc(10, 0xff)]);
      expect(reader.read(other, other.length)).toBe(reading);
    }
  });
});

describe("not TLS", () => {
  test("client hello: decided by the first byte, or the second behind 22", () => {
    for (let byte = 0; byte < 256; byte += 1) {
      const first = read(Buffer.of(byte)).kind;
      expect([byte, first]).toEqual([byte, byte === 22 ? "more" : "not-tls"]);
      const second = read(Buffer.of(22, byte)).kind;
      const expected = byte === 3 ? "more" : byte === 4 ? "bad" : "not-tls";
      expect([byte, second]).toEqual([byte, expected]);
    }
  });
});

describe("what it asks for", () => {
  test("client hello: protocols as offered, each byte a character", () => {
    const hello = helloOf(h.hello([h.alpn("h2", "\x0a\x0a", "\xff\x00é", "x".repeat(255))]));
    expect(hello.alpn).toEqual(["h2", "\x0a\x0a", "\xff\x00é", "x".repeat(255)]);
    expect(helloOf(h.hello([h.alpn()])).alpn).toEqual([]);
    expect(helloOf(h.hello([h.alpn("", "h2", "")])).alpn).toEqual(["h2"]);
    expect(helloOf(h.hello([h.alpn("h2"), h.alpn("http/1.1")])).alpn).toEqual(["h2"]);
  });

  test("client hello: protocols beyond the limit are dropped, but checked", () => {
    const ids = Array.from({ length: 2 * alpnCountMax }, (_, index) => `p${index}`);
    expect(helloOf(h.hello([h.alpn(...ids)])).alpn).toEqual(ids.slice(0, alpnCountMax));
    const list = h.joined(h.alpn(...ids).subarray(6), 9);
    expect(read(h.hello([h.extension(16, h.sized(list))]))).toEqual({
      kind: "bad",
      fault: "length",
    });
  });

  test("client hello: the highest version, past grease and drafts", () => {
    const versionOf = (list: readonly number[], version = 0x0303) =>
      helloOf(h.hello(list.length === 0 ? [] : [h.versions(...list)], { version })).version;
    expect(versionOf([0x0304, 0x0303])).toBe(0x0304);
    expect(versionOf([0x0303, 0x0304])).toBe(0x0304);
    expect(versionOf([0xfafa, 0x7f1c, 0x0303])).toBe(0x0303);
    expect(versionOf([0x0a0a])).toBe(0x0303);
    expect(versionOf([])).toBe(0x0303);
    expect(versionOf([], 0x0301)).toBe(0x0301);
    // Only the extension can offer more than TLS 1.2 (RFC 8446 §4.2.1).
    expect(versionOf([], 0x0304)).toBe(0x0303);
    expect(versionOf([0x0302], 0x0303)).toBe(0x0302);
  });

  test("client hello: a name may have every byte that is of a host name, and no other", () => {
    for (let byte = 0; byte < 256; byte += 1) {
      const character = String.fromCharCode(byte);
      const expected = /^[\w-]$/.test(character) ? `a${character.toLowerCase()}b` : "";
      const dotted = character === "." ? "a.b" : expected;
      expect([byte, helloOf(h.hello([h.sni(`a${character}b`)])).sni]).toEqual([byte, dotted]);
    }
  });

  test("client hello: names as long as they may be", () => {
    const labels = `${`${"l".repeat(63)}.`.repeat(3)}${"l".repeat(61)}`;
    expect(labels.length).toBe(253);
    for (const name of [labels, `${"a.".repeat(126)}b`, "localhost", "x", "_a-._b"]) {
      expect(helloOf(h.hello([h.sni(name)])).sni).toBe(name);
    }
  });
});
