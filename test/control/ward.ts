// Destinations under checks that do as the test tells them, on a clock that only the test moves.
import { Health, type HealthPlan } from "../../src/control/health.ts";
import type { DialAddress, Socket } from "../../src/core/engine.ts";
import { FakeEngine, type FakeAddress, type FakeSocket } from "../core/fake.ts";
import { SteppedLoop } from "./stepped.ts";

export const plain: HealthPlan = {
  intervalMs: 2_000,
  timeoutMs: 1_000,
  fall: 3,
  rise: 2,
  send: null,
  expect: null,
  http: null,
  host: "",
  outward: null,
};

/** Its servers end after our FIN. */
class PoliteEngine extends FakeEngine {
  override connectsAtOnce = true;
  private readonly loop: SteppedLoop;

  constructor(loop: SteppedLoop) {
    super();
    this.loop = loop;
  }

  override shutdown(socket: Socket): void {
    super.shutdown(socket);
    const server = socket as unknown as FakeSocket; // as the engine has it
    this.loop.alarm(() => server.gone || server.fin()).set(0);
  }
}

/** Destinations that do as they are told, and what was checked when. */
export class Ward implements Disposable {
  readonly loop = new SteppedLoop();
  readonly engine = new PoliteEngine(this.loop);
  /** One address each; `fault` says how its dials fail. */
  readonly addresses: readonly FakeAddress[];
  addressesOf: (row: number) => readonly FakeAddress[];
  readonly provenAt: number[];
  readonly health: Health;
  /** "fall 0 ECONNREFUSED", "rise 0", "pass 0 1". */
  readonly told: string[] = [];
  /** Row and moment of every check. */
  readonly checks: [number, number][] = [];
  isWaited = false;
  onFall = (): void => {};
  chance: () => number = () => 0.5;

  constructor(plans: readonly Partial<HealthPlan>[], checkCountMax = 64) {
    const { loop, engine, told, checks } = this;
    this.addresses = plans.map((_, row) => ({ name: `${row}`, fault: null }));
    this.addressesOf = (row) => this.addresses.slice(row, row + 1);
    this.provenAt = plans.map(() => 0);
    engine.onDial = ({ name }) => checks.push([Number(name), loop.ms]);
    this.health = new Health({
      engine,
      loop,
      plans: plans.map((each) => ({ ...plain, ...each })),
      addressesOf: (row) => this.addressesOf(row) as unknown as DialAddress[], // opaque to the core
      provenAt: (row) => this.provenAt[row] ?? 0,
      isWaited: () => this.isWaited,
      checkCountMax,
      random: () => this.chance(),
      events: {
        onFall: (row, cause) => {
          told.push(`fall ${row} ${cause}`);
          this.onFall();
        },
        onRise: (row) => told.push(`rise ${row}`),
        onPass: (row, count) => told.push(`pass ${row} ${count}`),
      },
    });
    this.health.start();
  }

  /** Dials of this row fail so; null: they are answered. */
  fault(row: number, code: string | null): void {
    const address = this.addresses[row];
    if (address !== undefined) address.fault = code;
  }

  /** Lets so many checks be made. */
  check(count: number): void {
    for (const before = this.checks.length; this.checks.length < before + count;) {
      this.loop.advance(10);
    }
    this.loop.advance(50);
  }

  /** Times between checks of a row, since the clock stood there. */
  gaps(row: number, sinceMs = 0): number[] {
    const times = this.checks.filter(([of, at]) => of === row && at >= sinceMs).map(([, at]) => at);
    return times.slice(1).map((at, index) => at - (times[index] ?? 0));
  }

  get openCount(): number {
    return this.engine.dials.filter((each) => each.fate === "open" && !each.gone).length;
  }

  [Symbol.dispose](): void {
    this.health.close();
  }
}

/** Of a check that is answered at once: the grace, and up to two buckets of the sweep twice. */
export const checkMsMax = 10 + 4 * 10;
