// Handshakes that fail, stall, wait for their turn, or are spared by a session: nobody who is not secured reaches a
// destination, and nobody holds up the others for longer than --preface-timeout.

import { describe, expect } from "bun:test";
import { join } from "node:path";
import { certs } from "../certs.ts";
import { client, echoServer, serve, sink, tagServer, until } from "../net.ts";
import { folder } from "./program.ts";
import { realHello, secureClient, sClient, shows, startOf, testTls, verdicts } from "./secure.ts";
import { change } from "./steering.ts";
import { byDescriptor, byThreads, embed } from "./ways.ts";

const prefaceMs = 300;
const deadline = ["--preface-timeout", `${prefaceMs}ms`];

describe.each([byDescriptor, byThreads] as const)("%s", (way) => {
  testTls(
    "tls: what is no TLS is refused at once, with its fault, and reaches nobody",
    async () => {
      using destination = sink();
      await using it = await embed([...shows(certs().server), destination.address], way);
      const hello = await realHello();
      const other = Buffer.from(hello);
      other[5] = 2; // says that it is a server's
      const cases: [bytes: Buffer, fault: RegExp][] = [
        [Buffer.from("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"), /^plain$/],
        [Buffer.from("SSH-2.0-x\r\n"), /^plain$/],
        [Buffer.from([0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10]), /^[a-z-]+$/], // SSL 2's
        [Buffer.from([0x16, 3, 1, 0, 4, 1, 0, 0, 0]), /^[a-z-]+$/], // a hello of no bytes
        [Buffer.from([0x16, 3, 1, 0, 0, 0x16, 3, 1, 0, 0]), /^[a-z-]+$/], // an empty record
        [Buffer.from([0x15, 3, 1, 0, 2, 2, 40]), /^[a-z-]+$/], // an alert
        [other, /^[a-z-]+$/],
        [Buffer.concat([hello, Buffer.from("GET / HTTP/1.1\r\n\r\n")]), /^[A-Z_]+$/], // in clear after it
      ];
      for (const [bytes, fault] of cases) {
        using peer = await client(it.port);
        const count = it.ended.length;
        peer.send(bytes);
        await until(
          () => peer.over && it.ended.length > count,
          `a refusal of ${bytes.toString("latin1")}`,
        );
        const ended = it.ended.at(-1);
        if (ended === undefined) throw new Error("none has ended");
        expect([ended.reason, ended.state, ended.closedBy]).toEqual([
          "tls-handshake",
          "PC",
          "balancer",
        ]);
        expect(startOf(ended).fault).toMatch(fault);
        expect(ended.totalMs).toBeLessThan(3_000);
      }
      expect(it.status().closed["tls-handshake"]).toBe(cases.length);
      expect(it.status().preface.secured).toBe(0);
      await it.finish(cases.length);
      expect(destination.peers.length).toBe(0);
    },
  );

  testTls(
    "tls: silence, half a hello and a stalled handshake end at the deadline, which no byte moves",
    async () => {
      using destination = sink();
      await using it = await embed(
        [...shows(certs().server), ...deadline, destination.address],
        way,
      );
      const hello = await realHello();
      using silent = await client(it.port);
      using half = await client(it.port);
      half.send(hello.subarray(0, 50));
      using stalled = await client(it.port);
      stalled.send(hello);
      using slow = await client(it.port);
      let count = 0;
      const drip = setInterval(() => slow.send(hello.subarray(count, ++count)), 20);
      using late = await client(it.port);
      late.send(hello);
      await until(
        () => stalled.receivedCount > 500 && late.receivedCount > 500,
        "the server's hello",
      );
      const more = setInterval(() => late.send(Buffer.from([0x14, 3, 3, 0, 1, 1])), 40); // change_cipher_spec
      const peers = [silent, half, stalled, slow];
      await until(() => peers.every((peer) => peer.over), "their ends");
      await until(() => late.over, "the end of the one that talks on");
      for (const timer of [drip, more]) clearInterval(timer);
      expect(peers.every((peer) => peer.wasReset)).toBe(true);
      expect(count).toBeGreaterThan(5);
      const ended = await it.finish(5);
      const timed = ended.filter(({ reason }) => reason === "preface-timeout");
      expect(timed.length).toBeGreaterThanOrEqual(4);
      for (const { totalMs, state } of timed) {
        expect(state).toBe("cC");
        expect(totalMs).toBeGreaterThanOrEqual(prefaceMs - 1);
        expect(totalMs).toBeLessThan(prefaceMs + 1_500);
      }
      expect(destination.peers.length).toBe(0);
    },
  );

  testTls("tls: who leaves before or in its handshake is told as that", async () => {
    using destination = sink();
    await using it = await embed([...shows(certs().server), destination.address], way);
    const hello = await realHello();
    for (const how of ["finish", "reset"] as const) {
      for (const count of [0, 50, hello.length]) {
        using peer = await client(it.port);
        peer.send(hello.subarray(0, count));
        if (count === hello.length) await until(() => peer.receivedCount > 0, "the server's hello");
        await until(() => it.status().preface.open === 1, "it is read");
        peer[how]();
        await until(() => it.status().open === 0, "its end");
      }
    }
    const ended = await it.finish(6);
    const seen = verdicts(ended);
    expect(seen.filter((each) => each === "client-left").length).toBeGreaterThanOrEqual(4);
    expect(seen.every((each) => /^(client-left|tls-handshake: \w+)$/.test(each))).toBe(true);
    expect(it.status().preface).toMatchObject({ open: 0, handshaking: 0, secured: 0 });
    expect(destination.peers.length).toBe(0);
  });

  testTls("tls: a client resumes its session, in either version", async () => {
    using destination = tagServer("served");
    using home = folder();
    await using it = await embed([...shows(certs().server), destination.address], way);
    const reused: boolean[] = [];
    for (const version of ["-tls1_2", "-tls1_3"]) {
      const file = join(home.path, `session${version}`);
      const first = await sClient(it.port, [version, "-sess_out", file]);
      expect([first.isReused, first.text.includes("served")]).toEqual([false, true]);
      for (let n = 0; n < 4; n += 1) {
        const again = await sClient(it.port, [version, "-sess_in", file]);
        expect([again.text.includes("served"), again.subject]).toEqual([true, "a.example"]);
        reused.push(again.isReused);
      }
    }
    // Each thread has tickets of its own: another one shakes hands in full.
    if (way === byDescriptor) expect(reused).not.toContain(false);
    await it.finish(10);
  });
});

testTls(
  "tls: a session does not get past the rules of another name, listener or time",
  async () => {
    using destination = tagServer("served");
    using home = folder();
    const { server, second, ca, otherCa, client: alice } = certs();
    const own = ["-cert", alice.certFile, "-key", alice.keyFile];
    const asks = ["--tls-client-ca", ca.certFile];
    await using open = await embed([...shows(server, second), destination.address]);
    await using closed = await embed([...shows(server, second), ...asks, destination.address]);
    for (const version of ["-tls1_2", "-tls1_3"]) {
      const file = (name: string) => join(home.path, name + version);
      const ask = (port: number, name: string, ...args: string[]) =>
        sClient(port, [version, "-servername", name, ...args]);
      const isServed = async (port: number, name: string, ...args: string[]) =>
        (await ask(port, name, ...args)).text.includes("served");
      expect(await isServed(open.port, "a.example", "-sess_out", file("open"))).toBe(true);
      expect(await isServed(closed.port, "a.example", "-sess_in", file("open"))).toBe(false);
      const other = await ask(open.port, "b.example", "-sess_in", file("open"));
      expect([other.isReused, other.subject]).toEqual([false, "b.example"]);

      expect(await isServed(closed.port, "a.example", ...own, "-sess_out", file("alice"))).toBe(
        true,
      );
      // It has shown its certificate: the session stands for it.
      const again = await ask(closed.port, "a.example", "-sess_in", file("alice"));
      expect([again.isReused, again.text.includes("served")]).toEqual([true, true]);
      expect(await isServed(closed.port, "b.example", "-sess_in", file("alice"))).toBe(false);

      // Another authority from now on.
      await change(closed, { tlsClientCa: otherCa.certFile });
      expect(await isServed(closed.port, "a.example", "-sess_in", file("alice"))).toBe(false);
      await change(closed, { tlsClientCa: ca.certFile });
      // What asked for no certificate does now.
      await change(open, { tlsClientCa: ca.certFile });
      expect(await isServed(open.port, "a.example", "-sess_in", file("open"))).toBe(false);
      await change(open, { tlsClientCa: "" });
    }
    const ended = await closed.finish(10);
    const done = ended.filter(({ reason }) => reason === "done");
    expect(done.map((each) => startOf(each).peer)).toEqual(["alice", "alice", "alice", "alice"]);
    await open.finish(6);
  },
);

testTls(
  "tls: a limit of handshakes lets the others wait, and serves them when it is their turn",
  async () => {
    using destination = echoServer();
    const limit = ["--tls-handshakes-max", "1", "--preface-timeout", "20s"];
    await using it = await embed([...shows(certs().server), ...limit, destination.address]);
    using stalled = await client(it.port);
    stalled.send(await realHello());
    await until(
      () => it.status().preface.handshaking === 1 && stalled.receivedCount > 0,
      "the stalled one",
    );
    const waiting = Array.from({ length: 6 }, () => secureClient(it.port));
    let doneCount = 0;
    for (const each of waiting) void each.then(() => (doneCount += 1));
    // One of those that wait leaves.
    using left = await client(it.port);
    left.send(await realHello());
    await until(() => it.status().preface.open === 8, "all of them");
    left.reset();
    await until(() => it.status().preface.open === 7, "its leaving");
    expect([doneCount, it.status().preface.handshaking, left.receivedCount]).toEqual([0, 1, 0]);
    stalled.reset();
    const peers = await Promise.all(waiting);
    for (const peer of peers) {
      peer.send("hello");
      await until(() => peer.text === "hello", "the echo");
      peer.finish();
      await until(() => peer.over, "its end");
      peer.reset();
    }
    const ended = await it.finish(8);
    expect(ended.filter(({ reason }) => reason === "done").length).toBe(6);
  },
);

testTls("tls: a stalled handshake ends at its deadline, and the next one is served", async () => {
  using destination = echoServer();
  const limit = ["--tls-handshakes-max", "1", "--preface-timeout", "400ms"];
  await using it = await embed([...shows(certs().server), ...limit, destination.address]);
  using stalled = await client(it.port);
  stalled.send(await realHello());
  await until(() => it.status().preface.handshaking === 1, "the stalled one");
  await Bun.sleep(200); // so that the next one's deadline is later
  using peer = await secureClient(it.port);
  expect(stalled.over).toBe(true);
  peer.send("hello");
  await until(() => peer.text === "hello", "the echo");
  peer.finish();
  await until(() => peer.over, "its end");
  expect(verdicts(await it.finish(2)).toSorted()).toEqual(["done", "preface-timeout"]);
});

testTls(
  "tls: a client that waits for its turn to shake hands may not send more than it may",
  async () => {
    using destination = serve({});
    const limit = ["--tls-handshakes-max", "1", "--preface-timeout", "20s"];
    await using it = await embed([...shows(certs().server), ...limit, destination.address]);
    using stalled = await client(it.port);
    stalled.send(await realHello());
    await until(() => it.status().preface.handshaking === 1, "the stalled one");
    using greedy = await client(it.port);
    greedy.send(Buffer.concat([await realHello(), Buffer.alloc(1024 * 1024)]));
    await until(() => greedy.over, "its refusal");
    stalled.reset();
    const ended = await it.finish(2);
    expect(verdicts(ended)).toContain("tls-handshake: too-long");
  },
);
