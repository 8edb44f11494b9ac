import { describe, expect, test } from "bun:test";
import { withSeed } from "../wait.ts";
import { FakePlane } from "./fake.ts";

describe("flow: ends", () => {
  test("flow: the client ends first, the answer comes after its FIN", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    client.send("question");
    client.fin();
    expect([server.shut, client.shut]).toEqual([true, false]);
    server.send("answer");
    server.fin();
    expect([client.text, it.ends]).toEqual(["answer", ["done client"]]);
    it.end();
  });

  test("flow: the destination ends first, the client goes on sending", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    server.send("greeting");
    server.fin();
    expect([client.shut, server.shut]).toEqual([true, false]);
    client.send("upload");
    client.fin();
    expect([server.text, it.ends]).toEqual(["upload", ["done destination"]]);
    it.end();
  });

  test("flow: the write side is shut only after the last byte", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    client.room = 2;
    server.room = 2;
    client.send("abcd");
    server.send("wxyz");
    // A paused socket tells its end later; what it tells at once is the end behind the last chunk.
    client.paused = false;
    client.fin();
    expect([server.text, server.shut]).toEqual(["ab", false]);
    server.writable();
    expect([server.text, server.shut]).toEqual(["abcd", true]);
    server.paused = false;
    server.fin();
    expect(it.ends).toEqual([]); // "yz" is still to go
    client.writable();
    expect([client.text, it.ends]).toEqual(["wxyz", ["done client"]]);
    it.end();
  });

  test("flow: a slow client keeps no slot once its destination has ended", () => {
    using it = new FakePlane([{ slots: 1 }]);
    const { client, server } = it.join();
    it.accept();
    client.fin();
    client.room = 0;
    server.send("a long answer");
    server.paused = false;
    server.fin();
    expect([it.ends, it.dialed.length, it.used()]).toEqual([[], 2, 1]);
    client.writable();
    expect([client.text, it.ends]).toEqual(["a long answer", ["done client"]]);
    expect(it.used()).toBe(1); // given back once, not twice
    it.end();
  });

  test("flow: resets are passed on as resets, from either side", () => {
    using it = new FakePlane([{}]);
    const one = it.join();
    one.client.reset();
    const two = it.join();
    two.server.crash();
    expect([one.server.fate, two.client.fate]).toEqual(["reset", "reset"]);
    expect(it.ends).toEqual(["client-reset client", "destination-reset destination"]);
    it.end();
  });

  test("flow: a close that comes without a FIN cuts, and is passed on as a reset", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    client.send("x");
    server.gone = true;
    server.events?.onClose(null);
    expect([client.fate, it.ends]).toEqual(["reset", ["destination-reset destination"]]);
    it.end();
  });

  test("flow: a FIN on one side and a reset on the other is a reset", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    client.fin();
    server.reset("EPIPE");
    expect([client.fate, it.ends]).toEqual(["reset", ["destination-reset destination"]]);
    it.end();
  });

  test("flow: a write of −1 is a reset of both sides, whatever is told afterwards (R4)", () => {
    using it = new FakePlane([{}]);
    const one = it.join();
    one.client.send("x");
    one.server.resetUnseen = true;
    one.client.send("into the void");
    one.server.fin(); // a reset disguised as an end
    const two = it.join();
    two.client.room = 0;
    two.server.send("held");
    two.client.resetUnseen = true;
    two.client.writable();
    two.client.reset();
    two.client.fate = "reset";
    expect([one.client.fate, one.server.fate, two.client.fate, two.server.fate]).toEqual(
      Array.from({ length: 4 }, () => "reset"),
    );
    expect(it.ends).toEqual(["destination-reset destination", "client-reset client"]);
    it.end();
  });

  test("flow: what a destination said before its reset is passed on, also when a write finds the reset first", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    server.resetUnseen = true;
    client.send("too much");
    expect(client.paused).toBe(true);
    server.send("413, and goodbye");
    expect(client.text).toBe("413, and goodbye");
    server.fin();
    expect([client.fate, server.fate]).toEqual(["reset", "reset"]);
    expect(it.ends).toEqual(["destination-reset destination"]);
    expect(it.plane.numbers.get("bytesUndelivered")).toBe(8);
    it.end();
  });

  test("flow: a reset that only a write has seen ends the pair within a second, told or not", () => {
    using it = new FakePlane([{}]);
    const { client, server } = it.join();
    client.send("x");
    server.resetUnseen = true;
    client.send("into the void");
    it.advance(990);
    expect(it.ends).toEqual([]);
    it.advance(20);
    expect([client.fate, server.fate]).toEqual(["reset", "reset"]);
    expect(it.ends).toEqual(["destination-reset destination"]);
    it.end();
  });

  test("flow: one end whatever the order of events, and the slot comes back once", () =>
    withSeed((random) => {
      using it = new FakePlane([{ slots: 3 }]);
      for (let round = 0; round < 400; round += 1) {
        const { client, server } = it.join();
        client.send("x");
        const sockets = [client, server];
        while (sockets.some((each) => !each.gone)) {
          const socket = sockets[random.int(2)] ?? client;
          if (socket.gone || socket.fate !== "open") continue;
          const what = random.int(12);
          if (what < 3) socket.writable(random.int(5));
          else if (what === 3) socket.reset();
          else if (what === 4) socket.resetUnseen = true;
          else if (socket.paused || socket.ended) socket.writable();
          else if (what === 5) socket.fin();
          else socket.send("x".repeat(1 + random.int(9)));
        }
        expect(it.settled.length).toBe(round + 1);
        it.check();
      }
      expect(new Set(it.settled.map((pair) => pair.reason)).size).toBeGreaterThanOrEqual(3);
      it.end();
    }));
});
