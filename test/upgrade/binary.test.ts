// The compiled program, replaced on the disk while it runs.

import { expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder, run } from "../e2e/program.ts";
import { client, echoServer, until } from "../net.ts";
import { startChain } from "./chain.ts";

setDefaultTimeout(120_000);

test("upgrade: the binary that lies in the old one's place is started, through a link as well", async () => {
  using home = folder();
  using server = echoServer();
  const root = join(import.meta.dir, "..", "..");
  const [first, second, link] = ["first", "second", "iawlb"].map((name) => join(home.path, name));
  if (first === undefined || second === undefined || link === undefined)
    throw new Error("no names");
  await run(["sh", "-c", 'cd "$0" && exec "$@"', root, process.execPath, "run", "build", first]);
  copyFileSync(first, second);
  symlinkSync(first, link);
  const become = (path: string) => {
    symlinkSync(path, `${link}.new`);
    renameSync(`${link}.new`, link);
  };
  const args = ["--threads", "2", "127.0.0.1:0", server.address];
  await using chain = await startChain(args, { command: [link] });
  using pair = await client(chain.port);
  pair.send("a");
  await until(() => pair.text === "a", "the echo");

  become(join(home.path, "missing"));
  await chain.upgrade(false);
  await until(() => chain.stderr.includes("it cannot be started: ENOENT"), "the cause");
  const text = join(home.path, "text");
  writeFileSync(text, "no program\n");
  become(text);
  await chain.upgrade(false);
  await until(() => chain.stderr.includes("it cannot be started: EACCES"), "the cause");
  expect(chain.stderr.match(/nothing has changed/g)?.length).toBe(2);

  become(second);
  rmSync(first); // what runs is deleted by now
  await chain.upgrade();
  expect(await Bun.file(`/proc/${chain.pid}/cmdline`).text()).toStartWith(link);
  pair.send("b");
  await until(() => pair.text === "ab", "the second echo");
  pair.finish();
  await chain.gone(chain.first.pid);
  using peer = await client(chain.port);
  peer.send("new");
  await until(() => peer.text === "new", "the echo of the new one");
  peer.finish();
  await until(() => peer.over, "its end");
  await chain.finish();
  expect(chain.lines.length).toBe(2);
});
