// PROXY protocol, TLS and routes in what is printed and checked: the same when it is read again, and no key in it.

import { expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { check, checkOptions } from "../../src/config/check.ts";
import { readConfiguration } from "../../src/config/config.ts";
import { printJson, printToml } from "../../src/config/print.ts";
import { parseOptions, readOptions } from "../../src/control/options.ts";
import { planText } from "../../src/control/plan.ts";
import { certs, opensslMissing } from "../certs.ts";
import { configurationOf, Files } from "./files.ts";

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: tests of TLS files, for ${opensslMissing}`);

const args = (cert: string) => [
  "--proxy-in",
  "v1",
  "--proxy-from",
  "10.0.0.0/8,::1",
  "--proxy-others",
  "refuse",
  "--tls-cert",
  cert,
  "--tls-alpn",
  "h2",
  "--tls-min",
  "1.3",
  "--preface-timeout",
  "9s",
  "8080",
  "1,tls,tls-name=x,tls-verify=off,proxy=v2",
  "2,sni=a+*.b,alpn=h2",
  "3,plain",
];

testTls("preface: it is read again to the same, and there is no key in it", async () => {
  using files = new Files();
  const { server } = certs();
  const cert = files.add("both.pem", server.cert + server.key);
  chmodSync(cert, 0o600);
  const first = await readConfiguration(args(cert), {});
  const printed = printToml(first);
  const second = await configurationOf(files.add("b.toml", printed));
  expect(second.listeners).toEqual(first.listeners);
  expect(readOptions(first.listeners[0]?.options ?? parseOptions([]))).toEqual(
    second.listeners[0]?.options ?? parseOptions([]),
  );
  const all = [printed, printJson(first)];
  for (const own of [[], ["--print"], ["--json"], ["--json", "--print"]]) {
    all.push((await check(checkOptions([...own, ...args(cert)]), {})).text);
  }
  for (const text of all) {
    expect(text).toContain("both.pem");
    expect(text).not.toContain("PRIVATE KEY");
    expect(text).not.toContain(server.key.split("\n")[1] ?? "?");
  }
});

testTls("preface: check tells of each certificate, in words and as JSON", async () => {
  const { server, second } = certs();
  const files = ["--tls-cert", `${server.certFile},${second.certFile}`];
  const all = [...files, "--tls-key", `${server.keyFile},${second.keyFile}`, "8080", "1"];
  const { text } = await check(checkOptions(all), {});
  const lines = text.split("\n");
  const at = lines.indexOf("certificates  2");
  expect(lines.slice(at + 1).map((each) => each.replace(/^ {2}\S+/, "F"))).toEqual([
    expect.stringMatching(
      /^F {2}a\.example, localhost, by iawlb test CA, until \S+ \(3649 days\)$/,
    ),
    expect.stringMatching(/^F {2}b\.example, by iawlb test CA, until \S+ \(3649 days\)$/),
  ]);
  const asJson = JSON.parse((await check(checkOptions(["--json", ...all]), {})).text);
  expect(asJson.certificates).toMatchObject([
    {
      file: server.certFile,
      names: ["a.example", "localhost"],
      issuer: "iawlb test CA",
      days: 3649,
    },
    { file: second.certFile, names: ["b.example"] },
  ]);
});

testTls(
  "preface: what is allowed and hardly meant is a warning, and with --strict a mistake",
  async () => {
    using files = new Files();
    const { server } = certs();
    const key = files.add("open.key", server.key);
    chmodSync(key, 0o644);
    const all = ["--tls-cert", server.certFile, "--tls-key", key, "8080", "1", "2,backup,sni=a"];
    const { warnings } = await check(checkOptions(all), {});
    expect(warnings.map(({ message }) => message.replaceAll(`${files.directory}/`, ""))).toEqual([
      "2: all destinations of sni=a are backups; one must serve for others to stand in",
      '--tls-key: "open.key": others can read the key; chmod 600 keeps it secret',
    ]);
    const strict = await check(checkOptions(["--strict", ...all]), {});
    expect(strict.mistakes).toHaveLength(2);
  },
);

test("preface: a plan says when checks go to another port without what clients begin with", () => {
  const line = "8080 3001,proxy=v2,health-port=9 3002,proxy=v2,health-port=3002 3003,health-port=9";
  expect(
    planText(parseOptions(line.split(" ")))
      .trimEnd()
      .split("\n")
      .slice(-3),
  ).toEqual([
    "  3001  localhost:3001  no limit, weight 1, checked by connect port 9 in plain, PROXY v2",
    "  3002  localhost:3002  no limit, weight 1, checked by connect port 3002, PROXY v2",
    "  3003  localhost:3003  no limit, weight 1, checked by connect port 9",
  ]);
});
