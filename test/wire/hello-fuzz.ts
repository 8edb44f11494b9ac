// How the reader of ClientHellos is fuzzed: what it is fed, and what is true of its answers.

import { deepStrictEqual, ok } from "node:assert";
import {
  alpnCountMax,
  ClientHelloReader,
  helloSizeMax,
  nameSizeMax,
  type HelloReading,
} from "../../src/wire/client-hello.ts";
import { fuzzReader, type FuzzReport, type Reader } from "./fuzz.ts";
import { matrix, modern } from "./hello-matrix.ts";
import { alpn, hello, readPlainly, records, recordsOf, sni, versions } from "./hellos.ts";

const seeds = [
  ...matrix.map(({ bytes }) => bytes).filter(({ length }) => length > 1),
  records(modern, [1, 4, 40, modern.length - 1]),
  recordsOf(modern, 7),
  hello([sni("a.example"), alpn("h2", "http/1.1", "x"), versions(0x0304, 0x0303)]),
];

export const helloFuzz: Reader<HelloReading> = {
  seeds,
  sizeMax: helloSizeMax,
  start() {
    const reader = new ClientHelloReader();
    return (bytes) => reader.read(bytes, bytes.length);
  },
  judge(input, reading) {
    const plainly = readPlainly(input);
    if (reading.kind !== "hello") return ok(plainly === null, "a hello was not seen");
    ok(plainly !== null, "a hello where there is none");
    const { types: _, ...asked } = plainly;
    deepStrictEqual(reading.hello, asked);
    ok(reading.hello.sni.length <= nameSizeMax && reading.hello.alpn.length <= alpnCountMax);
  },
};

/** @throws with the seed and the first input that was answered wrongly. */
export function fuzzHello(seed: number, count: number): FuzzReport {
  return fuzzReader(seed, count, helloFuzz);
}
