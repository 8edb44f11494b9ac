// Watches over the destinations for all threads: writes to the board what health checks find, lets slots grow in a slow
// start, and tells the threads. Origin: IAWLB §10, whose status nobody set.
import { Health, type HealthPlan } from "./control/health.ts";
import type { BalancerEvent } from "./control/hooks.ts";
import type { DestinationOptions, Settings } from "./control/options.ts";
import { bytesOf } from "./control/text.ts";
import type { DestinationTls } from "./control/tls-files.ts";
import { State, type Board } from "./core/board.ts";
import type { Outward } from "./core/destination.ts";
import type { DialAddress } from "./core/engine.ts";
import { faultCodes } from "./core/fault.ts";
import { EventLoop } from "./core/loop.ts";
import { BunEngine } from "./engine/bun.ts";
import type { Target } from "./engine/dial.ts";
import type { Libc } from "./linux/libc.ts";
import { beginSlowStart, growSlowStart } from "./core/slow-start.ts";
import { outwardPlanOf } from "./preface-plan.ts";
import type { OutwardPlan, ThreadCommand } from "./thread-plan.ts";
import { outwardOf, TlsSides } from "./thread-preface.ts";

/** Steps of a slow start, and the shortest of them. */
const growStepCount = 50;
const growMsMin = 20;
const httpPort = 80;
const httpsPort = 443;

export interface WatchHost {
  readonly board: Board;
  send(command: ThreadCommand): void;
  tell(event: BalancerEvent): void;
}

/** A destination in its row. */
export interface WatchedRow {
  readonly generation: number;
  readonly options: DestinationOptions;
  /** What its files hold; null = it speaks no TLS. */
  readonly tls: DestinationTls | null;
}

interface Watched extends WatchedRow {
  /** How it is checked, as one text. */
  readonly key: string;
  addresses: readonly DialAddress[];
}

export class Watch {
  private settings: Settings;
  private readonly host: WatchHost;
  private readonly engine: BunEngine;
  private readonly sides = new TlsSides();
  /** By row; null: the row is free, or its destination is not checked now. */
  private readonly rows: (Watched | null)[] = [];
  private readonly health: Health;
  private growTimer: ReturnType<typeof setInterval> | null = null;

  constructor(settings: Settings, c: Libc | null, checkCountMax: number, host: WatchHost) {
    const { board } = host;
    this.settings = settings;
    this.host = host;
    this.engine = new BunEngine(c, (error) =>
      host.tell({ kind: "warning", message: `internal error in a health check: ${String(error)}` }),
    );
    this.health = new Health({
      engine: this.engine,
      loop: new EventLoop(() => performance.now()),
      plans: [],
      addressesOf: (row) => this.rows[row]?.addresses ?? [],
      // Clients who connect to the destination's own port say nothing of another one.
      provenAt: (row) => (this.isRowElsewhere(row) ? 0 : (board.provenAtMs[row] ?? 0)),
      isWaited: () => board.total("queued") > 0,
      checkCountMax: Math.max(1, checkCountMax),
      events: {
        onFall: (row, cause) => this.onFall(row, cause),
        onRise: (row) => this.onRise(row),
        onPass: (row, count) => this.onPass(row, count),
      },
    });
  }

  /** Other settings from now on; what they change of a row's checks is for `set` to say. */
  follow(settings: Settings, checkCountMax: number): void {
    this.settings = settings;
    this.health.checkCountMax = Math.max(1, checkCountMax);
  }

  /**
   * What stands in a row now, and how it is checked. What its checks have found stays, as long as it is the same
   * destination and is checked; without checks it is taken for well.
   * @param to null: nobody stands there, or it is not to be checked.
   */
  set(row: number, to: WatchedRow | null, targets: readonly Target[]): void {
    const before = this.rows[row] ?? null;
    const words = to && outwardWords(to);
    // Asked for at each call, or `sweep` would take it for one that nobody needs.
    const outward = outwardOf(words, this.sides);
    const plan = to && healthPlan(to.options, this.settings, outward);
    const key = JSON.stringify([to?.options.healthPort, { ...plan, outward: words }]);
    const next = to && { ...to, key };
    const isSame = before !== null && before.generation === next?.generation;
    this.rows[row] = next && { ...next, addresses: this.checked(next.options, targets) };
    if (isSame && before.key === next.key) return;
    this.health.set(row, plan, isSame);
    if (plan !== null && plan.intervalMs > 0) return;
    if (this.release(row) && to !== null) this.tellBack(row);
  }

  /** All rows have been set: what was made for TLS that none has asked for goes. */
  sweep(): void {
    this.sides.sweep();
  }

  /** It was under maintenance, and is new to its clients. */
  onReady(row: number): void {
    if (this.settings.slowStartMs === 0) return;
    beginSlowStart(this.host.board, row, performance.now());
    this.onBack();
  }

  start(): void {
    this.health.start();
  }

  close(): void {
    this.health.close();
    this.stopGrowing();
  }

  setTargets(row: number, targets: readonly Target[]): void {
    const watched = this.rows[row] ?? null;
    if (watched !== null) watched.addresses = this.checked(watched.options, targets);
  }

  /** Why the last check failed; "" = it did not. */
  causeOf(row: number): string {
    return this.health.causeOf(row);
  }

  /** A destination is back: when it is to start slowly, its slots grow from now on. */
  onBack(): void {
    const { slowStartMs } = this.settings;
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
      if (growSlowStart(board, row, nowMs, this.settings.slowStartMs)) isGrowing = true;
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
    if (this.settings.onDown === "close") this.host.send({ kind: "cut", row });
  }

  private onRise(row: number): void {
    if (this.release(row)) this.tellBack(row);
  }

  private tellBack(row: number): void {
    this.host.tell({ kind: "destination-back", name: this.nameOf(row) });
  }

  /** It is not down any more: its checks have passed, or there are none. @returns false when it was not. */
  private release(row: number): boolean {
    const { board } = this.host;
    if (board.stateOf(row) !== State.down) return false;
    board.clearFailures(row);
    if (this.settings.slowStartMs > 0) beginSlowStart(board, row, performance.now());
    if (!board.changeState(row, State.down, State.up)) return false;
    this.host.send({ kind: "changed", row });
    this.onBack();
    return true;
  }

  /** Connects failed, checks pass: its trial need not wait, unless it accepts and resets, which a check cannot see. */
  private onPass(row: number, count: number): void {
    const { board } = this.host;
    if (count < this.settings.healthRise || board.stateOf(row) !== State.out) return;
    const isReset = faultCodes[board.lastFault[row] ?? 0] === "ECONNRESET";
    if (isReset || this.isRowElsewhere(row)) return;
    if (board.changeState(row, State.out, State.trial)) this.host.send({ kind: "changed", row });
  }

  private isRowElsewhere(row: number): boolean {
    const watched = this.rows[row] ?? null;
    return watched !== null && isElsewhere(watched.options);
  }

  /** Where it is checked. */
  private checked(
    { healthPort: port }: DestinationOptions,
    targets: readonly Target[],
  ): DialAddress[] {
    return targets.map((target) => {
      return this.engine.address(port === 0 || "path" in target ? target : { ...target, port });
    });
  }

  private nameOf(row: number): string {
    return this.rows[row]?.options.name ?? "";
  }
}

/** Its checks go to another port than its clients. */
function isElsewhere({ healthPort, address }: DestinationOptions): boolean {
  return healthPort !== 0 && address.kind === "tcp" && address.port !== healthPort;
}

/** What its clients' connections begin with; another port is that of something else, which is asked in plain. */
function outwardWords({ options, tls }: WatchedRow): OutwardPlan | null {
  return isElsewhere(options) ? null : outwardPlanOf(options, tls);
}

function healthPlan(
  destination: DestinationOptions,
  settings: Settings,
  outward: Outward | null,
): HealthPlan {
  const { healthMs, healthSend, healthExpect, healthHttp } = destination;
  const bytes = (text: string): Uint8Array | null => (text === "" ? null : bytesOf(text));
  return {
    intervalMs: healthMs,
    timeoutMs: settings.healthTimeoutMs,
    fall: settings.healthFall,
    rise: settings.healthRise,
    send: bytes(healthSend),
    expect: bytes(healthExpect),
    http: healthHttp === "" ? null : healthHttp,
    host: hostOf(destination, outward?.tls == null ? httpPort : httpsPort),
    outward,
  };
}

/** Of the Host header: an IPv6 address in brackets, without its zone; a port that is not the usual. RFC 9110 §7.2. */
function hostOf({ address, healthPort }: DestinationOptions, usualPort: number): string {
  if (address.kind === "unix") return "localhost";
  const port = healthPort === 0 ? address.port : healthPort;
  const [ip = ""] = address.host.split("%");
  const host = ip.includes(":") ? `[${ip}]` : ip;
  return port === usualPort ? host : `${host}:${port}`;
}
