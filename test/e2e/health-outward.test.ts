// Checks of destinations that await a PROXY header or TLS from everybody, with servers of other makes, whose logs say
// what they think of us.

import { describe, expect } from "bun:test";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readTls } from "../../src/control/tls-need.ts";
import { certs, opensslMissing, type CertPair } from "../certs.ts";
import { client, until } from "../net.ts";
import { folder, freePort, server, testWith, type Folder } from "./program.ts";
import { change } from "./steering.ts";
import { embed, portably, type InProcess } from "./ways.ts";

/** Checks often; down at the first failure, back at the first pass. */
const eager = ["--health-interval", "40ms", "--health-fall", "1", "--health-rise", "1"];
const testNginx = testWith({ nginx: "nginx" });
const testHaproxy = testWith({ haproxy: "haproxy" });
const testTls = testWith(
  opensslMissing === null
    ? { nginx: "nginx", curl: "curl" }
    : { nginx: "nginx", openssl: "openssl" },
);

function stateOf(balancer: InProcess): string {
  return balancer.status().destinations[0]?.state ?? "none";
}

/** It has been asked several times more, and is well. */
async function isWell(balancer: InProcess, accepted: () => Promise<number>): Promise<void> {
  const before = await accepted();
  await until(async () => (await accepted()) >= before + 5, "five checks");
  const kinds = balancer.events.map(({ kind }) => kind);
  expect([stateOf(balancer), kinds]).toEqual(["up", ["listening"]]);
}

async function downFor(balancer: InProcess, cause: RegExp): Promise<void> {
  await until(() => stateOf(balancer) === "down", "down");
  expect(balancer.status().destinations[0]?.checkFault).toMatch(cause);
}

/** What it has to say of its clients, from warnings on. */
function errorsOf(home: Folder): string {
  const log = join(home.path, "error.log");
  return existsSync(log) ? readFileSync(log, "utf8") : "";
}

interface Nginx extends AsyncDisposable {
  /** Connections that it has had, but for those that ask this. */
  accepted(): Promise<number>;
}

async function nginx(home: Folder, ...lines: readonly string[]): Promise<Nginx> {
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const statusPort = freePort();
  const config = `
    daemon off; pid ${home.path}/nginx.pid; error_log ${home.path}/error.log warn; worker_processes 1;
    events { worker_connections 256; }
    http {
      log_format seen '$ssl_protocol $status'; access_log ${home.path}/access.log seen;
      ${kinds.map((kind) => `${kind}_temp_path ${home.path}/${kind};`).join(" ")}
      server { listen 127.0.0.1:${statusPort}; access_log off; location / { stub_status; } }
      server {
        ${lines.join("\n")}
        location / { return 200 "fine"; }
      }
    }`;
  const file = join(home.path, "nginx.conf");
  writeFileSync(file, config);
  const command = ["nginx", "-c", file, "-p", home.path, "-e", join(home.path, "error.log")];
  const running = await server(command, statusPort);
  let askedCount = 0;
  return {
    async accepted() {
      askedCount += 1;
      const headers = { connection: "close" };
      const text = await (await fetch(`http://127.0.0.1:${statusPort}/`, { headers })).text();
      return Number(/^ (\d+) /m.exec(text)?.[1]) - askedCount;
    },
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

const withTls = ({ certFile, keyFile }: CertPair): string =>
  `ssl_certificate ${certFile}; ssl_certificate_key ${keyFile};`;

const http = ["--health-http", "/"];

describe.each(["in process, by descriptor", portably] as const)("checks, %s", (way) => {
  testNginx(
    "checks: nginx that awaits PROXY is well by either version, and not without; a reload changes that",
    async () => {
      using home = folder();
      const port = freePort();
      await using judge = await nginx(home, `listen 127.0.0.1:${port} proxy_protocol;`);
      const address = `127.0.0.1:${port},name=n`;
      for (const question of [[], http]) {
        for (const version of ["v1", "v2"]) {
          await using it = await embed([...eager, ...question, `${address},proxy=${version}`], way);
          await isWell(it, judge.accepted);
        }
      }
      expect(errorsOf(home)).toBe("");
      await using it = await embed([...eager, ...http, address], way);
      await downFor(it, /before a status line/);
      expect(errorsOf(home)).toContain("broken header");
      await change(it, { destinations: [`${address},proxy=v2`] });
      await until(() => stateOf(it) === "up", "up by the header");
      await change(it, { destinations: [address] });
      await until(() => stateOf(it) === "down", "down without");
    },
  );

  testNginx("checks: another port is asked in plain", async () => {
    using home = folder();
    const [port, plainPort] = [freePort(), freePort()];
    const listens = [`listen 127.0.0.1:${port} proxy_protocol;`, `listen 127.0.0.1:${plainPort};`];
    await using judge = await nginx(home, ...listens);
    const address = `127.0.0.1:${port},proxy=v2,health-port=${plainPort}`;
    await using it = await embed([...eager, ...http, address], way);
    await isWell(it, judge.accepted);
    expect(errorsOf(home)).toBe("");
  });

  testHaproxy("checks: HAProxy that accepts PROXY alone", async () => {
    using home = folder();
    const port = freePort();
    const config = join(home.path, "haproxy.cfg");
    const socket = join(home.path, "admin.sock");
    writeFileSync(
      config,
      `global
  nbthread 1
  stats socket ${socket}
defaults
  mode http
  timeout client 5s
frontend f
  bind 127.0.0.1:${port} accept-proxy
  http-request return status 200
`,
    );
    await using _haproxy = await server(["haproxy", "-db", "-f", config], port);
    const accepted = () => haproxyNumber(socket, "conn_tot");
    for (const version of ["v1", "v2"]) {
      await using it = await embed([...eager, ...http, `127.0.0.1:${port},proxy=${version}`], way);
      await isWell(it, accepted);
    }
    expect(await haproxyNumber(socket, "ereq")).toBe(0); // no request was in error
    await using it = await embed([...eager, ...http, `127.0.0.1:${port}`], way);
    await downFor(it, /before a status line/);
  });

  testTls(
    "checks: nginx by TLS, with a header before it and without; a certificate that is not right",
    async () => {
      const { ca, server: good, expired } = certs();
      using home = folder();
      const ports = [freePort(), freePort(), freePort()] as const;
      await using judge = await nginx(
        home,
        `listen 127.0.0.1:${ports[0]} ssl;`,
        `listen 127.0.0.1:${ports[1]} ssl proxy_protocol;`,
        withTls(good),
      );
      const trust = `tls,tls-ca=${ca.certFile},tls-name=a.example`;
      for (const question of [[], http]) {
        for (const destination of [
          `127.0.0.1:${ports[0]},${trust}`,
          `127.0.0.1:${ports[1]},${trust},proxy=v1`,
          `127.0.0.1:${ports[1]},${trust},proxy=v2`,
        ]) {
          await using it = await embed([...eager, ...question, destination], way);
          await isWell(it, judge.accepted);
        }
      }
      expect(errorsOf(home)).toBe("");
      const seen = () => readFileSync(join(home.path, "access.log"), "utf8");
      await until(() => /^TLSv1\.[23] 200$/m.test(seen()), "a question in its log");

      await using it = await embed([...eager, `127.0.0.1:${ports[0]},name=n,${trust}x`], way);
      await downFor(it, /^ERR_TLS_CERT_ALTNAME_INVALID$/);
      await change(it, { destinations: [`127.0.0.1:${ports[0]},name=n,${trust}`] });
      await until(() => stateOf(it) === "up", "up by the right name");

      const live = join(home.path, "ca.pem");
      writeFileSync(live, certs().otherCa.cert);
      const byFile = `tls,tls-ca=${live},tls-name=a.example`;
      await using other = await embed([...eager, `127.0.0.1:${ports[0]},name=n,${byFile}`], way);
      await downFor(other, /^UNABLE_TO_/);
      writeFileSync(live, ca.cert);
      const { options } = other.balancer;
      await other.balancer.apply({ ...options, tls: await readTls(options, () => {}) }); // as a reload does
      await until(() => stateOf(other) === "up", "up by another file of the same name");

      using old = folder();
      await using _expired = await nginx(
        old,
        `listen 127.0.0.1:${ports[2]} ssl;`,
        withTls(expired),
      );
      await using late = await embed([...eager, `127.0.0.1:${ports[2]},name=old,${trust}`], way);
      await downFor(late, /^CERT_HAS_EXPIRED$/);
      expect(late.events).toContainEqual({
        kind: "destination-down",
        name: "old",
        cause: "CERT_HAS_EXPIRED",
      });
    },
  );
});

/** A number of its only frontend. */
async function haproxyNumber(socket: string, name: string): Promise<number> {
  using peer = await client(`unix:${socket}`);
  peer.send("show stat\n");
  await until(() => peer.over, "its answer");
  const [head = "", row = ""] = peer.text.split("\n");
  return Number(row.split(",")[head.split(",").indexOf(name)]);
}
