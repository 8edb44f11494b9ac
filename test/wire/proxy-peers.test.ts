// HAProxy and nginx as judges: they take the headers that we write, and we read theirs.

import { expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readProxyHeader } from "../../src/wire/proxy-protocol.ts";
import type { ProxyHeader } from "../../src/wire/proxy-protocol.ts";
import { textTlv, tlvType } from "../../src/wire/proxy-tlv.ts";
import { writeLocalHeader, writeProxyHeader } from "../../src/wire/proxy-write.ts";
import type { ProxyFacts } from "../../src/wire/proxy-write.ts";
import { folder, freePort, server, testWith } from "../e2e/program.ts";
import { client, serve, until, type Peer, type Server } from "../net.ts";
import { summed, tlv } from "./proxy-vectors.ts";

const both = { v1: true, v2: true };
const versions = [1, 2] as const;

/** What each pair of addresses is written from. */
const facts: readonly ProxyFacts[] = [
  { source: "192.0.2.7:1025", destination: "198.51.100.9:443", tlvs: [] },
  { source: "[2001:db8::7]:65535", destination: "[2001:db8:0:1::9]:8443", tlvs: [] },
  {
    source: "203.0.113.1:2",
    destination: "198.51.100.9:443",
    tlvs: [
      textTlv(tlvType.authority, "a.example"),
      textTlv(tlvType.alpn, "h2"),
      textTlv(tlvType.uniqueId, "ours"),
    ],
    checksum: true,
  },
];

/** The header that came behind a program of theirs, once "hi" has come after it. */
async function headerAt(sink: Server, index: number): Promise<ProxyHeader> {
  return until(() => {
    const received = sink.peers[index]?.received ?? Buffer.alloc(0);
    const reading = readProxyHeader(received, both);
    if (reading.kind === "bad") throw new Error(`${reading.fault}: ${received.toString("hex")}`);
    if (reading.kind === "more") return null;
    return received.subarray(reading.size).toString() === "hi" && reading.header;
  }, `header ${index} and what follows`);
}

/** A client that sends these bytes and "hi". */
async function say(
  port: number,
  header: Uint8Array = Buffer.alloc(0),
  host = "127.0.0.1",
): Promise<Peer> {
  const peer = await client(`${host}:${port}`);
  peer.send(Buffer.concat([header, Buffer.from("hi")]));
  return peer;
}

function addressOf(peer: Peer): string {
  return `127.0.0.1:${peer.socket.localPort}`;
}

// ---- HAProxy ---------------------------------------------------------------------------------

interface Ways {
  /** By what goes in ("plain", "proxy") and what comes out (v1, v2). */
  readonly ports: Readonly<Record<"plain1" | "plain2" | "proxy1" | "proxy2", number>>;
}

function haproxyConfig({ ports }: Ways, sinkPort: number): string {
  const sends = {
    1: "send-proxy",
    2: "send-proxy-v2 proxy-v2-options crc32c,authority,unique-id",
  } as const;
  const listens = versions.flatMap((version) =>
    (["plain", "proxy"] as const).map(
      (way) => `listen ${way}${version}
  bind 127.0.0.1:${ports[`${way}${version}`]} ${way === "proxy" ? "accept-proxy" : ""}
  unique-id-format its-own
  server s 127.0.0.1:${sinkPort} ${sends[version]}`,
    ),
  );
  return `global
  nbthread 1
defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
${listens.join("\n")}
`;
}

/** All four ways at once. */
async function startHaproxy(home: string, sinkPort: number): Promise<Ways & AsyncDisposable> {
  const ports = { plain1: freePort(), plain2: freePort(), proxy1: freePort(), proxy2: freePort() };
  const config = join(home, "haproxy.cfg");
  writeFileSync(config, haproxyConfig({ ports }, sinkPort));
  const running = await server(["haproxy", "-db", "-f", config], ports.proxy2);
  return { ports, [Symbol.asyncDispose]: () => running[Symbol.asyncDispose]() };
}

const testHaproxy = testWith({ haproxy: "haproxy" });

testHaproxy("HAProxy: takes what we write, sends what we read, in both versions", async () => {
  using home = folder();
  using sink = serve({});
  await using haproxy = await startHaproxy(home.path, sink.port);
  const { ports } = haproxy;

  let count = 0;
  for (const out of versions) {
    // Of what it was told it passes the authority on, and gives the connection a name of its own.
    const own = out === 2 ? [textTlv(tlvType.uniqueId, "its-own")] : [];
    using direct = await say(ports[`plain${out}`]);
    expect(await headerAt(sink, count++)).toEqual({
      version: out,
      command: "proxy",
      source: addressOf(direct),
      destination: `127.0.0.1:${ports[`plain${out}`]}`,
      tlvs: own,
    });
    for (const version of versions) {
      for (const each of facts) {
        using _peer = await say(ports[`proxy${out}`], writeProxyHeader(version, each));
        const { source, destination } = each;
        const isTold = version === 2 && out === 2;
        const told = each.tlvs.filter(({ type }) => isTold && type === tlvType.authority);
        const tlvs = [...told, ...own];
        const header = { version: out, command: "proxy", source, destination, tlvs };
        expect(await headerAt(sink, count++)).toEqual(header as ProxyHeader); // of literals
      }
      using alone = await say(ports[`proxy${out}`], writeLocalHeader(version));
      const source = addressOf(alone);
      expect(await headerAt(sink, count++)).toMatchObject({ version: out, source });
    }
  }
});

testHaproxy("HAProxy: looks at the checksum, so that ours is right when it takes it", async () => {
  using home = folder();
  using sink = serve({});
  await using haproxy = await startHaproxy(home.path, sink.port);
  const { ports } = haproxy;

  using refused = await say(ports.proxy2, summed(1, tlv(2, "a.example")));
  await until(() => refused.over, "the end of a client with a wrong checksum");
  expect(sink.peers).toEqual([]);
  using _taken = await say(ports.proxy2, summed(0, tlv(2, "a.example")));
  expect(await headerAt(sink, 0)).toMatchObject({
    source: "192.0.2.1:4660",
    tlvs: [{ type: 2 }, { type: 5 }],
  });
});

testHaproxy("HAProxy: its health checks are LOCAL", async () => {
  using home = folder();
  using sink = serve({});
  const port = freePort();
  const config = join(home.path, "haproxy.cfg");
  const text = `defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
listen checked
  bind 127.0.0.1:${port}
  server s 127.0.0.1:${sink.port} check inter 100ms send-proxy-v2 check-send-proxy
`;
  writeFileSync(config, text);
  await using _haproxy = await server(["haproxy", "-db", "-f", config], port);
  const received = await until(() => {
    const bytes = sink.peers[0]?.received;
    return bytes !== undefined && bytes.length >= 16 && bytes;
  }, "a health check");
  expect(readProxyHeader(received, both)).toMatchObject({
    kind: "header",
    header: { version: 2, command: "local", source: "", destination: "" },
    size: received.length,
  });
});

// ---- nginx -----------------------------------------------------------------------------------

const module = "/usr/lib/nginx/modules/ngx_stream_module.so";

/** nginx whose `stream` is there, as a module or built in. */
function hasStream(): boolean {
  if (Bun.which("nginx") === null || existsSync(module)) return true; // its absence is told elsewhere
  const { stderr } = Bun.spawnSync(["nginx", "-V"]);
  return / --with-stream(?: |$)/m.test(stderr.toString());
}

function testNginx(): typeof test {
  if (hasStream()) return testWith({ nginx: "nginx" });
  console.log("skipped: nginx has no stream module (apt-get install libnginx-mod-stream)");
  return test.skip as typeof test; // the same calls, less modifiers that nobody uses here
}

const clientWords = "$proxy_protocol_addr $proxy_protocol_port";
const serverWords = "$proxy_protocol_server_addr $proxy_protocol_server_port";

testNginx()("nginx: takes what we write in both versions, sends what we read", async () => {
  using home = folder();
  using sink = serve({});
  const [told, plain, chained] = [freePort(), freePort(), freePort()];
  const config = join(home.path, "nginx.conf");
  const text = `${existsSync(module) ? `load_module ${module};` : ""}
    daemon off; pid ${home.path}/nginx.pid; error_log ${home.path}/error.log; worker_processes 1;
    events { worker_connections 256; }
    stream {
      server { listen 127.0.0.1:${told} proxy_protocol; return "told ${clientWords} ${serverWords}"; }
      server { listen 127.0.0.1:${plain}; proxy_protocol on; proxy_pass 127.0.0.1:${sink.port}; }
      server {
        listen 127.0.0.1:${chained} proxy_protocol; listen [::1]:${chained} proxy_protocol;
        set_real_ip_from 127.0.0.0/8; set_real_ip_from ::1;
        proxy_protocol on; proxy_pass 127.0.0.1:${sink.port};
      }
    }`;
  writeFileSync(config, text);
  const nginx = ["nginx", "-c", config, "-p", home.path, "-e", join(home.path, "error.log")];
  await using _nginx = await server(nginx, chained);

  let count = 0;
  using direct = await say(plain);
  expect(await headerAt(sink, count++)).toEqual({
    version: 1,
    command: "proxy",
    source: addressOf(direct),
    destination: `127.0.0.1:${plain}`,
    tlvs: [],
  });
  for (const version of versions) {
    for (const each of facts) {
      const header = writeProxyHeader(version, each);
      using peer = await client(`127.0.0.1:${told}`);
      peer.send(header); // and nothing behind it, which nginx would leave unread and reset
      await until(() => peer.over, "nginx's answer");
      const words = `${each.source} ${each.destination}`.replaceAll(
        /\[?(\S+?)\]?:(\d+)(?= |$)/g,
        "$1 $2",
      );
      expect(peer.text).toBe(`told ${words}`);
      // On its way out it tells of that client, and of its own address, which it does not bring to one family.
      const host = each.source.startsWith("[") ? "[::1]" : "127.0.0.1";
      using _chained = await say(chained, header, host);
      const destination = `${host}:${chained}`;
      const { source } = each;
      expect(await headerAt(sink, count++)).toMatchObject({
        command: "proxy",
        source,
        destination,
      });
    }
    const nobody = { source: "", destination: "", tlvs: [] };
    for (const header of [writeLocalHeader(version), writeProxyHeader(version, nobody)]) {
      using peer = await client(`127.0.0.1:${told}`);
      peer.send(header);
      await until(() => peer.over, "nginx's answer");
      expect(peer.text).toBe("told    ");
    }
  }
});
