// The files of TLS change while it runs: they are read again with every reload, a wrong one changes nothing, and what
// was read is kept by every other change. Nothing here speaks TLS.

import { expect, test } from "bun:test";
import { chmodSync, copyFileSync, writeFileSync } from "node:fs";
import { balance } from "../../src/balancer.ts";
import { OptionsError } from "../../src/control/options.ts";
import { runFile } from "../admin/program.ts";
import { type CertPair, certs, opensslMissing } from "../certs.ts";
import { Files } from "../config/files.ts";
import { spawnBalancer, until } from "../net.ts";
import { CLI } from "../run.ts";

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: tests of TLS files, for ${opensslMissing}`);

/** A pair in files of its own, which may be replaced. */
class Pair {
  readonly certFile: string;
  readonly keyFile: string;

  constructor(files: Files) {
    this.certFile = files.path("live.pem");
    this.keyFile = files.path("live.key");
    this.put(certs().server);
  }

  get args(): string[] {
    return ["--tls-cert", this.certFile, "--tls-key", this.keyFile];
  }

  put(pair: CertPair): void {
    copyFileSync(pair.certFile, this.certFile);
    copyFileSync(pair.keyFile, this.keyFile);
    chmodSync(this.keyFile, 0o600);
  }
}

const noChecks = ["--health-interval", "0", "--admin", "off"];
const renewed = (file: string) =>
  new RegExp(`reload: tls-cert ${file}: a\\.example until \\S+ \\(\\w{8}\\) -> b\\.example until`);

testTls(
  "tls-reload: a signal reads the files again without a file of the configuration",
  async () => {
    using files = new Files();
    const pair = new Pair(files);
    await using it = await spawnBalancer([...noChecks, ...pair.args, "127.0.0.1:0", "1"]);
    process.kill(it.pid, "SIGHUP");
    await until(() => it.stderr.includes("reload: no change"), "nothing has changed");
    pair.put(certs().second);
    process.kill(it.pid, "SIGHUP");
    await until(() => renewed(pair.certFile).test(it.stderr), "the new certificate");
    pair.put(certs().mismatch);
    process.kill(it.pid, "SIGHUP");
    const fault = `reload failed, nothing has changed: --tls-key: "${pair.keyFile}": the key in it does not match`;
    await until(() => it.stderr.includes(fault), "the refusal");
    pair.put(certs().second);
    process.kill(it.pid, "SIGHUP");
    await until(
      () => it.stderr.split("reload: no change").length === 3,
      "the old one still serves",
    );
    expect(it.stderr).not.toContain("PRIVATE");
  },
);

testTls(
  "tls-reload: --watch reads them again by itself, with and without a file of the configuration",
  async () => {
    using files = new Files();
    const pair = new Pair(files);
    const text = `listen = "127.0.0.1:0"\ndestinations = [1]\n`;
    const config = files.add("a.toml", text);
    const other = files.path("other.pem");
    await using alone = await spawnBalancer([
      ...noChecks,
      "--watch",
      ...pair.args,
      "127.0.0.1:0",
      "1",
    ]);
    await using filed = await spawnBalancer([...noChecks, "--watch", "--config", config]);
    expect(alone.stderr).not.toContain("nothing to watch");
    writeFileSync(config, `${text}tls-cert = "${pair.certFile}"\ntls-key = "${pair.keyFile}"\n`);
    await until(() => filed.stderr.includes("reload: tls-cert: "), "TLS is there");
    pair.put(certs().second);
    for (const it of [alone, filed]) {
      await until(() => renewed(pair.certFile).test(it.stderr), "the new certificate");
    }
    writeFileSync(other, certs().rsa.cert + certs().rsa.key, { mode: 0o600 });
    writeFileSync(config, `${text}tls-cert = "${other}"\n`);
    await until(
      () => filed.stderr.includes(`reload: tls-cert: ${pair.certFile} -> ${other}`),
      "moved",
    );
    writeFileSync(other, certs().second.cert + certs().second.key);
    await until(() => renewed(other).test(filed.stderr), "the one that it names now");
  },
);

testTls(
  "tls-reload: a start with a wrong pair ends with exit code 2 and one line for it",
  async () => {
    using files = new Files();
    const pair = new Pair(files);
    pair.put(certs().expired);
    await using child = Bun.spawn([process.execPath, CLI, ...pair.args, "127.0.0.1:0", "1"], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, NODE_ENV: undefined, NO_COLOR: "1" },
    });
    const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    expect({ code: await child.exited, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr.split("\n")).toEqual([
      expect.stringMatching(/^--tls-cert: ".*live\.pem": it expired on \S+; renew it$/),
      "all options: iawlb --help",
      "",
    ]);
  },
);

testTls(
  "tls-reload: a plan tells what would change, another change keeps what was read",
  async () => {
    using files = new Files();
    const pair = new Pair(files);
    const file = files.add(
      "a.toml",
      `listen = "127.0.0.1:0"
[tls]
cert = "${pair.certFile}"
key = "${pair.keyFile}"
[[route]]
sni = ["a.example"]
destinations = [{ address = 1, name = "d", tls = true, tls-ca = "${pair.certFile}" }]
`,
    );
    await using it = await runFile(file);
    const { program } = it;
    expect(await program.plan()).toMatchObject({ changes: [], kept: [], fault: "" });
    pair.put(certs().second);
    const { changes } = await program.plan();
    expect(changes).toEqual([
      expect.stringMatching(/^tls-cert .*live\.pem: a\.example until .* -> b\.example until /),
      expect.stringMatching(/^destination d: TLS files: \w{8} -> \w{8}$/),
    ]);
    expect((await program.plan()).changes).toEqual(changes);
    pair.put(certs().mismatch);
    expect((await program.plan()).fault).toMatch(
      /^.*a\.toml:4:7: tls\.key: ".*live\.key": the key in it does not match the certificate; /,
    );
    // Others than the files' may change all the same.
    await program.set({ listener: "", destination: "d" }, { weight: 5 });
    await program.add("main", "2,tls,name=e,tls-verify=off");
    const broken = program.add("main", `3,tls,name=f,tls-ca=${pair.keyFile}`);
    await expect(broken).rejects.toThrow(/there is no certificate in it; it holds a key/);
    expect(it.status().destinations.map(({ name, weight }) => [name, weight])).toEqual([
      ["d", 5],
      ["e", 1],
    ]);
    pair.put(certs().second);
    expect((await program.reload("test")).changes.slice(-2)).toEqual([...changes]);
    expect((await program.reload("test")).changes).toEqual([]);
    expect(JSON.stringify([program.status(), ...it.told])).not.toContain("PRIVATE");
  },
);

testTls("tls-reload: a program that embeds the balancer is told the same", async () => {
  using files = new Files();
  const pair = new Pair(files);
  const given = {
    listen: "127.0.0.1:0",
    destinations: ["1"],
    healthMs: 0,
    tlsCert: [pair.certFile],
    tlsKey: pair.keyFile,
  };
  const balancer = await balance(given);
  try {
    expect(balancer.options).toMatchObject({ tlsCert: [pair.certFile], tlsKey: [pair.keyFile] });
    expect(await balancer.apply({ ...given, tlsMin: "1.3" })).toMatchObject([{ what: "tls-min" }]);
    const wrong = { ...given, tlsCert: pair.keyFile };
    await expect(balancer.apply(wrong)).rejects.toThrow(/there is no certificate in it/);
    expect(balancer.options.tlsCert).toEqual([pair.certFile]);
    expect(JSON.stringify([balancer.status(), balancer.options])).not.toContain("PRIVATE");
  } finally {
    await balancer.stop();
  }
  pair.put(certs().mismatch);
  await expect(balance(given)).rejects.toThrow(OptionsError);
});
