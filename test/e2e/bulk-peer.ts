// One end of a bulk transfer, in a process of its own: sends so many bytes and an end, checks every byte that comes.
// Argument: its orders as JSON. Prints its port when it listens, a line per GiB received, at last its report.

import type { Socket } from "bun";
import { seeded } from "../net.ts";

export interface BulkOrders {
  /** Where to connect; 0 = listen and take one connection. */
  readonly port: number;
  readonly sendCount: number;
  readonly sendSeed: number;
  readonly receiveSeed: number;
  /** Reads no faster than this; 0 = as fast as it can. */
  readonly readMiBPerSecond: number;
}

export interface BulkReport {
  readonly receivedCount: number;
  /** Every byte was the one that was sent in its place. */
  readonly isExact: boolean;
  readonly isReset: boolean;
  readonly ms: number;
}

const GiB = 1024 ** 3;
const MiB = 1024 ** 2;
/** Bytes after which the pattern repeats: no divisor of any buffer's size, so that bytes out of place do not fit. */
const period = 8 * MiB + 4_099;
const pieceSize = 512 * 1024;

/** The bytes that stand at `offset` of an endless repetition of `pattern`, up to its end. */
const at = (pattern: Buffer, offset: number, size: number) =>
  pattern.subarray(offset % period, Math.min((offset % period) + size, period));

class End {
  private readonly orders: BulkOrders;
  private readonly outgoing: Buffer;
  private readonly incoming: Buffer;
  private readonly startedAt = performance.now();
  private sentCount = 0;
  private receivedCount = 0;
  private isExact = true;
  private isFinished = false;

  constructor(orders: BulkOrders) {
    this.orders = orders;
    this.outgoing = seeded(orders.sendSeed).bytes(period);
    this.incoming = seeded(orders.receiveSeed).bytes(period);
  }

  send(socket: Socket<End>): void {
    const { sendCount } = this.orders;
    while (this.sentCount < sendCount) {
      const size = Math.min(pieceSize, sendCount - this.sentCount);
      const piece = at(this.outgoing, this.sentCount, size);
      const count = socket.write(piece);
      if (count < 0) return;
      this.sentCount += count;
      if (count < piece.length) return;
    }
    if (this.isFinished) return;
    this.isFinished = true;
    socket.shutdown();
  }

  receive(socket: Socket<End>, chunk: Buffer): void {
    for (let from = 0; from < chunk.length;) {
      const wanted = at(this.incoming, this.receivedCount, chunk.length - from);
      if (!chunk.subarray(from, from + wanted.length).equals(wanted)) this.isExact = false;
      from += wanted.length;
      const before = this.receivedCount;
      this.receivedCount += wanted.length;
      if (Math.floor(before / GiB) < Math.floor(this.receivedCount / GiB)) console.log("GiB");
    }
    const { readMiBPerSecond } = this.orders;
    if (readMiBPerSecond === 0) return;
    const dueMs = (this.receivedCount / MiB / readMiBPerSecond) * 1_000;
    const earlyMs = dueMs - (performance.now() - this.startedAt);
    if (earlyMs < 2) return;
    socket.pause();
    setTimeout(() => socket.resume(), earlyMs);
  }

  report(isReset: boolean): never {
    const { receivedCount, isExact } = this;
    const ms = Math.round(performance.now() - this.startedAt);
    console.log(JSON.stringify({ receivedCount, isExact, isReset, ms } satisfies BulkReport));
    process.exit(0);
  }
}

const orders = JSON.parse(process.argv[2] ?? "null") as BulkOrders; // the test writes them
const options = {
  hostname: "127.0.0.1",
  port: orders.port,
  allowHalfOpen: true,
  socket: {
    open(socket: Socket<End>) {
      socket.data = new End(orders);
      socket.data.send(socket);
    },
    data: (socket: Socket<End>, chunk: Buffer) => socket.data.receive(socket, chunk),
    drain: (socket: Socket<End>) => socket.data.send(socket),
    // Our own end may still be on its way; the close that follows both reports.
    end() {},
    close: (socket: Socket<End>, error?: Error) => socket.data.report(error !== undefined),
  },
};
if (orders.port === 0) console.log(Bun.listen<End>(options).port);
else await Bun.connect<End>(options);
