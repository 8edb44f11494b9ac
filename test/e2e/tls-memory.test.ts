// What thousands of TLS connections leave behind, good ones and failed ones: nothing.

import { expect, setDefaultTimeout } from "bun:test";
import { certs } from "../certs.ts";
import { client, echoServer, fdCount, rssKiB, until } from "../net.ts";
import { realHello, secureClient, secureEcho, shows, testTls } from "./secure.ts";
import { spawn, toEnded, type Spawned } from "./ways.ts";

setDefaultTimeout(60_000);

const KiBPerMiB = 1_024;
/** What the collector has not taken yet differs by so much; a hello that stays is 2,000 times 2 KiB and more. */
const growthMaxMiB = 24;

/** So many, one after the other, each several at a time. */
async function many(count: number, once: () => Promise<void>, atOnce = 8): Promise<void> {
  let left = count;
  const run = async (): Promise<void> => {
    while (left-- > 0) await once();
  };
  await Promise.all(Array.from({ length: atOnce }, run));
}

/** A connection with a word each way. */
async function word(port: number): Promise<void> {
  using peer = await secureClient(port);
  peer.send("hello");
  peer.finish();
  await until(() => peer.over, "the end");
  expect(peer.text).toBe("hello");
}

/** Descriptors, once nothing is closed any more. */
async function settled(pid: number, expected: number): Promise<void> {
  await until(() => fdCount(pid) <= expected, `${expected} descriptors again`);
}

testTls("tls: 2,000 connections leave no descriptor and no memory", async () => {
  using plain = echoServer();
  using secure = secureEcho();
  const out = `${secure.address},tls,tls-ca=${certs().ca.certFile}`;
  await using it = await spawn([...shows(certs().server), plain.address, out]);
  const { pid } = it.process;
  const before = fdCount(pid);
  await many(600, () => word(it.port)); // code is compiled, heaps find their size
  const startKiB = rssKiB(pid);
  await many(1_400, () => word(it.port));
  await settled(pid, before);
  expect((rssKiB(pid) - startKiB) / KiBPerMiB).toBeLessThan(growthMaxMiB);
  const ended = await it.finish(2_000);
  expect(new Set(ended.map(({ reason }) => reason))).toEqual(new Set(["done"]));
  expect(secure.peers.length).toBeGreaterThan(500);
});

testTls("tls: failed handshakes leave no descriptor and no memory", async () => {
  using destination = echoServer();
  const { server, ca, foreignClient } = certs();
  const how = [...shows(server), "--tls-client-ca", ca.certFile];
  await using it = await spawn([...how, destination.address]);
  const { pid } = it.process;
  const before = fdCount(pid);
  const hello = await realHello();
  const raw = (bytes: Uint8Array) => async (): Promise<void> => {
    using peer = await client(it.port);
    peer.send(bytes);
    await until(() => peer.over, "its refusal");
  };
  const half = async (): Promise<void> => {
    using peer = await client(it.port);
    peer.send(hello.subarray(0, 60));
    peer.finish();
    await until(() => peer.over, "its end");
  };
  const gone = async (): Promise<void> => {
    using peer = await client(it.port);
    peer.send(hello);
    await until(() => peer.receivedCount > 0, "the server's hello");
  };
  const bad = async (): Promise<void> => {
    using peer = await secureClient(it.port, { pair: foreignClient }).catch(() => null);
    if (peer !== null) await until(() => peer.over, "its refusal");
  };
  const none = async (): Promise<void> => {
    using peer = await secureClient(it.port).catch(() => null);
    if (peer !== null) await until(() => peer.over, "its refusal");
  };
  const kinds = [
    raw(Buffer.from("GET / HTTP/1.1\r\n\r\n")),
    raw(Buffer.concat([hello, Buffer.from("GET / HTTP/1.1\r\n\r\n")])),
    half,
    gone,
    bad,
    none,
  ];
  const round = async (count: number): Promise<void> => {
    for (const kind of kinds) await many(count, kind);
    await settled(pid, before);
  };
  await round(20);
  const startKiB = rssKiB(pid);
  await round(60);
  expect((rssKiB(pid) - startKiB) / KiBPerMiB).toBeLessThan(growthMaxMiB);
  await expectEnds(it, 80 * kinds.length);
  expect(destination.peers.length).toBe(0);
});

/** Of refused clients not each has a line; how many have none is told. */
async function expectEnds({ process: { stdout }, process }: Spawned, count: number): Promise<void> {
  expect(await process.stop()).toBe(0);
  const untold = [
    ...process.stderr.matchAll(/(\d+) refused clients have no access line: tls-handshake/g),
  ];
  const untoldCount = untold.reduce((sum, [, text]) => sum + Number(text), 0);
  expect(stdout.length + untoldCount).toBe(count);
  const reasons = new Set(stdout.map((line) => toEnded(line).reason));
  expect(reasons).toEqual(new Set(["tls-handshake", "client-left"]));
}
