// What the balancer's own numbers must say, while it runs and at the end.

import type { Status } from "../../src/balancer.ts";
import type { Violation } from "./judge.ts";

/** At any time: nobody has more than its slots. */
export function overSlots(status: Status): Violation[] {
  return status.destinations
    .filter(({ used, slots }) => used < 0 || (slots > 0 && used > slots))
    .map(({ name, used, slots }) => ({ kind: "slots", text: `${name} has ${used} of ${slots}` }));
}

/** Nothing is left: no connection, slot, place in the queue; and no deadline but those of destinations at rest. */
export function isAtRest(status: Status, deadlinesBefore: number): boolean {
  const restingCount = status.destinations.filter(({ state }) => state !== "up").length;
  const used = status.destinations.reduce((sum, each) => sum + each.used, 0);
  const isLate = status.deadlines > deadlinesBefore + restingCount;
  return status.open === 0 && status.queue.waiting === 0 && used === 0 && !isLate;
}

/** Once it is at rest: every connection has one end, every byte is out or counted as lost. */
export function unaccounted(
  status: Status,
  deadlinesBefore: number,
  counts: { readonly clients: number; readonly lines: number },
): Violation[] {
  const closedCount = Object.values(status.closed).reduce((sum, each) => sum + each, 0);
  const { accepted, open, bytesIn, bytesUp, bytesDown, bytesUndelivered } = status;
  const told: string[] = [];
  if (!isAtRest(status, deadlinesBefore)) {
    const used = status.destinations.map((each) => each.used).join(" + ");
    const { waiting } = status.queue;
    told.push(
      `${open} open, ${waiting} waiting, ${used} slots taken, ${status.deadlines} deadlines`,
    );
  }
  if (accepted !== closedCount + open) {
    told.push(`${accepted} accepted, ${closedCount} closed and ${open} open`);
  }
  if (bytesIn !== bytesUp + bytesDown + bytesUndelivered) {
    told.push(`${bytesIn} bytes in, ${bytesUp} up, ${bytesDown} down, ${bytesUndelivered} lost`);
  }
  if (accepted !== counts.clients) told.push(`${accepted} accepted of ${counts.clients} clients`);
  if (accepted !== counts.lines) told.push(`${accepted} accepted, ${counts.lines} access lines`);
  return told.map((text) => ({ kind: "accounting", text }));
}
