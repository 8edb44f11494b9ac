// HAProxy and nginx on both sides of us: the client that the first of them has seen arrives behind the last, and bytes
// as they were sent. nginx's stream sends v1 alone and reads both; HAProxy speaks both.

import { expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { serve, until, withSeed, type Server } from "../net.ts";
import { folder, freePort, server, testWith } from "./program.ts";
import { comer, ownOf, toldTo } from "./proxied.ts";
import { spawn, type Spawned } from "./ways.ts";

const versions = [1, 2] as const;
const engines = ["bun", "libc"] as const;
const sends = { 1: "send-proxy", 2: "send-proxy-v2 proxy-v2-options crc32c" } as const;
const size = 300_000;

/** Keeps all, and answers at the end. */
function sinkServer(): Server {
  return serve({
    onEnd: (peer) => {
      peer.send("got it");
      peer.finish();
    },
  });
}

/** Believes what runs on this machine. */
function between(engine: string, version: 1 | 2, port: number): Promise<Spawned> {
  const trusted = ["--proxy-in", "v1,v2", "--proxy-from", "127.0.0.1", "--engine", engine];
  return spawn([...trusted, `127.0.0.1:${port},proxy=v${version}`]);
}

function haproxyConfig(listens: readonly string[]): string {
  const times = ["connect", "client", "server"].map((what) => `  timeout ${what} 20s`);
  return ["global", "  nbthread 1", "defaults", "  mode tcp", ...times, ...listens, ""].join("\n");
}

/** A client of the first in the line is known behind the last, and every byte is there. */
async function expectExact(port: number, sink: Server): Promise<void> {
  await withSeed(async (random) => {
    const bytes = random.bytes(size);
    const index = sink.peers.length;
    using peer = await comer(port);
    peer.send(bytes);
    peer.finish();
    await until(() => peer.over, "the answer");
    expect(peer.text).toBe("got it");
    const told = toldTo(sink.peers[index]);
    expect(told?.header).toMatchObject({ command: "proxy", source: ownOf(peer) });
    expect(told?.rest.equals(bytes)).toBeTrue();
  });
}

const testHaproxy = testWith({ haproxy: "haproxy" });

testHaproxy("proxy peers: HAProxy before us and behind us, in both versions", async () => {
  using home = folder();
  using sink = sinkServer();
  for (const engine of engines) {
    const last = freePort();
    const behind = join(home.path, "behind.cfg");
    const accepting = `listen last
  bind 127.0.0.1:${last} accept-proxy
  server s 127.0.0.1:${sink.port} send-proxy`;
    writeFileSync(behind, haproxyConfig([accepting]));
    await using _behind = await server(["haproxy", "-db", "-f", behind], last);
    await using one = await between(engine, 1, last);
    await using two = await between(engine, 2, last);
    const fronts = [one, two].flatMap(({ port }) =>
      versions.map((version) => ({ at: freePort(), port, version })),
    );
    const listens = fronts.map(
      ({ at, port, version }) =>
        `listen to-${at}\n  bind 127.0.0.1:${at}\n  server s 127.0.0.1:${port} ${sends[version]}`,
    );
    const before = join(home.path, "before.cfg");
    writeFileSync(before, haproxyConfig(listens));
    await using _before = await server(["haproxy", "-db", "-f", before], fronts.at(-1)?.at ?? 0);
    for (const { at } of fronts) await expectExact(at, sink);
    for (const each of [one, two]) {
      const ended = await each.finish(versions.length);
      // What it counts is the client's, not the headers.
      expect(ended.map(({ bytesUp }) => bytesUp)).toEqual([size, size]);
      expect(ended.every(({ preface }) => preface?.via.startsWith("127.0.0.1:"))).toBeTrue();
    }
  }
});

testHaproxy("proxy peers: HAProxy's health checks through us are served", async () => {
  using home = folder();
  using sink = serve({
    onData: (peer) => {
      if (peer.text.endsWith("PING")) peer.send("PONG");
    },
    onEnd: (peer) => peer.finish(),
  });
  for (const version of versions) {
    await using balancer = await between("bun", version, sink.port);
    const port = freePort();
    const config = join(home.path, "checking.cfg");
    const checked = `listen checked
  bind 127.0.0.1:${port}
  timeout check 10s
  option tcp-check
  tcp-check connect default
  tcp-check send PING
  tcp-check expect string PONG
  server s 127.0.0.1:${balancer.port} check inter 100ms check-send-proxy ${sends[version]}`;
    writeFileSync(config, haproxyConfig([checked]));
    const index = sink.peers.length;
    await using _haproxy = await server(["haproxy", "-db", "-f", config], port);
    await until(() => sink.peers.length >= index + 3, "some checks behind us");
    // It speaks for itself (LOCAL), so that what we tell is its own address, and nobody else's.
    for (const peer of sink.peers.slice(index, index + 2)) {
      await until(() => toldTo(peer)?.rest.toString() === "PING", "what a check says");
      expect(toldTo(peer)?.header.source).toStartWith("127.0.0.1:");
    }
    // Its server is up by that: a client is served.
    using peer = await comer(port);
    peer.send("hi");
    const isIts = () => sink.peers.some((each) => toldTo(each)?.header.source === ownOf(peer));
    await until(() => isIts() || peer.over, "a client beside the checks");
    expect(peer.over).toBeFalse();
    await until(() => balancer.ended.length >= 2, "lines of checks");
    const [one] = balancer.ended;
    const via = version === 1 ? expect.any(String) : "";
    expect(one).toMatchObject({ bytesUp: 4, bytesDown: 4, preface: { via, fault: "" } });
    expect(one?.client).toStartWith("127.0.0.1:");
  }
});

const module = "/usr/lib/nginx/modules/ngx_stream_module.so";

/** nginx whose `stream` is there, as a module or built in. */
function testNginx(): typeof test {
  const tests = testWith({ nginx: "nginx" });
  if (Bun.which("nginx", { PATH: `${process.env["PATH"]}:/usr/sbin` }) === null) return tests;
  const { stderr } = Bun.spawnSync(["/usr/bin/env", "PATH=/usr/sbin:/usr/bin", "nginx", "-V"]);
  if (existsSync(module) || / --with-stream(?: |$)/m.test(stderr.toString())) return tests;
  console.log("skipped: nginx has no stream module (apt-get install libnginx-mod-stream)");
  return test.skip as typeof test; // the same calls, less modifiers that nobody uses here
}

testNginx()("proxy peers: nginx before us and behind us; it reads both versions", async () => {
  using home = folder();
  using sink = sinkServer();
  for (const engine of engines) {
    const last = freePort();
    const error = join(home.path, "error.log");
    const start = async (name: string, port: number, servers: readonly string[]) => {
      const path = join(home.path, `${name}.conf`);
      const load = existsSync(module) ? `load_module ${module};` : "";
      const head = `${load} daemon off; pid ${home.path}/${name}.pid; error_log ${error}; worker_processes 1;`;
      writeFileSync(
        path,
        `${head} events { worker_connections 256; } stream { ${servers.join("\n")} }`,
      );
      return server(["nginx", "-c", path, "-p", home.path, "-e", error], port);
    };
    await using _behind = await start("behind", last, [
      `server { listen 127.0.0.1:${last} proxy_protocol; set_real_ip_from 127.0.0.0/8;
        proxy_protocol on; proxy_half_close on; proxy_pass 127.0.0.1:${sink.port}; }`,
    ]);
    await using one = await between(engine, 1, last);
    await using two = await between(engine, 2, last);
    const fronts = [one, two].map(({ port }) => ({ at: freePort(), port }));
    await using _before = await start(
      "before",
      fronts.at(-1)?.at ?? 0,
      fronts.map(
        ({ at, port }) =>
          `server { listen 127.0.0.1:${at}; proxy_protocol on; proxy_half_close on; proxy_pass 127.0.0.1:${port}; }`,
      ),
    );
    for (const { at } of fronts) await expectExact(at, sink);
    for (const each of [one, two]) {
      const [ended] = await each.finish(1);
      expect(ended).toMatchObject({ bytesUp: size, reason: "done" });
    }
  }
});
