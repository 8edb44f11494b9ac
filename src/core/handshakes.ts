// Handshakes in progress, which cost more than anything else a client can ask for: a limit, and a line before it.

interface Member {
  /** Its turn has come. */
  secure(): void;
}

export class Handshakes<M extends Member = Member> {
  /** In progress in this thread at once. */
  private countMax: number;
  private readonly underWay = new Set<M>();
  /** Oldest first. */
  private readonly queue = new Set<M>();
  /** Others are let in by a call further out: one that fails at once must not call the next from inside. */
  private isServing = false;
  private readonly onCount: (count: number) => void;

  /** @param onCount is told how many are in progress, when that changes. */
  constructor(countMax: number, onCount: (count: number) => void) {
    this.countMax = countMax;
    this.onCount = onCount;
  }

  /** @returns true when it is its turn; false: `secure` will be called, unless it leaves. */
  enter(member: M): boolean {
    if (this.underWay.size >= this.countMax || this.queue.size > 0) {
      this.queue.add(member);
      return false;
    }
    this.begin(member);
    return true;
  }

  /** It is over, or does not want to any more; harmless for who is not here. */
  leave(member: M): void {
    this.queue.delete(member);
    if (!this.underWay.delete(member)) return;
    this.onCount(this.underWay.size);
    this.serve();
  }

  /** When there may be more, those who wait begin at once. */
  setCountMax(countMax: number): void {
    this.countMax = countMax;
    this.serve();
  }

  private serve(): void {
    if (this.isServing) return;
    this.isServing = true;
    try {
      for (const next of this.queue) {
        if (this.underWay.size >= this.countMax) break;
        this.queue.delete(next);
        this.begin(next);
        next.secure();
      }
    } finally {
      this.isServing = false;
    }
  }

  private begin(member: M): void {
    this.underWay.add(member);
    this.onCount(this.underWay.size);
  }
}
