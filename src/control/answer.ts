// What a health check asks, and what it makes of the answer: bytes that must come in it, or an HTTP status line. Both
// are bounded, so that an answer that lies, drips or floods costs no more than a good one.

/** Bytes of an answer in which the expected ones must come. */
const answerSizeMax = 16 * 1024;
const statusLineSizeMax = 4 * 1024;

/** What to ask; with nothing of it a connect is enough. */
export interface Ask {
  readonly send: Uint8Array | null;
  /** Not empty. */
  readonly expect: Uint8Array | null;
  /** Path of a GET, which goes instead of `send`; neither blanks nor line ends are in it. */
  readonly http: string | null;
  /** For the Host header. */
  readonly host: string;
}

export interface Question {
  /** Null: nothing is sent. Not empty. */
  readonly send: Uint8Array | null;
  /** A reader for one answer; null: none is waited for. */
  readonly reader: (() => AnswerReader) | null;
}

/** Reads one answer as it comes. */
export interface AnswerReader {
  /** What is waited for, in words. */
  readonly awaited: string;
  /** @returns null: more of it is needed; "": it is good; else what is wrong with it. Keeps nothing of the chunk. */
  take(chunk: Uint8Array): string | null;
}

export function questionOf({ send, expect, http, host }: Ask): Question {
  if (http !== null) return { send: requestOf(http, host), reader: () => new StatusLine() };
  return {
    send: send === null || send.length === 0 ? null : send,
    reader: expect === null ? null : () => new Expected(expect),
  };
}

function requestOf(path: string, host: string): Uint8Array {
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${host}`,
    "User-Agent: iawlb-health-check",
    "Accept: */*",
    "Connection: close",
  ];
  return Buffer.from(`${lines.join("\r\n")}\r\n\r\n`);
}

/** The expected bytes anywhere in the first `answerSizeMax` of the answer. */
class Expected implements AnswerReader {
  readonly awaited = "the expected bytes";
  private readonly bytes: Uint8Array;
  /** The end of what has come, in which the expected bytes may have begun. */
  private tail: Uint8Array = new Uint8Array(0);
  private readSize = 0;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  take(chunk: Uint8Array): string | null {
    const fresh = chunk.subarray(0, answerSizeMax - this.readSize);
    this.readSize += fresh.length;
    const text = Buffer.concat([this.tail, fresh]);
    if (text.includes(this.bytes)) return "";
    if (this.readSize === answerSizeMax) return `${this.awaited} did not come in 16 KiB`;
    this.tail = text.subarray(Math.max(0, text.length - this.bytes.length + 1));
    return null;
  }
}

const httpStart = "HTTP/1.";
const statusLinePattern = /^HTTP\/1\.\d ([1-9]\d\d)(?: .*)?$/;

/** A status line from 200 to 399: a redirect is an answer, and is not followed. */
class StatusLine implements AnswerReader {
  readonly awaited = "a status line";
  private text = "";

  take(chunk: Uint8Array): string | null {
    // One character a byte, whatever the reason phrase is written in.
    this.text += Buffer.from(chunk.subarray(0, statusLineSizeMax - this.text.length)).toString(
      "latin1",
    );
    const { text } = this;
    const end = text.indexOf("\n");
    if (end < 0) {
      const isPossible =
        text.length < statusLineSizeMax &&
        text.slice(0, httpStart.length) === httpStart.slice(0, text.length);
      return isPossible ? null : notHttp;
    }
    const line = text.slice(0, text[end - 1] === "\r" ? end - 1 : end);
    const status = statusLinePattern.exec(line)?.[1];
    if (status === undefined) return notHttp;
    return status >= "200" && status < "400" ? "" : `HTTP ${status}`;
  }
}

const notHttp = "answer is not HTTP";
