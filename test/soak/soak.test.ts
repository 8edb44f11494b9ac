// The soak in short, and what it is worth: a relay that does wrong is found out.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { seeded, until } from "../wait.ts";
import type { ClientRecord } from "./client.ts";
import { connectClient } from "./client.ts";
import type { Course, Kind } from "./course.ts";
import { serveDestination } from "./destination.ts";
import { drawCourse } from "./draw.ts";
import { judgeClient, type Violation } from "./judge.ts";
import { judgeMemory } from "./memory.ts";
import { parseSoak } from "./options.ts";
import { patternOf } from "./pattern.ts";
import { relay, wrongs, type Wrong } from "./relay.ts";
import { soak } from "./run.ts";

setDefaultTimeout(120_000);

const program = join(import.meta.dir, "soak.ts");

for (const [engine, threads] of [
  ["bun", "1"],
  ["libc", "3"],
] as const) {
  test(`soak: two seconds and a half over ${engine}, threads ${threads}`, async () => {
    const report = await soak({ seed: 7, ms: 2_500, engine, threads, rate: 150 });
    expect(report.violations).toEqual([]);
    expect(report.connectionCount).toBeGreaterThan(50);
    expect(report.bytes).toBeGreaterThan(100_000);
  });
}

describe("soak: the checks find a relay that", () => {
  for (const wrong of wrongs.filter((each) => each !== "none")) {
    test(wrong, async () => {
      const found = await throughRelay(wrong);
      const kinds = new Set(found.map(({ kind }) => kind));
      expect([...kinds].some((kind) => expected[wrong].includes(kind))).toBe(true);
    });
  }

  test("does nothing wrong: no violation", async () => {
    expect(await throughRelay("none")).toEqual([]);
  });
});

const bytesWrong = ["wrong bytes"] as const;
const expected: Readonly<Record<Wrong, readonly Violation["kind"][]>> = {
  none: [],
  "swaps bytes": bytesWrong,
  "drops bytes": ["wrong bytes", "missing bytes"],
  "doubles bytes": bytesWrong,
  "changes a byte": bytesWrong,
  "ends early": ["missing bytes"],
  "mixes connections": bytesWrong,
  "ends instead of a reset": ["missing bytes"],
};

/** Thirty connections at once. @returns what either side finds wrong. */
async function throughRelay(wrong: Wrong): Promise<readonly Violation[]> {
  const pattern = patternOf(3);
  const found: Violation[] = [];
  const add = (violation: Violation) => found.push(violation);
  const orders = { number: 0, host: "127.0.0.1", port: 0, patternSeed: 3 };
  const destination = serveDestination(orders, pattern, add);
  const between = relay(destination.port, wrong);
  const around = { wasKilled: () => false, queueMs: 15_000 };
  const open = new Set<ClientRecord>();
  const onOver = (record: ClientRecord) => {
    open.delete(record);
    const judged = judgeClient(record, null, around);
    if (typeof judged !== "string") add(judged);
  };
  const random = seeded(5);
  const kinds: readonly Kind[] =
    wrong === "ends instead of a reset" ? ["destination-resets"] : ["bulk", "slow", "echo"];
  for (let id = 1; id <= 30; id++) {
    const kind = kinds[id % kinds.length] ?? "bulk";
    open.add(connectClient(courseOf(drawCourse(random, id, kind)), { ...host(), onOver }));
  }
  function host() {
    return { port: between.port, pattern };
  }
  // What a broken relay leaves hanging is not of interest here.
  await until(() => open.size === 0, "all clients", wrong === "none" ? 30_000 : 4_000).catch(() => {
    if (wrong === "none") add({ kind: "stuck", text: `${open.size} clients` });
  });
  for (const record of open) record.end?.cutOff();
  await Bun.sleep(50);
  between.stop();
  destination.stop();
  return found;
}

/** Resets come in the middle, so that bytes are missing. */
function courseOf(course: Course): Course {
  if (course.cut === null) return course;
  const up = { ...course.up, size: 100 };
  const down = { ...course.down, size: 200_000 };
  return { ...course, up, down, cut: { by: course.cut.by, at: 50_000 } };
}

test("soak: memory that grows is a violation, memory that stays is none", () => {
  const samples = (kiBOf: (at: number) => number) =>
    Array.from({ length: 600 }, (_, index) => ({
      at: index * 200,
      kiB: kiBOf(index),
      connectionCount: index * 60,
    }));
  expect(
    judgeMemory(
      samples(() => 90_000),
      1,
    )?.violation,
  ).toBeNull();
  const leaking = samples((at) => 90_000 + at * 60);
  const { violation, lastMiB = 0, middleMiB = 0 } = judgeMemory(leaking, 1) ?? {};
  expect(violation?.kind).toBe("memory");
  const heapCount = Math.ceil((lastMiB - middleMiB) / 8);
  expect(judgeMemory(leaking, heapCount)?.violation).toBeNull();
  expect(judgeMemory([], 1)).toBeNull();
});

test("soak: options", () => {
  expect(parseSoak(["--time", "2m", "--threads", "3", "--engine", "libc", "--seed", "9"])).toEqual({
    ms: 120_000,
    seed: 9,
    threads: "3",
    engine: "libc",
    rate: 300,
    json: false,
  });
  expect(parseSoak(["--help"])).toBe("help");
  expect(parseSoak(["--threads", "0", "--engine", "tcp"])).toHaveLength(2);
});

test("soak: an unknown option is a mistake, exit code 2; --help has an example, 0", async () => {
  const run = async (option: string) => {
    const child = Bun.spawn([process.execPath, program, option], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const [out, error] = [await child.stdout.text(), await child.stderr.text()];
    return { code: await child.exited, out, error };
  };
  expect(await run("--sed")).toMatchObject({ code: 2, error: expect.stringContaining("--sed") });
  expect(await run("--help")).toMatchObject({ code: 0, out: expect.stringContaining("Example: ") });
});
