// What Bun's sockets do at the end of a connection. Rules R1–R5 and R15 rest on it; a failure here after
// an update of Bun means: read the rule again before trusting the engine.

import { expect, setDefaultTimeout, test } from "bun:test";
import { rawConnect } from "../raw.ts";
import { until } from "../wait.ts";
import { join, listen, RawPeer, Recorder, SIDES, turn } from "./facts.ts";

setDefaultTimeout(30_000);

const SOME = Buffer.from("some bytes");
const MIB = 1024 * 1024;
/** More than the kernel takes from a sender whose peer does not read. */
const MUCH = new Uint8Array(16 * MIB);

/** Hooks that write MUCH, as fast as the peer reads, then half-close. */
function writesMuch() {
  let sent = 0;
  const more = (socket: Bun.Socket<unknown>) => {
    if (sent === MUCH.length) return;
    sent += Math.max(0, socket.write(MUCH.subarray(sent)));
    if (sent === MUCH.length) socket.shutdown();
  };
  return { open: more, drain: more };
}

for (const side of SIDES) {
  test(`R1: with allowHalfOpen a peer's FIN ends nothing of ours, ${side}`, async () => {
    using it = await join(side, writesMuch(), true);
    it.raw.fin();
    await it.bun.until("end");
    await it.raw.readToEnd();
    expect([it.raw.receivedCount, it.raw.fate]).toEqual([MUCH.length, "FIN"]);
  });

  test(`R1: without allowHalfOpen a peer's FIN loses what we had to send, ${side}`, async () => {
    using it = await join(side, writesMuch(), false);
    it.raw.fin();
    await it.bun.until("close");
    await it.raw.readToEnd();
    expect(it.bun.story).toEqual(["open", "end", "close"]);
    expect(it.raw.receivedCount).toBeLessThan(MUCH.length);
  });

  test(`R2: shutdown is a FIN, and reading goes on, ${side}`, async () => {
    using it = await join(side);
    it.bun.socket.shutdown();
    await it.raw.readToEnd();
    expect(it.raw.fate).toBe("FIN");
    it.raw.send(SOME);
    await it.bun.until("data");
    expect(it.bun.socket.write("x")).toBe(-1);
    expect(it.raw.send(SOME)).toBe(SOME.length);
  });

  for (const verb of ["end", "close"] as const) {
    test(`R2: ${verb} refuses what the peer still sends, ${side}`, async () => {
      using it = await join(side);
      it.bun.socket[verb]();
      expect(it.bun.events).toEqual(["open", "close"]); // inside the call
      await it.raw.readToEnd();
      expect(it.raw.fate).toBe("FIN");
      it.raw.send(SOME); // answered with RST
      expect(it.raw.send(SOME)).toBe(-1);
    });

    test(`R2: ${verb} after the peer's FIN delivers all that was written, then FIN, ${side}`, async () => {
      for (let i = 0; i < 100; i++) {
        using it = await join(side);
        it.raw.fin();
        await it.bun.until("end");
        const bytes = new Uint8Array(i % 4 === 0 ? MIB : 100); // all unread by the peer yet
        expect(it.bun.socket.write(bytes)).toBe(bytes.length);
        it.bun.socket[verb]();
        await it.raw.readToEnd();
        expect([it.raw.receivedCount, it.raw.fate]).toEqual([bytes.length, "FIN"]);
      }
    });
  }

  test(`R2: end with more than the kernel takes loses the rest in silence, ${side}`, async () => {
    using it = await join(side);
    expect(it.bun.socket.end(MUCH)).toBeLessThan(MUCH.length);
    await it.raw.readToEnd();
    expect(it.raw.fate).toBe("FIN");
    expect(it.raw.receivedCount).toBeLessThan(MUCH.length);
  });

  test(`R2: terminate is a reset, and close runs inside it, ${side}`, async () => {
    using it = await join(side);
    it.bun.socket.terminate();
    expect(it.bun.events).toEqual(["open", "close"]);
    await it.raw.readToEnd();
    expect(it.raw.fate).toBe("RST");
  });

  test(`R2: close with unread bytes is a reset, ${side}`, async () => {
    using it = await join(side);
    it.bun.socket.pause();
    it.raw.send(SOME);
    it.bun.socket.close();
    await it.raw.readToEnd();
    expect(it.raw.fate).toBe("RST");
  });

  test(`R3: after our shutdown the peer's FIN is told by close alone, ${side}`, async () => {
    using it = await join(side);
    it.bun.socket.shutdown();
    it.raw.send(SOME);
    it.raw.fin();
    await it.bun.until("close");
    expect(it.bun.events.filter((event) => event !== "drain")).toEqual([
      "open",
      `data ${SOME.length}`,
      "close",
    ]);
  });

  test(`R3: a peer's FIN and then our shutdown end in a close without error, ${side}`, async () => {
    using it = await join(side);
    it.raw.fin();
    await it.bun.until("end");
    await turn();
    expect(it.bun.story).toEqual(["open", "end"]);
    it.bun.socket.shutdown();
    await it.bun.until("close");
    expect(it.bun.story).toEqual(["open", "end", "close"]);
  });

  test(`R4: a write of -1 is a reset, whatever follows, ${side}`, async () => {
    for (let i = 0; i < 30; i++) {
      using it = await join(side);
      it.raw.reset();
      expect(it.bun.socket.readyState).toBe(1);
      expect(it.bun.socket.write("x")).toBe(-1);
      await it.bun.until("close");
      // The trap: the failed write took the error, and what follows reads like a clean end.
      expect(it.bun.story).toEqual(["open", "end", "close"]);
    }
  });

  test(`R5: a reset is a close with an error and no end, ${side}`, async () => {
    using it = await join(side);
    it.raw.reset();
    await it.bun.until("close");
    expect(it.bun.story).toEqual(["open", "close ECONNRESET"]);
  });

  test(`R5: data before a reset is delivered, ${side}`, async () => {
    using it = await join(side);
    it.raw.send(SOME);
    it.raw.reset();
    await it.bun.until("close");
    expect(it.bun.events).toEqual(["open", `data ${SOME.length}`, "close ECONNRESET"]);
  });

  test(`R5: a FIN is an end without close, and a reset after it an error, ${side}`, async () => {
    using it = await join(side);
    it.raw.fin();
    await it.bun.until("end");
    it.raw.reset();
    await it.bun.until("close");
    expect(it.bun.story).toEqual(["open", "end", "close EPIPE"]);
  });

  test(`R5: a peer that closed both ways looks half-closed until we write, ${side}`, async () => {
    using it = await join(side);
    it.raw.close();
    await it.bun.until("end");
    await turn();
    expect(it.bun.story).toEqual(["open", "end"]);
    expect(it.bun.socket.write("x")).toBe(1); // answered with RST
    await it.bun.until("close");
    expect(it.bun.story).toEqual(["open", "end", "close EPIPE"]);
  });
}

test("R15: the remote address is there in open, not in close", async () => {
  const seen: unknown[] = [];
  const note = (socket: Bun.Socket<unknown>) =>
    void seen.push(socket.remotePort === undefined ? "none" : "port");
  using it = await join("accepted", {
    open: note,
    close: (socket) => {
      note(socket);
      seen.push(socket.remoteAddress);
    },
  });
  it.raw.reset();
  await it.bun.until("close");
  expect(seen).toEqual(["port", "none", undefined]);
});

test("R15: a client that reset before the accept has no address, and opens all the same", async () => {
  const seen: unknown[] = [];
  const bun = new Recorder({ open: (socket) => void seen.push(socket.remoteAddress) });
  using listener = listen({ allowHalfOpen: true, socket: bun.handlers });
  new RawPeer(rawConnect(listener.port)).reset();
  await bun.until("close");
  expect(seen).toEqual([undefined]);
});

test("errors: a throw in data goes to the error handler, and the socket stays open", async () => {
  const errors: string[] = [];
  const bun = new Recorder();
  using listener = listen({
    allowHalfOpen: true,
    socket: {
      ...bun.handlers,
      data(socket) {
        if (errors.length > 0) socket.write("alive");
        else throw new Error("from data");
      },
      error: (_, error) => void errors.push(error.message),
    },
  });
  using raw = new RawPeer(rawConnect(listener.port));
  raw.send(SOME);
  await until(() => errors.length > 0, "the error handler");
  raw.send(SOME);
  expect(await until(() => raw.read().toString(), "an answer")).toBe("alive");
  expect(errors).toEqual(["from data"]);
  bun.socket.terminate();
});
