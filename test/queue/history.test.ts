// The checker itself: a history in order passes, and one wrong history for each rule is found out.

import { describe, expect, test } from "bun:test";
import type { Status } from "../../src/balancer.ts";
import { closeReasons } from "../../src/core/reason.ts";
import { seeded, type Random } from "../wait.ts";
import { checkHistory } from "./history.ts";
import { usualCourse, type Course, type History, type Life } from "./life.ts";

const up = { slots: 1, downs: [], complaints: [] };
const course: Course = {
  ...usualCourse,
  threadCount: 1,
  destinations: [{ ...up, name: "a" }],
};
const inThreads: Partial<Course> = { threadCount: 3, turnMs: 100 };

/** Came at `from`, was given a slot of the first destination at `given` and gave it back at `to`. */
function served(
  id: number,
  from: number,
  given: number,
  to: number,
  more: Partial<Life> = {},
): Life {
  return {
    id,
    acceptedAt: from,
    waitedTo: given,
    row: 0,
    slotTo: to,
    endedAt: to,
    vainCount: 0,
    joined: true,
    refused: false,
    ...more,
  };
}

/** Came, waited and left without a slot. */
function leaver(id: number, from: number, to: number): Life {
  return served(id, from, to, to, { row: -1, slotTo: -1, joined: false });
}

function history(
  lives: readonly Life[],
  how: Partial<Course> = {},
  more: Partial<History> = {},
): History {
  const reasons = new Map([["done", lives.length]]);
  return {
    course: { ...course, ...how },
    lives,
    reasons,
    status: null,
    clientCount: null,
    ...more,
  };
}

const check = (...of: Parameters<typeof history>): string[] => checkHistory(history(...of));

/** Three in a row at one slot. */
const three = [served(1, 0, 0, 10), served(2, 1, 10, 20), served(3, 2, 20, 30)];

/** Exactly one violation, which says so. */
function expectOne(found: readonly string[], words: string): void {
  expect(found).toEqual([expect.stringContaining(words)]);
}

describe("history: in order", () => {
  test("history: nobody came", () => expect(check([])).toEqual([]));

  test("history: three in a row, in one thread and in several", () => {
    expect(check(three)).toEqual([]);
    expect(check(three, inThreads)).toEqual([]);
  });

  test("history: who leaves, is refused, or comes back from a failed connect, overtakes nobody", () => {
    const lives = [
      served(1, 0, 0, 10),
      leaver(2, 1, 5),
      served(3, 2, 60, 70, { vainCount: 1 }), // connected in vain from 10 to 50
      served(4, 3, 10, 60),
      { ...leaver(5, 4, 100), refused: true },
      served(6, 5, 70, 80),
    ];
    expect(check(lives, { vainMs: 50 })).toEqual([]);
  });

  test("history: in several threads a slot may be on its way, if it was free", () => {
    const lives = [
      served(1, 0, 0, 500), // held from 500 on for client 2, in another thread
      served(2, 1, 600, 700),
      served(3, 2, 10, 550, { row: 1 }),
      served(4, 3, 550, 650, { row: 1 }),
    ];
    const destinations = [
      { ...up, name: "a" },
      { ...up, name: "b" },
    ];
    expect(check(lives, { ...inThreads, destinations })).toEqual([]);
  });

  test.each([1, 3])(
    "history: a queue that was played through at random, %d threads",
    (threadCount) => {
      const random = seeded();
      expect(check(played(random), { ...inThreads, threadCount })).toEqual([]);
    },
  );
});

/** An exact queue of one slot: a thousand clients, some of whom leave. */
function played(random: Random): Life[] {
  let freeAt = 0;
  return Array.from({ length: 1_000 }, (_, index) => {
    const from = index * 2;
    const given = Math.max(from, freeAt);
    const leavesAt = from + random.int(3_000);
    if (leavesAt < given) return leaver(index + 1, from, leavesAt);
    freeAt = given + random.int(5);
    return served(index + 1, from, given, freeAt);
  });
}

describe("history: numbers and ends", () => {
  test("history: a number that has not ended", () => {
    expectOne(
      check([three[0], three[2]].flatMap((each) => each ?? [])),
      "numbers 2 to 2 have not ended",
    );
  });

  test("history: a number that has ended twice", () => {
    const lives = [...three.slice(0, 2), leaver(2, 1, 1), ...three.slice(2)];
    expectOne(check(lives), "number 2 has ended twice");
  });

  test("history: a client whom nobody has accepted", () => {
    expectOne(check(three, {}, { clientCount: 4 }), "4 clients were connected, 3 have ended");
  });

  test("history: an end without a reason", () => {
    expectOne(check(three, {}, { reasons: new Map([["", 3]]) }), "ended for no reason");
  });

  test("history: times that run backwards", () => {
    const found = [
      check([served(1, 5, 4, 10)]),
      check([served(1, 0, 4, 3)]),
      check([served(1, 0, 0, 10, { endedAt: 9 })]),
      check([{ ...leaver(1, 0, 5), endedAt: 4 }]),
    ];
    for (const each of found) expectOne(each, "its times run backwards");
  });

  test("history: a slot of a destination that there is not", () => {
    expectOne(check([served(1, 0, 0, 10, { row: -2 })]), "given to a stranger");
  });

  test("history: a wait longer than it may be", () => {
    const lives = [served(1, 0, 0, 2_000), leaver(2, 0, 1_101)];
    expectOne(
      check(lives, { queueMs: 100, overdueMs: 1_000 }),
      "client 2 has waited for 1101 ms of 100",
    );
  });
});

describe("history: counters", () => {
  const closed = Object.fromEntries(closeReasons.map((reason) => [reason, 0]));
  const sizes = { bytesIn: 30, bytesUp: 10, bytesDown: 15, bytesUndelivered: 5 };
  const zero = {
    accepted: 3,
    open: 0,
    queue: { waiting: 0 },
    destinations: [{ name: "a", used: 0 }],
    closed: { ...closed, done: 3 },
    ...sizes,
  };
  // What the checker reads of a status.
  const withStatus = (status: object) => check(three, {}, { status: status as Status });

  test("history: all of them at 0", () => expect(withStatus(zero)).toEqual([]));

  test.each([
    ["open connections", { open: 1 }],
    ["waiting clients", { queue: { waiting: 1 } }],
    ["accepted clients", { accepted: 4 }],
    ["slots in use of a", { destinations: [{ name: "a", used: 1 }] }],
    ["closed by done", { closed: { ...closed, done: 2 } }],
    ["closed by error", { closed: { ...closed, done: 3, error: 1 } }],
    ["bytes that came and did not go", { bytesUp: 9 }],
  ])("history: %s that are not", (words, wrong) => {
    expectOne(withStatus({ ...zero, ...wrong }), words);
  });
});

describe("history: order", () => {
  test("history: one thread, a younger one is given the slot", () => {
    const lives = [served(1, 0, 0, 10), served(2, 1, 20, 30), served(3, 2, 10, 20)];
    expectOne(check(lives), "client 3 was given a slot while 2 waited, for 10.000 ms more");
  });

  test("history: one thread, by less than the clock of the records can tell", () => {
    const lives = [served(1, 0, 0, 10), served(2, 1, 10.5, 20), served(3, 2, 10, 10.2)];
    expect(check(lives, { clockMs: 1 })).toEqual([]);
    expectOne(check(lives, { clockMs: 0.1 }), "while 2 waited");
  });

  test("history: one thread, a younger one is given the slot before the older one leaves", () => {
    const lives = [served(1, 0, 0, 10), leaver(2, 1, 15), served(3, 2, 10, 20)];
    expectOne(check(lives), "client 3 was given a slot while 2 waited");
  });

  test("history: who came back from one failed connect is overtaken once more than that allows", () => {
    const lives = [
      served(1, 0, 0, 10),
      served(2, 1, 500, 510, { vainCount: 1 }),
      served(3, 2, 10, 100),
      served(4, 3, 100, 500),
    ];
    expectOne(check(lives, { vainMs: 50 }), "client 4 was given a slot while 2 waited");
    expect(check(lives, { vainMs: 100 })).toEqual([]);
  });

  test("history: several threads, a younger one is given a slot though none was on its way", () => {
    const lives = [
      served(1, 0, 0, 500),
      served(2, 1, 600, 700),
      served(3, 2, 500, 600), // that was the slot of client 2
    ];
    expectOne(check(lives, inThreads), "somebody was overtaken");
  });

  test("history: several threads, the same of somebody who left", () => {
    const lives = [served(1, 0, 0, 500), leaver(2, 1, 550), served(3, 2, 500, 600)];
    expectOne(check(lives, inThreads), "somebody who left was overtaken before: 2");
  });

  test("history: several threads, in the turn in which it was accepted it has no place yet", () => {
    const lives = [served(1, 0, 0, 90), served(2, 1, 190, 300), served(3, 2, 90, 190)];
    expect(check(lives, inThreads)).toEqual([]);
    expectOne(check(lives, { ...inThreads, turnMs: 80 }), "somebody was overtaken");
  });

  test("history: a queue played through at random, two neighbours exchanged anywhere", () => {
    const random = seeded();
    const lives = played(random);
    const waited = lives.flatMap((each, index) => {
      const next = lives[index + 1];
      const isPair = each.row === 0 && next?.row === 0 && next.acceptedAt < each.waitedTo;
      return isPair && each.waitedTo + 1 < next.waitedTo ? [index] : [];
    });
    expect(waited.length).toBeGreaterThan(10);
    for (let round = 0; round < 20; round += 1) {
      const index = waited[random.int(waited.length)] ?? 0;
      const [first, second] = lives.slice(index, index + 2);
      if (first === undefined || second === undefined) continue;
      const { waitedTo, slotTo, endedAt } = second;
      const wrong = lives.with(index, { ...first, waitedTo, slotTo, endedAt }).with(index + 1, {
        ...second,
        waitedTo: first.waitedTo,
        slotTo: first.slotTo,
        endedAt: first.endedAt,
      });
      expectOne(check(wrong), `client ${index + 2} was given a slot while ${index + 1} waited`);
    }
  });
});

describe("history: slots", () => {
  const two = [served(1, 0, 0, 10), served(2, 1, 9, 20)];

  test("history: two clients at a destination of one slot", () => {
    expectOne(check(two), "2 clients at a of 1: clients 1, 2");
    expect(check(two, { destinations: [{ ...up, name: "a", slots: 2 }] })).toEqual([]);
  });

  test("history: two by less than the clock of the records can tell", () => {
    expect(check(two, { clockMs: 1 })).toEqual([]);
  });

  test("history: a slot that is given within its cooldown", () => {
    expectOne(check(three, { cooldownMs: 5 }), "2 clients at a of 1");
  });

  test("history: what a destination has seen itself", () => {
    const destinations = [{ ...up, name: "a", complaints: ["a: 2 at once, of 1"] }];
    expectOne(check(three, { destinations }), "a: 2 at once, of 1");
  });
});

describe("history: idle slots", () => {
  const late = [served(1, 0, 0, 10), served(2, 1, 1_500, 1_600)];
  const down = (from: number, to: number): Partial<Course> => ({
    destinations: [{ ...up, name: "a", downs: [[from, to]] }],
  });

  test("history: a client waits beside one", () => {
    expectOne(check(late), "client 2 waited 1470 ms beside an idle slot of a");
    expect(check(late, { idleMs: 1_500 })).toEqual([]);
  });

  test("history: one waits to its end beside one", () => {
    expectOne(check([served(1, 0, 0, 10), leaver(2, 1, 5_000)]), "client 2 waited");
  });

  test("history: one of two slots is never used", () => {
    const lives = [...three, served(4, 3, 30, 1_200), served(5, 4, 1_200, 1_300)];
    expect(check(lives)).toEqual([]);
    const destinations = [{ ...up, name: "a", slots: 2 }];
    const found = check(lives, { destinations });
    expectOne(found, "client 5 waited 1150 ms beside an idle slot of a");
  });

  test("history: a destination without a limit has always one", () => {
    expectOne(check(late, { destinations: [{ ...up, name: "a", slots: 0 }] }), "client 2 waited");
  });

  test("history: none while the destination is down, nor before its first connect after that", () => {
    expect(check(late, down(20, 300))).toEqual([]);
    const again = [...late, served(3, 2, 1_600, 1_700), served(4, 3, 3_000, 3_001)];
    expectOne(check(again, down(20, 300)), "client 4 waited 1280 ms");
  });
});
