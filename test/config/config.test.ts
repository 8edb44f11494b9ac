// Configuration: files in three formats, the environment, what counts more, and what is told of mistakes.

import { describe, expect, test } from "bun:test";
import { mkfifoSync } from "./fifo.ts";
import { chmodSync, mkdirSync } from "node:fs";
import { readAgain, readConfiguration } from "../../src/config/config.ts";
import { originText } from "../../src/config/layer.ts";
import { parseToml } from "../../src/config/toml.ts";
import type { Tree } from "../../src/config/tree.ts";
import { configurationOf, Files, mistakesIn } from "./files.ts";

const toml = `
admin = "127.0.0.1:9090"
slots = 4
[[listener]]
name = "web"
listen = "8080"
destinations = ["3001,slots=2,name=a", { address = "10.0.0.2:80", weight = 3, backup = true, name = "b", health-http = "/up" }]
idle-timeout = "5m"
allow = ["10.0.0.0/8", "::1"]
[[listener]]
listen = 5432
destinations = [3002]
slots = 1
`;

const yaml = `
admin: 127.0.0.1:9090   # where it is steered
slots: 4
listener:
  - name: web
    listen: "8080"
    destinations:
      - 3001,slots=2,name=a
      - { address: "10.0.0.2:80", weight: 3, backup: true, name: b, health-http: /up }
    idle-timeout: 5m
    allow: [10.0.0.0/8, "::1"]
  - listen: 5432
    destinations: [3002]
    slots: 1
`;

const json = `{
  // as text or as numbers
  "admin": "127.0.0.1:9090",
  "slots": "4",
  "listener": [
    {
      "name": "web", "listen": "8080", "idle-timeout": "5m", "allow": "10.0.0.0/8,::1",
      "destinations": [
        "3001,slots=2,name=a",
        { "address": "10.0.0.2:80", "weight": "3", "backup": "true", "name": "b", "health-http": "/up" },
      ],
    },
    { "listen": 5432, "destinations": [3002], "slots": 1 },
  ],
}`;

describe("files", () => {
  test("config: the same tree says the same in every format, texts or numbers", async () => {
    using files = new Files();
    const all = await Promise.all(
      [files.add("a.toml", toml), files.add("a.yaml", yaml), files.add("a.jsonc", json)].map(
        (file) => configurationOf(file),
      ),
    );
    const [first, ...others] = all.map(({ listeners, program }) => ({ listeners, program }));
    expect(others).toEqual(Array(2).fill(first));
    expect(first?.listeners.map(({ name }) => name)).toEqual(["web", "5432"]);
    expect(first?.program.admin).toEqual([{ kind: "tcp", host: "127.0.0.1", port: 9090 }]);
    expect(first?.listeners[0]?.options).toMatchObject({
      listen: { kind: "tcp", host: "*", port: 8080 },
      slots: 4,
      idleMs: 300_000,
      destinations: [
        { name: "a", slots: 2, weight: 1 },
        { name: "b", slots: 4, weight: 3, backup: true, healthHttp: "/up" },
      ],
    });
    expect(first?.listeners[0]?.options.allow).toHaveLength(2);
    expect(first?.listeners[1]?.options.destinations[0]).toMatchObject({ name: "3002", slots: 1 });
  });

  test("config: TOML is read as another parser reads it", () => {
    const plain = (tree: Tree): unknown => {
      if (tree.kind === "table")
        return Object.fromEntries(tree.entries.map(({ name, value }) => [name, plain(value)]));
      if (tree.kind === "list") return tree.items.map(plain);
      return tree.kind === "number"
        ? Number(tree.text)
        : tree.kind === "boolean"
          ? tree.text === "true"
          : tree.text;
    };
    const all = `a = 0x1F\nb.c = "\\u00e9\\t\\x41"\nb.d = 'c:\\n'\n[t]\nx = [1, -2.5, 1e3, 0b11, 1_000]\n[t.u]\ny = true
[[v]]\nw = { p = 1, q.r = "x" }\n[v.s]\nz = ""\n[[v]]\n"k k" = """\nab\\\n   c"""\n[[v.n]]\ni = 1\n[[v.n]]\ni = 2\n`;
    for (const text of [toml, all]) {
      const { tree, faults } = parseToml(text);
      expect(faults).toEqual([]);
      expect(tree === null ? null : plain(tree)).toEqual(Bun.TOML.parse(text));
    }
  });

  test("config: listen and destinations above all are one listener, which is named main", async () => {
    using files = new Files();
    const short = files.add("a.toml", 'listen = "127.0.0.1:80"\ndestinations = [1, 2]\nslots = 3');
    const { listeners } = await configurationOf(short);
    expect(listeners.map(({ name }) => name)).toEqual(["main"]);
    expect(listeners[0]?.options.destinations.map(({ slots }) => slots)).toEqual([3, 3]);
  });

  test("config: keys of one table in several places, dotted and quoted, and a mark of the byte order", async () => {
    using files = new Files();
    const text =
      '\ufeff"slots" = 0x10\nlistener = [{ listen = 1_0, destinations = [\n 3001, # one\n] }]\r\n';
    const { listeners } = await configurationOf(files.add("a.toml", text));
    expect(listeners[0]?.options).toMatchObject({ slots: 16, listen: { port: 10 } });
    const aliased = "x: 1\n".replace(
      "x: 1\n",
      "listen: &p 8080\ndestinations: [3001]\nhealth-port: *p\n",
    );
    const { listeners: others } = await configurationOf(files.add("a.yml", aliased));
    expect(others[0]?.options.healthPort).toBe(8080);
  });

  test("config: no file, a file that is none, and one that is no text are told as such", async () => {
    using files = new Files();
    mkdirSync(files.path("dir.toml"));
    mkfifoSync(files.path("pipe.toml"));
    const big = files.add("big.toml", "#".repeat(16 * 2 ** 20 + 1));
    const cases: [string, string][] = [
      [files.path("none.toml"), "none.toml: it cannot be read: no such file or directory"],
      [files.path("dir.toml"), "dir.toml: it is a directory; a file of at most 16 MiB is accepted"],
      [
        files.path("pipe.toml"),
        "pipe.toml: it is no regular file; a file of at most 16 MiB is accepted",
      ],
      [
        files.add("zero.toml", "a\0b"),
        "zero.toml: it is no text; a text file in UTF-8 is accepted",
      ],
      [
        files.add("latin.toml", Uint8Array.of(0x23, 0xe9)),
        "latin.toml: it is no UTF-8; a text file in UTF-8 is accepted",
      ],
      [big, "big.toml: its 16777217 bytes are too many; a file of at most 16 MiB is accepted"],
      [
        files.add("a.tml", toml),
        'a.tml: the extension ".tml" tells no format; accepted are .toml, .json, .jsonc, .yaml, .yml; did you mean a.toml?',
      ],
    ];
    for (const [file, told] of cases) {
      expect(await mistakesIn(["--config", file], {}, files.directory)).toEqual([told]);
    }
    if (process.getuid?.() === 0)
      return void console.log("skipped: unreadable file: root reads all");
    chmodSync(files.add("secret.toml", toml), 0);
    const told = await mistakesIn(["--config", files.path("secret.toml")], {}, files.directory);
    expect(told).toEqual(["secret.toml: it cannot be read: permission denied"]);
  });

  test.each([
    ["a.toml", "listen = 80\ndestinations = [1\nslots = 2", /^a\.toml:\d:\d+: /],
    ["a.toml", "slots = 1\nslots = 2", /^a\.toml:2:1: /],
    ["a.yaml", "slots: 1\nslots: 2\n", /^a\.yaml:2:1: /],
    ["a.yaml", "slots: [1\nlisten: 2", /^a\.yaml:/],
    ["a.yaml", "a: 1\n---\nb: 2\n", /^a\.yaml:\d:\d+: .*documents/],
    ["a.yaml", "? [a]\n: 1\n", /^a\.yaml:1:3: a key is one word/],
    ["a.json", '{"slots": 1,, "listen": 2}', /^a\.json:1:13: /],
    ["a.json", "", /^a\.json:1:1: value expected/],
    ["a.json", "[".repeat(100_000), /^a\.json:/],
    [
      "a.json",
      `${"[".repeat(100)}${"]".repeat(100)}`,
      /^a\.json:1:66: it is nested more than 64 deep/,
    ],
    ["a.yaml", "[".repeat(50_000), /^a\.yaml:/],
    [
      "a.toml",
      `a = ${"[".repeat(100)}${"]".repeat(100)}`,
      /^a\.toml:1:70: it is nested more than 64 deep/,
    ],
  ])("config: %s that is no such file is told with line and column", async (name, text, told) => {
    using files = new Files();
    const [first = ""] = await mistakesIn(["--config", files.add(name, text)], {}, files.directory);
    expect(first).toMatch(told);
  });

  test("config: a few lines of aliases do not become millions of values", async () => {
    using files = new Files();
    const lines = Array.from(
      { length: 9 },
      (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`,
    );
    const text = `a0: &a0 [1]\n${lines.join("\n")}\n`;
    const [told = ""] = await mistakesIn(
      ["--config", files.add("a.yaml", text)],
      {},
      files.directory,
    );
    expect(told).toMatch(/it holds more than \d+ values/);
  });
});

describe("what counts more", () => {
  const file =
    "slots = 1\nwarm = 1\nqueue-max = 1\nbacklog = 1\n[[listener]]\nlisten = 80\ndestinations = [3001]\nwarm = 2\nqueue-max = 2\nbacklog = 2\n";

  test("config: defaults, above all, the listener, the environment, the command line, in this order", async () => {
    using files = new Files();
    const path = files.add("a.toml", file);
    const environment = {
      IAWLB_QUEUE_MAX: "3",
      IAWLB_BACKLOG: "3",
      IAWLB_CONFIG: path,
      IAWLB_COOLDOWN: "",
    };
    const { listeners, origins, program } = await readConfiguration(
      ["--backlog", "4", "--watch"],
      environment,
    );
    const [one] = listeners;
    expect(one?.options).toMatchObject({
      slots: 1,
      warm: 2,
      queueCountMax: 3,
      backlogCount: 4,
      cooldownMs: 0,
    });
    expect(one?.options.destinations[0]).toMatchObject({ slots: 1, warm: 2 });
    expect(program.watch).toBe(true);
    const from = (name: string) => {
      const origin = origins.get(`listener[0].${name}`);
      return origin === undefined ? "" : originText(origin).replace(files.directory, "");
    };
    expect(["cooldown", "slots", "warm", "queue-max", "backlog"].map(from)).toEqual([
      "default",
      "/a.toml:1",
      "/a.toml:8",
      "environment IAWLB_QUEUE_MAX",
      "command line",
    ]);
  });

  test("config: the environment alone can say what to run, and an argument counts more", async () => {
    const environment = { IAWLB_LISTEN: "8080", IAWLB_DESTINATIONS: " 3001,slots=2  3002\n" };
    const { listeners } = await readConfiguration([], environment);
    expect(listeners[0]?.options.destinations.map(({ name, slots }) => [name, slots])).toEqual([
      ["3001", 2],
      ["3002", 0],
    ]);
    const listen = await readConfiguration(["9090"], environment);
    expect(listen.listeners[0]?.options).toMatchObject({
      listen: { port: 9090 },
      destinations: [{}, {}],
    });
    const all = await readConfiguration(["9090", "1"], environment);
    expect(all.listeners[0]?.options.destinations.map(({ name }) => name)).toEqual(["1"]);
    expect(await mistakesIn([], { IAWLB_LISTEN: "8080" })).toHaveLength(1);
  });

  test("config: addresses of the environment are for a file with one listener", async () => {
    using files = new Files();
    const one = files.add("a.toml", file);
    const environment = { IAWLB_LISTEN: "81", IAWLB_DESTINATIONS: "1 2" };
    const { listeners } = await readConfiguration(["--config", one], environment);
    expect(listeners[0]?.options).toMatchObject({
      listen: { port: 81 },
      destinations: [{ name: "1" }, { name: "2" }],
    });
    const two = files.add("b.toml", toml);
    expect(await mistakesIn(["--config", two], environment)).toEqual([
      "IAWLB_LISTEN: 81: the file has 2 listeners; one alone can be given its addresses so",
      "IAWLB_DESTINATIONS: 1: the file has 2 listeners; one alone can be given its addresses so",
    ]);
  });

  test("config: a slip in a variable's name is told, a name of somebody else is not", async () => {
    const others = {
      IAWLB_SEED: "1",
      IAWLB_FAULTS: "all",
      IAWLB_QUEUE: "1",
      IAWLB_STATES: "1",
      IAWLB_SERVICE_HOST: "10.0.0.1", // as clusters set them for a service of this name
      IAWLB_PORT: "tcp://10.0.0.1:80",
      IAWLB_PORT_80_TCP_ADDR: "10.0.0.1",
    };
    expect(await mistakesIn(["80", "1"], others)).toEqual([]);
    expect(
      await mistakesIn(["80", "1"], { ...others, IAWLB_SLOT: "1", IAWLB_QUEUE_TIMOUT: "1s" }),
    ).toEqual([
      "IAWLB_SLOT: is unknown; did you mean IAWLB_SLOTS?",
      "IAWLB_QUEUE_TIMOUT: is unknown; did you mean IAWLB_QUEUE_TIMEOUT?",
    ]);
  });

  test("config: --admin may be given twice, or with a comma", async () => {
    const read = async (...args: string[]) =>
      (await readConfiguration([...args, "80", "1"], {})).program.admin;
    const both = [
      { kind: "unix", path: "/a" },
      { kind: "tcp", host: "127.0.0.1", port: 9090 },
    ] as const;
    expect(await read("--admin", "unix:/a", "--admin", "9090")).toEqual(both);
    expect(await read("--admin=unix:/a,9090")).toEqual(both);
    expect(await read("--admin", "off")).toEqual([]);
    expect(await read()).toBe("auto");
    expect(await mistakesIn(["--admin", "off", "--admin", "9090", "80", "1"])).toHaveLength(1);
    expect(await mistakesIn(["--watch=on", "80", "1"])).toEqual([
      '--watch=on: "on" is unknown; accepted are true, false; did you mean --watch true?',
    ]);
  });

  test("config: reading again sees the file as it is now", async () => {
    using files = new Files();
    const first = await configurationOf(files.add("a.toml", file), "--backlog", "9");
    files.add("a.toml", file.replace("slots = 1", "slots = 7"));
    const { listeners } = await readAgain(first);
    expect(listeners[0]?.options).toMatchObject({ slots: 7, backlogCount: 9 });
  });
});

describe("warnings", () => {
  test.each([
    [
      "listen = 80\ndestinations = [1]\nqueue-max = 0\nslots = 1",
      "a.toml:3:13: queue-max: nobody may wait, and slots are limited; clients are refused when all slots are taken",
    ],
    [
      "listen = 80\ndestinations = [1]\nwarm = 3\nslots = 1",
      "a.toml:2:17: destinations[0]: 3 connections are opened ahead for 1 at once; no more than slots are used",
    ],
    [
      'listen = 80\ndestinations = ["1,backup"]',
      "a.toml:2:17: destinations[0]: all destinations are backups; one must serve for others to stand in",
    ],
    [
      'listen = 80\ndestinations = [1]\nhealth-interval = 0\nhealth-http = "/"',
      "a.toml:2:17: destinations[0]: says what a check asks, and there are no checks; health-interval is 0",
    ],
    [
      "[[listener]]\nlisten = 80\ndestinations = [1]\n[[listener]]\nlisten = 81\ndestinations = [1]",
      "a.toml:6:17: listener[1].destinations[0]: localhost:1 is a destination of listener 80 too; each counts its slots for itself",
    ],
    [
      'listen = 80\ndestinations = ["1,alpn=http2"]',
      'a.toml:2:17: destinations[0]: no client offers "http2"; did you mean h2?',
    ],
    [
      'listen = 80\ndestinations = [1]\ntls-client = "optional"',
      "a.toml:3:14: tls-client: no client is asked for a certificate; tls-client-ca asks for one",
    ],
  ])("config: %p is allowed, and told", async (text, told) => {
    using files = new Files();
    const { warnings } = await configurationOf(files.add("a.toml", text));
    expect(warnings.map(({ message }) => message.replaceAll(`${files.directory}/`, ""))).toEqual([
      told,
    ]);
  });

  test("config: nothing is to be said of the plain command line", async () => {
    expect((await readConfiguration(["80", "1", "2"], {})).warnings).toEqual([]);
    expect((await readConfiguration(["80", "1", "--watch"], {})).warnings).toHaveLength(1);
  });
});
