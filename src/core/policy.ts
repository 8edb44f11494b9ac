// Who gets the next client. Each policy files the destinations that are ready and picks among them at a cost that
// does not depend on how many there are. Origin: IAWLB §14, where workers race for a lock.
import { assert } from "./assert.ts";
import { fullShare, type Board } from "./board.ts";
import type { Destination } from "./destination.ts";

export interface Policy {
  /** Files a ready destination, or files it anew because its load has changed. */
  file(destination: Destination): void;
  /** A filed destination is not ready any more. */
  remove(destination: Destination): void;
  /** A filed destination's load has changed since: other threads take slots as well. */
  isStale(destination: Destination): boolean;
  /** @returns a filed destination, or null when none is. It stays filed. */
  pick(key: number): Destination | null;
}

export type PolicyName = "pull" | "round-robin" | "random" | "hash";

/** A list through `Destination.previous` and `next`; it is one of its own members only when empty. */
class DestinationList {
  private head: Destination | null = null;
  count = 0;

  first(): Destination | null {
    return this.head;
  }

  append(destination: Destination): void {
    this.count += 1;
    if (this.head === null) {
      destination.previous = destination;
      destination.next = destination;
      this.head = destination;
      return;
    }
    const last = this.head.previous;
    last.next = destination;
    destination.previous = last;
    destination.next = this.head;
    this.head.previous = destination;
  }

  remove(destination: Destination): void {
    this.count -= 1;
    if (destination.next === destination) {
      this.head = null;
      return;
    }
    destination.previous.next = destination.next;
    destination.next.previous = destination.previous;
    if (this.head === destination) this.head = destination.next;
    destination.previous = destination;
    destination.next = destination;
  }
}

/** Mantissa bits of a load level: loads up to 128 are told apart exactly, larger ones within 1 %. */
const mantissaBits = 7;
const loadUnit = 256;

/**
 * The level of a load: a floating number of seven bits, so that a few thousand levels hold every load.
 * @returns 0 for an idle destination; grows with used / weight.
 */
export function loadLevel(used: number, weight: number): number {
  const load = Math.min(Math.ceil((used * loadUnit) / weight), 2 ** 31 - 1);
  const shift = Math.max(0, 31 - Math.clz32(load) - mantissaBits);
  return (shift << mantissaBits) + (load >>> shift);
}

const levelCount = loadLevel(2 ** 31 - 1, 1) + 1;
const wordCount = Math.ceil(levelCount / 32);

/**
 * `pull`: the destination with the smallest used / weight, the longest idle first among equals.
 *
 *   level   0: d4 → d1          used / weight, as a floating number
 *           1: d3 → d2 → d7     a set bit in `words` marks a level with members, a set bit in `summary` such a word
 */
class PullPolicy implements Policy {
  private readonly board: Board;
  private readonly levels: (DestinationList | null)[] = Array.from(
    { length: levelCount },
    () => null,
  );
  private readonly words = new Int32Array(wordCount);
  private readonly summary = new Int32Array(Math.ceil(wordCount / 32));

  constructor(board: Board) {
    this.board = board;
  }

  isStale(destination: Destination): boolean {
    return this.levelOf(destination) !== destination.place;
  }

  file(destination: Destination): void {
    const level = this.levelOf(destination);
    if (destination.place >= 0) this.remove(destination);
    const list = (this.levels[level] ??= new DestinationList());
    list.append(destination);
    destination.place = level;
    const word = level >>> 5;
    this.words[word] = (this.words[word] ?? 0) | (1 << (level & 31));
    this.summary[word >>> 5] = (this.summary[word >>> 5] ?? 0) | (1 << (word & 31));
  }

  remove(destination: Destination): void {
    const level = destination.place;
    const list = this.levels[level];
    assert(list !== null && list !== undefined, "pull: removed from no level");
    list.remove(destination);
    destination.place = -1;
    if (list.count > 0) return;
    const word = level >>> 5;
    this.words[word] = (this.words[word] ?? 0) & ~(1 << (level & 31));
    if (this.words[word] !== 0) return;
    this.summary[word >>> 5] = (this.summary[word >>> 5] ?? 0) & ~(1 << (word & 31));
  }

  pick(): Destination | null {
    for (let i = 0; i < this.summary.length; i += 1) {
      const bits = this.summary[i] ?? 0;
      if (bits === 0) continue;
      const word = i * 32 + lowestBit(bits);
      const level = word * 32 + lowestBit(this.words[word] ?? 0);
      return this.levels[level]?.first() ?? null;
    }
    return null;
  }

  private levelOf({ row }: Destination): number {
    return loadLevel(this.board.used[row] ?? 0, weightOf(this.board, row));
  }
}

/** Its weight as it counts now; less while it starts slowly. */
function weightOf(board: Board, row: number): number {
  return (board.share[row] ?? fullShare) / fullShare;
}

function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}

/** `round-robin`: each in turn, `weight` times per round, interleaved. */
class RoundRobinPolicy implements Policy {
  private readonly board: Board;
  private fresh = new DestinationList();
  private spent = new DestinationList();

  constructor(board: Board) {
    this.board = board;
  }

  isStale(): boolean {
    return false;
  }

  file(destination: Destination): void {
    if (destination.place >= 0) return;
    // One that was full comes back in the same round: what it has used up of its weight stays used up.
    destination.place = destination.credit >= 1 ? 0 : 1;
    (destination.place === 0 ? this.fresh : this.spent).append(destination);
  }

  remove(destination: Destination): void {
    (destination.place === 0 ? this.fresh : this.spent).remove(destination);
    destination.place = -1;
  }

  pick(): Destination | null {
    while (this.fresh.count === 0 && this.spent.count > 0) this.nextRound();
    const destination = this.fresh.first();
    if (destination === null) return null;
    this.fresh.remove(destination);
    destination.credit -= 1;
    if (destination.credit >= 1) {
      this.fresh.append(destination);
    } else {
      destination.place = 1;
      this.spent.append(destination);
    }
    return destination;
  }

  /** One that starts slowly gathers its share over several rounds, at most a hundred. */
  private nextRound(): void {
    for (let n = this.spent.count; n > 0; n -= 1) {
      const each = this.spent.first();
      if (each === null) return;
      this.spent.remove(each);
      each.credit += weightOf(this.board, each.row);
      each.place = each.credit >= 1 ? 0 : 1;
      (each.place === 0 ? this.fresh : this.spent).append(each);
    }
  }
}

/** `random`: the less used of two drawn at random (power of two choices). */
export class RandomPolicy implements Policy {
  private readonly board: Board;
  private readonly random: () => number;
  private readonly members: Destination[] = [];

  constructor(board: Board, random: () => number = Math.random) {
    this.board = board;
    this.random = random;
  }

  isStale(): boolean {
    return false;
  }

  file(destination: Destination): void {
    if (destination.place >= 0) return;
    destination.place = this.members.length;
    this.members.push(destination);
  }

  remove(destination: Destination): void {
    const last = this.members.pop();
    assert(last !== undefined, "random: removed from nothing");
    if (last !== destination) {
      this.members[destination.place] = last;
      last.place = destination.place;
    }
    destination.place = -1;
  }

  pick(): Destination | null {
    const count = this.members.length;
    if (count === 0) return null;
    const first = Math.floor(this.random() * count);
    const a = this.members[first] ?? null;
    if (count === 1) return a;
    const second = (first + 1 + Math.floor(this.random() * (count - 1))) % count;
    const b = this.members[second] ?? null;
    return a !== null && b !== null && this.load(a) <= this.load(b) ? a : b;
  }

  private load(destination: Destination): number {
    return (this.board.used[destination.row] ?? 0) / weightOf(this.board, destination.row);
  }
}

/** Points on the circle for one unit of weight, and for all destinations together. */
const pointCountEach = 160;
const pointCountMax = 2 ** 20;

/**
 * `hash`: by client address, consistent. Each destination owns points on a circle of 32 bits; a client goes to the
 * next point whose destination is ready. One of k added moves about 1/k of the clients, one gone moves only its own.
 */
class HashPolicy implements Policy {
  /** Sorted: position on the circle · 2^20 + index of the member; exact in 52 bits. */
  private readonly points: Float64Array;
  private readonly members: readonly Destination[];
  private readyCount = 0;

  constructor(board: Board, members: readonly Destination[]) {
    assert(members.length <= pointCountMax, "hash: more destinations than points");
    const weights = members.map((each) => board.weight[each.row] ?? 1);
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const each = Math.min(pointCountEach, pointCountMax / Math.max(1, total));
    const points: number[] = [];
    members.forEach((member, index) => {
      const count = Math.max(1, Math.round(each * (weights[index] ?? 1)));
      const seed = hashText(member.name);
      for (let i = 0; i < count; i += 1) points.push(mix(seed + mix(i + 1)) * 2 ** 20 + index);
    });
    this.points = Float64Array.from(points).toSorted();
    this.members = members;
  }

  isStale(): boolean {
    return false;
  }

  file(destination: Destination): void {
    if (destination.place >= 0) return;
    destination.place = 0;
    this.readyCount += 1;
  }

  remove(destination: Destination): void {
    destination.place = -1;
    this.readyCount -= 1;
  }

  pick(key: number): Destination | null {
    if (this.readyCount === 0) return null;
    const { points } = this;
    let low = 0;
    let high = points.length;
    const wanted = mix(key) * 2 ** 20;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((points[middle] ?? 0) < wanted) low = middle + 1;
      else high = middle;
    }
    for (let i = 0; i < points.length; i += 1) {
      const point = points[(low + i) % points.length] ?? 0;
      const member = this.members[point % 2 ** 20];
      if (member !== undefined && member.place >= 0) return member;
    }
    return null;
  }
}

/** What the policy `hash` goes by: the address of `host:port` without its port; all of it for a unix socket. */
export function keyOfClient(client: string): number {
  const colon = client.lastIndexOf(":");
  return hashText(colon < 0 || client.startsWith("unix:") ? client : client.slice(0, colon));
}

/** 32 bits of a text (FNV-1a). */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  }
  return hash >>> 0;
}

/** Spreads 32 bits so that every bit of the input moves half of the output (the finalizer of MurmurHash3). */
function mix(bits: number): number {
  let hash = bits >>> 0;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The policy of that name over `members`, none of them filed yet. */
export function policyOf(name: PolicyName, board: Board, members: readonly Destination[]): Policy {
  switch (name) {
    case "pull":
      return new PullPolicy(board);
    case "round-robin":
      return new RoundRobinPolicy(board);
    case "random":
      return new RandomPolicy(board);
    case "hash":
      return new HashPolicy(board, members);
  }
}
