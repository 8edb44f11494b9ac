// Destinations that refuse, swallow, die and come back: no client may notice while another one can serve it.

import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { blackhole, client, deadPort, echoServer, tagServer, until, type Peer } from "../net.ts";
import { embed, endings, inTurn, spawn, start, ways, waysInProcess } from "./ways.ts";

describe.each(ways)("failure, %s", (way) => {
  test("refused: one live destination among dead ones serves every client", async () => {
    using dead = deadPort();
    using alsoDead = deadPort();
    using server = tagServer("alive");
    const args = [`${dead.address},name=dead`, server.address, alsoDead.address];
    await using balancer = await start(way, args);
    const peers = await Promise.all(Array.from({ length: 40 }, () => client(balancer.port)));
    for (const peer of peers) peer.finish();
    await until(() => peers.every((peer) => peer.over), "all answers");
    expect(new Set(peers.map((peer) => peer.text))).toEqual(new Set(["alive"]));
    const ended = await balancer.finish(40);
    expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
    expect(new Set(ended.map((each) => each.destination))).toEqual(new Set([server.address]));
    expect(ended.some((each) => each.tried.includes("dead"))).toBe(true);
  });

  test("swallowed: a connect without an answer ends at its deadline, the next destination serves", async () => {
    using hole = blackhole();
    using server = tagServer("alive");
    const options = ["--connect-timeout", "300ms"];
    const destinations = inTurn(way, hole.address, server.address);
    await using balancer = await start(way, [...options, ...destinations]);
    using peer = await client(balancer.port);
    peer.finish();
    await until(() => peer.over, "the answer");
    expect(peer.text).toBe("alive");
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ reason: "done", tried: ["first"], destination: "second" });
    expect(ended?.totalMs).toBeGreaterThanOrEqual(300);
    expect(ended?.totalMs).toBeLessThan(5_000); // the default
  });

  test("swallowed: a client that leaves while its destination is dialed", async () => {
    using hole = blackhole();
    await using balancer = await start(way, ["--slots", "1", hole.address]);
    using peer = await client(balancer.port);
    await balancer.when(({ destinations }) => destinations[0]?.used === 1, "its dial");
    using witness = await client(balancer.port); // accepted later: so the one before it is dialing
    witness.reset();
    await until(() => balancer.ended.length === 1, "the witness has left");
    peer.reset();
    const ended = await balancer.finish(2);
    expect(endings(ended)).toEqual(["client-left CC client", "client-left CQ client"]);
  });
});

describe.each(waysInProcess)("failure, %s", (way) => {
  test("all down: who waits is served when one is up again, and sees no error", async () => {
    const dead = deadPort();
    using alsoDead = deadPort();
    await using balancer = await embed(["--slots", "5", dead.address, alsoDead.address], way);
    const peers = await Promise.all(Array.from({ length: 30 }, () => client(balancer.port)));
    for (const [i, peer] of peers.entries()) peer.send(`client ${i}`);
    const outCount = () => balancer.status().destinations.map((each) => each.outCount);
    await until(() => outCount().every((count) => count > 0), "both are out");
    await until(() => balancer.status().queue.waiting === 30, "all wait");
    expect(peers.filter((peer) => peer.over)).toEqual([]);
    dead[Symbol.dispose]();
    using server = echoServer(dead.address);
    for (const peer of peers) peer.finish();
    await until(() => peers.every((peer) => peer.over), "all answers");
    expect(peers.map((peer) => peer.text)).toEqual(peers.map((_, i) => `client ${i}`));
    const ended = await balancer.finish(30); // also the time in which the last events come from the threads
    expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
    const kinds = balancer.events.map((event) => event.kind);
    expect(kinds.filter((kind) => kind === "destination-out").length).toBeGreaterThanOrEqual(2);
    expect(kinds.filter((kind) => kind === "destination-back").length).toBe(1);
    expect(server.peers.length).toBe(30);
  });

  test("backup: serves while the primary is out, and not after", async () => {
    using dead = deadPort();
    using backup = tagServer("backup");
    await using balancer = await embed([dead.address, `${backup.address},backup`], way);
    const ask = async () => {
      using peer = await client(balancer.port);
      peer.finish();
      await until(() => peer.over, "the answer");
      return peer.text;
    };
    expect([await ask(), await ask()]).toEqual(["backup", "backup"]);
    dead[Symbol.dispose]();
    using _primary = tagServer("primary", dead.address);
    let count = 2;
    await until(async () => (count++, (await ask()) === "primary"), "the primary is tried again");
    for (let i = 0; i < 10; i++) expect(await ask()).toBe("primary");
    await balancer.finish(count + 10);
  });
});

interface Killable extends Disposable {
  readonly name: string;
  readonly port: number;
  kill(): void;
}

/** A destination in a process of its own. */
async function destination(name: string): Promise<Killable> {
  const command = [process.execPath, join(import.meta.dir, "destination.ts"), name];
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  const { value } = await child.stdout.getReader().read();
  const kill = () => child.kill("SIGKILL");
  return { name, port: Number(new TextDecoder().decode(value)), kill, [Symbol.dispose]: kill };
}

test("killed under load: only clients joined to the killed destination notice", async () => {
  const slots = 8;
  const names = ["a", "b", "c", "d"];
  const all = await Promise.all(names.map((name) => destination(name)));
  using _a = all[0];
  using _b = all[1];
  using _c = all[2];
  using _d = all[3];
  const destinations = all.map(({ name, port }) => `127.0.0.1:${port},name=${name}`);
  await using balancer = await spawn(["--slots", String(slots), ...destinations]);
  const failed: Peer[] = [];
  let servedCount = 0;
  let wanted = 1_500;
  const ask = async () => {
    using peer = await client(balancer.port);
    await until(() => peer.over || peer.text.endsWith("\n"), "the name");
    peer.send("request\n");
    peer.finish();
    await until(() => peer.over, "the answer");
    if (/^[abcd]\nrequest\n$/.test(peer.text)) servedCount += 1;
    else failed.push(peer);
  };
  const load = async () => {
    while (wanted-- > 0) await ask();
  };
  const done = Promise.all(Array.from({ length: 48 }, load));
  await until(() => servedCount > 500, "500 answers");
  all[1]?.kill();
  await done;
  expect(servedCount + failed.length).toBe(1_500);
  expect(failed.length).toBeLessThanOrEqual(slots);
  // No name heard, or that of the killed one.
  for (const peer of failed) expect(peer.text).toMatch(/^(b\n(request\n?)?)?$/);
  const ended = await balancer.finish(1_500);
  // The kernel ends what a killed process leaves by a reset or, when all was read, by an end.
  const whole = "b\nrequest\n".length;
  const short = ended.filter((each) => each.bytesDown !== whole);
  expect(short.length).toBe(failed.length);
  const cut = ended.filter((each) => each.reason !== "done" || each.bytesDown !== whole);
  expect(cut.filter((each) => each.destination !== "b")).toEqual([]);
  expect(ended.some((each) => each.reason === "done" && each.tried.includes("b"))).toBe(true);
});
