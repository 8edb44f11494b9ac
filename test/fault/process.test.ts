// What is done to the balancer's process: signals under load, a parent that dies, a stop, a clock that jumps.

import { expect } from "bun:test";
import { globSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CLI, client, echoServer, knock, serve, spawnBalancer, until, type Peer } from "../net.ts";
import { folder } from "../e2e/program.ts";
import { fault, sized, type Subject } from "./lab.ts";
import { ask, crowd, expectServed, fateOf, over, sourceOf, teller, toldBy } from "./load.ts";

/** Clients that ask one after the other until the balancer takes no more. */
function load(balancer: Subject, atOnce: number) {
  const counts = { served: 0, cut: 0, truncated: 0, refused: 0 };
  const load = { isOver: false };
  const worker = async (_: unknown, from: number) => {
    for (let n = 0; !load.isOver; n++) {
      try {
        counts[fateOf(await ask(balancer.port, `${n}`, { from: sourceOf(from) }), `${n}`)] += 1;
      } catch {
        counts.refused += 1; // nobody listens any more
        return;
      }
    }
  };
  const done = Promise.all(Array.from({ length: atOnce }, worker));
  const stop = async () => {
    load.isOver = true;
    await done;
  };
  return { counts, stop };
}

fault(39, "SIGHUP under load changes nothing; SIGTERM under load cuts nobody off", async (lab) => {
  using a = teller(2);
  using b = teller(2);
  const balancer = await lab.start(["--slots", "4", a.address, b.address]);
  const { counts, stop } = load(balancer, 24);
  await until(() => counts.served > 200, "some are served");
  for (let n = 1; n <= 5; n++) {
    process.kill(balancer.pid, "SIGHUP");
    const told = () => toldBy(balancer).filter((line) => line.includes("reload: no change"));
    await until(() => told().length === n, "the word of it");
    const { served } = counts;
    await until(() => counts.served > served + 50, "it goes on");
  }
  expect(counts).toMatchObject({ cut: 0, truncated: 0, refused: 0 });
  const exited = balancer.process.stop("SIGTERM");
  expect(await exited).toBe(0);
  await stop();
  expect(counts.truncated).toBe(0);
  expect(balancer.stderr).toContain("drained: all have finished");
  // Refused are those who waited, and those who came too late to be accepted.
  const ended = balancer.ended;
  const reasons = new Map<string, number>();
  for (const { reason } of ended) reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  expect([...reasons.keys()].filter((each) => each !== "done" && each !== "shutdown")).toEqual([]);
  expect(reasons.get("done")).toBe(counts.served);
  expect(counts.cut).toBeGreaterThanOrEqual(reasons.get("shutdown") ?? 0);
  expect(a.heard.length + b.heard.length).toBe(counts.served);
});

fault(
  39,
  "SIGTERM in the middle of a burst: who is served has it all, who waits is refused",
  async (lab) => {
    using server = teller(1);
    const balancer = await lab.start(["--slots", "1", server.address]);
    const count = sized(5_000, 1_500);
    const peers: Peer[] = [];
    const arrive = crowd(count, 500, async () => {
      try {
        const peer = await knock(balancer.port);
        peers.push(peer);
        peer.send(`${peers.length}\n`);
        peer.finish();
      } catch {
        // Nobody listens any more.
      }
    });
    await until(() => server.heard.length > 20 && peers.length > count / 2, "the middle of it");
    const exited = balancer.process.stop("SIGTERM");
    await arrive;
    await over(peers, 30_000);
    expect(await exited).toBe(0);
    expect(server.servingMax).toBe(1);
    const lines = peers.map((_, n) => `${n + 1}`);
    const fates = peers.map((peer, n) => fateOf(peer, lines[n] ?? ""));
    expect(fates.filter((each) => each === "truncated")).toEqual([]);
    const { ended } = balancer;
    const endings = new Set(ended.map((each) => `${each.reason} ${each.closedBy}`));
    expect([...endings].filter((each) => !/^(?:done \w+|shutdown balancer)$/.test(each))).toEqual(
      [],
    );
    expect(ended.filter((each) => each.reason === "done").length).toBe(
      fates.filter((each) => each === "served").length,
    );
    expect(ended.some((each) => each.reason === "shutdown")).toBe(true);
  },
);

/** The child that a process has now. */
function childOf(pid: number): number | null {
  const [path = ""] = globSync(`/proc/${pid}/task/${pid}/children`);
  const child = path === "" ? 0 : Number.parseInt(readFileSync(path, "utf8"), 10);
  return child > 0 ? child : null;
}

fault(
  41,
  "the parent is killed: the balancer goes on, alone on its port, until it is told",
  async (lab) => {
    using server = teller();
    const args = [...lab.args, "--access-log", "json", "127.0.0.1:0", server.address];
    const wrapper = ["sh", "-c", '"$@"; exit $?', "sh", process.execPath, CLI];
    await using parent = await spawnBalancer(args, { command: wrapper });
    const pid = await until(() => childOf(parent.pid), "the balancer");
    try {
      const joined = await client(parent.port);
      process.kill(parent.pid, "SIGKILL");
      await until(
        () => !readFileSync(`/proc/${pid}/status`, "utf8").includes(`PPid:\t${parent.pid}\n`),
        "an orphan",
      );
      await expectServed(parent.port, 20);
      joined.send("joined before\n");
      await until(() => joined.over, "the answer to one of before");
      expect(joined.text).toBe("joined before\n");
      joined.finish();
      // A second one does not share its port.
      const second = [...lab.args, parent.address, server.address];
      await expect(spawnBalancer(second)).rejects.toThrow("another program listens there");
      await until(() => parent.stdout.length === 21, "a line for each");
    } finally {
      process.kill(pid, "SIGTERM");
    }
    await parent.exited; // its output has been read to the end: so it has ended
    expect(parent.stderr).toContain("drained: all have finished");
  },
);

fault(
  42,
  "stopped for 5 s and continued: who has spoken meanwhile is not timed out",
  async (lab) => {
    using echo = echoServer();
    using answers = serve({});
    const balancer = await lab.start(["--idle-timeout", "4s", echo.address]);
    // The same with another deadline, and clients that wait.
    const limits = ["--answer-timeout", "4s", "--slots", "1"];
    const other = await lab.start([...limits, answers.address]);
    using asking = await client(other.port);
    await other.when((now) => now.open === 1, "it has the slot");
    const waiting = await Promise.all(Array.from({ length: 20 }, () => client(other.port)));
    await other.when((now) => now.queue.waiting === 20, "20 wait");
    const count = 400; // more than one look at the kernel brings
    const peers = await Promise.all(Array.from({ length: count }, () => client(balancer.port)));
    for (const peer of peers) peer.send("before");
    await until(() => peers.every((peer) => peer.text === "before"), "all echoes");
    await Bun.sleep(1_000); // what was said before is old
    asking.send("?");
    const isAsked = () => answers.peers.find((peer) => peer.text === "?");
    const asked = await until(isAsked, "the question");
    for (const { pid } of [balancer, other]) process.kill(pid, "SIGSTOP");
    await Bun.sleep(2_500);
    for (const peer of peers) peer.send(", meanwhile");
    asked.send("!");
    await Bun.sleep(2_500);
    for (const { pid } of [balancer, other]) process.kill(pid, "SIGCONT");

    await until(
      () => peers.every((peer) => peer.over || peer.text === "before, meanwhile"),
      "echoes",
    );
    expect(peers.filter((peer) => peer.over).length).toBe(0);
    await until(() => asking.over || asking.text === "!", "the answer");
    expect([asking.over, asking.text]).toEqual([false, "!"]);
    expect((await other.status()).queue.waiting).toBe(20);
    for (const peer of peers) peer.finish();
    asked.finish();
    for (const peer of [asking, ...waiting]) peer.reset();
    await over(peers);
    const ended = await balancer.finish(count);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
    await other.finish(21);
  },
);

const library = globSync("/usr/lib/*/faketime/libfaketimeMT.so.1")[0];
const noFaketime =
  library === undefined ? "libfaketime is not installed (apt-get install libfaketime)" : null;

fault(
  43,
  "the clock jumps a day ahead, and back: deadlines and the order of the log are as ever",
  async (lab) => {
    using place = folder();
    const stamp = join(place.path, "stamp");
    const jump = (to: string) => writeFileSync(stamp, `${to}\n`);
    jump("+0");
    const env = {
      LD_PRELOAD: library ?? "",
      FAKETIME_TIMESTAMP_FILE: stamp,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
    };
    using server = teller();
    const ms: Readonly<Record<string, number>> = { "idle-timeout": 2_000, "queue-timeout": 1_500 };
    const limits = Object.entries(ms).flatMap(([reason, each]) => [`--${reason}`, `${each}ms`]);
    const balancer = await lab.start([...limits, "--slots", "10", server.address], { env });
    const peers: Peer[] = [];
    /** 10 that get a slot and say nothing, 10 that wait in vain. */
    const come = async () => {
      const all = await Promise.all(Array.from({ length: 20 }, () => knock(balancer.port)));
      peers.push(...all);
      await balancer.when((now) => now.queue.waiting === 10, "half of them wait");
    };
    for (const to of ["+1d", "-1d"]) {
      await come();
      jump(to);
      // It is seen by a process like the balancer.
      const { stdout } = Bun.spawnSync([process.execPath, "-p", "Date.now()"], {
        env: { ...process.env, ...env },
      });
      const aheadMs = Number(stdout.toString()) - Date.now();
      expect(Math.round(aheadMs / 86_400_000)).toBe(Number.parseInt(to, 10));
      await balancer.when((now) => now.open === 0, "all are timed out");
    }
    await expectServed(balancer.port, 10);
    const ended = await balancer.finish(50);
    const late = ended.filter((each) => each.reason !== "done");
    expect(late.length).toBe(40);
    for (const { reason, totalMs } of late) {
      expect(totalMs).toBeGreaterThanOrEqual(ms[reason] ?? Number.POSITIVE_INFINITY);
      expect(totalMs).toBeLessThan(20_000);
    }
    const lines = balancer.process.stdout.map(
      (each) => JSON.parse(each) as { id: number; time: string },
    );
    const times = lines.toSorted((a, b) => a.id - b.id).map((each) => Date.parse(each.time));
    // Threads accept side by side, each at its own moment.
    const steps = times.slice(1).map((time, n) => time - (times[n] ?? 0));
    expect(Math.min(...steps)).toBeGreaterThan(-1_000);
    expect(toldBy(balancer).filter((line) => /warning|error/.test(line))).toEqual([]);
  },
  { skip: noFaketime },
);
