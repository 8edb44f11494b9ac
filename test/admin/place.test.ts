// Where the admin side cannot be made: that is told as a mistake of the address, and nothing else stays behind.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { socketFile } from "../../src/admin/place.ts";
import { ListenError } from "../../src/engine/listen.ts";
import { folder } from "../e2e/program.ts";
import { CLI, echoServer } from "../net.ts";

setDefaultTimeout(30_000);

const nobody = () => false;

test("place: a path that cannot be looked at, or is not for a socket, is a ListenError that says why", async () => {
  using home = folder();
  const at = (name: string) => join(home.path, name);
  symlinkSync(at("round"), at("round"));
  writeFileSync(at("file"), "");
  mkdirSync(at("folder"));
  for (const [path, cause] of [
    ["round/a.sock", "ELOOP"],
    ["file/a.sock", "ENOTDIR"],
    ["no/such/a.sock", "ENOENT"],
    ["folder", "the file there is no socket"],
  ] as const) {
    const made = socketFile(at(path), nobody);
    await expect(made).rejects.toThrow(ListenError);
    await expect(made).rejects.toThrow(cause);
  }
});

test("place: a program whose admin socket cannot be made says so in a line, exit code 1", async () => {
  using home = folder();
  using server = echoServer();
  const folderPath = join(home.path, "round");
  symlinkSync(folderPath, folderPath);
  const args = ["--admin", `unix:${folderPath}/a.sock`, "127.0.0.1:0", server.address];
  const child = Bun.spawn([process.execPath, CLI, ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const [code, text] = [await child.exited, await new Response(child.stderr).text()];
  expect([code, text]).toEqual([
    1,
    expect.stringContaining("a.sock: it cannot be looked at (ELOOP)"),
  ]);
  expect(text).not.toMatch(/^ +at /m); // no stack
});
