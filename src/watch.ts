// Watches over the destinations for all threads: writes to the board what health checks find, lets slots grow in a slow
// start, and tells the threads. Origin: IAWLB §10, whose status nobody set.
import { Health, type HealthPlan } from "./control/health.ts";
import type { BalancerEvent } from "./control/hooks.ts";
import type { DestinationOptions, Options } from "./control/options.ts";
import { bytesOf } from "./control/text.ts";
import { State, type Board } from "./core/board.ts";
import type { DialAddress } from "./core/engine.ts";
import { faultCodes } from "./core/fault.ts";
import { EventLoop } from "./core/loop.ts";
import { BunEngine } from "./engine/bun.ts";
import type { Target } from "./engine/dial.ts";
import type { Libc } from "./linux/libc.ts";
import type { ThreadCommand } from "./thread.ts";

/** Steps of a slow start, and the shortest of them. */
const growStepCount = 50;
const growMsMin = 20;
const httpPort = 80;

export interface WatchHost {
  readonly board: Board;
  send(command: ThreadCommand): void;
  tell(event: BalancerEvent): void;
}

export class Watch {
  private readonly options: Options;
  private readonly host: WatchHost;
  private readonly engine: BunEngine;
  private readonly addresses: (readonly DialAddress[])[];
  private readonly health: Health;
  private growTimer: ReturnType<typeof setInterval> | null = null;

  /** @param targets addresses of each destination, by row. */
  constructor(
    options: Options,
    c: Libc | null,
    targets: readonly (readonly Target[])[],
    checkCountMax: number,
    host: WatchHost,
  ) {
    const { board } = host;
    this.options = options;
    this.host = host;
    this.engine = new BunEngine(c, (error) =>
      host.tell({ kind: "warning", message: `internal error in a health check: ${String(error)}` }),
    );
    this.addresses = targets.map((each, row) => this.checked(row, each));
    this.health = new Health({
      engine: this.engine,
      loop: new EventLoop(() => performance.now()),
      plans: options.destinations.map((each) => healthPlan(each, options)),
      addressesOf: (row) => this.addresses[row] ?? [],
      // Clients who connect to the destination's own port say nothing of another one.
      provenAt: (row) => (this.isElsewhere(row) ? 0 : (board.provenAtMs[row] ?? 0)),
      isWaited: () => board.total("queued") > 0,
      checkCountMax: Math.max(1, checkCountMax),
      events: {
        onFall: (row, cause) => this.onFall(row, cause),
        onRise: (row) => this.onRise(row),
        onPass: (row, count) => this.onPass(row, count),
      },
    });
  }

  start(): void {
    this.health.start();
  }

  close(): void {
    this.health.close();
    this.stopGrowing();
  }

  setTargets(row: number, targets: readonly Target[]): void {
    this.addresses[row] = this.checked(row, targets);
  }

  /** Why the last check failed; "" = it did not. */
  causeOf(row: number): string {
    return this.health.causeOf(row);
  }

  /** A destination is back: when it is to start slowly, its slots grow from now on. */
  onBack(): void {
    const { slowStartMs } = this.options;
    if (slowStartMs === 0) return;
    const stepMs = Math.max(growMsMin, slowStartMs / growStepCount);
    this.growTimer ??= setInterval(() => this.grow(), stepMs);
  }

  private grow(): void {
    const { board } = this.host;
    const nowMs = performance.now();
    let isGrowing = false;
    board.slowFromMs.forEach((fromMs, row) => {
      if (fromMs === 0) return;
      if (board.growSlowStart(row, nowMs, this.options.slowStartMs)) isGrowing = true;
      this.host.send({ kind: "changed", row });
    });
    if (!isGrowing) this.stopGrowing();
  }

  private stopGrowing(): void {
    if (this.growTimer !== null) clearInterval(this.growTimer);
    this.growTimer = null;
  }

  private onFall(row: number, cause: string): void {
    const { board } = this.host;
    const from = board.takeDown(row);
    if (from === State.down) return;
    // One that is out has been told of.
    if (from === State.up || from === State.resting) {
      board.addOut(row);
      this.host.tell({ kind: "destination-down", name: this.nameOf(row), cause });
    }
    this.host.send({ kind: "changed", row });
    if (this.options.onDown === "close") this.host.send({ kind: "cut", row });
  }

  private onRise(row: number): void {
    const { board } = this.host;
    if (board.stateOf(row) !== State.down) return;
    board.clearFailures(row);
    if (this.options.slowStartMs > 0) board.beginSlowStart(row, performance.now());
    if (!board.changeState(row, State.down, State.up)) return;
    this.host.tell({ kind: "destination-back", name: this.nameOf(row) });
    this.host.send({ kind: "changed", row });
    this.onBack();
  }

  /** Connects failed, checks pass: its trial need not wait, unless it accepts and resets, which a check cannot see. */
  private onPass(row: number, count: number): void {
    const { board } = this.host;
    if (count < this.options.healthRise || board.stateOf(row) !== State.out) return;
    const isReset = faultCodes[board.lastFault[row] ?? 0] === "ECONNRESET";
    if (isReset || this.isElsewhere(row)) return;
    if (board.changeState(row, State.out, State.trial)) this.host.send({ kind: "changed", row });
  }

  /** Its checks go to another port than its clients. */
  private isElsewhere(row: number): boolean {
    const { healthPort = 0, address } = this.options.destinations[row] ?? {};
    return healthPort !== 0 && address?.kind === "tcp" && address.port !== healthPort;
  }

  /** Where it is checked. */
  private checked(row: number, targets: readonly Target[]): DialAddress[] {
    const port = this.options.destinations[row]?.healthPort ?? 0;
    return targets.map((target) => {
      return this.engine.address(port === 0 || "path" in target ? target : { ...target, port });
    });
  }

  private nameOf(row: number): string {
    return this.options.destinations[row]?.name ?? "";
  }
}

function healthPlan(destination: DestinationOptions, options: Options): HealthPlan {
  const { healthMs, healthSend, healthExpect, healthHttp } = destination;
  const bytes = (text: string): Uint8Array | null => (text === "" ? null : bytesOf(text));
  return {
    intervalMs: healthMs,
    timeoutMs: options.healthTimeoutMs,
    fall: options.healthFall,
    rise: options.healthRise,
    send: bytes(healthSend),
    expect: bytes(healthExpect),
    http: healthHttp === "" ? null : healthHttp,
    host: hostOf(destination),
  };
}

/** Of the Host header: an IPv6 address in brackets, without its zone; a port that is not HTTP's. RFC 9110 §7.2. */
function hostOf({ address, healthPort }: DestinationOptions): string {
  if (address.kind === "unix") return "localhost";
  const port = healthPort === 0 ? address.port : healthPort;
  const [ip = ""] = address.host.split("%");
  const host = ip.includes(":") ? `[${ip}]` : ip;
  return port === httpPort ? host : `${host}:${port}`;
}
