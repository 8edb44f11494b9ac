// One end of a connection of a soak, client or destination: sends its side of the course, checks every byte that comes,
// and knows how it was ended.

import type { Socket } from "bun";
import { headerOf, headerSizeMax, helloOf, helloSize, readHeader, readHello } from "./course.ts";
import type { Course, Role, Stretch } from "./course.ts";
import { pieceAt, wrongAt, type Pattern } from "./pattern.ts";

const pieceSizeMax = 256 * 1_024;
/** A reader sleeps no longer than this, however large a chunk it got. */
const sleepMsMax = 500;
/** A health check by bytes asks a destination so, instead of a first line, and gets this answer. */
export const healthQuestion = "alive?";
export const healthAnswer = "alive!";
const nothing: Stretch = { start: 0, size: 0 };

/** How the other side ended it; `left`: this one went by itself. `failed`: never connected. */
export type Ending = "end" | "reset" | "left" | "failed" | null;

export interface EndHost {
  readonly pattern: Pattern;
  /** Who answers; a client has no number. */
  readonly destination: number;
  /** The end is over: nothing more comes or goes. */
  onOver(end: End): void;
}

export class End {
  readonly role: Role;
  /** Null until the client's first line has come. */
  course: Course | null;
  ending: Ending = null;
  /** What is wrong with the bytes that came, "" when nothing is. */
  fault = "";
  /** Of the course, and with the first lines. */
  sentCount = 0;
  receivedCount = 0;
  sentSize = 0;
  receivedSize = 0;
  /** The destination's number, as its first line says. */
  answeredBy = -1;
  /** The other side's end has come. */
  sawEnd = false;
  isOver = false;
  private readonly host: EndHost;
  private readonly socket: Socket<End>;
  private head: Buffer;
  private firstLine: Buffer | null = Buffer.alloc(0);
  private isConnected = false;
  private isShut = false;
  /** A write has failed: the other side has reset the connection, whatever Bun says next (R4). */
  private isBroken = false;
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(role: Role, course: Course | null, socket: Socket<End>, host: EndHost) {
    this.role = role;
    this.course = course;
    this.socket = socket;
    this.host = host;
    this.head = course === null ? Buffer.alloc(0) : headerOf(course);
  }

  /** Everything was sent, everything has come, both ends too. */
  get isWhole(): boolean {
    const { course } = this;
    if (this.ending !== "end" || course === null) return false;
    return this.isShut && this.receivedCount === this.incoming.size && this.fault === "";
  }

  get firstLineSize(): number {
    return this.firstLine?.length ?? 0;
  }

  /** Bun tells of it by the first `drain` of a descriptor (R9), or by what comes. */
  onConnected(): void {
    if (this.isConnected) return;
    this.isConnected = true;
    const leaves = this.role === "client" ? (this.course?.leaves ?? null) : null;
    if (leaves !== null && leaves.ms === 0) return this.leave();
    if (leaves !== null) setTimeout(() => this.leave(), leaves.ms);
    this.send();
  }

  onChunk(chunk: Buffer): void {
    if (this.isOver) return;
    this.onConnected();
    this.receivedSize += chunk.length;
    const rest = this.firstLine === null ? chunk : this.readFirstLine(chunk);
    if (rest.length > 0) this.check(rest);
    if (this.isOver) return;
    const slow = this.slowTo("reads");
    if (slow !== null) this.sleep((chunk.length / slow.size) * slow.ms);
    this.send();
  }

  onWritable(): void {
    if (!this.isConnected) return this.onConnected();
    this.send();
  }

  onEnd(): void {
    if (this.isOver) return;
    this.onConnected();
    if (this.isBroken) return this.finish("reset", true);
    this.sawEnd = true;
    const isShort = this.course === null || this.receivedCount < this.incoming.size;
    // A destination answers a short one in order; a client has nothing to wait for.
    if (isShort && this.role === "client") return this.finish("end", true);
    if (isShort) this.shut();
    else this.send();
  }

  /** Once we have shut our side the peer's end is told by a close alone (R3). */
  onClose(error: Error | undefined): void {
    if (this.isOver) return;
    if (!this.isConnected) return this.finish("failed");
    if (error !== undefined || this.isBroken) return this.finish("reset");
    if (!this.sawEnd && !this.isShut) return this.finish("reset");
    this.sawEnd = true;
    this.finish("end");
  }

  /** Goes at once, by a reset. */
  cutOff(): void {
    this.finish("left", true);
  }

  private get outgoing(): Stretch {
    const stretch = this.role === "client" ? this.course?.up : this.course?.down;
    return this.course?.mute === true ? nothing : (stretch ?? nothing);
  }

  private get incoming(): Stretch {
    const stretch = this.role === "client" ? this.course?.down : this.course?.up;
    return this.course?.mute === true ? nothing : (stretch ?? nothing);
  }

  /** @returns what follows the first line in this chunk. */
  private readFirstLine(chunk: Buffer): Buffer {
    const all = Buffer.concat([this.firstLine ?? Buffer.alloc(0), chunk]);
    this.firstLine = all;
    return this.role === "client" ? this.readHello(all) : this.readHeader(all);
  }

  private readHello(all: Buffer): Buffer {
    const { course } = this;
    if (all.length < helloSize && course?.mute !== true) return Buffer.alloc(0);
    this.answeredBy = readHello(all.subarray(0, helloSize), course?.id ?? -1);
    if (this.answeredBy < 0) this.spoil("the first line is not this connection's");
    this.firstLine = null;
    return all.subarray(helloSize);
  }

  private readHeader(all: Buffer): Buffer {
    if (all.toString("latin1", 0, headerSizeMax) === `${healthQuestion}\n`) {
      this.firstLine = Buffer.alloc(0);
      this.socket.write(healthAnswer);
      return this.firstLine;
    }
    const header = readHeader(all);
    if (header === "unfinished") return Buffer.alloc(0);
    if (header === "wrong") {
      this.spoil("the first line is wrong");
      return Buffer.alloc(0);
    }
    this.course = header.course;
    this.head = helloOf(this.host.destination, header.course.id);
    this.firstLine = null;
    return all.subarray(header.size);
  }

  private check(chunk: Buffer): void {
    const { start, size } = this.incoming;
    const bytes = this.role === "client" ? this.host.pattern.down : this.host.pattern.up;
    const wrong = wrongAt(bytes, start + this.receivedCount, chunk);
    if (wrong >= 0) return this.spoil(`byte ${this.receivedCount + wrong} of ${size} is wrong`);
    this.receivedCount += chunk.length;
    const surplus = this.receivedCount - size;
    if (surplus > 0) this.spoil(`${surplus} bytes more than the ${size} that were due`);
  }

  /** What came cannot be right: there is nothing more to learn. */
  private spoil(fault: string): void {
    if (this.fault === "") this.fault = fault;
    this.cutOff();
  }

  /** How many bytes of the course may be out by now. */
  private dueCount(course: Course): number {
    const { size } = this.outgoing;
    if (this.role === "client") {
      if (course.asks === "in step") {
        return Math.min(size, this.receivedCount + (course.slow?.size ?? size));
      }
      return course.asks === "after end" && !this.sawEnd ? 0 : size;
    }
    switch (course.answers) {
      case "at once":
        return size;
      case "in step":
        return Math.min(size, this.receivedCount);
      case "after up":
        return this.receivedCount === course.up.size ? size : 0;
      case "after end":
        return this.sawEnd ? size : 0;
    }
  }

  private send(): void {
    const { course } = this;
    if (course === null || course.mute || this.isOver || this.isBroken) return;
    if (!this.sendHead()) return;
    const slow = this.slowTo("writes");
    const cut = course.cut?.by === this.role ? course.cut : null;
    const bytes = this.role === "client" ? this.host.pattern.up : this.host.pattern.down;
    for (;;) {
      const leftToCut = cut === null ? Infinity : cut.at - this.receivedCount - this.sentCount;
      if (leftToCut <= 0) return this.cutOff();
      if (this.isShut) return;
      const due = Math.min(this.dueCount(course) - this.sentCount, leftToCut);
      if (due <= 0) break;
      if (slow !== null && this.timer !== null) return;
      const size = Math.min(due, slow?.size ?? pieceSizeMax);
      const piece = pieceAt(bytes, this.outgoing.start + this.sentCount, size);
      const count = this.write(piece);
      this.sentCount += count;
      if (slow !== null) this.sendLater(slow.ms);
      else if (count < piece.length) return;
    }
    if (this.sentCount === this.outgoing.size && this.mayEnd(course)) this.shut();
  }

  /** @returns true when the first line is out. */
  private sendHead(): boolean {
    if (this.head.length === 0) return true;
    const count = this.write(this.head);
    this.head = this.head.subarray(count);
    return this.head.length === 0 && !this.isBroken;
  }

  /** @returns how many bytes were taken. */
  private write(bytes: Buffer): number {
    const count = this.socket.write(bytes);
    if (count < 0) this.isBroken = true;
    const taken = Math.max(0, count);
    this.sentSize += taken;
    return taken;
  }

  private mayEnd(course: Course): boolean {
    const when = this.role === "client" ? course.clientEnds : course.destinationEnds;
    if (when === "when sent") return true;
    return when === "after end" ? this.sawEnd : this.receivedCount === course.down.size;
  }

  private slowTo(does: "reads" | "writes"): Course["slow"] {
    const slow = this.course?.slow ?? null;
    return slow?.who === this.role && slow.does === does ? slow : null;
  }

  private sendLater(ms: number): void {
    this.timer = setTimeout(() => {
      this.timer = null;
      this.send();
    }, ms);
  }

  private sleep(ms: number): void {
    if (ms < 1) return;
    this.socket.pause();
    this.timer = setTimeout(
      () => {
        this.timer = null;
        if (!this.isOver) this.socket.resume();
      },
      Math.min(ms, sleepMsMax),
    );
  }

  /** The client goes, as its course says. */
  private leave(): void {
    if (this.isOver) return;
    const how = this.course?.leaves?.how;
    if (how === "end") return this.shut();
    if (how === "reset") return this.cutOff();
    this.finish("left");
    this.socket.end(); // close(2), which refuses what still comes (R2)
  }

  private shut(): void {
    if (this.isShut || this.isOver) return;
    this.isShut = true;
    this.socket.shutdown();
  }

  private finish(ending: Ending, resets = false): void {
    if (this.isOver) return;
    this.isOver = true;
    this.ending = ending;
    if (this.timer !== null) clearTimeout(this.timer);
    if (resets) this.socket.terminate();
    this.host.onOver(this);
  }
}

/** The socket handlers of either end; the end is the socket's `data`. */
export const endHandlers = {
  data: (socket: Socket<End>, chunk: Buffer) => socket.data.onChunk(chunk),
  drain: (socket: Socket<End>) => socket.data.onWritable(),
  end: (socket: Socket<End>) => socket.data.onEnd(),
  close: (socket: Socket<End>, error?: Error) => socket.data.onClose(error),
} as const;
