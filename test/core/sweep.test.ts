import { afterEach, describe, expect, jest, test } from "bun:test";
import { EventLoop, never } from "../../src/core/loop.ts";
import { Expiring, horizonMs, Sweep } from "../../src/core/sweep.ts";
import { withSeed } from "../wait.ts";
import { FakeClock } from "./fake.ts";

const bucketMs = 10;

class Entry extends Expiring {
  /** Moments of the looks. */
  readonly looks: number[] = [];
  /** What the look says. */
  next: (nowMs: number) => number;

  constructor(next: (nowMs: number) => number = () => never) {
    super();
    this.next = next;
  }

  override onSweep(nowMs: number): number {
    this.looks.push(nowMs);
    if (this.looks.length > 100_000) throw new Error("looked at without end");
    return this.next(nowMs);
  }
}

/** An entry as the core has them: what is looked at early asks for its deadline again. */
class Deadline extends Expiring {
  readonly atMs: number;
  firedAt = -1;

  constructor(atMs: number) {
    super();
    this.atMs = atMs;
  }

  override onSweep(nowMs: number): number {
    if (nowMs < this.atMs) return this.atMs;
    expect(this.firedAt).toBe(-1);
    this.firedAt = nowMs;
    return never;
  }
}

function sweepAt(ms: number) {
  const clock = new FakeClock();
  clock.ms = ms;
  const sweep = new Sweep(new EventLoop(clock.now));
  const runTo = (to: number, step = 1): void => {
    while (clock.ms < to) {
      clock.ms = Math.min(to, clock.ms + step);
      sweep.run(clock.ms);
    }
  };
  return { clock, sweep, runTo, [Symbol.dispose]: () => sweep.close() };
}

describe("sweep: when it looks", () => {
  test("sweep: never early, and late by less than two buckets' width", () => {
    for (const inMs of [0, 1, 9, 10, 11, 55.5, 1_000, 20_000]) {
      using it = sweepAt(1_003);
      const entry = new Entry();
      it.sweep.file(entry, 1_003 + inMs);
      it.runTo(1_003 + inMs + 50);
      expect(entry.looks.length).toBe(1);
      const lateMs = (entry.looks[0] ?? 0) - (1_003 + inMs);
      expect(lateMs).toBeGreaterThanOrEqual(0);
      expect(lateMs).toBeLessThanOrEqual(bucketMs + (inMs === 0 ? bucketMs : 0));
    }
  });

  test("sweep: a deadline beyond the horizon is kept to", () => {
    using it = sweepAt(500);
    const far = new Deadline(500 + 5.5 * horizonMs);
    it.sweep.file(far, far.atMs);
    it.runTo(far.atMs + 30, 7);
    expect(far.firedAt).toBeGreaterThanOrEqual(far.atMs);
    expect(far.firedAt).toBeLessThan(far.atMs + bucketMs + 7);
  });

  test("sweep: what is past already is looked at in the next bucket", () => {
    using it = sweepAt(1_000);
    const entry = new Entry();
    it.sweep.file(entry, 3);
    it.sweep.run(1_009);
    expect(entry.looks).toEqual([]);
    it.sweep.run(1_010);
    expect(entry.looks).toEqual([1_010]);
  });

  test("sweep: never is not filed, and takes away what was filed", () => {
    using it = sweepAt(1_000);
    const entry = new Entry();
    it.sweep.file(entry, 1_100);
    it.sweep.file(entry, never);
    it.runTo(1_300);
    expect(entry.looks).toEqual([]);
  });

  test("sweep: random deadlines, moved and taken away, fire once each and in time", () =>
    withSeed((random) => {
      using it = sweepAt(random.int(100_000));
      const live = new Set<Deadline>();
      for (let n = 0; n < 4_000; n += 1) {
        const deadline = new Deadline(it.clock.ms + random.next() * 3 * horizonMs ** random.next());
        if (random.int(3) === 0) it.sweep.file(deadline, deadline.atMs + 500);
        it.sweep.file(deadline, deadline.atMs);
        if (random.int(4) === 0) it.sweep.remove(deadline);
        else live.add(deadline);
        it.clock.ms += random.next() * 40;
        it.sweep.run(it.clock.ms);
        for (const each of live) {
          const lateMs = it.clock.ms - each.atMs;
          if (each.firedAt < 0 && lateMs > 2 * bucketMs) throw new Error(`${lateMs} ms late`);
          if (each.firedAt >= 0 && each.firedAt < each.atMs) throw new Error("early");
          if (each.firedAt >= 0) live.delete(each);
        }
      }
    }));
});

describe("sweep: what is filed", () => {
  test("sweep: filing again moves", () => {
    using it = sweepAt(1_000);
    const entry = new Entry();
    it.sweep.file(entry, 1_100);
    it.sweep.file(entry, 1_500);
    it.runTo(1_400);
    expect(entry.looks).toEqual([]);
    it.sweep.file(entry, 1_450);
    it.runTo(1_600);
    expect(entry.looks).toEqual([1_450]);
  });

  test("sweep: fileNoLater leaves an earlier look and brings a later one forward", () => {
    using it = sweepAt(1_000);
    const early = new Entry();
    const late = new Entry();
    it.sweep.fileNoLater(early, 1_100);
    it.sweep.fileNoLater(early, 1_500);
    it.sweep.fileNoLater(late, 1_500);
    it.sweep.fileNoLater(late, 1_200);
    it.runTo(1_600);
    expect([early.looks, late.looks]).toEqual([[1_100], [1_200]]);
  });

  test("sweep: an entry takes away its neighbours, others and itself from inside its look", () => {
    using it = sweepAt(1_000);
    const others = [1_100, 1_100, 1_100, 1_105, 1_200].map((atMs) => ({
      atMs,
      entry: new Entry(),
    }));
    const middle = new Entry(() => {
      for (const { entry } of others.slice(1)) it.sweep.remove(entry);
      it.sweep.remove(middle);
      return never;
    });
    it.sweep.file(others[0]?.entry ?? middle, 1_100);
    it.sweep.file(middle, 1_100);
    for (const { entry, atMs } of others.slice(1)) it.sweep.file(entry, atMs);
    it.runTo(1_400);
    expect(middle.looks).toEqual([1_100]);
    expect(others.map(({ entry }) => entry.looks.length)).toEqual([1, 0, 0, 0, 0]);
  });

  test("sweep: an entry files itself and others from inside its look, and none is lost", () => {
    using it = sweepAt(1_000);
    const other = new Entry();
    const first: Entry = new Entry((nowMs) => {
      if (first.looks.length > 1) return never;
      it.sweep.file(other, nowMs + 20);
      it.sweep.file(first, nowMs + 30);
      return never;
    });
    it.sweep.file(first, 1_100);
    it.runTo(1_300);
    expect([first.looks, other.looks]).toEqual([[1_100, 1_130], [1_120]]);
  });

  test("sweep: taking away what is not filed does nothing", () => {
    using it = sweepAt(1_000);
    const entry = new Entry();
    it.sweep.remove(entry);
    it.sweep.file(entry, 1_050);
    it.sweep.remove(entry);
    it.sweep.remove(entry);
    it.runTo(1_100);
    expect(entry.looks).toEqual([]);
  });
});

describe("sweep: a clock that jumps", () => {
  test("sweep: after minutes without a look everything due fires once, in one run", () => {
    using it = sweepAt(1_000);
    const all = Array.from({ length: 2_100 }, (_, n) => new Deadline(1_000 + n * bucketMs));
    for (const each of all) it.sweep.file(each, each.atMs);
    it.clock.ms += 5 * 60_000;
    it.sweep.run(it.clock.ms);
    expect(all.filter((each) => each.firedAt !== it.clock.ms)).toEqual([]);
  });

  test("sweep: after a jump longer than the wheel, who asks again is looked at once per run", () => {
    using it = sweepAt(1_000);
    const entries = [1, 5, 30, 5_000, 15_000].map((inMs) => {
      const entry = new Entry((nowMs) => nowMs + 25);
      it.sweep.file(entry, 1_000 + inMs);
      return entry;
    });
    it.clock.ms += 10 * 60_000;
    it.sweep.run(it.clock.ms);
    expect(entries.map((each) => each.looks.length)).toEqual([1, 1, 1, 1, 1]);
  });

  test("sweep: a run two buckets late, with entries that ask for the horizon, looks once at each", () => {
    using it = sweepAt(1_000);
    const entries = [20, 30, 40].map((inMs) => {
      const entry = new Entry((nowMs) => nowMs + horizonMs);
      it.sweep.file(entry, 1_000 + inMs);
      return entry;
    });
    it.clock.ms = 1_045;
    it.sweep.run(it.clock.ms);
    expect(entries.map((each) => each.looks.length)).toEqual([1, 1, 1]);
  });

  test("sweep: what is filed after a long sleep with nothing filed is not late", () => {
    using it = sweepAt(1_000);
    it.clock.ms += 10 * 60_000;
    const entry = new Entry();
    it.sweep.file(entry, it.clock.ms + 100);
    it.runTo(it.clock.ms + 200);
    expect(entry.looks).toEqual([601_100]);
  });
});

describe("sweep: its timer", () => {
  afterEach(() => void jest.useRealTimers());

  /** Moves the timers and the clock together. */
  function pass(clock: FakeClock, ms: number): void {
    for (let n = 0; n < ms; n += 1) {
      clock.ms += 1;
      jest.advanceTimersByTime(1);
    }
  }

  test("sweep: no timer when nothing is filed, one while anything is", () => {
    jest.useFakeTimers();
    using it = sweepAt(1_000);
    expect(jest.getTimerCount()).toBe(0);
    const entries = [30, 60].map((inMs) => {
      const entry = new Entry();
      it.sweep.file(entry, 1_000 + inMs);
      return entry;
    });
    expect(jest.getTimerCount()).toBe(1);
    pass(it.clock, 40);
    expect([entries[0]?.looks.length, jest.getTimerCount()]).toEqual([1, 1]);
    pass(it.clock, 40);
    expect([entries[1]?.looks.length, jest.getTimerCount()]).toEqual([1, 0]);
  });

  test("sweep: the timer comes forward for an earlier entry, and looks in time", () => {
    jest.useFakeTimers();
    using it = sweepAt(1_000);
    const far = new Entry();
    const near = new Entry();
    it.sweep.file(far, 6_000);
    it.sweep.file(near, 1_050);
    pass(it.clock, 60);
    expect(near.looks).toEqual([1_050]);
    pass(it.clock, 5_000);
    expect(far.looks).toEqual([6_000]);
  });

  test("sweep: a timer that fires before its time looks at nothing early", () => {
    jest.useFakeTimers();
    using it = sweepAt(1_000);
    const entry = new Entry();
    it.sweep.file(entry, 1_050);
    jest.advanceTimersByTime(50); // the clock stands still meanwhile
    expect(entry.looks).toEqual([]);
    pass(it.clock, 60);
    expect(entry.looks).toEqual([1_050]);
  });

  test("sweep: close ends the timer", () => {
    jest.useFakeTimers();
    const it = sweepAt(1_000);
    it.sweep.file(new Entry(), 1_050);
    it.sweep.close();
    expect(jest.getTimerCount()).toBe(0);
  });
});

test("sweep: after a standstill the sockets come first, then each deadline once", () => {
  const clock = new FakeClock();
  clock.ms = 5_000;
  let setTo = never;
  let ring = () => {};
  const alarm = (run: () => void) => {
    ring = run;
    return { set: (atMs: number) => void (setTo = atMs), clear: () => void (setTo = never) };
  };
  const sweep = new Sweep({ now: clock.now, alarm }, undefined, 300);
  const entry = new Entry();
  const onTime = new Entry();
  sweep.file(onTime, 5_100);
  sweep.file(entry, 5_200);
  clock.ms = 5_110;
  ring();
  expect([onTime.looks, entry.looks, setTo]).toEqual([[5_110], [], 5_200]);
  clock.ms = 15_000;
  ring();
  expect(entry.looks).toEqual([]);
  expect(setTo).toBeGreaterThan(15_000);
  const later = setTo;
  sweep.file(onTime, 15_010); // what comes meanwhile changes nothing of that
  clock.ms = 15_020;
  ring();
  expect([entry.looks, onTime.looks, setTo]).toEqual([[], [5_110], later]);
  // Late again, as on a machine that is always late.
  clock.ms = later + 5_000;
  ring();
  expect([entry.looks, onTime.looks]).toEqual([[clock.ms], [5_110, clock.ms]]);
  sweep.close();
});
