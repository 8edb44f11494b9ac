// Options and suffixes of how a connection begins: every form, every mistake, and which routes they make.

import { describe, expect, test } from "bun:test";
import { changesOf } from "../../src/control/changes.ts";
import { formatNetworks } from "../../src/control/network.ts";
import {
  type DestinationOptions,
  type Options,
  parseOptions,
  readOptions,
} from "../../src/control/options.ts";
import { planOf, planText } from "../../src/control/plan.ts";
import { plainPreface } from "../../src/control/preface-settings.ts";
import { routeCountMax, routeKeyOf, routesOf } from "../../src/control/routes.ts";
import { mistakesOf } from "./mistakes.ts";

/** The messages alone. */
const told = (...args: string[]) => mistakesOf(...args).map(({ message }) => message);
const places = ["8080", "3001"];
const from = ["--proxy-from", "10.0.0.0/8"];
const cert = ["--tls-cert", "a.pem"];

describe("options", () => {
  test.each<[string[], Partial<Options>]>([
    [["--proxy-in", "v1", ...from], { proxyIn: { v1: true, v2: false } }],
    [["--proxy-in", "v2, v1", ...from], { proxyIn: { v1: true, v2: true } }],
    [["--proxy-in="], { proxyIn: { v1: false, v2: false } }],
    [["--proxy-in=v2", ...from, "--proxy-others", "refuse"], { proxyOthers: "refuse" }],
    [["--preface-timeout", "1ms"], { prefaceMs: 1 }],
    [[...cert, "--tls-cert", "b.pem,c.pem"], { tlsCert: ["a.pem", "b.pem", "c.pem"] }],
    [[...cert, "--tls-key", "k.pem"], { tlsCert: ["a.pem"], tlsKey: ["k.pem"] }],
    [[...cert, "--tls-alpn", "h2,http/1.1,h2"], { tlsAlpn: ["h2", "http/1.1"] }],
    [["--tls-min", "1.3"], { tlsMin: "1.3" }],
    [[...cert, "--tls-client-ca", "ca.pem"], { tlsClientCa: "ca.pem", tlsClient: "required" }],
    [["--tls-client", "optional"], { tlsClient: "optional" }],
    [["--tls-handshakes-max", "1"], { handshakeCountMax: 1 }],
  ])("preface: %j is read", (args, expected) => {
    expect(parseOptions([...args, ...places])).toMatchObject(expected);
  });

  test("preface: networks of --proxy-from may be given several times", () => {
    const args = ["--proxy-in", "v1", "--proxy-from", "10.0.0.0/8", "--proxy-from", "::1"];
    expect(formatNetworks(parseOptions([...args, ...places]).proxyFrom)).toBe("10.0.0.0/8,::1");
  });

  test.each<[string[], RegExp]>([
    [["--proxy-in", "v3", ...from], /"v3" is unknown; accepted are v1, v2$/],
    [["--proxy-in", "v1"], /^--proxy-in: .*--proxy-from is needed/],
    [["--proxy-from", "::1"], /^--proxy-from: .*--proxy-in v1,v2 is needed/],
    [["--proxy-others", "refuse"], /^--proxy-others: .*--proxy-in v1,v2 is needed/],
    [["--preface-timeout", "0"], /"0" is out of range; a duration from 1ms/],
    [["--tls-handshakes-max", "0"], /"0" is out of range; a whole number from 1/],
    [["--tls-min", "1.1"], /"1.1" is unknown; accepted are 1.2, 1.3/],
    [["--tls-client", "never"], /accepted are required, optional/],
    [["--tls-cert", "a.pem,,b.pem"], /one of the list is empty/],
    [["--tls-cert", Array(257).fill("a").join()], /257 are too many; 256 at most/],
    [[...cert, "--tls-alpn", "h 2"], /"h 2" is no protocol/],
    [[...cert, "--tls-alpn", "x".repeat(256)], /is no protocol; 1 to 255 printable/],
    [[...cert, "--tls-key", "a,b"], /^--tls-key: 2 for 1 of --tls-cert; one for each/],
    [[...cert, "--tls-cert", "b", "--tls-key", "a"], /^--tls-key: 1 for 2 of --tls-cert/],
    [["--tls-key", "k"], /^--tls-key: there is no certificate; --tls-cert is needed/],
    [["--tls-alpn", "h2"], /^--tls-alpn: there is no certificate/],
    [["--tls-client-ca", "ca"], /^--tls-client-ca: there is no certificate/],
    [[...cert, "--engine", "libc"], /^--engine: .*--tls-cert stands beside it; --engine bun/],
  ])("preface: %j is one mistake", (args, message) => {
    const messages = told(...args, ...places);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toMatch(message);
  });

  test("preface: what is wrong together is told at once", () => {
    const args = ["--proxy-in", "v1", "--tls-key", "k", "--tls-alpn", "h2", "8080", "1,tls-ca=x"];
    expect(told(...args).map((line) => line.split(":")[0])).toEqual([
      "--proxy-in",
      "--tls-key",
      "--tls-alpn",
      "1,tls-ca=x",
    ]);
  });
});

describe("suffixes", () => {
  test.each<[string, Partial<DestinationOptions>]>([
    ["1", plainPreface],
    ["1,proxy=v1", { proxy: "v1" }],
    ["1,proxy=v2", { proxy: "v2" }],
    ["1,proxy=off", { proxy: "off" }],
    ["1,tls", { tls: true, tlsVerify: true, tlsCa: "", tlsName: "", tlsCert: "", tlsKey: "" }],
    ["1,tls,tls-ca=/a b/ca.pem", { tlsCa: "/a b/ca.pem" }],
    ["1,tls,tls-name=A.Example", { tlsName: "a.example" }],
    ["1,tls,tls-name=10.0.0.1", { tlsName: "10.0.0.1" }],
    ["1,tls,tls-cert=c,tls-key=k", { tlsCert: "c", tlsKey: "k" }],
    ["1,tls,tls-verify=off", { tlsVerify: false }],
    ["1,tls,tls-verify=on", { tlsVerify: true }],
    ["unix:/a,tls,tls-name=a", { tls: true, tlsName: "a" }],
    ["unix:/a,tls,tls-verify=off", { tls: true }],
    ["1,sni=A.Example+*.b.example+a.example", { sni: ["a.example", "*.b.example"] }],
    ["1,alpn=h2+http/1.1", { alpn: ["h2", "http/1.1"] }],
    ["1,plain", { plain: true }],
  ])("preface: %s is read, and written to the same", (place, expected) => {
    const options = parseOptions(["8080", place]);
    expect(options.destinations[0]).toMatchObject(expected);
    expect(readOptions(options)).toEqual(options);
    expect(planOf(options).destinations[0]).toMatchObject(expected);
  });

  test.each<[string, RegExp]>([
    ["1,proxy=v3", /,proxy: "v3" is unknown; accepted are off, v1, v2/],
    ["1,proxy=", /,proxy= needs a value/],
    ["1,tls=yes", /,tls takes no value/],
    ["1,plain=true", /,plain takes no value/],
    ["1,tls,tls", /,tls stands twice/],
    ["1,tls-ca=x", /tls-ca stands without tls; tls is needed/],
    ["1,tls-name=x", /tls-name stands without tls/],
    ["1,tls-cert=x", /tls-cert stands without tls/],
    ["1,tls-verify=off", /tls-verify stands without tls/],
    ["1,tls,tls-key=x", /tls-key stands without tls-cert/],
    ["1,tls,tls-ca=x,tls-verify=off", /tls-ca stands beside tls-verify=off/],
    ["1,tls,tls-verify=no", /,tls-verify: "no" is unknown; accepted are on, off/],
    ["1,tls,tls-name=a b", /"a b" is no name/],
    ["unix:/a,tls", /a unix socket has no name to verify; tls-name is needed/],
    ["1,plain,sni=a", /plain stands beside sni or alpn/],
    ["1,plain,alpn=h2", /plain stands beside sni or alpn/],
    ["1,sni=", /,sni= needs a value/],
    ["1,sni=a++b", /one of the list is empty/],
    ["1,sni=*", /"\*" is every name; destinations without ,sni=/],
    ["1,sni=a.*.example", /has its \* in the wrong place/],
    ["1,sni=*a.example", /has its \* in the wrong place/],
    ["1,sni=*.*.example", /"\*\.\*\.example" is no name/],
    ["1,sni=10.0.0.1", /is an address, and clients ask for names/],
    ["1,sni=-a.example", /"-a.example" is no name/],
    [`1,sni=${"a".repeat(64)}.example`, /is no name/],
    [`1,sni=${Array(65).fill("abc").join(".")}`, /is no name/],
    ["1,alpn=h2+ö", /"ö" is no protocol/],
    [
      "1,sni=a.example,b.example",
      /"b\.example" is unknown; several values of ,sni= have \+ between/,
    ],
  ])("preface: %s is one mistake", (place, message) => {
    const messages = told("8080", place);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toMatch(message);
  });

  test.each([
    ["1,sni=bücher.example", ",sni=xn--bcher-kva.example"],
    ["1,sni=a+*.Bücher.example", ",sni=a+*.xn--bcher-kva.example"],
    ["1,sni=a.example.", ",sni=a.example"],
    ["1,sni=https://a.example/", ",sni=a.example"],
    ["1,tls,tls-verify=no", ",tls-verify=off"],
    ["1,plian", ",plain"],
    ["1,proxi=v1", ",proxy=v1"],
  ])("preface: for %s the near miss is %s", (place, near) => {
    expect(mistakesOf("8080", place).map(({ hint }) => hint)).toEqual([`did you mean ${near}?`]);
  });

  test("preface: the libc engine refuses TLS towards a destination, and PROXY and routes not", () => {
    expect(told("--engine", "libc", "8080", "1", "2,tls,name=b")).toEqual([
      '--engine: the libc engine speaks no TLS, and ,tls of "b" stands beside it; --engine bun is needed for it',
    ]);
    const args = ["--engine", "libc", "--proxy-in", "v1", ...from, "8080", "1,sni=a,proxy=v2"];
    expect(told(...args)).toEqual([]);
  });
});

describe("routes", () => {
  const routes = (...all: string[]) =>
    routesOf(parseOptions(["8080", ...all]).destinations).map(({ key }) => key);

  test.each<[string[], string[]]>([
    [["1", "2"], [""]],
    [["1,sni=a"], ["", "sni=a"]],
    [
      ["1,plain", "2,sni=b+a", "3", "4,sni=a+b", "5,alpn=h2"],
      ["", "plain", "sni=a+b", "alpn=h2"],
    ],
    [
      ["1,sni=*.b.example+a.example,alpn=http/1.1+h2"],
      ["", "sni=a.example+*.b.example alpn=h2+http/1.1"],
    ],
    [
      ["1,sni=a", "2,sni=a,alpn=h2", "3,sni=*.a"],
      ["", "sni=a", "sni=a alpn=h2", "sni=*.a"],
    ],
  ])("routes: of %j they are %j", (all, keys) => {
    expect(routes(...all)).toEqual(keys);
  });

  test("routes: one has what its destinations say; the default, nothing", () => {
    const { destinations } = parseOptions(["8080", "1,sni=b+a,alpn=h2", "2"]);
    expect(routesOf(destinations)).toEqual([
      { key: "", sni: [], alpn: [], plain: false },
      { key: "sni=a+b alpn=h2", sni: ["b", "a"], alpn: ["h2"], plain: false },
    ]);
    expect(destinations.map(routeKeyOf)).toEqual(["sni=a+b alpn=h2", ""]);
  });

  test.each([
    ["1,sni=a+b", "2,sni=b+c", 'sni b leads to "1" already'],
    ["1,sni=a,alpn=h2+x", "2,sni=a,alpn=x", 'sni a with alpn x leads to "1" already'],
    ["1,alpn=h2+x", "2,alpn=h2", 'alpn h2 leads to "1" already'],
  ])("routes: %s beside %s is a mistake that names both", (one, other, problem) => {
    const [message = "", ...more] = told("8080", one, other);
    expect(more).toEqual([]);
    expect(message).toStartWith(`${other}: ${problem}; give both the same`);
  });

  test("routes: there is a limit", () => {
    const all = Array.from({ length: routeCountMax }, (_, index) => `${index + 1},sni=n${index}`);
    expect(told("8080", ...all.slice(1))).toEqual([]);
    expect(told("8080", ...all)).toEqual([
      "64,sni=n63: its route is one too many; at most 63 routes beside the default one are accepted",
    ]);
  });

  test("routes: an address may stand in several, under a name of its own in each", () => {
    expect(told("8080", "1,sni=a", "1,sni=b,name=b", "1,name=c")).toEqual([]);
    expect(told("8080", "1,sni=a", "1,sni=b")[0]).toMatch(/its name "1" is that of "1,sni=a"/);
    expect(told("8080", "1,sni=a+b", "1,sni=b+a,name=b")[0]).toMatch(/is the same address as/);
  });
});

test("preface: what changes at a reload is told, and nothing of it takes a new process", () => {
  const before = parseOptions(["8080", "a:1,name=a", "b:1,name=b,sni=x"]);
  const args = [
    "--proxy-in",
    "v2",
    ...from,
    "--preface-timeout",
    "9s",
    "--tls-min",
    "1.3",
    ...cert,
  ];
  const places = ["8080", "a:1,name=a,proxy=v2,tls,tls-verify=off", "b:1,name=b,sni=x+y,alpn=h2"];
  const pairs = { all: 9, of: (name: string) => (name === "a" ? 1 : 2) };
  const changes = changesOf(before, parseOptions([...args, ...places]), pairs);
  expect(
    changes.map(({ what, from, to, pairs }) => `${what}: ${from} -> ${to} (${pairs})`),
  ).toEqual([
    "proxy-in:  -> v2 (9)",
    "proxy-from:  -> 10.0.0.0/8 (9)",
    "preface-timeout: 5s -> 9s (9)",
    "tls-cert:  -> a.pem (9)",
    "tls-min: 1.2 -> 1.3 (9)",
    "destination a: proxy: off -> v2 (1)",
    "destination a: tls: false -> true (1)",
    "destination a: tls-verify: true -> false (1)",
    "destination b: sni: x -> x+y (2)",
    "destination b: alpn:  -> h2 (2)",
  ]);
  expect(changes.some(({ kept }) => kept)).toBe(false);
});

test("preface: check says what was asked for, and nothing of what was not", () => {
  const bare = planText(parseOptions(places)).split("\n");
  const args = [
    "--proxy-in",
    "v1,v2",
    ...from,
    ...cert,
    "--tls-alpn",
    "h2",
    "--tls-client-ca",
    "ca",
  ];
  const given = ["8080", "3001,proxy=v2,tls,tls-ca=ca.pem,tls-name=a", "3002,plain", "3003,sni=a"];
  const lines = planText(parseOptions([...args, ...given])).split("\n");
  expect(bare.filter((line) => /^(proxy|tls|routes|preface)/.test(line))).toEqual([]);
  expect(lines.filter((line) => !bare.includes(line))).toEqual([
    "proxy in      v1 or v2 from 1 network; others are served by their own address",
    "tls           1 certificate, version 1.2 or later, ALPN h2, client certificate required, 10000 handshakes at once",
    "routes        2 by what the client asks for; all others have the default",
    "preface       5s at most from accept on",
    "destinations  3",
    "  3001  localhost:3001  no limit, weight 1, PROXY v2, TLS verified by ca.pem as a",
    "  3002  localhost:3002  no limit, weight 1, for plain",
    "  3003  localhost:3003  no limit, weight 1, for sni=a",
  ]);
  const only = planText(parseOptions(["8080", "3001,sni=a"]));
  expect(only).toContain("routes        1 by what the client asks for; all others are turned away");
});
