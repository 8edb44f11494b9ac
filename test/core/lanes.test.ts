// Lanes: queues apart from each other, each with destinations of its own, in one thread and over several.
import { describe, expect, test } from "bun:test";
import { Board } from "../../src/core/board.ts";
import { Line, Place, type Waiter } from "../../src/core/line.ts";
import { reclaim } from "../../src/core/reclaim.ts";
import { Routes } from "../../src/core/routes.ts";
import { Tickets } from "../../src/core/tickets.ts";
import { withSeed, type Random } from "../wait.ts";
import type { FakePlan, FakePlane, FakeSocket } from "./fake.ts";
import { bytesTo, helloOf, proxyAddress, reading, routes, routesList, serve } from "./prefaces.ts";

const names = ["c.example", "a.example", "b.example"] as const;
const greetings = names.map((name) => helloOf(name));
const single: readonly FakePlan[] = [0, 1, 2].map((lane) => ({ lane, slots: 1 }));

function come(it: FakePlane, lane: number): FakeSocket {
  const client = it.accept(proxyAddress);
  client.send(greetings[lane] ?? "");
  it.plane.pull();
  return client;
}

describe("lanes: in one thread", () => {
  test("lanes: one whose slots are taken holds up no other, and each is in order", () => {
    using it = reading({ routes }, {}, single);
    for (const lane of [1, 1, 1, 2, 0, 2]) come(it, lane);
    expect(it.dialed).toEqual(["d1", "d2", "d0"]);
    expect(it.plane.numbers.get("queued")).toBe(3);
    expect([...it.plane.pairs].map((pair) => pair.lane)).toEqual([1, 1, 1, 2, 0, 2]);
    it.check();
    it.dial(1).connect();
    it.dial(1).crash(); // its slot is for who waits in its lane
    expect(it.dialed).toEqual(["d1", "d2", "d0", "d2"]);
    it.dial(2).connect();
    it.dial(2).crash(); // nobody waits there
    expect(it.dialed.length).toBe(4);
    it.dial(0).connect();
    it.dial(0).crash();
    expect(it.dialed).toEqual(["d1", "d2", "d0", "d2", "d1"]);
    const waiting = [...it.plane.pairs].filter((pair) => pair.state === "waiting");
    expect(waiting.map((pair) => pair.lane)).toEqual([1]);
    it.check();
    it.end();
  });

  test("lanes: the oldest of all that wait is told, whichever lane it waits in", () => {
    using it = reading({ routes }, {}, single);
    for (const lane of [2, 1]) come(it, lane);
    const second = come(it, 2);
    it.clock.ms += 5;
    come(it, 1);
    expect(it.plane.numbers.get("oldestAt")).toBe(it.clock.ms - 5);
    second.reset();
    expect(it.plane.numbers.get("oldestAt")).toBe(it.clock.ms);
    it.end();
  });

  test("lanes: who waits in one that nobody serves any more is turned away, and who comes to it", () => {
    using it = reading({ routes }, {}, single);
    const late = it.accept(proxyAddress);
    late.send(greetings[1]?.subarray(0, 30) ?? "");
    for (const lane of [1, 1, 2, 2, 0, 0]) come(it, lane);
    const server = it.dial(0);
    it.plane.leaveLanes((lane) => lane !== 1);
    expect(it.ends).toEqual(["no-route balancer"]);
    late.send(greetings[1]?.subarray(30) ?? "");
    expect(it.ends).toEqual(["no-route balancer", "no-route balancer"]);
    server.fail(); // whoever is dialed for there, and is back
    expect(it.ends.length).toBe(3);
    it.check();
    it.plane.leaveLanes(() => true);
    come(it, 1);
    expect(it.ends.length).toBe(3);
    it.end();
  });

  test("lanes: one without destinations, and its clients wait for some", () => {
    using it = reading({ routes }, { queueMs: 500 }, [
      { lane: 0 },
      { lane: 1, addresses: [] },
      { lane: 2 },
    ]);
    come(it, 1);
    come(it, 0);
    expect(it.dialed).toEqual(["d0"]);
    it.advance(510);
    expect(it.ends).toEqual(["queue-timeout balancer"]);
    it.end();
  });

  test("lanes: a protocol chooses among routes of one name", () => {
    const list = [{ sni: ["a.example"], alpn: ["h2"], plain: false, lane: 2 }, ...routesList];
    using it = reading({ routes: new Routes(list, 0) });
    it.accept(proxyAddress).send(helloOf("a.example", "http/1.1"));
    it.accept(proxyAddress).send(helloOf("a.example", "http/1.1", "h2"));
    serve(it);
    expect(it.dialed).toEqual(["d1", "d2"]);
    it.end();
  });
});

/** A random row of what clients and destinations do; what must hold is looked at after each step. */
class Schedule {
  readonly it: FakePlane;
  private readonly random: Random;
  private readonly clients = new Map<FakeSocket, number>();
  /** By lane: greetings whose clients wait, in the order in which their starts were read. */
  servedCount = 0;

  constructor(random: Random) {
    this.random = random;
    const plans = Array.from({ length: 3 + random.int(4) }, (_, row): FakePlan => {
      return { lane: row < 3 ? row : random.int(3), slots: 1 + random.int(2) };
    });
    const limits = { queueCountMax: 30, queueMs: 2_000, connectMs: 700, prefaceMs: 900 };
    this.it = reading({ routes }, { ...limits, flushCount: random.int(3) }, plans);
  }

  step(): void {
    const { it, random } = this;
    const what = random.int(100);
    if (what < 30) this.accept();
    else if (what < 50) this.some(this.dials(false), (server) => server.connect());
    else if (what < 55) this.some(this.dials(false), (server) => server.fail());
    else if (what < 78) this.some(this.dials(true), (server) => server.crash());
    else if (what < 84) this.some(this.open(), (client) => client.reset());
    else if (what < 92) this.some(this.open(), (client) => this.goOn(client));
    else it.advance(random.int(what > 98 ? 1_500 : 200));
    it.plane.pull();
    this.check();
  }

  /** Slots of a lane go to its own clients, the oldest first, and none is free while somebody waits for it. */
  private check(): void {
    const { it } = this;
    it.check();
    it.lanes.forEach((destinations, lane) => {
      const isFree = destinations.list.some(({ row }) => it.board.isFree(row));
      const mine = [...it.plane.pairs].filter((pair) => pair.lane === lane);
      const waiting = mine.filter((pair) => pair.state === "waiting");
      if (isFree && waiting.length > 0)
        throw new Error(`lane ${lane}: a slot is free, and ${waiting.length} wait`);
      const newest = Math.max(
        ...mine
          .filter(
            (pair) => pair.state !== "waiting" && pair.tried === null && pair.state !== "preface",
          )
          .map((pair) => pair.order),
        0,
      );
      const older = waiting.find((pair) => pair.order < newest && pair.tried === null);
      if (older !== undefined)
        throw new Error(`lane ${lane}: ${older.order} waits, ${newest} does not`);
    });
    for (const server of it.engine.dials) {
      const lane = greetings.findIndex((greeting) => bytesTo(server).equals(greeting));
      if (server.writes.length === 0 || server.text.endsWith("!")) continue;
      this.servedCount += 1;
      const own = it.lanes[lane]?.list.some(({ name }) => name === server.name) ?? false;
      if (!own) throw new Error(`${server.name} has got a client of lane ${lane}`);
    }
  }

  private accept(): void {
    const lane = this.random.int(3);
    const client = this.it.accept(proxyAddress);
    const greeting = greetings[lane] ?? new Uint8Array(0);
    const size = this.random.int(3) === 0 ? this.random.int(greeting.length) : greeting.length;
    this.clients.set(client, lane);
    if (size > 0) client.send(greeting.subarray(0, size));
    if (size < greeting.length) this.later.set(client, greeting.subarray(size));
  }

  private readonly later = new Map<FakeSocket, Uint8Array>();

  private goOn(client: FakeSocket): void {
    const rest = this.later.get(client);
    if (rest === undefined) return;
    this.later.delete(client);
    client.send(rest);
  }

  private open(): FakeSocket[] {
    return [...this.clients.keys()].filter((client) => !client.gone);
  }

  private dials(areConnected: boolean): FakeSocket[] {
    return this.it.engine.dials.filter(
      (server) => !server.gone && (server.events?.connected ?? false) === areConnected,
    );
  }

  private some(all: readonly FakeSocket[], act: (one: FakeSocket) => void): void {
    const one = all[this.random.int(Math.max(1, all.length))];
    if (one !== undefined) act(one);
  }
}

test("lanes: any row of arrivals, ends and failures keeps three lanes apart and in order", async () => {
  await withSeed((random) => {
    let servedCount = 0;
    for (let run = 0; run < 30; run += 1) {
      const schedule = new Schedule(random);
      for (let step = 0; step < 250; step += 1) schedule.step();
      schedule.it.end();
      schedule.it[Symbol.dispose]();
      servedCount += schedule.servedCount;
    }
    expect(servedCount).toBeGreaterThan(1_000);
  });
});

describe("lanes: over threads", () => {
  const size = { destinationCountMax: 3, threadCount: 2, waiterCountMax: 8, laneCount: 3 };
  const waiter = (order: number): Waiter => ({ order, place: Place.arrived, left: false });

  /** The lines of who arrives, by lane, of one thread. */
  function linesOf(board: Board, thread: number) {
    return board.lanes.map((lane) => {
      const tickets = new Tickets(lane, thread);
      return { tickets, line: new Line<Waiter>(tickets, 1) };
    });
  }

  function at<T>(list: readonly T[], index: number): T {
    const one = list[index];
    if (one === undefined) throw new Error(`nothing at ${index}`);
    return one;
  }

  test("lanes: a grant in one wakes its thread, is taken there, and shows in no other", () => {
    const board = new Board(size);
    const [mine, theirs] = [linesOf(board, 0), linesOf(board, 1)];
    const orders = [0, 1, 2].map((lane) => {
      const { tickets, line } = at(theirs, lane);
      const order = tickets.nextOrder();
      line.file(waiter(order));
      line.publish();
      return order;
    });
    expect(orders).toEqual([1, 2, 3]); // one number of arrival for all lanes
    const woken: number[] = [];
    for (const { tickets } of mine) tickets.onGrant = (thread) => void woken.push(thread);
    const { tickets } = at(mine, 2);
    tickets.grant(tickets.claimOldest(), 7);
    expect([woken, tickets.someoneWaits(), at(mine, 1).tickets.someoneWaits()]).toEqual([
      [1],
      false,
      true,
    ]);
    const other = at(mine, 1).tickets;
    other.grant(other.claimOldest(), 8);
    expect(woken).toEqual([1]); // it has been told already
    at(theirs, 0).tickets.awake();
    expect(theirs.map(({ line }) => line.expectsGrants)).toEqual([false, true, true]);
    const taken = theirs.map(({ line }) => {
      const rows: string[] = [];
      line.takeGrants((row, item) => void rows.push(`${row} to ${item?.order}`));
      return rows;
    });
    expect(taken).toEqual([[], ["8 to 2"], ["7 to 3"]]);
  });

  test("lanes: what a thread that has died was granted is given back in each of them", () => {
    const board = new Board(size);
    const [mine, theirs] = [linesOf(board, 0), linesOf(board, 1)];
    for (const [row, { tickets }] of mine.entries()) {
      board.fill(row, 1, 1, true);
      const { line, tickets: own } = at(theirs, row);
      line.file(waiter(own.nextOrder()));
      line.file(waiter(own.nextOrder()));
      line.publish();
      expect(board.take(row)).toBe(true);
      tickets.grant(tickets.claimOldest(), row);
    }
    expect([...board.used]).toEqual([1, 1, 1]);
    reclaim(board, 1);
    expect([...board.used]).toEqual([0, 0, 0]);
    expect(mine.map(({ tickets }) => tickets.someoneWaits())).toEqual([false, false, false]);
  });
});
