// Destinations written back into a file: nothing else changes, comments stay, a file of somebody else is left alone.

import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  lstatSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { readConfiguration } from "../../src/config/config.ts";
import type { Configuration } from "../../src/config/config.ts";
import { persistDestinations } from "../../src/config/persist.ts";
import { type DestinationOptions, parseOptions } from "../../src/control/options.ts";
import { SteeringError } from "../../src/control/steering.ts";
import { type Random, withSeed } from "../wait.ts";
import { configurationOf, Files } from "./files.ts";

/** A destination as it is read beside the settings of a listener. */
function destination(place: string, ...options: string[]): DestinationOptions {
  const [one] = parseOptions([...options, "127.0.0.1:0", place]).destinations;
  if (one === undefined) throw new Error(place);
  return one;
}

function destinationsOf({ listeners }: Configuration, index = 0): readonly DestinationOptions[] {
  return listeners[index]?.options.destinations ?? [];
}

const toml = `# first line
slots = 4 # of each
[[listener]] # the web
listen = 8080 # clients
destinations = [ # places
  # the old machine
  "3001,slots=2", # one
  { address = "3002", weight = 3 }, # two
  '3003', # three
  # the end
]
idle-timeout = "5m" # quiet
[[listener]]
listen = 9090
destinations = ["3009", 3010] # others
`;

/** By file: the text before, and the text after "3001 gone, weight of 3002 5, 4001 new". */
const forms: readonly (readonly [name: string, before: string, after: string])[] = [
  [
    "a.toml",
    toml,
    toml
      .replace('  "3001,slots=2", # one\n', "")
      .replace('{ address = "3002", weight = 3 }', '"localhost:3002,weight=5,name=3002"')
      .replace("'3003', # three\n", "'3003', # three\n  \"localhost:4001,slots=9,name=4001\",\n"),
  ],
  [
    "inline.toml",
    "slots = 4\nlisten = 80\ndestinations = ['3001,slots=2', '3002,weight=3', 3003] # end\n",
    'slots = 4\nlisten = 80\ndestinations = ["localhost:3002,weight=5,name=3002", 3003, "localhost:4001,slots=9,name=4001"] # end\n',
  ],
  [
    "tables.toml",
    `slots = 4
[[listener]]
listen = 80
# the old machine
[[listener.destinations]]
address = 3001 # one
slots = 2

[[listener.destinations]] # two
address = 3002
weight = 3 # heavy

[[listener.destinations]]
address = 3003 # last

[[listener]]
listen = 81
destinations = [3004]
`,
    `slots = 4
[[listener]]
listen = 80
# the old machine
[[listener.destinations]]
address = "localhost:3002"
weight = 5
name = "3002" # heavy

[[listener.destinations]]
address = 3003 # last

[[listener.destinations]]
address = "localhost:4001"
slots = 9
name = "4001"

[[listener]]
listen = 81
destinations = [3004]
`,
  ],
  [
    "a.yaml",
    `slots: 4 # each
listen: 80
destinations: # places
  # the old machine
  - 3001,slots=2 # one
  # the second
  - address: 3002 # two
    weight: 3
  - 3003 # three
# behind
idle-timeout: 5m
`,
    `slots: 4 # each
listen: 80
destinations: # places
  # the old machine
  # the second
  - "localhost:3002,weight=5,name=3002"
  - 3003 # three
  - "localhost:4001,slots=9,name=4001"
# behind
idle-timeout: 5m
`,
  ],
  [
    "flow.yaml",
    'slots: 4\nlisten: 80\ndestinations: ["3001,slots=2", {address: 3002, weight: 3}, 3003] # end\n',
    'slots: 4\nlisten: 80\ndestinations: ["localhost:3002,weight=5,name=3002", 3003, "localhost:4001,slots=9,name=4001"] # end\n',
  ],
  [
    "a.json",
    `{
  "slots": 4, // each
  "listen": 80,
  "destinations": [
    /* the old machine */
    "3001,slots=2", // one
    { "address": 3002, "weight": 3 }, // two, "x"
    3003 // three
  ]
}
`,
    `{
  "slots": 4, // each
  "listen": 80,
  "destinations": [
    /* the old machine */
    "localhost:3002,weight=5,name=3002", // two, "x"
    3003, // three
    "localhost:4001,slots=9,name=4001"
  ]
}
`,
  ],
];

describe("what is written", () => {
  test.each(forms)(
    "persist: %s: one gone, one changed, one new, all else as it stood",
    async (name, before, after) => {
      using files = new Files();
      const file = files.add(name, before);
      const first = await configurationOf(file);
      const [, two, three] = destinationsOf(first);
      if (two === undefined || three === undefined) throw new Error("three destinations");
      const wanted = [{ ...two, weight: 5 }, three, destination("4001,slots=9", "--slots=4")];
      const second = await persistDestinations(first, first.listeners[0]?.name ?? "", wanted);
      expect(readFileSync(file, "utf8")).toBe(after);
      expect(destinationsOf(second)).toEqual(wanted);
      expect((await configurationOf(file)).listeners).toEqual(second.listeners);
    },
  );

  test("persist: the second listener is its own list, and what is as before is not written", async () => {
    using files = new Files();
    const file = files.add("a.toml", toml);
    const first = await configurationOf(file);
    const before = statSync(file).ino;
    expect(await persistDestinations(first, "8080", destinationsOf(first))).toBe(first);
    expect(statSync(file).ino).toBe(before);
    await persistDestinations(first, "9090", destinationsOf(first, 1).slice(0, 1));
    expect(readFileSync(file, "utf8")).toBe(toml.replace('["3009", 3010]', '["3009"]'));
  });

  test("persist: a table of its own says every kind of value", async () => {
    using files = new Files();
    const before = "listen = 80\n[[destinations]]\naddress = 3001\n";
    const read = await configurationOf(files.add("a.toml", before));
    const place =
      "3002,slots=2,weight=3,warm=1,backup,health-interval=5s,health-http=/a%2Cb,health-port=9";
    const wanted = [
      ...destinationsOf(read),
      destination(place),
      destination('3003,health-send=P"\\x2c'),
    ];
    expect(destinationsOf(await persistDestinations(read, "main", wanted))).toEqual(wanted);
    expect(readFileSync(files.path("a.toml"), "utf8")).toBe(`${before.trimEnd()}

[[destinations]]
address = "localhost:3002"
slots = 2
weight = 3
warm = 1
backup = true
health-interval = "5s"
health-http = "/a%2Cb"
health-port = 9
name = "3002"

[[destinations]]
address = "localhost:3003"
health-send = "P\\"\\\\x2c"
name = "3003"
`);
  });

  test("persist: mode and link stay, nothing is left beside it, and one write follows another", async () => {
    using files = new Files();
    const file = files.add("real.toml", toml);
    chmodSync(file, 0o640);
    const link = files.path("link.toml");
    symlinkSync("real.toml", link);
    let now = await configurationOf(link);
    for (const port of [4001, 4002, 4003]) {
      now = await persistDestinations(now, "9090", [
        ...destinationsOf(now, 1),
        destination(String(port), "--slots=4"),
      ]);
    }
    expect(lstatSync(link).isSymbolicLink()).toBe(true);
    expect(statSync(file).mode & 0o777).toBe(0o640);
    expect(readdirSync(files.directory).toSorted()).toEqual(["link.toml", "real.toml"]);
    expect(destinationsOf(await configurationOf(file), 1).map(({ name }) => name)).toEqual([
      "3009",
      "3010",
      "4001",
      "4002",
      "4003",
    ]);
  });
});

describe("what is refused", () => {
  /** Tries to take a destination away; what is told, the directory left out. */
  async function refusal(
    files: Files,
    configuration: Configuration,
    listener = "8080",
    keep = 1,
  ): Promise<string> {
    const wanted = destinationsOf(configuration).slice(0, keep);
    const error = await persistDestinations(configuration, listener, wanted).catch(
      (cause: unknown) => cause,
    );
    if (!(error instanceof SteeringError)) throw new Error("it was not refused", { cause: error });
    return `${error.kind}: ${error.message}`.replaceAll(`${files.directory}/`, "");
  }

  test("persist: without a file, of no listener, of another source, all gone", async () => {
    using files = new Files();
    const line = await readConfiguration(["8080", "3001", "3002"], {});
    expect(await refusal(files, line, "main")).toMatch(/^refused: there is no file to write to/);
    const file = files.add("a.toml", toml);
    const read = await configurationOf(file);
    expect(await refusal(files, read, "8081")).toBe("unknown: no listener is named 8081");
    expect(await refusal(files, read, "8080", 0)).toMatch(
      /^refused: a\.toml would be wrong afterwards: .*is empty/,
    );
    const short = files.add("b.toml", "listen = 8080\ndestinations = [1, 2]");
    const variables = await readConfiguration(["--config", short], { IAWLB_DESTINATIONS: "3 4" });
    expect(await refusal(files, variables, "main")).toBe(
      "refused: its destinations are not the file's",
    );
    const alias = files.add(
      "c.yaml",
      "slots: 1\nlisten: 80\ndestinations: *x\n".replace("1", "&x 1").replace("*x", "[1, 2]"),
    );
    expect(await refusal(files, await configurationOf(alias), "other")).toMatch(/^unknown/);
    expect(readFileSync(file, "utf8")).toBe(toml);
  });

  test("persist: a file that has changed since, or is gone, is left as it is", async () => {
    using files = new Files();
    const file = files.add("a.toml", toml);
    const read = await configurationOf(file);
    writeFileSync(file, `${toml}# by hand\n`);
    expect(await refusal(files, read)).toBe(
      "refused: a.toml has changed since it was read; reload it first",
    );
    expect(readFileSync(file, "utf8")).toBe(`${toml}# by hand\n`);
    expect(readdirSync(files.directory)).toEqual(["a.toml"]);
    Bun.spawnSync(["rm", file]);
    expect(await refusal(files, read)).toMatch(/^refused: a\.toml cannot be written: ENOENT/);
  });
});

/** A file of some form with destinations of some ports, each with a comment of its own above and beside it. */
function draw(random: Random, format: string, ports: readonly number[]): string {
  const items = ports.map((port) => {
    const slots = random.int(3);
    if (random.int(2) === 0) return `"${port},slots=${slots}"`;
    if (format === "toml") return `{ address = ${port}, slots = ${slots} }`;
    return format === "json"
      ? `{ "address": ${port}, "slots": ${slots} }`
      : `{ address: ${port}, slots: ${slots} }`;
  });
  const sign = format === "json" ? "//" : "#";
  const comma = random.int(2) === 0 ? "," : "";
  const beside = (index: number) =>
    random.int(2) === 0 ? ` ${sign} beside ${ports[index]}, "` : "";
  const above = (index: number) =>
    random.int(3) === 0 ? `  ${sign} above ${ports[index]}, [\n` : "";
  const isBlock = format === "yaml" && random.int(2) === 0;
  const lines = items.map((item, index) => {
    const end = index === items.length - 1 ? comma : ",";
    return `${above(index)}  ${isBlock ? "- " : ""}${item}${isBlock ? "" : end}${beside(index)}\n`;
  });
  const inLine = items.join(", ");
  const list = isBlock
    ? `\n${lines.join("")}`
    : random.int(3) === 0
      ? `[${inLine}]`
      : `[\n${lines.join("")}  ]`;
  if (format === "toml")
    return `# top\nlisten = 80\ndestinations = ${list} # behind\nwarm = 0 # end\n`;
  if (format === "json")
    return `{ // top\n"listen": 80,\n"destinations": ${list}, // behind\n"warm": 0 // end\n}\n`;
  return `# top\nlisten: 80\ndestinations: ${list.trimEnd()}\nwarm: 0 # end\n`;
}

test("persist: whatever is drawn, the file says what was wanted, and no comment is lost but those of what is gone", async () => {
  using files = new Files();
  await withSeed(async (random) => {
    for (let round = 0; round < 120; round++) {
      const format = ["toml", "json", "yaml"][random.int(3)] ?? "toml";
      const ports = Array.from({ length: 1 + random.int(5) }, (_, index) => 3000 + index);
      const before = draw(random, format, ports);
      const file = files.add(`a.${format}`, before);
      const read = await configurationOf(file);
      const kept = destinationsOf(read).flatMap((each) => {
        const dice = random.int(4);
        return dice === 0
          ? []
          : [
              dice === 1
                ? { ...each, weight: 1 + random.int(9), backup: random.int(2) === 0 }
                : each,
            ];
      });
      const isAdded = kept.length === 0 || random.int(2) === 0;
      const wanted = isAdded
        ? [...kept, destination("4000,weight=7"), destination("unix:/x y,slots=3,name=u")]
        : kept;
      const next = await persistDestinations(read, "main", wanted);
      expect(destinationsOf(next)).toEqual(wanted);
      const after = readFileSync(file, "utf8");
      expect({ before, after, again: destinationsOf(await configurationOf(file)) }).toEqual({
        before,
        after,
        again: wanted,
      });
      const gone = ports.filter((port) => !wanted.some(({ name }) => name === String(port)));
      const comments = before.match(/(?:#|\/\/) .*/g) ?? [];
      const lost = comments.filter((comment) => !after.includes(comment));
      expect({
        before,
        after,
        lost: lost.filter((comment) => !gone.some((port) => comment.includes(`beside ${port}`))),
      }).toEqual({ before, after, lost: [] });
    }
  });
});
