// What is told of the difference between two sets of options.
import { expect, test } from "bun:test";
import { changesOf, withKept } from "../../src/control/changes.ts";
import { parseOptions } from "../../src/control/options.ts";

const pairs = { all: 9, of: (name: string) => name.length };

function changes(before: string, after: string): string[] {
  const [from, to] = [before, after].map((text) => parseOptions(text.split(" ")));
  if (from === undefined || to === undefined) throw new Error("no options");
  return changesOf(from, to, pairs).map((each) => {
    return `${each.what}: ${each.from} -> ${each.to} (${each.pairs})${each.kept ? " kept" : ""}`;
  });
}

test.each([
  ["8080 a:1", "8080 a:1", []],
  ["8080 a:1,name=a", "8080 --idle-timeout 90s a:1,name=a", ["idle-timeout: 1h -> 90s (9)"]],
  ["8080 a:1,name=aa", "8080 --slots 4 a:1,name=aa", ["slots: 0 -> 4 (9)"]],
  ["8080 a:1,name=aa", "8080 a:1,name=aa,slots=4", ["destination aa: slots: 0 -> 4 (2)"]],
  [
    "8080 --slots 2 a:1,name=aa",
    "8080 --slots 3 a:1,name=aa,slots=4",
    ["slots: 2 -> 3 (9)", "destination aa: slots: 2 -> 4 (2)"],
  ],
  [
    "8080 a:1,name=a b:1,name=b",
    "8080 b:2,name=b,backup c:1,name=c,weight=3",
    [
      "destination b: address: b:1 -> b:2 (1)",
      "destination b: backup: false -> true (1)",
      "destination c:  -> c:1 (0)",
      "destination a: a:1 ->  (1)",
    ],
  ],
  [
    "8080 --engine bun a:1,name=a",
    "8081 --engine libc --threads 2 --backlog 9 a:1,name=a",
    [
      "listen: *:8080 -> *:8081 (0) kept",
      "threads: 1 -> 2 (0) kept",
      "engine: bun -> libc (0) kept",
      "backlog: 4096 -> 9 (0) kept",
    ],
  ],
  [
    "8080 a:1,name=a",
    "8080 --deny 10.0.0.0/8 --max-age 1m+-10% --rate-per-client 5/s a:1,name=a",
    ["max-age: 0 -> 1m±10% (9)", "rate-per-client: 0/s -> 5/s (9)", "deny:  -> 10.0.0.0/8 (9)"],
  ],
  [
    "8080 a:1,name=a",
    "8080 --health-interval 3s a:1,name=a,health-http=/up",
    ["health-interval: 2s -> 3s (9)", "destination a: health-http:  -> /up (1)"],
  ],
])("changes: from %s to %s", (before, after, expected) => {
  expect(changes(before, after)).toEqual(expected);
});

test("changes: what takes a new process is left out of what runs then", () => {
  const before = parseOptions(["8080", "a:1"]);
  const wanted = parseOptions(["--threads", "3", "--slots", "2", "8081", "a:1"]);
  const { threadCount, slots, listen, destinations } = withKept(before, wanted);
  expect({ threadCount, slots, listen }).toEqual({
    threadCount: 1,
    slots: 2,
    listen: before.listen,
  });
  expect(destinations[0]?.slots).toBe(2);
});
