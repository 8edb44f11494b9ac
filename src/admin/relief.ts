// Clients come before who asks: when descriptors run out, what is connected to the admin side is cut. Bun's server
// has no limit of connections, and closes none on a unix socket that never asks anything.

import { countDescriptors, readDescriptorLimit } from "./process-numbers.ts";

/** Until then clients wait: in the kernel to be accepted, in the queue for a destination. */
const lookMs = 250;
/** Where a cut frees nothing, others hold them: the next is tried ever later. */
const lookMsMax = 16_000;
/** Free ones below which it is cut: less than is kept for other ends than connections (src/system.ts). */
const spareCountMax = 16;
const spareOf = (limit: number): number => Math.min(spareCountMax, Math.floor(limit / 64));
/** It is told at most so often. */
const tellMs = 60_000;

export class Relief {
  private readonly cut: () => boolean;
  private readonly log: (message: string) => void;
  private readonly isShort: () => boolean;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private pauseMs = lookMs;
  private toldAt = -Infinity;
  private isOpen = true;

  /** @param cut closes every connection of the admin side; gives whether it could be opened again. */
  constructor(cut: () => boolean, log: (message: string) => void, isShort = runsShort) {
    this.cut = cut;
    this.log = log;
    this.isShort = isShort;
    this.wait();
  }

  close(): void {
    if (this.timer !== null) clearTimeout(this.timer);
  }

  private wait(): void {
    this.timer = setTimeout(() => this.look(), this.pauseMs);
    this.timer.unref();
  }

  private look(): void {
    if (this.isShort() || !this.isOpen) this.relieve();
    else this.pauseMs = lookMs;
    this.wait();
  }

  private relieve(): void {
    const now = performance.now();
    if (now - this.toldAt > tellMs) {
      this.toldAt = now;
      this.log("descriptors run out: whoever is connected to the admin side is cut");
    }
    this.isOpen = this.cut();
    this.pauseMs = this.isShort() ? Math.min(2 * this.pauseMs, lookMsMax) : lookMs;
  }
}

function runsShort(): boolean {
  try {
    const limit = readDescriptorLimit();
    return limit - countDescriptors() < spareOf(limit);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException; // what node:fs throws
    return code === "EMFILE" || code === "ENFILE"; // there was none left to look with
  }
}
