// For tests of the core: a clock that stands until it is moved, and the core built upon it and the fake engine.
import type { Admission } from "../../src/core/admission.ts";
import { Board } from "../../src/core/board.ts";
import type { DestinationPlan } from "../../src/core/destination.ts";
import { Destinations } from "../../src/core/destinations.ts";
import type { Limits } from "../../src/core/limits.ts";
import { EventLoop, type Loop } from "../../src/core/loop.ts";
import type { Pair } from "../../src/core/pair.ts";
import { Plane } from "../../src/core/plane.ts";
import { policyOf, type PolicyName } from "../../src/core/policy.ts";
import type { PrefaceRules } from "../../src/core/preface.ts";
import { closeReasons } from "../../src/core/reason.ts";
import { Sweep } from "../../src/core/sweep.ts";
import {
  asAddress,
  fakeAddresses,
  FakeEngine,
  FakeSocket,
  opaque,
  type FakeAddress,
} from "./fake-engine.ts";
import { noLimits } from "./no-limits.ts";

export {
  fakeAddresses,
  FakeEngine,
  fakeSide,
  FakeSocket,
  turn,
  type FakeAddress,
} from "./fake-engine.ts";

export class FakeClock {
  ms = 1_000;
  readonly now = (): number => this.ms;
}

/** A destination in a test: `d0`, `d1`, … with one address of the same name, and no limit of slots. */
export type FakePlan = Partial<Omit<DestinationPlan, "addresses">> & {
  readonly slots?: number;
  readonly weight?: number;
  readonly lane?: number;
  readonly addresses?: readonly FakeAddress[];
};

/** What only some planes have. */
export interface FakeMore {
  readonly preface?: PrefaceRules;
  readonly admission?: Admission;
  readonly spareCount?: number;
}

/** Destinations on a board of their own, with a record of what they tell. */
export class FakeFleet {
  readonly clock: FakeClock;
  readonly loop: Loop;
  readonly sweep: Sweep;
  readonly board: Board;
  /** Of the first lane; and by lane. */
  readonly destinations: Destinations;
  readonly lanes: readonly Destinations[];
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
      laneCount: 1 + Math.max(0, ...plans.map(({ lane = 0 }) => lane)),
    });
    this.addresses = plans.map((plan, row) => plan.addresses ?? fakeAddresses(`d${row}`));
    const full = plans.map((plan, row): DestinationPlan => {
      const addresses = (this.addresses[row] ?? []).map(asAddress);
      this.board.fill(row, plan.slots ?? 0, plan.weight ?? 1, addresses.length > 0);
      return { name: `d${row}`, backup: false, ...plan, addresses };
    });
    this.lanes = this.board.lanes.map(
      (_, lane) =>
        new Destinations(
          full.map((plan, row) => ((plans[row]?.lane ?? 0) === lane ? plan : null)),
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
        ),
    );
    const [first] = this.lanes;
    if (first === undefined) throw new Error("no lane");
    this.destinations = first;
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
    { preface, admission, spareCount = 0 }: FakeMore = {},
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
      admission: admission ?? null,
      preface: preface ?? null,
      events: {
        onSettled: (pair) => {
          this.settled.push(pair);
          this.onSettled(pair);
        },
        onQueueFull: (full) => this.told.push(full ? "queue full" : "queue clear"),
        onConnectionLimit: () => this.told.push("connection limit"),
        onLocalFault: (code) => this.told.push(`local fault ${code}`),
        onFault: (error) => this.told.push(`fault ${String(error)}`),
      },
    });
    this.lanes.slice(1).forEach((each, index) => this.plane.addLane(index + 1, each));
  }

  /** A client arrives. @param address its own, another one than that of all others if not given. */
  accept(address?: string): FakeSocket {
    this.acceptedCount += 1;
    const socket = new FakeSocket(`client${this.acceptedCount}`);
    if (address !== undefined) {
      socket.address = address;
      socket.own = "203.0.113.80:80";
    }
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
    const reading = open.filter((pair) => pair.state === "preface").length;
    same("prefaces = pairs that are read", numbers.get("prefaces"), reading);
    same("queued, by the board", this.board.total("queued"), numbers.get("queued"));
    this.lanes.forEach((destinations, lane) => {
      for (const { row, name } of destinations.list) {
        const holders = open.filter((p) => p.holdsSlot && p.destination?.row === row);
        same(`slots of ${name} = pairs that hold one`, this.used(row), holders.length);
        for (const pair of holders) same(`lane of who holds ${name}`, pair.lane, lane);
      }
    });
  }

  /** Everything leaves: nothing may be held afterwards. */
  end(): void {
    this.plane.refuseNew();
    this.plane.cut("drain");
    this.check();
    const { pairs, lanes, numbers } = this.plane;
    const filedCount = lanes.reduce((sum, lane) => sum + (lane?.batch.count ?? 0), 0);
    const busyCount = numbers.get("handshaking") + numbers.get("prefaces");
    const heldCount = pairs.size + filedCount + busyCount + Math.max(...this.board.used);
    if (heldCount !== 0) throw new Error("held");
    if (new Set(this.settled).size !== this.settled.length) throw new Error("settled twice");
  }

  override [Symbol.dispose](): void {
    for (const lane of this.plane.lanes) lane?.batch.close();
    super[Symbol.dispose]();
  }
}
