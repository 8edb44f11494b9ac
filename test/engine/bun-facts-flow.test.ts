// What Bun's sockets do while bytes move: write, drain, pause, resume. Rules R6 and R7 rest on it; a
// failure here after an update of Bun means: read the rule again before trusting the engine.

import { expect, setDefaultTimeout, test } from "bun:test";
import { until } from "../wait.ts";
import { codeOf, join, SIDES, turn } from "./facts.ts";

setDefaultTimeout(30_000);

const MIB = 1024 * 1024;
const MUCH = new Uint8Array(16 * MIB);

function errorOf(body: () => unknown): string {
  try {
    body();
    return "none";
  } catch (error) {
    return codeOf(error);
  }
}

test("R6: write with an offset but no length throws, with the length or a view it is right", async () => {
  using it = await join("accepted");
  const bytes = Buffer.from("abcdef");
  expect(errorOf(() => it.bun.socket.write(bytes, 2))).toBe("ERR_OUT_OF_RANGE");
  expect(it.bun.socket.write(bytes, 2, 4)).toBe(4);
  expect(it.bun.socket.write(bytes.subarray(4))).toBe(2);
  let text = "";
  await until(() => (text += it.raw.read().toString()).length >= 6, "six bytes");
  expect(text).toBe("cdefef");
});

for (const side of SIDES) {
  test(`R7: pause, resume and end each cause a drain though nothing waits, ${side}`, async () => {
    using it = await join(side);
    await turn(); // a dialed socket's first drain
    const drainsAfter = async (act: () => void) => {
      it.bun.events.length = 0;
      act();
      await it.bun.until("drain");
      await turn();
      return it.bun.events.filter((event) => event === "drain").length;
    };
    expect(await drainsAfter(() => it.bun.socket.pause())).toBe(1);
    expect(await drainsAfter(() => it.bun.socket.resume())).toBe(1);
    expect(await drainsAfter(() => it.raw.fin())).toBe(1);
  });

  test(`write: takes what fits, then nothing until drain, -1 after shutdown, ${side}`, async () => {
    using it = await join(side);
    await turn();
    it.bun.events.length = 0;
    const first = it.bun.socket.write(MUCH);
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(MUCH.length);
    expect(it.bun.socket.write("more")).toBe(0);
    expect(it.bun.socket.write("")).toBe(0);
    await turn();
    expect(it.bun.events).toEqual([]); // nobody reads: no drain
    while (it.raw.receivedCount < first) {
      it.raw.read();
      await turn();
    }
    await it.bun.until("drain");
    expect(it.bun.socket.write("more")).toBe(4);
    it.bun.socket.shutdown();
    expect(it.bun.socket.write("more")).toBe(-1);
  });

  test(`data: comes without being asked for, each chunk a buffer of its own, ${side}`, async () => {
    const chunks: Buffer[] = [];
    using it = await join(side, { data: (_, chunk) => void chunks.push(chunk) });
    it.raw.send(Buffer.from("first"));
    await until(() => chunks.length === 1, "the first chunk");
    it.raw.send(Buffer.from("again"));
    await until(() => chunks.length === 2, "the second chunk");
    expect(chunks.map(String)).toEqual(["first", "again"]); // the first was not overwritten
  });

  test(`data: at most 512 KiB a chunk, ${side}`, async () => {
    const sizes: number[] = [];
    using it = await join(side, { data: (_, chunk) => void sizes.push(chunk.length) });
    let left = 8 * MIB;
    await until(() => {
      left -= Math.max(0, it.raw.send(MUCH.subarray(0, Math.min(left, 2 * MIB))));
      return left === 0;
    }, "8 MiB sent");
    await until(() => it.bun.receivedCount === 8 * MIB, "8 MiB received");
    expect(Math.max(...sizes)).toBeLessThanOrEqual(512 * 1024);
  });

  test(`pause: no chunk after it in the same turn, all of them after resume, ${side}`, async () => {
    let pausing = true;
    using it = await join(side, { data: (socket) => void (pausing && socket.pause()) });
    const sent = it.raw.send(MUCH.subarray(0, 4 * MIB));
    expect(sent).toBeGreaterThan(512 * 1024); // more than one chunk
    await it.bun.until("data");
    await turn();
    expect(it.bun.story.filter((event) => event === "data")).toHaveLength(1);
    pausing = false;
    it.bun.socket.resume();
    await until(() => it.bun.receivedCount === sent, "the rest");
  });

  test(`pause: works in open, ${side}`, async () => {
    using it = await join(side, { open: (socket) => socket.pause() });
    it.raw.send(Buffer.from("early"));
    await turn();
    await turn();
    expect(it.bun.seen("data")).toBe(false);
    it.bun.socket.resume();
    await it.bun.until("data");
  });

  test(`pause: a FIN stays unnoticed until resume, and no byte before it is lost, ${side}`, async () => {
    using it = await join(side);
    it.bun.socket.pause();
    const sent = it.raw.send(MUCH.subarray(0, MIB));
    it.raw.fin();
    await turn();
    await turn();
    expect(it.bun.story).toEqual(["open"]);
    it.bun.socket.resume();
    await it.bun.until("end");
    expect(it.bun.receivedCount).toBe(sent);
  });

  test(`pause: a reset is noticed at once, and data may come before it, ${side}`, async () => {
    using it = await join(side);
    it.bun.socket.pause();
    it.raw.send(Buffer.from("unread"));
    it.raw.reset();
    await it.bun.until("close");
    expect(it.bun.events.filter((event) => event !== "drain")).toEqual([
      "open",
      "data 6",
      "close ECONNRESET",
    ]);
  });

  test(`pause: data, FIN and close behind our own shutdown arrive after resume, ${side}`, async () => {
    using it = await join(side);
    it.bun.socket.pause();
    it.bun.socket.shutdown();
    const sent = it.raw.send(MUCH.subarray(0, MIB));
    it.raw.close();
    await turn();
    it.bun.socket.resume();
    await it.bun.until("close");
    expect(it.bun.receivedCount).toBe(sent);
    expect(it.bun.events.at(-1)).toBe("close");
  });
}
