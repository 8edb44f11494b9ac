// Starts of connections that are no good: dripped, too long, from the wrong peer, missing, very large.

import { expect } from "bun:test";
import { client, until, type Peer } from "../net.ts";
import { comer, drip, lineFor } from "../e2e/proxied.ts";
import { tagged } from "../e2e/routed.ts";
import * as hello from "../wire/hellos.ts";
import { longMessage } from "../wire/hello-matrix.ts";
import { fault, sized } from "./lab.ts";
import { ask, hearer, longMs } from "./peers.ts";

const prefaceMs = 1_500;
const deadline = ["--preface-timeout", `${prefaceMs}ms`] as const;
const proxied = ["--proxy-in", "v1,v2", "--proxy-from"] as const;

fault(13, "a start that drips is over at the deadline, however often a byte comes", async (lab) => {
  using a = tagged("A");
  using rest = hearer("rest");
  const balancer = await lab.start([
    ...deadline,
    ...proxied,
    "127.0.0.2",
    `${a.address},sni=a.example`,
    rest.address,
  ]);
  const count = sized(100, 30);
  const header = lineFor("192.0.2.1");
  const words = hello.hello([hello.sni("a.example")]);
  // Each as a whole would take three times as long.
  const pauseMs = (bytes: Uint8Array): number => Math.ceil((3 * prefaceMs) / bytes.length);
  const peers = await Promise.all(
    Array.from({ length: count }, (_, n) =>
      comer(balancer.port, n % 2 === 0 ? "127.0.0.2" : "127.0.0.3"),
    ),
  );
  const dripping = peers.map((peer, n) => {
    const bytes = n % 2 === 0 ? header : words;
    return drip(peer, bytes, pauseMs(bytes));
  });
  expect((await ask(balancer.port, "hello")).text).toBe("rest heard hello"); // others are served meanwhile
  await until(() => peers.every((peer) => peer.over), "all are over", longMs);
  await Promise.all(dripping);
  const ended = await balancer.finish(count + 1);
  const late = ended.filter(({ reason }) => reason === "preface-timeout");
  expect(late.length).toBe(count);
  for (const { totalMs } of late) expect(totalMs).toBeGreaterThanOrEqual(prefaceMs);
  expect(Math.min(...late.map(({ totalMs }) => totalMs))).toBeLessThan(2 * prefaceMs);
});

fault(
  23,
  "a header that is too long is reset at once, and what it held is given back",
  async (lab) => {
    using server = hearer("it");
    const balancer = await lab.start([...deadline, ...proxied, "127.0.0.0/8", server.address]);
    const endless = Buffer.from(`PROXY UNKNOWN ${"x".repeat(200)}`);
    const full = Buffer.alloc(16 + 65_535, 0xee); // its addresses are good, what follows is not
    Buffer.from("\r\n\r\n\0\r\nQUIT\n!\x11\xff\xff", "latin1").copy(full);
    const count = sized(200, 40);
    for (const bytes of [endless, full]) {
      const peers = await Promise.all(Array.from({ length: count }, () => client(balancer.port)));
      for (const peer of peers) peer.send(bytes);
      await until(() => peers.every((peer) => peer.over), "all are reset", longMs);
    }
    const peer = await client(balancer.port);
    peer.send(Buffer.concat([lineFor("192.0.2.1"), Buffer.from("hello")]));
    peer.finish();
    await until(() => peer.over, "an answer");
    expect(server.heard).toEqual(["hello"]);
    const ended = await balancer.finish(2 * count + 1);
    const faults = ended.map(({ reason, preface }) => `${reason} ${preface?.fault ?? ""}`.trim());
    expect(faults.filter((each) => each === "proxy-header too-long").length).toBe(count);
    expect(faults.filter((each) => each === "proxy-header tlv").length).toBe(count);
    expect(ended.find(({ reason }) => reason === "done")?.client).toBe("192.0.2.1:1024");
  },
);

fault(25, "a header from a peer that nobody trusts is never believed", async (lab) => {
  const header = lineFor("192.0.2.1");
  for (const others of ["refuse", "pass"] as const) {
    using server = hearer("it");
    const balancer = await lab.start([
      ...proxied,
      "127.0.0.2",
      "--proxy-others",
      others,
      server.address,
    ]);
    const peer = await client(balancer.port, { from: "127.0.0.3" });
    peer.send(header);
    peer.finish();
    await until(() => peer.over, "the end");
    const [ended] = await balancer.finish(1);
    expect(ended?.client).toStartWith("127.0.0.3:");
    expect(ended?.reason).toBe(others === "refuse" ? "denied" : "done");
    expect(server.heard).toEqual(others === "refuse" ? [] : [header.toString()]);
  }
});

fault(
  26,
  "a client without a header, where one is wanted, is told so by the deadline",
  async (lab) => {
    using server = hearer("it");
    const balancer = await lab.start([...deadline, ...proxied, "127.0.0.0/8", server.address]);
    const silent = await client(balancer.port);
    const speaking = await client(balancer.port);
    speaking.send("GET / HTTP/1.1\r\n\r\n");
    await until(() => speaking.over, "who speaks is refused at once");
    expect(silent.over).toBe(false);
    await until(() => silent.over, "who is silent is closed", longMs);
    expect(server.heard).toEqual([]);
    const ended = await balancer.finish(2);
    expect(ended.map(({ reason }) => reason).toSorted()).toEqual([
      "preface-timeout",
      "proxy-header",
    ]);
  },
);

fault(28, "a very large hello is read up to 32 KiB, and goes by default above", async (lab) => {
  using a = tagged("A");
  using d = tagged("D");
  const balancer = await lab.start([...deadline, `${a.address},sni=a.example`, d.address]);
  const tagOf = async (bytes: Uint8Array): Promise<string> => {
    const peer: Peer = await client(balancer.port);
    peer.send(bytes);
    await until(() => peer.text !== "" || peer.over, "an answer", longMs);
    peer.finish();
    await until(() => peer.over, "the end");
    return peer.text;
  };
  const sizes = [517, 1_800, 16_384, 20_480, 31_000, 40_000, 60_000];
  const tags: string[] = [];
  for (const size of sizes) tags.push(await tagOf(hello.recordsOf(longMessage(size), 16_384)));
  expect(tags).toEqual(["A", "A", "A", "A", "A", "D", "D"]);
  await balancer.finish(sizes.length);
});
