// The destinations of one thread, lane by lane: made from the rows of a plan, and changed with them.
import type { Settings } from "./control/options.ts";
import { assert } from "./core/assert.ts";
import type { Board } from "./core/board.ts";
import type { DestinationPlan } from "./core/destination.ts";
import { Destinations } from "./core/destinations.ts";
import type { DialAddress } from "./core/engine.ts";
import type { PolicyMaker } from "./core/filing.ts";
import type { Plane } from "./core/plane.ts";
import { policyOf } from "./core/policy.ts";
import type { Sweep } from "./core/sweep.ts";
import type { Target } from "./engine/dial.ts";
import { outwardOf, type TlsSides } from "./thread-preface.ts";
import type { RowPlan, ThreadEvent } from "./thread-plan.ts";

type Rows = readonly (RowPlan | null)[];
type Plans = readonly (DestinationPlan | null)[];

interface FleetParts {
  readonly board: Board;
  readonly thread: number;
  readonly sweep: Sweep;
  readonly sides: TlsSides;
  readonly engine: { address(target: Target): DialAddress };
  tell(event: ThreadEvent): void;
}

export class Fleet {
  private readonly parts: FleetParts;
  /** By lane. */
  private readonly lanes: (Destinations | undefined)[] = [];
  /** Lanes with a destination that may be given clients. */
  private served: ReadonlySet<number> = new Set();

  constructor(parts: FleetParts) {
    this.parts = parts;
  }

  /** Those of the first lane, which is always there. */
  addFirst(plans: Plans, rows: Rows, settings: Settings): Destinations {
    return this.add(0, plans, rows, settings);
  }

  /** A lane stays once it is there: who leaves it may be followed by others. */
  addLanes(plane: Plane, plans: Plans, rows: Rows, settings: Settings): void {
    for (const lane of new Set(rows.map((row) => row?.lane ?? 0))) {
      if (this.lanes[lane] !== undefined) continue;
      plane.addLane(lane, this.add(lane, plans, rows, settings));
    }
    const serving = rows.filter((row) => row?.isLeaving === false);
    this.served = new Set(serving.map((row) => row?.lane ?? 0));
  }

  /** Who waits in it may be served some day. */
  isServed(lane: number): boolean {
    return this.served.has(lane);
  }

  /** Asked for once a change, for keys and certificates are compared. @throws what OpenSSL says of what it refuses. */
  plansOf(rows: Rows): Plans {
    const { thread, board, sides } = this.parts;
    const { threadCount } = board.size;
    return rows.map((row) => {
      if (row === null) return null;
      const { generation, name, backup, isLeaving } = row;
      const warm = Math.max(0, Math.ceil((row.warm - thread) / threadCount)); // its share of them
      const addresses = this.addressesOf(row.targets);
      const outward = outwardOf(row.outward, sides);
      return { generation, name, backup, warm, addresses, isLeaving, outward };
    });
  }

  change(plans: Plans, rows: Rows, settings: Settings): void {
    this.lanes.forEach((each, lane) => {
      if (each === undefined) return;
      each.slowStartMs = settings.slowStartMs;
      each.change(ofLane(plans, rows, lane), makerOf(settings), settings.policy);
    });
  }

  /** A row may have been left before this came. @param targets null: what is on the board has changed. */
  onRow(row: number, targets: readonly Target[] | null): void {
    for (const each of this.lanes) {
      const destination = each?.find(row) ?? null;
      if (each === undefined || destination === null) continue;
      if (targets === null) each.onChanged(destination);
      else each.setAddresses(destination, this.addressesOf(targets));
    }
  }

  forget(row: number): void {
    for (const each of this.lanes) each?.forget(row);
  }

  private add(lane: number, plans: Plans, rows: Rows, settings: Settings): Destinations {
    assert(this.lanes[lane] === undefined, "fleet: a lane twice");
    const { board, thread, sweep, tell } = this.parts;
    const destinations = new Destinations(
      ofLane(plans, rows, lane),
      board,
      thread,
      makerOf(settings),
      sweep,
      {
        onOut: ({ name }, cause, retryMs) =>
          tell({ kind: "destination-out", name, cause, retryMs }),
        onBack: ({ name }) => tell({ kind: "destination-back", name }),
      },
      Math.random,
      settings.slowStartMs,
      lane,
    );
    this.lanes[lane] = destinations;
    return destinations;
  }

  private addressesOf(targets: readonly Target[]): DialAddress[] {
    return targets.map((target) => this.parts.engine.address(target));
  }
}

/** What of them is this lane's. */
function ofLane(plans: Plans, rows: Rows, lane: number): (DestinationPlan | null)[] {
  return plans.map((plan, row) => (rows[row]?.lane === lane ? plan : null));
}

function makerOf({ policy }: Settings): PolicyMaker {
  return (board, members) => policyOf(policy, board, members);
}
