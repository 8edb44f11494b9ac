// What a row of checks says: fall, rise, and what is neither.
import { describe, expect, test } from "bun:test";
import { withSeed } from "../net.ts";
import { Ward } from "./ward.ts";

describe("health: fall and rise", () => {
  test("health: three failures in a row are a fall, told once; two passes are a rise", () => {
    using it = new Ward([{}, {}]);
    expect(it.health.isPassing(0)).toBe(null);
    it.fault(0, "ECONNREFUSED");
    it.check(4); // two of each
    expect([it.told, it.health.isPassing(0), it.health.isPassing(1)]).toEqual([
      ["pass 1 1", "pass 1 2"],
      null,
      true,
    ]);
    expect(it.health.causeOf(0)).toBe("ECONNREFUSED");
    it.told.length = 0;
    it.check(6);
    expect(it.told.filter((each) => !each.startsWith("pass 1"))).toEqual(["fall 0 ECONNREFUSED"]);
    expect([it.health.isPassing(0), it.health.isPassing(1)]).toEqual([false, true]);
    it.fault(0, null);
    it.told.length = 0;
    it.check(2);
    expect([it.health.isPassing(0), it.health.causeOf(0)]).toEqual([false, ""]);
    it.check(4);
    expect(it.told.filter((each) => !each.startsWith("pass 1"))).toEqual([
      "pass 0 1",
      "pass 0 2",
      "rise 0",
      "pass 0 3",
    ]);
    expect(it.health.isPassing(0)).toBe(true);
  });

  test("health: a pass between failures begins their row anew, and a failure that of the passes", () => {
    using it = new Ward([{}]);
    for (const code of ["E1", "E2", null, "E3", "E4", "E5", null, "E6", null, null]) {
      it.fault(0, code);
      it.check(1);
    }
    expect(it.told).toEqual([
      "pass 0 1",
      "fall 0 E5",
      "pass 0 1",
      "pass 0 1",
      "pass 0 2",
      "rise 0",
    ]);
    expect(it.health.countsOf(0)).toEqual({ checks: 10, failed: 6, skipped: 0 });
  });

  test("health: a fault of our own neither fails nor passes", () => {
    using it = new Ward([{ fall: 2, rise: 2 }]);
    for (const code of ["E1", "EMFILE", "EADDRNOTAVAIL", "E2", null, "EMFILE", null]) {
      it.fault(0, code);
      it.check(1);
    }
    expect(it.told).toEqual(["fall 0 E2", "pass 0 1", "pass 0 2", "rise 0"]);
    expect(it.health.countsOf(0)).toEqual({ checks: 7, failed: 2, skipped: 0 });
  });

  test("health: a process that slept blames nobody", () => {
    using it = new Ward(Array.from({ length: 20 }, () => ({ fall: 1, http: "/" })));
    it.loop.advance(250);
    expect(it.openCount).toBe(20);
    it.loop.sleep(60_000);
    it.loop.advance(100);
    expect([it.told, it.openCount]).toEqual([[], 0]);
    it.loop.advance(2_200 + 1_100);
    expect(it.told.filter((each) => each.startsWith("fall")).length).toBe(20);
  });

  test("health: the next check begins with the address that answered", () => {
    using it = new Ward([{}]);
    it.addressesOf = () => [...it.addresses, { name: "1", fault: null }];
    it.fault(0, "ECONNREFUSED");
    it.check(1);
    it.check(1);
    expect(it.checks.map(([name]) => name)).toEqual([0, 1, 1]);
  });

  test("health: any row of outcomes says what it must", async () => {
    await withSeed((random) => {
      const fall = 1 + random.int(4);
      const rise = 1 + random.int(4);
      using it = new Ward([{ fall, rise, intervalMs: 100 }]);
      const expected: string[] = [];
      let [fails, passes, isFallen] = [0, 0, false];
      for (let n = 0; n < 300; n += 1) {
        const code = [null, null, "ECONNREFUSED", "ECONNREFUSED", "ENFILE"][random.int(5)] ?? null;
        it.fault(0, code);
        it.check(1);
        if (code === "ENFILE") continue;
        fails = code === null ? 0 : fails + 1;
        passes = code === null ? passes + 1 : 0;
        if (code === null) expected.push(`pass 0 ${passes}`);
        if (isFallen && passes >= rise) expected.push("rise 0");
        if (!isFallen && fails >= fall) expected.push("fall 0 ECONNREFUSED");
        isFallen = isFallen ? passes < rise : fails >= fall;
      }
      expect(it.told).toEqual(expected);
    });
  });
});
