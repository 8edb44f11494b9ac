// The published schema: it is the code's, it accepts what the reader accepts, and the reader what it accepts. Judged
// by a validator of JSON Schema that shares nothing with the reader.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Check } from "typebox/schema";
import { configurationFrom } from "../../src/config/config.ts";
import { printToml } from "../../src/config/print.ts";
import { readConfiguration } from "../../src/config/config.ts";
import { type ConfigurationFile, fileSchema, schemaText } from "../../src/config/schema.ts";
import { optionRows } from "../../src/control/option-rows.ts";
import { type MistakeCode, OptionsError } from "../../src/control/mistake.ts";
import { prefaceRows } from "../../src/control/preface-rows.ts";
import { prefaceSuffixes } from "../../src/control/preface-suffixes.ts";
import { programRows } from "../../src/control/program-rows.ts";
import { suffixes } from "../../src/control/suffix.ts";
import { type Random, withSeed } from "../wait.ts";
import { configurationOf, Files } from "./files.ts";

const places: ConfigurationFile = { listen: 8080, destinations: [3001, "3002,slots=1"] };

/** What reading a file with this tree says: nothing, or the code of each mistake. */
async function codesOf(tree: unknown): Promise<readonly MistakeCode[]> {
  const source = { file: "a.json", format: "json", text: JSON.stringify(tree), hash: "" } as const;
  try {
    await configurationFrom({ args: [], environment: {}, source });
    return [];
  } catch (error) {
    if (error instanceof OptionsError) return error.mistakes.map(({ code }) => code);
    throw error;
  }
}

test("schema: the published one is that of the code; `npm run schema` writes it", () => {
  const published = readFileSync(join(import.meta.dir, "../../schema/iawlb.schema.json"), "utf8");
  expect(JSON.parse(published)).toEqual(JSON.parse(schemaText()));
});

test("schema: every option of a listener and of the program has a place and words in it", () => {
  const { properties } = fileSchema;
  const own = new Set(["access-log", "log-level"]);
  const inListener = Object.keys(properties.listener.items.properties);
  for (const { name, help } of [...optionRows, ...programRows]) {
    if (name === "config") continue;
    expect([name, properties[name].description.includes(help)]).toEqual([name, true]);
  }
  for (const { name } of optionRows)
    expect([name, inListener.includes(name)]).toEqual([name, !own.has(name)]);
  expect(Object.keys(properties)).not.toContain("config");
});

describe("both say the same", () => {
  test.each<[string, unknown]>([
    ["the short form", places],
    ["one listener", { listener: [places] }],
    [
      "all of it",
      {
        $schema: "x",
        admin: "off",
        watch: true,
        slots: "4",
        listener: [{ name: "a", ...places, threads: "auto" }],
      },
    ],
    [
      "tables",
      {
        listen: "[::1]:80",
        destinations: [{ address: "a:1", weight: 2, backup: true, "health-interval": 0 }],
      },
    ],
    ["admin as a number, and as a list", { ...places, admin: 9090 }],
    [
      "routes, and no destinations besides",
      {
        listen: 80,
        route: [
          { sni: ["a.example", "*.b.example"], destinations: [1, { address: 2, weight: 2 }] },
          { alpn: "h2", destinations: ["3"] },
          { plain: true, destinations: [4] },
        ],
      },
    ],
    [
      "routes of a listener",
      { listener: [{ ...places, route: [{ sni: "a", destinations: [1] }] }] },
    ],
    ["a table of TLS", { ...places, tls: { min: 1.3, client: "optional", "handshakes-max": 9 } }],
    ["an empty table of TLS", { listener: [{ ...places, tls: {} }] }],
    [
      "the PROXY protocol",
      {
        ...places,
        "proxy-in": ["v1", "v2"],
        "proxy-from": ["10.0.0.0/8"],
        "proxy-others": "refuse",
      },
    ],
    [
      "all of a destination",
      {
        listen: 80,
        destinations: [
          { address: 1, proxy: "v2", tls: true, "tls-name": "a.example", "tls-verify": false },
          { address: 2, sni: ["a.example"], alpn: "h2+http/1.1" },
          { address: 3, plain: true },
        ],
      },
    ],
    ["a list of networks", { ...places, allow: ["10.0.0.0/8", "::1"], deny: [] }],
  ])("schema: %s is accepted", async (_, tree) => {
    expect({ codes: await codesOf(tree), schema: Check(fileSchema, tree) }).toEqual({
      codes: [],
      schema: true,
    });
  });

  test.each<[string, unknown]>([
    ["an unknown key", { ...places, slotz: 1 }],
    ["an unknown key of a destination", { listen: 80, destinations: [{ address: 1, slot: 1 }] }],
    ["a destination without address", { listen: 80, destinations: [{ weight: 1 }] }],
    ["no destinations", { listen: 80, destinations: [] }],
    ["no listener", { slots: 1 }],
    ["an empty list of them", { listener: [] }],
    ["both forms", { ...places, listener: [{ ...places, listen: 81 }] }],
    ["a name above several", { name: "a", listener: [places] }],
    ["an option of the program in a listener", { listener: [{ ...places, "log-level": "info" }] }],
    ["true for a number", { ...places, slots: true }],
    ["a number for a text", { ...places, "health-send": 5 }],
    ["a list for a number", { ...places, slots: [1] }],
    ["a number in a list of texts", { ...places, admin: [9090] }],
    ["null", { ...places, slots: null }],
    ["a route for everybody", { ...places, route: [{ destinations: [3] }] }],
    ["a route to nowhere", { ...places, route: [{ sni: ["a"] }] }],
    [
      "a route with an unknown key",
      { ...places, route: [{ sni: "a", snii: "b", destinations: [3] }] },
    ],
    ["a route that is a table", { ...places, route: { sni: "a", destinations: [3] } }],
    ["routes above listeners", { listener: [places], route: [{ sni: "a", destinations: [3] }] }],
    ["an unknown key of TLS", { ...places, tls: { "tls-min": "1.2" } }],
    ["TLS that is a list", { ...places, tls: [] }],
    ["an old version", { ...places, "tls-min": 1.1 }],
    ["a third version of the PROXY protocol", { ...places, "proxy-in": ["v3"] }],
    ["a number for the name of a file", { ...places, "tls-cert": 5 }],
    ["the name of a file", { ...places, config: "a.toml" }],
    ["no table", []],
  ])("schema: %s is refused", async (_, tree) => {
    expect({
      isRefused: (await codesOf(tree)).length > 0,
      schema: Check(fileSchema, tree),
    }).toEqual({ isRefused: true, schema: false });
  });

  test("schema: for any value of any option, the reader accepts none that the schema refuses", async () => {
    /** What a schema cannot say: ranges of what is written with a unit, and the inside of addresses and escapes. */
    const loose = new Set<MistakeCode>([
      "out-of-range",
      "bad-address",
      "bad-port",
      "missing-brackets",
      "empty-host",
      "path-too-long",
      "unreadable",
      "no-token",
      "missing-value",
      "incomplete",
      "bad-certificate",
    ]);
    const looseRows = new Set([
      "allow",
      "deny",
      "admin",
      "health-send",
      "health-expect",
      "rate-per-client",
      "proxy-from",
      "tls-cert",
      "tls-key",
      "tls-alpn",
      "tls-name",
      "sni",
      "alpn",
    ]);
    const rows = [...optionRows, ...programRows.filter(({ name }) => name !== "config")];
    let accepted = 0;
    await withSeed(async (random) => {
      for (let round = 0; round < 3_000; round++) {
        const value = drawValue(random);
        const isSuffix = random.int(3) === 0;
        const { name } = isSuffix ? pick(random, suffixes) : pick(random, rows);
        const tree = isSuffix
          ? { listen: 80, destinations: [{ address: 1, [name]: value }, 2] }
          : { ...places, [name]: value };
        const codes = await codesOf(tree);
        const schema = Check(fileSchema, tree);
        if (codes.length === 0) {
          accepted++;
          expect({ name, value, schema }).toEqual({ name, value, schema: true });
        } else if (schema && !looseRows.has(name)) {
          expect({ name, value, codes: codes.filter((code) => !loose.has(code)) }).toEqual({
            name,
            value,
            codes: [],
          });
        }
      }
    });
    expect(accepted).toBeGreaterThan(100);
  });
});

function pick<T>(random: Random, all: readonly T[]): T {
  const one = all[random.int(all.length)];
  if (one === undefined) throw new Error("nothing to pick from");
  return one;
}

function drawValue(random: Random): unknown {
  const words = [
    "",
    "0",
    "1",
    "-1",
    "4",
    "auto",
    "off",
    "true",
    "false",
    "5m",
    "15",
    "1h±10%",
    "1h+-5%",
    "10/s",
    "90/m",
    "0.5",
    "pull",
    "hash",
    "bun",
    "keep",
    "close",
    "fin",
    "json",
    "info",
    "10.0.0.0/8",
    "::1",
    "/up",
    "up",
    "PING\\r\\n",
    "a",
    "a b",
    "9090",
    "unix:/a",
    "3000000000ms",
    "1e3",
    "é",
  ];
  const numbers = [0, 1, -1, 4, 5, 64, 129, 0.5, 1.5, 1_048_576, 1_048_577, 65_536, 1e21];
  switch (random.int(6)) {
    case 0:
      return pick(random, numbers);
    case 1:
      return random.int(2) === 0;
    case 2:
      return Array.from({ length: random.int(3) }, () => pick(random, words));
    case 3:
      return random.int(8) === 0 ? null : pick(random, numbers);
    default:
      return pick(random, words);
  }
}

/** Most of these stand only beside others: test/config/preface.test.ts prints them. */
const prefaceNames: ReadonlySet<string> = new Set(
  [...prefaceRows, ...prefaceSuffixes].map(({ name }) => name),
);
const isOfPreface = (name: string) => prefaceNames.has(name) && name !== "preface-timeout";

describe("--print", () => {
  test("print: what is in effect is read again to the same, whatever it is", async () => {
    using files = new Files();
    const texts: Readonly<Record<string, readonly string[]>> = {
      TIME: ["1ms", "90s", "2h"],
      N: ["1", "64"],
      TEXT: ["a,b", '\\x00é"', "PING\\r\\n"],
      PATH: ["/a,b", "/x"],
      "CIDR,...": ["10.0.0.0/8,::1", "192.168.1.7"],
      "N/s": ["5/s", "90/m"],
      "TIME[+-N%]": ["1h+-10%", "5m"],
      "N|auto": ["auto", "2"],
    };
    await withSeed(async (random) => {
      for (let round = 0; round < 40; round++) {
        const draw = (placeholder: string) =>
          pick(random, texts[placeholder] ?? placeholder.split("|"));
        const options = optionRows
          .filter(
            ({ name }) => random.int(3) === 0 && name !== "health-send" && name !== "health-expect",
          )
          .filter(({ name }) => !isOfPreface(name))
          .map(({ name, placeholder }): [string, string] => [name, draw(placeholder)]);
        const destinations = Array.from({ length: 1 + random.int(3) }, (_, index) => {
          const own = suffixes
            .filter(
              ({ name }) => random.int(4) === 0 && name !== "name" && !name.startsWith("health-"),
            )
            .filter(({ name }) => !isOfPreface(name))
            .map(({ name, value }): [string, unknown] => [
              name,
              value === "" ? true : draw(value === "W" ? "N" : value),
            ]);
          const asked = pick(random, [
            [],
            [["health-http", "/a,b"]],
            [
              ["health-send", "a,\\\\"],
              ["health-expect", ""],
            ],
            [["health-interval", 0]],
          ]);
          return {
            address: pick(random, [
              `${3000 + index}`,
              `[::1]:${4000 + index}`,
              `unix:/a b${index}`,
            ]),
            ...Object.fromEntries(own),
            ...Object.fromEntries(asked),
          };
        });
        const shared = options.filter(([name]) => name === "access-log" || name === "log-level");
        const rest = options.filter((each) => !shared.includes(each));
        const one = {
          listen: pick(random, [8080, "[::1]:0", "unix:/l"]),
          destinations,
          ...Object.fromEntries(rest),
        };
        const tree = {
          ...Object.fromEntries(shared),
          watch: random.int(2) === 0,
          admin: pick(random, ["off", "auto", "9090", ["unix:/a", "9090"]]),
          listener: [one, { ...places, listen: 9090, name: "é" }],
        };
        const first = await configurationOf(files.add("a.json", JSON.stringify(tree)));
        const printed = printToml(first);
        const second = await configurationOf(files.add("b.toml", printed));
        expect({ printed, listeners: second.listeners, program: second.program }).toEqual({
          printed,
          listeners: first.listeners,
          program: first.program,
        });
      }
    });
  });

  test("print: each value stands beside where it came from", async () => {
    const environment = { IAWLB_WARM: "2", IAWLB_DESTINATIONS: "3001,slots=4 3002" };
    const printed = printToml(await readConfiguration(["--slots", "1", "8080"], environment));
    expect(printed.split("\n").filter((line) => !line.endsWith("# default"))).toEqual([
      "",
      "[[listener]]",
      'listen = "*:8080" # command line',
      "slots = 1 # command line",
      "warm = 2 # environment IAWLB_WARM",
      "destinations = [",
      '  "localhost:3001,slots=4,name=3001", # environment IAWLB_DESTINATIONS',
      '  "localhost:3002,name=3002", # environment IAWLB_DESTINATIONS',
      "]",
      "",
    ]);
  });
});
