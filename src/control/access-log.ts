// One line per connection, written in batches beside the traffic, never in its way (IAWLB §28 locked a line each).

import { write } from "node:fs";
import type { CloseReason } from "../core/reason.ts";
import type { AccessLogFormat } from "./settings.ts";

/** What is told of one connection. Times are in ms; -1 = that point was never reached. */
export interface AccessRecord {
  /** When it was accepted, in ms since 1970. */
  readonly at: number;
  readonly id: number;
  /** `1.2.3.4:5` or `[::1]:5`. */
  readonly client: string;
  readonly listener: string;
  /** Name of the destination; "" = none. */
  readonly destination: string;
  /** Names of the destinations whose connect failed before. */
  readonly tried: readonly string[];
  readonly queueMs: number;
  readonly connectMs: number;
  readonly firstByteMs: number;
  readonly totalMs: number;
  /** How long it held a slot of its destination, from the dial to the destination's last byte. */
  readonly slotMs: number;
  /** Client to destination. */
  readonly bytesUp: number;
  readonly bytesDown: number;
  /** Two letters, as HAProxy's: who ended it, and in which phase. */
  readonly state: string;
  readonly closedBy: "client" | "destination" | "balancer";
  readonly reason: CloseReason;
  /** Null where nobody reads the start of a connection. */
  readonly preface: PrefaceRecord | null;
}

/** What the start of a connection has said; "" = nothing of that. */
export interface PrefaceRecord {
  /** From accept to the chosen route, or to the end. */
  readonly ms: number;
  /** The proxy whose header has told of the client. */
  readonly via: string;
  readonly sni: string;
  /** Agreed upon where TLS ends here, else offered, with commas between. */
  readonly alpn: string;
  /** `TLSv1.3` where TLS ends here. */
  readonly tls: string;
  /** Common name of the client's certificate. */
  readonly peer: string;
  /** Why the start was refused, in a word. */
  readonly fault: string;
}

/** Records that may wait for a stalled reader; one more is dropped and counted. */
const pendingRecordsMax = 65_536;
/** So many records are written at once, and no more than so many in one turn of the event loop. */
const batchRecordsMax = 512;
const flushMs = 100;
/** So much is written to a pipe in one piece, whoever else writes to it. Source: pipe(7), PIPE_BUF. */
const pieceSizeMax = 4_096;
const closeMs = 1_000;

/** Takes records for nothing and writes them soon, with one write outstanding at any time. */
export class AccessLog {
  private readonly fd: number;
  private readonly format: (record: AccessRecord) => string;
  private readonly onWarning: (message: string) => void;
  private pending: AccessRecord[] = [];
  /** Lines being written, and how many of their bytes are out. */
  private chunk: Uint8Array | null = null;
  private chunkOutSize = 0;
  private writing = false;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private immediate: ReturnType<typeof setImmediate> | null = null;
  /** No more is taken: a write has failed, or `close` was called. */
  private ended = false;
  private droppedCount = 0;
  private isShared = false;
  private onIdle: (() => void) | null = null;

  /** @param onWarning is called once, when writing has failed for good. */
  constructor(
    fd: number,
    format: Exclude<AccessLogFormat, "off">,
    onWarning: (message: string) => void,
  ) {
    this.fd = fd;
    this.format = formats[format];
    this.onWarning = onWarning;
  }

  /** Records that were not written and will not be. */
  get dropped(): number {
    return this.droppedCount;
  }

  /** Another process writes its lines there as well: from now on whole lines are written in one piece each time. */
  share(): void {
    this.isShared = true;
  }

  /** Stores the record; O(1), writes nothing. */
  push(record: AccessRecord): void {
    if (this.ended || this.pending.length === pendingRecordsMax) {
      this.droppedCount++;
      return;
    }
    this.pending.push(record);
    if (!this.writing) this.schedule();
  }

  /** Writes what is left, for at most a second; what a stalled reader does not take by then is dropped. */
  async close(): Promise<void> {
    if (this.ended) return;
    this.ended = true;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.onIdle = resolve;
    const deadline = setTimeout(resolve, closeMs);
    if (!this.writing) this.flush();
    await promise;
    clearTimeout(deadline);
    this.dropRest();
  }

  private schedule(): void {
    if (this.pending.length >= batchRecordsMax && this.chunk === null) {
      this.immediate ??= setImmediate(() => this.flush());
    } else {
      this.timer ??= setTimeout(() => this.flush(), flushMs);
    }
  }

  private flush(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.immediate !== null) clearImmediate(this.immediate);
    this.timer = null;
    this.immediate = null;
    if (this.writing) return;
    if (this.chunk === null && this.pending.length > 0) {
      const batch = this.pending.splice(0, batchRecordsMax);
      this.chunk = Buffer.from(batch.map(this.format).join(""));
      this.chunkOutSize = 0;
    }
    if (this.chunk === null) this.onIdle?.();
    else this.write(this.chunk);
  }

  private write(chunk: Uint8Array): void {
    this.writing = true;
    const rest = chunk.byteLength - this.chunkOutSize;
    const size = this.isShared ? pieceSize(chunk, this.chunkOutSize) : rest;
    write(this.fd, chunk, this.chunkOutSize, size, null, (error, size) => {
      this.writing = false;
      if (error !== null) this.onError(error);
      else this.onWritten(size);
    });
  }

  private onWritten(size: number): void {
    this.chunkOutSize += size;
    if (this.chunk !== null && this.chunkOutSize < this.chunk.byteLength) {
      this.write(this.chunk);
      return;
    }
    this.chunk = null;
    if (this.ended) this.flush();
    else if (this.pending.length > 0) this.schedule();
  }

  private onError(error: NodeJS.ErrnoException): void {
    if (error.code === "EAGAIN") {
      this.schedule();
      return;
    }
    this.ended = true;
    this.dropRest();
    this.onWarning(`access log ends: ${error.code ?? error.message}`);
    this.onIdle?.();
  }

  private dropRest(): void {
    const rest = this.chunk?.subarray(this.chunkOutSize) ?? new Uint8Array(0);
    for (const byte of rest) if (byte === newline) this.droppedCount++;
    this.droppedCount += this.pending.length;
    this.pending = [];
    this.chunk = null;
  }
}

/** Bytes of the whole lines that fit into one piece; a line that is longer goes alone. */
function pieceSize(chunk: Uint8Array, from: number): number {
  if (chunk.byteLength - from <= pieceSizeMax) return chunk.byteLength - from;
  const last = chunk.lastIndexOf(newline, from + pieceSizeMax - 1);
  return (last >= from ? last : chunk.indexOf(newline, from)) + 1 - from;
}

/** One line with its end, in the format asked for; whatever a peer or a name brings in, it stays one line. */
export function formatRecord(
  record: AccessRecord,
  format: Exclude<AccessLogFormat, "off">,
): string {
  return formats[format](record);
}

function formatLogfmt(record: AccessRecord): string {
  return (
    `time=${formatTime(record.at)} id=${record.id} client=${logfmtValue(record.client)}` +
    ` listener=${logfmtValue(record.listener)} destination=${logfmtValue(record.destination)}` +
    ` tried=${record.tried.length === 0 ? '""' : logfmtValue(record.tried.join(","))}` +
    ` queue_ms=${precise(record.queueMs)} connect_ms=${precise(record.connectMs)}` +
    ` first_byte_ms=${precise(record.firstByteMs)} total_ms=${precise(record.totalMs)}` +
    ` slot_ms=${precise(record.slotMs)}` +
    ` bytes_up=${record.bytesUp} bytes_down=${record.bytesDown} state=${logfmtValue(record.state)}` +
    ` closed_by=${record.closedBy} reason=${record.reason}${logfmtPreface(record.preface)}\n`
  );
}

/** Behind the others, so that lines without it are what they were. */
function logfmtPreface(preface: PrefaceRecord | null): string {
  if (preface === null) return "";
  const words = wordsOf(preface).map(([name, text]) => ` ${name}=${logfmtValue(text)}`);
  return ` preface_ms=${precise(preface.ms)}${words.join("")}`;
}

/** What is known of it. */
function wordsOf(preface: PrefaceRecord): readonly (readonly [name: string, text: string])[] {
  const { via, sni, alpn, tls, peer, fault } = preface;
  return Object.entries({ via, sni, alpn, tls, peer, fault }).filter(([, text]) => text !== "");
}

/** The same fields; `tried` is a list, times and sizes are numbers. */
function formatJson(record: AccessRecord): string {
  const line = JSON.stringify({
    time: formatTime(record.at),
    id: record.id,
    client: record.client,
    listener: record.listener,
    destination: record.destination,
    tried: record.tried,
    queue_ms: precise(record.queueMs),
    connect_ms: precise(record.connectMs),
    first_byte_ms: precise(record.firstByteMs),
    total_ms: precise(record.totalMs),
    slot_ms: precise(record.slotMs),
    bytes_up: record.bytesUp,
    bytes_down: record.bytesDown,
    state: record.state,
    closed_by: record.closedBy,
    reason: record.reason,
    ...jsonPreface(record.preface),
  });
  return `${line.replace(unprintable, escapeCharacter)}\n`;
}

function jsonPreface(preface: PrefaceRecord | null): Readonly<Record<string, unknown>> {
  if (preface === null) return {};
  return { preface_ms: precise(preface.ms), ...Object.fromEntries(wordsOf(preface)) };
}

/**
 * `client [time] frontend backend/server Tw/Tc/Tt bytes state 0/0/0/0/retries 0/0`, in whole ms and local time; the
 * zeros are HAProxy's counts of open connections and queue places, which we do not have per line.
 * Source: HAProxy's configuration manual, 8.2.2 "TCP log format".
 */
function formatHaproxy(record: AccessRecord): string {
  const server = record.destination === "" ? "<NOSRV>" : haproxyWord(record.destination);
  const retries = record.tried.length === 0 ? "0" : `+${record.tried.length}`;
  const times = `${whole(record.queueMs)}/${whole(record.connectMs)}/${whole(record.totalMs)}`;
  return (
    `${haproxyWord(record.client)} [${haproxyTime(record.at)}] ${haproxyWord(record.listener)}` +
    ` iawlb/${server} ${times} ${record.bytesDown} ${haproxyWord(record.state)}` +
    ` 0/0/0/0/${retries} 0/0\n`
  );
}

const formats = { logfmt: formatLogfmt, json: formatJson, haproxy: formatHaproxy } as const;

function logfmtValue(text: string): string {
  if (plainText.test(text)) return text;
  return JSON.stringify(text).replace(unprintable, escapeCharacter);
}

/** Its fields are parted by spaces and never quoted, so whatever would part them becomes `_`. */
function haproxyWord(text: string): string {
  return plainText.test(text) ? text : text.replace(/[\s\p{C}]/gu, "_") || "-";
}

function escapeCharacter(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** Whole microseconds, in ms. */
function precise(ms: number): number {
  return ms < 0 ? -1 : Math.round(ms * 1_000) / 1_000;
}

function whole(ms: number): number {
  return ms < 0 ? -1 : Math.round(ms);
}

/** ISO 8601 in UTC; a second is spelled out once for all records in it. */
function formatTime(at: number): string {
  const second = Math.floor(at / 1_000);
  if (second !== spelledSecond) {
    spelledSecond = second;
    spelled = new Date(second * 1_000).toISOString().slice(0, -4);
  }
  return `${spelled}${pad(Math.floor(at) - second * 1_000, 3)}Z`;
}

function haproxyTime(at: number): string {
  const date = new Date(at);
  const day = `${pad(date.getDate(), 2)}/${months[date.getMonth()]}/${date.getFullYear()}`;
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => pad(n, 2));
  return `${day}:${clock.join(":")}.${pad(date.getMilliseconds(), 3)}`;
}

function pad(count: number, width: number): string {
  return String(count).padStart(width, "0");
}

let spelledSecond = -1;
let spelled = "";
const newline = 0x0a;
const months = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");
/** What needs no quotes in logfmt: visible ASCII without `"`, `=` and `\`. */
const plainText = /^[!#-<>-[\]-~]+$/;
/** What JSON leaves as it is although a terminal or a line reader acts on it. */
const unprintable = /[\u007f-\u009f\u2028\u2029]/g;
