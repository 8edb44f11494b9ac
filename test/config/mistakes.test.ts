// What is wrong in a file: every mistake at once, each with its place, what is accepted, and the near miss.

import { expect, test } from "bun:test";
import { Files, mistakesIn } from "./files.ts";

const wrong = `admn = "off"
slots = "x"
allow = ["10.0.0.0/8", "10.1"]
watch = 1
[[listener]]
listen = "8080x"
access-log = "json"
idle_timeout = "5m"
destinations = ["3001,slot=2", { adress = "a:80", weight = 0 }, true, { address = "::1:80" }, 3002, "3002"]
[[listener]]
destinations = []
health-send = 5
[[listener]]
listen = 0
destinations = [1]
drain-timeout = 2020-01-01
health-http = "/"
health-expect = "x"
`;

test("config: all mistakes at once, each with line, column, path, what is accepted, the near miss", async () => {
  using files = new Files();
  const file = files.add("a.toml", wrong);
  const told = await mistakesIn(
    ["--config", file, "--slotz=1", "8080"],
    { IAWLB_POLICY: "hush" },
    files.directory,
  );
  const shown = told.map((line) => line.replace(/ accepted are ,slots.*name=TEXT/, " …"));
  expect(shown).toEqual([
    '--slotz=1: option "--slotz" is unknown; iawlb --help lists them all; did you mean --slots?',
    "8080: stands beside --config a.toml; the addresses are the file's",
    'IAWLB_POLICY: "hush" is unknown; accepted are pull, round-robin, random, hash; did you mean IAWLB_POLICY=hash?',
    'a.toml:1:1: key "admn" is unknown; iawlb --help lists them all; did you mean admin?',
    'a.toml:2:9: slots: "x" is no whole number; a whole number from 0 to 1048576 is accepted',
    'a.toml:3:24: allow[1]: "10.1" is no network and no address; accepted are 10.0.0.0/8, 192.168.1.7, 2001:db8::/32 and [::1], with commas between',
    'a.toml:4:9: watch: "1" is unknown; accepted are true, false; did you mean true?',
    'a.toml:6:10: listener[0].listen: port "8080x" is no number; a number from 0 to 65535 is accepted',
    "a.toml:7:1: listener[0].access-log: is an option of the whole program; it stands above the listeners",
    'a.toml:8:1: listener[0]: key "idle_timeout" is unknown; iawlb --help lists them all; did you mean idle-timeout?',
    'a.toml:9:17: listener[0].destinations[0]: suffix "slot=2" is unknown; …; did you mean ,slots=2?',
    'a.toml:9:34: listener[0].destinations[1]: key "adress" is unknown; iawlb --help lists them all; did you mean address?',
    'a.toml:9:60: listener[0].destinations[1].weight: "0" is out of range; a whole number from 1 to 256 is accepted',
    "a.toml:9:65: listener[0].destinations[2]: true is no text and no number; it needs quotes",
    "a.toml:9:83: listener[0].destinations[3].address: an IPv6 address needs brackets; accepted are 3001, 10.0.0.2:3001, [::1]:3001, name:3001 and unix:/path; did you mean [::1]:80?",
    'a.toml:9:101: listener[0].destinations[5]: is the same address as "3002"; give one of them more by ,slots= or ,weight=',
    "a.toml:10:1: listener[1].listen: missing; a port or address to listen on, such as 8080, is needed",
    "a.toml:11:16: listener[1].destinations: is empty; at least one destination, such as 3001, is needed",
    "a.toml:12:15: listener[1].health-send: 5 is no text; it needs quotes",
    "a.toml:16:17: listener[2].drain-timeout: 2020-01-01 without quotes is no text; it needs quotes",
    "a.toml:17:15: listener[2].health-http: --health-expect stands beside it; one way to check is accepted",
  ]);
});

test.each([
  ["slots = 1", /no listener; \[\[listener\]\]/],
  ['listen = "80"', /^a\.toml:1:1: destinations: missing/],
  ["destinations = [1]", /^a\.toml:1:1: listen: missing/],
  ["listen = 80\ndestinations = 3001", /:2:16: destinations: is no list/],
  [
    "listen = 80\ndestinations = [1]\n[[listener]]\nlisten = 81\ndestinations = [1]",
    /listen: stands beside \[\[listener\]\]/,
  ],
  [
    "[listener]\nlisten = 81\ndestinations = [1]",
    /listener: is no list; .*\[\[listener\]\] in TOML/,
  ],
  ["listener = []", /listener: is empty/],
  ["listener = [1]", /listener\[0\]: is no table/],
  ['config = "b.toml"\nlisten = 80\ndestinations = [1]', /key "config" is unknown/],
  [
    "[[listener]]\nlisten = 80\ndestinations = [1]\n[[listener]]\nlisten = 80\ndestinations = [2]",
    /\*:80 is the address of listener\[0\] too/,
  ],
  [
    '[[listener]]\nlisten = 80\ndestinations = [1]\n[[listener]]\nname = "b"\nlisten = 80\ndestinations = [2]',
    /:6:10: listener\[1\]\.listen: \*:80 is the address of listener\[0\] too/,
  ],
  [
    "[[listener]]\nlisten = 80\ndestinations = [81]\n[[listener]]\nlisten = 81\ndestinations = [80]",
    /goes round in a circle: 80 → 81 → 80/,
  ],
  ["listen = 80\ndestinations = [80]", /is the listener \*:80 itself/],
  [
    'listen = 80\ndestinations = [{ address = "3001,slots=2" }]',
    /address: a comma cannot stand in an address/,
  ],
  [
    'listen = 80\ndestinations = [{ address = 1, health-http = "/", health-send = "x" }]',
    /health-http stands beside health-send/,
  ],
  [
    "listen = 80\ndestinations = [{ address = 1, slots = [1] }]",
    /slots: a list is one value too many/,
  ],
  ['name = "a b"\nlisten = 80\ndestinations = [1]', /:1:8: name: "a b" is no name/],
  [
    'admin = "0.0.0.0:9090"\nlisten = 80\ndestinations = [1]',
    /:1:9: admin: 0\.0\.0\.0:9090 can be reached from elsewhere/,
  ],
  [
    'admin-token-file = "nowhere"\nlisten = 80\ndestinations = [1]',
    /admin-token-file: "nowhere" cannot be read/,
  ],
  [
    "slots = 99999999999999999999\nlisten = 80\ndestinations = [1]",
    /"99999999999999999999" is out of range/,
  ],
  [
    "[[listener]]\nlisten = 80\ndestinations = [1]\n[[route]]\nplain = true\ndestinations = [2]",
    /a\.toml:4:3: route: stands beside \[\[listener\]\]; .*\[\[listener\.route\]\]/,
  ],
  [
    "listen = 80\n[[route]]\nplain = true\ndestinations = [2]\nslots = 3",
    /a\.toml:5:1: route\[0\]: key "slots" is unknown; it is the listener's: it stands in that, above/,
  ],
  ["slots = 1.5\nlisten = 80\ndestinations = [1]", /"1\.5" is no whole number/],
  ["queue-timeout = 15\nlisten = 80\ndestinations = [1]", /did you mean 15s\?/],
])("config: %p is one mistake", async (text, told) => {
  using files = new Files();
  const all = await mistakesIn(["--config", files.add("a.toml", text)], {}, files.directory);
  expect(all).toHaveLength(1);
  expect(all[0]).toMatch(told);
});

test("config: a key that stands twice in JSON, and one without a value in YAML", async () => {
  using files = new Files();
  const twice = files.add("a.json", '{"slots": 1, "slots": 2, "listen": 80, "destinations": [1]}');
  expect(await mistakesIn(["--config", twice], {}, files.directory)).toEqual([
    "a.json:1:14: slots: stands twice; once is accepted",
  ]);
  const empty = files.add("a.yaml", "listen: 80\ndestinations: [1]\nslots:\n");
  expect(await mistakesIn(["--config", empty], {}, files.directory)).toEqual([
    "a.yaml:3:7: slots: a value is missing; a whole number from 0 to 1048576 is accepted",
  ]);
});

test("config: listeners have a limit, and what is above all is told once", async () => {
  using files = new Files();
  const one = (port: number) => `[[listener]]\nlisten = ${port}\ndestinations = [1]\n`;
  const many = Array.from({ length: 257 }, (_, index) => one(1000 + index)).join("");
  expect(await mistakesIn(["--config", files.add("a.toml", many)], {}, files.directory)).toEqual([
    "a.toml:769:1: listener[256]: is one too many; at most 256 listeners are accepted",
  ]);
  const wrong = `health-http = "/"\nhealth-send = "x"\n${one(80)}${one(81)}`;
  expect(await mistakesIn(["--config", files.add("b.toml", wrong)])).toHaveLength(1);
});
