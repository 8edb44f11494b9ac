// Health checks of all destinations, in one place for all threads: when each is due, and what a row of them says.
// A check costs a destination a connection, so none is made where real traffic has just shown the same.
//
//   due ──> proven by traffic: skipped          ┌──> passed ──> `rise` in a row: risen
//     └──> waits for its place ──> checked ─────┼──> failed ──> `fall` in a row: fallen, checked less and less often
//                                               └──> undecided: says nothing
import { assert } from "../core/assert.ts";
import type { Outward } from "../core/destination.ts";
import type { DialAddress, Engine } from "../core/engine.ts";
import { endOfTurn, never, type Alarm, type Loop } from "../core/loop.ts";
import { Expiring, Sweep } from "../core/sweep.ts";
import { questionOf, type Ask, type Question } from "./answer.ts";
import { Check, type CheckEvents, type Verdict } from "./check.ts";

/** Part of an interval that is left to chance, so that many balancers do not knock together. */
const jitter = 0.2;
/** One that has been fallen for so long is checked less and less often, up to the larger. */
const longFallenMs = 30_000;
const intervalMsMax = 30_000;
/** First checks are spread over so much a destination, and over all that together, but no more than an interval. */
const firstMs = 10;
const firstsMsMin = 200;
/** Checks that begin in one turn of the event loop: traffic has the next. */
const startCountMax = 16;

export interface HealthPlan extends Ask {
  /** From the end of a check to the next, give or take a tenth; 0: it is not checked. */
  readonly intervalMs: number;
  /** Of one check. */
  readonly timeoutMs: number;
  readonly fall: number;
  readonly rise: number;
  /** What a check says before it asks; null = nothing. */
  readonly outward: Outward | null;
}

interface HealthEvents {
  /** `fall` checks in a row have failed. */
  onFall(row: number, cause: string): void;
  /** `rise` in a row have passed after a fall. `onPass` was told before. */
  onRise(row: number): void;
  /** One has passed; so many in a row now. */
  onPass(row: number, count: number): void;
}

export interface HealthParts {
  readonly engine: Engine;
  readonly loop: Loop;
  /** By row; null: it is not checked. */
  readonly plans: readonly (HealthPlan | null)[];
  /** None: its name does not resolve, and it is not checked now. */
  addressesOf(row: number): readonly DialAddress[];
  /** When real traffic has last connected, in ms of the loop's clock; 0 = never. */
  provenAt(row: number): number;
  /** Clients wait for any destination. */
  isWaited(): boolean;
  /** Checks in flight at once, to begin with. */
  readonly checkCountMax: number;
  readonly events: HealthEvents;
  /** In [0, 1). */
  readonly random?: () => number;
}

/** Of one destination. A check that is undecided counts as a check only. */
export interface HealthCounts {
  readonly checks: number;
  readonly failed: number;
  /** Not made, for traffic had shown that it is alive. */
  readonly skipped: number;
}

/** What a destination's checks need of those of all others. */
interface Round {
  readonly parts: HealthParts;
  readonly sweep: Sweep;
  readonly random: () => number;
  /** Calls `next` when there is a place: in order, each once. */
  queue(subject: Subject): void;
  /** Its check has given back its place. */
  onOver(): void;
}

export class Health implements Round {
  readonly parts: HealthParts;
  readonly sweep: Sweep;
  readonly random: () => number;
  /** By row; null: it is not checked. */
  private readonly subjects: (Subject | null)[];
  /** Those that are due, the first come first. */
  private readonly due = new Set<Subject>();
  private readonly beginDue: Alarm;
  private inFlightCount = 0;
  /** Checks in flight at once. */
  checkCountMax: number;
  private hasStarted = false;

  constructor(parts: HealthParts) {
    assert(parts.checkCountMax > 0, "health: no check may be made");
    this.parts = parts;
    this.checkCountMax = parts.checkCountMax;
    this.random = parts.random ?? Math.random;
    this.sweep = new Sweep(parts.loop);
    this.beginDue = parts.loop.alarm(() => this.begin());
    this.subjects = parts.plans.map((plan, row) =>
      isChecked(plan) ? new Subject(this, row, plan) : null,
    );
  }

  start(): void {
    this.hasStarted = true;
    const subjects = this.subjects.filter((each) => each !== null);
    const spreadMs = Math.max(firstsMsMin, firstMs * subjects.length);
    subjects.forEach((each, index) => {
      each.start(spreadMs, (index + this.random()) / subjects.length);
    });
  }

  /**
   * A row is checked otherwise from now on, or by another destination. Its next check is soon.
   * @param plan null: it is not checked.
   * @param isSame what is known of it by now holds still.
   */
  set(row: number, plan: HealthPlan | null, isSame: boolean): void {
    const before = this.subjects[row] ?? null;
    if (before !== null) {
      this.due.delete(before);
      if (before.close()) this.onOver();
    }
    const subject = isChecked(plan) ? new Subject(this, row, plan) : null;
    if (before !== null && isSame) subject?.inherit(before);
    this.subjects[row] = subject;
    if (this.hasStarted) {
      const spreadMs = Math.max(firstsMsMin, firstMs * this.subjects.length);
      subject?.start(spreadMs, this.random());
    }
  }

  /** Ends all checks at once; nothing more is told. */
  close(): void {
    this.hasStarted = false;
    this.beginDue.clear();
    this.due.clear();
    for (const each of this.subjects) each?.close();
    this.sweep.close();
  }

  /** Why its last check has failed; "" = it has not, or traffic has shown since that it is alive. */
  causeOf(row: number): string {
    return this.subjects[row]?.cause ?? "";
  }

  /** False from its fall until it has risen again; null = nothing is known yet. */
  isPassing(row: number): boolean | null {
    return this.subjects[row]?.isPassing ?? null;
  }

  countsOf(row: number): HealthCounts {
    return this.subjects[row]?.counts ?? { checks: 0, failed: 0, skipped: 0 };
  }

  queue(subject: Subject): void {
    this.due.add(subject);
    this.beginDue.set(endOfTurn);
  }

  onOver(): void {
    this.inFlightCount -= 1;
    if (this.due.size > 0) this.beginDue.set(endOfTurn);
  }

  private begin(): void {
    let startCount = 0;
    for (const subject of this.due) {
      if (this.inFlightCount >= this.checkCountMax) return; // the next one that is over goes on
      if (startCount === startCountMax) return this.beginDue.set(endOfTurn);
      this.due.delete(subject);
      const check = subject.next();
      if (check === null) continue;
      startCount += 1;
      this.inFlightCount += 1;
      check.start();
    }
  }
}

function isChecked(plan: HealthPlan | null): plan is HealthPlan {
  return plan !== null && plan.intervalMs > 0;
}

/** One destination. */
class Subject extends Expiring implements CheckEvents {
  readonly counts = { checks: 0, failed: 0, skipped: 0 };
  cause = "";
  isPassing: boolean | null = null;
  private readonly round: Round;
  private readonly row: number;
  private readonly plan: HealthPlan;
  private readonly question: Question;
  private check: Check | null = null;
  /** When its normal interval is over, and when a check is due if nobody waits. */
  private normalAt = 0;
  private dueAt = 0;
  /** Grows while it stays fallen; the normal one is the least, all the same. */
  private intervalMs: number;
  /** In a row. */
  private passCount = 0;
  private failCount = 0;
  private fallenAt = 0;
  private failedAt = 0;
  private addressIndex = 0;

  constructor(round: Round, row: number, plan: HealthPlan) {
    super();
    this.round = round;
    this.row = row;
    this.plan = plan;
    this.question = questionOf(plan);
    this.intervalMs = plan.intervalMs;
  }

  /** @param place among all, in [0, 1). */
  start(spreadMs: number, place: number): void {
    const { loop } = this.round.parts;
    this.dueAt = loop.now() + place * Math.min(spreadMs, this.plan.intervalMs);
    this.normalAt = this.dueAt;
    this.round.sweep.file(this, this.dueAt);
  }

  /** Ends its checks. @returns true when one was under way, whose place is free now. */
  close(): boolean {
    const { check } = this;
    this.round.sweep.remove(this);
    this.check = null;
    check?.abort();
    return check !== null;
  }

  /** Goes on from what was known before its checks have changed. */
  inherit(before: Subject): void {
    Object.assign(this.counts, before.counts);
    this.cause = before.cause;
    this.isPassing = before.isPassing;
    this.fallenAt = before.fallenAt;
    this.failedAt = before.failedAt;
  }

  override onSweep(nowMs: number): number {
    const { parts } = this.round;
    if (nowMs < this.normalAt) return this.normalAt;
    if (nowMs < this.dueAt && !parts.isWaited()) {
      return Math.min(this.dueAt, nowMs + this.plan.intervalMs);
    }
    this.round.queue(this);
    return never;
  }

  /** @returns its check, to be started; null when there is nothing to do now. */
  next(): Check | null {
    const { parts, sweep } = this.round;
    const { engine, loop } = parts;
    const addresses = parts.addressesOf(this.row);
    const isProven = this.isProven(loop.now());
    if (isProven) this.skip();
    if (isProven || addresses.length === 0) {
      this.schedule();
      return null;
    }
    this.counts.checks += 1;
    this.check = new Check({
      engine,
      loop,
      sweep,
      question: this.question,
      outward: this.plan.outward,
      addresses,
      addressFirst: this.addressIndex,
      timeoutMs: this.plan.timeoutMs,
      events: this,
    });
    return this.check;
  }

  onVerdict(check: Check, verdict: Verdict, cause: string): void {
    if (verdict === "passed") this.onPassed(check.addressIndex);
    else if (verdict === "failed") this.onFailed(cause);
  }

  onOver(): void {
    this.check = null;
    this.schedule();
    this.round.onOver();
  }

  private onPassed(addressIndex: number): void {
    const { events } = this.round.parts;
    this.addressIndex = addressIndex;
    this.cause = "";
    this.failCount = 0;
    this.passCount += 1;
    this.intervalMs = this.plan.intervalMs;
    const isRisen = this.isPassing === false && this.passCount >= this.plan.rise;
    if (isRisen || this.isPassing === null) this.isPassing = true;
    events.onPass(this.row, this.passCount);
    if (isRisen) events.onRise(this.row);
  }

  private onFailed(cause: string): void {
    const { events, loop } = this.round.parts;
    const nowMs = loop.now();
    this.counts.failed += 1;
    this.cause = cause;
    this.passCount = 0;
    this.failCount += 1;
    this.failedAt = nowMs;
    if (this.isPassing === false) {
      if (nowMs - this.fallenAt < longFallenMs) return;
      this.intervalMs = Math.min(intervalMsMax, 2 * this.intervalMs);
    } else if (this.failCount >= this.plan.fall) {
      this.isPassing = false;
      this.fallenAt = nowMs;
      events.onFall(this.row, cause);
    }
  }

  /** Traffic has connected since the last check failed, not longer than an interval ago; a check would do no more. */
  private isProven(nowMs: number): boolean {
    if (this.isPassing === false || this.asksMore) return false;
    const provenAt = this.round.parts.provenAt(this.row);
    return provenAt > this.failedAt && provenAt > nowMs - this.plan.intervalMs;
  }

  private skip(): void {
    this.counts.skipped += 1;
    this.cause = "";
    this.failCount = 0;
    this.isPassing = true;
  }

  private schedule(): void {
    const { sweep, parts } = this.round;
    const nowMs = parts.loop.now();
    const chance = 1 - jitter / 2 + jitter * this.round.random();
    this.normalAt = nowMs + this.plan.intervalMs * chance;
    this.dueAt = nowMs + this.intervalMs * chance;
    sweep.file(this, this.normalAt);
  }

  /** Than a connect. */
  private get asksMore(): boolean {
    return this.question.send !== null || this.question.reader !== null;
  }
}
