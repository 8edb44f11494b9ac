// Routes by name, by protocol and for what is not TLS, without decrypting anything: who is served by whom, queues that
// do not hold each other up, and what becomes of clients that no route serves.

import { describe, expect, test } from "bun:test";
import { certs, opensslMissing } from "../certs.ts";
import { blackhole, client, echoServer, serve, until, type Peer } from "../net.ts";
import * as h from "../wire/hellos.ts";
import { Configured, listener } from "./configured.ts";
import { run, testWith } from "./program.ts";
import { comer, endedOf, lineFor, through, trusting, untilOver, prefaceWays } from "./proxied.ts";
import { answerTo, tagged, tlsDestination } from "./routed.ts";
import { embed, endings } from "./ways.ts";

const helloFor = (name: string, ...alpn: readonly string[]) =>
  h.hello([h.sni(name), ...(alpn.length === 0 ? [] : [h.alpn(...alpn)])]);

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: routes to real TLS servers: ${opensslMissing}`);

describe.each(prefaceWays)("routes, %s", (way) => {
  test("routes: by name, pattern, protocol, and for what is no TLS; the rest goes to the default", async () => {
    const tags = ["a", "b", "h2", "plain", "rest"];
    const servers = tags.map(tagged);
    const suffixes = ["sni=a.example+*.a.example", "sni=*.b.example", "alpn=h2", "plain", ""];
    const places = servers.map(({ address }, index) => {
      const suffix = suffixes[index] ?? "";
      return suffix === "" ? address : `${address},${suffix}`;
    });
    await using balancer = await embed(places, way);
    const wanted: readonly (readonly [bytes: Uint8Array, tag: string])[] = [
      [helloFor("a.example"), "a"],
      [helloFor("A.Example", "h2"), "a"],
      [helloFor("x.a.example"), "a"],
      [helloFor("x.b.example", "http/1.1"), "b"],
      [helloFor("b.example", "http/1.1"), "rest"],
      [helloFor("c.example", "http/1.1", "h2"), "h2"],
      [h.hello([h.alpn("h2")]), "h2"],
      [h.hello([]), "rest"],
      [Buffer.from("SSH-2.0-x\r\n"), "plain"],
    ];
    for (const [bytes, tag] of wanted) {
      using peer = await comer(balancer.port);
      peer.send(bytes);
      await until(() => peer.text !== "" || peer.over, "an answer");
      expect(peer.text).toBe(tag);
      peer.finish();
      await untilOver(peer);
    }
    const ended = await balancer.finish(wanted.length);
    const { preface } = ended[1] ?? {};
    expect(preface).toMatchObject({ sni: "a.example", alpn: "h2", tls: "" });
    for (const server of servers) server[Symbol.dispose]();
  });

  testTls("routes: the certificate is the server's own, and so is all that follows", async () => {
    await using a = await tlsDestination("A", "server");
    await using b = await tlsDestination("B", "second");
    await using d = await tlsDestination("D", "wildcard");
    const places = [`${a.address},sni=a.example`, `${b.address},sni=b.example`, d.address];
    await using balancer = await embed(places, way);
    const answers = await Promise.all([
      answerTo(balancer.port, "a.example"),
      answerTo(balancer.port, "b.example", ["h2"]),
      answerTo(balancer.port, "www.example.com", ["http/1.1"]),
      answerTo(balancer.port, ""),
    ]);
    expect(answers).toEqual([
      { name: "a.example", text: "A a.example - hi" },
      { name: "b.example", text: "B b.example h2 hi" },
      { name: "*.example.com", text: "D www.example.com http/1.1 hi" },
      { name: "*.example.com", text: "D - - hi" },
    ]);
    expect([a.count, b.count, d.count]).toEqual([1, 1, 2]);
    await balancer.finish(4);
  });

  test("routes: who no route serves is refused, and told so", async () => {
    using a = tagged("a");
    await using balancer = await embed([`${a.address},sni=a.example`], way);
    using other = await through(balancer.port, helloFor("b.example"));
    using plain = await through(balancer.port, "SSH-2.0-x\r\n");
    await until(() => other.wasReset && plain.wasReset, "both resets");
    const ended = [await endedOf(balancer, other), await endedOf(balancer, plain)];
    expect(endings(ended)).toEqual(["no-route PC balancer", "no-route PC balancer"]);
    expect(ended[0]?.preface?.sni).toBe("b.example");
    await balancer.finish(2);
    expect(a.peers).toEqual([]);
  });

  test("routes: a full one holds nobody up in another, and each keeps its order", async () => {
    const order: string[] = [];
    /** Serves until its client ends, and notes whose bytes came in what order. */
    const noting = () =>
      serve({
        onData: (peer, chunk) => {
          order.push(chunk.subarray(-4).toString());
          peer.send("served");
        },
        onEnd: (peer) => peer.finish(),
      });
    using a = noting();
    using b = noting();
    const places = [`${a.address},sni=a.example`, `${b.address},sni=b.example`];
    await using balancer = await embed(["--slots", "1", ...places], way);
    const enter = (name: string, mark: string) =>
      through(balancer.port, h.joined(helloFor(name), Buffer.from(mark)));
    const firsts: Peer[] = [await enter("a.example", "a000")];
    await until(() => firsts[0]?.text === "served", "the one that has the slot");
    for (let index = 1; index <= 8; index += 1) {
      firsts.push(await enter("a.example", `a00${index}`));
      await balancer.when(({ queue }) => queue.waiting === index, `${index} waiting`);
    }
    // Eight wait for a; b is free.
    for (let index = 0; index < 3; index += 1) {
      using other = await enter("b.example", `b00${index}`);
      await until(() => other.text === "served", "one of the other route");
      other.finish();
      await untilOver(other);
    }
    expect(balancer.status().queue.waiting).toBe(8);
    for (const peer of firsts) {
      await until(() => peer.text === "served", "its turn");
      peer.finish();
      await untilOver(peer);
    }
    const marks = Array.from({ length: 9 }, (_, index) => `a00${index}`);
    expect(order.filter((each) => each.startsWith("a"))).toEqual(marks);
    await balancer.finish(12);
  });

  test("routes: behind a PROXY header, and with another before the hello", async () => {
    using a = tagged("a");
    using d = tagged("d");
    const places = [`${a.address},sni=a.example,proxy=v2`, `${d.address},proxy=v1`];
    await using balancer = await embed([...trusting, ...places], way);
    const hello = helloFor("a.example");
    using peer = await through(balancer.port, lineFor("192.0.2.9", 7), hello);
    await until(() => a.peers[0]?.received.includes(hello) === true, "the hello behind");
    const received = a.peers[0]?.received ?? Buffer.alloc(0);
    expect(received.subarray(0, 12).toString("hex")).toBe("0d0a0d0a000d0a515549540a");
    // The name that was asked for is told as the authority.
    expect(received.subarray(0, -hello.length).includes("\x02\x00\x09a.example")).toBeTrue();
    expect(received.subarray(-hello.length).equals(hello)).toBeTrue();
    peer.finish();
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ client: "192.0.2.9:7", bytesUp: hello.length });
    expect(d.peers).toEqual([]);
  });

  test("routes: a destination in a route is drained, and who waits there goes on waiting", async () => {
    using a = echoServer();
    using d = tagged("d");
    await using balancer = await embed([`${a.address},name=a,sni=a.example`, d.address], way);
    const hello = helloFor("a.example");
    using one = await through(balancer.port, hello);
    await until(() => one.received.equals(hello), "the echo");
    balancer.balancer.setMode("a", "drain");
    using two = await through(balancer.port, hello);
    await until(() => balancer.status().queue.waiting === 1, "one waits");
    using other = await through(balancer.port, helloFor("b.example"));
    await until(() => other.text === "d", "one of another route");
    one.send("more");
    await until(() => one.received.length === hello.length + 4, "a word of the one that is served");
    balancer.balancer.setMode("a", "ready");
    await until(() => two.received.equals(hello), "the echo for who waited");
    for (const peer of [one, two, other]) peer.finish();
    await balancer.finish(3);
  });
});

/** As a file says it: routes with their destinations, and the default. */
function routed(destination: string, routes: readonly (readonly [string, string])[]): string {
  const tables = routes.map(
    ([what, place]) => `[[listener.route]]\n${what}\ndestinations = ["${place}"]\n`,
  );
  return listener("web", [destination]) + tables.join("");
}

test("routes: a reload adds and takes away; live pairs go on, who waits for what is removed is refused", async () => {
  using a = echoServer();
  using b = tagged("b");
  using d = tagged("d");
  const before = routed(d.address, [['sni = "a.example"', `${a.address},slots=1,name=a`]]);
  await using it = await Configured.start(before);
  const port = await it.portOf("web");
  const hello = helloFor("a.example");
  using live = await through(port, hello);
  await until(() => live.received.equals(hello), "the echo");
  using waiting = await through(port, hello);
  await until(async () => (await it.listener("web")).queue.waiting === 1, "one waits");
  using begun = await through(port, hello.subarray(0, 40));
  using other = await through(port, helloFor("b.example"));
  await until(() => other.text === "d", "the default");
  // The route goes, and another one comes.
  it.write(routed(d.address, [['sni = ["b.example", "*.b.example"]', `${b.address},name=b`]]));
  process.kill(it.process.pid, "SIGHUP");
  await until(() => waiting.wasReset, "the refusal");
  live.send("more");
  await until(() => live.text.endsWith("more"), "the one that is served goes on");
  using next = await through(port, helloFor("x.b.example"));
  await until(() => next.text === "b", "the new route");
  // Whose start is still being read goes by what holds at its end.
  begun.send(hello.subarray(40));
  await until(() => begun.text !== "" || begun.over, "an answer to the one that was slow");
  expect(begun.text).toBe("d");
  await until(() => it.process.stdout.join("").includes('"reason":"no-route"'), "its line");
  expect(await it.rows("web")).toContain("b ready 1/0");
  for (const peer of [live, next, begun, other]) peer.finish();
});

test("routes: the commands add, drain and take away a destination of a route", async () => {
  using a = echoServer();
  using d = tagged("d");
  await using it = await Configured.start(listener("web", [d.address]));
  const port = await it.portOf("web");
  const hello = helloFor("x.example");
  using before = await through(port, hello);
  await until(() => before.text === "d", "the default");
  const added = await it.iawlb("add", `${a.address},sni=x.example,name=x`);
  expect(added).toMatchObject({ code: 0 });
  using after = await through(port, hello);
  await until(() => after.received.equals(hello), "the new route");
  expect(await it.iawlb("drain", "x")).toMatchObject({ code: 0 });
  using waiting = await through(port, hello);
  await until(async () => (await it.listener("web")).queue.waiting === 1, "one waits");
  expect(await it.iawlb("remove", "x")).toMatchObject({ code: 0 });
  await until(() => waiting.wasReset, "the refusal");
  after.send("more");
  await until(() => after.text.endsWith("more"), "the one that is served goes on");
  using back = await through(port, hello);
  await until(() => back.text === "d", "the default again");
  await until(() => it.process.stdout.join("").includes('"reason":"no-route"'), "its line");
});

test("routes: the default goes as any other; where there are no routes everybody may wait", async () => {
  using a = tagged("a");
  using d = echoServer();
  await using balancer = await embed([
    "--slots",
    "1",
    `${a.address},sni=a.example,name=a`,
    d.address,
  ]);
  const { options } = balancer.balancer;
  const [routed, open] = options.destinations;
  if (routed === undefined || open === undefined) throw new Error("two destinations");
  const apply = (destinations: typeof options.destinations) =>
    balancer.balancer.apply({ ...options, destinations });
  using live = await through(balancer.port, "hello");
  await until(() => live.text === "hello", "the echo");
  using waiting = await through(balancer.port, "hello");
  await until(() => balancer.status().queue.waiting === 1, "one waits");
  await apply([routed]);
  await untilOver(waiting);
  expect((await endedOf(balancer, waiting)).reason).toBe("no-route");
  live.send("!");
  await until(() => live.text === "hello!", "the one that is served goes on");
  await apply([{ ...routed, sni: [] }]);
  balancer.balancer.setMode("a", "drain");
  using patient = await through(balancer.port, "hello");
  await until(() => balancer.status().queue.waiting === 1, "another waits");
  await apply([{ ...routed, sni: [], weight: 2 }]);
  balancer.balancer.setMode("a", "ready");
  await until(() => patient.text === "a", "its turn");
});

test("routes: a client that is being dialed for as its route goes is refused when the dial fails", async () => {
  using d = tagged("d");
  using hole = blackhole(); // a dial lasts until its deadline
  const places = [`${hole.address},sni=a.example,name=a`, d.address];
  await using balancer = await embed(["--connect-timeout", "300ms", ...places]);
  using peer = await comer(balancer.port);
  peer.send(helloFor("a.example"));
  await until(() => balancer.status().destinations[0]?.used === 1, "a dial");
  const { options } = balancer.balancer;
  const destinations = options.destinations.filter(({ name }) => name !== "a");
  await balancer.balancer.apply({ ...options, destinations });
  await until(() => peer.over, "the refusal", 5_000);
  const { reason } = await endedOf(balancer, peer);
  expect(reason).toBe("no-route");
});

const testPrograms = testWith({ openssl: "openssl", curl: "curl" });

testPrograms("routes: curl and openssl s_client reach the server that they ask for", async () => {
  await using a = await tlsDestination("A", "server");
  await using b = await tlsDestination("B", "second");
  for (const engine of ["bun", "libc"]) {
    const text = routed(b.address, [['sni = "a.example"', a.address]]);
    await using it = await Configured.start(text, "--engine", engine);
    const port = await it.portOf("web");
    const shown = async (name: string) => {
      const connect = ["-connect", `127.0.0.1:${port}`, "-CAfile", certs().ca.certFile];
      const words = ["s_client", ...connect, "-verify_return_error", "-servername", name];
      return (await run(["openssl", ...words], { input: "" })).toString();
    };
    expect(await shown("a.example")).toMatch(/^subject=.*CN = a\.example$/m);
    expect(await shown("b.example")).toMatch(/^subject=.*CN = b\.example$/m);
    const asked = async (name: string) => {
      const resolve = ["--resolve", `${name}:${port}:127.0.0.1`, "--cacert", certs().ca.certFile];
      const how = ["-s", "--http0.9", "--http1.1", "--max-time", "10"];
      // Its answer is no HTTP and has no end: the first of it is enough, whatever curl makes of that.
      const child = Bun.spawn(["curl", ...how, "-N", ...resolve, `https://${name}:${port}/it`], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      let said = "";
      for await (const chunk of child.stdout) {
        said += Buffer.from(chunk).toString();
        if (said.includes("/it")) break;
      }
      child.kill();
      await child.exited;
      return said;
    };
    expect(await asked("a.example")).toStartWith("A a.example http/1.1 GET /it ");
    expect(await asked("b.example")).toStartWith("B b.example http/1.1 GET /it ");
  }
});

test("routes: nothing sent is closed at the deadline", async () => {
  using a = tagged("a");
  const args = ["--preface-timeout", "200ms", `${a.address},sni=a.example`];
  await using balancer = await embed(args);
  using peer = await client(balancer.port);
  await untilOver(peer);
  expect(endings(await balancer.finish(1))).toEqual(["preface-timeout cC balancer"]);
});
