// Listening descriptors that systemd has opened, and hands to us.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { openDescriptor, type ListeningDescriptor } from "../../src/engine/listen.ts";
import { inherited } from "../../src/inherited.ts";
import { libc } from "../../src/linux/libc.ts";
import { pathOf, testWith, freePort } from "../e2e/program.ts";
import { CLI, client, echoServer, rawPipe, spawnBalancer, unixPlace, until } from "../net.ts";
import { Chain } from "./chain.ts";

setDefaultTimeout(30_000);

function c(): NonNullable<typeof libc> {
  if (libc === null) throw new Error("this takes the C library of Linux");
  return libc;
}

/** As systemd starts a service: the variables name the process itself. */
const activated = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", process.execPath, CLI];

function opened(...places: readonly string[]): ListeningDescriptor[] & Disposable {
  const all = places.map((place) =>
    openDescriptor(
      c(),
      place.startsWith("unix:") ? { path: place.slice(5) } : { ip: place, port: 0 },
      16,
    ),
  );
  return Object.assign(all, {
    [Symbol.dispose]: () => {
      for (const each of all) each.close();
    },
  });
}

const spawnWith = async (
  given: readonly ListeningDescriptor[],
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Chain> => {
  const count = { LISTEN_FDS: String(given.length) };
  const fds = given.map(({ fd }) => fd);
  const options = { command: activated, given: fds, env: { ...count, ...env } };
  return new Chain(await spawnBalancer(args, options));
};

async function echoes(place: number | string): Promise<void> {
  using peer = await client(place);
  peer.send("hello");
  await until(() => peer.text === "hello", "the echo");
}

test.each([
  ["one thread", []],
  ["threads", ["--threads", "2"]],
  ["the libc engine", ["--engine", "libc"]],
] as const)(
  "activation: the port is systemd's, and handed on by upgrades, %s",
  async (_, options) => {
    using server = echoServer();
    using given = opened("127.0.0.1");
    const address = given[0]?.address ?? "";
    // While systemd holds it nobody could bind it.
    await using chain = await spawnWith(given, [...options, address, server.address]);
    expect(chain.first.address).toBe(address);
    await echoes(chain.port);
    await chain.upgrade();
    await chain.gone(chain.first.pid);
    await echoes(chain.port);
    await chain.finish();
    expect(chain.stderr).not.toContain("warning");
  },
);

test("activation: the file of systemd's unix socket stays, also after upgrades", async () => {
  using server = echoServer();
  const place = unixPlace();
  const path = place.slice("unix:".length);
  using given = opened(place);
  await using chain = await spawnWith(given, [place, server.address]);
  await echoes(place);
  await chain.upgrade();
  await chain.gone(chain.first.pid);
  await chain.finish();
  expect(existsSync(path)).toBe(true);
});

test("activation: what nobody wants is told and closed, what is missing is opened", async () => {
  using server = echoServer();
  using given = opened("127.0.0.1", "127.0.0.2");
  using pipe = rawPipe();
  const port = freePort();
  const wanted = `127.0.0.3:${port}`;
  const all = [...given, { ...given[0], fd: pipe.writeFd } as ListeningDescriptor]; // no socket at all
  const env = { LISTEN_FDNAMES: "web:web:log" };
  await using chain = await spawnWith(all, [wanted, server.address], env);
  expect(chain.first.address).toBe(wanted);
  const words = /closed\n[^]*closed\n/;
  await until(() => words.test(chain.stderr), "both warnings");
  expect(chain.stderr).toContain("descriptor 5 (log): is not a socket");
  for (const { address } of given) {
    expect(chain.stderr).toContain(`a descriptor that listens on ${address} is given`);
  }
  await chain.finish();
});

test("activation: variables meant for another process are left alone, and no child sees them", () => {
  const environment = { LISTEN_PID: "1", LISTEN_FDS: "1", LISTEN_FDNAMES: "a", OTHER: "stays" };
  const warnings: string[] = [];
  const inheritance = inherited(environment, c(), (message) => warnings.push(message));
  expect(environment).toEqual({ OTHER: "stays" } as never);
  expect([warnings, inheritance.closeRest(c())]).toEqual([[], []]);
});

test.each(["many", "-1", "99999"])("activation: LISTEN_FDS=%s is told and not used", (count) => {
  const environment = { LISTEN_PID: String(process.pid), LISTEN_FDS: count };
  const warnings: string[] = [];
  const inheritance = inherited(environment, c(), (message) => warnings.push(message));
  expect(warnings.length).toBe(1);
  expect(warnings[0]).toContain("none is used");
  expect(inheritance.hasPredecessor).toBe(false);
});

test("activation: without libc it is said that nothing can be taken", () => {
  const environment = { LISTEN_PID: String(process.pid), LISTEN_FDS: "1" };
  const warnings: string[] = [];
  inherited(environment, null, (message) => warnings.push(message));
  expect(warnings).toEqual([
    "listening descriptors are given; without the C library none can be taken",
  ]);
});

testWith({ "systemd-socket-activate": "systemd" })(
  "activation: by systemd's own program, the first client included",
  async () => {
    using server = echoServer();
    const port = freePort();
    const place = `127.0.0.1:${port}`;
    const child = Bun.spawn(
      [
        pathOf("systemd-socket-activate"),
        "-l",
        place,
        process.execPath,
        CLI,
        place,
        server.address,
      ],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    try {
      const connected = () =>
        client(port).then(
          (peer) => peer,
          () => null,
        );
      using peer = await until(connected, "the port that systemd opens");
      peer.send("first");
      await until(() => peer.text === "first", "the echo");
      peer.finish();
      await until(() => peer.over, "its end");
    } finally {
      child.kill();
    }
    expect(await child.exited).toBe(0); // it has become the balancer
    expect(await new Response(child.stderr).text()).toContain(`listening on ${place}`);
  },
);
