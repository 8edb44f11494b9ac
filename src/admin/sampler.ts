// Takes a sample each second, keeps the last two minutes of them, and gives them to who listens.

import type { ProgramStatus } from "../control/steering.ts";
import { sampleOf, type Sample } from "./sample.ts";

const sampleMs = 1_000;
/** Samples that are kept, so that a new dashboard has something to draw; fewer where destinations are many. */
const sampleCountMax = 120;
const keptRowCountMax = 24_000;
/** While nobody listens, samples go on only where one takes less than this: not where destinations are many. */
const idleCostMsMax = 2;
/** The cheapest of so many counts: others may have had the core. So many skipped ones later it is tried anew. */
const costCountMax = 3;
const skippedCountMax = 60;

/** One timer however many listen; nothing of it runs in the way of a connection. */
export class Sampler {
  private readonly status: () => ProgramStatus;
  private readonly receivers = new Set<(sample: Sample) => void>();
  private readonly kept: Sample[] = [];
  private readonly timer: ReturnType<typeof setInterval>;
  private before: { readonly status: ProgramStatus; readonly at: number } | null = null;
  /** ms of the last ones. */
  private readonly costs: number[] = [];
  private skippedCount = 0;

  constructor(status: () => ProgramStatus, everyMs = sampleMs) {
    this.status = status;
    this.timer = setInterval(() => this.take(), everyMs);
    this.timer.unref();
    this.look();
  }

  /** The last ones, oldest first. */
  get samples(): readonly Sample[] {
    return this.kept;
  }

  /** @returns what ends that. */
  subscribe(receive: (sample: Sample) => void): () => void {
    if (this.before === null) this.look();
    this.receivers.add(receive);
    return () => this.receivers.delete(receive);
  }

  close(): void {
    clearInterval(this.timer);
    this.receivers.clear();
  }

  private take(): void {
    if (this.receivers.size === 0 && this.isDear && this.skippedCount < skippedCountMax) {
      this.skippedCount += 1;
      this.before = null;
      return;
    }
    this.skippedCount = 0;
    const { before } = this;
    const now = this.look();
    if (before === null) return;
    const sample = sampleOf(before.status, now.status, Date.now(), now.at - before.at);
    this.costs.push(performance.now() - now.at);
    if (this.costs.length > costCountMax) this.costs.shift();
    this.keep(sample);
    for (const receive of this.receivers) receive(sample);
  }

  private get isDear(): boolean {
    return this.costs.length === costCountMax && Math.min(...this.costs) > idleCostMsMax;
  }

  private look(): { readonly status: ProgramStatus; readonly at: number } {
    const at = performance.now();
    this.before = { status: this.status(), at };
    return this.before;
  }

  private keep(sample: Sample): void {
    this.kept.push(sample);
    const rowCount = sample.listeners.reduce((sum, each) => sum + each.destinations.name.length, 1);
    const countMax = Math.min(sampleCountMax, Math.ceil(keptRowCountMax / rowCount));
    if (this.kept.length > countMax) this.kept.splice(0, this.kept.length - countMax);
  }
}
