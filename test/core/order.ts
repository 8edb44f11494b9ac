// The order in which tickets are claimed, watched in every interleaving.
import type { Board } from "../../src/core/board.ts";
import type { Protocol, Watch } from "./interleave.ts";
import type { Packed } from "./packed.ts";
import type { Replay } from "./replay.ts";

/**
 * Order: whoever claims x must leave nobody waiting who is older and was published before x was, or before the claimer
 * began to look.
 */
export function watchOrder(
  replay: Replay,
  board: Board,
  threadCount: number,
  clientCount: number,
): Pick<Protocol, "watch" | "isWatched" | "ghosts"> {
  const { heads, tails, numbers } = board.ticketColumns;
  const lines = [...heads].map((_, line) => ({
    head: replay.slotOf(heads, line),
    tail: replay.slotOf(tails, line),
  }));
  const lineOf = new Map(
    lines.flatMap(({ head, tail }, line) => [
      [head, line],
      [tail, line],
    ]),
  );
  const placeCount = numbers.length / lines.length;
  const number = [...numbers].map((_, place) => replay.slotOf(numbers, place));
  // By thread: who was published when it began to look, plus 1. By number: the older ones published before it.
  const seen = Array.from({ length: threadCount }, (_, n) => replay.reserve(`seen[${n}]`));
  const before = Array.from({ length: clientCount + 1 }, (_, n) => replay.reserve(`before[${n}]`));
  /** Numbers that are published and not claimed, one bit each. */
  const published = (memory: Packed): number => {
    let bits = 0;
    lines.forEach(({ head, tail }, line) => {
      for (let at = memory.get(head); at !== memory.get(tail); at += 1) {
        bits |= 1 << memory.get(numberAt(line, at));
      }
    });
    return bits;
  };
  const numberAt = (line: number, position: number): number =>
    number[line * placeCount + (position & (placeCount - 1))] ?? 0;
  const watch: Watch = (thread, op, result, memory) => {
    const line = lineOf.get(op.slot);
    const seenAt = seen[thread] ?? 0;
    if (line === undefined) return "";
    if (op.kind === "store") {
      const now = published(memory);
      for (let n = 1; n <= clientCount; n += 1) {
        const at = before[n] ?? 0;
        if ((now & (1 << n)) !== 0 && memory.get(at) === 0)
          memory.set(at, 1 | (now & ((1 << n) - 2)));
      }
      return "";
    }
    if (op.method !== "claimOldest") return "";
    if (op.kind === "load" && memory.get(seenAt) === 0) {
      memory.set(seenAt, 1 | published(memory));
    }
    if (op.kind !== "compareExchange") return "";
    const wasSeen = memory.get(seenAt);
    memory.set(seenAt, 0);
    if (result !== op.a) return "";
    const claimed = memory.get(numberAt(line, op.a));
    const wasBefore = memory.get(before[claimed] ?? 0);
    memory.set(before[claimed] ?? 0, 0);
    for (const slot of [...seen, ...before]) {
      memory.set(slot, memory.get(slot) & ~(1 << claimed));
    }
    const overtaken = published(memory) & (wasSeen | wasBefore) & ((1 << claimed) - 2);
    return overtaken === 0 ? "" : `client ${claimed} overtakes those of the bits ${overtaken}`;
  };
  const isWatched: Protocol["isWatched"] = (thread, op, memory) => {
    if (!lineOf.has(op.slot)) return false;
    if (op.kind !== "load") return true;
    return op.method === "claimOldest" && memory.get(seen[thread] ?? 0) === 0;
  };
  return { watch, isWatched, ghosts: [...seen, ...before] };
}
