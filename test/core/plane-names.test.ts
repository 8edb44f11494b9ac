import { expect, test } from "bun:test";
import { FakePlane } from "./fake.ts";

test("plane: a slot of a name whose addresses another thread heard of first is no failure", () => {
  using it = new FakePlane([{ slots: 1 }]);
  const destination = it.destinations.at(0);
  const { addresses } = destination;
  destination.addresses = []; // on the board it resolves, for another thread has said so
  it.accept();
  it.plane.pull();
  const [pair] = it.plane.pairs;
  expect([it.dialed, it.used(), pair?.tried]).toEqual([[], 0, null]);
  expect([it.board.failures[0], it.plane.numbers.get("connectFailures")]).toEqual([0, 0]);
  it.destinations.setAddresses(destination, addresses);
  it.advance(50);
  expect([it.dialed, it.settled]).toEqual([["d0"], []]);
  it.end();
});
