// Who stands in which row of the board: destinations that serve, and those that are gone and still have pairs. They are
// matched by name, so that who stays keeps its row, its pairs and what is known of it.
//
//   free row ──> known to all threads ──> serves ──> leaves: no new pair ──> nobody has a pair: free again
//                                           ^───── back in time ─────┘
import { formatAddress, OptionsError, type DestinationOptions } from "./control/options.ts";
import { isLiteral } from "./control/resolve.ts";
import { routeKeyOf } from "./control/routes.ts";
import type { Mode, Modes } from "./control/steering.ts";
import type { DestinationTls, TlsMaterial } from "./control/tls-files.ts";
import { noTls } from "./control/tls-need.ts";
import { assert } from "./core/assert.ts";
import type { Board } from "./core/board.ts";
import type { Target } from "./engine/dial.ts";
import { LaneNumbers } from "./lanes.ts";
import { outwardPlanOf } from "./preface-plan.ts";
import type { RowPlan } from "./thread-plan.ts";

/** Rows for as many destinations again and some, for those that come while others leave. */
const spareRowCountMin = 64;
const rowCountMax = 65_536;

/** Rows of a board that begins with so many destinations. */
export function rowCountOf(destinationCount: number): number {
  return Math.min(rowCountMax, 2 * destinationCount + spareRowCountMin);
}

/** A destination's stay in its row. */
export interface Stay {
  readonly row: number;
  /** No other stay has it, in whatever row. */
  readonly generation: number;
  options: DestinationOptions;
  /** Its addresses; empty until its name resolves. */
  targets: readonly Target[];
  mode: Mode;
  /** All threads know of it, so that it may be given clients. */
  isKnown: boolean;
  isLeaving: boolean;
  /** Number of the change by which it came or left. */
  change: number;
  /** Threads have been asked to forget it: it cannot come back any more. */
  isForgotten: boolean;
  /** Number of the lane of its route. */
  readonly lane: number;
  /** What is needed to speak TLS to it; null = it speaks none. */
  tls: DestinationTls | null;
}

/** What becomes of the rows by a change. */
export interface Step {
  /** In the order of the options; null: a free row is taken. */
  readonly serving: readonly { readonly stay: Stay | null; readonly options: DestinationOptions }[];
  readonly leaving: readonly Stay[];
}

export class Roster {
  /** In the order of the options. */
  serving: readonly Stay[] = [];
  leaving: readonly Stay[] = [];
  private readonly board: Board;
  private readonly rows: (Stay | null)[];
  private lastGeneration = 0;
  private readonly lanes = new LaneNumbers();

  /** @param modes of those that are not ready. */
  constructor(
    board: Board,
    destinations: readonly DestinationOptions[],
    modes: Modes,
    tls: TlsMaterial = noTls,
  ) {
    this.board = board;
    this.rows = Array.from({ length: board.size.destinationCountMax }, () => null);
    const modeOf = (name: string) => (Object.hasOwn(modes, name) ? modes[name] : null) ?? "ready";
    this.serving = destinations.map((options, row) =>
      this.enter(row, options, modeOf(options.name), 0, true),
    );
    this.setTls(tls);
  }

  /** How these destinations would be placed. @throws OptionsError when there is no room for all that are new. */
  stepTo(destinations: readonly DestinationOptions[]): Step {
    const before = new Map(this.serving.map((stay) => [keyOf(stay.options), stay]));
    const backs = this.leaving.filter((stay) => !stay.isForgotten);
    const mayComeBack = new Map(backs.map((stay) => [keyOf(stay.options), stay]));
    const serving = destinations.map((options) => {
      const key = keyOf(options);
      return { stay: before.get(key) ?? mayComeBack.get(key) ?? null, options };
    });
    const newCount = serving.filter(({ stay }) => stay === null).length;
    const freeCount = this.rows.filter((stay) => stay === null).length;
    if (newCount > freeCount) throw noRoom(newCount, freeCount);
    const routes = new Set(destinations.map(routeKeyOf));
    if (!this.lanes.haveRoomFor(routes)) throw noRoomForRoutes();
    const staying = new Set(serving.map(({ stay }) => stay));
    return { serving, leaving: this.serving.filter((stay) => !staying.has(stay)) };
  }

  /** Takes that step on the board. Who is new gets no client before `onKnown`. @param change its number. */
  take(step: Step, change: number): void {
    const modes = new Map(this.serving.map((stay) => [stay.options.name, stay.mode]));
    for (const stay of step.leaving) {
      stay.isLeaving = true;
      stay.change = change;
      this.board.setEnabled(stay.row, false);
    }
    let freeRow = -1;
    this.serving = step.serving.map(({ stay, options }) => {
      const mode = modes.get(options.name) ?? "ready";
      if (stay === null) {
        freeRow = this.rows.indexOf(null, freeRow + 1);
        return this.enter(freeRow, options, mode, change, false);
      }
      const { slots, weight } = stay.options;
      if (slots !== options.slots || weight !== options.weight) {
        this.board.resize(stay.row, options.slots, options.weight);
      }
      stay.options = options;
      if (stay.isLeaving) {
        stay.isLeaving = false;
        stay.mode = mode;
        stay.change = change;
        stay.isKnown = false;
      }
      return stay;
    });
    this.leaving = [...this.leaving, ...step.leaving].filter((stay) => stay.isLeaving);
  }

  /** What the files of those that serve hold, in their order. Who leaves keeps what it has. */
  setTls({ destinations }: TlsMaterial): void {
    this.serving.forEach((stay, index) => (stay.tls = destinations[index] ?? null));
  }

  /** The lane of a route that somebody serves. */
  laneOf(route: string): number {
    return this.lanes.of(route) ?? 0;
  }

  /** All threads have taken this change. @returns those that get clients from now on. */
  onKnown(change: number): Stay[] {
    const known = this.serving.filter((stay) => !stay.isKnown && stay.change <= change);
    for (const stay of known) {
      stay.isKnown = true;
      this.board.setEnabled(stay.row, stay.mode === "ready");
    }
    return known;
  }

  setMode(stay: Stay, mode: Mode): void {
    stay.mode = mode;
    this.board.setEnabled(stay.row, mode === "ready" && stay.isKnown);
  }

  /** Those that nobody is served from any more since that change, which all threads have taken. */
  left(change: number): Stay[] {
    const isUnused = ({ row }: Stay) => this.board.used[row] === 0;
    return this.leaving.filter((stay) => stay.change <= change && isUnused(stay));
  }

  /** No thread has anything of it any more: its row is free. */
  free(stay: Stay): void {
    this.leaving = this.leaving.filter((each) => each !== stay);
    this.rows[stay.row] = null;
    this.board.clear(stay.row);
    const all = [...this.serving, ...this.leaving];
    this.lanes.keep(new Set(all.map(({ options }) => routeKeyOf(options))));
  }

  find(row: number): Stay | null {
    return this.rows[row] ?? null;
  }

  nameOf(row: number): string {
    return this.find(row)?.options.name ?? "";
  }

  /** Who serves by that name, else who leaves. */
  named(name: string): Stay | null {
    return this.allNamed(name)[0] ?? null;
  }

  allNamed(name: string): Stay[] {
    return [...this.serving, ...this.leaving].filter((stay) => stay.options.name === name);
  }

  /** For the threads. */
  plans(): (RowPlan | null)[] {
    const count = this.rows.findLastIndex((stay) => stay !== null) + 1;
    return this.rows.slice(0, count).map((stay) => {
      if (stay === null) return null;
      const { generation, targets, isLeaving, lane } = stay;
      const { name, backup, warm } = stay.options;
      assert(!stay.options.tls || stay.tls !== null, "roster: TLS without what it takes"); // never in plain instead
      const outward = outwardPlanOf(stay.options, stay.tls);
      return { generation, name, backup, warm, targets, isLeaving, lane, outward };
    });
  }

  private enter(
    row: number,
    options: DestinationOptions,
    mode: Mode,
    change: number,
    isKnown: boolean,
  ): Stay {
    this.lastGeneration += 1;
    const targets = fixedTargets(options);
    const isEnabled = isKnown && mode === "ready";
    const isResolved = targets.length > 0;
    const generation = this.lastGeneration;
    const flags = { isKnown, isLeaving: false, isForgotten: false };
    const lane = this.lanes.of(routeKeyOf(options)) ?? 0; // `stepTo` has found room
    this.board.fill(row, options.slots, options.weight, isResolved, isEnabled, lane);
    const stay: Stay = {
      row,
      generation,
      options,
      targets,
      mode,
      change,
      ...flags,
      lane,
      tls: null,
    };
    this.rows[row] = stay;
    return stay;
  }
}

/** The name that is to be looked up; null: its address is fixed. */
export function hostToResolve({ address }: DestinationOptions): string | null {
  return address.kind === "unix" || isLiteral(address.host) ? null : address.host;
}

/** Its addresses, as far as they are known without asking. */
export function fixedTargets({ address }: DestinationOptions): Target[] {
  if (address.kind === "unix") return [{ path: address.path }];
  return isLiteral(address.host) ? [{ ip: address.host, port: address.port }] : [];
}

/** The same name at another address, or for another route, is another destination. */
function keyOf(options: DestinationOptions): string {
  return `${options.name} ${formatAddress(options.address)} ${routeKeyOf(options)}`;
}

function noRoomForRoutes(): OptionsError {
  const message = "DEST: the new routes find no free places while old ones are still in use";
  const hint = "try again when their last connections have ended";
  return new OptionsError([{ code: "too-many-destinations", argument: "DEST", message, hint }]);
}

function noRoom(newCount: number, freeCount: number): OptionsError {
  const message = `DEST: ${newCount} new destinations find ${freeCount} free places`;
  const hint = "a new process has more room: iawlb upgrade";
  return new OptionsError([{ code: "too-many-destinations", argument: "DEST", message, hint }]);
}
