// A destination that is back gets its slots, or its share, little by little: it may have to warm up.
import { fullShare, type Board } from "./board.ts";

/** It gets one slot, or a hundredth of its share, to begin with. */
export function beginSlowStart(board: Board, row: number, nowMs: number): void {
  board.slowFromMs[row] = nowMs;
  growTo(board, row, 0);
}

/** Goes on with a slow start. @returns true while it is under way. */
export function growSlowStart(
  board: Board,
  row: number,
  nowMs: number,
  slowStartMs: number,
): boolean {
  const fromMs = board.slowFromMs[row] ?? 0;
  if (fromMs === 0) return false;
  const part = slowStartMs === 0 ? 1 : Math.min(1, Math.max(0, (nowMs - fromMs) / slowStartMs));
  if (part === 1) board.slowFromMs[row] = 0;
  growTo(board, row, part);
  return part < 1;
}

function growTo(board: Board, row: number, part: number): void {
  const { memory } = board;
  const slots = board.slotsFull[row] ?? 0;
  const share = (board.weight[row] ?? 1) * fullShare;
  if (slots > 0) memory.store(board.slots, row, Math.max(1, Math.floor(slots * part)));
  memory.store(board.share, row, Math.max(1, Math.floor(share * part)));
  board.markFree(row);
}
