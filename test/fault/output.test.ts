// What may happen to what the balancer says, and what others may bring into it: traffic goes on, a line stays a line.

import { expect } from "bun:test";
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { CLI, client, rawPipe, spawnBalancer, unixPlace, until } from "../net.ts";
import { folder } from "../e2e/program.ts";
import { refused } from "../e2e/ways.ts";
import { fault, sized } from "./lab.ts";
import { ask, expectServed, ownPort, teller, toldBy } from "./load.ts";
import { withSeed } from "../wait.ts";

/** Runs the balancer by a line of shell, in which `"$@"` is what is run. */
const byShell = (line: string) => ["sh", "-c", line, "sh", process.execPath, CLI];

const unwritten = (stderr: string) =>
  Number(stderr.match(/(\d+) access lines were not written/)?.[1]);

fault(
  44,
  "stdout is closed from the start: traffic goes on, and nothing else gets the lines",
  async (lab) => {
    using server = teller();
    const command = byShell('exec "$@" >&-');
    const balancer = await lab.start(["--slots", "2", server.address], { command });
    // Were its number given to a socket, a peer would read the log.
    await expectServed(balancer.port, 50, 8);
    await balancer.settle(50);
    await expectServed(balancer.port, 50, 8);
    await balancer.settle(100);
    expect(server.heard.filter((each) => !/^ask \d+$/.test(each))).toEqual([]);
    expect(await balancer.process.stop()).toBe(0);
    expect(balancer.stderr).toContain("drained: all have finished");
  },
);

const noMount: string | null = (() => {
  const { exitCode } = Bun.spawnSync(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"]);
  return exitCode === 0 ? null : "no mount namespace can be had here";
})();

fault(
  44,
  "the disk under the log is full: traffic goes on, every line is written or counted",
  async (lab) => {
    using server = teller();
    using place = folder();
    const line = `mount -t tmpfs -o size=64k none "${place.path}" && exec "$@" >"${place.path}/log"`;
    const command = ["unshare", "-m", ...byShell(line)];
    const balancer = await lab.start([server.address], { command });
    const count = 600; // 64 KiB hold fewer lines
    await expectServed(balancer.port, count);
    await until(() => balancer.stderr.includes("access log ends: ENOSPC"), "the word of it");
    await expectServed(balancer.port, 20);
    await balancer.settle(count + 20);
    const log = join(`/proc/${balancer.pid}/root`, place.path, "log");
    const written = readFileSync(log, "utf8").split("\n").slice(0, -1);
    expect(written.length).toBeGreaterThan(50);
    expect(written.filter((each) => !each.endsWith('"reason":"done"}'))).toEqual([]);
    expect(await balancer.process.stop()).toBe(0);
    const lost = unwritten(balancer.stderr);
    expect(written.length + lost).toBe(count + 20);
    expect(toldBy(balancer).filter((each) => each.includes("access log ends")).length).toBe(1);
  },
  { skip: noMount },
);

fault(
  44,
  "nobody reads stdout: traffic goes on, and the end says how many lines are lost",
  async (lab) => {
    using server = teller();
    using pipe = rawPipe();
    const balancer = await lab.start([server.address], { stdout: pipe.writeFd });
    const count = sized(2_000, 600); // more lines than a pipe holds
    await expectServed(balancer.port, count);
    await balancer.settle(count);
    expect(await balancer.process.stop()).toBe(0);
    const lines = pipe.read().split("\n").slice(0, -1);
    expect(lines.filter((each) => !each.endsWith('"reason":"done"}'))).toEqual([]);
    const lost = unwritten(balancer.stderr);
    expect(lines.length + lost).toBeGreaterThanOrEqual(count);
    expect(lost).toBeLessThanOrEqual(count);
  },
);

fault(44, "nobody reads stderr: traffic goes on", async (lab) => {
  using server = teller();
  using pipe = rawPipe();
  const place = unixPlace();
  const args = [...lab.args, "--access-log", "off", place, server.address];
  const child = Bun.spawn([process.execPath, CLI, ...args], {
    stdio: ["ignore", "ignore", pipe.writeFd],
    env: { ...process.env, NODE_ENV: undefined },
  });
  try {
    await until(
      () =>
        client(place).then(
          (peer) => (peer.reset(), true),
          () => false,
        ),
      "listening",
    );
    // Each answer is a KiB, and nobody takes it; a pipe that is full holds three in each of its 16 pages.
    let sizeBefore = -1;
    await until(async () => {
      const size = pipe.size();
      const isFull = size > 40_000 && size === sizeBefore;
      sizeBefore = size;
      for (let n = 0; n < 5; n++) {
        child.kill("SIGUSR1");
        await Bun.sleep(5);
      }
      return isFull;
    }, "the pipe is full");
    for (let n = 0; n < 20; n++) {
      const peer = await ask(place, `${n}`);
      expect(peer.text).toBe(`${n}\n`);
    }
    child.kill("SIGTERM");
    await until(() => child.exitCode !== null, "its end");
    expect(child.exitCode).toBe(0);
  } finally {
    child.kill("SIGKILL");
    await child.exited;
    rmSync(place.slice("unix:".length), { force: true });
  }
});

// ---- what names and peers can bring in --------------------------------------------------------

/** What ends a line, or is acted on by a terminal or a reader of lines. */
const acting = /[\p{Cc}\u2028\u2029]/u;
const forged = "\r\ntime=now reason=forged\n";

const oddNames = [
  forged,
  "a b",
  "a\u001b[2Jb",
  "a\u007fb",
  "a\u2028b",
  "a\u0085b",
  'a"b',
  "a=b",
  "a\\b",
];

fault(45, "names that would break a line are refused, in lines that are whole", async () => {
  const places = oddNames.map((name, n) => `127.0.0.1:${3_000 + n},name=${name}`);
  const { code, stderr } = await refused(["127.0.0.1:0", ...places]);
  const lines = stderr.split("\n").slice(0, -1);
  expect(code).toBe(2);
  expect(lines.filter((line) => line.includes("is no name")).length).toBe(oddNames.length);
  expect(lines.length).toBe(oddNames.length + 1);
  expect(lines.filter((line) => acting.test(line))).toEqual([]);
  // A path is a name, too.
  const path = await refused(["127.0.0.1:0", `unix:/run/d${forged}\u001b[2J\u2028`]);
  const words = path.stderr.split("\n").slice(0, -1);
  expect([path.code, words.length, words.filter((line) => acting.test(line))]).toEqual([2, 2, []]);
});

const formats = {
  logfmt:
    /^time=\S+ id=\d+ client=\S+ listener="(?:[^"\\]|\\.)*" destination=\S+ tried="" .* reason=done$/,
  json: /^\{.*"reason":"done"\}$/,
  haproxy: /^\S+ \[\S+\] \S+ iawlb\/\S+ \S+ \d+ \S+ \S+ \d\/\d$/,
} as const;

fault(
  45,
  "whatever a path or a peer brings in, a connection is one line in every format",
  async (lab) => {
    using place = folder();
    using server = teller(0, `unix:${place.path}/d`);
    for (const format of ["logfmt", "json", "haproxy"] as const) {
      const listen = `unix:${place.path}/l\nreason=forged"\u001b[2J\u0085=\\${format}`;
      const args = [...lab.args, "--access-log", format, listen, server.address];
      await using balancer = await spawnBalancer(args);
      const line = "\rreason=forged \u001b[2J\0";
      for (let n = 0; n < 10; n++) expect((await ask(listen, line)).text).toBe(`${line}\n`);
      await until(() => balancer.stdout.length === 10, "a line for each");
      expect(balancer.stdout.filter((each) => !formats[format].test(each))).toEqual([]);
      expect(balancer.stdout.filter((each) => acting.test(each))).toEqual([]);
      if (format === "json") {
        expect((JSON.parse(balancer.stdout[0] ?? "") as { listener: string }).listener).toBe(
          listen,
        );
      }
      expect(await balancer.stop()).toBe(0);
      expect(balancer.stdout.length).toBe(10);
      const told = balancer.stderr.split("\n").slice(0, -1);
      expect(told.filter((each) => acting.test(each))).toEqual([]);
      expect(told.length).toBe(3); // listening, draining, drained
    }
  },
);

fault(47, "a destination that is the listener itself is refused at the start", async (lab) => {
  for (const [listen, destination] of [
    ["8080", "8080"],
    ["8080", "127.0.0.1:8080"],
    ["8080", "localhost:8080"],
    ["127.0.0.1:8080", "127.0.0.1:8080"],
    ["[::1]:8080", "[::1]:8080"],
    ["unix:/run/a.sock", "unix:/run/a.sock"],
  ] as const) {
    const { code, stderr } = await refused([...lab.args, listen, "127.0.0.1:3000", destination]);
    expect([code, stderr.includes(`${destination}: is the listener`)]).toEqual([2, true]);
  }
});

fault(
  47,
  "two that are each other's destination end at --max-connections, and go on",
  async (lab) => {
    await withSeed(async (random) => {
      const listen = `127.0.0.1:${ownPort(random)}`;
      const max = 40;
      const limits = ["--max-connections", `${max}`, "--queue-timeout", "1s"];
      const first = await lab.start([...limits, listen]);
      const second = await lab.start([...limits, first.address], { listen });
      using peer = await client(first.port);
      peer.send("round and round");
      await until(() => peer.over, "the end of the spiral", 30_000);
      expect([peer.wasReset, peer.text]).toEqual([true, ""]);
      const a = await first.settle();
      const b = await second.settle();
      expect(a.accepted + b.accepted).toBeGreaterThan(max);
      expect(a.accepted + b.accepted).toBeLessThan(100 * max); // it ends
      for (const each of [first, second]) expect(await each.process.stop()).toBe(0);
    });
  },
);
