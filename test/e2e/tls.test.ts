// TLS that ends here: which certificate, which protocol, which version and cipher; whose certificate is asked for, and
// what of all that is told. Clients are Bun's, openssl's and curl's.

import { describe, expect } from "bun:test";
import { certs, openssl } from "../certs.ts";
import { echoServer, tagServer, until } from "../net.ts";
import { run, testWith } from "./program.ts";
import { secureClient, sClient, shows, startOf, testTls, verdicts, type Told } from "./secure.ts";
import { byDescriptor, byThreads, embed, refused, spawn } from "./ways.ts";

const modern = [
  "ECDHE-%-AES128-GCM-SHA256",
  "ECDHE-%-AES256-GCM-SHA384",
  "ECDHE-%-CHACHA20-POLY1305",
];
const asked = (name: string): string[] => ["-servername", name];

describe.each([byDescriptor, byThreads] as const)("tls: %s", (way) => {
  testTls(
    "tls: the certificate is chosen by name, exact before wildcard, else the first",
    async () => {
      using destination = tagServer("served");
      const { server, second, wildcard, rsa } = certs();
      await using it = await embed(
        [...shows(server, second, wildcard, rsa), destination.address],
        way,
      );
      const cases: [name: string, subject: string][] = [
        ["a.example", "a.example"],
        ["B.Example", "b.example"],
        ["x.example.com", "*.example.com"],
        ["example.com", "*.example.com"],
        ["x.y.example.com", "a.example"],
        ["unknown.example", "a.example"],
      ];
      const versions = ["-tls1_2", "-tls1_3"] as const;
      const all = cases.flatMap((each) => versions.map((version) => ({ each, version })));
      const told = await Promise.all(
        all.map(({ each, version }) => sClient(it.port, [version, ...asked(each[0])])),
      );
      const none = await sClient(it.port, ["-noservername"]);
      told.forEach(({ subject, version }, index) => {
        const { each, version: asked } = all[index] ?? { each: [], version: "" };
        expect([each[0], version, subject]).toEqual([
          each[0],
          asked === "-tls1_2" ? "TLSv1.2" : "TLSv1.3",
          each[1] ?? "",
        ]);
      });
      expect(none.subject).toBe("a.example");
      // Of two for one name the first is shown.
      expect(told.every(({ text }) => !text.includes("RSA-PSS"))).toBe(true);
      expect([...told, none].map(({ text }) => text.includes("served"))).not.toContain(false);
      const ended = await it.finish(all.length + 1);
      const names = ended.map((each) => startOf(each).sni).toSorted();
      expect(names).toEqual([...all.map(({ each }) => each[0].toLowerCase()), ""].toSorted());
      expect(new Set(ended.map((each) => startOf(each).tls))).toEqual(
        new Set(["TLSv1.2", "TLSv1.3"]),
      );
    },
  );

  testTls(
    "tls: a protocol is agreed on in the listener's order, or the handshake fails",
    async () => {
      using destination = echoServer();
      const { server } = certs();
      const alpn = ["--tls-alpn", "h2,http/1.1"];
      await using it = await embed([...shows(server), ...alpn, destination.address], way);
      using reversed = await secureClient(it.port, { alpn: ["http/1.1", "h2"] });
      using second = await secureClient(it.port, { alpn: ["x", "http/1.1"] });
      using without = await secureClient(it.port);
      expect([reversed, second, without].map((peer) => peer.alpn)).toEqual(["h2", "http/1.1", ""]);
      const none = await sClient(it.port, ["-alpn", "x,y"]);
      expect(none.text).toMatch(/alert no application protocol|SSL alert number 120/);
      expect(none.version).toBe("");
      for (const peer of [reversed, second, without]) {
        peer.send("hello");
        await until(() => peer.text === "hello", "the echo");
        peer.finish();
        await until(() => peer.over, "the end");
      }
      const ended = await it.finish(4);
      expect(verdicts(ended).toSorted()).toEqual([
        "done",
        "done",
        "done",
        "tls-handshake: NO_APPLICATION_PROTOCOL",
      ]);
      const agreed = ended.map((each) => startOf(each).alpn).toSorted();
      expect(agreed).toEqual(["", "h2", "http/1.1", "x,y"]); // of a refused one, what it has offered
    },
  );

  testTls("tls: without a list of its own a listener agrees on no protocol", async () => {
    using destination = tagServer("served");
    await using it = await embed([...shows(certs().server), destination.address], way);
    const told = await sClient(it.port, ["-alpn", "h2"]);
    expect([told.alpn, told.text.includes("served")]).toEqual(["", true]);
    await it.finish(1);
  });

  testTls("tls: a client without a good certificate is refused where one is required", async () => {
    using destination = tagServer("served");
    const { server, ca, client, foreignClient, expiredClient } = certs();
    const how = ["--tls-client-ca", ca.certFile];
    await using it = await embed([...shows(server), ...how, destination.address], way);
    const pair = ({ certFile, keyFile }: typeof client) => ["-cert", certFile, "-key", keyFile];
    const each = [pair(client), [], pair(foreignClient), pair(expiredClient), pair(server)];
    for (const version of ["-tls1_2", "-tls1_3"]) {
      const told = await Promise.all(each.map((args) => sClient(it.port, [version, ...args])));
      expect(told.map(wasServed)).toEqual([true, false, false, false, false]);
    }
    const ended = await it.finish(10);
    const faults = verdicts(ended).map((verdict, index) => {
      const { peer } = startOf(ended[index] ?? never());
      return peer === "" ? verdict : `${verdict} ${peer}`;
    });
    const [good, ...bad] = [...new Set(faults.toSorted())];
    expect(good).toBe("done alice");
    expect(bad).toEqual([
      "tls-handshake: CERT_HAS_EXPIRED",
      expect.stringMatching(/^tls-handshake: (INVALID_PURPOSE|UNSUPPORTED_CERTIFICATE|ERR_\w*)$/),
      "tls-handshake: PEER_DID_NOT_RETURN_A_CERTIFICATE",
      expect.stringMatching(
        /^tls-handshake: UNABLE_TO_(GET_ISSUER_CERT\w*|VERIFY_LEAF_SIGNATURE)$/,
      ),
    ]);
    expect(faults.filter((fault) => fault === good).length).toBe(2);
  });

  testTls(
    "tls: where a certificate is optional, none is served and a bad one refused",
    async () => {
      using destination = tagServer("served");
      const { server, ca, client, foreignClient } = certs();
      const how = ["--tls-client-ca", ca.certFile, "--tls-client", "optional"];
      await using it = await embed([...shows(server), ...how, destination.address], way);
      for (const version of ["-tls1_2", "-tls1_3"]) {
        const told = await Promise.all(
          [
            [],
            ["-cert", client.certFile, "-key", client.keyFile],
            ["-cert", foreignClient.certFile, "-key", foreignClient.keyFile],
          ].map((args) => sClient(it.port, [version, ...args])),
        );
        expect(told.map(wasServed)).toEqual([true, true, false]);
      }
      const ended = await it.finish(6);
      expect(ended.map((each) => startOf(each).peer).toSorted()).toEqual([
        "",
        "",
        "",
        "",
        "alice",
        "alice",
      ]);
    },
  );
});

testTls("tls: old versions and weak ciphers are refused, each modern one is served", async () => {
  using destination = tagServer("served");
  const { second, rsa } = certs();
  await using it = await embed([...shows(second, rsa), destination.address]);
  const of = { ECDSA: "b.example", RSA: "a.example" };
  let count = 0;
  const ask = (...args: string[]) => (count++, sClient(it.port, args));
  for (const version of ["-ssl3", "-tls1", "-tls1_1"]) {
    const told = await ask(version, "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0");
    if (/[Uu]nknown option|no protocols available|unsupported protocol.*local/.test(told.text)) {
      console.log(`skipped: this openssl cannot offer ${version}`);
      count--;
      continue;
    }
    expect([version, told.version, told.text]).toEqual([
      version,
      "",
      expect.stringMatching(/alert protocol version|alert number 70/),
    ]);
  }
  const list = openssl(["ciphers", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]).trim().split(":");
  const good = new Set(
    modern.flatMap((each) => [each.replace("%", "RSA"), each.replace("%", "ECDSA")]),
  );
  const weak = list.filter((each) => !good.has(each) && !each.startsWith("TLS_"));
  expect(weak.length).toBeGreaterThan(20);
  for (const [kind, name] of Object.entries(of)) {
    const refusal = await ask(
      "-tls1_2",
      ...asked(name),
      "-cipher",
      `${weak.join(":")}:@SECLEVEL=0`,
    );
    expect([kind, refusal.version]).toEqual([kind, ""]);
    for (const each of modern) {
      const cipher = each.replace("%", kind);
      const told = await ask("-tls1_2", ...asked(name), "-cipher", cipher);
      expect([cipher, wasServed(told)]).toEqual([told.cipher, true]);
    }
  }
  for (const cipher of [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
  ]) {
    const told = await ask("-tls1_3", "-ciphersuites", cipher);
    expect([cipher, wasServed(told)]).toEqual([told.cipher, true]);
  }
  for (const group of ["ffdhe2048", "sect283r1"]) {
    const told = await ask("-tls1_3", "-groups", group);
    if (/Error with command|Call to SSL_CONF_cmd/.test(told.text)) count--;
    else expect([group, told.version]).toEqual([group, ""]);
  }
  await it.finish(count);
});

testTls("tls: with --tls-min 1.3 an older client is refused", async () => {
  using destination = tagServer("served");
  await using it = await embed([...shows(certs().server), "--tls-min", "1.3", destination.address]);
  const [old, young] = await Promise.all([
    sClient(it.port, ["-tls1_2"]),
    sClient(it.port, ["-tls1_3"]),
  ]);
  expect([wasServed(old), wasServed(young)]).toEqual([false, true]);
  expect(verdicts(await it.finish(2)).toSorted()).toEqual([
    "done",
    "tls-handshake: UNSUPPORTED_PROTOCOL",
  ]);
});

testTls("tls: a chain is shown whole, so that who trusts only its root is content", async () => {
  using destination = tagServer("served");
  await using it = await embed([...shows(certs().chained), destination.address]);
  const told = await sClient(it.port, [
    ...asked("a.example"),
    "-verify_return_error",
    "-verify_hostname",
    "a.example",
  ]);
  expect([wasServed(told), told.text.match(/^ \d s:/gm)]).toEqual([true, [" 0 s:", " 1 s:"]]);
  await it.finish(1);
});

const testCurl = testWith({ curl: "curl", openssl: "openssl" });

testCurl(
  "tls: curl speaks with a server behind it; the line tells name, protocol, version",
  async () => {
    const page = Buffer.alloc(3_000_000, "page ");
    using web = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response(page) });
    const { server, ca, client } = certs();
    const how = [...shows(server), "--tls-alpn", "http/1.1", "--tls-client-ca", ca.certFile];
    await using it = await spawn([...how, `127.0.0.1:${web.port}`]);
    const to = ["--resolve", `a.example:${it.port}:127.0.0.1`, "--cacert", ca.certFile];
    const curl = (...args: string[]) =>
      run([
        "curl",
        "-sSf",
        "--http1.1",
        "--max-time",
        "20",
        ...to,
        "--cert",
        client.certFile,
        "--key",
        client.keyFile,
        ...args,
      ]);
    for (const version of [["--tls-max", "1.2"], ["--tlsv1.3"]]) {
      const body = await curl(...version, `https://a.example:${it.port}/`);
      expect(body.equals(page)).toBe(true);
    }
    await until(() => it.process.stdout.length === 2, "their lines");
    const lines = it.process.stdout.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(
      lines.map(({ sni, alpn, tls, peer, reason }) => ({ sni, alpn, tls, peer, reason })),
    ).toEqual(
      ["TLSv1.2", "TLSv1.3"].map((tls) => ({
        sni: "a.example",
        alpn: "http/1.1",
        tls,
        peer: "alice",
        reason: "done",
      })),
    );
    // What is counted are the bytes in plain.
    expect(
      lines.every(
        ({ bytes_down: size }) => Number(size) > page.length && Number(size) < page.length + 500,
      ),
    ).toBe(true);
    await it.finish(2);
  },
);

testTls("tls: a name that is a hostile text is no name for the log", async () => {
  using destination = tagServer("served");
  await using it = await spawn([...shows(certs().server), destination.address]);
  const name = 'a"\u001b[31m.example';
  await sClient(it.port, ["-servername", name]);
  await until(() => it.process.stdout.length === 1, "the line");
  const line = it.process.stdout[0] ?? "";
  expect(line).not.toContain("\u001b");
  expect(JSON.parse(line)).toMatchObject({ reason: "done", tls: "TLSv1.3" });
  expect(JSON.parse(line)).not.toHaveProperty("sni");
});

testTls("tls: a client does not negotiate anew", async () => {
  using destination = echoServer();
  await using it = await embed([...shows(certs().server), destination.address]);
  const to = ["-connect", `127.0.0.1:${it.port}`, "-tls1_2", "-servername", "a.example"];
  await using child = Bun.spawn(["openssl", "s_client", ...to], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  await until(() => it.status().preface.secured === 1, "the handshake");
  void child.stdin.write("R\n");
  await child.stdin.flush();
  const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(out + err).toMatch(/RENEGOTIATING[^]*(no renegotiation|alert)/);
  const [ended] = await it.finish(1);
  expect([ended?.reason, ended?.bytesUp]).toEqual(["client-reset", 0]);
});

testTls("tls: it is not for the libc engine, which is told at the start", async () => {
  const given = [...shows(certs().server), "--engine", "libc", "127.0.0.1:0", "127.0.0.1:1"];
  const { code, stderr } = await refused(given);
  expect(code).toBe(2);
  expect(stderr).toMatch(
    /^--engine: the libc engine speaks no TLS, and --tls-cert stands beside it; --engine bun/m,
  );
  const outward = await refused(["--engine", "libc", "127.0.0.1:0", "127.0.0.1:1,tls"]);
  expect(outward.code).toBe(2);
  expect(outward.stderr).toContain("the libc engine speaks no TLS, and ,tls of");
});

function wasServed({ text }: Told): boolean {
  return text.includes("served");
}

function never(): never {
  throw new Error("no such connection");
}
