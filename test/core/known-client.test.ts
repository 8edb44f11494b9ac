// Who a client is, when that comes out late or never: one that has gone is nobody, and limits count by the present.

import { expect, test } from "bun:test";
import { AccessRules } from "../../src/core/access.ts";
import { Admission } from "../../src/core/admission.ts";
import { ClientTable } from "../../src/core/clients.ts";
import { FakePlane } from "./fake.ts";

const told = { proxy: 1, tls: null, name: "" } as const;

test("gone client: no destination that is to be told of it gets its bytes as if they were ours", () => {
  using it = new FakePlane([{ outward: told, slots: 1 }]);
  const first = it.accept();
  it.plane.pull();
  it.dial(0).connect();
  const second = it.accept();
  it.plane.pull();
  second.send("delete everything");
  it.engine.remote = () => "";
  first.reset(); // its slot goes to the second, whose reset is there and was not told yet
  it.plane.pull();
  expect(it.dialed).toEqual(["d0"]);
  expect(it.ends).toEqual(["client-reset client", "client-left client"]);
  expect(it.used()).toBe(0);
  it.check();
  it.end();
});

test("gone client: a destination that asks for no header is served as ever", () => {
  using it = new FakePlane([{}]);
  it.engine.remote = () => "";
  it.accept();
  it.plane.pull();
  expect(it.dialed).toEqual(["d0"]);
  it.end();
});

test("rate: a client whose header is late counts when it comes, not when its proxy has connected", () => {
  using it = new FakePlane([{}], { prefaceMs: 10_000 });
  const limits = { countMax: 0, ratePerSecond: 1, prefix6: 64 };
  const table = new ClientTable({ clientCountMax: 8, threadCount: 1 }, limits, 0);
  const proxy = {
    versions: { v1: true, v2: false },
    from: new AccessRules([], []),
    othersRefused: false,
  };
  it.plane.change({
    limits: it.plane.limits,
    hashes: false,
    admission: new Admission(null, table),
    preface: { proxy, tls: null, routes: null },
  });
  const header = "PROXY TCP4 198.51.100.7 192.0.2.1 1 2\r\n";
  const late = it.accept();
  it.advance(4_000);
  it.accept().send(header);
  it.accept().send(header);
  it.advance(1_001);
  late.send(header);
  it.accept().send(header);
  it.plane.pull();
  expect(it.ends).toEqual(["client-rate balancer", "client-rate balancer"]);
  expect(it.dialed).toEqual(["d0", "d0"]);
  expect(late.fate).toBe("open");
  it.check();
  it.end();
});
