import { describe, expect, test } from "bun:test";
import { withSeed } from "../wait.ts";
import { FakePlane, type FakeSocket } from "./fake.ts";

describe("flow: bytes", () => {
  test("flow: what fits is passed on within the call, and nothing is paused", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    client.send("question");
    server.send("answer");
    client.send(" again");
    expect([server.text, client.text]).toEqual(["question again", "answer"]);
    expect([client.pauseCount, server.pauseCount]).toEqual([0, 0]);
    it.end();
  });

  test("flow: a short write keeps the rest and pauses the source, until the rest is out", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    server.room = 3;
    client.send("abcdefgh");
    expect([server.text, client.paused]).toEqual(["abc", true]);
    server.writable(2);
    expect([server.text, client.paused]).toEqual(["abcde", true]);
    server.writable(0); // told without room (R7)
    expect([server.text, client.paused]).toEqual(["abcde", true]);
    server.writable();
    expect([server.text, client.paused]).toEqual(["abcdefgh", false]);
    client.send("ij");
    expect([server.text, client.pauseCount]).toEqual(["abcdefghij", 1]);
    client.reset();
    expect(it.plane.numbers.get("bytesUp")).toBe(10);
    it.end();
  });

  test("flow: a full target pauses its own source alone, the other direction goes on", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    client.room = 0;
    server.send("held");
    client.send("passed");
    expect([server.paused, client.paused, server.text]).toEqual([true, false, "passed"]);
    client.writable();
    expect([client.text, server.paused]).toEqual(["held", false]);
    it.end();
  });

  test("flow: writable with nothing to do is harmless, at any time", () => {
    using it = new FakePlane([{}]);
    const early = it.accept();
    early.writable();
    early.reset();
    const { client, server } = it.join();
    for (const socket of [client, server, client]) socket.writable();
    client.fin();
    for (const socket of [client, server]) socket.writable();
    expect([client.pauseCount, server.pauseCount, server.shut]).toEqual([0, 0, true]);
    it.end();
  });

  test("flow: bytes of a client that has no destination yet wait in order, and more than 16 KiB pause it", () => {
    using it = new FakePlane([{ slots: 1 }]);
    it.join();
    const client = it.accept();
    const words = Array.from({ length: 40 }, (_, n) => `${n} `.padEnd(500, "."));
    for (const word of words) if (!client.paused) client.send(word);
    const sentCount = Math.ceil((16 * 1024) / 500);
    expect([client.paused, client.pauseCount]).toEqual([true, 1]);
    it.dial(0).crash();
    it.dial(1).room = 10_000;
    it.dial(1).connect();
    expect(client.paused).toBe(true);
    it.dial(1).writable();
    expect([it.dial(1).text, client.paused]).toEqual([words.slice(0, sentCount).join(""), false]);
    it.end();
  });

  test("flow: early bytes and an early FIN arrive whole, in order, at the destination that takes them", () => {
    using it = new FakePlane([{}, {}]);
    const client = it.accept();
    it.plane.pull();
    client.send("all ");
    client.send("of it");
    client.fin();
    it.dial(0).fail();
    const server = it.dial(1);
    server.room = 4;
    server.connect();
    expect([server.text, server.shut]).toEqual(["all ", false]);
    server.writable();
    expect([server.text, server.shut]).toEqual(["all of it", true]);
    it.end();
  });

  test("flow: a destination that speaks first is heard", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    server.send("220 welcome");
    expect(client.text).toBe("220 welcome");
    it.end();
  });

  test("flow: bytes that come while paused, as before a reset, are not mixed up", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    server.room = 1;
    client.send("abc");
    client.paused = false; // an engine may tell what it holds when the peer resets
    client.send("def");
    server.writable();
    expect(server.text).toBe("abcdef");
    server.room = 0;
    client.send("lost");
    client.reset();
    expect(it.plane.numbers.get("bytesUndelivered")).toBe(4);
    it.end();
  });

  test("flow: every byte once and in order, with random room, random chunks and both directions", () =>
    withSeed((random) => {
      using it = new FakePlane([{}]);
      for (let round = 0; round < 40; round += 1) {
        const { client, server } = it.join();
        const sent = new Map<FakeSocket, string>([
          [client, ""],
          [server, ""],
        ]);
        for (let n = 0; n < 150; n += 1) {
          const source = random.int(2) === 0 ? client : server;
          const target = source === client ? server : client;
          if (random.int(2) === 0) target.writable(random.int(30));
          if (source.paused) continue;
          const text = `${n},`.repeat(1 + random.int(8));
          source.send(text);
          sent.set(source, (sent.get(source) ?? "") + text);
        }
        client.writable();
        server.writable();
        for (const socket of random.int(2) === 0 ? [client, server] : [server, client]) {
          socket.fin();
        }
        expect(server.text).toBe(sent.get(client) ?? "");
        expect(client.text).toBe(sent.get(server) ?? "");
        expect(it.ends.at(-1)).toStartWith("done");
      }
      it.end();
    }));
});

describe("flow: deadlines", () => {
  /** Time passes in steps, and what is due is looked at. */
  function pass(it: FakePlane, ms: number): void {
    for (let left = ms; left > 0; left -= 10) it.advance(Math.min(10, left));
  }

  test("flow: a pair that moves no byte is reset after the idle time, one that does lives on", () => {
    using it = new FakePlane([{}], { idleMs: 8_000 });
    it.join();
    const busy = it.join();
    for (let n = 0; n < 7; n += 1) {
      pass(it, 1_000);
      busy.client.send("x");
    }
    pass(it, 990);
    expect(it.ends).toEqual([]);
    pass(it, 40);
    expect(it.ends).toEqual(["idle-timeout balancer"]);
    pass(it, 6_000);
    expect(it.ends.length).toBe(1);
    pass(it, 4_000);
    expect([it.ends.length, busy.server.fate]).toEqual([2, "reset"]);
    it.end();
  });

  test("flow: the idle time is kept to within an eighth, never early", () => {
    using it = new FakePlane([{}], { idleMs: 8_000 });
    const { server } = it.join();
    pass(it, 1_234);
    server.send("the last byte");
    const lastAt = it.clock.ms;
    while (it.ends.length === 0) pass(it, 10);
    expect(it.clock.ms - lastAt).toBeGreaterThanOrEqual(8_000);
    expect(it.clock.ms - lastAt).toBeLessThanOrEqual(9_000 + 30);
    it.end();
  });

  test("flow: a long idle time beyond the sweep's horizon is kept as well", () => {
    using it = new FakePlane([{}], { idleMs: 3_600_000 });
    it.join();
    for (let left = 3_599_000; left > 0; left -= 500) it.advance(500);
    expect(it.ends).toEqual([]);
    for (let n = 0; n < 60 && it.ends.length === 0; n += 1) it.advance(500);
    expect(it.ends).toEqual(["idle-timeout balancer"]);
    it.end();
  });

  test("flow: once one side has ended the half-close time holds, from the last byte on", () => {
    using it = new FakePlane([{}], { idleMs: 3_600_000, halfCloseMs: 4_000 });
    const { client, server } = it.join();
    pass(it, 10_000);
    client.fin();
    for (let n = 0; n < 5; n += 1) {
      pass(it, 3_000);
      server.send("still answering");
    }
    expect(it.ends).toEqual([]);
    pass(it, 3_990);
    expect(it.ends).toEqual([]);
    pass(it, 600);
    expect(it.ends).toEqual(["half-close-timeout balancer"]);
    it.end();
  });

  test("flow: half-close time 0 leaves the idle time in force", () => {
    using it = new FakePlane([{}], { idleMs: 8_000, halfCloseMs: 0 });
    it.join().client.fin();
    pass(it, 7_900);
    expect(it.ends).toEqual([]);
    pass(it, 1_200);
    expect(it.ends).toEqual(["idle-timeout balancer"]);
    it.end();
  });

  test("flow: with every time 0 a pair lives for ever", () => {
    using it = new FakePlane([{}]);
    it.join().client.fin();
    it.join();
    for (let n = 0; n < 1_000; n += 1) it.advance(10_000);
    expect(it.ends).toEqual([]);
    it.end();
  });

  test("flow: no answer within the answer time, counted from the client's first byte", () => {
    using it = new FakePlane([{}], { answerMs: 2_000 });
    const slow = it.join();
    const quick = it.join();
    pass(it, 5_000); // a client that asks nothing is owed nothing
    slow.client.send("?");
    quick.client.send("?");
    pass(it, 1_000);
    quick.server.send("!");
    pass(it, 990);
    expect(it.ends).toEqual([]);
    pass(it, 30);
    expect([it.ends, slow.client.fate]).toEqual([["answer-timeout balancer"], "reset"]);
    pass(it, 10_000);
    expect(it.ends.length).toBe(1);
    it.end();
  });
});
