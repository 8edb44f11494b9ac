// What is right and what is wrong: judges each connection by what its two ends and its access line say of it.

import type { Ended } from "../e2e/ways.ts";
import type { ClientRecord } from "./client.ts";
import { wholeSize } from "./course.ts";
import type { End } from "./end.ts";

const violationKinds = [
  "wrong bytes",
  "missing bytes",
  "reset without cause",
  "cannot connect",
  "stuck",
  "access line",
  "accounting",
  "slots",
  "descriptors",
  "memory",
  "log",
  "exit",
] as const;

export interface Violation {
  readonly kind: (typeof violationKinds)[number];
  readonly text: string;
}

/** What became of a connection that broke no rule. */
export const outcomes = ["whole", "left", "reset as agreed", "killed", "refused"] as const;
export type Outcome = (typeof outcomes)[number];

export interface Circumstances {
  /** That destination was being killed, or was down, in this time; a negative number: any of them. */
  wasKilled(destination: number, fromMs: number, toMs: number): boolean;
  /** How long clients may wait, in ms. */
  readonly queueMs: number;
}

/** What a destination says of a connection of its own. @returns null when all is well. */
export function judgeDestination(end: End): Violation | null {
  const { course, fault, ending } = end;
  const who = course === null ? "a client without a first line" : `${course.id} (${course.kind})`;
  const told = (kind: Violation["kind"], what: string) => ({ kind, text: `${who}, up: ${what}` });
  if (fault !== "") return told("wrong bytes", fault);
  if (course === null) {
    const size = end.firstLineSize;
    if (size === 0 || ending !== "end") return null;
    return told("missing bytes", `clean end after ${size} bytes of the first line`);
  }
  const mayLeave = course.leaves !== null;
  if (ending === "end" && end.receivedCount < course.up.size) {
    if (course.leaves?.how === "close") return null;
    return told("missing bytes", `clean end after ${end.receivedCount} of ${course.up.size}`);
  }
  if (ending !== "reset" || mayLeave || course.cut?.by === "client") return null;
  return told("reset without cause", `after ${end.receivedCount} of ${course.up.size}`);
}

/** @param line null where there is none, as without a balancer. */
export function judgeClient(
  record: ClientRecord,
  line: Ended | null,
  around: Circumstances,
): Violation | Outcome {
  const { course, end } = record;
  const told = (kind: Violation["kind"], what: string): Violation => ({
    kind,
    text: `${course.id} (${course.kind}), client ${record.address}: ${what}${lineText(line)}`,
  });
  if (end === null || end.ending === "failed") return told("cannot connect", "never connected");
  if (end.fault !== "") return told("wrong bytes", `down: ${end.fault}`);
  const outcome = outcomeOf(record, end, line, around);
  if (outcome === null) {
    const got = `${end.receivedSize} of ${wholeSize(course, "down")} bytes`;
    return end.ending === "end"
      ? told("missing bytes", `clean end after ${got}`)
      : told("reset without cause", `after ${got}`);
  }
  if (line === null) return outcome;
  const doubt = doubtOf(record, end, line, around);
  return doubt === "" ? outcome : told("access line", doubt);
}

/** @returns null when nothing explains this end. */
function outcomeOf(
  record: ClientRecord,
  end: End,
  line: Ended | null,
  around: Circumstances,
): Outcome | null {
  if (end.ending === "left") return "left";
  if (end.isWhole) return "whole";
  if (wasKilled(record, end, line, around)) return "killed";
  if (end.ending !== "reset") return null;
  if (record.course.cut?.by === "destination") return "reset as agreed";
  const isLate = line?.reason === "queue-timeout" && line.totalMs >= around.queueMs;
  return isLate && end.receivedSize === 0 ? "refused" : null;
}

/** @returns what the line says that cannot be, "" when all of it fits. */
function doubtOf(record: ClientRecord, end: End, line: Ended, around: Circumstances): string {
  const { course } = record;
  const { reason, bytesUp, bytesDown } = line;
  if (bytesUp > end.sentSize) return `${bytesUp} bytes up of ${end.sentSize} that were sent`;
  if (bytesDown < end.receivedSize) {
    return `${bytesDown} bytes down, but ${end.receivedSize} have come`;
  }
  if (end.answeredBy >= 0 && end.answeredBy !== numberOf(line)) {
    return `it was answered by destination ${end.answeredBy}`;
  }
  const isKilled = wasKilled(record, end, line, around);
  // Its own last bytes may still be under way when its destination resets.
  const isCut = isKilled || course.cut?.by === "destination";
  if (end.isWhole && reason !== "done" && !isCut) return "the client knows of a whole course";
  switch (reason) {
    case "done": {
      const up = wholeSize(course, "up");
      const down = wholeSize(course, "down");
      const isAll = bytesUp === up && bytesDown === down;
      return isAll || isKilled || course.leaves?.how === "close"
        ? ""
        : `not ${up} up, ${down} down`;
    }
    case "client-reset":
    case "client-left":
      return end.ending === "left" || isKilled ? "" : "the client did not go";
    case "destination-reset":
      return isCut ? "" : "its destination did not go";
    case "queue-timeout":
      return line.totalMs >= around.queueMs ? "" : "it was refused too early";
    default:
      return "no such end was to be expected";
  }
}

function wasKilled(
  record: ClientRecord,
  end: End,
  line: Ended | null,
  around: Circumstances,
): boolean {
  const number = line === null ? end.answeredBy : numberOf(line);
  if (line !== null && number < 0) return false; // no destination had it
  return around.wasKilled(number, record.startedAt, performance.now());
}

/** The number of the destination that a line names, −1 when it names none. */
function numberOf(line: Ended): number {
  return line.destination === "" ? -1 : Number(line.destination.slice(1));
}

function lineText(line: Ended | null): string {
  if (line === null) return "";
  const { id, destination, tried, bytesUp, bytesDown, state, reason } = line;
  const shown = { id, destination, tried, bytesUp, bytesDown, state, reason };
  return `; access line ${JSON.stringify(shown)}`;
}
