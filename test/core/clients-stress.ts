// One thread of the stress of the clients' table (clients.test.ts): clients enter and leave at random, many of them in
// all threads at once, and more than the table can know.
import { ClientTable, type ClientLimits, type ClientTableSize } from "../../src/core/clients.ts";
import { seeded } from "../wait.ts";

export interface ClientsJob {
  readonly table: SharedArrayBuffer;
  readonly record: SharedArrayBuffer;
  readonly thread: number;
  readonly seed: number;
  /** It goes on until it is ended from outside, and others need not wait for it. */
  readonly isEndless: boolean;
}

const insideCountMax = 12;
export const size: ClientTableSize = { clientCountMax: 96, threadCount: 4 };
export const limitOf: ClientLimits = { countMax: 3, ratePerSecond: 0, prefix6: 64 };
const clientCount = 300;
/** These come again and again. */
const frequentCount = 8;
const stepCount = 20_000;

/** What all threads write down beside the table. */
export class ClientsRecord {
  readonly buffer: SharedArrayBuffer;
  /** By client: connections that were admitted and have not begun to leave. */
  readonly active: Int32Array;
  /** By client: the most of them that were seen at once. */
  private readonly peaks: Int32Array;
  private readonly totals: Int32Array;

  constructor(buffer = new SharedArrayBuffer(4 * (2 * clientCount + 2))) {
    this.buffer = buffer;
    this.active = new Int32Array(buffer, 0, clientCount);
    this.peaks = new Int32Array(buffer, 4 * clientCount, clientCount);
    this.totals = new Int32Array(buffer, 8 * clientCount, 2);
  }

  entered(client: number): void {
    const count = Atomics.add(this.active, client, 1) + 1;
    let peak = Atomics.load(this.peaks, client);
    while (count > peak) {
      const before = Atomics.compareExchange(this.peaks, client, peak, count);
      if (before === peak) break;
      peak = before;
    }
  }

  leaves(client: number): void {
    Atomics.sub(this.active, client, 1);
  }

  refused(): void {
    Atomics.add(this.totals, 0, 1);
  }

  get refusedCount(): number {
    return Atomics.load(this.totals, 0);
  }

  most(): number {
    return Math.max(...this.peaks);
  }

  /** Waits until all threads are here, so that they run at once. */
  meet(): void {
    Atomics.add(this.totals, 1, 1);
    Atomics.notify(this.totals, 1);
    for (;;) {
      const here = Atomics.load(this.totals, 1);
      if (here >= size.threadCount) return;
      Atomics.wait(this.totals, 1, here, 1_000);
    }
  }
}

declare const self: Worker; // what a thread sees of itself

function run({ table, record: buffer, thread, seed, isEndless }: ClientsJob): void {
  const clients = new ClientTable(size, limitOf, thread, table);
  const record = new ClientsRecord(buffer);
  const { int } = seeded(seed);
  const words = new Int32Array(4);
  const inside: { client: number; entry: number }[] = [];
  const leave = (at: number): void => {
    const [gone] = inside.splice(at, 1);
    if (gone === undefined) return;
    record.leaves(gone.client);
    clients.leave(gone.entry);
  };
  record.meet();
  const end = isEndless ? Infinity : stepCount;
  for (let step = 0; step < end; step += 1) {
    if (inside.length === insideCountMax || (int(2) === 0 && inside.length > 0)) {
      leave(int(inside.length));
      continue;
    }
    const client = int(2) === 0 ? int(frequentCount) : int(clientCount);
    words.set(client % 2 === 0 ? [0, 0, 0xffff, client] : [0x20010db8, client, int(9), int(9)]);
    const entry = clients.enter(client % 2 === 0 ? 4 : 6, words, 0);
    if (entry < 0) {
      record.refused();
      continue;
    }
    record.entered(client);
    inside.push({ client, entry });
  }
  while (inside.length > 0) leave(0);
}

if (!Bun.isMainThread) {
  self.addEventListener("message", ({ data }: MessageEvent<ClientsJob>) => {
    let fault = "";
    try {
      run(data);
    } catch (error) {
      fault = String(error);
    }
    self.postMessage(fault, []);
  });
}
