// Where the balancer listens and dials: IPv4, IPv6, both at once, names, unix sockets.

import { describe, expect, test } from "bun:test";
import { existsSync, lstatSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CLI, client, deadPort, echoServer, sink, tagServer, unixPlace, until } from "../net.ts";
import { folder, run } from "./program.ts";
import { byCommandLine, embed, portably, refused, spawn, type Spawned, type Way } from "./ways.ts";

/** Sends a line, gets it back, and ends in order. */
async function echo(place: string | number, from?: string): Promise<void> {
  using peer = await client(place, from === undefined ? {} : { from });
  peer.send("through all of it");
  peer.finish();
  await until(() => peer.over, "the echo");
  expect([peer.text, peer.wasReset]).toEqual(["through all of it", false]);
}

const pathOf = (unix: string) => unix.slice("unix:".length);

describe("address", () => {
  const families = [
    { listen: "127.0.0.1:0", destination: "127.0.0.1:0", bound: /^127\.0\.0\.1:[1-9]\d*$/ },
    { listen: "[::1]:0", destination: "127.0.0.1:0", bound: /^\[::1\]:[1-9]\d*$/ },
    { listen: "127.0.0.1:0", destination: "[::1]:0", bound: /^127\.0\.0\.1:[1-9]\d*$/ },
    { listen: "[::1]:0", destination: "[::1]:0", bound: /^\[::1\]:[1-9]\d*$/ },
  ];
  test.each(families)(
    "address: $listen in front of $destination, its port is printed",
    async (row) => {
      using server = echoServer(row.destination);
      await using balancer = await spawn([server.address], { listen: row.listen });
      expect(balancer.address).toMatch(row.bound);
      await echo(balancer.address);
      const [ended] = await balancer.finish(1);
      expect(ended?.listener).toBe(balancer.address);
      expect(ended?.client).toMatch(row.bound);
      expect(ended?.destination).toBe(server.address);
    },
  );

  test.each(["0", "[::]:0"])("address: %s takes IPv6 and IPv4 on one port", async (listen) => {
    using server = echoServer();
    await using balancer = await spawn([server.address], { listen });
    expect(balancer.address).toMatch(/^\[::\]:[1-9]\d*$/);
    await echo(`127.0.0.1:${balancer.port}`);
    await echo(`[::1]:${balancer.port}`);
    const ended = await balancer.finish(2);
    expect(ended[0]?.client).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(ended[1]?.client).toMatch(/^\[::1\]:\d+$/);
  });

  test("address: [::1] alone does not take IPv4", async () => {
    using server = echoServer();
    await using balancer = await spawn([server.address], { listen: "[::1]:0" });
    expect(client(`127.0.0.1:${balancer.port}`)).rejects.toThrow();
    await balancer.finish(0);
  });

  test("address: a port alone as destination is localhost", async () => {
    using server = tagServer("at localhost");
    await using balancer = await spawn([`${server.port}`]);
    using peer = await client(balancer.port);
    peer.finish();
    await until(() => peer.over, "the answer");
    expect(peer.text).toBe("at localhost");
    await balancer.finish(1);
  });

  test("address: a port in use is one line with address and cause, exit 1", async () => {
    using server = sink();
    const { code, stderr } = await refused([server.address, "127.0.0.1:1"]);
    expect(code).toBe(1);
    expect(stderr.trimEnd().split("\n").length).toBe(1);
    expect(stderr).toContain(`cannot listen on ${server.address}: Address already in use`);
  });
});

describe("unix", () => {
  const sides: { way: Way; from: "tcp" | "unix"; to: "tcp" | "unix" }[] = [
    { way: byCommandLine, from: "unix", to: "unix" },
    { way: byCommandLine, from: "tcp", to: "unix" },
    { way: portably, from: "tcp", to: "unix" },
    { way: byCommandLine, from: "unix", to: "tcp" },
  ];
  test.each(sides)("unix: $from in front of $to, $way", async ({ way, from, to }) => {
    using server = echoServer(to === "unix" ? unixPlace() : "127.0.0.1:0");
    const listen = from === "unix" ? unixPlace() : "127.0.0.1:0";
    await using balancer =
      way === portably
        ? await embed([server.address], way)
        : await spawn([server.address], { listen });
    for (let i = 0; i < 20; i++) await echo(balancer.address);
    const ended = await balancer.finish(20);
    expect(ended[0]?.destination).toBe(server.address);
    if (from === "unix") {
      expect([balancer.address, balancer.port]).toEqual([listen, 0]);
      expect(ended[0]?.client).toBe("unix:");
      expect(existsSync(pathOf(listen))).toBe(false); // removed at the stop
    }
  });

  test("unix: a stale file is replaced, that of a live one is refused and stays", async () => {
    const listen = unixPlace();
    using server = echoServer();
    const killed: Spawned = await spawn([server.address], { listen });
    await killed.process.stop("SIGKILL");
    expect(lstatSync(pathOf(listen)).isSocket()).toBe(true);

    await using balancer = await spawn([server.address], { listen });
    await echo(listen);
    const { code, stderr } = await refused([listen, server.address]);
    expect(code).toBe(1);
    expect(stderr).toContain(`cannot listen on ${listen}: Address already in use`);
    await echo(listen);
    // The look whether somebody is there was a connection too.
    await until(() => balancer.ended.length >= 3, "three lines");
    const ended = await balancer.finish(3);
    expect(ended.filter((each) => each.bytesUp > 0).length).toBe(2);
  });

  test("unix: a file that is no socket is not touched, exit 1", async () => {
    using home = folder();
    const path = join(home.path, "notes");
    writeFileSync(path, "mine");
    const { code, stderr } = await refused([`unix:${path}`, "127.0.0.1:1"]);
    expect(code).toBe(1);
    expect(stderr).toContain(`cannot listen on unix:${path}`);
    expect(lstatSync(path).size).toBe(4);
  });

  test("unix: a destination that is not there yet", async () => {
    const place = unixPlace();
    await using balancer = await spawn([place]);
    using peer = await client(balancer.port);
    await until(() => balancer.process.stderr.includes("is out: ENOENT"), "it is out");
    using _server = tagServer("now it is", place);
    await until(() => peer.ended, "the answer");
    expect(peer.text).toBe("now it is");
    peer.finish();
    await balancer.finish(1);
  });
});

/** A hosts file of our own needs a namespace of our own; not everywhere may one have it. */
async function mayHaveHosts(): Promise<boolean> {
  if (Bun.which("unshare") === null) return false;
  return run(["unshare", "-rm", "mount", "--bind", "/etc/hosts", "/etc/hosts"]).then(
    () => true,
    () => false,
  );
}

const hosts = await mayHaveHosts();
if (!hosts) console.log("skipped: names with two addresses (unshare -rm is not allowed)");

describe.skipIf(!hosts)("names", () => {
  /** The balancer where `twofold` and `localhost` are ::1 and 127.0.0.1. */
  async function spawnThere(args: readonly string[], listen: string, path: string) {
    const file = join(path, "hosts");
    writeFileSync(file, "::1 localhost twofold\n127.0.0.1 localhost twofold\n");
    const script = 'mount --bind "$0" /etc/hosts && exec "$@"';
    const command = ["unshare", "-rm", "sh", "-c", script, file, process.execPath, CLI];
    return spawn(args, { listen, command });
  }

  test.each(["127.0.0.1:0", "[::1]:0"])(
    "names: of two addresses only that of %s is served",
    async (place) => {
      using home = folder();
      using server = echoServer(place);
      const destination = `twofold:${server.port}`;
      await using balancer = await spawnThere([destination], "127.0.0.1:0", home.path);
      for (let i = 0; i < 10; i++) await echo(balancer.port);
      const ended = await balancer.finish(10);
      expect(new Set(ended.map((each) => each.destination))).toEqual(new Set([destination]));
      expect(ended.flatMap((each) => each.tried)).toEqual([]); // one address of two is no failure
    },
  );

  test("names: localhost:0 listens on both addresses of the name, on one port", async () => {
    using home = folder();
    using server = echoServer();
    await using balancer = await spawnThere([server.address], "localhost:0", home.path);
    await until(() => balancer.process.stderr.match(/listening on/g)?.length === 2, "two lines");
    expect(balancer.process.stderr).toContain(`listening on [::1]:${balancer.port}`);
    await echo(`127.0.0.1:${balancer.port}`);
    await echo(`[::1]:${balancer.port}`);
    const ended = await balancer.finish(2);
    const listeners = ended.map((each) => each.listener);
    expect(listeners).toEqual([`127.0.0.1:${balancer.port}`, `[::1]:${balancer.port}`]);
  });
});

test("address: a destination of another family that refuses is told by its address", async () => {
  using dead = deadPort("[::1]");
  using server = tagServer("alive");
  await using balancer = await spawn([dead.address, server.address]);
  using peer = await client(balancer.port);
  peer.finish();
  await until(() => peer.over, "the answer");
  expect(peer.text).toBe("alive");
  const [ended] = await balancer.finish(1);
  expect(ended?.tried).toEqual([dead.address]);
});
