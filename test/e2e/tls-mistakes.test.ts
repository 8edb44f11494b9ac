// Mistakes in the files of TLS, as a user meets them: at a start and in `iawlb check`, one clear line each, exit code 2;
// what ends soon is a warning.

import { expect } from "bun:test";
import { mkdirSync } from "node:fs";
import { certs, newKey, openssl } from "../certs.ts";
import { Files } from "../config/files.ts";
import { CLI, tagServer, until } from "../net.ts";
import { sClient, shows, testTls } from "./secure.ts";
import { spawn } from "./ways.ts";

async function run(args: readonly string[]) {
  await using child = Bun.spawn([process.execPath, CLI, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_ENV: undefined, NO_COLOR: "1", IAWLB_ADMIN: "off" },
    timeout: 20_000,
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, stdout, stderr };
}

/** `more`: of another file that is wrong as well. */
type Mistake = [what: string, args: string[], line: RegExp, more?: RegExp];

testTls(
  "tls: each mistake is one line at a start and in a check, exit code 2, and tells no key",
  async () => {
    using files = new Files();
    const { server, second, expired, mismatch, wildcard } = certs();
    const directory = files.path("directory");
    mkdirSync(directory);
    const missing = files.path("missing.pem");
    const locked = files.path("locked.key");
    openssl(["pkey", "-in", server.keyFile, "-aes128", "-passout", "pass:word", "-out", locked]);
    const der = files.path("a.der");
    openssl(["x509", "-in", server.certFile, "-outform", "der", "-out", der]);
    const cut = files.add("cut.pem", server.cert.slice(0, -120));
    const damaged = files.add("damaged.pem", server.cert.replace(/\n.{20}/, `\n${"A".repeat(20)}`));
    const pair = (cert: string, key: string) => ["--tls-cert", cert, "--tls-key", key];
    const own = ["127.0.0.1:1"];
    const out = (suffix: string) => [`127.0.0.1:1,name=d,tls,${suffix}`];
    const cases: Mistake[] = [
      [
        "no file",
        [...pair(missing, server.keyFile), ...own],
        /^--tls-cert: ".*missing\.pem": it cannot be read/,
      ],
      [
        "no key file",
        [...pair(server.certFile, missing), ...own],
        /^--tls-key: ".*missing\.pem": it cannot be read/,
      ],
      ["a directory", [...pair(directory, server.keyFile), ...own], /^--tls-cert: ".*directory": /],
      [
        "another's key",
        [...pair(mismatch.certFile, mismatch.keyFile), ...own],
        /^--tls-key: ".*": the key in it does not match the certificate/,
      ],
      ["expired", [...shows(expired), ...own], /^--tls-cert: ".*": it expired on \S+; renew it$/],
      [
        "encrypted",
        [...pair(server.certFile, locked), ...own],
        /^--tls-key: ".*locked\.key": the key in it is encrypted/,
      ],
      ["no PEM", [...pair(der, server.keyFile), ...own], /^--tls-cert: ".*a\.der": it is no PEM/],
      ["cut", [...pair(cut, server.keyFile), ...own], /^--tls-cert: ".*cut\.pem": it is no PEM/],
      [
        "damaged",
        [...pair(damaged, server.keyFile), ...own],
        /^--tls-cert: ".*damaged\.pem": the certificate in it is damaged/,
      ],
      [
        "swapped",
        [...pair(server.keyFile, server.certFile), ...own],
        /^--tls-cert: ".*": there is no certificate in it; it holds a key/,
        /^--tls-key: ".*": there is no private key in it/,
      ],
      [
        "no key",
        ["--tls-cert", server.certFile, ...own],
        /^--tls-(cert|key): ".*": there is no private key in it/,
      ],
      [
        "a key for two",
        [
          "--tls-cert",
          `${server.certFile},${second.certFile}`,
          "--tls-key",
          server.keyFile,
          ...own,
        ],
        /^--tls-key: 1 for 2 of --tls-cert/,
      ],
      [
        "keys in another order",
        [
          "--tls-cert",
          `${second.certFile},${wildcard.certFile}`,
          "--tls-key",
          `${second.keyFile},${server.keyFile}`,
          ...own,
        ],
        /^--tls-key: ".*": the key in it does not match/,
      ],
      [
        "no authority",
        [...shows(server), "--tls-client-ca", missing, ...own],
        /^--tls-client-ca: ".*missing\.pem": it cannot be read/,
      ],
      [
        "a key for an authority",
        [...shows(server), "--tls-client-ca", server.keyFile, ...own],
        /^--tls-client-ca: ".*": there is no certificate in it/,
      ],
      [
        "no --tls-cert",
        ["--tls-alpn", "h2", ...own],
        /^--tls-alpn: there is no certificate; --tls-cert is needed beside it/,
      ],
      [
        "a destination's authority",
        out(`tls-ca=${missing}`),
        /d.*: ".*missing\.pem": it cannot be read/,
      ],
      [
        "a destination's key",
        out(`tls-cert=${server.certFile},tls-key=${second.keyFile}`),
        /d.*: ".*": the key in it does not match/,
      ],
      [
        "tls-ca without tls",
        [`127.0.0.1:1,tls-ca=${server.certFile}`],
        /tls-ca stands without tls/,
      ],
      [
        "tls-ca for nothing",
        out(`tls-verify=off,tls-ca=${server.certFile}`),
        /tls-ca stands beside tls-verify=off/,
      ],
    ];
    const keys = [server, second].flatMap(({ key }) =>
      key.split("\n").filter((line) => line.length > 20 && !line.startsWith("-")),
    );
    const check = async ([what, args, line, more]: Mistake, index: number) => {
      // A start reads them by the same code: some of them are enough.
      for (const command of index % 5 === 0 ? [["check"], []] : [["check"]]) {
        const { code, stdout, stderr } = await run([...command, "127.0.0.1:0", ...args]);
        const [first, ...rest] = stderr.split("\n");
        expect({ what, command, code, stdout, first, rest }).toEqual({
          what,
          command,
          code: 2,
          stdout: "",
          first: expect.stringMatching(line),
          rest: [
            ...(more === undefined ? [] : [expect.stringMatching(more)]),
            "all options: iawlb --help",
            "",
          ],
        });
        expect(keys.filter((key) => stderr.includes(key))).toEqual([]);
      }
    };
    // A few at a time: each is a process of its own.
    for (let at = 0; at < cases.length; at += 4) {
      await Promise.all(cases.slice(at, at + 4).map((each, index) => check(each, at + index)));
    }
  },
);

testTls(
  "tls: a certificate that ends soon is told by a start and a check, and served",
  async () => {
    using files = new Files();
    using destination = tagServer("served");
    const [certFile, keyFile] = [files.path("soon.pem"), files.path("soon.key")];
    const about = ["-subj", "/CN=soon.example", "-days", "3"];
    openssl(["req", "-x509", ...newKey(keyFile), ...about, "-out", certFile]);
    const args = ["--tls-cert", certFile, "--tls-key", keyFile];
    const warning = /soon\.pem": it expires .*(in|after|within)?.*\d/;
    const { code, stdout, stderr } = await run([
      "check",
      ...args,
      "127.0.0.1:0",
      destination.address,
    ]);
    expect([code, stderr]).toEqual([0, expect.stringMatching(warning)]);
    expect(stdout).toMatch(/soon\.pem {2}soon\.example, by soon\.example, until \S+ \([23] days\)/);
    const strict = await run(["check", "--strict", ...args, "127.0.0.1:0", destination.address]);
    expect(strict.code).toBe(2);
    await using it = await spawn([...args, destination.address]);
    await until(() => warning.test(it.process.stderr), "the warning");
    expect((await sClient(it.port)).text).toContain("served");
    await it.finish(1);
  },
);
