import { describe, expect, test } from "bun:test";
import { State } from "../../src/core/board.ts";
import { FakePlane, fakeAddresses, turn } from "./fake.ts";

describe("plane: the life of a connection", () => {
  test("plane: accept, dial at the end of the turn, join, bytes, both ends, done", async () => {
    using it = new FakePlane([{ slots: 1 }, { slots: 1 }]);
    const client = it.accept();
    expect(it.dialed).toEqual([]);
    await turn();
    const server = it.dial(0);
    expect(it.used(0)).toBe(1); // taken before the dial
    it.clock.ms += 7;
    server.connect();
    client.send("ping");
    server.send("pong");
    client.fin();
    expect([server.shut, it.ends]).toEqual([true, []]);
    server.fin();
    expect([client.fate, server.fate, client.text, server.text]).toEqual([
      "closed",
      "closed",
      "pong",
      "ping",
    ]);
    expect(it.ends).toEqual(["done client"]);
    const { numbers } = it.plane;
    const counted = (["accepted", "connects", "bytesUp", "bytesDown", "waited"] as const).map(
      (name) => numbers.get(name),
    );
    expect(counted).toEqual([1, 1, 4, 4, 0]);
    expect([numbers.joined[0], numbers.bytesUp[0], numbers.bytesDown[0]]).toEqual([1, 4, 4]);
    expect(numbers.histograms.connect.quantile(1)).toBeGreaterThanOrEqual(7);
    it.end();
  });

  test("plane: a burst of accepts spreads over destinations in one flush", async () => {
    using it = new FakePlane([{ slots: 1 }, { slots: 1 }, { slots: 1 }], { flushCount: 100 });
    for (let n = 0; n < 5; n += 1) it.accept();
    expect(it.dialed).toEqual([]);
    await turn();
    expect(it.dialed).toEqual(["d0", "d1", "d2"]);
    expect(it.plane.numbers.get("queued")).toBe(2);
    it.end();
  });

  test("plane: flush count 0 is as many as destinations that can take a client", () => {
    using it = new FakePlane([{}, {}, { slots: 1 }]);
    it.accept();
    it.accept();
    expect(it.dialed.length).toBe(0);
    it.accept();
    expect(it.dialed.length).toBe(3); // no turn in between
    it.accept();
    it.accept(); // d2 is full now: two can take one
    expect(it.dialed.length).toBe(5);
    it.end();
  });

  test("plane: with every slot taken each arrival is looked at at once, and waits", () => {
    using it = new FakePlane([{ slots: 1 }]);
    it.accept();
    it.accept();
    expect([it.dialed, it.plane.numbers.get("queued")]).toEqual([["d0"], 1]);
    it.end();
  });

  test("plane: beyond the connection limit a client is reset at once, and counted", () => {
    using it = new FakePlane([{}], { connectionCountMax: 2 });
    it.join();
    it.accept();
    const refused = it.accept();
    expect([refused.fate, refused.events, it.ends]).toEqual([
      "reset",
      null,
      ["connection-limit balancer"],
    ]);
    it.check();
    it.dial(0).crash();
    expect(it.accept().fate).toBe("open"); // one has gone, one may come
    it.end();
  });

  test("plane: policy hash keeps a client's destination", () => {
    using it = new FakePlane([{}, {}, {}, {}], {}, "hash");
    const hosts = new Map<string, string>();
    for (let n = 0; n < 40; n += 1) {
      const { client, server } = it.join();
      hosts.set(client.name, server.name);
      client.reset();
    }
    expect(new Set(hosts.values()).size).toBeGreaterThan(1);
    it.end();
  });
});

describe("plane: the queue", () => {
  test("plane: who waits is served in order of arrival, one for each slot that is freed", () => {
    using it = new FakePlane([{ slots: 1 }]);
    const order: string[] = [];
    for (let n = 0; n < 50; n += 1) it.accept();
    for (let n = 0; n < 50; n += 1) {
      expect(it.dialed.length).toBe(n + 1);
      it.dial(n).connect();
      it.dial(n).send("hello");
      it.dial(n).crash();
      it.check();
    }
    for (const pair of it.settled) order.push(String(pair.order));
    expect(order).toEqual(Array.from({ length: 50 }, (_, n) => String(n + 1)));
    it.end();
  });

  test("plane: the time from a freed slot to the next client's first byte is kept", () => {
    using it = new FakePlane([{ slots: 1 }]);
    it.join();
    const waiting = it.accept();
    waiting.send("early");
    it.dial(0).crash();
    it.clock.ms += 3;
    it.dial(1).connect();
    expect(it.dial(1).text).toBe("early");
    const { handOff, queue } = it.plane.numbers.histograms;
    expect(handOff.quantile(1)).toBeGreaterThanOrEqual(3);
    expect(handOff.quantile(1)).toBeLessThan(3.6);
    expect(queue.quantile(1)).not.toBeNull();
    it.end();
  });

  test("plane: all destinations down, then one up: who waits is served in order, nobody sees an error", () => {
    const addresses = fakeAddresses("d0");
    using it = new FakePlane([{ addresses, slots: 4 }]);
    for (const address of addresses) address.fault = "ECONNREFUSED";
    const clients = Array.from({ length: 20 }, () => it.accept());
    for (let ms = 0; ms < 10_000; ms += 50) it.advance(50);
    expect(it.told.filter((line) => line.startsWith("out")).length).toBe(1);
    expect([it.plane.numbers.get("queued"), it.ends]).toEqual([20, []]);
    for (const address of addresses) address.fault = null;
    for (let ms = 0; ms < 31_000 && it.dialed.length === 0; ms += 50) it.advance(50);
    expect(it.dialed.length).toBe(1); // the trial
    for (let n = 0; n < 20; n += 1) {
      it.dial(n).connect();
      it.dial(n).send(`${n}`);
      if (n % 4 === 3) for (let done = n - 3; done <= n; done += 1) it.dial(done).reset();
    }
    expect(clients.map((client) => client.text)).toEqual(clients.map((_, n) => `${n}`));
    expect(it.told).toContain("back d0");
    it.end();
  });

  test("plane: a waiting client that resets frees its place, and is no one's turn", () => {
    using it = new FakePlane([{ slots: 1 }], { queueCountMax: 2 });
    it.join();
    const [first] = [it.accept(), it.accept()];
    const refused = it.accept();
    expect([refused.fate, it.ends]).toEqual(["reset", ["queue-full balancer"]]);
    first.reset();
    expect([it.ends.at(-1), it.plane.numbers.get("queued")]).toEqual(["client-left client", 1]);
    expect(it.accept().fate).toBe("open");
    it.dial(0).crash();
    it.dial(1).connect();
    it.check();
    it.dial(1).crash();
    expect(it.settled.map((pair) => pair.order)).toEqual([4, 2, 1, 3]);
    it.end();
  });

  test("plane: a full queue is told once, and once that nobody was refused for a second", () => {
    using it = new FakePlane([{ slots: 1 }], { queueCountMax: 4 });
    it.join();
    for (let n = 0; n < 10; n += 1) it.accept();
    expect(it.told).toEqual(["queue full"]);
    it.dial(0).crash();
    it.dial(1).connect();
    expect(it.told).toEqual(["queue full"]);
    it.advance(1_010);
    for (let n = 1; n < 5; n += 1) {
      if (n === 1) {
        it.dial(1).crash();
        continue;
      }
      it.dial(n).connect();
      it.dial(n).crash();
    }
    expect(it.told).toEqual(["queue full", "queue clear"]);
    it.end();
  });

  test("plane: every client that waits too long is refused, not the oldest alone", () => {
    using it = new FakePlane([{ slots: 1 }], { queueMs: 15_000 });
    it.join();
    for (let n = 0; n < 5; n += 1) {
      it.accept();
      it.clock.ms += 100;
    }
    expect(it.plane.numbers.get("queued")).toBe(5);
    it.advance(15_000 - 501);
    expect(it.ends).toEqual([]);
    for (let n = 1; n <= 5; n += 1) {
      it.advance(n === 1 ? 20 : 100);
      expect(it.ends).toEqual(Array.from({ length: n }, () => "queue-timeout balancer"));
    }
    it.check();
    it.dial(0).crash();
    expect(it.dialed.length).toBe(1);
    it.end();
  });

  test("plane: with queue time 0 a client waits for ever", () => {
    using it = new FakePlane([{ slots: 1 }], { queueMs: 0 });
    it.join();
    it.accept();
    it.advance(3_600_000);
    expect(it.plane.numbers.get("queued")).toBe(1);
    it.end();
  });

  test("plane: a FIN of a waiting client is kept, and passed on after its bytes", () => {
    using it = new FakePlane([{ slots: 1 }]);
    it.join();
    const client = it.accept();
    client.send("question");
    client.fin();
    expect(it.ends).toEqual([]);
    it.dial(0).crash();
    const server = it.dial(1);
    server.connect();
    expect([server.text, server.shut]).toEqual(["question", true]);
    server.send("answer");
    server.fin();
    expect([client.text, it.ends.at(-1)]).toEqual(["answer", "done client"]);
    it.end();
  });

  test("plane: a FIN of a waiting client means it has left, where that is asked for", () => {
    using it = new FakePlane([{ slots: 1 }], { queueFin: "leave" });
    it.join();
    it.accept().fin();
    expect([it.ends, it.plane.numbers.get("queued")]).toEqual([["client-left client"], 0]);
    it.end();
  });
});

describe("plane: the end", () => {
  test("plane: new and waiting clients are refused when it stops, pairs and dials go on", () => {
    using it = new FakePlane([{ slots: 2 }]);
    const { client, server } = it.join();
    it.accept(); // being dialed
    const waiting = it.accept();
    it.plane.refuseNew();
    expect([waiting.fate, it.ends]).toEqual(["reset", ["shutdown balancer"]]);
    expect(it.accept().fate).toBe("reset");
    it.dial(1).connect();
    client.send("more");
    expect(server.text).toBe("more");
    client.fin();
    server.fin();
    expect(it.ends).toEqual(["shutdown balancer", "shutdown balancer", "done client"]);
    it.dial(1).crash();
    it.end();
  });

  test("plane: a dial that fails when it stops refuses its client", () => {
    using it = new FakePlane([{}, {}]);
    it.accept();
    it.plane.pull();
    it.plane.refuseNew();
    it.dial(0).fail();
    expect([it.dialed.length, it.ends]).toEqual([1, ["shutdown balancer"]]);
    it.end();
  });

  test("plane: cut resets what is left, and says how many", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    it.accept();
    it.plane.pull();
    it.plane.refuseNew();
    expect(it.plane.cut("drain")).toBe(2);
    expect([client.fate, server.fate, it.dial(1).fate]).toEqual(["reset", "reset", "reset"]);
    expect(it.ends).toEqual(["drain balancer", "drain balancer"]);
    it.end();
  });

  test("plane: an exception of ours costs its own connection, and is told", () => {
    using it = new FakePlane([{}]);
    const one = it.join();
    const other = it.join();
    it.plane.onFault(new Error("ours"), one.client.events);
    it.plane.onFault(new Error("nobody's"), null);
    expect([one.server.fate, other.server.fate]).toEqual(["reset", "open"]);
    expect(it.told).toEqual(["fault Error: ours", "fault Error: nobody's"]);
    expect(it.ends).toEqual(["error balancer"]);
    it.end();
  });
});

describe("plane: backups", () => {
  test("plane: a slot that a backup frees is nobody's while a primary is up, though clients wait", () => {
    using it = new FakePlane([{ slots: 1 }, { slots: 1, backup: true }]);
    const [primary] = it.destinations.list;
    if (primary === undefined) throw new Error("there is one");
    for (let n = 0; n < 3; n += 1) {
      it.board.changeState(0, it.board.stateOf(0), State.up);
      it.destinations.onFailure(primary, "ECONNREFUSED", it.clock.ms, false);
    }
    for (let n = 0; n < 3; n += 1) it.accept();
    it.plane.pull();
    it.dial(0).connect();
    expect(it.dialed).toEqual(["d1"]);
    it.advance(1_100);
    it.dial(1).connect(); // the trial
    it.dial(1).send("!");
    expect(it.dialed).toEqual(["d1", "d0"]);
    it.dial(0).crash();
    expect([it.dialed, it.used(1)]).toEqual([["d1", "d0"], 0]);
    it.dial(1).crash();
    expect(it.dialed).toEqual(["d1", "d0", "d0"]);
    it.end();
  });
});
