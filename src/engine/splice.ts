// A flow that moves much goes through a pipe of the kernel's: pages change hands, and no byte is copied.
//
//   source ── splice ──> [ pipe ] ── splice ──> target
//
// The pipe is filled only when it is empty, so "try again" from the source means that the source is empty. A flow has
// a pipe only while bytes are in it: a few pipes serve all.
import { Fact, type LibcSocket } from "./libc-socket.ts";
import { bytes, sys, words, type Calls, type Errno } from "../linux/calls.ts";

/** Full buffers read in a row that make a flow a bulk one. */
const bulkReadCount = 4;
/** Bulk flows at once from which on they are spliced: one alone gets further copied, from a warm cache (measured). */
const bulkCountMin = 2;
/** Asked of the kernel for each pipe, the first that it gives: an unprivileged user has 64 MiB of them in all. */
const pipeSizes = [1024 * 1024, 256 * 1024, 64 * 1024];
/** Pipes of one thread: two descriptors each. */
const pipeCountMax = 16;
/** Pipes filled for one flow in one go. */
const fillCountMax = 4;

interface Pipe {
  readonly readFd: number;
  readonly writeFd: number;
  readonly size: number;
}

/** A flow that has filled the receive buffer at least once. */
export class Bulk {
  /** Full buffers read in a row. */
  fullCount = 0;
  isSpliced = false;
  /** Its own only while bytes are in it. */
  pipe: Pipe | null = null;
  /** Bytes in the pipe. */
  heldSize = 0;
}

/** After the kernel has given no pipe, so many flows are copied before it is asked again. */
const restCountMax = 1_000;

/** Of one thread; made when needed, kept for the next. */
class Pipes {
  private readonly calls: Calls;
  private readonly free: Pipe[] = [];
  private count = 0;
  /** Takes that are answered with no for a while, since the kernel gave none. */
  private restCount = 0;

  constructor(calls: Calls) {
    this.calls = calls;
  }

  /** @returns an empty pipe, or null when there is none: too many are in use, or the kernel gives no more. */
  take(): Pipe | null {
    const pipe = this.free.pop();
    if (pipe !== undefined) return pipe;
    if (this.restCount === 0) return this.count < pipeCountMax ? this.make() : null;
    this.restCount -= 1;
    return null;
  }

  giveBack(pipe: Pipe): void {
    this.free.push(pipe);
  }

  /** Closes a pipe that may still hold bytes. */
  drop(pipe: Pipe): void {
    this.count -= 1;
    this.calls.close(pipe.readFd);
    this.calls.close(pipe.writeFd);
  }

  closeAll(): void {
    for (const pipe of this.free.splice(0)) this.drop(pipe);
  }

  private make(): Pipe | null {
    const fds = words(2);
    const made = this.calls.pipe2(fds, sys.O_NONBLOCK | sys.O_CLOEXEC) === 0;
    if (made) {
      this.count += 1;
      const [readFd = -1, writeFd = -1] = fds;
      for (const size of pipeSizes) {
        const given = this.calls.fcntl(writeFd, sys.F_SETPIPE_SZ, size);
        if (given >= size) return { readFd, writeFd, size };
      }
      this.drop({ readFd, writeFd, size: 0 });
    }
    this.restCount = restCountMax;
    return null;
  }
}

/**
 * How a visit has ended: the source is empty, the target is full, there is more than one visit may take; the source
 * was reset, as only `lostBy` still knows; or the flow must go on by copying (its end, a broken target, no pipe).
 */
export type Visit = "empty" | "full" | "more" | "lost" | "copy";

export class Splicer {
  /** Bytes that the last visit has brought to the target. */
  movedSize = 0;
  /** The error that the last visit has taken from the source. */
  lostBy = 0;
  private readonly calls: Calls;
  private readonly errno: Errno;
  private readonly pipes: Pipes;
  /** Bulk flows, spliced or not. */
  private bulkCount = 0;

  constructor(calls: Calls, errno: Errno) {
    this.calls = calls;
    this.errno = errno;
    this.pipes = new Pipes(calls);
  }

  /** Too few flows move much for splicing to be better. */
  get isAlone(): boolean {
    return this.bulkCount < bulkCountMin;
  }

  /** A full buffer was read from `source`; it is spliced when it is a bulk flow and its target has taken all so far. */
  countFull(source: LibcSocket): void {
    const bulk = (source.bulk ??= new Bulk());
    bulk.fullCount += 1;
    if (bulk.fullCount === bulkReadCount) this.bulkCount += 1;
    if (bulk.fullCount < bulkReadCount || this.isAlone) return;
    const { target } = source;
    if (target === null || source.is(Fact.paused | Fact.untilEmpty)) return;
    bulk.isSpliced = target.is(Fact.open) && !target.is(Fact.blocked | Fact.failed);
  }

  /** It is copied from now on. A pipe that holds bytes must have been taken back. */
  endBulk(source: LibcSocket): void {
    const { bulk } = source;
    if (bulk === null) return;
    if (bulk.fullCount >= bulkReadCount) this.bulkCount -= 1;
    bulk.fullCount = 0;
    bulk.isSpliced = false;
  }

  /** Moves what it can. */
  visit(flow: Bulk, sourceFd: number, targetFd: number): Visit {
    this.movedSize = 0;
    flow.pipe ??= this.pipes.take();
    const { pipe } = flow;
    if (pipe === null) return "copy";
    for (let n = 0; n < fillCountMax; n += 1) {
      if (flow.heldSize === 0) {
        const count = this.calls.splice(sourceFd, null, pipe.writeFd, null, pipe.size, spliceFlags);
        if (count <= 0) {
          this.lostBy = count < 0 ? this.errno.number : 0;
          this.giveBack(flow);
          if (this.lostBy === sys.EAGAIN) return "empty";
          return sayNothing.has(this.lostBy) ? "copy" : "lost";
        }
        flow.heldSize = count;
      }
      while (flow.heldSize > 0) {
        const { heldSize } = flow;
        const count = this.calls.splice(pipe.readFd, null, targetFd, null, heldSize, spliceFlags);
        if (count > 0) {
          flow.heldSize -= count;
          this.movedSize += count;
        } else {
          // Only after EAGAIN an edge says that there is room: less than all is not "full" yet.
          return count < 0 && this.errno.number === sys.EAGAIN ? "full" : "copy";
        }
      }
    }
    this.giveBack(flow);
    return "more";
  }

  /** What the pipe of a flow holds, which is copied from now on; null when it holds nothing. */
  takeBack(flow: Bulk): Uint8Array | null {
    const { pipe, heldSize } = flow;
    if (pipe === null) return null;
    if (heldSize === 0) {
      this.giveBack(flow);
      return null;
    }
    const held = bytes(heldSize);
    let from = 0;
    while (from < heldSize) {
      const count = this.calls.read(pipe.readFd, held.subarray(from), heldSize - from);
      if (count <= 0) break; // it holds what it was given, so this does not happen
      from += count;
    }
    flow.heldSize = 0;
    this.giveBack(flow);
    return held.subarray(0, from);
  }

  /** A socket is gone. What its pipe holds is lost, and `heldSize` still says how much. */
  drop(source: LibcSocket): void {
    this.endBulk(source);
    const { bulk } = source;
    if (bulk === null || bulk.pipe === null) return;
    this.pipes.drop(bulk.pipe);
    bulk.pipe = null;
  }

  close(): void {
    this.pipes.closeAll();
  }

  private giveBack(flow: Bulk): void {
    if (flow.pipe !== null) this.pipes.giveBack(flow.pipe);
    flow.pipe = null;
  }
}

/** Answers of splice that say nothing of the connection; 0: its end. */
const sayNothing: ReadonlySet<number> = new Set([0, sys.EINTR, sys.EINVAL, sys.ENOMEM]);
const spliceFlags = sys.SPLICE_F_MOVE | sys.SPLICE_F_NONBLOCK;
