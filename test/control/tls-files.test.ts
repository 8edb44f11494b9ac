// Files of TLS: what is made of good ones, and every way in which one can be wrong.

import { describe, expect, test } from "bun:test";
import { chmodSync } from "node:fs";
import { certificateLines, certificatesIn } from "../../src/control/certificate-words.ts";
import { OptionsError, parseOptions } from "../../src/control/options.ts";
import { loadTls, TlsFiles } from "../../src/control/tls-files.ts";
import { certs, newKey, openssl, opensslMissing } from "../certs.ts";
import { Files } from "../config/files.ts";

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: tests of TLS files, for ${opensslMissing}`);

const dayMs = 86_400_000;

function load(...args: string[]): ReturnType<typeof loadTls> {
  const options = parseOptions(args);
  return loadTls(options, options.destinations);
}

/** Every mistake in a line, the directories left out. */
async function mistakesIn(...args: string[]): Promise<readonly string[]> {
  try {
    await load(...args);
    return [];
  } catch (error) {
    if (!(error instanceof OptionsError)) throw error;
    return error.mistakes.map(({ message }) => message.replace(/"[^"]*\//g, '"'));
  }
}

const listener = (...args: string[]) => [...args, "8080", "3001"];
const pairArgs = (cert: string, key: string) => ["--tls-cert", cert, "--tls-key", key];

interface Made {
  readonly cert: string;
  readonly key: string;
}

/** One that signs itself. @param dates as `openssl x509` wants them: days from now on, or "after" a month */
function make(files: Files, name: string, days: number, extra: readonly string[] = []): Made {
  const [cert, key] = [files.path(`${name}.pem`), files.path(`${name}.key`)];
  const what = ["-subj", `/CN=${name}`, "-days", String(days), "-out", cert];
  openssl(["req", "-x509", ...newKey(key), ...what, ...extra]);
  return { cert, key };
}

describe("good files", () => {
  testTls("tls-files: certificates, authorities and what destinations need", async () => {
    const { server, wildcard, chained, ca, client } = certs();
    const all = [server, wildcard, chained];
    const { notes, ...material } = await load(
      "--tls-cert",
      all.map(({ certFile }) => certFile).join(),
      "--tls-key",
      all.map(({ keyFile }) => keyFile).join(),
      "--tls-client-ca",
      ca.certFile,
      "8080",
      "1",
      `2,tls,tls-ca=${ca.certFile},tls-cert=${client.certFile},tls-key=${client.keyFile}`,
      "3,tls",
    );
    expect(material.identities.map(({ file, names }) => [file, names])).toEqual([
      [server.certFile, ["a.example", "localhost"]],
      [wildcard.certFile, ["*.example.com", "example.com"]],
      [chained.certFile, ["a.example"]],
    ]);
    expect(material.identities.map(({ cert }) => cert)).toEqual(all.map(({ cert }) => cert));
    expect(material.identities.map(({ key }) => key)).toEqual(all.map(({ key }) => key));
    expect(material.clientCa).toBe(ca.cert);
    expect(material.destinations).toEqual([
      null,
      { ca: ca.cert, cert: client.cert, key: client.key },
      { ca: "", cert: "", key: "" },
    ]);
    const [first] = material.identities;
    expect(Math.round(((first?.notAfterMs ?? 0) - Date.now()) / dayMs)).toBe(3_650);
    expect(notes.map(({ message }) => message.replace(/"[^"]*"/g, "F"))).toEqual([
      "--tls-cert: F is for a.example, as F is; the first of them is shown",
    ]);
  });

  testTls(
    "tls-files: certificate and key in one file, in either order, and text around them",
    async () => {
      const { server } = certs();
      using files = new Files();
      for (const text of [server.cert + server.key, `words\n${server.key}words\n${server.cert}`]) {
        const both = files.add("both.pem", text);
        chmodSync(both, 0o600);
        const { identities, notes } = await load(...listener("--tls-cert", both));
        expect(identities).toMatchObject([{ cert: server.cert, key: server.key }]);
        expect(notes).toEqual([]);
        const towards = await load("8080", `1,tls,tls-cert=${both}`);
        expect(towards.destinations).toEqual([{ ca: "", cert: server.cert, key: server.key }]);
      }
    },
  );

  testTls(
    "tls-files: RSA and Ed25519 keys, and a common name where there is no other",
    async () => {
      using files = new Files();
      const { rsa } = certs();
      const key = files.path("ed.key");
      openssl(["genpkey", "-algorithm", "ED25519", "-out", key]);
      const cert = files.path("ed.pem");
      openssl([
        "req",
        "-x509",
        "-key",
        key,
        "-subj",
        "/O=A, B/CN=Old.Example",
        "-days",
        "30",
        "-out",
        cert,
      ]);
      const args = ["--tls-cert", `${rsa.certFile},${cert}`, "--tls-key", `${rsa.keyFile},${key}`];
      const { identities } = await load(...listener(...args));
      expect(identities.map(({ names }) => names)).toEqual([["a.example"], ["old.example"]]);
    },
  );

  testTls(
    "tls-files: check tells of each certificate for whom, by whom and how long, and of its key nothing",
    async () => {
      const { server } = certs();
      const material = await load(...listener(...pairArgs(server.certFile, server.keyFile)));
      const [facts, ...more] = certificatesIn(material, Date.now());
      expect(more).toEqual([]);
      expect(facts).toMatchObject({ names: ["a.example", "localhost"], issuer: "iawlb test CA" });
      expect(facts?.days).toBe(3_649);
      const [line = ""] = certificateLines(facts === undefined ? [] : [facts]);
      expect(line).toContain("a.example, localhost, by iawlb test CA, until 20");
      expect(line).toEndWith("(3649 days)");
      expect(JSON.stringify(facts)).not.toContain("PRIVATE");
    },
  );
});

describe("mistakes", () => {
  testTls(
    "tls-files: a file that is missing, a directory, no file, too large, no PEM",
    async () => {
      using files = new Files();
      const { server } = certs();
      const large = files.add("large.pem", new Uint8Array(2 ** 20 + 1));
      const der = files.add(
        "der.pem",
        openssl(["x509", "-in", server.certFile, "-noout", "-text"]),
      );
      const told = (file: string) => mistakesIn(...listener(...pairArgs(file, server.keyFile)));
      expect(await told(files.path("none.pem"))).toEqual([
        '--tls-cert: "none.pem": it cannot be read: no such file or directory; does it exist, and may this user read it?',
      ]);
      expect(await told(`${files.directory}/.`)).toEqual([
        '--tls-cert: ".": it is a directory; a file of at most 1 MiB is accepted',
      ]);
      expect(await told("/dev/null")).toEqual([
        '--tls-cert: "null": it is no regular file; a file of at most 1 MiB is accepted',
      ]);
      expect(await told(large)).toEqual([
        '--tls-cert: "large.pem": its 1048577 bytes are too many; a file of at most 1 MiB is accepted',
      ]);
      expect(await told(der)).toEqual([
        '--tls-cert: "der.pem": it is no PEM; openssl x509 or pkey with -inform der -in FILE -out NEW converts it',
      ]);
    },
  );

  testTls("tls-files: a pair that is none, swapped, or without one of the two", async () => {
    using files = new Files();
    const { server, second, chained, ca } = certs();
    const told = (cert: string, key: string) => mistakesIn(...listener(...pairArgs(cert, key)));
    const upside = files.add("upside.pem", ca.cert + server.cert);
    const named = (text: string) => text.replaceAll(/"\d+-[^"]*?(pem|key)"/g, '"F.$1"');
    expect((await told(server.certFile, second.keyFile)).map(named)).toEqual([
      '--tls-key: "F.key": the key in it does not match the certificate; certificate and key are made together; is it the file of another one?',
    ]);
    expect((await told(server.keyFile, server.certFile)).map(named)).toEqual([
      '--tls-cert: "F.key": there is no certificate in it; it holds a key: the two files may be swapped',
      '--tls-key: "F.pem": there is no private key in it; it holds a certificate; name the file of its key',
    ]);
    expect((await mistakesIn(...listener("--tls-cert", chained.certFile))).map(named)).toEqual([
      '--tls-cert: "F.pem": there is no private key in it; name the file of its key by tls-key',
    ]);
    expect((await told(upside, server.keyFile)).map(named)).toEqual([
      '--tls-key: "F.key": the chain is upside down; its key is that of certificate 2, which must come first',
    ]);
  });

  testTls(
    "tls-files: damaged, encrypted, too weak or of an unknown kind; nothing of a key is told",
    async () => {
      using files = new Files();
      const { server } = certs();
      const damage = (text: string) => text.replace(/\n.{12}/, "\nAAAAAAAAAAAA");
      const cert = files.add("bad.pem", damage(server.cert));
      const key = files.add("bad.key", damage(server.key));
      const pass = ["-passout", "pass:secret", "-out"];
      openssl(["pkey", "-in", server.keyFile, "-aes128", ...pass, files.path("locked.key")]);
      openssl(["ec", "-in", server.keyFile, "-aes128", ...pass, files.path("old.key")]);
      openssl([
        "genpkey",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        "rsa_keygen_bits:1024",
        "-out",
        files.path("weak.key"),
      ]);
      openssl([
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:secp256k1",
        "-out",
        files.path("odd.key"),
      ]);
      for (const name of ["locked", "old", "weak", "odd"])
        chmodSync(files.path(`${name}.key`), 0o600);
      const told = async (keyFile: string) =>
        (await mistakesIn(...listener(...pairArgs(server.certFile, keyFile)))).join("\n");
      expect((await mistakesIn(...listener(...pairArgs(cert, server.keyFile)))).join()).toContain(
        '--tls-cert: "bad.pem": the certificate in it is damaged; copy the file again',
      );
      expect(await told(key)).toContain(
        '--tls-key: "bad.key": the key in it is damaged, or of a kind',
      );
      expect(await told(files.path("locked.key"))).toContain(
        "the key in it is encrypted; openssl pkey",
      );
      expect(await told(files.path("old.key"))).toContain(
        "the key in it is encrypted; openssl pkey",
      );
      expect(await told(files.path("weak.key"))).toContain(
        "the RSA key in it has 1024 bits; at least 2048",
      );
      expect(await told(files.path("odd.key"))).toContain(
        "or of a kind that is not spoken here; RSA,",
      );
      const lines = server.key.split("\n").filter((line) => /^[A-Za-z0-9+/=]{20,}$/.test(line));
      expect(lines.length).toBeGreaterThan(1);
      for (const line of lines) expect(await told(key)).not.toContain(line);
    },
  );

  testTls("tls-files: expired, and not valid yet", async () => {
    using files = new Files();
    const { expired } = certs();
    const told = await mistakesIn(...listener(...pairArgs(expired.certFile, expired.keyFile)));
    expect(told).toHaveLength(1);
    expect(told[0]).toMatch(/--tls-cert: ".*": it expired on \d{4}-\d\d-\d\d; renew it/);
    const soon = make(files, "soon.example", 30);
    const options = parseOptions(listener(...pairArgs(soon.cert, soon.key)));
    const early = await new TlsFiles(Date.now() - dayMs).read(options, options.destinations);
    expect(early.faults.map(({ fault }) => fault.problem.replace(/^.*": /, ""))).toEqual([
      expect.stringMatching(/^it is not valid before \d{4}-\d\d-\d\d$/),
    ]);
    expect(early.material.identities).toEqual([]);
  });

  testTls(
    "tls-files: authorities are checked likewise, of clients and of destinations",
    async () => {
      using files = new Files();
      const { server, expired, ca } = certs();
      const pair = pairArgs(server.certFile, server.keyFile);
      const told = async (file: string) => [
        ...(await mistakesIn(...pair, "--tls-client-ca", file, "8080", "1")),
        ...(await mistakesIn("8080", `1,tls,name=d,tls-ca=${file}`)),
      ];
      expect(await told(files.path("none.pem"))).toEqual(
        ["--tls-client-ca", "d"].map(
          (who) =>
            `${who}: "none.pem": it cannot be read: no such file or directory; does it exist, and may this user read it?`,
        ),
      );
      expect(await told(files.add("text.pem", "words"))).toEqual([
        expect.stringMatching(/^--tls-client-ca: "text.pem": it is no PEM/),
        expect.stringMatching(/^d: "text.pem": it is no PEM/),
      ]);
      expect(await told(files.add("over.pem", expired.cert))).toEqual([
        expect.stringMatching(/^--tls-client-ca: "over.pem": it expired on/),
        expect.stringMatching(/^d: "over.pem": it expired on/),
      ]);
      const some = await load(
        "8080",
        `1,tls,tls-ca=${files.add("some.pem", ca.cert + expired.cert)}`,
      );
      expect(some.notes.map(({ message }) => message.replace(/"[^"]*\//, '"'))).toEqual([
        '1: "some.pem": 1 of its 2 certificates are not valid now; nobody is trusted by those',
      ]);
    },
  );

  testTls("tls-files: all of them at once, and one file that many name once", async () => {
    const missing = "1,tls,tls-ca=/none/ca.pem";
    const more = ["2,tls,tls-ca=/none/ca.pem", "3,tls,tls-cert=/none/c.pem,tls-key=/none/k.pem"];
    const told = await mistakesIn("--tls-cert", "/none/a.pem", "8080", missing, ...more);
    expect(told.map((line) => line.split(": it")[0])).toEqual([
      '--tls-cert: "a.pem"',
      '1: "ca.pem"',
      '3: "c.pem"',
      '3: "k.pem"',
    ]);
  });
});

describe("warnings", () => {
  testTls("tls-files: an end within 14 days, and a key that others can read", async () => {
    using files = new Files();
    const soon = make(files, "soon.example", 13);
    const later = make(files, "later.example", 15);
    for (const { key } of [soon, later]) chmodSync(key, 0o640);
    const notes = async ({ cert, key }: Made) => {
      const told = await load(...listener(...pairArgs(cert, key)));
      return told.notes.map(({ message, code }) => `${code} ${message.replace(/"[^"]*\//, '"')}`);
    };
    expect(await notes(soon)).toEqual([
      expect.stringMatching(
        /^warning --tls-cert: "soon.example.pem": it expires in 12 days, on \d{4}-\d\d-\d\d; renew it$/,
      ),
    ]);
    expect(await notes(later)).toEqual([]);
    chmodSync(later.key, 0o644);
    expect(await notes(later)).toEqual([
      'warning --tls-key: "later.example.key": others can read the key; chmod 600 keeps it secret',
    ]);
  });
});
