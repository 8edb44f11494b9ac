// What an upgrade leaves behind, and what becomes of it when other things happen meanwhile.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder } from "../e2e/program.ts";
import { CLI, client, echoServer, serve, settledFdCount, unixPlace, until } from "../net.ts";
import { startChain } from "./chain.ts";

setDefaultTimeout(30_000);

async function echoes(place: number | string): Promise<void> {
  using peer = await client(place);
  peer.send("hello");
  await until(() => peer.text === "hello", "the echo");
}

test("upgrade: a row of them leaks no descriptor and no variable", async () => {
  using server = echoServer();
  await using chain = await startChain(["127.0.0.1:0", server.address]);
  await chain.upgrade();
  await chain.gone(chain.first.pid);
  await echoes(chain.port);
  const before = await settledFdCount(chain.pid);
  for (let n = 0; n < 4; n += 1) {
    const old = chain.pid;
    await chain.upgrade();
    await chain.gone(old);
    await echoes(chain.port);
  }
  expect(await settledFdCount(chain.pid)).toBe(before);
  expect(groupOf(chain.pid)).toBe(groupOf(process.pid)); // what a terminal sends reaches it
  await chain.finish();
  expect(chain.lines.length).toBe(5);
  expect(chain.stderr).not.toContain("warning");
});

function groupOf(pid: number): number {
  const after = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "");
  return Number(after.split(" ")[2]);
}

test("upgrade: who waits goes on waiting and is served, without a deadline", async () => {
  using server = serve({ onData: (peer) => peer.send("served"), onEnd: (peer) => peer.finish() });
  const options = ["--slots", "1", "--drain-timeout", "0", "--queue-timeout", "0"];
  await using chain = await startChain([...options, "127.0.0.1:0", server.address]);
  using joined = await client(chain.port);
  joined.send("a");
  await until(() => joined.text === "served", "the first");
  using waiting = await client(chain.port);
  waiting.send("b");
  await until(() => {
    process.kill(chain.pid, "SIGUSR1"); // it may not be accepted yet
    return chain.stderr.includes('"waiting":1');
  }, "the one that waits");
  await chain.upgrade();
  await until(() => chain.stderr.includes("handed over: 1 open and 1 waiting go on"), "the word");
  joined.finish();
  await until(() => waiting.text === "served", "the one that waited");
  waiting.finish();
  await until(() => waiting.over, "its end");
  expect(waiting.wasReset).toBe(false);
  await chain.gone(chain.first.pid);
  await chain.finish();
  expect(chain.lines.map((line) => line.replace(/.* reason=/, ""))).toEqual(["done", "done"]);
});

test("upgrade: a successor that is killed later is told by the old one that still has pairs", async () => {
  using server = echoServer();
  await using chain = await startChain(["127.0.0.1:0", server.address]);
  using peer = await client(chain.port);
  peer.send("a");
  await until(() => peer.text === "a", "the echo");
  await chain.upgrade();
  process.kill(chain.pid, "SIGKILL");
  const words = `process ${chain.pid}, which took over, has ended by signal SIGKILL`;
  await until(() => chain.stderr.includes(words), "the word of it");
  peer.finish();
  await until(() => peer.over, "the end of the pair");
  expect(peer.wasReset).toBe(false);
  expect(await chain.first.exited).toBe(0);
});

test("upgrade: SIGTERM gives the old one its drain timeout, the new one goes on", async () => {
  using server = echoServer();
  const options = ["--drain-timeout", "100ms"];
  await using chain = await startChain([...options, "127.0.0.1:0", server.address]);
  using peer = await client(chain.port);
  peer.send("a");
  await until(() => peer.text === "a", "the echo");
  await chain.upgrade();
  process.kill(chain.first.pid, "SIGTERM");
  await until(() => peer.wasReset, "the cut");
  await chain.gone(chain.first.pid);
  await echoes(chain.port);
  await chain.finish();
  expect(chain.stderr).toContain("drained: 1 cut off");
});

test("upgrade: the file of a unix socket stays, and goes with the last", async () => {
  using server = echoServer();
  const place = unixPlace();
  const path = place.slice("unix:".length);
  await using chain = await startChain([place, server.address]);
  await chain.upgrade();
  await chain.gone(chain.first.pid);
  expect(existsSync(path)).toBe(true);
  await echoes(place);
  await chain.finish();
  expect(existsSync(path)).toBe(false);
});

/** A program that can be replaced: what runs first is the balancer. */
function replaceable(path: string) {
  const file = join(path, "iawlb.ts");
  const real = `await import(${JSON.stringify(CLI)});\n`;
  writeFileSync(file, real);
  return {
    command: [process.execPath, file],
    become: (text: string) => writeFileSync(file, text),
    recover: () => writeFileSync(file, real),
  };
}

test.each([
  ["crashes", 'throw new Error("broken build");', "with exit code 1"],
  ["prints rubbish and ends", 'console.error("rubbish"); process.exit(0);', "with exit code 0"],
  ["says something else", 'process.send({ word: "hello" }); process.exit(7);', "with exit code 7"],
  ["hangs", "setInterval(() => {}, 1_000);", "was not ready within 6000 ms"],
  [
    "serves and never says so",
    `process.send = () => true;\nawait import(${JSON.stringify(CLI)});`,
    "was not ready within 6000 ms",
  ],
])(
  "upgrade: a new program that %s is gone again, and the next one can come",
  async (_, text, cause) => {
    using home = folder();
    using server = echoServer();
    const program = replaceable(home.path);
    const place = unixPlace();
    // The next one must be ready by then.
    const options = cause.includes("6000 ms") ? ["--upgrade-timeout", "6s"] : [];
    const { command } = program;
    await using chain = await startChain([...options, place, server.address], { command });
    program.become(text);
    const { words } = await chain.upgrade(false);
    expect(words).toContain("goes on");
    const told = () => chain.stderr.includes("no upgrade, nothing has changed: it");
    await until(told, "the cause", 20_000);
    expect(chain.stderr).toContain(cause);
    await echoes(place);
    program.recover();
    await chain.upgrade();
    await echoes(place);
    await chain.finish();
  },
);

test("upgrade: a second one meanwhile is refused, SIGTERM calls the first one off", async () => {
  using home = folder();
  using server = echoServer();
  const program = replaceable(home.path);
  const place = unixPlace();
  const { command } = program;
  await using chain = await startChain([place, server.address], { command });
  // It takes the descriptor over, serves, and never says so.
  program.become(`process.send = () => true;\nawait import(${JSON.stringify(CLI)});\n`);
  process.kill(chain.pid, "SIGUSR2");
  const started = () => chain.stderr.match(/listening on/g)?.length === 2;
  await until(started, "the second one");
  process.kill(chain.pid, "SIGUSR2");
  await until(() => chain.stderr.includes("no upgrade: one is under way"), "the refusal");
  await chain.finish(); // SIGTERM while it waits: the new one is ended, too
  expect(chain.stderr).toContain("nothing has changed: this process was told to end");
  expect(existsSync(place.slice("unix:".length))).toBe(false);
});

test("upgrade: what has connected before either accepts is served", async () => {
  using server = echoServer();
  await using chain = await startChain(["127.0.0.1:0", server.address]);
  process.kill(chain.pid, "SIGSTOP");
  const peers = await Promise.all(Array.from({ length: 100 }, () => client(chain.port)));
  for (const peer of peers) {
    peer.send("early");
    peer.finish();
  }
  process.kill(chain.pid, "SIGUSR2");
  process.kill(chain.pid, "SIGCONT");
  await until(() => peers.every((peer) => peer.over), "all of them");
  expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["early"]));
  const said = await until(() => /process (\d+) serves/.exec(chain.stderr), "the successor");
  chain.pids.push(Number(said[1]));
  await chain.finish();
  expect(chain.lines.length).toBe(100);
});

test("upgrade: no child of it hears of the hand-over", async () => {
  using home = folder();
  using server = echoServer();
  const program = replaceable(home.path);
  const { command } = program;
  await using chain = await startChain(["127.0.0.1:0", server.address], { command });
  const seen = join(home.path, "seen");
  program.become(
    `await import(${JSON.stringify(CLI)});\n` +
      `Bun.spawnSync(["sh", "-c", "env > ${seen}; ls -l /proc/self/fd >> ${seen}"], { env: process.env });\n`,
  );
  await chain.upgrade();
  await until(() => existsSync(seen) && readFileSync(seen, "utf8").includes("total"), "the child");
  expect(readFileSync(seen, "utf8")).not.toMatch(/IAWLB_HAND_OVER|LISTEN_FDS|NODE_CHANNEL/);
  await chain.finish();
});
