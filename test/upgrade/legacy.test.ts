// What a successor is left besides descriptors: the modes of destinations, and admin sockets, of its own program alone.

import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ProgramStatus } from "../../src/control/steering.ts";
import { isLeft, legacyOf, takeLegacy } from "../../src/legacy.ts";
import { folder } from "../e2e/program.ts";
import { client, spawnBalancer, tagServer, until } from "../net.ts";
import { Chain, startChain } from "./chain.ts";

setDefaultTimeout(30_000);

async function ask(socket: string, method: string, path: string): Promise<unknown> {
  // Over a connection of its own: one that was kept would be to the process that was here before.
  const answer = await fetch(`http://localhost${path}`, {
    method,
    unix: socket,
    keepalive: false,
  });
  return answer.json();
}

async function pidAt(socket: string): Promise<number> {
  return ((await ask(socket, "GET", "/status")) as ProgramStatus).pid;
}

/** Destinations of all listeners, `a drain`. */
async function modesAt(socket: string): Promise<readonly string[]> {
  const { listeners } = (await ask(socket, "GET", "/status")) as ProgramStatus;
  return listeners.flatMap(({ destinations }) =>
    destinations.map(({ name, mode }) => `${name} ${mode}`),
  );
}

async function tagAt(port: number): Promise<string> {
  using peer = await client(port);
  await until(() => peer.over, "its end");
  return peer.text;
}

test.each([
  ["one thread", []],
  ["threads and the libc engine", ["--threads", "2", "--engine", "libc"]],
] as const)(
  "legacy: who drains or is in maintenance stays so over upgrades, %s",
  async (_, more) => {
    using home = folder();
    using first = tagServer("first");
    using second = tagServer("second");
    using third = tagServer("third");
    const socket = join(home.path, "admin.sock");
    const names = ["a", "b", "__proto__"];
    const places = [first, second, third].map(
      (each, index) => `${each.address},name=${names[index]}`,
    );
    const options = ["--admin", `unix:${socket}`, ...more];
    await using chain = await startChain([...options, "127.0.0.1:0", ...places]);
    await until(() => pidAt(socket).catch(() => 0), "its admin side");
    await ask(socket, "POST", "/destinations/a/drain");
    await ask(socket, "POST", "/destinations/__proto__/maintenance");
    const expected = ["a drain", "b ready", "__proto__ maintenance"];
    for (let n = 0; n < 2; n += 1) {
      await chain.upgrade();
      expect(await pidAt(socket)).toBe(chain.pid);
      expect(await modesAt(socket)).toEqual(expected);
      for (let i = 0; i < 4; i += 1) expect(await tagAt(chain.port)).toBe("second");
    }
    await ask(socket, "POST", "/destinations/a/ready");
    await chain.upgrade();
    expect(await modesAt(socket)).toEqual(["a ready", "b ready", "__proto__ maintenance"]);
    await chain.finish();
    expect(chain.stderr).not.toContain("warning");
  },
);

test("legacy: a successor that is told to take another program's admin socket is refused it", async () => {
  using home = folder();
  using server = tagServer("tag");
  const [mine, others] = ["mine.sock", "others.sock"].map((name) => join(home.path, name)) as [
    string,
    string,
  ]; // two of two
  const file = join(home.path, "a.json");
  const write = (socket: string) => {
    const text = { admin: `unix:${socket}`, listen: "127.0.0.1:0", destinations: [server.address] };
    writeFileSync(`${file}.new`, JSON.stringify(text));
    renameSync(`${file}.new`, file);
  };
  const env = { IAWLB_ADMIN: "" };
  await using other = await spawnBalancer(
    ["--admin", `unix:${others}`, "127.0.0.1:0", server.address],
    {},
  );
  await until(() => pidAt(others).catch(() => 0), "the other's admin side");
  write(mine);
  await using chain = new Chain(await spawnBalancer(["--config", file], { env }));
  await until(() => pidAt(mine).catch(() => 0), "its admin side");
  write(others);
  await chain.upgrade(false);
  await until(() => chain.stderr.includes("nothing has changed"), "the refusal");
  expect(chain.stderr).toContain("another iawlb answers there");
  expect([await pidAt(others), await pidAt(mine)]).toEqual([other.pid, chain.pid]);
  expect(await tagAt(chain.port)).toBe("tag");
  write(mine);
  await chain.upgrade();
  expect(await pidAt(mine)).toBe(chain.pid);
  await chain.finish();
});

describe("legacy", () => {
  test("legacy: it is read as it was written, and taken out of the environment", () => {
    using home = folder();
    const path = join(home.path, "a");
    writeFileSync(path, "");
    const modes = { web: { a: "drain", "10.0.0.1:80": "maintenance" } } as const;
    const environment = {
      ...legacyOf([path, join(home.path, "gone")], modes, fail),
      OTHER: "stays",
    };
    const legacy = takeLegacy(environment);
    expect(Object.keys(environment)).toEqual(["OTHER"]);
    expect(legacy.modes).toEqual(modes);
    expect(legacy.sockets.map((each) => each.path)).toEqual([path]);
    expect([isLeft(legacy, path), isLeft(legacy, home.path)]).toEqual([true, false]);
    writeFileSync(`${path}.new`, "");
    renameSync(`${path}.new`, path); // somebody else's by now
    expect(isLeft(legacy, path)).toBe(false);
  });

  test("legacy: modes that are too many for the environment are told, sockets are left all the same", () => {
    using home = folder();
    const path = join(home.path, "a");
    writeFileSync(path, "");
    const drained = Array.from({ length: 4_000 }, (_, n) => [`destination-${n}.example`, "drain"]);
    const warnings: string[] = [];
    const modes = { web: Object.fromEntries(drained) as Record<string, "drain"> }; // as made above
    const left = legacyOf([path], modes, (message) => warnings.push(message));
    expect(warnings).toEqual([
      "the new process does not hear which destinations drain: they are too many",
    ]);
    const { modes: read, sockets } = takeLegacy(left);
    expect([read, sockets.length]).toEqual([{}, 1]);
  });

  test.each([
    "",
    "rubbish",
    "null",
    "[]",
    '{"modes":7,"sockets":{"length":1}}',
    '{"modes":{"web":{"a":"asleep","b":3}},"sockets":[null,7,{"path":1,"dev":1,"ino":1}]}',
  ])("legacy: %s is none of ours", (text) => {
    const { modes, sockets } = takeLegacy({ IAWLB_LEGACY: text });
    expect(Object.values(modes).every((each) => Object.keys(each).length === 0)).toBe(true);
    expect(sockets).toEqual([]);
  });
});

function fail(message: string): void {
  throw new Error(message);
}
