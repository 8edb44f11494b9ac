// Checks of a row change while they are made.
import { expect, test } from "bun:test";
import type { HealthPlan } from "../../src/control/health.ts";
import { plain, Ward } from "./ward.ts";

const often: HealthPlan = { ...plain, intervalMs: 100, fall: 2, rise: 1 };

/** Rows that were checked so far. */
const rowsOf = (it: Ward) => it.checks.map(([row]) => row);

test("health: what is known of a row holds when its checks change, and is told no second time", () => {
  using it = new Ward([often]);
  it.fault(0, "ECONNREFUSED");
  it.loop.advance(1_000);
  expect(it.told).toEqual(["fall 0 ECONNREFUSED"]);
  it.health.set(0, { ...often, intervalMs: 300, rise: 2 }, true);
  expect([it.health.isPassing(0), it.health.causeOf(0)]).toEqual([false, "ECONNREFUSED"]);
  it.loop.advance(1_000);
  expect(it.told).toEqual(["fall 0 ECONNREFUSED"]);
  it.fault(0, null);
  it.loop.advance(2_000);
  expect(it.told.filter((each) => each.startsWith("rise"))).toEqual(["rise 0"]);
  expect(it.told.indexOf("rise 0")).toBe(it.told.indexOf("pass 0 2") + 1);
});

test("health: another destination in a row begins with nothing known", () => {
  using it = new Ward([often]);
  it.fault(0, "ECONNREFUSED");
  it.loop.advance(1_000);
  it.health.set(0, often, false);
  expect([it.health.isPassing(0), it.health.causeOf(0)]).toEqual([null, ""]);
  it.loop.advance(1_000);
  expect(it.told).toEqual(["fall 0 ECONNREFUSED", "fall 0 ECONNREFUSED"]);
});

test("health: a row is checked no more, and its place among those in flight is free", () => {
  using it = new Ward([often, often], 1);
  it.engine.connectsAtOnce = false; // the first check is in flight for a second
  it.loop.advance(250);
  const before = rowsOf(it).length;
  expect(before).toBeGreaterThan(0);
  const [busy] = rowsOf(it).slice(-1);
  it.engine.connectsAtOnce = true;
  it.health.set(busy ?? 0, null, true);
  it.loop.advance(1_000);
  const after = rowsOf(it).slice(before);
  expect(after.length).toBeGreaterThan(2);
  expect(after).not.toContain(busy ?? 0);
  it.health.set(5, often, false); // a row that never was
  it.addressesOf = () => it.addresses.slice(0, 1);
  it.loop.advance(1_000);
  expect(it.health.countsOf(5).checks).toBeGreaterThan(2);
});
