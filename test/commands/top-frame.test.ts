// What `iawlb top` draws and what its keys do, without a terminal.

import { describe, expect, test } from "bun:test";
import { emptyModel, frame, plainText, type TopModel } from "../../src/commands/top-frame.ts";
import { readTopArguments } from "../../src/commands/top-options.ts";
import { fit } from "../../src/commands/top-text.ts";
import { keysIn, press } from "../../src/commands/top.ts";
import type { Sample } from "../../src/admin/sample.ts";
import { OptionsError } from "../../src/control/options.ts";

const rows = [
  { name: "one", state: "up", mode: "ready", used: 1, slots: 4, rate: 12, bytes: 2_048 },
  { name: "two", state: "out", mode: "ready", used: 0, slots: 4, rate: 0, bytes: 0 },
  { name: "three", state: "up", mode: "drain", used: 4, slots: 4, rate: 0.5, bytes: 9e6 },
];

function listener(name: string, list = rows): Sample["listeners"][number] {
  return {
    name,
    open: 5,
    waiting: 2,
    oldestMs: 1_234,
    accepted: 172.4,
    closed: 170,
    refused: 0,
    bytesUpPerSecond: 57_344,
    bytesDownPerSecond: 3.9e6,
    times: {
      queue: null,
      connect: null,
      firstByte: { p50: 66, p90: 110, p99: 131 },
      session: null,
    },
    destinations: {
      name: list.map((row) => row.name),
      state: list.map(({ state }) => state),
      mode: list.map(({ mode }) => mode),
      used: list.map(({ used }) => used),
      slots: list.map(({ slots }) => slots),
      connectionsPerSecond: list.map(({ rate }) => rate),
      bytesPerSecond: list.map(({ bytes }) => bytes),
    },
  };
}

const model: TopModel = { ...emptyModel, sample: { at: 0, listeners: [listener("main")] } };

function shown(of: TopModel, columns = 100, height = 12): string[] {
  return Bun.stripANSI(frame(of, columns, height)).split("\n");
}

/** Keys one after the other. */
function pressed(of: TopModel, ...keys: string[]): TopModel {
  return keys.reduce((at, key) => press(at, key).model, of);
}

function named(of: TopModel): string[] {
  const lines = shown(of);
  return lines
    .filter((line) => /^[> ](?:one|two|three)\b/.test(line))
    .map((line) => line.split(" ").find(Boolean) ?? "");
}

describe("top", () => {
  test("top: a frame at 100 columns", () => {
    const lines = shown(model).map((line) => line.trimEnd());
    expect(lines).toEqual([
      `iawlb${" ".repeat(91)}main`,
      "open 5  waiting 2 (oldest 1.2 s)  accepted 172/s  closed 170/s  refused 0/s",
      "up 56 KiB/s  down 3.7 MiB/s  first byte p50 66 ms  p99 131 ms  queue p99 –",
      "3 destinations: 1 drain, 1 out, 1 up",
      ` NAME${" ".repeat(44)}STATE       SLOTS                   NEW/S   BYTES/S`,
      `>one${" ".repeat(45)}up          ███░░░░░░░  1/4            12   2.0 KiB`,
      ` two${" ".repeat(45)}out         ░░░░░░░░░░  0/4             0       0 B`,
      ` three${" ".repeat(43)}drain       ██████████  4/4           0.5   8.6 MiB`,
      "",
      "",
      "",
      "↑↓ select  s sort  d drain  r ready  m maintenance  l listener  q quit",
    ]);
  });

  test("top: as many lines as the terminal has, and none wider, at any size", () => {
    const long = Array.from({ length: 200 }, (_, n) => ({
      ...rows[0],
      name: `接続先-${n}-${"x".repeat(n)}`,
    }));
    const sample = { at: 0, listeners: [listener("main", long as typeof rows)] }; // rows[0] is there
    for (const columns of [1, 7, 20, 41, 60, 80, 133, 300]) {
      for (const height of [1, 2, 5, 8, 24, 60]) {
        const lines = shown({ ...emptyModel, sample, selected: "接続先-150" }, columns, height);
        expect(lines.length).toBe(height);
        for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(columns);
      }
    }
  });

  test("top: the selected row is in view among a thousand", () => {
    const many = Array.from({ length: 1_000 }, (_, n) => ({ ...rows[0], name: `web-${n}` }));
    const sample = { at: 0, listeners: [listener("main", many as typeof rows)] }; // rows[0] is there
    for (const selected of ["web-0", "web-500", "web-999"]) {
      const lines = shown({ ...emptyModel, sample, selected }, 80, 20);
      expect(lines.filter((line) => line.startsWith(`>${selected} `))).toHaveLength(1);
    }
  });

  test("top: control characters of a name reach no terminal", () => {
    const sample = {
      at: 0,
      listeners: [listener("main", [{ ...rows[0], name: "\x1b[2Jx\x07" } as (typeof rows)[0]])],
    };
    expect(frame({ ...emptyModel, sample }, 80, 10)).not.toContain("\x1b[2J");
    expect(plainText({ ...emptyModel, sample })).not.toContain("\x1b");
  });

  test("top: keys select, and stay at the ends", () => {
    expect(pressed(model, "j").selected).toBe("two");
    expect(pressed(model, "\x1b[B", "\x1b[B", "\x1b[B").selected).toBe("three");
    expect(pressed(model, "G", "k").selected).toBe("two");
    expect(pressed(model, "\x1b[6~", "\x1b[A", "g", "k").selected).toBe("one");
    expect(pressed(emptyModel, "j", "d", "l", "s").selected).toBe("");
  });

  test("top: s sorts by one column after the other; the selected row stays selected", () => {
    let at = pressed(model, "j");
    const orders: string[] = [];
    for (let n = 0; n < 6; n += 1) {
      orders.push(`${at.sort}: ${named(at).join(" ").replaceAll(">", "")}`);
      expect(shown(at).some((line) => line.startsWith(">two"))).toBe(true);
      at = pressed(at, "s");
    }
    expect(orders).toEqual([
      "configured: one two three",
      "name: one three two",
      "state: two one three",
      "used: three one two",
      "new/s: one three two",
      "bytes/s: three one two",
    ]);
    expect(at.sort).toBe("configured");
  });

  test("top: d, r and m ask for a change of the selected destination", () => {
    const odd = {
      at: 0,
      listeners: [listener("a b", [{ ...rows[0], name: "x/y" } as (typeof rows)[0]])],
    };
    expect(press({ ...emptyModel, sample: odd }, "d").path).toBe(
      "/destinations/x%2Fy/drain?listener=a+b",
    );
    expect(press(pressed(model, "j"), "m").path).toBe(
      "/destinations/two/maintenance?listener=main",
    );
    expect(press(model, "r").path).toBe("/destinations/one/ready?listener=main");
    expect(press(emptyModel, "d").path).toBe("");
  });

  test("top: l goes on to the next listener, q and Ctrl-C end", () => {
    const sample = { at: 0, listeners: [listener("web"), listener("mail", rows.slice(0, 1))] };
    const two = { ...emptyModel, sample };
    expect(shown(two)[0]).toContain("web (1 of 2)");
    expect(shown(pressed(two, "l"))[0]).toContain("mail (2 of 2)");
    expect(shown(pressed(two, "l", "l"))[0]).toContain("web (1 of 2)");
    expect([press(two, "q").ends, press(two, "\x03").ends, press(two, "x").ends]).toEqual([
      true,
      true,
      false,
    ]);
  });

  test("top: keys that come together are told apart", () => {
    expect(keysIn("jj\x1b[A\x1bOBs\x1b[6~q")).toEqual([
      "j",
      "j",
      "\x1b[A",
      "\x1bOB",
      "s",
      "\x1b[6~",
      "q",
    ]);
  });

  test("top: a text fits its width exactly, wide characters and marks too", () => {
    expect([
      fit("abc", 5),
      fit("abcdef", 4),
      fit("接続先", 5),
      fit("e\u0301x", 2),
      fit("x", 0),
    ]).toEqual(["abc  ", "abc…", "接続…", "e\u0301x", ""]);
  });

  test("top: its arguments, all mistakes at once", () => {
    const mistakes = (...args: string[]): string[] => {
      try {
        readTopArguments(args);
        return [];
      } catch (error) {
        return error instanceof OptionsError
          ? error.mistakes.map(({ code }) => code)
          : [String(error)];
      }
    };
    expect(readTopArguments(["--admin=unix:/a=b", "--once"])).toEqual({
      admin: "unix:/a=b",
      tokenFile: "",
      once: true,
    });
    expect(readTopArguments(["--token-file", "t"])).toEqual({
      admin: "",
      tokenFile: "t",
      once: false,
    });
    expect(mistakes("--admn=x", "y", "--admin")).toEqual([
      "unknown-option",
      "unexpected-argument",
      "missing-value",
    ]);
  });
});
