// PROXY headers from those before us: who is believed, what is refused, how long it may take, and that what it says is
// the client wherever a client counts.

import { describe, expect, test } from "bun:test";
import type { ConnectionPage, ConnectionQuery } from "../../src/control/steering.ts";
import { client, echoServer, serve, tagServer, unixPlace, until } from "../net.ts";
import { v2, withTlvs, tlv } from "../wire/proxy-vectors.ts";
import { Configured, listener } from "./configured.ts";
import {
  comer,
  drip,
  endedOf,
  forms,
  lineFor,
  ownOf,
  through,
  trusting,
  untilOver,
  prefaceWays,
} from "./proxied.ts";
import { embed, endings, spawn } from "./ways.ts";

const everyone: ConnectionQuery = {
  listener: "",
  destination: "",
  client: "",
  ageMsMin: 0,
  countMax: 1_000,
  after: "",
};

describe.each(prefaceWays)("proxy, %s", (way) => {
  test("proxy: who the header names is the client, whole and byte by byte, its words behind it", async () => {
    using server = echoServer();
    await using balancer = await embed([...trusting, server.address], way);
    await Promise.all(
      forms.flatMap(({ name, header, source }) =>
        [true, false].map(async (isWhole) => {
          const words = `${name}, ${isWhole ? "whole" : "byte by byte"}`;
          using peer = await comer(balancer.port);
          if (isWhole) peer.send(Buffer.concat([header, Buffer.from(words)]));
          else await drip(peer, Buffer.concat([header, Buffer.from(words)]));
          await until(() => peer.text === words || peer.wasReset, `the echo of ${words}`);
          peer.finish();
          await untilOver(peer);
          const { reason, client: told, preface, bytesUp } = await endedOf(balancer, peer);
          const own = ownOf(peer);
          expect({ words, reason, told, via: preface?.via, bytesUp }).toEqual({
            words,
            reason: "done",
            told: source || own,
            via: source === "" ? "" : own,
            bytesUp: words.length,
          });
        }),
      ),
    );
    await balancer.finish(2 * forms.length);
  });

  test("proxy: nobody else is believed; others pass with their bytes untouched", async () => {
    using server = echoServer();
    const rules = ["--proxy-in", "v1,v2", "--proxy-from", "127.0.0.5", "--proxy-others", "pass"];
    await using balancer = await embed([...rules, server.address], way);
    const header = lineFor("203.0.113.9").toString();
    using liar = await through(balancer.port, header, "hi", "127.0.0.6");
    using proxy = await through(balancer.port, header, "hi", "127.0.0.5");
    // No word is needed from who passes: the server may be the one that speaks first.
    using silent = await comer(balancer.port, "127.0.0.7");
    await until(() => server.peers.length === 3, "all three behind");
    await until(() => liar.text === `${header}hi` && proxy.text === "hi", "both echoes");
    for (const peer of [liar, proxy, silent]) peer.finish();
    expect((await endedOf(balancer, liar)).client).toStartWith("127.0.0.6:");
    expect((await endedOf(balancer, proxy)).client).toBe("203.0.113.9:1024");
    expect(await endedOf(balancer, silent)).toMatchObject({ reason: "done", bytesUp: 0 });
    await balancer.finish(3);
  });

  test("proxy: others are refused where that is asked for, whatever they say", async () => {
    using server = echoServer();
    const rules = [
      "--proxy-in",
      "v2",
      "--proxy-from",
      "127.0.0.5,127.0.0.8",
      "--proxy-others",
      "refuse",
    ];
    await using balancer = await embed([...rules, server.address], way);
    using other = await through(balancer.port, v2(0x20, 0x00), "hi", "127.0.0.6");
    // Of two versions only one is accepted.
    using old = await through(balancer.port, lineFor("203.0.113.9"), "hi", "127.0.0.8");
    using proxy = await through(balancer.port, v2(0x20, 0x00), "hi", "127.0.0.5");
    await until(() => proxy.text === "hi" && other.wasReset && old.wasReset, "all three");
    proxy.finish();
    const denied = await endedOf(balancer, other);
    expect(endings([denied])).toEqual(["denied PC balancer"]);
    const { reason, preface } = await endedOf(balancer, old);
    expect([reason, preface?.fault]).toEqual(["proxy-header", "not-proxy"]);
    await balancer.finish(3);
    expect(server.peers.length).toBe(1);
  });

  test("proxy: silence and a byte now and then end at the deadline, which no byte moves", async () => {
    using server = echoServer();
    const deadlineMs = 300;
    const args = [...trusting, "--preface-timeout", `${deadlineMs}ms`, server.address];
    await using balancer = await embed(args, way);
    using silent = await comer(balancer.port);
    using slow = await comer(balancer.port);
    using inTime = await comer(balancer.port);
    // At this pace it would be whole only after seven seconds.
    const header = v2(0x21, 0x21, Buffer.concat([Buffer.alloc(36), tlv(0xee, Buffer.alloc(80))]));
    const dripping = drip(slow, header, 50);
    await drip(inTime, Buffer.concat([lineFor("192.0.2.9"), Buffer.from("hi")]), 2);
    await until(() => inTime.text === "hi", "the echo of one that was in time");
    await until(() => silent.wasReset && slow.wasReset, "both resets");
    await dripping;
    for (const peer of [silent, slow]) {
      const ended = await endedOf(balancer, peer);
      expect(endings([ended])).toEqual(["preface-timeout cC balancer"]);
      expect(ended.totalMs).toBeGreaterThanOrEqual(deadlineMs - 1);
      expect(ended.totalMs).toBeLessThan(deadlineMs + 2_000);
      expect(ended.preface?.ms).toBeCloseTo(ended.totalMs, -1);
    }
    // It holds for the start alone: who was in time goes on.
    inTime.send("!");
    await until(() => inTime.text === "hi!", "a word after the deadline");
    inTime.finish();
    await balancer.finish(3);
    expect(server.peers.length).toBe(1);
  });

  test("proxy: an end or a reset in the middle of a header is the client's leaving", async () => {
    using server = echoServer();
    await using balancer = await embed([...trusting, server.address], way);
    const part = lineFor("192.0.2.9").subarray(0, 20);
    using ending = await through(balancer.port, part);
    using resetting = await through(balancer.port, part);
    using nothing = await comer(balancer.port);
    await until(() => balancer.status().open === 3, "all three");
    ending.finish();
    nothing.finish();
    resetting.reset();
    const ended = await balancer.finish(3);
    expect(new Set(ended.map(({ reason, closedBy }) => `${reason} ${closedBy}`))).toEqual(
      new Set(["client-left client"]),
    );
    expect(ended.every(({ client: own }) => own.startsWith("127.0.0.1:"))).toBeTrue();
    expect(server.peers).toEqual([]);
  });

  test("proxy: rules and limits by client judge the one that the header names", async () => {
    using server = echoServer();
    const rules = ["--deny", "203.0.113.0/24,127.0.0.1", "--max-per-client", "2"];
    await using balancer = await embed([...trusting, ...rules, server.address], way);
    const outcome = async (header: string | Uint8Array) => {
      const peer = await through(balancer.port, header, "hi");
      await until(() => peer.text === "hi" || peer.over, "an answer");
      if (!peer.over) return "served";
      return (await endedOf(balancer, peer)).reason;
    };
    // The proxy's own address is denied; that counts where the proxy speaks for itself.
    expect(await outcome(v2(0x20, 0x00))).toBe("denied");
    expect(await outcome("PROXY UNKNOWN\r\n")).toBe("denied");
    expect(await outcome(lineFor("203.0.113.9"))).toBe("denied");
    expect(await outcome(lineFor("192.0.2.1", 1))).toBe("served");
    expect(await outcome(lineFor("192.0.2.1", 2))).toBe("served");
    expect(await outcome(lineFor("192.0.2.1", 3))).toBe("client-limit");
    expect(await outcome(lineFor("192.0.2.2", 4))).toBe("served");
    const { connections } = await balancer.balancer.connections(everyone);
    expect(connections.map((each) => each.client).toSorted()).toEqual([
      "192.0.2.1:1",
      "192.0.2.1:2",
      "192.0.2.2:4",
    ]);
    const one = await balancer.balancer.connections({ ...everyone, client: "192.0.2.2" });
    expect(one.connections.length).toBe(1);
  });

  test("proxy: a policy by hash hashes the one that the header names", async () => {
    using a = tagServer("a");
    using b = tagServer("b");
    using c = tagServer("c");
    const args = [...trusting, "--policy", "hash", a.address, b.address, c.address];
    await using balancer = await embed(args, way);
    const served = async (ip: string, port: number) => {
      using peer = await through(balancer.port, lineFor(ip, port));
      await untilOver(peer);
      return peer.text;
    };
    const ips = Array.from({ length: 16 }, (_, index) => `192.0.2.${index}`);
    const first = await Promise.all(ips.map((ip) => served(ip, 1)));
    expect(new Set(first).size).toBeGreaterThan(1);
    expect(await Promise.all(ips.map((ip) => served(ip, 2)))).toEqual(first);
    await balancer.finish(2 * ips.length);
  });
});

test("proxy: the access line names client, proxy and fault, in each of its forms", async () => {
  using server = echoServer();
  for (const format of ["json", "logfmt"] as const) {
    await using balancer = await spawn([...trusting, "--access-log", format, server.address]);
    using good = await through(balancer.port, lineFor("192.0.2.9", 77), "hi");
    await until(() => good.text === "hi", "the echo");
    good.finish();
    await untilOver(good);
    using bad = await through(balancer.port, withTlvs(tlv(5, "id", 3)), "hi");
    await untilOver(bad);
    await until(() => balancer.process.stdout.length === 2, "two lines");
    const own = ownOf(good);
    if (format === "json") {
      const [one, two] = balancer.ended;
      expect(one).toMatchObject({ client: "192.0.2.9:77", reason: "done", preface: { via: own } });
      expect(two).toMatchObject({ reason: "proxy-header", state: "PC", closedBy: "balancer" });
      expect(two?.preface).toMatchObject({ via: "", fault: "tlv" });
    } else {
      const [one = "", two = ""] = balancer.process.stdout;
      expect(one).toContain(" client=192.0.2.9:77 ");
      expect(one).toMatch(new RegExp(` reason=done preface_ms=[\\d.]+ via=${own}$`));
      expect(two).toMatch(/ reason=proxy-header preface_ms=[\d.]+ fault=tlv$/);
    }
  }
});

test("proxy: over IPv6, and over a unix socket, whose file is the permission", async () => {
  using server = echoServer();
  const rules = ["--proxy-in", "v1,v2", "--proxy-from", "::1", server.address];
  const place = unixPlace();
  for (const listen of ["[::1]:0", place]) {
    await using balancer = await spawn(rules, { listen });
    using peer = await client(balancer.address);
    peer.send(Buffer.concat([lineFor("192.0.2.9", 78), Buffer.from("hi")]));
    await until(() => peer.text === "hi", `the echo over ${listen}`);
    peer.finish();
    using bad = await client(balancer.address);
    bad.send("hello\r\n");
    await untilOver(bad);
    const ended = await balancer.finish(2);
    expect(ended.map(({ client: told, reason }) => [told, reason])[0]).toEqual([
      "192.0.2.9:78",
      "done",
    ]);
    expect(ended[1]).toMatchObject({ reason: "proxy-header", preface: { fault: "not-proxy" } });
  }
});

test("proxy: /connections of the admin side lists the client that the header names", async () => {
  using server = serve({});
  const lines = ['proxy-in = ["v1", "v2"]', 'proxy-from = "127.0.0.0/8"'];
  await using it = await Configured.start(listener("web", [server.address], ...lines));
  const port = await it.portOf("web");
  using _told = await through(port, lineFor("192.0.2.9", 79), "hi");
  await until(() => server.peers.length === 1, "the client behind");
  using begun = await through(port, "PROXY TCP4 ");
  const listed = await until(async () => {
    const { body } = await it.ask("GET", "/connections");
    const { connections } = body as ConnectionPage; // what it answers
    return connections.length === 2 && connections;
  }, "both connections");
  const own = ownOf(begun);
  expect(listed.map(({ client: told, state }) => `${told} ${state}`).toSorted()).toEqual([
    `${own} preface`,
    "192.0.2.9:79 joined",
  ]);
  const { body } = await it.ask("GET", "/connections?client=192.0.2.9");
  expect((body as ConnectionPage).connections.length).toBe(1); // as above
});
