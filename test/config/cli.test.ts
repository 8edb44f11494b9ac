// `iawlb check` and `iawlb serve` with a file and the environment, as a user meets them.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CLI } from "../run.ts";
import { client, spawnBalancer, tagServer, until } from "../net.ts";
import { Files } from "./files.ts";

/** Runs the program to its end. */
async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  await using child = Bun.spawn([process.execPath, CLI, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_ENV: undefined, NO_COLOR: "1", ...env },
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, stdout, stderr };
}

const doubtful = "listen = 8080\ndestinations = [3001]\nslots = 1\nqueue-max = 0\n";

test("cli: the file in the README is right, and the schema it names is there", async () => {
  using files = new Files();
  const root = join(import.meta.dir, "../..");
  const blocks = [
    ...readFileSync(join(root, "README.md"), "utf8").matchAll(/```toml\n([^]*?)```/g),
  ];
  expect(blocks.length).toBeGreaterThan(0);
  for (const [, text = ""] of blocks) {
    const file = files.add("iawlb.toml", text);
    const { code, stdout, stderr } = await run(["check", "--strict", "--config", file]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^destinations  [23]$/m);
    const schema = /^#:schema \.\/(\S+)/.exec(text)?.[1] ?? "";
    expect(JSON.parse(readFileSync(join(root, schema), "utf8"))).toMatchObject({ title: "iawlb" });
  }
});

test("cli: check tells every mistake of a file, exit code 2; with --json as JSON with its place", async () => {
  using files = new Files();
  const file = files.add("a.toml", 'slotz = 1\nlisten = 80\ndestinations = ["x"]\n');
  const told = await run(["check", "--config", file]);
  expect({ code: told.code, stdout: told.stdout }).toEqual({ code: 2, stdout: "" });
  expect(told.stderr.split("\n")).toEqual([
    `${file}:1:1: key "slotz" is unknown; iawlb --help lists them all; did you mean slots?`,
    `${file}:3:17: destinations[0]: the port is missing; accepted are 3001, 10.0.0.2:3001, [::1]:3001, name:3001 and unix:/path`,
    "all options: iawlb --help",
    "",
  ]);
  const { code, stdout } = await run(["check", "--config", file, "--json"]);
  expect(code).toBe(2);
  expect(JSON.parse(stdout).mistakes[1]).toMatchObject({
    code: "bad-address",
    at: { file, line: 3, column: 17, path: "destinations[0]" },
  });
});

test("cli: a warning is told by check and by a start, and is a mistake with --strict", async () => {
  using files = new Files();
  const file = files.add("a.toml", doubtful);
  const words = `${file}:4:13: queue-max: nobody may wait, and slots are limited; clients are refused when all slots are taken\n`;
  expect(await run(["check", "--config", file])).toMatchObject({
    code: 0,
    stderr: `warning: ${words}`,
  });
  const strict = await run(["check", "--strict", "--config", file]);
  expect(strict).toEqual({ code: 2, stdout: "", stderr: `${words}all options: iawlb --help\n` });
  const json = await run(["check", "--json", "--config", file]);
  expect(JSON.parse(json.stdout)).toMatchObject({
    file,
    warnings: [{ code: "warning" }],
    listeners: [{ name: "main", slots: 1 }],
  });
});

test("cli: check --print is a file that says the same; check needs no file", async () => {
  using files = new Files();
  const args = [
    "--slots",
    "2",
    "--policy=hash",
    "8080",
    "3001,weight=3",
    "[::1]:3002,backup,name=two",
  ];
  const printed = await run(["check", "--print", ...args]);
  expect(printed).toMatchObject({ code: 0, stderr: "" });
  const file = files.add("a.toml", printed.stdout);
  const [plain, again] = await Promise.all([
    run(["check", ...args]),
    run(["check", "--config", file]),
  ]);
  expect(again.stdout).toBe(plain.stdout);
  const json = JSON.parse((await run(["check", "--print", "--json", "--config", file])).stdout);
  expect(json.configuration).toMatchObject({
    watch: false,
    listener: [{ name: "main", slots: 2, policy: "hash" }],
  });
  expect(json.origins).toMatchObject({
    "listener[0].slots": expect.stringMatching(/a\.toml:\d+$/),
  });
});

test("cli: check says each listener of a file by its name", async () => {
  using files = new Files();
  const one = (name: string, port: number) =>
    `[[listener]]\nname = "${name}"\nlisten = ${port}\ndestinations = [1]\n`;
  const { stdout } = await run([
    "check",
    "--config",
    files.add("a.toml", one("web", 80) + one("db", 81)),
  ]);
  const lines = stdout.split("\n").filter((line) => line.startsWith("listen"));
  expect(lines.map((line) => line.replace(/,.*/, ""))).toEqual([
    "listener      web",
    "listen        port 80 of every interface",
    "listener      db",
    "listen        port 81 of every interface",
  ]);
});

test("cli: a start by a file, with an option that counts more", async () => {
  using server = tagServer("a");
  using files = new Files();
  const file = files.add(
    "a.toml",
    `access-log = "off"\nlisten = "127.0.0.1:0"\ndestinations = [${server.port}]\n`,
  );
  await using balancer = await spawnBalancer(["--config", file, "--access-log=logfmt"]);
  using peer = await client(balancer.port);
  expect(await until(() => peer.text === "a" && peer.text, "what the destination says")).toBe("a");
  peer.finish();
  expect(await balancer.stop()).toBe(0);
  expect(balancer.stdout).toHaveLength(1);
});

test("cli: a start by the environment alone", async () => {
  using server = tagServer("a");
  const env = {
    IAWLB_LISTEN: "127.0.0.1:0",
    IAWLB_DESTINATIONS: String(server.port),
    IAWLB_ACCESS_LOG: "json",
  };
  await using balancer = await spawnBalancer([], { env });
  using peer = await client(balancer.port);
  expect(await until(() => peer.text === "a" && peer.text, "what the destination says")).toBe("a");
  peer.finish();
  expect(await balancer.stop()).toBe(0);
  expect(JSON.parse(balancer.stdout[0] ?? "")).toMatchObject({ reason: "done" });
});
