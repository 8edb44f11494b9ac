// Durations and sizes: what is read, what is written, and that one is the other's inverse.

import { expect, test } from "bun:test";
import { formatDuration, formatSize, readDuration, readSize } from "../../src/control/value.ts";
import { withSeed } from "../wait.ts";

test.each([
  ["0", 0],
  ["0ms", 0],
  ["1ms", 1],
  ["500ms", 500],
  ["15s", 15_000],
  ["5m", 300_000],
  ["1h", 3_600_000],
])("value: the duration %s is read", (text, ms) => {
  expect(readDuration(text, 0, 1e9)).toEqual({ value: ms, fault: null });
});

test.each([
  ["0", 0],
  ["512B", 512],
  ["64KiB", 65_536],
  ["1MiB", 1_048_576],
  ["2GiB", 2_147_483_648],
])("value: the size %s is read", (text, bytes) => {
  expect(readSize(text, 0, 2 ** 40)).toEqual({ value: bytes, fault: null });
});

test.each([
  ["64", "64B"],
  ["64k", "64KiB"],
  ["64kb", "64KiB"],
  ["1M", "1MiB"],
  ["1 gib", "1GiB"],
  ["big", ""],
])("value: the size %p is a mistake with its near miss", (text, suggestion) => {
  expect(readSize(text, 0, 2 ** 40).fault).toMatchObject({ code: "bad-value", suggestion });
});

test("value: a size out of range is a mistake that says the range", () => {
  const { fault } = readSize("2MiB", 512, 2 ** 20);
  expect(fault?.code).toBe("out-of-range");
  expect(fault?.accepted).toContain("from 512B to 1MiB");
});

test("value: every duration and size is read back as written", async () => {
  await withSeed((random) => {
    for (let i = 0; i < 1_000; i++) {
      const scale = [1, 1_000, 1_024, 60_000, 3_600_000, 2 ** 20][random.int(6)] ?? 1;
      const amount = random.int(500) * scale;
      expect(readDuration(formatDuration(amount), 0, 2 ** 40).value).toBe(amount);
      expect(readSize(formatSize(amount), 0, 2 ** 40).value).toBe(amount);
    }
  });
});
