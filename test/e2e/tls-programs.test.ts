// TLS towards real programs, and a PROXY header before it: nginx and HAProxy as destinations that end it, and a
// destination made by hand that sees every byte.

import { expect, setDefaultTimeout } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { readProxyHeader, type ProxyHeader } from "../../src/wire/proxy-protocol.ts";
import { tlvType } from "../../src/wire/proxy-tlv.ts";
import { certs } from "../certs.ts";
import { accept, RawPeer } from "../engine/facts.ts";
import { exactServer } from "../engine/tls-peer.ts";
import { client, seeded, until } from "../net.ts";
import { rawListen } from "../raw.ts";
import { folder, freePort, run, server, testWith } from "./program.ts";
import { secureClient, sClient, shows, testTls } from "./secure.ts";
import { embed, spawn } from "./ways.ts";

setDefaultTimeout(60_000);

const MIB = 1024 * 1024;
const head = 16;
const trusted = (): string => `tls,tls-ca=${certs().ca.certFile}`;
const both = { v1: true, v2: true };

/** What a destination reads before the handshake; nothing of the hello is taken. */
async function headerOf(raw: RawPeer): Promise<ProxyHeader> {
  let bytes = Buffer.alloc(0);
  const read = (size: number) =>
    until(() => {
      bytes = Buffer.concat([bytes, raw.read(size - bytes.length)]);
      return bytes.length === size;
    }, `${size} bytes`);
  await read(head);
  await read(head + bytes.readUInt16BE(14));
  const reading = readProxyHeader(bytes, both);
  if (reading.kind !== "header") throw new Error(`no header: ${bytes.toString("latin1")}`);
  return reading.header;
}

testTls(
  "tls out: a PROXY header goes before the handshake, in plain, with what the client's TLS says",
  async () => {
    const { server, ca, client: alice } = certs();
    const { fd, port } = rawListen("127.0.0.1:0", 16);
    const inward = [...shows(server), "--tls-alpn", "h2,x", "--tls-client-ca", ca.certFile];
    await using it = await embed([...inward, `127.0.0.1:${port},${trusted()},proxy=v2`]);
    const connecting = secureClient(it.port, { alpn: ["x"], pair: alice });
    const accepted = await accept(fd);
    const raw = new RawPeer(accepted);
    const { source, destination, command, tlvs } = await headerOf(raw);
    expect([command, destination]).toEqual(["proxy", it.address]);
    expect(source).toStartWith("127.0.0.1:");
    const textOf = (type: number) => {
      const found = tlvs.find((each) => each.type === type);
      return found === undefined ? null : Buffer.from(found.value).toString();
    };
    expect([textOf(tlvType.authority), textOf(tlvType.alpn)]).toEqual(["a.example", "x"]);
    const ssl = tlvs.find(({ type }) => type === tlvType.ssl)?.value ?? new Uint8Array();
    expect([...ssl.subarray(0, 5)]).toEqual([0b111, 0, 0, 0, 0]); // TLS, a certificate, and a good one
    const words = Buffer.from(ssl).toString("latin1");
    for (const word of ["TLSv1.3", "alice"]) expect(words).toContain(word);
    // The next byte is the hello's.
    using far = exactServer(accepted);
    await far.secured();
    using near = await connecting;
    near.send("hello");
    await far.until(() => far.text === "hello", "its word");
    await far.say("and back");
    await until(() => near.text === "and back", "the answer");
    near.finish();
    await far.until(() => far.raw.fate === "FIN", "its end");
    await far.notify();
    far.raw.fin();
    const [ended] = await it.finish(1);
    expect([ended?.reason, ended?.bytesUp, ended?.bytesDown]).toEqual(["done", 5, 8]);
    new RawPeer(fd).close();
  },
);

testTls(
  "tls out: the header says of a resumed session that its certificate was shown earlier",
  async () => {
    const { server, ca, client: alice } = certs();
    using home = folder();
    const { fd, port } = rawListen("127.0.0.1:0", 16);
    const inward = [...shows(server), "--tls-client-ca", ca.certFile];
    await using it = await embed([...inward, `127.0.0.1:${port},proxy=v2`]);
    const session = join(home.path, "session");
    const own = ["-cert", alice.certFile, "-key", alice.keyFile, "-sess_out", session];
    const seen: number[] = [];
    for (const args of [own, ["-sess_in", session]]) {
      const asking = sClient(it.port, args);
      const raw = new RawPeer(await accept(fd));
      const { tlvs } = await headerOf(raw);
      seen.push(tlvs.find(({ type }) => type === tlvType.ssl)?.value[0] ?? 0);
      raw.close();
      await asking;
    }
    expect(seen).toEqual([0b111, 0b101]);
    await it.finish(2);
    new RawPeer(fd).close();
  },
);

testTls("tls out: who talks in plain after the header is refused", async () => {
  const { fd, port } = rawListen("127.0.0.1:0", 16);
  const args = ["--queue-timeout", "300ms", `127.0.0.1:${port},${trusted()},proxy=v1,name=bad`];
  await using it = await embed(args);
  using peer = await client(it.port);
  const raws: RawPeer[] = [];
  const greeting = Buffer.from("220 hello\r\n");
  const greet = setInterval(() => {
    for (const raw of raws.splice(0)) raw.send(greeting);
  }, 5);
  void (async () => {
    for (;;) raws.push(new RawPeer(await accept(fd)));
  })().catch(() => {});
  await until(() => peer.over, "its refusal");
  clearInterval(greet);
  expect(peer.text).toBe("");
  const [ended] = await it.finish(1);
  expect([ended?.reason, ended?.tried[0]]).toEqual(["queue-timeout", "bad"]);
  expect(it.status().destinations[0]?.lastFault).toMatch(/^(EPROTO|WRONG_VERSION_NUMBER)$/);
});

const testNginx = testWith({ nginx: "nginx", curl: "curl", openssl: "openssl" });

testNginx("tls out: nginx behind us, TLS on both sides, its PROXY protocol before it", async () => {
  using home = folder();
  const { path } = home;
  const { server: pair, ca, client: alice } = certs();
  const big = seeded().bytes(16 * MIB);
  writeFileSync(join(path, "big"), big);
  const [plain, proxied, strict] = [freePort(), freePort(), freePort()];
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  const said = "$ssl_protocol $ssl_server_name $remote_addr";
  writeFileSync(
    join(path, "nginx.conf"),
    `daemon off; pid ${path}/nginx.pid; error_log ${path}/error.log; worker_processes 1;
     events { worker_connections 256; }
     http {
       access_log off;
       ${kinds.map((kind) => `${kind}_temp_path ${path}/${kind};`).join(" ")}
       ssl_protocols TLSv1.2 TLSv1.3; ssl_certificate ${pair.certFile}; ssl_certificate_key ${pair.keyFile};
       root ${path};
       server {
         listen 127.0.0.1:${plain} ssl;
         location = /who { return 200 "${said}"; }
       }
       server {
         listen 127.0.0.1:${proxied} ssl proxy_protocol;
         location = /who { return 200 "${said} $proxy_protocol_addr"; }
       }
       server {
         listen 127.0.0.1:${strict} ssl; ssl_protocols TLSv1.2;
         ssl_client_certificate ${ca.certFile}; ssl_verify_client on;
         location = /who { return 200 "$ssl_client_s_dn"; }
       }
     }`,
  );
  const command = [
    "nginx",
    "-c",
    join(path, "nginx.conf"),
    "-p",
    path,
    "-e",
    join(path, "error.log"),
  ];
  await using _nginx = await server(command, plain);
  const ask = async (port: number, page: string) => {
    const to = ["--resolve", `a.example:${port}:127.0.0.1`, "--cacert", ca.certFile];
    const curl = ["curl", "-sS", "--http1.1", "--max-time", "20", ...to];
    return run([...curl, `https://a.example:${port}/${page}`]);
  };
  const cases: [suffix: string, port: number, said: RegExp][] = [
    [`${trusted()},tls-name=a.example`, plain, /^TLSv1\.3 a\.example 127\.0\.0\.1$/],
    [
      `${trusted()},tls-name=a.example,proxy=v2`,
      proxied,
      /^TLSv1\.3 a\.example 127\.0\.0\.1 127\.0\.0\.1$/,
    ],
    [
      `${trusted()},tls-name=a.example,proxy=v1`,
      proxied,
      /^TLSv1\.3 a\.example 127\.0\.0\.1 127\.0\.0\.1$/,
    ],
    [`${trusted()},tls-cert=${alice.certFile},tls-key=${alice.keyFile}`, strict, /CN=alice/],
  ];
  for (const [suffix, port, expected] of cases) {
    await using it = await spawn([...shows(pair), `127.0.0.1:${port},${suffix}`]);
    expect((await ask(it.port, "who")).toString()).toMatch(expected);
    expect((await ask(it.port, "big")).equals(big)).toBe(true);
    const ended = await it.finish(2);
    expect(ended.map(({ reason, tried }) => `${reason} ${tried.length}`)).toEqual([
      "done 0",
      "done 0",
    ]);
  }
});

const testHaproxy = testWith({ haproxy: "haproxy", openssl: "openssl" });

testHaproxy(
  "tls out: HAProxy behind us, TLS and the PROXY protocol, ALPN passed through",
  async () => {
    using home = folder();
    const { path } = home;
    const { server: pair } = certs();
    const port = freePort();
    const bundle = join(path, "pair.pem");
    writeFileSync(bundle, pair.cert + pair.key, { mode: 0o600 });
    const bind = `bind 127.0.0.1:${port} ssl crt ${bundle} alpn h2,x accept-proxy`;
    const said = "%[ssl_fc_protocol] %[ssl_fc_sni] %[ssl_fc_alpn] %[src] %[fc_pp_authority]";
    writeFileSync(
      join(path, "haproxy.cfg"),
      `defaults\n mode tcp\n timeout connect 5s\n timeout client 5s\n timeout server 5s\nfrontend f\n ${bind}\n` +
        " log stdout format raw local0\n" +
        ` log-format "${said}"\n default_backend b\nbackend b\n retries 0\n server s 127.0.0.1:1\n`,
    );
    const child = Bun.spawn(["haproxy", "-f", join(path, "haproxy.cfg"), "-db"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let log = "";
    const collected = (async () => {
      for await (const chunk of child.stdout) log += Buffer.from(chunk).toString();
    })();
    try {
      await using it = await embed([
        ...shows(pair),
        "--tls-alpn",
        "x,h2",
        `127.0.0.1:${port},${trusted()},tls-name=a.example,proxy=v2`,
      ]);
      // It may not listen yet; who comes waits for it.
      using peer = await secureClient(it.port, { alpn: ["x"] });
      peer.send("hello");
      await until(() => log.includes("\n"), "its line");
      expect(log.split("\n")[0]).toBe("TLSv1.3 a.example x 127.0.0.1 a.example");
      await until(() => peer.over, "its end");
      peer.finish();
      await it.finish(1);
    } finally {
      child.kill("SIGTERM");
      await child.exited;
      await collected;
    }
  },
);
