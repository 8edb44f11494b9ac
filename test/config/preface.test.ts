// PROXY protocol, TLS and routes in files and in the environment, and destinations beside routes written into a file.

import { describe, expect, test } from "bun:test";
import { readConfiguration } from "../../src/config/config.ts";
import { persistDestinations } from "../../src/config/persist.ts";
import { parseOptions } from "../../src/control/options.ts";
import { routesOf } from "../../src/control/routes.ts";
import { certs, opensslMissing } from "../certs.ts";
import { configurationOf, Files, mistakesIn } from "./files.ts";

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: tests of TLS files, for ${opensslMissing}`);

const toml = `listen = 8080
destinations = [3001]
proxy-in = ["v1", "v2"]
proxy-from = ["10.0.0.0/8"]

[[route]]
sni = ["A.Example", "*.b.example"]
alpn = ["h2"]
destinations = ["3002,weight=2", { address = 3003, backup = true }]

[[route]]
plain = true
destinations = [3004]
`;

const yaml = `listen: 8080
destinations: [3001]
proxy-in: [v1, v2]
proxy-from: 10.0.0.0/8
route:
  - sni: [A.Example, "*.b.example"]
    alpn: h2
    destinations: ["3002,weight=2", {address: 3003, backup: true}]
  - plain: true
    destinations: [3004]
`;

const json = JSON.stringify({
  listen: 8080,
  destinations: [3001],
  "proxy-in": "v1,v2",
  "proxy-from": "10.0.0.0/8",
  route: [
    {
      sni: "A.Example+*.b.example",
      alpn: ["h2"],
      destinations: ["3002,weight=2", { address: 3003, backup: true }],
    },
    { plain: true, destinations: [3004] },
  ],
});

/** The same on the command line. */
const line = [
  "--proxy-in=v1,v2",
  "--proxy-from=10.0.0.0/8",
  "8080",
  "3001",
  "3002,weight=2,sni=a.example+*.b.example,alpn=h2",
  "3003,backup,sni=a.example+*.b.example,alpn=h2",
  "3004,plain",
];

describe("files", () => {
  test.each([
    ["a.toml", toml],
    ["a.yaml", yaml],
    ["a.json", json],
  ])("preface: routes of %s are as on the command line", async (name, text) => {
    using files = new Files();
    const { listeners } = await configurationOf(files.add(name, text));
    expect(listeners.map(({ options }) => options)).toEqual([parseOptions(line)]);
    expect(routesOf(listeners[0]?.options.destinations ?? []).map(({ key }) => key)).toEqual([
      "",
      "sni=a.example+*.b.example alpn=h2",
      "plain",
    ]);
  });

  test("preface: a listener may have routes alone, and routes of its own each", async () => {
    using files = new Files();
    const text = `[[listener]]
listen = 8080
[[listener.route]]
sni = "a"
destinations = [1, "2,name=two"]
[[listener]]
listen = 8081
[[listener.route]]
sni = "a"
destinations = [3]
[[listener.route]]
sni = "b"
[[listener.route.destinations]]
address = 4
proxy = "v2"
`;
    const { listeners } = await configurationOf(files.add("a.toml", text));
    expect(
      listeners.map(({ options }) => options.destinations.map(({ name, sni }) => [name, ...sni])),
    ).toEqual([
      [
        ["1", "a"],
        ["two", "a"],
      ],
      [
        ["3", "a"],
        ["4", "b"],
      ],
    ]);
  });

  testTls(
    "preface: [tls] is the options that begin with tls-, wherever these may stand",
    async () => {
      using files = new Files();
      const { server, second, ca } = certs();
      const table = (home: string) => `[${home}]
cert = ["${server.certFile}", "${second.certFile}"]
key = ["${server.keyFile}", "${second.keyFile}"]
alpn = ["h2", "http/1.1"]
min = 1.3
client-ca = "${ca.certFile}"
client = "optional"
handshakes-max = 50
`;
      const short = `listen = 8080\ndestinations = [3001]\n${table("tls")}`;
      const long = `[[listener]]\nlisten = 8080\ndestinations = [3001]\n${table("listener.tls")}`;
      const flat = short.replace("[tls]\n", "").replace(/^(?!listen|dest)(?=\w)/gm, "tls-");
      expect(flat).toContain("tls-handshakes-max");
      const wanted = {
        tlsCert: [server.certFile, second.certFile],
        tlsKey: [server.keyFile, second.keyFile],
        tlsAlpn: ["h2", "http/1.1"],
        tlsMin: "1.3",
        tlsClientCa: ca.certFile,
        tlsClient: "optional",
        handshakeCountMax: 50,
      };
      for (const text of [short, long, flat]) {
        const { listeners } = await configurationOf(files.add("a.toml", text));
        expect(listeners).toMatchObject([{ options: wanted }]);
        expect(listeners[0]?.tls.identities.map(({ cert }) => cert)).toEqual([
          server.cert,
          second.cert,
        ]);
        expect(listeners[0]?.tls.clientCa).toBe(ca.cert);
      }
    },
  );

  testTls(
    "preface: TLS above the listeners is the default of each, and read for each",
    async () => {
      using files = new Files();
      const { server } = certs();
      const text = `tls-cert = "${server.certFile}"
tls-key = "${server.keyFile}"
[[listener]]
listen = 1
destinations = [3001]
[[listener]]
listen = 2
destinations = [{ address = 3002, tls = true, tls-verify = false, tls-name = "x" }]
tls = { min = "1.3" }
`;
      const { listeners, warnings } = await configurationOf(files.add("a.toml", text));
      expect(listeners.map(({ options }) => options.tlsMin)).toEqual(["1.2", "1.3"]);
      expect(listeners.map(({ tls }) => tls.identities.length)).toEqual([1, 1]);
      expect(listeners.map(({ tls }) => tls.destinations)).toEqual([
        [null],
        [{ ca: "", cert: "", key: "" }],
      ]);
      expect(listeners[1]?.options.destinations[0]).toMatchObject({
        tlsVerify: false,
        tlsName: "x",
      });
      expect(warnings).toEqual([]);
    },
  );
});

test("preface: every mistake of a file with its place, all at once", async () => {
  using files = new Files();
  const text = `[[listener]]
listen = 8080
proxy-in = ["v1", "v9"]
tls-alpn = "h2"
destinations = [{ address = 1, tls-ca = "x" }, { address = 2, sni = ["a", "*"] }, "3,sni=a"]
tls = { alpn = ["h2"], mim = 1.2, min = true }
[[listener.route]]
sni = ["a"]
destinations = ["4,alpn=h2"]
[[listener.route]]
sni = ["a", "b"]
destinations = [5]
[[listener.route]]
destinations = [6]
[[listener.route]]
plain = "x"
sin = "a"
[[listener]]
listen = 8081
proxy-from = ["::1"]
route = [7]
tls = 5
tls-cert = ["/none/a.pem"]
tls-key = ["/none/a.key", "/none/b.key"]
`;
  const told = await mistakesIn(["--config", files.add("a.toml", text)], {}, files.directory);
  expect(told).toEqual([
    'a.toml:3:19: listener[0].proxy-in[1]: "v9" is unknown; accepted are v1, v2',
    "a.toml:4:12: listener[0].tls-alpn: there is no certificate; --tls-cert is needed beside it",
    "a.toml:5:41: listener[0].destinations[0].tls-ca: tls-ca stands without tls; tls is needed beside it",
    'a.toml:5:69: listener[0].destinations[1].sni: "*" is every name; destinations without ,sni= serve all other names',
    "a.toml:6:9: listener[0].tls.alpn: tls-alpn says the same; once is accepted",
    'a.toml:6:24: listener[0].tls: key "mim" is unknown; known are cert, key, alpn, min, client-ca, client, handshakes-max; did you mean min?',
    "a.toml:6:41: listener[0].tls.min: true is no text and no number; accepted are 1.2, 1.3",
    "a.toml:9:17: listener[0].route[0].destinations[0]: it says by what it is chosen, and so does its route; sni, alpn and plain are the route's here",
    'a.toml:12:17: listener[0].route[1].destinations[0]: sni a leads to "3" already; give both the same sni and alpn to share it, or another name',
    "a.toml:13:1: listener[0].route[2]: it does not say who is led there; sni, alpn or plain is needed; others stand in the listener's destinations",
    "a.toml:15:1: listener[0].route[3].destinations: missing; at least one destination, such as 3001, is needed",
    'a.toml:16:9: listener[0].route[3].plain: "x" is unknown; accepted are true, false',
    'a.toml:17:1: listener[0].route[3]: key "sin" is unknown; known are sni, alpn, plain, destinations; did you mean sni?',
    "a.toml:20:14: listener[1].proxy-from: nobody begins with a PROXY header; --proxy-in v1,v2 is needed beside it",
    "a.toml:21:10: listener[1].route[0]: is no table",
    'a.toml:22:7: listener[1].tls: is no table; a table is accepted, [tls] in TOML with keys such as cert = ["a.pem"]',
    'a.toml:23:12: listener[1].tls-cert: "/none/a.pem": it cannot be read: no such file or directory; does it exist, and may this user read it?',
    "a.toml:24:11: listener[1].tls-key: 2 for 1 of --tls-cert; one for each in the same order is accepted, or none where each file holds both",
    'a.toml:24:11: listener[1].tls-key: "/none/a.key": it cannot be read: no such file or directory; does it exist, and may this user read it?',
  ]);
});

test("preface: routes have a limit in a file, too", async () => {
  using files = new Files();
  const routes = Array.from(
    { length: 64 },
    (_, index) => `[[route]]\nsni = "n${index}"\ndestinations = [${index + 1}]\n`,
  );
  const text = `listen = 8080\n${routes.join("")}`;
  expect(await mistakesIn(["--config", files.add("a.toml", text)], {}, files.directory)).toEqual([
    "a.toml:193:17: route[63].destinations[0]: its route is one too many; at most 63 routes beside the default one are accepted",
  ]);
});

describe("precedence", () => {
  test("preface: the environment counts more than the file, the command line more than both", async () => {
    using files = new Files();
    const file = files.add("a.toml", `preface-timeout = "9s"\ntls-min = 1.3\n${toml}`);
    const environment = { IAWLB_PREFACE_TIMEOUT: "8s", IAWLB_PROXY_IN: "v2" };
    const read = async (...args: string[]) =>
      (await readConfiguration(["--config", file, ...args], environment)).listeners[0]?.options;
    expect(await read()).toMatchObject({
      prefaceMs: 8_000,
      tlsMin: "1.3",
      proxyIn: { v1: false, v2: true },
    });
    expect(await read("--preface-timeout", "7s")).toMatchObject({ prefaceMs: 7_000 });
  });

  test("preface: destinations of the environment stand in place of the file's, routes with them", async () => {
    using files = new Files();
    const variables = { IAWLB_DESTINATIONS: "1,sni=x 2,proxy=v2" };
    const { listeners } = await readConfiguration(
      ["--config", files.add("a.toml", toml)],
      variables,
    );
    const [one, two, ...more] = listeners[0]?.options.destinations ?? [];
    expect([one?.sni, two?.proxy, more]).toEqual([["x"], "v2", []]);
  });

  testTls("preface: every option of TLS is a variable, and its mistakes name it", async () => {
    const { server } = certs();
    const environment = {
      IAWLB_TLS_CERT: server.certFile,
      IAWLB_TLS_KEY: server.keyFile,
      IAWLB_TLS_ALPN: "h2",
      IAWLB_TLS_HANDSHAKES_MAX: "7",
    };
    const { listeners } = await readConfiguration(["8080", "1"], environment);
    expect(listeners[0]?.options).toMatchObject({ tlsAlpn: ["h2"], handshakeCountMax: 7 });
    expect(listeners[0]?.tls.identities).toHaveLength(1);
    const told = await mistakesIn(["8080", "1"], { ...environment, IAWLB_TLS_KEY: "/none/k" });
    expect(told).toEqual([
      expect.stringMatching(/^IAWLB_TLS_KEY: "\/none\/k": it cannot be read: no such file/),
    ]);
  });
});

describe("persist", () => {
  test.each([
    ["a.toml", toml],
    ["a.yaml", yaml],
    ["a.json", json],
  ])(
    "preface: destinations beside routes are written to %s, those in routes stay",
    async (name, text) => {
      using files = new Files();
      const file = files.add(name, text);
      const configuration = await configurationOf(file);
      const before = configuration.listeners[0]?.options.destinations ?? [];
      const [first, ...routed] = before;
      const [added] = parseOptions(["8080", "5,tls,tls-verify=off,sni=c"]).destinations;
      if (first === undefined || added === undefined) throw new Error("no destination");
      const wanted = [{ ...first, weight: 7 }, ...routed, added];
      await persistDestinations(configuration, "main", wanted);
      const after = await configurationOf(file);
      expect(after.listeners[0]?.options.destinations).toEqual([
        { ...first, weight: 7 },
        added,
        ...routed,
      ]);
      const changed = before.map((each) => Object.assign({}, each, { weight: 9 }));
      const refused = persistDestinations(configuration, "main", changed);
      await expect(refused).rejects.toThrow(/a destination that has changed stands in a route of/);
    },
  );
});
