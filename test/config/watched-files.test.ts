// Files that are watched together: those that are named now, no others, and not without limit.

import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { WatchedFiles } from "../../src/config/watched-files.ts";
import { until } from "../wait.ts";
import { Files } from "./files.ts";

test("watched: each of the files tells, and one that is named no more does not", async () => {
  using files = new Files();
  const [a, b, c] = [files.add("a", "1"), files.add("b", "1"), files.add("c", "1")];
  let count = 0;
  const told: string[] = [];
  const watched = new WatchedFiles(
    () => count++,
    (message) => void told.push(message),
  );
  try {
    await watched.follow([a, b], Date.now());
    writeFileSync(a, "22");
    await until(() => count === 1, "the first");
    writeFileSync(b, "22");
    await until(() => count === 2, "the second");
    await watched.follow([b, c], Date.now());
    writeFileSync(a, "333");
    writeFileSync(c, "22");
    await until(() => count === 3, "the new one");
    writeFileSync(b, "333");
    await until(() => count === 4, "the one that stayed");
    expect(told).toEqual([]);
  } finally {
    watched.close();
  }
  await watched.follow([a], Date.now());
  writeFileSync(a, "4444");
  writeFileSync(b, "4444");
  const last = new WatchedFiles(
    () => count++,
    () => {},
  );
  await last.follow([c], Date.now());
  writeFileSync(c, "4444");
  await until(() => count === 5, "another watch, after which nothing of the closed one is to come");
  last.close();
});

test("watched: there is a limit, which is told", async () => {
  using files = new Files();
  const told: string[] = [];
  const watched = new WatchedFiles(
    () => {},
    (message) => void told.push(message),
  );
  await watched.follow(
    Array.from({ length: 1_024 }, (_, index) => files.path(`${index}`)),
    Date.now(),
  );
  expect(told).toEqual([]);
  await watched.follow(
    Array.from({ length: 1_025 }, (_, index) => files.path(`${index}`)),
    Date.now(),
  );
  expect(told).toEqual(["of 1025 files, 1024 are watched; SIGHUP reads all of them"]);
  watched.close();
});
