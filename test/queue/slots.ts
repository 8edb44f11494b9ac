// A destination never has more clients than slots, and no slot lies idle beside a client that waits.

import { Findings, type Course, type DestinationCourse, type History, type Life } from "./life.ts";
import type { Claim } from "./order.ts";

/** A cooldown may be over a little before the records say so. */
const timerMs = 1;

interface Span {
  readonly fromMs: number;
  readonly toMs: number;
}

/**
 * Never more than N: by the times at which the records say that slots were held for certain, then by the same with the
 * claims of those who were given late. What destinations have counted themselves is in their complaints.
 */
export function checkSlots({ course, lives }: History, claims: readonly Claim[]): string[] {
  const findings = new Findings();
  const claimedAt = new Map(claims.map(({ life, fromMs }) => [life, fromMs]));
  const rows = byRow(course, lives);
  const slotsInAll = course.destinations.reduce((sum, each) => sum + each.slots, 0);
  const hasLimits = course.destinations.every((each) => each.slots > 0);
  const all: Span[] = [];
  course.destinations.forEach(({ name, slots }, row) => {
    const members = rows[row] ?? [];
    const held = members.map((life) => heldBy(life, course));
    if (slots === 0) return;
    const most = mostAtOnce(held);
    if (most.count > slots) {
      return findings.add(
        () => `${most.count} clients at ${name} of ${slots}: ${who(members, most.atMs)}`,
      );
    }
    const reckoned = members.map((life, index) => {
      const fromMs = claimedAt.get(life) ?? held[index]?.fromMs ?? 0;
      return { fromMs, toMs: held[index]?.toMs ?? 0 };
    });
    all.push(...reckoned);
    const late = mostAtOnce(reckoned);
    if (late.count > slots) {
      const text = `${name}: somebody was overtaken, for nobody's slot was on its way`;
      findings.add(() => `${text}: ${who(members, late.atMs)}`);
    }
  });
  // Who left before the slot came: it was one of them all.
  const left = claims.filter(({ life }) => life.row < 0);
  const late = mostAtOnce([
    ...all,
    ...left.map(({ life, fromMs }) => ({ fromMs, toMs: life.waitedTo })),
  ]);
  if (hasLimits && findings.found.length === 0 && late.count > slotsInAll) {
    const ids = left.filter((each) => each.fromMs <= late.atMs && late.atMs < each.life.waitedTo);
    findings.add(
      () => `somebody who left was overtaken before: ${ids.map(({ life }) => life.id).join(", ")}`,
    );
  }
  return findings.found;
}

/**
 * No idle slot: while a destination that is up has one, nobody waits through `idleMs`. It counts as up from its first
 * connect after it was down, for before that it is the balancer's right to leave it alone.
 */
export function checkIdle({ course, lives }: History): string[] {
  const findings = new Findings();
  const { idleMs } = course;
  const waits = lives.filter(
    (each) => !each.refused && each.vainCount === 0 && each.waitedTo - each.acceptedAt > idleMs,
  );
  const rows = byRow(course, lives);
  course.destinations.forEach((destination, row) => {
    for (const idle of idleSpans(course, destination, rows[row] ?? [])) {
      if (idle.toMs - idle.fromMs <= idleMs) continue;
      for (const { id, acceptedAt, waitedTo } of waits) {
        const fromMs = Math.max(idle.fromMs, acceptedAt);
        const ms = Math.min(idle.toMs, waitedTo) - fromMs;
        if (ms <= idleMs) continue;
        findings.add(
          () =>
            `client ${id} waited ${ms.toFixed(0)} ms beside an idle slot of ${destination.name}`,
        );
      }
    }
  });
  return findings.found;
}

/** When fewer than all slots of a destination were taken while it was up. */
function idleSpans(
  course: Course,
  { slots, downs }: DestinationCourse,
  members: readonly Life[],
): Span[] {
  const ups = upSpans(downs, members);
  if (slots === 0) return ups;
  const late = course.clockMs + course.cooldownMs + sweepMs;
  const starts = sorted(members.map((each) => each.waitedTo));
  const ends = sorted(members.map((each) => each.slotTo + late));
  const spans: Span[] = [];
  let idleFrom = Number.NEGATIVE_INFINITY;
  let count = 0;
  let end = 0;
  for (const start of starts) {
    for (; (ends[end] ?? Number.POSITIVE_INFINITY) <= start; end += 1) {
      if (count === slots) idleFrom = ends[end] ?? 0;
      count -= 1;
    }
    count += 1;
    if (count === slots) spans.push({ fromMs: idleFrom, toMs: start });
  }
  for (; end < ends.length && count >= slots; end += 1) {
    idleFrom = ends[end] ?? 0;
    count -= 1;
  }
  spans.push({ fromMs: idleFrom, toMs: Number.POSITIVE_INFINITY });
  const long = spans.filter(({ fromMs, toMs }) => toMs - fromMs > course.idleMs);
  return long.flatMap((span) =>
    ups
      .map(({ fromMs, toMs }) => ({
        fromMs: Math.max(span.fromMs, fromMs),
        toMs: Math.min(span.toMs, toMs),
      }))
      .filter(({ fromMs, toMs }) => fromMs < toMs),
  );
}

/** A deadline is looked at so much later than it is due. */
const sweepMs = 20;

/** From the first connect after each time that it was down to the next such time. */
function upSpans(downs: DestinationCourse["downs"], members: readonly Life[]): Span[] {
  const joins = sorted(members.filter((each) => each.joined).map((each) => each.waitedTo));
  let join = 0;
  const ends = [...downs.map(([fromMs]) => fromMs), Number.POSITIVE_INFINITY];
  return ends.map((toMs, index) => {
    const upAt = downs[index - 1]?.[1] ?? Number.NEGATIVE_INFINITY;
    while ((joins[join] ?? Number.POSITIVE_INFINITY) < upAt) join += 1;
    const fromMs = index === 0 ? upAt : (joins[join] ?? toMs);
    return { fromMs, toMs: Math.max(fromMs, toMs) };
  });
}

/** From when to when a slot was held for certain. */
function heldBy({ waitedTo, slotTo }: Life, { clockMs, cooldownMs }: Course): Span {
  const restMs = Math.max(0, cooldownMs - timerMs);
  return { fromMs: waitedTo + clockMs, toMs: slotTo + restMs };
}

/** The most spans at any moment, and the first such moment; who ends as another begins makes room for it. */
function mostAtOnce(spans: readonly Span[]): { count: number; atMs: number } {
  const certain = spans.filter(({ fromMs, toMs }) => fromMs < toMs);
  const starts = sorted(certain.map(({ fromMs }) => fromMs));
  const ends = sorted(certain.map(({ toMs }) => toMs));
  let most = { count: 0, atMs: 0 };
  let end = 0;
  starts.forEach((atMs, index) => {
    while ((ends[end] ?? Number.POSITIVE_INFINITY) <= atMs) end += 1;
    const count = index + 1 - end;
    if (count > most.count) most = { count, atMs };
  });
  return most;
}

function byRow({ destinations }: Course, lives: readonly Life[]): readonly Life[][] {
  const rows: Life[][] = destinations.map(() => []);
  for (const life of lives) rows[life.row]?.push(life);
  return rows;
}

/** Numbers of those who held a slot then, or had it on its way. */
function who(members: readonly Life[], atMs: number): string {
  const ids = members.filter((each) => each.acceptedAt <= atMs && atMs < each.slotTo);
  const first = ids.slice(0, 10).map(({ id }) => id);
  return `clients ${first.join(", ")}${ids.length > 10 ? ", …" : ""}`;
}

function sorted(numbers: readonly number[]): Float64Array {
  return Float64Array.from(numbers).toSorted();
}
