// The compiled program: one file that needs nothing beside it.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { client, echoServer, until } from "../net.ts";
import { folder, run } from "./program.ts";
import { endings, spawn } from "./ways.ts";

setDefaultTimeout(120_000);

test("binary: is built, tells its version, balances, and stops on SIGTERM", async () => {
  using home = folder();
  const root = join(import.meta.dir, "..", "..");
  const binary = join(home.path, "iawlb");
  await run(["sh", "-c", 'cd "$0" && exec "$@"', root, process.execPath, "run", "build", binary]);
  expect((await run([binary, "--version"])).toString().trim()).toContain(manifest.version);

  // Nothing that lies where it is started becomes a part of it.
  const cwd = join(home.path, "elsewhere");
  mkdirSync(cwd);
  writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./fault.ts"]\n');
  writeFileSync(join(cwd, "fault.ts"), 'throw new Error("this was preloaded");\n');
  using server = echoServer();
  await using balancer = await spawn([server.address], { command: [binary], cwd });
  using peer = await client(balancer.port);
  peer.send("through the binary");
  peer.finish();
  await until(() => peer.over, "the echo");
  expect(peer.text).toBe("through the binary");
  const ended = await balancer.finish(1); // by SIGTERM, exit 0
  expect(endings(ended)).toEqual(["done -- client"]);
});
