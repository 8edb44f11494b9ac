import { describe, expect, test } from "bun:test";
import { Flow } from "../../src/core/flow.ts";
import type { PolicyName } from "../../src/core/policy.ts";
import { seeded, withSeed, type Random } from "../wait.ts";
import { FakePlane, fakeAddresses, type FakePlan, type FakeSocket } from "./fake.ts";
import { Model } from "./model.ts";

const queueMs = 3_000;
const policies: readonly PolicyName[] = ["pull", "round-robin", "random", "hash"];

/** One random schedule against the model. */
class Schedule {
  readonly real: FakePlane;
  readonly model: Model;
  private readonly random: Random;
  private readonly clients = new Set<FakeSocket>();
  private readonly servers = new Set<FakeSocket>();
  private seenCount = 0;
  /** Steps done so far, oldest first. */
  readonly steps: string[] = [];

  constructor(random: Random) {
    this.random = random;
    const count = 1 + random.int(4);
    const plans = Array.from({ length: count }, (_, row): FakePlan => {
      const slots = random.int(8) === 0 ? 0 : 1 + random.int(3);
      const backup = row > 0 && random.int(5) === 0;
      return { slots, backup, weight: 1 + random.int(3), addresses: fakeAddresses(`d${row}`) };
    });
    const queueCountMax = random.int(12);
    const limits = { queueCountMax, queueMs, connectMs: 700, flushCount: random.int(4) };
    this.real = new FakePlane(plans, limits, policies[random.int(4)] ?? "pull");
    this.model = new Model(this.real, limits);
  }

  step(): void {
    const { random, real } = this;
    const what = random.int(100);
    if (what < 16) this.accept(1 + (what % 2) * random.int(4));
    else if (what < 42) this.onServer((server) => this.connect(server), false);
    else if (what < 45) this.onServer((server) => this.fail(server), false);
    else if (what < 49) this.onClient((client) => this.say("reset", client, () => client.reset()));
    else if (what < 57) this.onClient((client) => this.fin(client));
    else if (what < 73) this.onServer((server) => this.serverFin(server), true);
    else if (what < 76)
      this.onServer((server) => this.say("reset", server, () => server.crash()), true);
    else if (what < 81) this.onServer((server) => server.ended || server.send("answer"), true);
    else if (what < 86) this.onClient((client) => client.ended || client.send("question"));
    else if (what < 88) this.breakOrMend();
    else real.advance(random.int(what > 97 ? 2_500 : 300));
    real.plane.first.batch.flush(); // as the end of this turn would
    this.gather();
    this.model.check();
  }

  /** Everything leaves, and nothing may be held. */
  end(): void {
    for (const client of this.clients) if (!client.gone) client.reset();
    this.model.check();
    this.real.end();
    expect([...this.model.used.values()].every((used) => used === 0)).toBe(true);
    expect(this.model.clients.size).toBe(0);
  }

  private accept(count: number): void {
    for (let n = 0; n < count; n += 1) {
      this.model.accept();
      const client = this.real.accept();
      this.note("accept", client);
      this.clients.add(client);
      this.gather();
    }
  }

  private connect(server: FakeSocket): void {
    this.model.connected(orderOf(server));
    this.say("connect", server, () => server.connect());
  }

  private fail(server: FakeSocket): void {
    this.model.failed(orderOf(server));
    this.say("fail", server, () => server.fail());
  }

  private fin(client: FakeSocket): void {
    if (!client.ended) this.say("fin", client, () => client.fin());
  }

  private serverFin(server: FakeSocket): void {
    if (server.ended) return;
    this.model.destinationEnded(orderOf(server));
    this.say("fin", server, () => server.fin());
  }

  /** A destination fails from inside the dial from now on, or does so no more. */
  private breakOrMend(): void {
    const { addresses } = this.real;
    for (const address of addresses[this.random.int(addresses.length)] ?? []) {
      address.fault = address.fault === null ? "ECONNREFUSED" : null;
    }
  }

  private onClient(act: (client: FakeSocket) => void): void {
    const client = this.one(this.clients, (each) => !each.paused);
    if (client !== undefined) act(client);
  }

  private onServer(act: (server: FakeSocket) => void, connected: boolean): void {
    const server = this.one(this.servers, (each) => each.events?.connected === connected);
    if (server !== undefined) act(server);
  }

  private one(all: Set<FakeSocket>, fits: (each: FakeSocket) => boolean): FakeSocket | undefined {
    for (const each of all) if (each.gone) all.delete(each);
    const some = [...all].filter(fits);
    return some[this.random.int(some.length)];
  }

  /** Sockets that were dialed since the last time. */
  private gather(): void {
    const { dials } = this.real.engine;
    for (; this.seenCount < dials.length; this.seenCount += 1) {
      this.servers.add(this.real.dial(this.seenCount));
    }
  }

  private say(what: string, socket: FakeSocket, act: () => void): void {
    this.note(what, socket);
    act();
  }

  private note(what: string, socket: FakeSocket): void {
    this.steps.push(`${what} ${socket.name}`);
  }
}

function orderOf(server: FakeSocket): number {
  if (!(server.events instanceof Flow)) throw new Error("the core dials with flows");
  return server.events.pair.order;
}

describe("model", () => {
  const scheduleCount = 100;
  const stepCount = 2_500;

  test(
    "model: random schedules keep every promise of the queue and the slots",
    () =>
      withSeed((random) => {
        let granted = 0;
        const reasons = new Set<string | null>();
        for (let n = 0; n < scheduleCount; n += 1) {
          const own = seeded(random.int(2 ** 31));
          const schedule = new Schedule(own);
          using real = schedule.real;
          try {
            for (let step = 0; step < stepCount; step += 1) schedule.step();
            schedule.end();
          } catch (error) {
            console.error(
              `schedule ${n}, the last steps:\n${schedule.steps.slice(-30).join("\n")}`,
            );
            throw error;
          }
          granted += schedule.model.grantedCount;
          for (const pair of real.settled) reasons.add(pair.reason);
        }
        expect(granted).toBeGreaterThan(scheduleCount * 100);
        expect([...reasons].toSorted()).toEqual([
          "client-left",
          "client-reset",
          "destination-reset",
          "done",
          "queue-full",
          "queue-timeout",
        ]);
      }),
    60_000,
  );
});
