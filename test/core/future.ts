// What a thread may still do to shared memory from each of its nodes on: all that any path known so far does.
import { slotCountMax, type Node, type Replay } from "./replay.ts";

const wordCount = slotCountMax / 32;

export class Futures {
  private readonly replay: Replay;
  /** By node: bits of the slots that are read, then of those that are written. */
  private sets = new Int32Array(0);
  private nodeCount = 0;

  constructor(replay: Replay) {
    this.replay = replay;
  }

  /** Takes in what has been learned. @returns true when a node can do more than was known. */
  update(): boolean {
    const { nodes } = this.replay;
    const known = this.sets.slice();
    const sets = new Int32Array(nodes.length * 2 * wordCount);
    sets.set(known);
    for (const { id, op } of nodes) {
      if (op.kind === "choose" || op.kind === "notify") continue;
      const isRead = op.kind === "load" ? 0 : wordCount;
      const at = id * 2 * wordCount + isRead + (op.slot >>> 5);
      sets[at] = (sets[at] ?? 0) | (1 << (op.slot & 31));
    }
    for (let isGrowing = true; isGrowing;) {
      isGrowing = false;
      for (let id = nodes.length - 1; id >= 0; id -= 1) {
        for (const next of nodes[id]?.next.values() ?? []) {
          if (include(sets, id, next.id)) isGrowing = true;
        }
      }
    }
    this.sets = sets;
    this.nodeCount = nodes.length;
    return known.some((bits, at) => bits !== sets[at]);
  }

  /** Whether a step of another thread can be told from this node on; true when the node is new. */
  canTell(node: Node, slot: number, isLoad: boolean): boolean {
    if (node.id >= this.nodeCount) return true;
    const at = node.id * 2 * wordCount + (slot >>> 5);
    const written = this.sets[at + wordCount] ?? 0;
    const bits = isLoad ? written : written | (this.sets[at] ?? 0);
    return (bits & (1 << (slot & 31))) !== 0;
  }
}

function include(sets: Int32Array, id: number, next: number): boolean {
  let hasGrown = false;
  for (let n = 0; n < 2 * wordCount; n += 1) {
    const at = id * 2 * wordCount + n;
    const before = sets[at] ?? 0;
    const after = before | (sets[next * 2 * wordCount + n] ?? 0);
    sets[at] = after;
    hasGrown ||= after !== before;
  }
  return hasGrown;
}
