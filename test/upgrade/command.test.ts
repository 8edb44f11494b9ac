// One attempt at an upgrade, how a program is started anew, and `iawlb upgrade` where there is nothing to upgrade.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { openDescriptor } from "../../src/engine/listen.ts";
import { libc } from "../../src/linux/libc.ts";
import { askToUpgrade } from "../../src/upgrade-command.ts";
import { ownCommand, upgrade, type Upgrade } from "../../src/upgrade.ts";
import { folder } from "../e2e/program.ts";
import { CLI, until } from "../net.ts";

const shell = (script: string): readonly string[] => ["sh", "-c", script];

async function attempt(
  command: readonly string[],
  times: { readonly timeoutMs?: number; readonly endMs?: number } = {},
  during: (upgrade: Upgrade) => void | Promise<void> = () => {},
): Promise<string | null> {
  if (libc === null) throw new Error("this takes the C library of Linux");
  const descriptor = openDescriptor(libc, { ip: "127.0.0.1", port: 0 }, 16);
  const attempt = upgrade({
    descriptors: [descriptor],
    command,
    environment: { PATH: process.env["PATH"] },
    timeoutMs: 10_000,
    ...times,
    onReady: () => {},
  });
  await during(attempt);
  const fault = await attempt.fault;
  descriptor.close();
  return fault;
}

test.each([
  ["is missing", ["/no/such/program"], "it cannot be started: ENOENT"],
  ["ends", shell("exit 3"), "it has ended with exit code 3 before it was ready"],
  ["kills itself", shell("kill -SEGV $$"), "it has ended by signal SIGSEGV before it was ready"],
])("upgrade: one that %s is named", async (_, command, fault) => {
  expect(await attempt(command)).toStartWith(fault);
});

test("upgrade: one that takes no SIGTERM is killed", async () => {
  const command = shell("trap '' TERM; while :; do sleep 0.05; done");
  const times = { timeoutMs: 100, endMs: 100 };
  expect(await attempt(command, times)).toBe("it was not ready within 100 ms");
});

test("upgrade: one that is called off is gone before that is told", async () => {
  using home = folder();
  const path = join(home.path, "pid");
  const command = shell(`echo $$ > ${path}; exec sleep 60`);
  const pidOf = async () => Number(await Bun.file(path).text());
  const fault = await attempt(command, {}, async (attempt) => {
    await until(async () => (await Bun.file(path).exists()) && (await pidOf()) > 0, "its start");
    attempt.cancel("enough", true);
    attempt.cancel("more than that", false);
  });
  expect(fault).toBe("enough");
  const pid = await pidOf();
  expect(() => process.kill(pid, 0)).toThrow();
});

test("upgrade: without a descriptor there is nothing to hand on", async () => {
  const request = { command: ["true"], environment: {}, timeoutMs: 1, onReady() {} };
  expect(await upgrade({ ...request, descriptors: [] }).fault).toContain("no listening descriptor");
  const one = { fd: 0, address: "", isForeign: false };
  const many = Array.from({ length: 1_025 }, () => one);
  expect(await upgrade({ ...request, descriptors: many }).fault).toContain("more than 1024");
});

test("upgrade: the program is started by the name it was called by", () => {
  const of = (argv0: string, script: string, execArgv: string[] = []) =>
    ownCommand(
      { argv: ["bun", script, "8080", "3001"], argv0, execArgv, execPath: "/opt/bun (deleted)" },
      script,
      "/srv",
    ).join(" ");
  expect(of("bun", "/a/cli.ts", ["--smol"])).toBe("/opt/bun --smol /a/cli.ts 8080 3001");
  expect(of("/usr/bin/iawlb", "/$bunfs/root/iawlb")).toBe("/usr/bin/iawlb 8080 3001");
  expect(of("./iawlb", "/$bunfs/root/iawlb")).toBe("/srv/iawlb 8080 3001");
  expect(of("sh", "/$bunfs/root/iawlb")).toBe(`${Bun.which("sh")} 8080 3001`);
  expect(of("no such name", "/$bunfs/root/iawlb")).toBe("/opt/bun 8080 3001");
});

test("upgrade: a process that would die of the signal is not sent it", async () => {
  const child = Bun.spawn(["sleep", "60"]);
  const { done, words } = await askToUpgrade(child.pid);
  expect([done, words]).toEqual([
    false,
    `process ${child.pid} takes no SIGUSR2, so it is no balancer that runs`,
  ]);
  expect(child.exitCode).toBe(null);
  child.kill();
  await child.exited;
  await until(
    async () => (await askToUpgrade(child.pid)).words.endsWith("is not there"),
    "its end",
  );
});

test.each([
  [["--admin", "unix:/nowhere.sock"], 1, "/nowhere.sock"],
  [["--admin", "192.0.2.1:9090"], 1, "192.0.2.1:9090 may be another machine"],
  [["--pid", "many"], 2, "--pid many"],
  [["--pid", "1", "8080"], 2, "8080: is not needed; upgrade takes --pid N or --admin ADDRESS"],
  [["--pid", "4194304"], 1, "process 4194304 is not there"],
])("cli: upgrade %p says what is wrong", async (args, code, words) => {
  const child = Bun.spawn([process.execPath, CLI, "upgrade", ...args], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { ...process.env, NODE_ENV: undefined, NO_COLOR: "1" },
  });
  expect(await new Response(child.stderr).text()).toContain(words);
  expect(await child.exited).toBe(code);
});
