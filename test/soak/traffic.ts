// The clients' side of a soak: starts connections at a rate, keeps some for the whole time, and has a limit of how many
// are open at once.

import type { Random } from "../wait.ts";
import { connectClient, type ClientHost, type ClientRecord } from "./client.ts";
import type { Kind } from "./course.ts";
import { drawCourse, drawKind } from "./draw.ts";

const tickMs = 10;
/** What could not be started in time is caught up with for so long. */
const behindMs = 500;
const openCountMax = 400;
/** A burst now and then: one tick in a hundred. */
const burstSize = 60;

interface TrafficListener {
  onStarted(record: ClientRecord): void;
  onOver(record: ClientRecord): void;
}

export class Traffic {
  startedCount = 0;
  /** Bytes that clients have sent and received, of connections that are over. */
  bytes = 0;
  /** Every open client. */
  readonly open = new Set<ClientRecord>();
  private readonly random: Random;
  private readonly host: ClientHost;
  private readonly listener: TrafficListener;
  private longCount = 0;

  constructor(random: Random, host: Omit<ClientHost, "onOver">, listener: TrafficListener) {
    this.random = random;
    this.listener = listener;
    this.host = { ...host, onOver: (record) => this.onOver(record) };
  }

  /** Starts connections until `endAt`, as many as `rate` a second, `longCount` of them as long as this lasts. */
  async run(rate: number, longCount: number, endAt: number): Promise<void> {
    let dueFrom = performance.now();
    const lastLongAt = dueFrom + (endAt - dueFrom) * 0.8;
    let sinceThen = 0;
    for (;;) {
      const now = performance.now();
      if (now >= endAt) return;
      const missing = now < lastLongAt ? longCount - this.longCount : 0;
      for (let left = missing; left > 0; left--) this.start("long", endAt - now);
      const due = Math.floor(((now - dueFrom) / 1_000) * rate) - sinceThen;
      const extra = this.random.int(100) === 0 ? burstSize : 0;
      for (let left = due + extra; left > 0 && this.open.size < openCountMax; left--) {
        this.start(drawKind(this.random), 0);
        sinceThen += 1;
      }
      if (due > (rate * behindMs) / 1_000) {
        dueFrom = now;
        sinceThen = 0;
      }
      await Bun.sleep(tickMs);
    }
  }

  /** Ends what is open still, by a reset. */
  cutOff(): void {
    for (const record of this.open) record.end?.cutOff();
  }

  private start(kind: Kind, longMs: number): void {
    this.startedCount += 1;
    if (kind === "long") this.longCount += 1;
    const course = drawCourse(this.random, this.startedCount, kind, longMs);
    const record = connectClient(course, this.host);
    this.listener.onStarted(record);
    if (record.isOver) this.listener.onOver(record);
    else this.open.add(record);
  }

  private onOver(record: ClientRecord): void {
    if (record.course.kind === "long") this.longCount -= 1;
    this.bytes += (record.end?.sentSize ?? 0) + (record.end?.receivedSize ?? 0);
    if (this.open.delete(record)) this.listener.onOver(record);
  }
}
