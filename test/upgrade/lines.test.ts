// Two processes write their access lines into one pipe while the old one's pairs last.

import { expect, test } from "bun:test";
import { AccessLog, type AccessRecord } from "../../src/control/access-log.ts";
import { rawPipe, until } from "../net.ts";

const record: AccessRecord = {
  at: 0,
  id: 1,
  client: "127.0.0.1:54588",
  listener: "127.0.0.1:8080",
  destination: "one",
  tried: [],
  queueMs: 0,
  connectMs: 0,
  firstByteMs: 0,
  totalMs: 0,
  slotMs: 0,
  bytesUp: 1,
  bytesDown: 2,
  state: "--",
  closedBy: "client",
  reason: "done",
  preface: null,
};

/** Both at once, more than the pipe holds. @returns the lines that came. */
async function linesOf(): Promise<readonly string[]> {
  using pipe = rawPipe();
  const count = 3_000;
  const logs = [1, 2].map(() => new AccessLog(pipe.writeFd, "logfmt", () => {}));
  for (const [index, log] of logs.entries()) {
    log.share();
    // One writes lines of another length, so that no cut falls between two by chance.
    const client = index === 0 ? record.client : "[2001:db8:1:2:3:4:5:6]:54588";
    for (let id = 1; id <= count; id += 1) log.push({ ...record, id, client });
  }
  let text = "";
  const isAll = () => {
    if (pipe.size() > 0) text += pipe.read();
    return text.split("\n").length > 2 * count;
  };
  await until(isAll, "all lines");
  await Promise.all(logs.map((log) => log.close()));
  return text.split("\n").slice(0, -1);
}

const isWhole = (line: string): boolean => /^time=\S+ id=\d+ \S.* reason=done$/.test(line);

test("access log: lines of two processes in one pipe stay whole", async () => {
  const lines = await linesOf();
  expect(lines.filter((line) => !isWhole(line) || line.split("time=").length > 2)).toEqual([]);
  expect(lines.length).toBe(6_000);
});

test("access log: a line longer than one piece goes alone", async () => {
  using pipe = rawPipe();
  const log = new AccessLog(pipe.writeFd, "logfmt", () => {});
  log.share();
  const tried = ["x".repeat(5_000)];
  for (const each of [record, { ...record, tried }, record]) log.push(each);
  let text = "";
  await until(() => {
    if (pipe.size() > 0) text += pipe.read();
    return text.split("\n").length > 3;
  }, "three lines");
  await log.close();
  expect(text.split("\n").map((line) => line.length > 5_000)).toEqual([false, true, false, false]);
});
