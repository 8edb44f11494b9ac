// The protocol of the one FIFO in every interleaving of its steps; and that the search finds what is broken.
import { describe, expect, test } from "bun:test";
import { explore, type Report } from "./interleave.ts";
import { protocolOf, type Client, type ClientPlan, type Parts, type Setting } from "./protocol.ts";

const one: ClientPlan = {};
const leaves: ClientPlan = { leaves: true };
const failsAtOnce: ClientPlan = { fails: "at once" };
const failsLater: ClientPlan = { fails: "later" };

function holds(setting: Setting, statesAtLeast: number): Report {
  const report = explore(protocolOf(setting));
  if (report.fault !== "") throw new Error(`${report.fault}\n${report.trace.join("\n")}`);
  expect(report.states).toBeGreaterThan(statesAtLeast);
  expect(report.ends).toBeGreaterThan(0);
  if (process.env["IAWLB_STATES"] !== undefined) console.log(JSON.stringify(report));
  return report;
}

describe("interleavings: nothing is lost, doubled or overtaken", () => {
  // 9.7 million states: with `npm run full`.
  if (process.env["IAWLB_FAULTS"] !== "all") {
    console.log("skipped: interleavings: 3 threads, 3 clients, 2 slots: npm run full");
  } else {
    test("interleavings: 3 threads, 3 clients, 2 slots", () => {
      holds({ threads: [[one], [one], [one]], slots: [2] }, 1_000_000);
    }, 120_000);
  }

  test("interleavings: 3 threads, 2 clients, 1 slot", () => {
    holds({ threads: [[one], [one], []], slots: [1] }, 1_000);
  }, 60_000);

  test("interleavings: 2 threads, 3 clients, 1 slot, one by one and two at once", () => {
    holds({ threads: [[one, one], [one]], slots: [1] }, 10_000);
    holds({ threads: [[one, one], [one]], slots: [1], flushCount: 2 }, 10_000);
  }, 60_000);

  test("interleavings: clients that leave while they wait", () => {
    holds({ threads: [[leaves], [one]], slots: [1] }, 1_000);
    holds({ threads: [[leaves], [leaves]], slots: [1] }, 1_000);
  }, 60_000);

  test("interleavings: connects that fail", () => {
    holds({ threads: [[failsAtOnce], [one]], slots: [1] }, 10_000);
    holds({ threads: [[failsLater], [leaves]], slots: [1] }, 10_000);
  }, 60_000);

  test("interleavings: two destinations of one slot each", () => {
    holds({ threads: [[one], [one, one]], slots: [1, 1] }, 10_000);
  }, 60_000);

  test("interleavings: leaving out what nobody can tell leaves out no end", () => {
    const setting: Setting = { threads: [[leaves], [failsAtOnce]], slots: [1] };
    const all = explore(protocolOf(setting), { isReduced: false });
    const some = explore(protocolOf(setting));
    expect([all.fault, some.fault]).toEqual(["", ""]);
    expect(some.ends).toBe(all.ends);
    expect(some.states).toBeLessThan(all.states);
  }, 60_000);
});

const breaks: readonly {
  name: string;
  finds: RegExp;
  setting?: Partial<Setting>;
  mutate: (parts: Parts) => void;
}[] = [
  {
    name: "who starts to wait does not look for a slot afterwards",
    finds: /waiting for ever/,
    mutate: ({ batch }) => {
      const { fileFresh, match } = { fileFresh: batch["fileFresh"], match: batch["match"] };
      let hasFiled = false;
      batch["fileFresh"] = () => {
        fileFresh.call(batch);
        hasFiled = true;
      };
      batch["match"] = () => {
        if (!hasFiled) match.call(batch);
        hasFiled = false;
      };
    },
  },
  {
    name: "who frees a slot does not look for waiters afterwards",
    finds: /waiting for ever/,
    mutate: ({ batch }) => {
      const { free, match } = { free: batch.free, match: batch["match"] };
      batch.free = (row) => {
        batch["match"] = () => {};
        free.call(batch, row);
        batch["match"] = match;
      };
    },
  },
  {
    name: "a grant wakes nobody",
    finds: /waiting for ever/,
    mutate: ({ tickets }) => void (tickets.wake = () => {}),
  },
  {
    name: "a grant wakes before it is there",
    finds: /waiting for ever/,
    mutate: ({ tickets, board, replay }) => {
      tickets.grant = (place, row) => {
        tickets.wake(tickets.threadOf(place));
        replay.store(board.ticketColumns.grants, place, row + 1);
      };
    },
  },
  {
    name: "a thread never says that it is awake again",
    finds: /as one that is woken/,
    mutate: ({ tickets }) => void (tickets.awake = () => {}),
  },
  {
    name: "a ticket is claimed in two steps",
    finds: /./,
    setting: { threads: [[one, one], [one]], slots: [2] },
    mutate: ({ tickets, board, replay }) => {
      const { load, compareExchange } = replay;
      const claim: Compare = (array, at, expected, to) => {
        if (array !== board.ticketColumns.heads) return compareExchange(array, at, expected, to);
        const before = load(array, at);
        if (before === expected) replay.store(array, at, to);
        return before;
      };
      Object.assign(tickets, { memory: { ...replay, compareExchange: claim } });
    },
  },
  {
    name: "a slot is taken in two steps",
    finds: /hold 1 slots/,
    mutate: ({ board, replay }) => {
      board.take = (row) => {
        const before: number = replay.load(board.used, row);
        if (before >= 1) return false;
        replay.store(board.used, row, before + 1);
        return true;
      };
    },
  },
  {
    name: "a claimed slot of a client that has left is dropped",
    finds: /for ever|nobody's|not back/,
    setting: { threads: [[leaves], [one]] },
    mutate: ({ batch, tickets, room }) => {
      const { claimOldest } = tickets;
      const passOn = batch["passOn"];
      batch["passOn"] = (row) => {
        let claimCount = 0;
        tickets.claimOldest = () => ((claimCount += 1) > 1 ? -1 : claimOldest.call(tickets));
        passOn.call(batch, row);
      };
      const receive = (row: number, client: Client | null): void => {
        room.onReceived(row);
        if (client !== null) room.give(client, row);
      };
      Object.assign(batch, { receive });
    },
  },
  {
    name: "numbers are filed after they are shown",
    finds: /./,
    mutate: ({ batch }) => {
      for (const line of batch["lines"]) {
        const append = line["append"];
        line["append"] = (item) => {
          const tail = line["tail"];
          line["tickets"].publish(line["line"], (tail + 1) | 0);
          append.call(line, item);
        };
      }
    },
  },
  {
    name: "lines that were read before the oldest are not looked at again",
    finds: /overtakes/,
    setting: { threads: [[one], [one], [one]], slots: [1] },
    mutate: ({ tickets }) => void (tickets["hasOlder"] = () => false),
  },
];

describe("interleavings: the search finds what is broken", () => {
  test.each(breaks.map((each) => [each.name, each] as const))(
    "interleavings: found when %s",
    (_, { finds, setting, mutate }) => {
      const whole = { threads: [[one], [one]], slots: [1], ...setting, mutate };
      const report = explore(protocolOf(whole));
      if (process.env["IAWLB_STATES"] !== undefined)
        console.log(report.states, report.ms, report.fault);
      expect(report.fault).toMatch(finds);
      expect(report.trace.length).toBeGreaterThan(0);
    },
    60_000,
  );
});

type Compare = Parts["replay"]["compareExchange"];
