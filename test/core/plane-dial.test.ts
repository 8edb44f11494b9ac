import { afterEach, describe, expect, jest, test } from "bun:test";
import { State } from "../../src/core/board.ts";
import { faultCodes } from "../../src/core/fault.ts";
import { FakePlane, fakeAddresses } from "./fake.ts";

function requireFirst(it: FakePlane) {
  const [first] = it.destinations.list;
  if (first === undefined) throw new Error("no destination");
  return first;
}

describe("plane: a connect that fails", () => {
  test("plane: a failed connect costs no client, it goes to another destination with its bytes", () => {
    using it = new FakePlane([{}, {}]);
    const client = it.accept();
    it.plane.pull();
    client.send("early");
    it.dial(0).fail();
    expect(it.dialed).toEqual(["d0", "d1"]);
    it.dial(1).connect();
    expect([it.dial(1).text, it.used(0), it.used(1)]).toEqual(["early", 0, 1]);
    const { numbers } = it.plane;
    expect([numbers.get("connectFailures"), numbers.failures[0], numbers.failures[1]]).toEqual([
      1, 1, 0,
    ]);
    client.reset();
    expect(it.settled[0]?.tried).toEqual([0]);
    it.end();
  });

  test("plane: failures that are told from inside the dial go on to the next destination at once", () => {
    const addresses = [fakeAddresses("a"), fakeAddresses("b"), fakeAddresses("c")];
    for (const each of addresses.slice(0, 2)) for (const a of each) a.fault = "ENOENT";
    using it = new FakePlane(addresses.map((each) => ({ addresses: each })));
    it.accept();
    it.plane.pull();
    expect(it.dialed).toEqual(["c"]);
    expect([it.used(0), it.used(1), it.used(2)]).toEqual([0, 0, 1]);
    it.end();
  });

  test("plane: a dial that is over when it has begun joins at once, its early bytes with it", () => {
    using it = new FakePlane([{ slots: 1 }]);
    it.engine.connectsAtOnce = true;
    const first = it.accept();
    it.plane.pull();
    const second = it.accept();
    second.send("early");
    it.clock.ms += 5;
    first.reset();
    expect([it.dialed.length, it.dial(1).text]).toEqual([2, "early"]);
    expect(it.plane.numbers.histograms.handOff.quantile(0.5)).not.toBeNull();
    second.reset();
    expect(it.settled.map((pair) => pair.joinedAt - pair.dialedAt)).toEqual([0, 0]);
    it.end();
  });

  test("plane: a destination that accepts and resets before any byte costs no client", () => {
    using it = new FakePlane([{}, {}]);
    const { client, server } = it.join();
    server.reset();
    expect([it.dialed, client.fate]).toEqual([["d0", "d1"], "open"]);
    it.dial(1).connect();
    client.send("hello");
    expect(it.dial(1).text).toBe("hello");
    it.dial(1).reset(); // a byte has gone: who knows what it did with it
    expect(it.ends).toEqual(["destination-reset destination"]);
    expect(it.settled[0]?.tried).toEqual([0]);
    it.end();
  });

  test("plane: a reset that the first write finds goes on with the same bytes elsewhere", () => {
    using it = new FakePlane([{}, {}]);
    const { client, server } = it.join();
    server.resetUnseen = true;
    client.send("hello");
    server.fin();
    it.dial(1).connect();
    expect([it.dial(1).text, client.paused]).toEqual(["hello", false]);
    client.reset();
    it.end();
  });

  test("plane: a client that waits while everything is out is served a second after it is back", () => {
    const addresses = fakeAddresses("d0");
    using it = new FakePlane([{ addresses }]);
    for (const each of addresses) each.fault = "ECONNREFUSED";
    it.accept();
    for (let ms = 0; ms < 40_000; ms += 100) it.advance(100);
    expect(it.dialed).toEqual([]);
    for (const each of addresses) each.fault = null;
    for (let ms = 0; ms < 1_300; ms += 100) it.advance(100);
    expect(it.dialed).toEqual(["d0"]);
    it.dial(0).connect();
    it.dial(0).crash();
    it.end();
  });

  test("plane: a client that comes while everything rests for long need not wait for that", () => {
    const addresses = fakeAddresses("d0");
    using it = new FakePlane([{ addresses }]);
    for (const each of addresses) each.fault = "ECONNREFUSED";
    for (let n = 0; n < 8; n += 1)
      it.destinations.onFailure(requireFirst(it), "ECONNREFUSED", 0, true);
    it.accept();
    for (const each of addresses) each.fault = null;
    for (let ms = 0; ms < 1_300; ms += 100) it.advance(100);
    expect(it.dialed).toEqual(["d0"]);
    it.dial(0).connect();
    it.dial(0).crash();
    it.end();
  });

  test("plane: a busy destination is no failing one, and is asked again soon", () => {
    const [busy] = [fakeAddresses("busy")];
    for (const each of busy) each.fault = "EAGAIN";
    using it = new FakePlane([{ addresses: busy }]);
    it.accept();
    it.plane.pull();
    for (let n = 0; n < 10; n += 1) it.advance(20);
    expect(it.told).toEqual([]);
    expect(it.plane.numbers.get("connectFailures")).toBe(0);
    for (const each of busy) each.fault = null;
    it.advance(20);
    expect(it.dialed).toEqual(["busy"]);
    it.dial(0).connect();
    it.dial(0).crash();
    it.end();
  });

  test("plane: a backup serves while no primary's name has an address", () => {
    using it = new FakePlane([{ addresses: [] }, { backup: true }]);
    it.accept();
    it.plane.pull();
    expect(it.dialed).toEqual(["d1"]);
    it.dial(0).connect();
    it.dial(0).crash();
    it.end();
  });

  test("plane: with no other destination it waits at its place, before those that came later", () => {
    using it = new FakePlane([{ slots: 2 }]);
    const clients = [it.accept(), it.accept(), it.accept()];
    it.plane.pull();
    it.dial(1).fail();
    it.dial(0).fail();
    expect([it.dialed.length, it.plane.numbers.get("queued")]).toEqual([2, 3]);
    it.advance(110);
    it.dial(2).connect();
    it.dial(3).connect();
    it.dial(2).send("1");
    it.dial(3).send("2");
    expect(clients.map((client) => client.text)).toEqual(["1", "2", ""]);
    it.end();
  });

  test("plane: the slot of a failed connect goes to who waits longest", () => {
    using it = new FakePlane([{ slots: 1 }, { slots: 1 }]);
    it.accept();
    it.accept();
    const third = it.accept();
    it.dial(0).connect();
    it.dial(1).fail(); // the second waits again, d1 rests
    it.dial(0).crash();
    it.dial(2).connect();
    it.dial(2).crash();
    it.dial(3).connect();
    it.dial(3).send("hello");
    expect([it.dialed, third.text]).toEqual([["d0", "d1", "d0", "d0"], "hello"]);
    it.end();
  });

  test("plane: a dial that takes too long is ended, and its client goes elsewhere", () => {
    using it = new FakePlane([{}, {}], { connectMs: 5_000 });
    it.accept();
    it.plane.pull();
    it.advance(4_999);
    expect(it.dialed).toEqual(["d0"]);
    it.advance(20);
    expect([it.dial(0).fate, it.dialed]).toEqual(["reset", ["d0", "d1"]]);
    it.advance(4_000); // its own deadline, not the rest of the first
    it.dial(1).connect();
    expect([faultCodes[it.board.lastFault[0] ?? 0], it.used(0)]).toEqual(["ETIMEDOUT", 0]);
    it.end();
  });

  test("plane: a client that resets while its destination is dialed frees the slot, and blames nobody", () => {
    using it = new FakePlane([{ slots: 1 }]);
    const first = it.accept();
    it.accept();
    first.reset();
    expect([it.dial(0).fate, it.dialed.length, it.used()]).toEqual(["reset", 2, 1]);
    expect([it.ends, it.plane.numbers.get("connectFailures")]).toEqual([["client-left client"], 0]);
    it.end();
  });

  test("plane: a client that ends while its destination is dialed is kept, or has left, as asked", () => {
    using keep = new FakePlane([{}]);
    const client = keep.accept();
    keep.plane.pull();
    client.send("all");
    client.fin();
    keep.dial(0).connect();
    expect([keep.dial(0).text, keep.dial(0).shut]).toEqual(["all", true]);
    keep.end();
    using leave = new FakePlane([{}], { queueFin: "leave" });
    const other = leave.accept();
    leave.plane.pull();
    other.fin();
    expect([leave.ends, leave.dial(0).fate]).toEqual([["client-left client"], "reset"]);
    leave.end();
  });

  test("plane: a client is served in the end though every destination fails three times", () => {
    using it = new FakePlane([{}, {}, {}]);
    const client = it.accept();
    it.plane.pull();
    let failures = 0;
    for (let ms = 0; ms < 20_000 && failures < 12; ms += 10) {
      it.advance(10);
      const dial = it.engine.dials.at(-1);
      if (dial === undefined || dial.gone) continue;
      dial.fail();
      failures += 1;
    }
    expect(it.told.filter((line) => line.startsWith("out")).length).toBe(3);
    for (let ms = 0; ms < 20_000 && it.dialed.length === failures; ms += 10) it.advance(10);
    it.dial(failures).connect();
    it.dial(failures).send("at last");
    expect([client.text, it.ends]).toEqual(["at last", []]);
    it.end();
  });

  test("plane: the rest of a slot after each connection, and not after a failed connect", () => {
    using it = new FakePlane([{ slots: 1 }], { cooldownMs: 50 });
    it.join();
    it.accept();
    it.dial(0).crash();
    it.advance(49);
    expect([it.dialed.length, it.used()]).toEqual([1, 1]);
    it.advance(11);
    expect([it.dialed.length, it.used()]).toEqual([2, 1]);
    it.dial(1).fail();
    expect(it.used()).toBe(0);
    it.end();
  });
});

describe("plane: a trial", () => {
  function onTrial(waiting: number): FakePlane {
    const it = new FakePlane([{}]);
    for (let n = 0; n < 4; n += 1) it.accept();
    it.plane.pull();
    for (let n = 0; n < 3; n += 1) it.dial(n).fail(); // the fourth is still under way
    for (let n = 0; n < waiting; n += 1) it.accept();
    it.plane.pull();
    expect([it.board.state[0], it.dialed.length]).toEqual([State.out, 4]);
    it.advance(1_010);
    expect([it.board.state[0], it.dialed.length]).toEqual([State.trying, 5]);
    return it;
  }

  test("plane: one client tries, the others wait for its luck", () => {
    using it = onTrial(3);
    it.plane.pull();
    expect(it.dialed.length).toBe(5);
    it.dial(4).connect();
    expect(it.dialed.length).toBe(5); // to connect is not to hold
    it.dial(4).send("!");
    expect(it.dialed.length).toBe(5 + 5);
    it.end();
  });

  test("plane: the client of a trial leaves, the next one tries", () => {
    using it = onTrial(3);
    const trial = [...it.plane.pairs].find((pair) => pair.order === 1);
    trial?.settle("client-left", "client");
    expect([it.board.state[0], it.dialed.length]).toEqual([State.trying, 6]);
    it.end();
  });

  test("plane: a client leaves whose dial began before the destination was out, the trial stays alone", () => {
    using it = onTrial(3);
    const old = [...it.plane.pairs].find((pair) => pair.order === 4);
    old?.settle("client-left", "client");
    expect([it.board.state[0], it.dialed.length]).toEqual([State.trying, 5]);
    it.end();
  });

  test("plane: a dial from before the destination was out fails, the trial goes on", () => {
    using it = onTrial(3);
    it.dial(3).fail();
    expect(it.board.state[0]).toBe(State.trying);
    it.dial(4).fail();
    expect((it.board.retryAtMs[0] ?? 0) - it.clock.ms).toBe(1_000); // others wait
    it.end();
  });
});

describe("plane: several addresses of one destination", () => {
  test("plane: they are tried in turn, and the good one is remembered", () => {
    const addresses = fakeAddresses("::1", "127.0.0.1", "10.0.0.1");
    using it = new FakePlane([{ addresses, slots: 1 }]);
    it.accept();
    it.dial(0).fail();
    it.dial(1).connect();
    it.dial(1).crash();
    expect(it.plane.numbers.get("connectFailures")).toBe(0);
    it.accept();
    expect(it.dialed).toEqual(["::1", "127.0.0.1", "127.0.0.1"]);
    it.dial(2).fail();
    it.dial(3).fail();
    it.dial(4).connect();
    expect(it.dialed.slice(2)).toEqual(["127.0.0.1", "10.0.0.1", "::1"]);
    it.end();
  });

  test("plane: all of them failed is one failure of the destination", () => {
    const addresses = fakeAddresses("a", "b");
    using it = new FakePlane([{ addresses }, {}]);
    it.accept();
    it.plane.pull();
    it.dial(0).fail();
    it.dial(1).fail();
    expect(it.dialed).toEqual(["a", "b", "d1"]);
    expect([it.plane.numbers.get("connectFailures"), it.board.failures[0]]).toEqual([1, 1]);
    it.end();
  });

  test("plane: dials at the same time each try every address, and remember the good one", () => {
    const addresses = fakeAddresses("::1", "127.0.0.1");
    using it = new FakePlane([{ addresses }]);
    it.accept();
    it.plane.pull();
    it.accept();
    it.plane.pull();
    it.dial(0).fail();
    it.dial(2).connect(); // the first client is joined by 127.0.0.1
    it.dial(1).fail(); // the second has only now been refused by ::1
    expect(it.dialed).toEqual(["::1", "::1", "127.0.0.1", "127.0.0.1"]);
    it.dial(3).connect();
    expect(it.destinations.list[0]?.preferred).toBe(1);
    expect(it.plane.numbers.get("connectFailures")).toBe(0);
    it.end();
  });
});

describe("plane: faults of our own", () => {
  afterEach(() => void jest.useRealTimers());

  test("plane: no descriptor blames no destination, the client waits, and is told once", () => {
    jest.useFakeTimers();
    const addresses = [fakeAddresses("d0"), fakeAddresses("d1")];
    using it = new FakePlane(addresses.map((each) => ({ addresses: each })));
    for (const address of addresses.flat()) address.fault = "EMFILE";
    const clients = [it.accept(), it.accept(), it.accept()];
    it.plane.pull();
    expect([...it.board.state, ...it.board.failures, ...it.board.used]).toEqual([0, 0, 0, 0, 0, 0]);
    expect([it.plane.numbers.get("queued"), it.plane.numbers.get("connectFailures")]).toEqual([
      3, 0,
    ]);
    expect(it.told).toEqual(["local fault EMFILE"]);
    for (const address of addresses.flat()) address.fault = null;
    it.clock.ms += 110;
    jest.advanceTimersByTime(110);
    expect(it.dialed.length).toBe(3);
    it.engine.dials.forEach((dial, n) => {
      dial.connect();
      dial.send(`${n}`);
    });
    expect(clients.map((client) => client.text)).toEqual(["0", "1", "2"]);
    it.end();
  });

  test("plane: one that shows after the dial began is no destination's either", () => {
    jest.useFakeTimers();
    using it = new FakePlane([{}]);
    it.accept();
    it.plane.pull();
    it.dial(0).fail("ENOBUFS");
    expect([it.board.state[0], it.used(), it.plane.numbers.get("localFaults")]).toEqual([0, 0, 1]);
    it.clock.ms += 110;
    jest.advanceTimersByTime(110);
    expect(it.dialed.length).toBe(2);
    it.end();
  });

  test("plane: no port towards one destination sends the client to another, without blame", () => {
    const addresses = [fakeAddresses("d0"), fakeAddresses("d1")];
    using it = new FakePlane(addresses.map((each) => ({ addresses: each })));
    for (const address of addresses[0] ?? []) address.fault = "EADDRNOTAVAIL";
    it.accept();
    it.plane.pull();
    expect([it.dialed, it.board.failures[0]]).toEqual([["d1"], 0]);
    it.end();
  });
});
