// The TLS contexts of a thread are made once and kept, however many destinations and routes share them.

import { expect, test } from "bun:test";
import { DEFAULTS } from "../../src/control/options.ts";
import { Board } from "../../src/core/board.ts";
import type { DialAddress, TlsSide } from "../../src/core/engine.ts";
import { EventLoop } from "../../src/core/loop.ts";
import type { Plane } from "../../src/core/plane.ts";
import { Sweep } from "../../src/core/sweep.ts";
import type { TlsClientParts } from "../../src/engine/tls-side.ts";
import { Fleet } from "../../src/fleet.ts";
import type { RowPlan } from "../../src/thread-plan.ts";
import { TlsSides } from "../../src/thread-preface.ts";
import { certs, opensslMissing } from "../certs.ts";

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: contexts of TLS, for ${opensslMissing}`);

/** Of equal contents and of another identity each time, as they come from another thread. */
function partsOf(more: Partial<TlsClientParts> = {}): TlsClientParts {
  const ca = Buffer.from(certs().ca.cert).toString();
  return { ca, cert: "", key: "", verify: true, ...more };
}

testTls("tls-sides: the same material is the same context, other material is another one", () => {
  const sides = new TlsSides();
  const own = certs().client;
  const all = [
    partsOf(),
    partsOf({ ca: certs().otherCa.cert }),
    partsOf({ verify: false }),
    partsOf({ cert: own.cert, key: own.key }),
    partsOf({ ca: own.cert }),
  ];
  const made = all.map((parts) => sides.client(parts));
  expect(new Set(made).size).toBe(all.length);
  expect(all.every((parts, index) => sides.client({ ...parts }) === made[index])).toBe(true);
  for (const each of [1, 2, 3]) {
    sides.sweep();
    const again = sides.client(partsOf());
    expect(again === made[0], `after ${each} sweeps`).toBe(true);
  }
  sides.sweep();
  expect(made.includes(sides.client(partsOf({ verify: false })))).toBe(false); // nobody has asked for it since
});

test("fleet: rows are made plans of once, not once for each lane that begins", () => {
  let askedCount = 0;
  class Counted extends TlsSides {
    override client(): TlsSide {
      askedCount += 1;
      return {} as TlsSide; // nobody speaks by it
    }
  }
  const size = { destinationCountMax: 8, threadCount: 1, waiterCountMax: 8, laneCount: 8 };
  const sweep = new Sweep(new EventLoop(() => 0));
  const fleet = new Fleet({
    board: new Board(size),
    thread: 0,
    sweep,
    sides: new Counted(),
    engine: { address: () => ({}) as DialAddress }, // nor is it dialed
    tell: () => {},
  });
  const outward = { proxy: 0, tls: { ca: "", cert: "", key: "", verify: true }, name: "" } as const;
  const rows = Array.from({ length: 8 }, (_, lane): RowPlan => {
    const name = `d${lane}`;
    const flags = { backup: false, warm: 0, isLeaving: false };
    return { generation: 1, name, targets: [], lane, outward, ...flags };
  });
  const lanes: number[] = [];
  const plane = { addLane: (lane: number) => void lanes.push(lane) } as unknown as Plane; // all that is asked of it
  const plans = fleet.plansOf(rows);
  fleet.addFirst(plans, rows, DEFAULTS);
  fleet.addLanes(plane, plans, rows, DEFAULTS);
  expect(lanes).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(askedCount).toBe(rows.length);
  fleet.addLanes(plane, plans, rows, DEFAULTS);
  expect(askedCount).toBe(rows.length);
  sweep.close();
});
