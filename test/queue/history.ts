// What must hold of the history of a run: Jepsen's idea, record the life of every connection, then check them all. What
// the records cannot say the destinations have seen themselves; the status at the end says that nothing is left.
//
// `checkHistory` looks for: a number missing or twice, an end without a reason, a counter that is not back at 0, an
// older client overtaken, more clients at a destination than its slots, a slot that lies idle beside a client.

import { closeReasons } from "../../src/core/reason.ts";
import { Findings, unknownRow, type History } from "./life.ts";
import { checkOrder, claimsOf } from "./order.ts";
import { checkIdle, checkSlots } from "./slots.ts";

/** @returns what is wrong with the run, one line each; empty when nothing is. */
export function checkHistory(history: History): string[] {
  const claims = claimsOf(history);
  return [
    ...checkNumbers(history),
    ...checkEnds(history),
    ...checkCounters(history),
    ...checkOrder(history),
    ...checkSlots(history, claims),
    ...checkIdle(history),
    ...history.course.destinations.flatMap((each) => each.complaints),
  ];
}

/** Numbers of arrival are 1, 2, 3, … and each connection of a client has one. */
function checkNumbers({ lives, clientCount }: History): string[] {
  const findings = new Findings();
  let next = 1;
  for (const { id } of lives) {
    if (id < next) findings.add(() => `number ${id} has ended twice`);
    else if (id > next) findings.add(() => `numbers ${next} to ${id - 1} have not ended`);
    next = Math.max(next, id + 1);
  }
  if (clientCount !== null && clientCount !== lives.length) {
    findings.add(() => `${clientCount} clients were connected, ${lives.length} have ended`);
  }
  return findings.found;
}

/** Every connection ends for a reason that is known, after what it went through, and waits no longer than it may. */
function checkEnds({ course, lives, reasons }: History): string[] {
  const findings = new Findings();
  const known: readonly string[] = closeReasons;
  for (const [reason, count] of reasons) {
    if (!known.includes(reason)) findings.add(() => `${count} ended for no reason: "${reason}"`);
  }
  for (const { id, row, acceptedAt, waitedTo, slotTo, endedAt, vainCount } of lives) {
    if (row === unknownRow) findings.add(() => `client ${id} was given to a stranger`);
    // Each of these is a sum of its own, rounded.
    const isInOrder =
      acceptedAt <= waitedTo + rounding &&
      (row < 0 || (waitedTo <= slotTo + rounding && slotTo <= endedAt + rounding));
    if (!isInOrder || !(waitedTo <= endedAt + rounding)) {
      findings.add(() => `client ${id}: its times run backwards`);
    }
    const { queueMs, overdueMs } = course;
    const waitedMs = waitedTo - acceptedAt;
    if (queueMs > 0 && vainCount === 0 && waitedMs > queueMs + overdueMs) {
      findings.add(() => `client ${id} has waited for ${waitedMs.toFixed(0)} ms of ${queueMs}`);
    }
  }
  return findings.found;
}

const rounding = 0.01;

/** Nothing is left, and what was counted adds up. */
function checkCounters({ lives, reasons, status }: History): string[] {
  if (status === null) return [];
  const findings = new Findings();
  const expect = (what: string, is: number, wanted: number): void => {
    if (is !== wanted) findings.add(() => `${what}: ${is} at the end, not ${wanted}`);
  };
  expect("open connections", status.open, 0);
  expect("waiting clients", status.queue.waiting, 0);
  expect("accepted clients", status.accepted, lives.length);
  for (const { name, used } of status.destinations) expect(`slots in use of ${name}`, used, 0);
  for (const [reason, count] of Object.entries(status.closed)) {
    expect(`closed by ${reason}`, count, reasons.get(reason) ?? 0);
  }
  const { bytesIn, bytesUp, bytesDown, bytesUndelivered } = status;
  expect("bytes that came and did not go", bytesIn - bytesUp - bytesDown - bytesUndelivered, 0);
  return findings.found;
}
