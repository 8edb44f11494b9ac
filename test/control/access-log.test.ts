// The access log: three formats of one line each, and a writer that never stands in the way of traffic.

import { describe, expect, test } from "bun:test";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AccessLog, type AccessRecord, formatRecord } from "../../src/control/access-log.ts";
import { until, withSeed } from "../wait.ts";

const plain: AccessRecord = {
  at: Date.UTC(2026, 1, 3, 4, 5, 6, 78) + 0.9,
  id: 7,
  client: "1.2.3.4:5",
  listener: "127.0.0.1:8080",
  destination: "3001",
  tried: [],
  queueMs: 0.12345,
  connectMs: 1.5,
  firstByteMs: 20,
  totalMs: 1234.5678,
  slotMs: 1000,
  bytesUp: 80,
  bytesDown: 2 ** 40,
  state: "--",
  closedBy: "client",
  reason: "done",
  preface: null,
};
const refused: AccessRecord = {
  ...plain,
  client: "[::1]:5",
  destination: "",
  tried: ["a", "b"],
  connectMs: -1,
  firstByteMs: -1,
  slotMs: -1,
  bytesDown: 0,
  state: "sQ",
  closedBy: "balancer",
  reason: "queue-timeout",
};
const formats = ["logfmt", "json", "haproxy"] as const;

describe("formats", () => {
  test("access log: logfmt has every field in its order, a whole connection and a refused one", () => {
    expect(formatRecord(plain, "logfmt")).toBe(
      'time=2026-02-03T04:05:06.078Z id=7 client=1.2.3.4:5 listener=127.0.0.1:8080 destination=3001 tried="" ' +
        "queue_ms=0.123 connect_ms=1.5 first_byte_ms=20 total_ms=1234.568 slot_ms=1000 bytes_up=80 bytes_down=1099511627776 " +
        "state=-- closed_by=client reason=done\n",
    );
    expect(formatRecord(refused, "logfmt")).toBe(
      'time=2026-02-03T04:05:06.078Z id=7 client=[::1]:5 listener=127.0.0.1:8080 destination="" tried=a,b ' +
        "queue_ms=0.123 connect_ms=-1 first_byte_ms=-1 total_ms=1234.568 slot_ms=-1 bytes_up=80 bytes_down=0 " +
        "state=sQ closed_by=balancer reason=queue-timeout\n",
    );
  });

  test("access log: json has the same fields, with numbers and a list", () => {
    const parsed = JSON.parse(formatRecord(refused, "json"));
    expect(parsed).toEqual({
      time: "2026-02-03T04:05:06.078Z",
      id: 7,
      client: "[::1]:5",
      listener: "127.0.0.1:8080",
      destination: "",
      tried: ["a", "b"],
      queue_ms: 0.123,
      connect_ms: -1,
      first_byte_ms: -1,
      total_ms: 1234.568,
      slot_ms: -1,
      bytes_up: 80,
      bytes_down: 0,
      state: "sQ",
      closed_by: "balancer",
      reason: "queue-timeout",
    });
    const names = [...formatRecord(plain, "logfmt").matchAll(/(\w+)=/g)].map((match) => match[1]);
    expect(Object.keys(parsed)).toEqual(names as string[]);
  });

  test("access log: haproxy has the fields of its TCP line, in local time", () => {
    const { year, month, day, hour } = localParts(plain.at);
    const time = `${day}/${month}/${year}:${hour}:05:06.078`;
    expect(formatRecord(plain, "haproxy")).toBe(
      `1.2.3.4:5 [${time}] 127.0.0.1:8080 iawlb/3001 0/2/1235 1099511627776 -- 0/0/0/0/0 0/0\n`,
    );
    expect(formatRecord(refused, "haproxy")).toBe(
      `[::1]:5 [${time}] 127.0.0.1:8080 iawlb/<NOSRV> 0/-1/1235 0 sQ 0/0/0/0/+2 0/0\n`,
    );
  });

  test("access log: the time is right across seconds, forwards and backwards", () => {
    for (const at of [0, 999, 1_000, 1_700_000_000_999, 1_700_000_001_000, 1_700_000_000_001]) {
      const line = formatRecord({ ...plain, at }, "logfmt");
      expect(line.slice(5, 29)).toBe(new Date(at).toISOString());
    }
  });

  test("access log: what would end or part a line is escaped, in every format", () => {
    const name = 'a b"c=d\\e\n\r\t\u001b[31m\u009b\u2028é';
    const record = { ...plain, destination: name, tried: [name] };
    const shown = '"a b\\"c=d\\\\e\\n\\r\\t\\u001b[31m\\u009b\\u2028é"';
    expect(formatRecord(record, "logfmt")).toContain(` destination=${shown} tried=${shown} `);
    expect(JSON.parse(formatRecord(record, "json"))).toMatchObject({ destination: name });
    expect(formatRecord(record, "haproxy")).toContain(' iawlb/a_b"c=d\\e____[31m__é 0/2/1235 ');
  });

  test("access log: one record is one printable line, whatever the names", async () => {
    await withSeed((random) => {
      const text = () => {
        const codes = Array.from({ length: random.int(6) }, () =>
          random.int(random.int(2) ? 160 : 0x3000),
        );
        return String.fromCharCode(...codes);
      };
      for (let i = 0; i < 1_000; i++) {
        const names = { client: text(), listener: text(), destination: text(), state: text() };
        for (const format of formats) {
          const line = formatRecord({ ...plain, ...names, tried: [text(), text()] }, format);
          expect(line).toMatch(/^[^\p{Cc}\u2028\u2029]+\n$/u);
          if (format === "json") expect(JSON.parse(line)).toMatchObject(names);
        }
      }
    });
  });
});

describe("writing", () => {
  test("access log: a record is written soon, and formatted only then", async () => {
    using file = output("file");
    const log = openLog(file.fd);
    const probe = probed(511);
    for (const record of probe.records) log.push(record);
    await turn();
    expect(probe.formattedCount()).toBe(0);
    await until(() => file.lines().length === 511, "511 lines");
    expect(probe.formattedCount()).toBe(511);
    await log.close();
  });

  test("access log: 512 records are written in the next turn, 512 at once, the others later", async () => {
    using file = output("file");
    const log = openLog(file.fd);
    const probe = probed(1_000);
    for (const record of probe.records) log.push(record);
    expect(probe.formattedCount()).toBe(0);
    await turn();
    expect(probe.formattedCount()).toBe(512);
    await until(() => file.lines().length === 1_000, "1,000 lines");
    await log.close();
    expect(idsOf(file.lines())).toEqual(probe.records.map((record) => record.id));
  });

  test("access log: close writes what is left, and later records are counted", async () => {
    using file = output("file");
    const log = openLog(file.fd);
    for (const record of probed(2_000).records) log.push(record);
    await log.close();
    expect(file.lines()).toHaveLength(2_000);
    log.push(plain);
    await log.close();
    expect({ lines: file.lines().length, dropped: log.dropped }).toEqual({
      lines: 2_000,
      dropped: 1,
    });
  });

  test("access log: close without a record is done at once", async () => {
    using file = output("file");
    await openLog(file.fd).close();
    expect(file.lines()).toEqual([]);
  });

  test("access log: a stalled reader stops nothing; beyond 65,536 records they are dropped and counted", async () => {
    using pipe = output("pipe");
    const log = openLog(pipe.fd);
    const first = probed(512);
    for (const record of first.records) log.push(record);
    await until(() => first.formattedCount() === 512, "the first batch on its way");
    await turn();
    const rest = probed(65_536 + 100, 513);
    for (const record of rest.records) log.push(record);
    expect(log.dropped).toBe(100);
    expect(rest.formattedCount()).toBe(0);
    // The reader comes back: every line that was kept arrives, whole and in order.
    await pipe.readLines(512 + 65_536);
    const expected = [...first.records, ...rest.records.slice(0, 65_536)];
    expect(idsOf(pipe.lines())).toEqual(expected.map((record) => record.id));
    await log.close();
    expect(log.dropped).toBe(100);
  });

  test("access log: close waits a second at most for a stalled reader, and counts what it did not take", async () => {
    using pipe = output("pipe");
    const log = openLog(pipe.fd);
    for (const record of probed(2_000).records) log.push(record);
    const start = performance.now();
    await log.close();
    expect(performance.now() - start).toBeLessThan(5_000);
    expect(log.dropped).toBe(2_000);
    // The write that was out ends only now; what it brings is not more than one batch.
    await until(() => pipe.lines().length === 512, "the batch that was under way");
  });

  test("access log: a pipe that would block is tried again, no line lost or torn", async () => {
    using pipe = output("non-blocking pipe");
    const warnings: string[] = [];
    const log = openLog(pipe.fd, (message) => warnings.push(message));
    const probe = probed(3_000);
    for (const record of probe.records) log.push(record);
    await until(() => probe.formattedCount() >= 512, "the pipe to be full");
    await until(() => pipe.lines().length === 3_000, "all lines");
    await log.close();
    expect(idsOf(pipe.lines())).toEqual(probe.records.map((record) => record.id));
    expect({ warnings, dropped: log.dropped }).toEqual({ warnings: [], dropped: 0 });
  });

  test("access log: a broken pipe ends the writing, with one warning and every record counted", async () => {
    using pipe = output("pipe");
    pipe.closeReader();
    const warnings: string[] = [];
    const log = openLog(pipe.fd, (message) => warnings.push(message));
    for (const record of probed(1_000).records) log.push(record);
    await until(() => warnings.length > 0, "the warning");
    for (const record of probed(1_000).records) log.push(record);
    await log.close();
    expect(warnings).toEqual(["access log ends: EPIPE"]);
    expect(log.dropped).toBe(2_000);
  });

  test("access log: a descriptor that cannot be written ends the writing, during close as well", async () => {
    const fd = openSync(import.meta.path, "r");
    const warnings: string[] = [];
    const log = openLog(fd, (message) => warnings.push(message));
    log.push(plain);
    await log.close();
    closeSync(fd);
    expect({ warnings, dropped: log.dropped }).toEqual({
      warnings: ["access log ends: EBADF"],
      dropped: 1,
    });
  });
});

function openLog(fd: number, onWarning: (message: string) => void = () => {}): AccessLog {
  return new AccessLog(fd, "logfmt", onWarning);
}

/** The callbacks of this turn of the event loop have run. */
function turn(): Promise<void> {
  return new Promise((done) => setImmediate(done));
}

/** Records with ids in a row that tell when they are formatted. */
function probed(count: number, firstId = 1) {
  let formatted = 0;
  const records = Array.from({ length: count }, (_, index): AccessRecord => ({
    ...plain,
    id: firstId + index,
    get at() {
      formatted++;
      return plain.at;
    },
  }));
  return { records, formattedCount: () => formatted };
}

function idsOf(lines: readonly string[]): number[] {
  return lines.map((line) => Number(/^time=\S+ id=(\d+) .* reason=done$/.exec(line)?.[1]));
}

/** A file or a pipe to write to; the pipe is read only when `lines` is called. */
function output(kind: "file" | "pipe" | "non-blocking pipe") {
  const folder = mkdtempSync(join(tmpdir(), "iawlb-"));
  const path = join(folder, "out");
  let text = "";
  let reader = -1;
  let fd: number;
  if (kind === "file") fd = openSync(path, "a");
  else {
    expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
    reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const blocking = kind === "pipe" ? 0 : constants.O_NONBLOCK;
    fd = openSync(path, constants.O_WRONLY | blocking);
  }
  const closeReader = () => {
    if (reader >= 0) closeSync(reader);
    reader = -1;
  };
  const decoder = new TextDecoder();
  const read = () => {
    const buffer = new Uint8Array(65_536);
    for (;;) {
      try {
        const size = readSync(reader, buffer);
        if (size === 0) return;
        text += decoder.decode(buffer.subarray(0, size), { stream: true });
      } catch {
        return; // nothing there now
      }
    }
  };
  return {
    fd,
    closeReader,
    /** Reads without a pause until so many lines have come. */
    async readLines(count: number): Promise<void> {
      for (let seen = 0; seen < count; await Bun.sleep(0)) {
        const from = text.length;
        read();
        for (let at = from; (at = text.indexOf("\n", at) + 1) > 0;) seen++;
      }
    },
    lines(): string[] {
      if (kind === "file") text = readFileSync(path, "utf8");
      else read();
      return text.split("\n").slice(0, -1);
    },
    [Symbol.dispose]() {
      closeReader();
      closeSync(fd);
      rmSync(folder, { recursive: true });
    },
  };
}

function localParts(at: number) {
  const date = new Date(at);
  const month = date.toLocaleString("en-US", { month: "short" });
  const pad = (count: number) => String(count).padStart(2, "0");
  return { year: date.getFullYear(), month, day: pad(date.getDate()), hour: pad(date.getHours()) };
}
