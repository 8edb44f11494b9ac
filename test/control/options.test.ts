// Options: how each is written, what is refused, and in which words.

import { expect, test } from "bun:test";
import {
  DEFAULTS,
  type Mistake,
  optionTable,
  type Options,
  OptionsError,
  parseDemoOptions,
  parseOptions,
  readOptions,
  suffixTable,
} from "../../src/control/options.ts";
import { programRows } from "../../src/control/program-rows.ts";
import { readConfiguration } from "../../src/config/config.ts";
import { withSeed } from "../wait.ts";
import { mistake, mistakesOf } from "./mistakes.ts";

test("options: the defaults are those of the table, and the table has them all", () => {
  const { listen: _, destinations: __, ...settings } = parseOptions(["8080", "3001"]);
  expect(settings).toEqual(DEFAULTS);
  expect(DEFAULTS).toEqual({
    slots: 0,
    warm: 0,
    healthMs: 2_000,
    healthSend: "",
    healthExpect: "",
    healthHttp: "",
    healthPort: 0,
    slowStartMs: 0,
    maxAge: { ms: 0, jitter: 0 },
    healthTimeoutMs: 1_000,
    healthFall: 3,
    healthRise: 2,
    onDown: "keep",
    clientConnectionCountMax: 0,
    clientRate: 0,
    clientPrefix6: 64,
    allow: [],
    deny: [],
    refuseBy: "reset",
    refusalRecordsMax: 100,
    proxyIn: { v1: false, v2: false },
    proxyFrom: [],
    proxyOthers: "pass",
    prefaceMs: 5_000,
    tlsCert: [],
    tlsKey: [],
    tlsAlpn: [],
    tlsMin: "1.2",
    tlsClientCa: "",
    tlsClient: "required",
    handshakeCountMax: 10_000,
    policy: "pull",
    threadCount: 1,
    engine: "bun",
    flushCount: 0,
    flushMs: 0,
    queueCountMax: 10_000,
    queueMs: 15_000,
    queueFin: "keep",
    connectMs: 5_000,
    idleMs: 3_600_000,
    halfCloseMs: 30_000,
    answerMs: 0,
    cooldownMs: 0,
    drainMs: 30_000,
    backlogCount: 4_096,
    connectionCountMax: 0,
    accessLog: "logfmt",
    logLevel: "info",
  });
  expect(optionTable()).toHaveLength(Object.keys(DEFAULTS).length + programRows.length);
});

test("options: giving every option its default in words changes nothing", async () => {
  const args = optionTable().map((row) => {
    return `${row.option}=${row.default === '""' ? "" : row.default}`;
  });
  const given = await readConfiguration([...args, "8080", "3001"], {});
  const bare = await readConfiguration(["8080", "3001"], {});
  expect({ ...given.program, listeners: given.listeners }).toEqual({
    ...bare.program,
    listeners: bare.listeners,
  });
  expect(bare.listeners[0]?.options).toEqual(parseOptions(["8080", "3001"]));
});

test("options: every row of the tables has words", () => {
  for (const row of optionTable()) {
    const { placeholder, ...words } = row;
    expect(Object.values(words).every((text) => text.length > 0)).toBe(true);
    expect([row.option, placeholder === ""]).toEqual([row.option, row.option === "--watch"]);
  }
  expect(suffixTable().map((row) => row.suffix)).toEqual([
    ",slots=N",
    ",weight=W",
    ",warm=N",
    ",backup",
    ",health-interval=TIME",
    ",health-send=TEXT",
    ",health-expect=TEXT",
    ",health-http=PATH",
    ",health-port=N",
    ",proxy=off|v1|v2",
    ",tls",
    ",tls-ca=FILE",
    ",tls-name=NAME",
    ",tls-cert=FILE",
    ",tls-key=FILE",
    ",tls-verify=on|off",
    ",sni=NAME+...",
    ",alpn=ID+...",
    ",plain",
    ",name=TEXT",
  ]);
});

test.each<[string[], Partial<Options>]>([
  [["--policy", "hash"], { policy: "hash" }],
  [["--policy=round-robin"], { policy: "round-robin" }],
  [["--policy", "random"], { policy: "random" }],
  [["--flush-count", "64"], { flushCount: 64 }],
  [["--flush-time", "5ms"], { flushMs: 5 }],
  [["--queue-max", "1048576"], { queueCountMax: 1_048_576 }],
  [["--queue-max", "0"], { queueCountMax: 0 }],
  [["--queue-timeout", "0"], { queueMs: 0 }],
  [["--queue-fin", "leave"], { queueFin: "leave" }],
  [["--connect-timeout", "1ms"], { connectMs: 1 }],
  [["--idle-timeout", "576h"], { idleMs: 2_073_600_000 }],
  [["--half-close-timeout", "90s"], { halfCloseMs: 90_000 }],
  [["--answer-timeout", "31s"], { answerMs: 31_000 }],
  [["--cooldown", "500ms"], { cooldownMs: 500 }],
  [["--drain-timeout", "5m"], { drainMs: 300_000 }],
  [["--backlog", "65535"], { backlogCount: 65_535 }],
  [["--max-connections", "0"], { connectionCountMax: 0 }],
  [["--max-connections=100"], { connectionCountMax: 100 }],
  [["--access-log", "haproxy"], { accessLog: "haproxy" }],
  [["--log-level", "debug"], { logLevel: "debug" }],
  [["--backlog", "1", "--backlog=2"], { backlogCount: 2 }],
])("options: %p is understood, before, between and after the addresses", (args, expected) => {
  for (const line of [
    [...args, "8080", "3001"],
    ["8080", ...args, "3001"],
    ["8080", "3001", ...args],
    [...args, "--", "8080", "3001"],
  ]) {
    expect(parseOptions(line)).toMatchObject(expected);
  }
});

test("options: after -- everything is an address", () => {
  expect(mistakesOf("--", "8080", "--slots").map((one) => one.code)).toEqual(["bad-address"]);
});

test.each([
  [["--slot", "1"], "unknown-option: did you mean --slots?"],
  [["--slot=1"], "unknown-option: did you mean --slots?"],
  [["-slots", "1"], "unknown-option: did you mean --slots?"],
  [["--Slots", "1"], "unknown-option: did you mean --slots?"],
  [["--queue_max", "5"], "unknown-option: did you mean --queue-max?"],
  [["--polcy", "hash"], "unknown-option: did you mean --policy?"],
  [["--conect-timeout", "1s"], "unknown-option: did you mean --connect-timeout?"],
  [["--drain", "1s"], "unknown-option: did you mean --drain-timeout?"],
  [["--hlep"], "unknown-option: did you mean --help?"],
  [["--colour", "red"], "unknown-option: "],
  [["-x"], "unknown-option: "],
  [["-"], "unknown-option: "],
  [["--slots="], "missing-value: "],
  [["--slots", "--policy", "hash"], "missing-value: "],
  [["--policy", "rr"], "bad-value: "],
  [["--policy", "roundrobin"], "bad-value: did you mean --policy round-robin?"],
  [["--policy", "Pull"], "bad-value: did you mean --policy pull?"],
  [["--access-log", "jsn"], "bad-value: did you mean --access-log json?"],
  [["--log-level", "warning"], "bad-value: did you mean --log-level warn?"],
  [["--queue-fin", "stay"], "bad-value: "],
  [["--slots", "-1"], "out-of-range: "],
  [["--slots", "many"], "bad-value: "],
  [["--slots", "1e3"], "bad-value: "],
  [["--slots", "1048577"], "out-of-range: "],
  [["--queue-max", "1048577"], "out-of-range: "],
  [["--queue-max", "10,000"], "bad-value: did you mean --queue-max 10000?"],
  [["--flush-count", "-5"], "out-of-range: "],
  [["--backlog", "0"], "out-of-range: "],
  [["--backlog", "65536"], "out-of-range: "],
  [["--max-connections", "-1"], "out-of-range: "],
  [["--max-connections", "1048577"], "out-of-range: "],
  [["--connect-timeout", "0"], "out-of-range: "],
  [["--idle-timeout", "577h"], "out-of-range: "],
  [["--idle-timeout", "15"], "bad-value: did you mean --idle-timeout 15s?"],
  [["--idle-timeout", "15 sec"], "bad-value: did you mean --idle-timeout 15s?"],
  [["--idle-timeout", "2H"], "bad-value: did you mean --idle-timeout 2h?"],
  [["--idle-timeout", "1.5s"], "bad-value: did you mean --idle-timeout 1500ms?"],
  [["--idle-timeout", "20millis"], "bad-value: did you mean --idle-timeout 20ms?"],
  [["--idle-timeout", "-1s"], "bad-value: "],
  [["--idle-timeout", "soon"], "bad-value: "],
  [["--idle-timeout", "s"], "bad-value: "],
])("options: %p is one mistake, wherever it stands", (args, told) => {
  expect(mistake(...args, "8080", "3001")).toBe(told);
  expect(mistake("8080", ...args, "3001")).toBe(told);
  expect(mistake("8080", "3001", ...args)).toBe(told);
});

test("options: a value missing at the end is a mistake", () => {
  expect(mistake("8080", "3001", "--slots")).toBe("missing-value: ");
});

test.each([
  [[], ["no-listen", "no-destination"]],
  [["8080"], ["no-destination"]],
  [
    ["--slots", "1"],
    ["no-listen", "no-destination"],
  ],
  [["80x80"], ["bad-port", "no-destination"]],
])("options: %p lacks something", (args, codes) => {
  expect(mistakesOf(...args).map((one) => one.code)).toEqual(codes as Mistake["code"][]);
});

test("options: all mistakes are told at once, in the order of the arguments, each naming its own", () => {
  const mistakes = mistakesOf(
    "--slot=4",
    "::1:8080",
    "3001,slot=2,weight=0",
    "--idle-timeout",
    "15",
    "3002",
    "3002",
    "--queue-max=2000000",
    "--backlog",
  );
  expect(mistakes).toEqual([
    {
      code: "unknown-option",
      argument: "--slot=4",
      message: '--slot=4: option "--slot" is unknown; iawlb --help lists them all',
      hint: "did you mean --slots?",
    },
    {
      code: "missing-brackets",
      argument: "::1:8080",
      message:
        "::1:8080: an IPv6 address needs brackets; accepted are 8080, 10.0.0.2:8080, [::1]:8080, name:8080 and unix:/path",
      hint: "did you mean [::1]:8080?",
    },
    {
      code: "unknown-suffix",
      argument: "3001,slot=2,weight=0",
      message:
        '3001,slot=2,weight=0: suffix "slot=2" is unknown; accepted are ,slots=N ,weight=W ,warm=N ,backup ' +
        ",health-interval=TIME ,health-send=TEXT ,health-expect=TEXT ,health-http=PATH ,health-port=N ,proxy=off|v1|v2 ,tls ,tls-ca=FILE ,tls-name=NAME ,tls-cert=FILE ,tls-key=FILE ,tls-verify=on|off ,sni=NAME+... ,alpn=ID+... ,plain ,name=TEXT",
      hint: "did you mean ,slots=2?",
    },
    {
      code: "out-of-range",
      argument: "3001,slot=2,weight=0",
      message:
        '3001,slot=2,weight=0: ,weight: "0" is out of range; a whole number from 1 to 256 is accepted',
      hint: "",
    },
    {
      code: "bad-value",
      argument: "--idle-timeout 15",
      message:
        '--idle-timeout 15: "15" is no duration; a duration from 0 to 576h, such as 500ms, 15s, 5m or 1h, is accepted',
      hint: "did you mean --idle-timeout 15s?",
    },
    {
      code: "duplicate-address",
      argument: "3002",
      message: '3002: is the same address as "3002"; give one of them more by ,slots= or ,weight=',
      hint: "",
    },
    {
      code: "out-of-range",
      argument: "--queue-max=2000000",
      message:
        '--queue-max=2000000: "2000000" is out of range; a whole number from 0 to 1048576 is accepted',
      hint: "",
    },
    {
      code: "missing-value",
      argument: "--backlog",
      message: "--backlog: a value is missing; a whole number from 1 to 65535 is accepted",
      hint: "",
    },
  ]);
});

test("options: whatever is written, a message is one printable line of bounded length", async () => {
  await withSeed((random) => {
    const alphabet = [
      "-",
      "-",
      ":",
      "[",
      "]",
      ",",
      "=",
      "3",
      "a",
      "\n",
      "\u001b",
      "\u009b",
      "é",
      "\0",
    ];
    const words = ["unix:", "slots", "weight", "name", "--", "--slots", "://", "\u2028"];
    for (let i = 0; i < 2_000; i++) {
      const pick = () => {
        const from = random.int(4) === 0 ? words : alphabet;
        return from[random.int(from.length)] ?? "";
      };
      const args = Array.from({ length: random.int(5) }, () =>
        Array.from({ length: random.int(i % 100 === 0 ? 500 : 12) }, pick).join(""),
      );
      for (const { message, hint } of mistakesOf(...args)) {
        expect(`${message}${hint}`).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
        expect(message.length).toBeLessThan(600);
      }
    }
  });
});

test("options: demo takes a port and nothing else", () => {
  expect(parseDemoOptions([])).toEqual({ port: null });
  expect(parseDemoOptions(["--port", "0"])).toEqual({ port: 0 });
  expect(parseDemoOptions(["--port=9000"])).toEqual({ port: 9_000 });
  for (const args of [["--port"], ["--port", "70000"], ["8080"], ["--prot", "1"]]) {
    expect(() => parseDemoOptions(args)).toThrow(OptionsError);
  }
});

test("options of a program: a number is a port, an unknown key is named with its neighbour", () => {
  const options = readOptions({ listen: 8080, destinations: [3001, "3002,slots=2"] });
  expect(options.destinations.map((each) => [each.name, each.slots])).toEqual([
    ["3001", 0],
    ["3002", 2],
  ]);
  const slip = { listen: 8080, destinations: [3001], slotz: 1 };
  let hint = "";
  try {
    readOptions(slip);
  } catch (error) {
    if (error instanceof OptionsError) hint = error.mistakes.map((each) => each.hint).join();
  }
  expect(hint).toBe("did you mean slots?");
});
