// Health: what checks and connects find out about destinations, and what becomes of clients meanwhile.

import { describe, expect, test } from "bun:test";
import { client, deadPort, echoServer, serve, tagServer, until, type Peer } from "../net.ts";
import { embed, endings, spawn, waysInProcess, type InProcess } from "./ways.ts";

/** Checks often; down at the first failure, back at the first pass. */
const eager = ["--health-interval", "40ms", "--health-fall", "1", "--health-rise", "1"];

function stateOf(balancer: InProcess, row = 0): string {
  return balancer.status().destinations[row]?.state ?? "none";
}

async function ask(port: number): Promise<string> {
  using peer = await client(port);
  peer.send("hello");
  peer.finish();
  await until(() => peer.over, "the answer");
  return peer.text;
}

function kindsOf(balancer: InProcess): string[] {
  return balancer.events.map((event) => event.kind).filter((kind) => kind.startsWith("dest"));
}

describe.each(waysInProcess)("health, %s", (way) => {
  test("checks: a destination goes down and comes back without a client, each told once", async () => {
    const dead = deadPort();
    await using balancer = await embed([...eager, dead.address], way);
    await until(() => stateOf(balancer) === "down", "down");
    await until(
      () => balancer.status().destinations[0]?.checkFault === "ECONNREFUSED",
      "the cause",
    );
    expect(balancer.events).toContainEqual({
      kind: "destination-down",
      name: dead.address,
      cause: "ECONNREFUSED",
    });
    using waiting = await client(balancer.port);
    waiting.send("hello");
    waiting.finish();
    await until(() => balancer.status().queue.waiting === 1, "who waits");
    dead[Symbol.dispose]();
    using _server = echoServer(dead.address);
    await until(() => waiting.over, "the answer");
    expect(waiting.text).toBe("hello");
    expect(stateOf(balancer)).toBe("up");
    const [ended] = await balancer.finish(1);
    expect(ended).toMatchObject({ reason: "done", tried: [] }); // nobody dialed it while it was down
    expect(kindsOf(balancer)).toEqual(["destination-down", "destination-back"]);
  });

  test("checks: open pairs of a destination that is down stay, or are closed where that is asked for", async () => {
    for (const onDown of ["keep", "close"]) {
      let answers = true;
      using server = serve({
        onData: (peer, chunk) => {
          if (!chunk.includes("GET")) return peer.send(chunk);
          if (answers) peer.send("HTTP/1.1 200 OK\r\n\r\n");
          else peer.send("HTTP/1.1 503 Not now\r\n\r\n");
          peer.finish();
        },
        onEnd: (peer) => peer.finish(),
      });
      const options = ["--health-http", "/healthz", "--on-down", onDown, server.address];
      await using balancer = await embed([...eager, ...options], way);
      using peer = await client(balancer.port);
      peer.send("hello");
      await until(() => peer.text === "hello", "the echo");
      answers = false;
      await until(() => stateOf(balancer) === "down", "down");
      expect(balancer.status().destinations[0]?.checkFault).toBe("HTTP 503");
      if (onDown === "keep") {
        peer.send("!");
        await until(() => peer.text === "hello!", "the echo goes on");
        peer.finish();
      }
      await until(() => peer.over, "its end");
      const [ended] = await balancer.finish(1);
      const expected = onDown === "keep" ? "done -- client" : "destination-down DD balancer";
      expect([endings(ended === undefined ? [] : [ended])[0], peer.wasReset]).toEqual([
        expected,
        onDown === "close",
      ]);
    }
  });

  test("connects: a destination that accepts and resets is put out, and its clients are served elsewhere", async () => {
    using crashing = serve({ onOpen: (peer) => peer.reset() });
    using server = echoServer();
    await using balancer = await embed([crashing.address, server.address], way);
    let count = 0;
    const texts: string[] = [];
    await until(async () => {
      count += 1;
      using peer = await client(balancer.port);
      await until(() => server.openCount > 0, "its connection"); // it says nothing before
      peer.send("hello");
      peer.finish();
      await until(() => peer.over, "the answer");
      texts.push(peer.text);
      await until(() => server.openCount === 0, "its end");
      return balancer.status().destinations[0]?.outCount === 1;
    }, "it is out");
    expect(new Set(texts)).toEqual(new Set(["hello"]));
    expect(balancer.status().destinations[0]?.lastFault).toBe("ECONNRESET");
    await balancer.finish(count);
  });

  test("backup: serves while the checks of the primary fail, and not after", async () => {
    const dead = deadPort();
    using backup = tagServer("backup");
    await using balancer = await embed([...eager, dead.address, `${backup.address},backup`], way);
    await until(() => stateOf(balancer) === "down", "down");
    expect(await ask(balancer.port)).toBe("backup");
    dead[Symbol.dispose]();
    using _primary = tagServer("primary", dead.address);
    await until(() => stateOf(balancer) === "up", "up");
    expect(await ask(balancer.port)).toBe("primary");
    await balancer.finish(2);
  });

  test("slow start: a destination that is back gets one client, then more, then all its slots", async () => {
    const dead = deadPort();
    const options = ["--slots", "8", "--slow-start", "2s", "--health-rise", "1"];
    await using balancer = await embed([...eager, ...options, dead.address], way);
    await until(() => stateOf(balancer) === "down", "down");
    const peers = await Promise.all(Array.from({ length: 20 }, () => client(balancer.port)));
    await until(() => balancer.status().queue.waiting === 20, "all wait");
    dead[Symbol.dispose]();
    using back = serve({ onEnd: (peer) => peer.finish() }, dead.address);
    const seen = new Set<number>();
    await until(() => {
      const [destination] = balancer.status().destinations;
      if (destination === undefined || destination.state !== "up") return false;
      expect(destination.used).toBeLessThanOrEqual(destination.slotsNow);
      seen.add(destination.slotsNow);
      return destination.used === 8;
    }, "all slots are in use");
    expect(seen.size).toBeGreaterThan(3); // in steps
    await until(() => back.openCount >= 8, "they are there");
    for (const peer of peers) peer.finish();
    await until(() => peers.every((peer) => peer.over), "all ends");
    await balancer.finish(20);
  });
});

test("health: checks end by FIN, so that no server sees a reset, also when it speaks first", async () => {
  const checked: Peer[] = [];
  using server = serve({
    onOpen: (peer) => {
      checked.push(peer);
      peer.send("220 ready\r\n");
    },
    onEnd: (peer) => peer.finish(),
  });
  await using balancer = await embed([...eager, server.address]);
  await until(() => checked.filter((peer) => peer.closed).length >= 5, "five checks");
  expect(checked.filter((peer) => peer.wasReset)).toEqual([]);
  expect(balancer.status().accepted).toBe(0);
  await balancer.finish(0);
});

test("health: no check where clients have just been served, one soon after they stop", async () => {
  using server = echoServer();
  await using balancer = await embed(["--health-interval", "500ms", server.address]);
  await until(() => server.peers.length > 0, "the first check");
  const checks = () => server.peers.filter((peer) => peer.receivedCount === 0).length;
  const before = checks();
  const until2s = performance.now() + 2_000;
  let count = 0;
  let longestGapMs = 0;
  for (let last = performance.now(); last < until2s;) {
    expect(await ask(balancer.port)).toBe("hello");
    count += 1;
    const now = performance.now();
    longestGapMs = Math.max(longestGapMs, now - last);
    last = now;
  }
  if (longestGapMs < 200) expect(checks() - before).toBe(0); // else the machine stood still
  const after = checks();
  await until(() => checks() > after, "a check again");
  await balancer.finish(count);
});

test("health: send and expect, by the command line, and what is told of it", async () => {
  let word = "PONG";
  using server = serve({
    onData: (peer) => peer.send(`-- ${word}\r\n`),
    onEnd: (peer) => peer.finish(),
  });
  const options = [...eager, "--health-send", "PING\\r\\n", "--health-expect", "\\x50ONG"];
  await using balancer = await spawn([...options, `${server.address},name=db`]);
  const { process } = balancer;
  await until(() => server.peers.some((peer) => peer.text === "PING\r\n"), "the question");
  word = "BUSY";
  await until(() => process.stderr.includes("destination db is down: health check: "), "down");
  word = "PONG";
  await until(() => process.stderr.includes("destination db is back"), "back");
  await balancer.finish(0);
  expect(process.stderr.match(/is down|is back/g)).toEqual(["is down", "is back"]);
});

test("health: an HTTP check names the destination as RFC 9110 has it, in brackets and with its port", async () => {
  const asked: string[] = [];
  const answer = (peer: Peer) => {
    if (!peer.text.endsWith("\r\n\r\n")) return;
    asked.push(/^Host: (.*)\r$/m.exec(peer.text)?.[1] ?? "");
    peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    peer.finish();
  };
  using four = serve({ onData: answer });
  using six = serve({ onData: answer }, "[::1]:0");
  const places = [four.address, `[::1]:${six.port}`];
  await using balancer = await embed([...eager, "--health-http", "/", ...places]);
  const wanted = [`127.0.0.1:${four.port}`, `[::1]:${six.port}`];
  await until(() => new Set(asked).size >= 2, "checks of both");
  expect([...new Set(asked)].toSorted()).toEqual(wanted.toSorted());
  await balancer.finish(0);
});

test("health: clients say nothing of another port that is checked", async () => {
  using server = echoServer();
  const dead = deadPort();
  const place = `${server.address},health-port=${dead.port}`;
  await using balancer = await embed([
    ...eager,
    "--health-interval",
    "200ms",
    "--health-fall",
    "2",
    place,
  ]);
  let count = 0;
  await until(async () => {
    const isDown = () => stateOf(balancer) === "down";
    if (isDown()) return true;
    using peer = await client(balancer.port);
    count += 1;
    peer.send("hello");
    peer.finish();
    await until(() => peer.over || isDown(), "the answer"); // who comes as it goes down may wait
    if (peer.over) expect(peer.text).toBe("hello");
    return isDown();
  }, "down, whatever clients see");
  await balancer.finish(count);
});
