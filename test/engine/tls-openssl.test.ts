// The engine's TLS against OpenSSL and curl: versions, ciphers, sessions and certificates, on either side.

import { afterEach, describe, expect, test } from "bun:test";
import { join as joinPath } from "node:path";
import { certs, openssl, opensslMissing } from "../certs.ts";
import { runsAllWays } from "../e2e/ways.ts";
import { seeded, until } from "../wait.ts";
import {
  clientSide,
  dialEnd,
  door,
  each,
  faults,
  run,
  sClient,
  serverSide,
  type End,
  type Way,
} from "./tls-end.ts";

if (opensslMissing !== null) console.warn(`skipped: TLS against OpenSSL: ${opensslMissing}`);

afterEach(() => expect(faults.splice(0)).toEqual([]));

const echo: Partial<Way> = {
  onChunk: (end, chunk) => void end.send(Buffer.concat([chunk])),
  onEnd: (end) => void end.finish(),
};
const VERSIONS = ["1.2", "1.3"] as const;
const flagOf = (version: (typeof VERSIONS)[number]) => `-tls1_${version.slice(2)}`;
const trusting = () => ["-CAfile", certs().ca.certFile, "-verify_return_error"];
const asClient = (pair: { certFile: string; keyFile: string }) => [
  "-cert",
  pair.certFile,
  "-key",
  pair.keyFile,
];

describe.skipIf(opensslMissing !== null)("tls and openssl", () => {
  test.each(VERSIONS)("tls: openssl s_client by TLS %s", async (version) => {
    using listening = door({ side: serverSide(), alpn: ["b", "a"] });
    const text = await sClient(listening.port, [flagOf(version), ...trusting(), "-alpn", "a,b"]);
    expect(text).toContain("Verify return code: 0 (ok)");
    expect(text).toContain("ALPN protocol: b");
    const [end] = listening.ends;
    expect(end?.secured).toMatchObject({ version: `TLSv${version}`, alpn: "b", resumed: false });
    expect(text).toContain(`Cipher is ${end?.secured?.cipher}`);
    await until(() => end?.story.includes("end"), "its end");
  });

  test("tls: 16 MiB there and back through openssl, byte by byte", async () => {
    const bytes = seeded(8).bytes(16 * 1024 * 1024);
    let unsent: Uint8Array[] = [];
    const push = (end: End) => {
      if (end.isBusy || unsent.length === 0) return;
      end.send(Buffer.concat(unsent));
      unsent = [];
    };
    using listening = door({
      side: serverSide(),
      onChunk: (end, chunk) => {
        unsent.push(chunk);
        push(end);
      },
    });
    const at = ["-connect", `127.0.0.1:${listening.port}`, "-servername", "a.example"];
    const command = ["openssl", "s_client", ...at, ...trusting(), "-quiet", "-ign_eof"];
    const { stdout } = await run(command, bytes, async () => {
      await until(() => {
        const [end] = listening.ends;
        if (end !== undefined) push(end);
        return end?.receivedCount === bytes.length && unsent.length === 0 && !end.isBusy;
      }, "all of it");
      listening.ends[0]?.finish();
    });
    expect(stdout.equals(bytes)).toBe(true);
  });

  test("tls: curl", async () => {
    if (Bun.which("curl") === null) return console.warn("skipped: curl is not installed");
    using listening = door({
      side: serverSide(),
      alpn: ["http/1.1"],
      onChunk: (end) => {
        if (end.text.includes("\r\n\r\n")) end.send("HTTP/1.1 200 OK\r\n\r\nhello").finish();
      },
    });
    const at = `a.example:${listening.port}`;
    const command = [
      "curl",
      "-sS",
      "--cacert",
      certs().ca.certFile,
      "--resolve",
      `${at}:127.0.0.1`,
    ];
    const { code, stdout, stderr } = await run([...command, `https://${at}/`]);
    expect([code, stdout.toString(), stderr]).toEqual([0, "hello", ""]);
    expect(listening.ends[0]?.secured?.alpn).toBe("http/1.1");
  });

  // `npm run ways` has both kinds of keys.
  test.each((["server", "rsa"] as const).slice(0, runsAllWays ? 2 : 1))(
    "tls: of all ciphers, only the good ones (%s)",
    async (which) => {
      const { cert, key } = certs()[which];
      using listening = door({ side: serverSide({ cert, key }), ...echo });
      const all = "ALL:COMPLEMENTOFALL:@SECLEVEL=0";
      const names = openssl(["ciphers", "-tls1_2", "-s", all]).trim().split(":");
      expect(names.length).toBeGreaterThan(40); // among them NULL, anonymous ones, CBC, those without forward secrecy
      const taken: string[] = [];
      await each(names, async (name) => {
        const text = await sClient(listening.port, ["-tls1_2", "-cipher", `${name}:@SECLEVEL=0`]);
        if (text.includes(`Cipher is ${name}`)) taken.push(name);
        else expect(text).toMatch(/alert handshake failure|no ciphers available/);
      });
      const kind = which === "rsa" ? "RSA" : "ECDSA";
      expect(taken.toSorted()).toEqual([
        `ECDHE-${kind}-AES128-GCM-SHA256`,
        `ECDHE-${kind}-AES256-GCM-SHA384`,
        `ECDHE-${kind}-CHACHA20-POLY1305`,
      ]);
    },
  );

  test("tls: versions before 1.2 are refused, and 1.2 where 1.3 is wanted", async () => {
    using listening = door({ side: serverSide(), ...echo });
    for (const flag of ["-tls1", "-tls1_1"]) {
      const text = await sClient(listening.port, [flag, "-cipher", "ALL:@SECLEVEL=0"]);
      expect(text).toContain("alert protocol version");
      expect(listening.ends.at(-1)?.cause).toBe("UNSUPPORTED_PROTOCOL");
    }
    using modern = door({ side: serverSide({ versionMin: "TLSv1.3" }), ...echo });
    expect(await sClient(modern.port, ["-tls1_2"])).toContain("alert protocol version");
    expect(await sClient(modern.port, ["-tls1_3"])).toContain("New, TLSv1.3");
  });

  test("tls: no common protocol is an alert that says so", async () => {
    using listening = door({ side: serverSide(), alpn: ["a"] });
    const text = await sClient(listening.port, ["-alpn", "b,c"]);
    expect(text).toContain("alert no application protocol");
    expect(listening.ends[0]?.story).toEqual(["insecure NO_APPLICATION_PROTOCOL"]);
    await sClient(listening.port, []); // none offered: none agreed upon, RFC 7301 §3.2
    expect(listening.ends[1]?.secured?.alpn).toBe("");
  });

  describe.each(VERSIONS)("sessions of TLS %s", (version) => {
    /** Keeps the session of a first handshake, then uses it at another port. */
    async function twice(first: number, second: number, args: readonly string[], then = args) {
      const file = joinPath(certs().dir, `session-${first}-${second}`);
      const flag = flagOf(version);
      // Tickets of TLS 1.3 come with the first bytes: an answer must have been read before it ends.
      await run(
        ["openssl", "s_client", "-connect", `127.0.0.1:${first}`, flag, "-sess_out", file, ...args],
        "hello\n",
        () => until(() => Bun.file(file).size > 0, "a session"),
      );
      return sClient(second, [flag, "-sess_in", file, ...then]);
    }

    test("tls: one is taken up again, also without the certificate that it began with", async () => {
      using listening = door({ side: serverSide(), ...echo });
      expect(await twice(listening.port, listening.port, [])).toContain("Reused, ");
      expect(listening.ends.map((end) => end.secured?.resumed)).toEqual([false, true]);
      const clientCa = certs().ca.cert;
      using guarded = door({ side: serverSide({ clientCa, clientRequired: true }), ...echo });
      await twice(guarded.port, guarded.port, asClient(certs().client), []);
      const seen = { peerName: "alice", verified: true };
      expect(guarded.ends.map((end) => end.secured)).toMatchObject([
        { ...seen, resumed: false },
        { ...seen, resumed: true },
      ]);
    });

    test("tls: one of another side is not, so it spares nobody a certificate", async () => {
      const clientCa = certs().ca.cert;
      const sides = [
        serverSide(),
        serverSide({ clientCa }),
        serverSide({ clientCa: certs().otherCa.cert, clientRequired: true }),
      ];
      for (const side of sides) {
        using open = door({ side, ...echo });
        using guarded = door({ side: serverSide({ clientCa, clientRequired: true }), ...echo });
        const own = side === sides[2] ? asClient(certs().foreignClient) : [];
        const text = await twice(open.port, guarded.port, own, []);
        expect(open.ends[0]?.secured).not.toBeNull();
        expect(text).not.toContain("Reused");
        expect(guarded.ends[0]?.story).toEqual(["insecure PEER_DID_NOT_RETURN_A_CERTIFICATE"]);
      }
    });
  });

  describe.each(VERSIONS)("client certificates, TLS %s", (version) => {
    const none = "PEER_DID_NOT_RETURN_A_CERTIFICATE";
    test.each([
      ["client", true, "alice"],
      ["client", false, "alice"],
      ["", false, ""],
      ["", true, none],
      ["foreignClient", true, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
      ["foreignClient", false, "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
      ["expiredClient", true, "CERT_HAS_EXPIRED"],
      ["expiredClient", false, "CERT_HAS_EXPIRED"],
      ["server", true, "INVALID_PURPOSE"],
    ] as const)("tls: %p, required: %p", async (which, clientRequired, outcome) => {
      using listening = door({
        side: serverSide({ clientCa: certs().ca.cert, clientRequired }),
        ...echo,
      });
      const own = which === "" ? [] : asClient(certs()[which]);
      const hold = () =>
        until(() => listening.ends[0]?.secured ?? listening.ends[0]?.over, "a verdict");
      await sClient(listening.port, [flagOf(version), ...own], hold);
      const end = listening.ends[0];
      if (outcome === "alice" || outcome === "") {
        expect(end?.secured).toMatchObject({ peerName: outcome, verified: outcome !== "" });
      } else {
        expect(end?.story).toEqual([`insecure ${outcome}`]);
      }
    });
  });

  /** A server of OpenSSL's that sends each line back in reverse. */
  async function withServer(args: readonly string[], body: (port: number) => Promise<void>) {
    const child = Bun.spawn(["openssl", "s_server", "-accept", "127.0.0.1:0", "-rev", ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let text = "";
    void (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stdout) text += decoder.decode(chunk);
    })();
    try {
      await until(() => /ACCEPT .*:(\d+)/.test(text), "a server");
      await body(Number(/ACCEPT .*:(\d+)/.exec(text)?.[1]));
    } finally {
      child.kill();
      await child.exited;
    }
  }

  const reversed = async (end: End, expected: string | null) => {
    await until(() => end.secured ?? end.over, "a verdict");
    if (end.secured !== null) end.send("hello\n");
    await until(() => end.over || end.text.length > 0, "an answer");
    const answer = end.text === "" ? null : end.text.trim();
    expect([answer, answer === expected ? "" : end.story.join()]).toEqual([expected, ""]);
    end.abort();
  };
  const pairArgs = ({ certFile, keyFile }: { certFile: string; keyFile: string }) => [
    "-cert",
    certFile,
    "-cert_chain",
    certFile,
    "-key",
    keyFile,
  ];

  test.each([
    ["server", "a.example", ""],
    ["server", "127.0.0.1", ""],
    ["server", "", ""],
    ["chained", "a.example", ""],
    ["rsa", "a.example", ""],
    ["wildcard", "any.example.com", ""],
    ["wildcard", "one.any.example.com", "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["server", "b.example", "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["server", "127.0.0.2", "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["foreign", "a.example", "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    ["expired", "a.example", "CERT_HAS_EXPIRED"],
    ["client", "", "INVALID_PURPOSE"],
  ] as const)(
    "tls: a destination's certificate %p under the name %p",
    async (which, name, cause) => {
      await withServer(pairArgs(certs()[which]), async (port) => {
        const end = dialEnd(port, { side: clientSide(), name });
        await reversed(end, cause === "" ? "olleh" : null);
        if (cause === "") expect(end.secured?.verified).toBe(true);
        else expect(end.story).toEqual([`insecure ${cause}`]);
        const careless = dialEnd(port, { side: clientSide({ verify: false }), name });
        await reversed(careless, "olleh");
        expect(careless.secured?.verified).toBe(cause === "");
      });
    },
  );

  test("tls: without authorities of its own a client trusts the system's, so not ours", async () => {
    await withServer(pairArgs(certs().server), async (port) => {
      const end = dialEnd(port, { side: clientSide({ ca: "" }), name: "a.example" });
      await reversed(end, null);
      expect(end.story).toEqual(["insecure UNABLE_TO_VERIFY_LEAF_SIGNATURE"]);
    });
  });

  test.each(VERSIONS)("tls: a destination that wants a certificate, TLS %s", async (version) => {
    const wants = [
      "-Verify",
      "2",
      "-verify_return_error",
      "-CAfile",
      certs().ca.certFile,
      flagOf(version),
    ];
    await withServer([...pairArgs(certs().server), ...wants], async (port) => {
      const { client, foreignClient } = certs();
      await reversed(dialEnd(port, { side: clientSide(client), name: "a.example" }), "olleh");
      for (const own of [{}, { cert: foreignClient.cert, key: foreignClient.key }]) {
        const end = dialEnd(port, { side: clientSide(own), name: "a.example" });
        await reversed(end, null);
        // By TLS 1.3 our side of the handshake is over before the destination judges.
        if (version === "1.3") expect(end.story).toEqual(["secured", "close EPROTO"]);
        else expect(end.cause).toMatch(/ALERT/);
      }
    });
  });

  test("tls: a destination that offers only old versions or weak ciphers is refused", async () => {
    const weak = [
      ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
      ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA:@SECLEVEL=0"],
    ];
    for (const args of weak) {
      await withServer([...pairArgs(certs().server), ...args], async (port) => {
        const end = dialEnd(port, { side: clientSide({ verify: false }), name: "a.example" });
        await reversed(end, null);
        expect(end.cause).toMatch(/ALERT/);
      });
    }
  });
});
