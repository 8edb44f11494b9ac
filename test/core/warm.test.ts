import { describe, expect, test } from "bun:test";
import { State } from "../../src/core/board.ts";
import { fakeAddresses, FakePlane, turn } from "./fake.ts";

/** A plane whose destination has warm connections, all open. */
async function warmed(warm: number, slots = 1): Promise<FakePlane> {
  const it = new FakePlane([{ slots, warm }]);
  await turn();
  for (const dial of it.engine.dials) dial.connect();
  return it;
}

describe("warm", () => {
  test("warm: so many are opened ahead, outside of the slots, and no client is counted", async () => {
    using it = await warmed(2);
    expect([it.dialed, it.used(), it.plane.numbers.get("connects")]).toEqual([["d0", "d0"], 0, 0]);
    it.end();
    expect(it.engine.dials.map((each) => each.fate)).toEqual(["closed", "closed"]);
  });

  test("warm: a client gets the oldest at once, and another one is opened in its place", async () => {
    using it = await warmed(2);
    const client = it.accept();
    client.send("hello");
    it.plane.pull();
    expect([it.dial(0).text, it.dial(1).text, it.used()]).toEqual(["hello", "", 1]);
    expect(it.dialed.length).toBe(2);
    await turn();
    expect(it.dialed.length).toBe(3);
    it.dial(0).send("answer");
    expect(client.text).toBe("answer");
    it.end();
  });

  test("warm: one that is still being dialed goes to a client before a later one is dialed", async () => {
    using it = new FakePlane([{ slots: 1, warm: 1 }]);
    await turn();
    const client = it.accept();
    client.send("hello");
    it.plane.pull();
    expect([it.dialed.length, it.used()]).toEqual([1, 1]);
    it.dial(0).connect();
    expect(it.dial(0).text).toBe("hello");
    await turn();
    expect(it.dialed.length).toBe(2);
    it.end();
  });

  test("warm: one that is given away while it is dialed, and fails, is a failed connect like any other", async () => {
    using it = new FakePlane([{ warm: 1 }, {}]);
    await turn();
    const client = it.accept();
    client.send("hello");
    it.plane.pull();
    it.dial(0).fail();
    it.dial(1).connect();
    expect([it.dialed[1], it.dial(1).text, it.board.failures[0]]).toEqual(["d1", "hello", 1]);
    it.end();
  });

  test("warm: addresses are tried in turn, and a destination with one that answers is not to blame", async () => {
    const addresses = fakeAddresses("dead", "alive");
    using it = new FakePlane([{ warm: 1, addresses }]);
    await turn();
    for (const address of addresses.slice(0, 1)) address.fault = "ECONNREFUSED";
    it.dial(0).fail();
    it.advance(1_100);
    expect([it.dialed.at(-1), it.board.failures[0]]).toEqual(["alive", 0]);
    it.end();
  });

  test("warm: one whose destination ends it just when a client has it is replaced, and the client sees nothing", async () => {
    using it = await warmed(1);
    const client = it.accept();
    it.plane.pull();
    it.dial(0).fin();
    it.dial(1).connect();
    client.send("hello");
    expect([it.dial(1).text, client.shut, it.board.failures[0]]).toEqual(["hello", false, 0]);
    it.end();
  });

  test("warm: a trial dials, and what was open before the destination went out is given up", async () => {
    using it = await warmed(1);
    const { destinations, board, clock } = it;
    const [destination] = destinations.list;
    if (destination === undefined) throw new Error("there is one");
    for (let n = 0; n < 3; n += 1) {
      board.changeState(0, board.stateOf(0), State.up);
      destinations.onFailure(destination, "ETIMEDOUT", clock.ms, false);
    }
    expect(board.stateOf(0)).toBe(State.out);
    it.advance(1_100);
    it.accept();
    it.plane.pull();
    expect([it.dial(0).fate, it.dialed.length, board.stateOf(0)]).toEqual([
      "closed",
      2,
      State.trying,
    ]);
    it.dial(1).connect();
    it.dial(1).send("!");
    expect(it.told.at(-1)).toBe("back d0");
    it.end();
  });

  test("warm: a freed slot is the next client's with an open connection", async () => {
    using it = await warmed(1);
    const first = it.accept();
    const second = it.accept();
    it.plane.pull();
    second.send("next");
    await turn();
    it.dial(1).connect();
    first.send("one");
    first.reset();
    expect([it.dial(1).text, it.used()]).toEqual(["next", 1]);
    it.end();
  });

  test("warm: what a destination says first reaches its client, in order", async () => {
    using it = await warmed(1);
    it.dial(0).send("220 ");
    it.dial(0).send("welcome");
    const client = it.accept();
    it.plane.pull();
    it.dial(0).send(" in");
    expect(client.text).toBe("220 welcome in");
    it.end();
  });

  test("warm: one that says much is paused until it has a client, and loses nothing", async () => {
    using it = await warmed(1);
    const much = "x".repeat(20_000);
    it.dial(0).send(much);
    expect(it.dial(0).paused).toBe(true);
    const client = it.accept();
    it.plane.pull();
    expect([it.dial(0).paused, client.text.length]).toEqual([false, 20_000]);
    it.end();
  });

  test("warm: one that its destination has closed is no client's, and is opened anew a second later", async () => {
    using it = await warmed(1);
    it.dial(0).fin();
    expect(it.dial(0).fate).toBe("closed");
    const client = it.accept();
    it.plane.pull();
    it.dial(1).connect(); // dialed for the client
    client.send("hello");
    expect(it.dial(1).text).toBe("hello");
    it.advance(1_100);
    expect(it.dialed.length).toBe(3);
    expect(it.board.failures[0]).toBe(0);
    it.end();
  });

  test("warm: a reset that only the first write finds costs the client nothing, and blames nobody", async () => {
    using it = await warmed(1);
    it.dial(0).resetUnseen = true;
    it.engine.sees = false;
    const client = it.accept();
    client.send("hello");
    it.plane.pull();
    it.dial(0).reset();
    it.dial(1).connect();
    expect([it.dial(1).text, it.board.failures[0], it.settled.length]).toEqual(["hello", 0, 0]);
    it.end();
  });

  test("warm: those that end young are opened less and less often", async () => {
    using it = await warmed(1);
    let count = 0;
    for (let seconds = 0; seconds < 120; seconds += 1) {
      const dial = it.engine.dials.at(-1);
      if (dial !== undefined && !dial.gone) {
        if (it.dialed.length > 1) dial.connect();
        dial.fin();
        count += 1;
      }
      it.advance(1_000);
    }
    expect(count).toBeGreaterThan(5);
    expect(count).toBeLessThan(12);
    it.end();
  });

  test("warm: one that is old is closed in order and opened anew", async () => {
    using it = await warmed(1);
    for (let seconds = 0; seconds < 32; seconds += 1) it.advance(1_000);
    expect([it.dial(0).fate, it.dialed.length]).toEqual(["closed", 2]);
    it.end();
  });

  test("warm: connects that fail put the destination out as a client's would, and stop until it is back", async () => {
    using it = new FakePlane([{ warm: 1 }]);
    await turn();
    for (let n = 0; n < 3; n += 1) {
      const dial = it.engine.dials.at(-1);
      if (dial?.gone === false) dial.fail();
      for (let seconds = 0; seconds < 3; seconds += 1) it.advance(1_000);
    }
    expect(it.told[0]).toStartWith("out d0 ECONNREFUSED");
    const before = it.dialed.length;
    it.advance(300);
    expect(it.dialed.length).toBe(before);
    it.end();
  });
});
