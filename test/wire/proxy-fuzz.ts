// The reader of PROXY headers before inputs made wrong on purpose; the oracle says what each of them is.

import { proxyHeaderSizeMax, readProxyHeader } from "../../src/wire/proxy-protocol.ts";
import type { ProxyReading } from "../../src/wire/proxy-protocol.ts";
import { fuzzReader, type FuzzReport, type Reader } from "./fuzz.ts";
import { expectedOf } from "./proxy-oracle.ts";
import { summed, tlv, versionOne, versionTwo } from "./proxy-vectors.ts";

/** Bytes: longer ones say nothing more and take long. */
const seedSizeMax = 5_000;
const versions = { v1: true, v2: true };

const proxyReader: Reader<ProxyReading> = {
  seeds: [
    ...[...versionOne, ...versionTwo]
      .filter(({ answer }) => Array.isArray(answer) || answer === "local")
      .map(({ bytes }) => bytes)
      .filter(({ length }) => length <= seedSizeMax),
    summed(0, tlv(0x20, "\x01\0\0\0\x01\x21\0\x07TLSv1.3"), tlv(1, "h2"), tlv(2, "a.example")),
  ],
  sizeMax: proxyHeaderSizeMax,
  start: () => (bytes) => readProxyHeader(bytes, versions),
  judge(input, reading) {
    const expected = expectedOf(input);
    const { kind } = reading;
    const found = kind === "header" ? { header: reading.header, size: reading.size } : kind;
    if (Bun.deepEquals(found, expected, true)) return;
    throw new Error(`read as ${Bun.inspect(found)}, it is ${Bun.inspect(expected)}`);
  },
};

export function fuzzProxy(seed: number, count: number): FuzzReport {
  return fuzzReader(seed, count, proxyReader);
}
