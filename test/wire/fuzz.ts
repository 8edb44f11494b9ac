// Inputs made wrong on purpose from valid ones, and what every reader of a peer's bytes must keep to with each of them.

import { seeded, type Random } from "../wait.ts";

/** What a reader answers; "more" is the only kind that may change as bytes come. */
export interface Reading {
  readonly kind: string;
}

export interface Reader<R extends Reading> {
  /** Valid inputs, the material of the others. Long ones are taken the less often the longer they are. */
  readonly seeds: readonly Uint8Array[];
  /** Bytes: an input of this size or more is never answered with "more". */
  readonly sizeMax: number;
  /**
   * Starts to read one connection. @returns what is asked each time bytes have come, with all bytes so far; one that
   * wants only the new ones keeps count itself.
   */
  readonly start: () => (bytes: Uint8Array) => R;
  /** Looks at the answer for a whole input, and throws when it is wrong. */
  readonly judge?: (input: Uint8Array, reading: R) => void;
}

/** How many inputs were answered in which way. */
export type FuzzReport = Readonly<Record<string, number>>;

/** Cuts of an input that is fed in pieces, at most, when it is not fed byte by byte. */
const cutCountMax = 6;
/** Of so many short inputs, one is fed byte by byte. */
const singleByteEvery = 16;
/** Bytes of the longest input that is. */
const singleByteSizeMax = 600;
const changeCountMax = 6;
/** Bytes: seeds of this size are taken half as often as very short ones. */
const halfSize = 256;
/** Bytes of an input that is shown whole when it was answered wrongly. */
const shownSizeMax = 2_000;

/**
 * Feeds `count` inputs whole and in pieces. It is a fault when a reader throws, changes its input, asks for more at its
 * limit, or decides otherwise by pieces than it does of the whole.
 * @throws with the seed, the number and the bytes of the first input that was answered wrongly.
 */
export function fuzzReader<R extends Reading>(
  seed: number,
  count: number,
  reader: Reader<R>,
): FuzzReport {
  const report: Record<string, number> = {};
  fuzzInputs(seed, count, reader.seeds, (input, random) => {
    const before = new Uint8Array(input);
    const whole = reader.start()(input);
    report[whole.kind] = (report[whole.kind] ?? 0) + 1;
    if (whole.kind === "more" && input.length >= reader.sizeMax) {
      throw new Error(`"more" at ${input.length} bytes; the limit is ${reader.sizeMax}`);
    }
    const ask = reader.start();
    for (const end of endsOf(input, random)) {
      const reading = ask(input.subarray(0, end));
      if (reading.kind === "more" && end < input.length) continue;
      if (!Bun.deepEquals(reading, whole, true)) {
        throw new Error(`after ${end} bytes ${shown(reading)}, of the whole ${shown(whole)}`);
      }
      break;
    }
    reader.judge?.(input, whole);
    if (!Bun.deepEquals(input, before)) throw new Error("the input was changed");
  });
  return report;
}

/** Calls `judge` with `count` inputs, every one made from one or two of `seeds`; the same for the same seed. */
function fuzzInputs(
  seed: number,
  count: number,
  seeds: readonly Uint8Array[],
  judge: (input: Uint8Array, random: Random) => void,
): void {
  const random = seeded(seed);
  const pick = pickerOf(seeds, random);
  for (let index = 0; index < count; index += 1) {
    const input = mutated(pick, random);
    try {
      judge(input, random);
    } catch (error) {
      const bytes = Buffer.from(input.subarray(0, shownSizeMax)).toString("hex");
      const words = error instanceof Error ? error.message : String(error);
      const where = `input ${index} of IAWLB_SEED=${seed}, ${input.length} bytes: ${bytes}`;
      throw new Error(`${words}\n${where}`, { cause: error });
    }
  }
}

/** The sizes of the prefixes that an input is fed as; the last one is all of it. */
function endsOf(input: Uint8Array, random: Random): number[] {
  const size = input.length;
  if (size <= singleByteSizeMax && random.int(singleByteEvery) === 0) {
    return Array.from({ length: size + 1 }, (_, end) => end);
  }
  const ends = Array.from({ length: random.int(cutCountMax + 1) }, () => random.int(size + 1));
  return [...ends.toSorted((a, b) => a - b), size];
}

function pickerOf(seeds: readonly Uint8Array[], random: Random): () => Uint8Array {
  let sum = 0;
  const ends = seeds.map(({ length }) => (sum += 1 / (1 + length / halfSize)));
  return () => {
    const at = random.next() * sum;
    const seed = seeds[ends.findIndex((end) => at < end)];
    if (seed === undefined) throw new Error("no seeds to make inputs from");
    return seed;
  };
}

function mutated(pick: () => Uint8Array, random: Random): Uint8Array {
  // Not `slice`, which lets a Buffer share its bytes.
  let bytes: Uint8Array = new Uint8Array(pick());
  // Few changes most of the time: one wrong byte finds what a heap of them hides. None at all now and then.
  const changeCount = Math.floor(random.next() ** 2 * (changeCountMax + 1));
  for (let n = 0; n < changeCount; n += 1) bytes = changed(bytes, pick, random);
  // What comes behind: the first bytes of whatever is spoken next.
  return random.int(4) === 0 ? joined(bytes, random.bytes(random.int(40))) : bytes;
}

const edges = [0, 1, 0x0a, 0x0d, 0x20, 0x2e, 0x30, 0x39, 0x3a, 0x7f, 0x80, 0xfe, 0xff] as const;

function changed(bytes: Uint8Array, pick: () => Uint8Array, random: Random): Uint8Array {
  const at = random.int(bytes.length + 1);
  const end = at + random.int(Math.min(bytes.length - at, 40) + 1);
  switch (random.int(10)) {
    case 0: {
      bytes[at] = (bytes[at] ?? 0) ^ (1 << random.int(8));
      return bytes;
    }
    case 1: {
      bytes[at] = random.int(256);
      return bytes;
    }
    case 2: {
      bytes[at] = edges[random.int(edges.length)] ?? 0;
      return bytes;
    }
    case 3: {
      // A length of two bytes that is a little, or wholly, wrong.
      const size = [0, 1, bytes.length - at, bytes.length, 0xffff, random.int(0x1_0000)];
      const length = (size[random.int(size.length)] ?? 0) + random.int(5) - 2;
      bytes[at] = length >> 8;
      bytes[at + 1] = length;
      return bytes;
    }
    case 4:
      return joined(bytes.subarray(0, at), random.bytes(random.int(8)), bytes.subarray(at));
    case 5:
      return joined(bytes.subarray(0, at), bytes.subarray(end));
    case 6:
      return joined(bytes.subarray(0, end), bytes.subarray(at));
    case 7:
      return joined(bytes.subarray(0, at));
    case 8: {
      const other = pick();
      return joined(bytes.subarray(0, at), other.subarray(random.int(other.length + 1)));
    }
    default: {
      bytes[at] = (bytes[at] ?? 0) + (random.int(2) === 0 ? 1 : -1);
      return bytes;
    }
  }
}

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function shown(reading: Reading): string {
  return Bun.inspect(reading, { depth: 4, compact: true });
}
