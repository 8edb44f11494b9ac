// What systemd hears of us.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { libc } from "../../src/linux/libc.ts";
import { ServiceManager } from "../../src/service.ts";
import { folder, pathOf, testWith } from "../e2e/program.ts";
import { echoServer, until } from "../net.ts";
import { startChain } from "./chain.ts";
import { manager } from "./manager.ts";

setDefaultTimeout(30_000);

test.each([["a path"], ["an abstract name"]])(
  "service: ready, alive, a new main process, stopping, by %s",
  async (kind) => {
    using home = folder();
    using server = echoServer();
    const path = kind === "a path" ? join(home.path, "notify") : `@iawlb-${process.pid}-notify`;
    using systemd = manager(path);
    const env = { NOTIFY_SOCKET: path, WATCHDOG_USEC: "200000" };
    await using chain = await startChain(["--threads", "2", "127.0.0.1:0", server.address], {
      env,
    });
    const status = `STATUS=listening on ${chain.first.address}`;
    await until(() => systemd.received().length > 0, "the first word");
    expect(systemd.received()[0]).toBe(`READY=1 ${status}`);
    const signsOfLife = () => systemd.received().filter((each) => each === "WATCHDOG=1").length;
    await until(() => signsOfLife() >= 3, "signs of life");
    await chain.upgrade();
    const isMain = (each: string) => each === `MAINPID=${chain.pid} READY=1 ${status}`;
    await until(() => systemd.received().some(isMain), "the new main process");
    await chain.gone(chain.first.pid);
    const atUpgrade = systemd.received().findIndex(isMain);
    const later = () => systemd.received().slice(atUpgrade + 1);
    await until(
      () => later().filter((each) => each === "WATCHDOG=1").length >= 3,
      "life of the new",
    );
    expect(later()[0]).toBe(`READY=1 ${status}`);
    await chain.finish();
    expect(systemd.received().at(-1)).toMatch(/^(STOPPING=1 STATUS=.*|WATCHDOG=1)$/);
    expect(later().filter((each) => each.startsWith("STOPPING=1")).length).toBe(1);
  },
);

test("service: no sign of life while a thread does not answer", async () => {
  using home = folder();
  const path = join(home.path, "notify");
  using systemd = manager(path);
  const environment = { NOTIFY_SOCKET: path, WATCHDOG_USEC: "40000", OTHER: "stays" };
  const service = new ServiceManager(environment, libc);
  expect(environment).toEqual({ OTHER: "stays" } as never);
  let asked = 0;
  service.ready("well", () => {
    asked += 1;
    return asked <= 2 ? Promise.resolve() : new Promise(() => {});
  });
  await until(() => asked >= 6, "more questions");
  service.close();
  expect(systemd.received()).toEqual(["READY=1 STATUS=well", "WATCHDOG=1", "WATCHDOG=1"]);
});

test("service: a reload is told with the time of its begin", () => {
  using home = folder();
  const path = join(home.path, "notify");
  using systemd = manager(path);
  const service = new ServiceManager({ NOTIFY_SOCKET: path }, libc);
  service.reloading();
  service.reloaded("anew");
  expect(systemd.received().length).toBe(2);
  expect(systemd.received()[0]).toMatch(/^RELOADING=1 MONOTONIC_USEC=[0-9]{4,}$/);
  expect(systemd.received()[1]).toBe("READY=1 STATUS=anew");
});

test("service: a watchdog that is meant for another process is not ours", async () => {
  using home = folder();
  const path = join(home.path, "notify");
  using systemd = manager(path);
  const environment = { NOTIFY_SOCKET: path, WATCHDOG_USEC: "40000", WATCHDOG_PID: "1" };
  const service = new ServiceManager(environment, libc);
  let asked = 0;
  service.ready("well", async () => void (asked += 1));
  await Bun.sleep(100);
  expect(asked).toBe(0);
  expect(systemd.received()).toEqual(["READY=1 STATUS=well"]);
});

test("service: without libc, or a manager that has gone, nothing happens", () => {
  for (const service of [
    new ServiceManager({ NOTIFY_SOCKET: "/nowhere/at/all" }, null),
    new ServiceManager({ NOTIFY_SOCKET: "/nowhere/at/all" }, libc),
    new ServiceManager({}, libc),
  ]) {
    service.ready("well", async () => {});
    service.stopping("over");
    service.handTo(1, "well");
  }
});

testWith({ "systemd-analyze": "systemd" })(
  "service: the units are what systemd understands",
  async () => {
    using home = folder();
    const here = join(import.meta.dir, "..", "..", "deploy");
    for (const name of ["iawlb.service", "iawlb.socket"]) {
      const unit = await Bun.file(join(here, name)).text();
      // It looks whether the program is there.
      await Bun.write(
        join(home.path, name),
        unit.replace("/usr/local/bin/iawlb", process.execPath),
      );
    }
    const child = Bun.spawn(
      [pathOf("systemd-analyze"), "verify", "--man=no", "./iawlb.service", "./iawlb.socket"],
      { cwd: home.path, stdio: ["ignore", "pipe", "pipe"] },
    );
    const words = await new Response(child.stderr).text();
    const ours = words.split("\n").filter((line) => line.includes("iawlb"));
    expect({ code: await child.exited, ours }).toEqual({ code: 0, ours: [] });
  },
);
