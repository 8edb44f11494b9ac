// The course of one connection: who sends how much, when, how fast, who ends it and how. The client draws it and tells
// its destination in a first line, so that either side knows what must come.

const kinds = [
  "short",
  "echo",
  "long",
  "bulk",
  "client-ends-first",
  "destination-ends-first",
  "client-resets",
  "destination-resets",
  "slow",
  "leaving",
  "silent",
  "scan",
] as const;
export type Kind = (typeof kinds)[number];

const ways = ["reset", "close", "end"] as const;

export interface Course {
  readonly id: number;
  readonly kind: Kind;
  /** Where in the pattern its bytes are, and how many. */
  readonly up: Stretch;
  readonly down: Stretch;
  /** When the client sends; in step: the next piece once the last one has been answered. */
  readonly asks: "at once" | "in step" | "after end";
  /** When the destination sends; in step: as many bytes as have come. */
  readonly answers: "at once" | "in step" | "after up" | "after end";
  /** When each side ends, once it has sent everything. */
  readonly clientEnds: "when sent" | "after answer" | "after end";
  readonly destinationEnds: "when sent" | "after end";
  /** This side resets the connection when it has sent and received so many bytes. */
  readonly cut: { readonly by: Role; readonly at: number } | null;
  /** This side reads or writes `size` bytes in `ms`. */
  readonly slow: {
    readonly who: Role;
    readonly does: "reads" | "writes";
    readonly size: number;
    readonly ms: number;
  } | null;
  /** The client goes after so long; `end` is a half-close, after which it waits for the other side's. */
  readonly leaves: { readonly ms: number; readonly how: (typeof ways)[number] } | null;
  /** It says nothing at all: no first line, no bytes, no answer. */
  readonly mute: boolean;
}

export type Role = "client" | "destination";

export interface Stretch {
  readonly start: number;
  readonly size: number;
}

/** A first line is no longer than this. */
export const headerSizeMax = 1_024;
const newline = 0x0a;

/** The client's first line. */
export function headerOf(course: Course): Buffer {
  if (course.mute) return Buffer.alloc(0);
  const text = JSON.stringify(course);
  return Buffer.from(`${checkOf(text)} ${text}\n`);
}

export type Header =
  | { readonly course: Course; readonly size: number }
  | "unfinished" // more has to come
  | "wrong";

/** Reads the first line of what has come so far. */
export function readHeader(bytes: Buffer): Header {
  const size = bytes.indexOf(newline) + 1;
  if (size === 0) return bytes.length > headerSizeMax ? "wrong" : "unfinished";
  const line = bytes.toString("utf8", 0, size - 1);
  if (line.slice(0, 9) !== `${checkOf(line.slice(9))} `) return "wrong";
  return { course: JSON.parse(line.slice(9)) as Course, size }; // the checksum fits: a client wrote it
}

/** The destination's first line: who it is, and whom it answers. */
export function helloOf(destination: number, id: number): Buffer {
  return Buffer.from(`${digits(destination, 2)} ${digits(id, 10)}\n`);
}

export const helloSize = helloOf(0, 0).length;

/** @returns the destination's number, or −1 when the line is not for this connection. */
export function readHello(bytes: Buffer, id: number): number {
  const destination = Number(bytes.toString("latin1", 0, 2));
  return bytes.equals(helloOf(destination, id)) ? destination : -1;
}

/** All bytes that the client sends and receives when nothing cuts it off. */
export function wholeSize(course: Course, direction: "up" | "down"): number {
  if (course.mute) return 0;
  return course[direction].size + (direction === "up" ? headerOf(course).length : helloSize);
}

function checkOf(text: string): string {
  return Bun.hash.crc32(text).toString(16).padStart(8, "0");
}

function digits(count: number, width: number): string {
  return String(count).padStart(width, "0");
}
