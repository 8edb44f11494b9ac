// A model of the balancer that a child could check: an array for the queue, a number for the slots in use. It is told
// what the test does and what the real one does, and says where they part.
import type { SocketEvents } from "../../src/core/engine.ts";
import { Flow } from "../../src/core/flow.ts";
import type { Limits } from "../../src/core/limits.ts";
import type { Pair } from "../../src/core/pair.ts";
import type { FakeAddress, FakePlane } from "./fake.ts";

/** A client as the model sees it. */
interface Client {
  readonly order: number;
  readonly acceptedAt: number;
  at: "queue" | "dialing" | "joined" | "gone";
  /** Name of the destination whose slot it holds; "" = none. */
  slotOf: string;
  dialedAt: number;
  /** When its dial failed last; −1 = never. */
  returnedAt: number;
}

type ModelLimits = Pick<Limits, "queueCountMax" | "queueMs" | "connectMs">;

function promise(kept: boolean, what: string): void {
  if (!kept) throw new Error(what);
}

export class Model {
  readonly clients = new Map<number, Client>();
  readonly used = new Map<string, number>();
  acceptedCount = 0;
  goneCount = 0;
  /** Slots given out so far, so that a test sees that something happened. */
  grantedCount = 0;
  private readonly real: FakePlane;
  private readonly limits: ModelLimits;

  constructor(real: FakePlane, limits: ModelLimits) {
    this.real = real;
    this.limits = limits;
    for (const { name } of real.destinations.list) this.used.set(name, 0);
    real.engine.onDial = (address, events) => this.onDial(address, events);
    real.engine.onAbort = (events) => this.onAbort(events);
    real.onSettled = (pair) => this.onSettled(pair);
  }

  /** Those that wait, oldest first. */
  get queue(): Client[] {
    return [...this.clients.values()]
      .filter((each) => each.at === "queue")
      .toSorted((a, b) => a.order - b.order);
  }

  /** Must be told before the real one accepts. */
  accept(): void {
    this.acceptedCount += 1;
    const order = this.acceptedCount;
    const acceptedAt = this.real.clock.ms;
    const fresh = { at: "queue", slotOf: "", dialedAt: -1, returnedAt: -1 } as const;
    this.clients.set(order, { order, acceptedAt, ...fresh });
  }

  connected(order: number): void {
    const client = this.client(order);
    promise(client.at === "dialing", "joined without a dial");
    client.at = "joined";
  }

  /** A dial fails: the client holds the slot no more and waits again. Told before the real one. */
  failed(order: number): void {
    const client = this.client(order);
    promise(client.at === "dialing", "failed without a dial");
    this.free(client);
    client.at = "queue";
    client.returnedAt = this.real.clock.ms;
  }

  /** The destination of a joined client has ended: its slot is free. Told before the real one. */
  destinationEnded(order: number): void {
    this.free(this.client(order));
  }

  /** What must hold between two steps, after the flush of this turn. */
  check(): void {
    const { real, queue } = this;
    const { board, destinations, plane } = real;
    real.check();
    promise(plane.numbers.get("accepted") === this.acceptedCount, "accepted");
    promise(plane.numbers.get("open") === this.acceptedCount - this.goneCount, "open");
    promise(
      plane.numbers.get("queued") === queue.length,
      `queued ${plane.numbers.get("queued")} is not ${queue.length}`,
    );
    promise(plane.first.batch.count === queue.length, "the batch holds who waits");
    for (const { row, name } of destinations.list) {
      promise(board.used[row] === this.used.get(name), `used of ${name}`);
      const slots = board.slots[row] ?? 0;
      promise(slots === 0 || (board.used[row] ?? 0) <= slots, `more than the slots of ${name}`);
    }
    if (queue.length > 0)
      promise(this.idle() === "", `${this.idle()} is idle while a client waits`);
    const arrivedCount = queue.filter((each) => each.returnedAt < 0).length;
    promise(arrivedCount <= this.limits.queueCountMax, "more wait than may");
    for (const { acceptedAt, returnedAt } of queue) {
      const dueAt = Math.max(acceptedAt + this.limits.queueMs, returnedAt);
      promise(real.clock.ms <= dueAt + 30, "waits longer than it may");
    }
  }

  /** A destination that could take a client; "" = none. */
  private idle(): string {
    const { board, destinations } = this.real;
    const stateOf = (row: number) => board.state[row] ?? 0;
    const primaryIsUp = destinations.list.some((each) => !each.backup && stateOf(each.row) < 2);
    const found = destinations.list.find(({ row, backup }) => {
      const slots = board.slots[row] ?? 0;
      const free = slots === 0 || (board.used[row] ?? 0) < slots;
      const isUp = stateOf(row) === 0 || stateOf(row) === 3;
      return free && isUp && !(backup && primaryIsUp);
    });
    return found?.name ?? "";
  }

  /** The real one dials: whoever waits longest must be the one. */
  private onDial(address: FakeAddress, events: SocketEvents): void {
    if (!(events instanceof Flow)) throw new Error("the core dials with flows");
    const client = this.client(events.pair.order);
    promise(client.at === "queue", `${client.order} is dialed though it is ${client.at}`);
    const oldest = this.queue[0]?.order;
    promise(client.order === oldest, `${client.order} overtakes ${oldest}`);
    if (address.fault !== null) {
      client.returnedAt = this.real.clock.ms; // fails from inside, and waits again
      return;
    }
    client.at = "dialing";
    client.dialedAt = this.real.clock.ms;
    client.slotOf = address.name;
    this.used.set(address.name, (this.used.get(address.name) ?? 0) + 1);
    this.grantedCount += 1;
  }

  /** A dial that the real one gives up, though its client is still there, has taken too long. */
  private onAbort(events: SocketEvents): void {
    if (!(events instanceof Flow)) throw new Error("the core dials with flows");
    const { pair } = events;
    if (pair.settled || events.connected) return;
    const { dialedAt } = this.client(pair.order);
    const tookMs = this.real.clock.ms - dialedAt;
    promise(tookMs >= this.limits.connectMs, `a dial given up after ${tookMs} ms`);
    this.failed(pair.order);
  }

  private onSettled(pair: Pair): void {
    const client = this.client(pair.order);
    promise(client.at !== "gone", `${client.order} ends twice`);
    if (pair.reason === "queue-full") this.checkRefused(client);
    if (pair.reason === "queue-timeout") {
      promise(client.at === "queue", "times out though it does not wait");
      promise(this.real.clock.ms >= client.acceptedAt + this.limits.queueMs, "times out early");
    }
    this.free(client);
    client.at = "gone";
    this.clients.delete(client.order);
    this.goneCount += 1;
  }

  /** Only who has just arrived is refused, never one that came back, and only when too many wait. */
  private checkRefused(client: Client): void {
    const waiting = [...this.real.plane.pairs].filter((each) => each.waiting);
    const isNewest = waiting.every((each) => each.order <= client.order);
    promise(isNewest, "refused though a newer one waits");
    promise(client.returnedAt < 0, "refused though it came back");
    promise(waiting.length >= this.limits.queueCountMax, "refused though there is room");
    promise(this.idle() === "", "refused though there is a free slot");
  }

  private free(client: Client): void {
    if (client.slotOf === "") return;
    this.used.set(client.slotOf, (this.used.get(client.slotOf) ?? 0) - 1);
    client.slotOf = "";
  }

  private client(order: number): Client {
    const client = this.clients.get(order);
    if (client === undefined) throw new Error(`nobody has number ${order}`);
    return client;
  }
}
