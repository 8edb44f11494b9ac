// The stream of events: nothing is lost to who comes back, nobody who is slow holds anything up, samples once a second.

import { describe, expect, test } from "bun:test";
import { changeCountMax, subscriberCountMax, unreadBytesMax } from "../../src/admin/events.ts";
import type { Sample } from "../../src/admin/sample.ts";
import { client, until } from "../net.ts";
import type { Mode } from "../../src/control/steering.ts";
import { recordedScene, scene, type Scene } from "./steered.ts";

const change = (it: Scene, mode: Mode): void =>
  it.program.setMode({ listener: "", destination: "a" }, mode);

interface Told {
  readonly id: string;
  readonly event: string;
  readonly data: unknown;
}

interface Stream extends AsyncDisposable {
  readonly told: Told[];
  text: string;
  ended: boolean;
}

/** Reads a stream as an EventSource would. */
async function listen(it: Scene, path = "/events?samples=0", lastId = ""): Promise<Stream> {
  const headers = lastId === "" ? {} : { "last-event-id": lastId };
  const answer = await it.ask("GET", path, { headers });
  expect(answer.headers.get("content-type")).toBe("text/event-stream");
  const reader = (answer.body ?? new ReadableStream<Uint8Array>()).getReader();
  const stream: Stream = {
    told: [],
    text: "",
    ended: false,
    [Symbol.asyncDispose]: () => reader.cancel(),
  };
  let rest = "";
  const read = async (): Promise<void> => {
    const decoder = new TextDecoder();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      const more = decoder.decode(chunk.value, { stream: true });
      stream.text += more;
      const blocks = (rest + more).split("\n\n");
      rest = blocks.pop() ?? "";
      stream.told.push(...blocks.filter((each) => each.includes("data: ")).map(parse));
    }
    stream.ended = true;
  };
  void read().catch(() => (stream.ended = true));
  return stream;
}

function parse(block: string): Told {
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, "m").exec(block)?.[1] ?? "";
  return { id: field("id"), event: field("event"), data: JSON.parse(field("data")) };
}

function messages({ told }: Stream): unknown[] {
  return told.map(({ data }) => (data as { message?: string }).message); // a change has one
}

describe("admin events", () => {
  test("events: a change is told to all who listen, and first what came before them", async () => {
    await using it = await scene();
    change(it, "maintenance");
    await using one = await listen(it);
    await using other = await listen(it);
    await it.ask("POST", "/destinations/a/drain");
    await until(() => one.told.length === 2 && other.told.length === 2, "two changes each");
    expect(messages(one)).toEqual(["destination a: maintenance", "destination a: drain"]);
    expect(other.told).toEqual(one.told);
    expect(one.text).toStartWith("retry: 2000\n\n");
    expect(one.told[1]).toMatchObject({
      event: "change",
      data: { kind: "mode", destination: "a" },
    });
  });

  test("events: who comes back goes on after the last event seen", async () => {
    await using it = await scene();
    for (const mode of ["drain", "maintenance", "ready"] as const) change(it, mode);
    await using first = await listen(it);
    await until(() => first.told.length === 3, "three changes");
    await using second = await listen(it, "/events?samples=0", first.told[1]?.id);
    await until(() => second.told.length === 1, "the third change");
    expect(messages(second)).toEqual(["destination a: ready"]);
    await using restarted = await listen(it, "/events?samples=0", "another-17");
    await until(() => restarted.told.length === 3, "all changes of this process");
  });

  test("events: what is no longer kept is told as a gap of so many", async () => {
    await using it = await scene();
    change(it, "drain");
    await using first = await listen(it);
    await until(() => first.told.length === 1, "a change");
    for (let n = 0; n < changeCountMax + 7; n += 1) change(it, n === 7 ? "maintenance" : "ready");
    await using later = await listen(it, "/events?samples=0", first.told[0]?.id);
    await until(() => later.told.length === changeCountMax + 1, "the gap and what is kept");
    expect(later.told[0]).toMatchObject({ event: "gap", data: { lost: 7 } });
    expect(messages(later).slice(1, 3)).toEqual([
      "destination a: maintenance",
      "destination a: ready",
    ]);
  });

  test("events: there is room for so many readers, and again when one leaves", async () => {
    await using it = await scene();
    const streams = await Promise.all(Array.from({ length: subscriberCountMax }, () => listen(it)));
    const refused = await it.ask("GET", "/events");
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
    expect(await refused.json()).toMatchObject({ error: { code: "too-many" } });
    await streams[0]?.[Symbol.asyncDispose]();
    const again = async () => {
      const answer = await it.ask("GET", "/events?samples=0");
      await answer.body?.cancel();
      return answer.status === 200;
    };
    await until(again, "room for another reader");
    for (const stream of streams) await stream[Symbol.asyncDispose]();
  });

  test("events: a reader that does not read is cut at its limit, the others get everything", async () => {
    await using it = await recordedScene();
    await using quick = await listen(it);
    using slow = await client(it.admin.addresses[1] ?? "", { paused: true });
    slow.send("GET /events?samples=0 HTTP/1.1\r\nHost: localhost\r\n\r\n");
    const message = "x".repeat(64 * 1024);
    let count = 0;
    // What the kernel takes for the slow one is not ours to count: several MiB on either side.
    while (count * message.length < 24 * unreadBytesMax) {
      for (let n = 0; n < 4; n += 1) it.steering.emit({ message: `${++count} ${message}` });
      await until(() => quick.told.length === count, "every change at the quick reader");
    }
    slow.resume();
    await until(() => slow.over, "the slow reader's end");
    expect(slow.receivedCount).toBeLessThan(count * message.length);
    expect(quick.ended).toBe(false);
  });

  test("events: the end of the admin side ends its streams and its subscription", async () => {
    const it = await recordedScene();
    const stream = await listen(it);
    expect(it.steering.receiverCount).toBe(1);
    await it[Symbol.asyncDispose]();
    await until(() => stream.ended, "the stream's end");
    expect(it.steering.receiverCount).toBe(0);
  });

  test("events: a sample each second says what that second brought", async () => {
    await using it = await scene();
    await using stream = await listen(it, "/events");
    await until(() => stream.told.length > 0, "a sample"); // the next ones tell how long each of them lasted
    const totals = { accepted: 0, closed: 0, connections: 0, bytes: 0 };
    for (let n = 0; n < 3; n += 1) {
      using peer = await client(it.port);
      peer.send("12345");
      await until(() => peer.receivedCount === 5, "an echo");
      peer.finish();
      await until(() => peer.ended, "the end");
    }
    await until(() => it.status().closed.done === 3, "three ends");
    const endedAt = Date.now();
    const isAfter = ({ data }: Told) => (data as Sample).at > endedAt; // by its kind
    await until(() => stream.told.findLast(isAfter), "a sample of the last end");
    let before = Number.NaN;
    for (const { event, data } of stream.told) {
      expect(event).toBe("sample");
      const { at, listeners } = data as Sample; // by its kind
      const [main] = listeners;
      if (main === undefined) throw new Error("no listener in a sample");
      expect(main.destinations.name).toEqual(["a", "b/2"]);
      const seconds = (at - before) / 1_000;
      before = at;
      if (Number.isNaN(seconds)) continue; // nothing had come yet
      expect(seconds).toBeGreaterThan(0.5);
      totals.accepted += seconds * main.accepted;
      totals.closed += seconds * main.closed;
      const perSecond = main.destinations.connectionsPerSecond.reduce((a, b) => a + b, 0);
      totals.connections += seconds * perSecond;
      totals.bytes += seconds * (main.bytesUpPerSecond + main.bytesDownPerSecond);
    }
    expect(totals.accepted).toBeCloseTo(3, 0);
    expect(totals.closed).toBeCloseTo(3, 0);
    expect(totals.connections).toBeCloseTo(3, 0);
    expect(totals.bytes).toBeWithin(25, 35); // 5 bytes each way, three times
    const samples = (await (await it.ask("GET", "/samples")).json()) as Sample[]; // the schema's test says so
    expect(samples.slice(0, 2).map(({ at }) => at)).toEqual(
      stream.told.slice(0, 2).map(({ data }) => (data as Sample).at),
    );
  });
});
