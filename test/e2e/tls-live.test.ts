// Certificates that are replaced while clients come all the time: who connects sees the new one, who is connected goes
// on, nobody fails; a bad one changes nothing; and no key is told anywhere.

import { expect } from "bun:test";
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { certs, type CertPair } from "../certs.ts";
import { Files } from "../config/files.ts";
import { echoServer, until } from "../net.ts";
import { Configured } from "./configured.ts";
import { secureClient, testTls, type SecurePeer } from "./secure.ts";

type Put = (path: string, text: string) => void;

/** In one step, as most tools do. */
const byRename: Put = (path, text) => {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
};
const inPlace: Put = (path, text) => writeFileSync(path, text, { mode: 0o600 });

/** A pair in files of its own, and a configuration that names them. */
class Home implements Disposable {
  readonly files = new Files();
  readonly certFile: string;
  readonly keyFile: string;

  constructor() {
    this.certFile = this.files.path("live.pem");
    this.keyFile = this.files.path("live.key");
    this.put(certs().server);
  }

  put({ cert, key }: Pick<CertPair, "cert" | "key">, how: Put = byRename): void {
    how(this.certFile, cert);
    how(this.keyFile, key);
  }

  text(address: string): string {
    const files = `cert = ${JSON.stringify(this.certFile)}\nkey = ${JSON.stringify(this.keyFile)}`;
    return `[[listener]]\nname = "web"\nlisten = "127.0.0.1:0"\ndestinations = ["${address}"]\n[listener.tls]\n${files}\n`;
  }

  [Symbol.dispose](): void {
    this.files[Symbol.dispose]();
  }
}

/** Clients that come one after the other until it is disposed, several at a time. */
class Crowd implements AsyncDisposable {
  count = 0;
  /** Serial numbers of what each was shown, in the order of their ends. */
  readonly serials: string[] = [];
  readonly failures: string[] = [];
  private isOver = false;
  private readonly all: Promise<void>[];

  constructor(port: number, many: number) {
    this.all = Array.from({ length: many }, async () => {
      while (!this.isOver) {
        try {
          this.serials.push(await this.once(port));
        } catch (error) {
          this.failures.push(String(error));
        }
        this.count += 1;
      }
    });
  }

  private async once(port: number): Promise<string> {
    using peer = await secureClient(port);
    const { serial } = peer;
    const word = `word ${this.count}`;
    peer.send(word);
    peer.finish();
    await until(() => peer.over, "the end");
    if (peer.wasReset || peer.text !== word) throw new Error(`${peer.text} ${peer.code}`);
    return serial;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isOver = true;
    await Promise.all(this.all);
  }
}

async function serialAt(port: number): Promise<string> {
  using peer = await secureClient(port);
  const { serial } = peer;
  peer.finish(); // a reset would be one in mid-handshake for the other end
  await until(() => peer.over, "the end");
  return serial;
}

async function goesOn(peer: SecurePeer): Promise<void> {
  const expected = `${peer.text}.`;
  peer.send(".");
  await until(() => peer.text === expected, "the echo of a live pair");
}

/** `count`: replacements, each with fifty clients. */
const ways: [name: string, args: string[], how: Put, count: number][] = [
  ["a signal, files replaced by rename, three threads", ["--threads", "3"], byRename, 6],
  ["--watch, files replaced by rename", ["--watch"], byRename, 3],
  ["--watch, files written in place, three threads", ["--watch", "--threads", "3"], inPlace, 3],
];

for (const [name, args, how, replacementCount] of ways) {
  testTls(`tls: certificates replaced under load: ${name}`, async () => {
    using destination = echoServer();
    using home = new Home();
    await using it = await Configured.start(home.text(destination.address), ...args);
    const port = await it.portOf("web");
    const { server, rsa, chained } = certs();
    const live: SecurePeer[] = [await secureClient(port)];
    const seen = [await serialAt(port)];
    let count = 2;
    {
      await using crowd = new Crowd(port, 3);
      for (let n = 0; n < replacementCount; n += 1) {
        const pair = [rsa, chained, server][n % 3] ?? server;
        const before = crowd.count;
        home.put(pair, how);
        if (!args.includes("--watch")) process.kill(it.process.pid, "SIGHUP");
        const last = seen.at(-1);
        const serial = await until(async () => {
          const now = await serialAt(port);
          count += 1;
          return now !== last && now;
        }, "the new certificate");
        seen.push(serial);
        live.push(await secureClient(port));
        count += 1;
        await until(() => crowd.count >= before + 50, "50 more");
      }
      await crowd[Symbol.asyncDispose]();
      expect(crowd.failures).toEqual([]);
      expect(crowd.count).toBeGreaterThanOrEqual(50 * replacementCount);
      count += crowd.count;
      // Each of the three was seen by the crowd, and nothing else.
      expect(new Set(crowd.serials)).toEqual(new Set(seen));
    }
    expect(new Set(seen).size).toBe(3);
    for (const peer of live) await goesOn(peer);
    for (const peer of live) peer.finish();
    await until(() => live.every((peer) => peer.over), "their ends");
    for (const peer of live) peer[Symbol.dispose]();
    await until(async () => (await it.listener("web")).open === 0, "no open connection");
    const { accepted, closed, preface } = await it.listener("web");
    expect({ accepted, failed: closed["tls-handshake"], secured: preface.secured }).toEqual({
      accepted: count,
      failed: 0,
      secured: count,
    });
    expect(await it.process.stop()).toBe(0);
  });
}

testTls(
  "tls: a bad pair is refused and says why, the old one serves on; the status follows a good one",
  async () => {
    using destination = echoServer();
    using home = new Home();
    await using it = await Configured.start(home.text(destination.address), "--threads", "3");
    const port = await it.portOf("web");
    using live = await secureClient(port);
    const old = live.serial;
    const { server, second, expired, mismatch, rsa } = certs();
    const halfOf = (text: string) => text.slice(0, text.length / 2);
    const cases: [put: () => void, fault: RegExp][] = [
      [() => home.put(mismatch), /live\.key": the key in it does not match the certificate/],
      [() => home.put(expired), /live\.pem": it expired on \S+; renew it/],
      [() => home.put({ cert: "garbage", key: server.key }), /live\.pem": it is no PEM/],
      [() => home.put({ cert: halfOf(server.cert), key: server.key }), /live\.pem": it is no PEM/],
      [() => home.put({ cert: server.cert, key: halfOf(server.key) }), /live\.key": it is no PEM/],
      [() => home.put({ cert: "", key: "" }), /live\.pem": it is no PEM/],
      [
        () => home.put({ cert: server.key, key: server.cert }),
        /live\.pem": there is no certificate in it/,
      ],
      [() => rmSync(home.keyFile), /live\.key": it cannot be read/],
      [() => rmSync(home.certFile), /live\.pem": it cannot be read/],
    ];
    const was = (await it.listener("web")).certificates;
    for (const [put, fault] of cases) {
      put();
      expect(await it.fault()).toMatch(fault);
      expect(await serialAt(port)).toBe(old);
      expect((await it.listener("web")).certificates).toEqual(was);
      home.put(server);
    }
    // The signal says the same in the log, and nobody is hurt.
    home.put(mismatch);
    process.kill(it.process.pid, "SIGHUP");
    await until(async () => (await it.status()).reload?.by === "signal", "the signal's reload");
    expect((await it.status()).reload?.fault).toContain("does not match the certificate");
    expect(it.process.stderr).toContain("reload failed, nothing has changed: ");
    await goesOn(live);

    home.put(rsa);
    const change = expect.stringMatching(
      /^tls-cert \S+live\.pem: a\.example until .* -> a\.example until/,
    );
    expect(await it.plan()).toEqual([change]);
    expect(await serialAt(port)).toBe(old);
    expect(await it.reload()).toEqual([change]);
    expect(await serialAt(port)).not.toBe(old);
    home.put(second);
    await it.reload();
    const [certificate] = (await it.listener("web")).certificates;
    expect(certificate).toEqual({
      file: home.certFile,
      names: ["b.example"],
      notAfter: expect.any(Number),
    });
    const line = (await it.text("/metrics"))
      .split("\n")
      .find((each) => each.startsWith("iawlb_listener_tls_certificate_expiry_timestamp_seconds{"));
    expect(line).toContain(`file="${home.certFile}"`);
    expect(Number(line?.split(" ").at(-1))).toBe((certificate?.notAfter ?? 0) / 1_000);
    await goesOn(live);
  },
);

testTls("tls: no key is told anywhere", async () => {
  using destination = echoServer();
  using home = new Home();
  const { server, second, client } = certs();
  const whole = home.files.add("client.pem", client.cert + client.key);
  const text = home.text(`${destination.address},tls,tls-cert=${whole},name=d`);
  await using it = await Configured.start(text, "--log-level", "debug");
  const port = await it.portOf("web");
  using peer = await secureClient(port);
  const keys = [server, second, client].map(({ key }) => key);
  const said: string[] = [];
  const pages = [
    "/status",
    "/metrics",
    "/destinations",
    "/connections",
    "/reload/plan",
    "/openapi.json",
    "/events",
  ];
  for (const page of pages.slice(0, -1)) said.push(await it.text(page));
  home.put({ cert: server.cert, key: second.key });
  said.push(await it.fault(), await it.text("/reload/plan"));
  const commands = [
    ["check", "--config", it.file],
    ["check", "--config", it.file, "--print"],
    ["check", "--config", it.file, "--json"],
  ];
  for (const command of commands) said.push(JSON.stringify(await it.iawlb(...command)));
  home.put(second);
  said.push(...(await it.plan()), ...(await it.reload()), await it.text("/status"));
  for (const command of commands) said.push(JSON.stringify(await it.iawlb(...command)));
  said.push(JSON.stringify(await it.iawlb("status")), readFileSync(it.file, "utf8"));
  process.kill(it.process.pid, "SIGUSR1");
  peer.reset();
  await until(() => it.process.stdout.length > 0, "a line of the access log");
  await it.process.stop();
  said.push(...it.process.stdout, it.process.stderr);
  const all = said.join("\n");
  expect(all.length).toBeGreaterThan(10_000);
  for (const key of keys) {
    // Any line of it, and any piece of a line.
    const body = key.split("\n").filter((line) => line !== "" && !line.startsWith("-----"));
    expect(body.length).toBeGreaterThan(1);
    for (const line of body) {
      for (let at = 0; at + 12 <= line.length; at += 6) {
        expect(all.includes(line.slice(at, at + 12)) && line.slice(at, at + 12)).toBe(false);
      }
    }
  }
  expect(all).not.toContain("PRIVATE KEY-----\n");
});
