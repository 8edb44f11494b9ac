// What a network of its own is needed for: ports that run out, a flood of half-open connections, the kernel's queue.

import { expect } from "bun:test";
import { dlopen } from "bun:ffi";
import { client, cpuMs, echoServer, serve, unixPlace, until, type Peer } from "../net.ts";
import { fault, sized, type Lab, type Subject } from "./lab.ts";
import { expectOldestFirst, over, teller, toldBy } from "./load.ts";
import { network, noNetwork, type Network } from "./namespace.ts";
import { libc } from "../raw.ts";

const options = { skip: noNetwork };
const portCount = 30;

/** A balancer reached by a unix socket, whose network has so few ports to dial from. */
async function withFewPorts(lab: Lab, net: Network, destinations: readonly string[]) {
  net.set("ipv4.ip_local_port_range", `40000 ${40_000 + portCount - 1}`);
  net.set("ipv4.tcp_tw_reuse", 0);
  const { command } = net;
  return lab.start(destinations, { command, listen: unixPlace() });
}

/** Clients that say who they are and stay. */
async function joinAll(balancer: Subject, count: number): Promise<Peer[]> {
  const peers = await Promise.all(
    Array.from({ length: count }, () =>
      client(balancer.address, { onEnd: (peer) => peer.finish() }),
    ),
  );
  for (const [n, peer] of peers.entries()) peer.send(`${n}`);
  return peers;
}

/** Echoes; a client's `!` makes it end first, so that no port of the balancer's rests for a minute. */
function endingEcho(net: Network) {
  return net.within(() =>
    serve(
      {
        onData(peer, chunk) {
          peer.send(chunk);
          if (chunk.includes("!")) peer.finish();
        },
        onEnd: (peer) => peer.finish(),
      },
      "127.0.0.1:20001",
    ),
  );
}

const isAnswered = (peers: readonly Peer[]) => (peer: Peer) =>
  peer.text === `${peers.indexOf(peer)}`;

fault(
  18,
  "no source port is left: clients wait, no destination is blamed, all are served",
  async (lab) => {
    using net = network();
    using server = endingEcho(net);
    const balancer = await withFewPorts(lab, net, [server.address]);
    const peers = await joinAll(balancer, portCount + 10);
    const answered = () => peers.filter(isAnswered(peers));
    const status = await balancer.when(
      (now) => now.localFaults > 0 && now.open === peers.length && now.queue.waiting >= 10,
      "those without a port wait",
    );
    await until(() => answered().length === peers.length - status.queue.waiting, "the others");
    expect(answered().length).toBeGreaterThan(portCount / 2);
    const before = cpuMs(balancer.pid);
    await Bun.sleep(500); // the time in which a spin would show
    expect(cpuMs(balancer.pid) - before).toBeLessThan(200);
    expect((await balancer.status()).destinations[0]).toMatchObject({ failures: 0, outCount: 0 });
    const told = toldBy(balancer).join("\n");
    expect(told).toContain("cannot dial, and no destination is to blame: EADDRNOTAVAIL");
    expect(told).not.toContain("is out");
    const left = new Set<Peer>();
    await until(() => {
      for (const peer of answered().filter((each) => !left.has(each))) {
        left.add(peer);
        peer.send("!");
      }
      return peers.every((peer) => peer.over);
    }, "each one's turn");
    expect(peers.map((peer) => peer.text)).toEqual(peers.map((_, n) => `${n}!`));
    const ended = await balancer.finish(peers.length);
    expect(new Set(ended.map((each) => `${each.reason} ${each.tried.length}`))).toEqual(
      new Set(["done 0"]),
    );
  },
  options,
);

fault(
  18,
  "no source port is left towards one destination: the others serve its clients",
  async (lab) => {
    using net = network();
    using first = endingEcho(net);
    using second = net.within(() => echoServer("127.0.0.1:20002"));
    const args = ["--policy", "hash", `${first.address},weight=256`, second.address];
    const balancer = await withFewPorts(lab, net, args);
    const peers = await joinAll(balancer, portCount + 10);
    await until(() => peers.every(isAnswered(peers)), "all answers");
    const status = await balancer.status();
    expect(status.localFaults).toBeGreaterThan(0);
    expect(status.queue.waiting).toBe(0);
    expect(status.destinations.map((each) => [each.failures, each.outCount])).toEqual([
      [0, 0],
      [0, 0],
    ]);
    for (const peer of peers) peer.send("!");
    for (const peer of peers) peer.finish();
    await over(peers);
    const ended = await balancer.finish(peers.length);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  },
  options,
);

// ---- half-open connections -------------------------------------------------------------------

const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

/** Sends TCP segments with SYN from addresses that nobody has. */
function synFlood(port: number, count: number): number {
  const raw = dlopen("libc.so.6", {
    socket: { args: ["i32", "i32", "i32"], returns: "i32" },
    sendto: { args: ["i32", "buffer", "usize", "i32", "buffer", "u32"], returns: "i64" },
  }).symbols;
  const fd = raw.socket(2, SOCK_RAW, IPPROTO_RAW);
  if (fd < 0) throw new Error("no raw socket");
  const to = Buffer.from([2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  const packet = Buffer.alloc(40);
  packet.set([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 9, 0, 1, 127, 0, 0, 1]);
  packet.writeUInt16BE(port, 22);
  packet.set([0x50, 2, 0xff, 0xff], 32); // 20 bytes of header, SYN, window
  let sentCount = 0;
  for (let n = 0; n < count; n++) {
    packet.set([(n >> 8) & 0xff, n & 0xff], 14);
    packet.writeUInt16BE(1_024 + (n % 60_000), 20);
    packet.writeUInt32BE(n * 7_919, 24);
    packet.writeUInt16BE(0, 36);
    packet.writeUInt16BE(checksum(packet), 36);
    if (raw.sendto(fd, packet, packet.length, 0, to, to.length) > 0) sentCount += 1;
  }
  libc().close(fd);
  return sentCount;
}

/** Of the TCP segment behind an IPv4 header of 20 bytes, with its pseudo header. */
function checksum(packet: Buffer): number {
  let sum = 6 + (packet.length - 20);
  for (let at = 12; at < packet.length; at += 2) sum += packet.readUInt16BE(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

fault(
  20,
  "a flood of SYNs: who is joined goes on, who comes is served",
  async (lab) => {
    using net = network();
    net.set("ipv4.tcp_syncookies", 1);
    net.set("ipv4.tcp_max_syn_backlog", 256);
    net.set("ipv4.conf.all.rp_filter", 0);
    net.set("ipv4.conf.lo.rp_filter", 0);
    net.run("ip", "route", "add", "10.9.0.0/16", "dev", "lo");
    using server = net.within(() => echoServer());
    const args = ["--backlog", "256", server.address];
    const balancer = await lab.start(args, { command: net.command });
    const join = () => net.within(() => client(balancer.port, { from: "127.0.0.1" }));
    // It speaks all the time, and hears all of it back.
    let said = 0;
    const joined = await join();
    const speak = () => joined.send(`${said++},`);
    speak();
    const rounds = sized(20, 5);
    for (let round = 0; round < rounds; round++) {
      expect(net.within(() => synFlood(balancer.port, 1_000))).toBe(1_000);
      speak();
      const next = await join();
      next.send("among them");
      next.finish();
      await until(() => next.over, "the answer to one among them");
      expect(next.text).toBe("among them");
    }
    expect(net.counter("SyncookiesSent")).toBeGreaterThan(0); // so the flood was one
    const words = Array.from({ length: said }, (_, n) => `${n},`).join("");
    await until(() => joined.text === words, "the whole echo");
    joined.finish();
    await until(() => joined.over, "its end");
    expect(joined.wasReset).toBe(false);
    expect(toldBy(balancer)).toEqual([]);
    await balancer.finish(1 + rounds);
  },
  options,
);

// ---- more clients in an instant than the kernel holds ----------------------------------------

fault(
  30,
  "5,000 clients in an instant against one slot: no SYN is lost, served in order, one at a time",
  async (lab) => {
    using net = network();
    using server = net.within(() => teller());
    const args = ["--slots", "1", "--queue-timeout", "0", server.address];
    const balancer = await lab.start(args, { command: net.command });
    const holder = await net.within(() => client(balancer.port, { from: "127.0.0.1" }));
    holder.send("h");
    await until(() => server.serving === 1, "the holder at the destination");
    // As many as the kernel holds while the balancer stands still, then the rest.
    const held = sized(4_000, 2_000);
    const count = sized(5_000, 2_500);
    const arrive = (n: number) =>
      net.within(() =>
        Promise.all(Array.from({ length: n }, () => client(balancer.port, { from: "127.0.0.1" }))),
      );
    process.kill(balancer.pid, "SIGSTOP");
    const peers = await arrive(held);
    process.kill(balancer.pid, "SIGCONT");
    await balancer.when((now) => now.accepted > held / 2, "half of them are accepted");
    peers.push(...(await arrive(count - held)));
    await balancer.when((now) => now.queue.waiting === count, "all wait");
    expect(net.counter("ListenDrops") + net.counter("ListenOverflows")).toBe(0);
    for (const peer of peers) peer.send(`${peer.socket.localPort}\n`);
    holder.send("\n");
    await over(peers, 40_000);
    for (const peer of peers) peer.finish();
    expect(peers.filter((peer) => peer.wasReset || !peer.text.endsWith("\n"))).toEqual([]);
    expect(server.servingMax).toBe(1);
    holder.finish();
    const ended = await balancer.finish(1 + count);
    expectOldestFirst(server.heard.slice(1), ended);
  },
  { ...options, timeoutMs: 120_000 },
);
