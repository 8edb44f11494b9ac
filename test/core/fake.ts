// For tests of the core: a clock that stands until it is moved, an engine whose sockets do what the test says, and the
// core built upon both. The engine is strict: it throws when the core does what no real socket would bear.
import { Board } from "../../src/core/board.ts";
import type { DestinationPlan } from "../../src/core/destination.ts";
import { Destinations } from "../../src/core/destinations.ts";
import { connectedAlready } from "../../src/core/engine.ts";
import type { DialAddress, Engine, Socket, SocketEvents } from "../../src/core/engine.ts";
import { EventLoop, type Loop } from "../../src/core/loop.ts";
import type { Limits } from "../../src/core/limits.ts";
import { noLimits } from "./no-limits.ts";
import type { Pair } from "../../src/core/pair.ts";
import { Plane } from "../../src/core/plane.ts";
import { policyOf, type PolicyName } from "../../src/core/policy.ts";
import { closeReasons } from "../../src/core/reason.ts";
import { Sweep } from "../../src/core/sweep.ts";

/** The end of this turn of the event loop. */
export const turn = (): Promise<void> => new Promise((done) => setImmediate(done));

export class FakeClock {
  ms = 1_000;
  readonly now = (): number => this.ms;
}

/** Where a fake dial goes. */
export interface FakeAddress {
  readonly name: string;
  /** Cause of failure told from inside `dial`; null: the dial is under way. */
  fault: string | null;
}

// The core holds sockets and addresses as opaque things; these four casts are the only doors.
const opaque = (socket: FakeSocket) => socket as unknown as Socket;
const fake = (socket: Socket) => socket as unknown as FakeSocket;
const asAddress = (address: FakeAddress) => address as unknown as DialAddress;
const fakeAddress = (address: DialAddress) => address as unknown as FakeAddress;

/** A socket of ours, and what its peer does to it. */
export class FakeSocket {
  readonly name: string;
  events: SocketEvents | null = null;
  /** Bytes it takes before it is full. */
  room = Number.POSITIVE_INFINITY;
  /** Its peer has sent a reset that nobody has been told of: a write says −1. */
  resetUnseen = false;
  /** What the core did to it in the end. */
  fate: "open" | "reset" | "closed" = "open";
  shut = false;
  paused = false;
  /** Its peer's FIN was told. */
  ended = false;
  /** Nothing can be told any more. */
  gone = false;
  pauseCount = 0;
  private readonly taken: string[] = [];

  constructor(name: string) {
    this.name = name;
  }

  /** What its peer has received. */
  get text(): string {
    return this.taken.join("");
  }

  connect(): void {
    this.told().onConnected();
  }

  fail(code = "ECONNREFUSED"): void {
    const events = this.told();
    this.gone = true;
    events.onDialFailed(code);
  }

  /** The chunk is lent: it is overwritten after the call. */
  send(text: string): void {
    if (this.paused) throw new Error(`${this.name}: a paused socket reads nothing`);
    const chunk = new TextEncoder().encode(text);
    this.told().onChunk(chunk);
    chunk.fill(0x3f);
  }

  /** After our own FIN the peer's shows as a close (R3). */
  fin(): void {
    if (this.paused) throw new Error(`${this.name}: a paused socket reads nothing`);
    const events = this.told();
    this.ended = true;
    if (!this.shut) return events.onEnd();
    this.gone = true;
    this.fate = "closed";
    events.onClose(null);
  }

  /** A reset is told even while paused. */
  reset(code = "ECONNRESET"): void {
    const events = this.told();
    this.gone = true;
    events.onClose(code);
  }

  /** A reset of a pair that has moved a byte, so that nobody can take it over. */
  crash(): void {
    if (!this.paused && !this.ended) this.send("!");
    this.reset();
  }

  /** There is room for so many bytes. */
  writable(room = Number.POSITIVE_INFINITY): void {
    this.room = room;
    this.told().onWritable();
  }

  take(chunk: Uint8Array, from: number): number {
    if (this.fate !== "open" || this.shut) throw new Error(`${this.name}: write after the end`);
    if (this.resetUnseen) return -1;
    const count = Math.min(this.room, chunk.length - from);
    this.taken.push(new TextDecoder().decode(chunk.subarray(from, from + count)));
    this.room -= count;
    return count;
  }

  private told(): SocketEvents {
    if (this.gone || this.events === null) throw new Error(`${this.name}: tells after its end`);
    return this.events;
  }
}

export class FakeEngine implements Engine {
  /** A pair may be closed in order although its peers have not ended: for its age, say. */
  mayCloseEarly = false;
  /** Every dial that came under way, oldest first. */
  readonly dials: FakeSocket[] = [];
  /** Called at every dial, those that fail at once included. */
  onDial: (address: FakeAddress, events: SocketEvents) => void = () => {};
  /** Its dials are over when they have begun, as towards the own host. */
  connectsAtOnce = false;
  /** Tells of ends that nobody has been told of, when it is asked. */
  sees = true;
  /** Called when the core ends a socket or a dial, before it is so. */
  onAbort: (events: SocketEvents) => void = () => {};

  dial(address: DialAddress, events: SocketEvents): string | null {
    const { name, fault } = fakeAddress(address);
    this.onDial(fakeAddress(address), events);
    if (fault !== null) return fault;
    const socket = new FakeSocket(name);
    socket.events = events;
    events.socket = opaque(socket);
    this.dials.push(socket);
    return this.connectsAtOnce ? connectedAlready : null;
  }

  /** As with Bun, the end is told from inside the call. */
  abort(events: SocketEvents): void {
    if (!events.closed) throw new Error("abort before the state says closed");
    this.onAbort(events);
    if (events.socket === null) return;
    const socket = fake(events.socket);
    if (socket.fate !== "open") throw new Error(`${socket.name}: aborted after its end`);
    socket.fate = "reset";
    if (socket.gone) return;
    socket.gone = true;
    if (events.connected || socket.name.startsWith("client")) events.onClose(null);
    else events.onDialFailed("ECONNRESET");
  }

  write(socket: Socket, chunk: Uint8Array, from: number): number {
    if (from >= chunk.length) throw new Error(`${fake(socket).name}: an empty write`);
    return fake(socket).take(chunk, from);
  }

  keep(chunk: Uint8Array, from: number): Uint8Array {
    return chunk.slice(from);
  }

  pause(socket: Socket): void {
    fake(socket).paused = true;
    fake(socket).pauseCount += 1;
  }

  resume(socket: Socket): void {
    fake(socket).paused = false;
  }

  shutdown(socket: Socket): void {
    const { name, shut, fate } = fake(socket);
    if (shut || fate !== "open") throw new Error(`${name}: shut down after its end`);
    fake(socket).shut = true;
  }

  close(socket: Socket): void {
    const target = fake(socket);
    if (target.fate !== "open") throw new Error(`${target.name}: closed twice`);
    if (!target.ended && target.text !== "" && !this.mayCloseEarly) {
      throw new Error(`${target.name}: closed before its peer has ended`);
    }
    target.fate = "closed";
    if (target.gone) return;
    target.gone = true;
    target.events?.onClose(null);
  }

  adopt(socket: Socket, events: SocketEvents): void {
    fake(socket).events = events;
    events.socket = socket;
  }

  isOpen(socket: Socket): boolean {
    return !this.sees || (!fake(socket).ended && !fake(socket).resetUnseen);
  }

  remote(socket: Socket): string {
    return `${fake(socket).name}:1`;
  }

  readonly local = (socket: Socket): string => `${fake(socket).name}:2`;
}

/** A destination in a test: `d0`, `d1`, … with one address of the same name, and no limit of slots. */
export type FakePlan = Partial<Omit<DestinationPlan, "addresses">> & {
  readonly slots?: number;
  readonly weight?: number;
  readonly addresses?: readonly FakeAddress[];
};

export function fakeAddresses(...names: string[]): FakeAddress[] {
  return names.map((name) => ({ name, fault: null }));
}

/** Destinations on a board of their own, with a record of what they tell. */
export class FakeFleet {
  readonly clock: FakeClock;
  readonly loop: Loop;
  readonly sweep: Sweep;
  readonly board: Board;
  readonly destinations: Destinations;
  readonly addresses: readonly (readonly FakeAddress[])[];
  /** `out d0 ECONNREFUSED 1000`, `back d0`. */
  readonly told: string[] = [];
  /** What chance says next. */
  chance = 0.5;

  constructor(
    plans: readonly FakePlan[],
    policy: PolicyName = "pull",
    clock = new FakeClock(),
    slowStartMs = 0,
    spareCount = 0,
  ) {
    this.clock = clock;
    this.loop = new EventLoop(clock.now);
    this.sweep = new Sweep(this.loop);
    this.board = new Board({
      destinationCountMax: plans.length + spareCount,
      threadCount: 1,
      waiterCountMax: 1_000,
    });
    this.addresses = plans.map((plan, row) => plan.addresses ?? fakeAddresses(`d${row}`));
    const full = plans.map((plan, row): DestinationPlan => {
      const addresses = (this.addresses[row] ?? []).map(asAddress);
      this.board.fill(row, plan.slots ?? 0, plan.weight ?? 1, addresses.length > 0);
      return { name: `d${row}`, backup: false, ...plan, addresses };
    });
    this.destinations = new Destinations(
      full,
      this.board,
      0,
      (board, members) => policyOf(policy, board, members),
      this.sweep,
      {
        onOut: (each, cause, ms) => this.told.push(`out ${each.name} ${cause} ${ms}`),
        onBack: (each) => this.told.push(`back ${each.name}`),
      },
      () => this.chance,
      slowStartMs,
    );
  }

  /** Moves the clock and looks at what is due. */
  advance(ms: number): void {
    this.clock.ms += ms;
    this.sweep.run(this.clock.ms);
  }

  used(row = 0): number {
    return this.board.used[row] ?? 0;
  }

  [Symbol.dispose](): void {
    this.sweep.close();
  }
}

/** A whole data plane over the fake engine. */
export class FakePlane extends FakeFleet {
  readonly engine = new FakeEngine();
  readonly plane: Plane;
  readonly settled: Pair[] = [];
  onSettled: (pair: Pair) => void = () => {};
  private acceptedCount = 0;

  constructor(
    plans: readonly FakePlan[],
    limits: Partial<Limits> = {},
    policy: PolicyName = "pull",
    spareCount = 0,
  ) {
    super(plans, policy, new FakeClock(), limits.slowStartMs, spareCount);
    this.plane = new Plane({
      engine: this.engine,
      limits: { ...noLimits, ...limits },
      board: this.board,
      thread: 0,
      destinations: this.destinations,
      sweep: this.sweep,
      loop: this.loop,
      hashes: policy === "hash",
      wantsClient: false,
      events: {
        onSettled: (pair) => {
          this.settled.push(pair);
          this.onSettled(pair);
        },
        onQueueFull: (full) => this.told.push(full ? "queue full" : "queue clear"),
        onConnectionLimit: () => {},
        onLocalFault: (code) => this.told.push(`local fault ${code}`),
        onFault: (error) => this.told.push(`fault ${String(error)}`),
      },
    });
  }

  /** A client arrives. */
  accept(): FakeSocket {
    this.acceptedCount += 1;
    const socket = new FakeSocket(`client${this.acceptedCount}`);
    socket.events = this.plane.onAccept(opaque(socket), 0);
    if (socket.events === null) socket.gone = true;
    return socket;
  }

  /** A client that is joined to a destination already. */
  join(): { client: FakeSocket; server: FakeSocket } {
    const before = this.engine.dials.length;
    const client = this.accept();
    this.plane.pull();
    const server = this.dial(before);
    server.connect();
    return { client, server };
  }

  dial(index: number): FakeSocket {
    const socket = this.engine.dials[index];
    if (socket === undefined) throw new Error(`nothing was dialed ${index + 1} times`);
    return socket;
  }

  /** Names of what was dialed, oldest first. */
  get dialed(): string[] {
    return this.engine.dials.map((each) => each.name);
  }

  /** `reason by` of what has ended, in that order. */
  get ends(): string[] {
    return this.settled.map((pair) => `${pair.reason} ${pair.closedBy}`);
  }

  /** What the board says must fit together, and fit the pairs that are open. */
  check(): void {
    const { numbers, pairs } = this.plane;
    const same = (what: string, a: number, b: number): void => {
      if (a !== b) throw new Error(`${what}: ${a} is not ${b}`);
    };
    const closed = closeReasons.reduce((sum, reason) => sum + numbers.get(`closed ${reason}`), 0);
    const open = [...pairs];
    same("accepted = closed + open", numbers.get("accepted"), closed + numbers.get("open"));
    same("open = pairs", numbers.get("open"), pairs.size);
    same("queued = pairs that wait", numbers.get("queued"), open.filter((p) => p.waiting).length);
    same("closed = settled", closed, this.settled.length);
    for (const { row, name } of this.destinations.list) {
      const holders = open.filter((p) => p.holdsSlot && p.destination?.row === row).length;
      same(`slots of ${name} = pairs that hold one`, this.used(row), holders);
    }
  }

  /** Everything leaves: nothing may be held afterwards. */
  end(): void {
    this.plane.refuseNew();
    this.plane.cut("drain");
    this.check();
    const { pairs, first } = this.plane;
    if (pairs.size + first.batch.count + Math.max(...this.board.used) !== 0)
      throw new Error("held");
    if (new Set(this.settled).size !== this.settled.length) throw new Error("settled twice");
  }

  override [Symbol.dispose](): void {
    this.plane.first.batch.close();
    super[Symbol.dispose]();
  }
}
