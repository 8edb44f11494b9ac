// TLS towards destinations: who is not what it should be gets no client, and the cause is told; who is gets them, with
// what they have agreed on with us.

import { describe, expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { certs, newKey, openssl, type CertPair } from "../certs.ts";
import {
  type Server,
  client,
  echoServer,
  serve,
  sink,
  tagServer,
  unixPlace,
  until,
} from "../net.ts";
import { secureClient, secureEcho, secureServe, shows, testTls } from "./secure.ts";
import { byDescriptor, byThreads, embed, type InProcess } from "./ways.ts";

const trusted = (): string => `tls,tls-ca=${certs().ca.certFile}`;

/** Says a word and hears it. */
async function talk(port: number, word = "hello"): Promise<void> {
  using peer = await client(port);
  peer.send(word);
  await until(() => peer.text === word || peer.over, "the echo");
  expect(peer.text).toBe(word);
  peer.finish();
  await until(() => peer.over, "the end");
  expect(peer.wasReset).toBe(false);
}

/** By nobody but itself. */
function selfSigned(): CertPair {
  const [certFile, keyFile] = ["self.pem", "self.key"].map((name) => join(certs().dir, name));
  if (certFile === undefined || keyFile === undefined) throw new Error("two files");
  const more = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=CA:FALSE"];
  const about = ["-subj", "/CN=self", "-days", "9", ...more];
  openssl(["req", "-x509", ...newKey(keyFile), ...about, "-out", certFile]);
  return {
    certFile,
    keyFile,
    cert: readFileSync(certFile, "utf8"),
    key: readFileSync(keyFile, "utf8"),
  };
}

function faultOf(it: InProcess, name: string): string {
  return it.status().destinations.find((each) => each.name === name)?.lastFault ?? "";
}

describe.each([byDescriptor, byThreads] as const)("%s", (way) => {
  testTls(
    "tls out: a good destination is verified by its address, its host name, or tls-name",
    async () => {
      using echo = secureEcho();
      using second = secureEcho({ pair: certs().second });
      using six = secureEcho({}, "::1");
      using chained = secureEcho({ pair: certs().chained });
      const { port } = echo;
      const all = [
        `${echo.address},${trusted()}`,
        `localhost:${port},${trusted()}`,
        `${second.address},${trusted()},tls-name=b.example`,
        `${six.address},${trusted()}`,
        `${chained.address},${trusted()},tls-name=a.example`,
      ];
      for (const destination of way === byThreads ? all.slice(1, 3) : all) {
        await using it = await embed([destination], way);
        await talk(it.port);
        await it.finish(1);
      }
    },
  );

  testTls(
    "tls out: who is not what it should be gets no client, and another one serves",
    async () => {
      const { foreign, second, expired, ca } = certs();
      using good = secureEcho();
      const of = (pair: CertPair) => () => secureEcho({ pair });
      const cases: [what: string, serve: () => Server, cause: RegExp][] = [
        [
          "another authority's",
          of(foreign),
          /^UNABLE_TO_(VERIFY_LEAF_SIGNATURE|GET_ISSUER_CERT\w*)$/,
        ],
        ["another name", of(second), /^ERR_TLS_CERT_ALTNAME_INVALID$/],
        ["expired", of(expired), /^CERT_HAS_EXPIRED$/],
        ["self-signed", of(selfSigned()), /^DEPTH_ZERO_SELF_SIGNED_CERT$/],
        [
          "no certificate of a server",
          of({ ...certs().client }),
          /^(INVALID_PURPOSE|ERR_TLS_CERT_ALTNAME_INVALID)$/,
        ],
        [
          "in plain, server first",
          () => tagServer("220 hello\r\n", undefined, "echo"),
          /^(EPROTO|WRONG_VERSION_NUMBER)$/,
        ],
        ["in plain, an echo", () => echoServer(), /^EPROTO$/],
        ["ends at once", () => serve({ onOpen: (peer) => peer.finish() }), /^ECONNRESET$/],
        ["resets at once", () => serve({ onOpen: (peer) => peer.reset() }), /^ECONNRESET$/],
        [
          "resets in the handshake",
          () => serve({ onData: (peer) => peer.reset() }),
          /^ECONNRESET$/,
        ],
      ];
      // Each of them in one thread; that it is the same in several needs no more than two.
      for (const [what, make, cause] of way === byThreads ? cases.slice(2, 4) : cases) {
        using bad = make();
        const name =
          what === "expired" || what === "another authority's" ? ",tls-name=a.example" : "";
        const primary = `${bad.address},tls,tls-ca=${ca.certFile}${name},name=bad`;
        await using it = await embed(
          [primary, `${good.address},${trusted()},name=good,backup`],
          way,
        );
        await talk(it.port);
        const [ended] = await it.finish(1);
        // It may have another attempt or two before it is out.
        expect([what, ended?.destination, ...new Set(ended?.tried)]).toEqual([what, "good", "bad"]);
        expect([what, faultOf(it, "bad")]).toEqual([what, expect.stringMatching(cause)]);
        const out = it.events.filter(({ kind }) => kind === "destination-out");
        // It has OpenSSL's own word where the board has a general one.
        const told = expect.stringMatching(faultOf(it, "bad") === "EPROTO" ? /^[A-Z_]+$/ : cause);
        expect(out).toEqual([expect.objectContaining({ name: "bad", cause: told })]);
        if ("peers" in bad)
          expect(bad.peers.every((peer) => !peer.text.includes("hello"))).toBe(true);
      }
    },
  );

  testTls("tls out: tls-verify=off takes any certificate, and still no plain text", async () => {
    const { foreign, expired } = certs();
    for (const pair of [foreign, expired, selfSigned()]) {
      using bad = secureEcho({ pair });
      await using it = await embed([`${bad.address},tls,tls-verify=off`], way);
      await talk(it.port);
      await it.finish(1);
    }
    using plain = echoServer();
    using good = secureEcho();
    const off = "tls,tls-verify=off";
    await using it = await embed(
      [`${plain.address},${off},name=bad`, `${good.address},${off},backup`],
      way,
    );
    await talk(it.port);
    expect((await it.finish(1))[0]?.tried).toContain("bad");
  });

  testTls("tls out: the system's authorities are asked where none is given", async () => {
    using echo = secureEcho();
    await using it = await embed(["--queue-timeout", "300ms", `${echo.address},tls,name=bad`], way);
    using peer = await client(it.port);
    await until(() => peer.over, "the refusal");
    await it.finish(1);
    expect(faultOf(it, "bad")).toMatch(/^UNABLE_TO_/);
    expect(echo.peers.every((each) => each.receivedCount === 0)).toBe(true);
  });

  testTls("tls out: our own certificate is shown to who asks for one", async () => {
    const { ca, client: alice } = certs();
    let name = "";
    using echo = secureServe(
      {
        onOpen: (peer) => (name = peer.shown),
        onData: (peer, chunk) => peer.send(chunk),
        onEnd: (peer) => peer.finish(),
      },
      { clientCa: ca.cert },
    );
    const own = `tls-cert=${alice.certFile},tls-key=${alice.keyFile}`;
    await using it = await embed([`${echo.address},${trusted()},${own}`], way);
    await talk(it.port);
    await it.finish(1);
    expect(name).toBe("alice");
  });

  testTls("tls out: what a client has agreed on with us is asked of its destination", async () => {
    using echo = secureEcho({ alpn: ["http/1.1", "h2"] });
    const alpn = ["--tls-alpn", "h2,http/1.1,x"];
    await using it = await embed(
      [...shows(certs().server), ...alpn, `${echo.address},${trusted()},name=d`],
      way,
    );
    for (const [offered, agreed] of [
      [["h2"], "h2"],
      [["http/1.1", "h2"], "h2"],
      [["http/1.1"], "http/1.1"],
      [[], ""],
    ] as const) {
      const count = echo.peers.length;
      using peer = await secureClient(it.port, { alpn: offered });
      peer.send("hello");
      await until(() => peer.text === "hello", "the echo");
      expect([peer.alpn, echo.peers[count]?.alpn]).toEqual([agreed, agreed]);
      peer.finish();
      await until(() => peer.over, "the end");
    }
    await it.finish(4);
  });

  testTls(
    "tls out: a handshake that stalls is over at --connect-timeout, and another destination serves",
    async () => {
      using stalled = sink();
      using good = secureEcho();
      const both = [
        `${stalled.address},${trusted()},name=bad`,
        `${good.address},${trusted()},name=good,backup`,
      ];
      await using it = await embed(["--connect-timeout", "250ms", ...both], way);
      await talk(it.port);
      const [ended] = await it.finish(1);
      const attempts = ended?.tried.length ?? 0;
      expect([attempts > 0, ended?.destination, faultOf(it, "bad")]).toEqual([
        true,
        "good",
        "ETIMEDOUT",
      ]);
      expect(ended?.totalMs).toBeGreaterThanOrEqual(249 * attempts);
      expect(ended?.totalMs).toBeLessThan(250 * attempts + 3_000);
      await until(() => stalled.openCount === 0, "its end");
    },
  );

  testTls("tls out: a destination that speaks first is heard", async () => {
    using smtp = secureServe({
      onOpen: (peer) => peer.send("220 ready\r\n"),
      onData: (peer, chunk) => {
        peer.send(chunk.toString() === "QUIT\r\n" ? "221 bye\r\n" : "250 ok\r\n");
        if (chunk.toString() === "QUIT\r\n") peer.finish();
      },
    });
    for (const warm of ["", ",warm=2"]) {
      await using it = await embed([`${smtp.address},${trusted()}${warm}`], way);
      using peer = await client(it.port);
      await until(() => peer.text === "220 ready\r\n", "the greeting");
      peer.send("EHLO x\r\n");
      await until(() => peer.text.endsWith("250 ok\r\n"), "the answer");
      peer.send("QUIT\r\n");
      await until(() => peer.ended, "the end");
      expect(peer.text).toBe("220 ready\r\n250 ok\r\n221 bye\r\n");
      peer.finish();
      await it.finish(1);
    }
  });

  testTls("tls out: connections opened ahead shake hands when their client is there", async () => {
    using echo = secureEcho();
    await using it = await embed(["--warm", "3", `${echo.address},${trusted()}`], way);
    for (let n = 0; n < 8; n += 1) await talk(it.port, `word ${n}`);
    const ended = await it.finish(8);
    expect(ended.map(({ tried, reason }) => `${reason} ${tried.length}`)).toEqual(
      Array(8).fill("done 0"),
    );
  });
});

testTls("tls out: a destination at a unix socket is verified by tls-name", async () => {
  const place = unixPlace();
  const { cert, key } = certs().server;
  using _server = Bun.listen({
    unix: place.slice("unix:".length),
    tls: { cert, key },
    socket: { data: (socket, chunk) => void socket.write(chunk) },
  });
  await using it = await embed([`${place},${trusted()},tls-name=a.example`]);
  using peer = await client(it.port);
  peer.send("hello");
  await until(() => peer.text === "hello", "the echo");
  await using wrong = await embed([
    "--queue-timeout",
    "300ms",
    `${place},${trusted()},tls-name=b.example,name=d`,
  ]);
  using other = await client(wrong.port);
  await until(() => other.over, "the refusal");
  expect(faultOf(wrong, "d")).toBe("ERR_TLS_CERT_ALTNAME_INVALID");
});

testTls("tls out: a destination whose certificate is renewed comes back by itself", async () => {
  const { expired, server, ca } = certs();
  const bad = secureEcho({ pair: expired });
  const { port, address } = bad;
  await using it = await embed([`${address},tls,tls-ca=${ca.certFile},tls-name=a.example,name=d`]);
  using peer = await client(it.port);
  peer.send("hello");
  await until(() => it.events.some(({ kind }) => kind === "destination-out"), "its fault");
  expect(faultOf(it, "d")).toBe("CERT_HAS_EXPIRED");
  bad[Symbol.dispose]();
  using _good = secureEcho({ pair: server, port });
  await until(() => peer.text === "hello", "the echo of who has waited");
  peer.finish();
  await until(() => peer.over, "the end");
  expect(it.events.map(({ kind }) => kind)).toContain("destination-back");
  await it.finish(1);
});
