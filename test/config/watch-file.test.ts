// A file that changes in the ways in which files change: each is told, once.

import { expect, test } from "bun:test";
import {
  appendFileSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { watchFile } from "../../src/config/watch-file.ts";
import { until } from "../wait.ts";
import { Files } from "./files.ts";

/** Watches, and makes each change after the one before it was told. */
async function tells(file: string, changes: readonly (() => void)[]): Promise<void> {
  let count = 0;
  const watch = await watchFile(file, () => count++);
  try {
    for (const [index, change] of changes.entries()) {
      change();
      await until(() => count > index, `change ${index + 1} is told`);
      expect(count).toBe(index + 1);
    }
  } finally {
    watch.close();
  }
}

test("watch: written over, replaced by rename as editors do, gone and there again", async () => {
  using files = new Files();
  const file = files.add("a.toml", "1");
  await tells(file, [
    () => writeFileSync(file, "22"),
    () => renameSync(files.add("a.toml~", "333"), file),
    () => renameSync(files.add("a.toml~", "4444"), file),
    () => {
      rmSync(file);
      files.add("a.toml", "55555");
    },
    () => appendFileSync(file, "6"),
  ]);
});

test("watch: behind links that are turned, as clusters mount a configuration", async () => {
  using files = new Files();
  for (const version of ["v1", "v2", "v3"]) {
    mkdirSync(files.path(version));
    writeFileSync(files.path(`${version}/a.toml`), version);
  }
  symlinkSync("v1", files.path("..data"));
  symlinkSync("..data/a.toml", files.path("a.toml"));
  const turn = (version: string) => () => {
    symlinkSync(version, files.path("..next"));
    renameSync(files.path("..next"), files.path("..data"));
    if (version === "v2") rmSync(files.path("v1"), { recursive: true });
  };
  await tells(files.path("a.toml"), [
    turn("v2"),
    turn("v3"),
    () => appendFileSync(files.path("v3/a.toml"), "+"),
  ]);
});

test("watch: a directory of the path that is a link elsewhere", async () => {
  using files = new Files();
  mkdirSync(files.path("one"));
  mkdirSync(files.path("two"));
  files.add("one/a.toml", "1");
  files.add("two/a.toml", "22");
  symlinkSync(files.path("one"), files.path("now"));
  await tells(files.path("now/a.toml"), [
    () => {
      symlinkSync(files.path("two"), files.path("next"));
      renameSync(files.path("next"), files.path("now"));
    },
    () => appendFileSync(files.path("two/a.toml"), "3"),
  ]);
});

test("watch: a file that is not there yet is told when it is", async () => {
  using files = new Files();
  await tells(files.path("a.toml"), [() => void files.add("a.toml", "1")]);
});

test("watch: a burst of writes is told once, and files beside it not at all", async () => {
  using files = new Files();
  const file = files.add("a.toml", "1");
  let count = 0;
  const watch = await watchFile(file, () => count++);
  const busy = setInterval(() => files.add("b.log", String(Math.random())), 5);
  try {
    for (let i = 0; i < 10; i++) appendFileSync(file, "x");
    await until(() => count > 0, "it is told, although the directory is never quiet");
    utimesSync(file, 1, 1);
    await until(() => count > 1, "the next change is told");
    expect(count).toBe(2);
  } finally {
    clearInterval(busy);
    watch.close();
  }
});

test("watch: nothing is told after the end", async () => {
  using files = new Files();
  const file = files.add("a.toml", "1");
  let closed = 0;
  let open = 0;
  const first = await watchFile(file, () => closed++);
  const second = await watchFile(file, () => open++);
  first.close();
  writeFileSync(file, "22");
  await until(() => open > 0, "the other one is told");
  second.close();
  expect(closed).toBe(0);
});
