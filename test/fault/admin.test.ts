// The admin side abused: whatever is done to it, clients are served as ever, and it answers again afterwards.

import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder } from "../e2e/program.ts";
import { CLI, client, fdCount, rssKiB, until, type Peer } from "../net.ts";
import { connectedUnix, libc, rawConnect, type Place } from "../raw.ts";
import { withSeed, type Random } from "../wait.ts";
import { fault, type Subject } from "./lab.ts";
import { ask, fateOf, rawClose, rawSend, sourceOf, teller, type Fate } from "./load.ts";

const token = "a-token-of-24-characters";
const idleCount = 1_000;
const bodySize = 100 * 1024 * 1024;
const chunkSize = 1024 * 1024;
const ready = /dashboard and API at http:\/\/(\S+)\//;

/** Clients who ask one after the other for as long as `body` lasts. @returns what became of them. */
async function meanwhile(port: number, body: () => Promise<void>): Promise<Map<Fate, number>> {
  const fates = new Map<Fate, number>();
  const ended = new AbortController();
  const clients = Array.from({ length: 8 }, async (_, first) => {
    for (let n = first; !ended.signal.aborted; n += 8) {
      const fate = fateOf(await ask(port, `ask ${n}`, { from: sourceOf(n) }), `ask ${n}`);
      fates.set(fate, (fates.get(fate) ?? 0) + 1);
    }
  });
  await body().finally(() => ended.abort());
  await Promise.all(clients);
  return fates;
}

/** So many connections that say nothing, or the beginning of a question; who is not taken yet tries again. */
async function hold(place: Place, count: number): Promise<number[]> {
  const fds: number[] = [];
  const isUnix = typeof place === "string" && place.startsWith("unix:");
  const connect = (): number => {
    if (!isUnix) return rawConnect(place, `${sourceOf(fds.length)}:0`);
    try {
      return connectedUnix(place.slice("unix:".length));
    } catch {
      return -1; // as many wait in the kernel as may
    }
  };
  for (let tries = 0; fds.length < count && tries < 2 * count; tries++) {
    const fd = connect();
    if (fd >= 0) fds.push(fd);
    if (fd < 0 || fds.length % 100 === 0) await Bun.sleep(1);
  }
  for (const fd of fds.slice(0, count / 4))
    rawSend(fd, Buffer.from("GET /status HTTP/1.1\r\nHost: l"));
  return fds;
}

const question = (line: string, ...headers: string[]): string =>
  `${[`${line} HTTP/1.1`, "Host: localhost", ...headers].join("\r\n")}\r\n\r\n`;

/** Asks for much and reads nothing of it. */
async function readSlowly(place: Place, path: string, count: number): Promise<Peer[]> {
  const peers: Peer[] = [];
  while (peers.length < count) {
    // Those who idle may have filled its backlog for the moment.
    const connect = () => client(place, { paused: true, keep: false }).catch(() => null);
    peers.push(await until(connect, "a connection"));
  }
  for (const peer of peers) peer.send(question(`GET ${path}`).repeat(200));
  return peers;
}

/** Sends what is no question, until it is told so or cut. */
async function babble(place: Place, random: Random): Promise<void> {
  using peer = await client(place, { keep: false });
  peer.send(random.bytes(10_000));
  peer.finish();
  await until(() => peer.over, "an end to it");
}

/** @returns how much of a body was taken until it was refused. */
async function sendLarge(place: Place, length: string): Promise<number> {
  using peer = await client(place);
  const type = "Content-Type: application/json";
  peer.send(question("POST /destinations", `Authorization: Bearer ${token}`, type, length));
  const chunk = Buffer.from(`${chunkSize.toString(16)}\r\n${" ".repeat(chunkSize)}\r\n`);
  const isRefused = () => peer.over || peer.text.includes("\r\n\r\n");
  let size = 0;
  for (; size < bodySize && !isRefused(); size += chunkSize) {
    peer.send(chunk);
    await until(() => peer.unsentCount === 0 || isRefused(), "the next piece is sent");
  }
  await until(isRefused, "an answer, or an end");
  expect(peer.text).toMatch(/^(?:$|HTTP\/1\.1 413 )/); // Bun itself says nothing
  return size;
}

/** Over a connection of its own: a pool would keep it open. */
async function statusOf(place: string, line: string, ...headers: string[]): Promise<number> {
  using peer = await client(place);
  peer.send(question(line, "Connection: close", ...headers));
  await until(() => peer.over, `an answer to ${line}`);
  return Number(peer.text.split(" ")[1] ?? 0);
}

async function expectAnswers(places: readonly string[]): Promise<void> {
  for (const place of places) {
    // One that is cut just then asks again, as anybody would.
    const answers = () => statusOf(place, "GET /metrics").catch(() => 0);
    expect(await until(answers, `${place} answers`)).toBe(200);
  }
}

function placesOf(balancer: Subject, path: string): readonly [tcp: string, unix: string] {
  return [ready.exec(balancer.stderr)?.[1] ?? "", `unix:${path}`];
}

fault(46, "the admin side abused: clients are served, memory stays", async (lab) => {
  await withSeed(async (random) => {
    using files = folder();
    using server = teller();
    const [path, tokenFile] = [join(files.path, "a.sock"), join(files.path, "token")];
    writeFileSync(tokenFile, token, { mode: 0o600 });
    const admin = ["--admin", `unix:${path}`, "--admin", "127.0.0.1:0"];
    const args = [...admin, "--admin-token-file", tokenFile, server.address];
    const balancer = await lab.start(args, { ready, lateCount: 16 });
    const places = placesOf(balancer, path);
    const memoryKiB = rssKiB(balancer.pid);
    const fates = await meanwhile(balancer.port, async () => {
      for (const place of places) {
        const idle = await hold(place, idleCount);
        expect(idle.length).toBe(idleCount);
        const slow = await readSlowly(place, "/metrics", 20);
        slow.push(...(await readSlowly(place, "/events", 20)));
        const wrong = Array.from({ length: 50 }, (_, n) =>
          statusOf(place, "POST /reload", `Authorization: Bearer ${token.slice(1)}${n}`),
        );
        expect(new Set(await Promise.all(wrong))).toEqual(new Set([401]));
        await Promise.all(Array.from({ length: 20 }, () => babble(place, random)));
        expect(await sendLarge(place, `Content-Length: ${bodySize}`)).toBeLessThan(bodySize / 4);
        await sendLarge(place, "Transfer-Encoding: chunked");
        await expectAnswers(places);
        for (const fd of idle) rawClose(fd, "end");
        for (const peer of slow) peer.reset();
      }
    });
    expect([...fates.keys()]).toEqual(["served"]);
    expect(rssKiB(balancer.pid) - memoryKiB).toBeLessThan(200 * 1024);
    await expectAnswers(places);
    const count = fates.get("served") ?? 0;
    expect(count).toBeGreaterThan(16); // each of them more than once
    const ended = await balancer.finish(count);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  });
});

fault(
  46,
  "the admin side takes every descriptor: it is cut, and clients are served",
  async (lab) => {
    using files = folder();
    using server = teller();
    const path = join(files.path, "a.sock");
    const limit = 320;
    const command = ["sh", "-c", `ulimit -n ${limit}; exec "$@"`, "sh", process.execPath, CLI];
    const admin = ["--admin", `unix:${path}`, "--admin", "127.0.0.1:0"];
    const balancer = await lab.start([...admin, server.address], { ready, command });
    const places = placesOf(balancer, path);
    const isTold = () => balancer.stderr.includes("descriptors run out: ");
    const before = fdCount(balancer.pid);
    const fates = await meanwhile(balancer.port, async () => {
      for (const place of places) {
        const idle = await hold(place, idleCount);
        // A port takes a connection when it has asked something (TCP_DEFER_ACCEPT); these never end it.
        const question = Buffer.from("GET /status HTTP/1.1\r\nHost: l");
        for (const fd of idle) rawSend(fd, question);
        await expectAnswers(places);
        await until(isTold, "it is told");
        for (const fd of idle) libc().close(fd);
      }
    });
    expect([...fates.keys()]).toEqual(["served"]);
    await until(() => fdCount(balancer.pid) <= before + 64, "its descriptors are free again");
    await expectAnswers(places);
    const ended = await balancer.finish(fates.get("served"));
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
  },
);
