// Who is connected from where: limits per client, rates, whom the table forgets, and what it gives back of the dead.
import { expect, test } from "bun:test";
import { readClient } from "../../src/core/client.ts";
import {
  ClientTable,
  refusedByCount,
  refusedByRate,
  type ClientLimits,
} from "../../src/core/clients.ts";
import { withSeed } from "../wait.ts";
import { ClientsRecord, limitOf, size as stressSize, type ClientsJob } from "./clients-stress.ts";

const unlimited: ClientLimits = { countMax: 0, ratePerSecond: 0, prefix6: 64 };
const words = new Int32Array(4);

function table(limits: Partial<ClientLimits>, clientCountMax = 8): ClientTable {
  return new ClientTable({ clientCountMax, threadCount: 2 }, { ...unlimited, ...limits }, 0);
}

/** Threads 0 and 1, and who reclaims. */
function threads(limits: Partial<ClientLimits>, clientCountMax = 8) {
  const size = { clientCountMax, threadCount: 2 };
  const all = { ...unlimited, ...limits };
  const first = new ClientTable(size, all, 0);
  const second = new ClientTable(size, all, 1, first.buffer);
  const observer = new ClientTable(size, all, 2, first.buffer);
  return [first, second, observer] as const;
}

function enter(clients: ClientTable, host: string, nowMs = 0): number {
  const family = readClient(host.includes(":") ? `[${host}]:1` : `${host}:1`, words);
  if (family === 0) throw new Error(`no address: ${host}`);
  return clients.enter(family, words, nowMs);
}

/** How many of so many attempts at one time are admitted; none of them leaves. */
function admitted(clients: ClientTable, host: string, count: number, nowMs = 0): number {
  const results = Array.from({ length: count }, () => enter(clients, host, nowMs));
  return results.filter((entry) => entry >= 0).length;
}

/** A clock whose reading ends the thread: `enter` dies with the lock held. */
const deadly = {
  valueOf() {
    throw new Error("died inside");
  },
} as unknown as number; // only for what it does when it is calculated with

test("clients: one has as many connections as it may have, whoever else has", () => {
  const clients = table({ countMax: 2 });
  const first = enter(clients, "10.0.0.1");
  expect(first).toBeGreaterThanOrEqual(0);
  expect(enter(clients, "10.0.0.1")).toBe(first);
  expect(enter(clients, "10.0.0.1")).toBe(refusedByCount);
  expect(enter(clients, "10.0.0.2")).toBeGreaterThanOrEqual(0);
  expect(clients.count).toBe(2);
  clients.leave(first);
  expect(enter(clients, "10.0.0.1")).toBe(first);
});

test("clients: the limit holds over all threads", () => {
  const [first, second] = threads({ countMax: 2 });
  const entry = enter(first, "10.0.0.1");
  enter(second, "10.0.0.1");
  expect([enter(first, "10.0.0.1"), enter(second, "10.0.0.1")]).toEqual([-1, -1]);
  first.leave(entry);
  expect(enter(second, "10.0.0.1")).toBe(entry);
});

test("clients: addresses of one prefix are one client of IPv6, and each its own of IPv4", () => {
  const clients = table({ countMax: 1 });
  enter(clients, "2001:db8::1");
  expect(enter(clients, "2001:db8::ffff:1")).toBe(refusedByCount);
  expect(enter(clients, "2001:db8:0:1::1")).toBeGreaterThanOrEqual(0);
  enter(clients, "10.0.0.1");
  expect(enter(clients, "::ffff:10.0.0.1")).toBe(refusedByCount);
  expect(enter(clients, "10.0.0.0")).toBeGreaterThanOrEqual(0);
});

test.each([
  [128, "2001:db8::1", "2001:db8::2"],
  [127, "2001:db8::1", "2001:db8::2"],
  [33, "2001:db8::", "2001:db8:8000::"],
  [1, "::1", "8000::"],
])("clients: a prefix of %d bits tells %s from %s", (prefix6, host, other) => {
  const clients = table({ countMax: 1, prefix6 });
  enter(clients, host);
  expect(enter(clients, host)).toBe(refusedByCount);
  expect(enter(clients, other)).toBeGreaterThanOrEqual(0);
});

test("clients: all of IPv6 is one client with a prefix of 0 bits, and no client of IPv4", () => {
  const clients = table({ countMax: 1, prefix6: 0 });
  enter(clients, "::1");
  expect(enter(clients, "ffff::")).toBe(refusedByCount);
  expect(enter(clients, "10.0.0.1")).toBeGreaterThanOrEqual(0);
});

test("clients: one second's worth may come at once, then each when its token is back", () => {
  const clients = table({ ratePerSecond: 4 });
  expect(admitted(clients, "10.0.0.1", 9)).toBe(4);
  expect(admitted(clients, "10.0.0.2", 9)).toBe(4);
  expect(admitted(clients, "10.0.0.1", 9, 249)).toBe(0);
  expect(enter(clients, "10.0.0.1", 249)).toBe(refusedByRate);
  expect(admitted(clients, "10.0.0.1", 9, 250)).toBe(1);
  expect(admitted(clients, "10.0.0.1", 9, 1_000)).toBe(3);
  expect(admitted(clients, "10.0.0.1", 9, 9_000)).toBe(4);
});

test.each([0.1, 0.5, 1, 1.5, 3, 7, 30, 300, 1_000])(
  "clients: a rate of %d is kept at any hour, refused attempts included",
  (ratePerSecond) => {
    const clients = table({ ratePerSecond });
    const startMs = 1e9 / 7;
    const burst = Math.floor(Math.max(1, ratePerSecond));
    expect(admitted(clients, "10.0.0.1", burst + 5, startMs)).toBe(burst);
    let count = 0;
    for (let n = 1; n <= 8_000; n += 1) count += admitted(clients, "10.0.0.1", 7, startMs + 5 * n);
    expect(Math.abs(count - 40 * ratePerSecond)).toBeLessThanOrEqual(1);
  },
);

test("clients: a count that is refused takes no token", () => {
  const clients = table({ countMax: 1, ratePerSecond: 2 });
  const entry = enter(clients, "10.0.0.1");
  expect(enter(clients, "10.0.0.1")).toBe(refusedByCount);
  clients.leave(entry);
  expect(enter(clients, "10.0.0.1")).toBe(entry);
  clients.leave(entry);
  expect(enter(clients, "10.0.0.1")).toBe(refusedByRate);
});

test("clients: a clock a little behind gives nothing away, one that was set back locks nobody out", () => {
  const clients = table({ ratePerSecond: 1 });
  expect(admitted(clients, "10.0.0.1", 1, 50_000)).toBe(1);
  expect(admitted(clients, "10.0.0.1", 5, 49_990)).toBe(0);
  expect(admitted(clients, "10.0.0.1", 5, 50_999)).toBe(0);
  expect(admitted(clients, "10.0.0.1", 5, 51_000)).toBe(1);
  expect(admitted(clients, "10.0.0.1", 5, 1_000)).toBe(0);
  expect(admitted(clients, "10.0.0.1", 5, 1_999)).toBe(0);
  expect(admitted(clients, "10.0.0.1", 5, 2_001)).toBe(1);
});

test("clients: who left first is forgotten first, when the table is full", () => {
  const clients = table({ ratePerSecond: 1 }, 3);
  for (const host of ["10.0.0.1", "10.0.0.2", "10.0.0.3"]) clients.leave(enter(clients, host));
  expect(clients.knownCount).toBe(3);
  enter(clients, "10.0.0.4"); // instead of 1
  expect([clients.knownCount, clients.count]).toEqual([3, 1]);
  expect(enter(clients, "10.0.0.2")).toBe(refusedByRate); // knocks: 3 is the oldest now
  expect(enter(clients, "10.0.0.1")).toBeGreaterThanOrEqual(0); // instead of 3
  expect(enter(clients, "10.0.0.2")).toBe(refusedByRate);
  expect(enter(clients, "10.0.0.3")).toBeGreaterThanOrEqual(0); // instead of 2
});

test("clients: nobody is admitted whom the table has no place for, and nobody inside is forgotten", () => {
  const clients = table({ countMax: 2 }, 2);
  const first = enter(clients, "10.0.0.1");
  enter(clients, "10.0.0.2");
  expect(enter(clients, "10.0.0.3")).toBe(refusedByCount);
  expect(enter(clients, "10.0.0.1")).toBe(first);
  clients.leave(first);
  expect(enter(clients, "10.0.0.3")).toBe(refusedByCount);
  clients.leave(first);
  expect(enter(clients, "10.0.0.3")).toBe(first);
});

test("clients: to leave twice is a fault of ours", () => {
  const [first, second] = threads({ countMax: 1 });
  const entry = enter(first, "10.0.0.1");
  expect(() => second.leave(entry)).toThrow("clients: left without having entered");
  first.leave(entry);
  expect(() => first.leave(entry)).toThrow("clients: left without having entered");
});

test("clients: who serves no clients admits none", () => {
  const [, , observer] = threads({});
  expect(() => enter(observer, "10.0.0.1")).toThrow("clients: a thread that serves no clients");
});

/** What the table does, without its columns: a client is a name here, and tokens are ms, whole numbers all. */
class Model {
  /** By host, who was idle first in front; only `open` keeps one from being forgotten. */
  readonly known = new Map<string, { open: number; creditMs: number; atMs: number }>();
  private readonly capacity: number;
  private readonly countMax: number;
  private readonly ratePerSecond: number;

  constructor(capacity: number, countMax: number, ratePerSecond: number) {
    this.capacity = capacity;
    this.countMax = countMax;
    this.ratePerSecond = ratePerSecond;
  }

  enter(host: string, nowMs: number): number {
    const tokenMs = this.ratePerSecond === 0 ? 0 : 1_000 / this.ratePerSecond;
    let client = this.known.get(host);
    if (client === undefined) {
      if (this.known.size === this.capacity) {
        const oldest = [...this.known].find(([, { open }]) => open === 0)?.[0];
        if (oldest === undefined) return refusedByCount;
        this.known.delete(oldest);
      }
      client = { open: 0, creditMs: 1_000, atMs: nowMs };
    }
    if (this.countMax > 0 && client.open >= this.countMax) return refusedByCount;
    this.touch(host, client);
    client.creditMs = Math.min(1_000, client.creditMs + nowMs - client.atMs);
    client.atMs = nowMs;
    if (client.creditMs < tokenMs) return refusedByRate;
    client.creditMs -= tokenMs;
    client.open += 1;
    return 0;
  }

  leave(host: string): void {
    const client = this.known.get(host);
    if (client === undefined) throw new Error(`not known: ${host}`);
    client.open -= 1;
    this.touch(host, client);
  }

  private touch(host: string, client: { open: number; creditMs: number; atMs: number }): void {
    this.known.delete(host);
    this.known.set(host, client);
  }

  get count(): number {
    return [...this.known.values()].filter(({ open }) => open > 0).length;
  }
}

test("clients: random arrivals in two threads go as in a simple model, and a dead thread's are given back", () =>
  withSeed(({ int }) => {
    const seen = new Map<number, number>();
    for (let round = 0; round < 60; round += 1) {
      const capacity = 1 + int(12);
      const countMax = int(4);
      const ratePerSecond = [0, 1, 2, 4, 8, 20][int(6)] ?? 0;
      const model = new Model(capacity, countMax, ratePerSecond);
      const [first, second, observer] = threads({ countMax, ratePerSecond }, capacity);
      const inside: { thread: number; host: string; entry: number }[] = [];
      let nowMs = int(1_000_000);
      for (let step = 0; step < 300; step += 1) {
        nowMs += int(3) === 0 ? int(300) : 0;
        const thread = int(2);
        const clients = thread === 0 ? first : second;
        if (int(5) < 2 && inside.length > 0) {
          const [gone] = inside.splice(int(inside.length), 1);
          if (gone === undefined) continue;
          (gone.thread === 0 ? first : second).leave(gone.entry);
          model.leave(gone.host);
        } else {
          const host = int(2) === 0 ? `10.0.0.${int(16)}` : `2001:db8:0:${int(16)}::${int(9)}`;
          const entry = enter(clients, host, nowMs);
          const client = host.replace(/::.*/, "");
          const expected = model.enter(client, nowMs);
          expect(Math.min(entry, 0)).toBe(expected);
          seen.set(expected, (seen.get(expected) ?? 0) + 1);
          if (entry >= 0) inside.push({ thread, host: client, entry });
        }
        expect(first.count).toBe(model.count);
        expect(first.knownCount).toBeLessThanOrEqual(capacity);
      }
      const ofFirst = inside.filter(({ thread }) => thread === 0).length;
      expect([observer.reclaim(0), observer.reclaim(1)]).toEqual([
        ofFirst,
        inside.length - ofFirst,
      ]);
      expect(observer.count).toBe(0);
    }
    for (const result of [0, refusedByCount, refusedByRate]) {
      expect(seen.get(result) ?? 0).toBeGreaterThan(100);
    }
  }));

test("clients: a dead thread's connections are given back, another's stay", () => {
  const [first, second, observer] = threads({ countMax: 2 });
  enter(first, "10.0.0.1");
  enter(first, "10.0.0.2");
  enter(first, "10.0.0.2");
  const kept = enter(second, "10.0.0.1");
  expect(observer.reclaim(0)).toBe(3);
  expect([observer.count, observer.reclaim(0)]).toEqual([1, 0]);
  expect(admitted(second, "10.0.0.1", 3)).toBe(1);
  expect(admitted(second, "10.0.0.2", 3)).toBe(2);
  second.leave(kept);
});

test("clients: a thread that dies inside stops nobody for long, and is put right when it is reclaimed", () => {
  const [first, second, observer] = threads({ countMax: 2, ratePerSecond: 100 }, 4);
  const entry = enter(second, "10.0.0.1");
  enter(first, "10.0.0.1");
  second.leave(enter(second, "10.0.0.2"));
  expect(() => enter(first, "10.0.0.3", deadly)).toThrow("died inside");
  const start = performance.now();
  for (let n = 0; n < 20; n += 1) expect(enter(second, "10.0.0.4")).toBe(refusedByCount);
  expect(performance.now() - start).toBeLessThan(1_500);
  second.leave(entry); // later
  expect(observer.reclaim(1)).toBe(-1);
  expect(observer.reclaim(0)).toBe(1);
  expect(observer.count).toBe(1);
  expect(admitted(second, "10.0.0.1", 3)).toBe(2); // the one that left meanwhile was let go first
  for (const host of ["10.0.0.5", "10.0.0.6", "10.0.0.7"]) {
    expect(admitted(second, host, 3)).toBe(2);
  }
  expect([observer.count, observer.knownCount]).toEqual([4, 4]);
  expect(enter(second, "10.0.0.8")).toBe(refusedByCount);
  expect([observer.reclaim(1), observer.count]).toEqual([8, 0]);
});

interface StressRun {
  readonly record: ClientsRecord;
  readonly observer: ClientTable;
  readonly faults: readonly string[];
}

/** Runs the stress; the threads of `endless` run until they are ended by force, and are reclaimed. */
async function stress(seed: number, endless: readonly number[]): Promise<StressRun> {
  const { threadCount } = stressSize;
  const observer = new ClientTable(stressSize, limitOf, threadCount);
  const record = new ClientsRecord();
  const jobs = Array.from({ length: threadCount }, (_, thread): ClientsJob => {
    const shared = { table: observer.buffer, record: record.buffer };
    return { ...shared, thread, seed: seed + thread, isEndless: endless.includes(thread) };
  });
  const workers = jobs.map(() => new Worker(new URL("./clients-stress.ts", import.meta.url).href));
  const messages = workers.map(
    (worker, thread) =>
      new Promise<string>((done) => {
        worker.addEventListener("message", ({ data }: MessageEvent<string>) => done(data));
        worker.addEventListener("error", ({ message }) => done(message));
        worker.postMessage(jobs[thread], []);
      }),
  );
  const faults = await Promise.all(messages.filter((_, thread) => !endless.includes(thread)));
  const ended = workers.map(
    (worker) => new Promise((done) => worker.addEventListener("close", done)),
  );
  for (const worker of workers) worker.terminate();
  await Promise.all(ended);
  return { record, observer, faults };
}

test("clients: no client exceeds its limit over 4 threads, and all counts return to 0", () =>
  withSeed(async ({ seed }) => {
    const { record, observer, faults } = await stress(seed, []);
    expect(faults).toEqual(["", "", "", ""]);
    expect(record.most()).toBe(limitOf.countMax);
    expect(record.refusedCount).toBeGreaterThan(100);
    expect([...record.active]).toEqual([...record.active].map(() => 0));
    expect(observer.count).toBe(0);
    expect(observer.knownCount).toBe(observer.capacity);
    expect([0, 1, 2, 3].map((thread) => observer.reclaim(thread))).toEqual([0, 0, 0, 0]);
  }));

test("clients: a thread that was ended at work is given back, and the table is whole", () =>
  withSeed(async ({ seed, int }) => {
    const dead = int(4);
    const { observer, faults } = await stress(seed, [dead]);
    expect(faults).toEqual(["", "", ""]);
    expect(observer.reclaim(dead)).toBeGreaterThanOrEqual(0);
    expect(observer.count).toBe(0);
    const clients = new ClientTable(stressSize, limitOf, dead, observer.buffer);
    const { capacity } = clients;
    const hosts = Array.from({ length: capacity }, (_, n) => `10.9.${n >> 8}.${n & 255}`);
    expect(new Set(hosts.map((host) => enter(clients, host))).size).toBe(capacity);
    expect(enter(clients, "10.8.0.1")).toBe(refusedByCount);
    expect(hosts.map((host) => admitted(clients, host, 3))).toEqual(hosts.map(() => 2));
    expect(observer.reclaim(dead)).toBe(limitOf.countMax * capacity);
  }));
