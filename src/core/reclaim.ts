// What a thread held that has died is given back, so that nobody waits for it: its slots, its tickets, its places in
// the machine's counts. Its sockets are gone; those of the other threads are not touched.
import { State, type Board } from "./board.ts";
import { linesPerThread, type TicketColumns } from "./tickets.ts";

/** Looks at places whose giver is between its two steps; a step is nanoseconds, unless its core was taken away. */
const lookCountMax = 1e8;

/** @returns how many connections were open in it. The caller wakes the others: slots may be free now. */
export function reclaim(board: Board, thread: number): number {
  for (const lane of board.lanes) reclaimTickets(board, lane, thread);
  const rows = board.size.destinationCountMax;
  const held = board.held[thread];
  for (let row = 0; row < rows; row += 1) {
    giveBack(board, row, held?.[row] ?? 0);
    board.changeState(row, State.trying, State.trial); // if the trial was its own; two trials do no harm
  }
  held?.fill(0);
  const numbers = board.thread(thread);
  const openCount = numbers.get("open");
  board.addTotal("open", -openCount);
  board.addTotal("queued", -numbers.get("queued"));
  for (let n = 0; n < openCount; n += 1) numbers.addClosed("error");
  numbers.add("open", -openCount);
  numbers.add("queued", -numbers.get("queued"));
  for (const name of ["oldestAt", "prefaces", "handshaking"] as const) numbers.set(name, 0);
  numbers.set("deadlines", 0);
  return openCount;
}

function reclaimTickets(board: Board, lane: TicketColumns, thread: number): void {
  const { heads, tails, grants } = lane;
  const placesPerLine = grants.length / heads.length;
  let looks = 0;
  for (let line = thread * linesPerThread; line < (thread + 1) * linesPerThread; line += 1) {
    // First nobody can claim its tickets any more, then every slot that was granted to them is taken back.
    let head = Atomics.load(heads, line);
    const tail = Atomics.load(tails, line);
    for (;;) {
      const seen = Atomics.compareExchange(heads, line, head, tail);
      if (seen === head) break;
      head = seen;
    }
    const first = line * placesPerLine;
    for (let at = head; at !== tail; at = (at + 1) | 0) {
      Atomics.store(grants, first + (at & (placesPerLine - 1)), 0);
    }
    for (let place = first; place < first + placesPerLine; place += 1) {
      while (looks < lookCountMax && Atomics.load(grants, place) < 0) looks += 1;
      const row = Atomics.exchange(grants, place, 0) - 1;
      if (row >= 0) giveBack(board, row, 1);
    }
  }
}

function giveBack(board: Board, row: number, count: number): void {
  if (count === 0) return;
  Atomics.sub(board.used, row, count);
  board.markFree(row);
}
