// Nobody overtakes: among clients that wait, a slot goes to the lowest number.
//
// One thread: while client i waits, no j > i is given a slot. Nothing is allowed for.
//
// Several threads: j may be dialed before i although i was chosen before: i's slot is on its way to the thread that
// holds i. How long that takes says nothing on a busy machine; but i's slot is taken all the while. So who is given
// late is reckoned to hold its slot from the moment at which the first younger one was given; had i really been
// overtaken, somebody else would have had that slot then, and its destination more clients than slots (slots.ts).
//
//   slot of i   [ ── held by k ── ]  freed, chosen for i, on its way  [ ── held by i ── ]     j's slot: another one
//   j given                             ^ i reckoned from here on       ^ i given
//
// Only in the turn in which i was accepted (`turnMs`) has it a number and no place yet.

import { Findings, type History, type Life } from "./life.ts";

/** A place reckoned to be taken before the records say so: a slot on its way to its client. */
export interface Claim {
  readonly life: Life;
  /** Since when, at the latest. */
  readonly fromMs: number;
}

/** Those who came back from a failed connect were not waiting all the time; more failures are not written down. */
const vainCountMax = 16;

/** One thread, or those who came back from failed connects: who was given a slot while an older one waited for it. */
export function checkOrder({ course, lives }: History): string[] {
  const findings = new Findings();
  const given = new ByGiven(lives);
  const isAlone = course.threadCount === 1;
  const graceMs = isAlone ? 0 : course.turnMs;
  for (const life of lives) {
    if (life.refused || life.vainCount >= vainCountMax) continue;
    if (!isAlone && life.vainCount === 0) continue; // see `claimsOf`
    // While it was being connected in vain, others might be given what was free meanwhile.
    let windows = life.vainCount;
    let next = given.next(life.id, life.acceptedAt + graceMs);
    const to = life.waitedTo - course.clockMs - graceMs;
    while (next !== null && next.waitedTo < to && windows > 0) {
      windows -= 1;
      next = given.next(life.id, next.waitedTo + course.vainMs);
    }
    if (next === null || next.waitedTo >= to) continue;
    const { id } = next;
    const ms = (life.waitedTo - next.waitedTo).toFixed(3);
    findings.add(() => `client ${id} was given a slot while ${life.id} waited, for ${ms} ms more`);
  }
  return findings.found;
}

/** Several threads: clients whose slot must have been theirs before they were dialed. */
export function claimsOf({ course, lives }: History): Claim[] {
  if (course.threadCount === 1) return [];
  const given = new ByGiven(lives);
  return lives.flatMap((life) => {
    if (life.refused || life.vainCount > 0) return [];
    const next = given.next(life.id, life.acceptedAt + course.clockMs + course.turnMs);
    if (next === null || next.waitedTo + course.clockMs >= life.waitedTo) return [];
    return [{ life, fromMs: next.waitedTo + course.clockMs }];
  });
}

/** Clients in the order in which they were given their slots. */
class ByGiven {
  private readonly lives: readonly Life[];
  private readonly moments: Float64Array;
  /** A tree of the largest number: node n has 2n and 2n + 1 below it. */
  private readonly largest: Int32Array;
  private readonly width: number;

  constructor(lives: readonly Life[]) {
    this.lives = lives.filter((each) => each.row >= 0).toSorted((a, b) => a.waitedTo - b.waitedTo);
    this.moments = Float64Array.from(this.lives, (each) => each.waitedTo);
    this.width = 2 ** Math.ceil(Math.log2(Math.max(1, this.lives.length)));
    this.largest = new Int32Array(2 * this.width);
    this.lives.forEach((each, index) => (this.largest[this.width + index] = each.id));
    for (let node = this.width - 1; node > 0; node -= 1) {
      this.largest[node] = Math.max(this.at(2 * node), this.at(2 * node + 1));
    }
  }

  /** The first that was given after `ms` and came later than number `id`, or null. O(log count). */
  next(id: number, ms: number): Life | null {
    let low = 0;
    let high = this.lives.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.moments[middle] ?? 0) <= ms) low = middle + 1;
      else high = middle;
    }
    if (low === this.width) return null;
    // Up as far as nothing on the right is younger, then down to the leftmost that is.
    let node = this.width + low;
    while (this.at(node) <= id) {
      while (node % 2 === 1) node >>>= 1;
      if (node === 0) return null; // it was the rightmost all the way up
      node += 1;
    }
    while (node < this.width) node = this.at(2 * node) > id ? 2 * node : 2 * node + 1;
    return this.lives[node - this.width] ?? null;
  }

  private at(node: number): number {
    return this.largest[node] ?? 0;
  }
}
