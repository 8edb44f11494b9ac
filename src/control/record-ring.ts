// Access records on their way from a data-plane thread to the main one: a ring in shared memory, one writer and one
// reader, nothing allocated and nobody waiting. What finds no room is dropped and counted.
import { triedCountMax } from "../core/dialer.ts";
import { reasonIndex, closeReasons, type Side } from "../core/reason.ts";
import type { AccessRecord, PrefaceRecord } from "./access-log.ts";

/** Records that one thread may have on their way. */
const recordCountMax = 2048;
/** Its client, and what the start of its connection has said. */
const textSizeMax = 512;

const sides: readonly Side[] = ["client", "destination", "balancer"];

/** Numbers of one record; its texts follow as bytes, with line ends between. */
const numberCount = 16 + triedCountMax;
const doublesPerRecord = numberCount + textSizeMax / 8;
/** Instead of the ms of a start that nobody has read. */
const noPreface = -1;
const bytesPerRecord = 8 * doublesPerRecord;

const Word = { head: 0, tail: 1, told: 2, dropped: 3 } as const;
const headerSize = 16;

/** What a record says in numbers: destinations by their row, −1 for none. */
export interface RowRecord extends Omit<AccessRecord, "destination" | "tried" | "listener"> {
  readonly row: number;
  readonly triedRows: readonly number[];
  readonly listenerIndex: number;
}

export class RecordRing {
  readonly buffer: SharedArrayBuffer;
  private readonly words: Int32Array;
  private readonly doubles: Float64Array;
  private readonly bytes: Uint8Array;

  constructor(buffer?: SharedArrayBuffer) {
    this.buffer = buffer ?? new SharedArrayBuffer(headerSize + recordCountMax * bytesPerRecord);
    this.words = new Int32Array(this.buffer, 0, headerSize / 4);
    this.doubles = new Float64Array(this.buffer, headerSize);
    this.bytes = new Uint8Array(this.buffer, headerSize);
  }

  /** Records that found no room. */
  get dropped(): number {
    return Atomics.load(this.words, Word.dropped);
  }

  get hasRoom(): boolean {
    const tail = this.words[Word.tail] ?? 0;
    return (tail - Atomics.load(this.words, Word.head)) >>> 0 < recordCountMax;
  }

  /** Counts one that was given up. */
  drop(): void {
    Atomics.add(this.words, Word.dropped, 1);
  }

  /** @returns true when the reader is to be told, since it does not know of any. */
  push(record: RowRecord): boolean {
    if (!this.hasRoom) {
      this.drop();
      return false;
    }
    const tail = this.words[Word.tail] ?? 0;
    const { doubles } = this;
    const slot = (tail >>> 0) % recordCountMax;
    let at = slot * doublesPerRecord;
    doubles[at++] = record.at;
    doubles[at++] = record.id;
    doubles[at++] = record.listenerIndex;
    doubles[at++] = record.row;
    doubles[at++] = record.queueMs;
    doubles[at++] = record.connectMs;
    doubles[at++] = record.firstByteMs;
    doubles[at++] = record.totalMs;
    doubles[at++] = record.slotMs;
    doubles[at++] = record.bytesUp;
    doubles[at++] = record.bytesDown;
    doubles[at++] = record.state.charCodeAt(0) * 256 + record.state.charCodeAt(1);
    doubles[at++] = sides.indexOf(record.closedBy) * 256 + reasonIndex[record.reason];
    const triedCount = Math.min(triedCountMax, record.triedRows.length);
    doubles[at++] = triedCount;
    for (let n = 0; n < triedCount; n += 1) doubles[at + n] = record.triedRows[n] ?? 0;
    const { preface } = record;
    const text = preface === null ? record.client : textOf(record.client, preface);
    const size = Math.min(textSizeMax, text.length);
    doubles[at + triedCountMax] = size;
    doubles[at + triedCountMax + 1] = preface?.ms ?? noPreface;
    const first = slot * bytesPerRecord + 8 * numberCount;
    for (let n = 0; n < size; n += 1) this.bytes[first + n] = text.charCodeAt(n);
    Atomics.store(this.words, Word.tail, (tail + 1) | 0);
    return Atomics.exchange(this.words, Word.told, 1) === 0;
  }

  /** Takes all that is there. What comes afterwards is told anew. */
  drain(take: (record: RowRecord) => void): void {
    Atomics.store(this.words, Word.told, 0);
    const tail = Atomics.load(this.words, Word.tail);
    for (let head = this.words[Word.head] ?? 0; head !== tail; head = (head + 1) | 0) {
      take(this.read((head >>> 0) % recordCountMax));
      Atomics.store(this.words, Word.head, (head + 1) | 0);
    }
  }

  private read(slot: number): RowRecord {
    const first = slot * doublesPerRecord;
    const number = (n: number): number => this.doubles[first + n] ?? 0;
    const byte = slot * bytesPerRecord + 8 * numberCount;
    const size = number(14 + triedCountMax);
    const ms = number(15 + triedCountMax);
    const text = String.fromCharCode(...this.bytes.subarray(byte, byte + size));
    const [client = "", via = "", sni = "", alpn = "", tls = "", peer = "", fault = ""] =
      text.split("\n");
    return {
      at: number(0),
      id: number(1),
      listenerIndex: number(2),
      row: number(3),
      queueMs: number(4),
      connectMs: number(5),
      firstByteMs: number(6),
      totalMs: number(7),
      slotMs: number(8),
      bytesUp: number(9),
      bytesDown: number(10),
      state: String.fromCharCode(number(11) >>> 8, number(11) & 255),
      closedBy: sides[number(12) >>> 8] ?? "balancer",
      reason: closeReasons[number(12) & 255] ?? "error",
      triedRows: Array.from({ length: number(13) }, (_, n) => number(14 + n)),
      client,
      preface: ms === noPreface ? null : { ms, via, sni, alpn, tls, peer, fault },
    };
  }
}

/** None of them has a line end in it. */
function textOf(client: string, { via, sni, alpn, tls, peer, fault }: PrefaceRecord): string {
  return [client, via, sni, alpn, tls, peer, fault].join("\n");
}
