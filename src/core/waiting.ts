// Who waits for a slot, counted: in this thread, and over all of them, where the limit is.
import type { Board } from "./board.ts";
import type { Limits } from "./limits.ts";
import type { ThreadNumbers } from "./numbers.ts";
import type { Pair } from "./pair.ts";

/** Of refusals for want of room, so that a flood is two lines and not two each. */
const refusalEpisodeMs = 1_000;

interface WaitingParts {
  readonly board: Board;
  readonly numbers: ThreadNumbers;
  readonly limits: Limits;
  /** The oldest that waits in this thread, or null. */
  oldest(): Pair | null;
  onQueueFull(full: boolean): void;
}

export class Waiting {
  private readonly parts: WaitingParts;

  constructor(parts: WaitingParts) {
    this.parts = parts;
  }

  /** One more has to wait. @returns false when too many do. */
  enter(pair: Pair, nowMs: number): boolean {
    const { board, limits } = this.parts;
    // Counted first: of two threads at once only one gets the last place.
    if (board.addTotal("queued", 1) <= limits.queueCountMax) {
      this.count(pair);
      return true;
    }
    board.addTotal("queued", -1);
    board.isNews("queueRefused", nowMs, 0);
    if (board.setFlag("queueFull", true)) this.parts.onQueueFull(true);
    return false;
  }

  /** It was given a destination, and is back: its place is its own, however many wait. */
  comeBack(pair: Pair): void {
    if (!pair.waiting) this.parts.board.addTotal("queued", 1);
    this.count(pair);
  }

  /** It waits no more. */
  leave(pair: Pair): void {
    const { board, numbers } = this.parts;
    if (!pair.waiting) return;
    pair.waiting = false;
    numbers.add("queued", -1);
    board.addTotal("queued", -1);
    numbers.set("oldestAt", this.parts.oldest()?.enteredAt ?? 0);
  }

  /** Somebody was served: once nobody has been refused for a while, there is room again. */
  onServed(nowMs: number): void {
    const { board } = this.parts;
    if (board.total("queueFull") === 0) return;
    if (!board.isOver("queueRefused", nowMs, refusalEpisodeMs)) return;
    if (board.setFlag("queueFull", false)) this.parts.onQueueFull(false);
  }

  private count(pair: Pair): void {
    const { numbers } = this.parts;
    if (!pair.waiting) {
      pair.waiting = true;
      numbers.add("queued", 1);
      if (!pair.waited) numbers.add("waited", 1);
      pair.waited = true;
    }
    if (numbers.get("queued") === 1) numbers.set("oldestAt", pair.enteredAt);
  }
}
