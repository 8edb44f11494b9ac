// One program with several listeners from one file, as its user has it: started, steered, written back, ended.

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import type { ConnectionPage } from "../../src/control/steering.ts";
import { Files } from "../config/files.ts";
import { client, CLI, echoServer, serve, tagServer, until, type Peer } from "../net.ts";
import { Configured, expectLive, listener, talk } from "./configured.ts";
import { ask } from "./steering.ts";
import { refused, toEnded } from "./ways.ts";

test("program: several listeners from one file, each with its own options, one log", async () => {
  using first = echoServer();
  using second = echoServer();
  const web = listener("web", [`${first.address},name=a`], "slots = 1");
  const db = listener("db", [`${second.address},name=b`], 'idle-timeout = "2s"');
  await using it = await Configured.start(`drain-timeout = "9s"\n${web}${db}`);
  const [webPort, dbPort] = [await it.portOf("web"), await it.portOf("db")];
  for (const each of [
    `web: listening on 127.0.0.1:${webPort}`,
    `db: listening on 127.0.0.1:${dbPort}`,
  ]) {
    await until(() => it.process.stderr.includes(`${each}\n`), each);
  }
  using one = await talk(webPort);
  using two = await client(webPort);
  two.send("two");
  await until(async () => (await it.listener("web")).queue.waiting === 1, "one waits at web");
  using three = await talk(dbPort);
  using four = await talk(dbPort);
  expect(await it.rows("db")).toEqual(["b ready 2/0"]);
  await until(() => three.wasReset && four.wasReset, "db's ends of idle clients");
  await expectLive(one);
  for (const peer of [one, two]) {
    peer.finish();
    await until(() => peer.over, "its end");
  }
  expect([one.text, two.text]).toEqual(["hello.", "two"]);
  await until(() => it.process.stdout.length === 4, "a line each");
  const lines = it.process.stdout.map(toEnded).map((each) => {
    return `${each.listener} ${each.destination} ${each.id} ${each.reason}`;
  });
  expect(lines.toSorted()).toEqual(
    [
      `127.0.0.1:${webPort} a 1 done`,
      `127.0.0.1:${webPort} a 2 done`,
      `127.0.0.1:${dbPort} b 1 idle-timeout`,
      `127.0.0.1:${dbPort} b 2 idle-timeout`,
    ].toSorted(),
  );
  expect(await it.process.stop()).toBe(0);
});

test("program: all listeners are opened, or none; which cannot be is told with its place", async () => {
  using server = tagServer("a");
  using taken = tagServer("taken");
  using files = new Files();
  const listen = `listen = "${taken.address}"`;
  const both = listener("web", [server.address]) + listener("db", [server.address], listen);
  const file = files.add("a.toml", both);
  const { code, stderr } = await refused(["--config", file, "--admin", "off"]);
  expect(code).toBe(1);
  expect(stderr).toContain(`${file}:8:10: listener[1].listen: cannot listen on ${taken.address}`);
  expect(stderr).not.toContain("listening on");
});

const inThreads = ["--threads", "2"];
test.each([
  ["one thread", []],
  ["two threads", inThreads],
  ["libc, two threads", [...inThreads, "--engine", "libc"]],
])(
  "program: SIGTERM as soon as it says that it listens drains, exit code 0, %s",
  async (_, args) => {
    using server = echoServer();
    using files = new Files();
    const three = ["x", "y", "z"].map((name) => listener(name, [server.address]));
    const file = files.add("a.toml", three.join(""));
    const socket = `unix:${files.path("admin.sock")}`;
    const command = [process.execPath, CLI, "--config", file, "--admin", socket, ...args];
    await using child = Bun.spawn(command, {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, NODE_ENV: undefined, NO_COLOR: "1" },
    });
    let stderr = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stderr) {
      const before = stderr;
      stderr += decoder.decode(chunk, { stream: true });
      const hasSaid = (text: string) => text.includes("listening on");
      if (hasSaid(stderr) && !hasSaid(before)) child.kill("SIGTERM");
    }
    expect(stderr).toContain("draining: 0 open go on");
    expect({ code: await child.exited, signal: child.signalCode }).toEqual({
      code: 0,
      signal: null,
    });
  },
);

test("program: connections of all listeners page by page, and killed by the id of their line", async () => {
  using server = echoServer();
  const a = `${server.address},name=a`;
  await using it = await Configured.start(listener("web", [a]) + listener("db", [a]));
  const ports = [await it.portOf("web"), await it.portOf("db")];
  const peers: Peer[] = [];
  for (let n = 0; n < 6; n++) peers.push(await talk(ports[n % 2] ?? 0));
  const ids: string[] = [];
  let pageCount = 0;
  let after = "";
  do {
    const query = `count=2&after=${encodeURIComponent(after)}`;
    const page = (await it.ask("GET", `/connections?${query}`)).body as ConnectionPage; // as it answers
    ids.push(...page.connections.map(({ id, listener: name }) => `${name} ${id}`));
    after = page.next;
    pageCount += 1;
  } while (after !== "" && pageCount < 9);
  expect(ids).toEqual(
    ["web", "db"].flatMap((name) => [1, 2, 3].map((n) => `${name} ${name}/${n}`)),
  );
  expect(pageCount).toBe(3);
  expect(await it.ask("GET", "/connections?after=web~9%2F1")).toMatchObject({ status: 409 });
  const killed = await it.iawlb("kill", "db/2");
  expect(killed).toEqual({ code: 0, out: "db/2 was reset", told: "" });
  await until(() => peers[3]?.wasReset, "its reset");
  expect(peers.map((peer) => peer.wasReset)).toEqual([false, false, false, true, false, false]);
  for (const peer of peers) peer.reset();
});

test("program: changes that are asked for at once all hold", async () => {
  using server = echoServer();
  await using it = await Configured.start(
    listener("web", [`${server.address},name=a`, `${server.address},name=z`].slice(0, 1)),
    "--threads",
    "2",
  );
  const add = (name: string) =>
    it.ask("POST", "/destinations", { place: `127.0.0.9:${name.charCodeAt(0)},name=${name}` });
  const answers = await Promise.all([
    add("b"),
    add("c"),
    it.ask("PATCH", "/destinations/a", { slots: 5 }),
    add("d"),
    it.ask("PATCH", "/destinations/a", { weight: 3 }),
  ]);
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200]);
  const { destinations } = await it.listener("web");
  expect(destinations.map(({ name }) => name).toSorted()).toEqual(["a", "b", "c", "d"]);
  expect(destinations[0]).toMatchObject({ name: "a", slots: 5, weight: 3 });
});

test("program: a reload keeps modes, and takes back what was set, added and removed and is not in the file", async () => {
  const servers = [echoServer(), echoServer(), tagServer("c"), tagServer("d")];
  const [a, b, c, d] = servers.map(({ address }, n) => `${address},name=${"abcd"[n]}`);
  const text = listener("web", [a ?? "", b ?? "", c ?? ""]);
  await using it = await Configured.start(text);
  const port = await it.portOf("web");
  for (const verb of [
    ["drain", "a"],
    ["maintenance", "b"],
    ["set", "b", "--slots", "7", "--weight", "2"],
    ["add", d ?? ""],
    ["remove", "c"],
  ]) {
    expect(await it.iawlb(...verb)).toMatchObject({ code: 0, told: "" });
  }
  expect(await it.rows("web")).toEqual(["a drain 0/0", "b maintenance 0/7", "d ready 0/0"]);
  expect(await ask(port)).toBe("d");
  expect((await it.plan()).length).toBe(4);
  // What takes it back is told as any change.
  const changes = await it.reload();
  expect(changes.map((each) => each.replace(/127\.0\.0\.1:\d+/, "ADDRESS"))).toEqual([
    "destination b: slots: 7 -> 0",
    "destination b: weight: 2 -> 1",
    "destination c: nothing -> ADDRESS",
    "destination d: ADDRESS -> nothing",
  ]);
  expect(await it.rows("web")).toEqual(["a drain 0/0", "b maintenance 0/0", "c ready 0/0"]);
  expect(await ask(port)).toBe("c");
  expect(await it.reload()).toEqual([]);
  for (const server of servers) server[Symbol.dispose]();
});

test("program: the last destination cannot be removed", async () => {
  using server = echoServer();
  await using it = await Configured.start(listener("web", [`${server.address},name=a`]));
  const { code, told } = await it.iawlb("remove", "a");
  expect(code).toBe(1);
  expect(told).toContain("a is the last destination of web; drain it, or add another one first");
  using _ = await talk(await it.portOf("web"));
});

test("program: what is persisted stands in the file with its comments, and a reload has nothing to do", async () => {
  using server = echoServer();
  using other = echoServer();
  const [a, b] = [`${server.address},name=a`, `${other.address},name=b`];
  const text = [
    "# the whole program",
    "slots = 2 # of each",
    "",
    "[[listener]]",
    'name = "web" # in front',
    'listen = "127.0.0.1:0"',
    "destinations = [",
    `  "${a}", # the first`,
    "  # more may follow",
    "]",
    "",
    listener("db", [a]),
  ].join("\n");
  await using it = await Configured.start(text, "--watch");
  using peer = await talk(await it.portOf("web"));
  const added = await it.iawlb("add", b, "--listener", "web", "--persist");
  expect(added).toEqual({ code: 0, out: `b was added; written to ${it.file}`, told: "" });
  const patched = await it.ask("PATCH", "/destinations/a?listener=web&persist=1", { slots: 8 });
  expect(patched).toMatchObject({ status: 200, body: { persisted: it.file } });
  const written = readFileSync(it.file, "utf8");
  const commentsOf = (toml: string) => toml.match(/#.*$/gm);
  expect(commentsOf(written)).toEqual(commentsOf(text));
  expect(written.replaceAll("slots=8,", "").replaceAll(",slots=8", "")).toContain(`"${a}"`);
  expect(written).toContain(`"${b}"`);
  const check = Bun.spawnSync([process.execPath, CLI, "check", "--config", it.file]);
  expect(check.exitCode).toBe(0);
  expect(await it.reload()).toEqual([]);
  expect(await it.rows("web")).toEqual(["a ready 1/8", "b ready 0/2"]);
  // The watch sees its own program's writing, and it is no change either.
  await until(() => it.process.stderr.includes("reload: no change"), "a reload");
  expect(it.process.stderr).not.toContain("nothing ->");
  // Somebody else's change is not written over.
  it.write(`${written}# mine\n`);
  await it.ask("DELETE", "/destinations/b?listener=web&persist=1");
  expect(readFileSync(it.file, "utf8")).toContain("# mine\n");
  await expectLive(peer);
});

test("program: a listener that is server-first, one that is not, and the end of both", async () => {
  using first = serve({ onOpen: (peer) => peer.send("welcome"), onEnd: (peer) => peer.finish() });
  using second = echoServer();
  await using it = await Configured.start(
    listener("mail", [first.address]) + listener("web", [second.address]),
  );
  using one = await client(await it.portOf("mail"));
  using two = await talk(await it.portOf("web"));
  await until(() => one.text === "welcome", "its words");
  expect(await it.iawlb("drain", "--all")).toMatchObject({ code: 0 });
  await until(async () => (await it.status()).state === "draining", "it drains");
  expect(await client(await it.portOf("web").catch(() => 1)).catch(() => null)).toBe(null);
  await expectLive(two);
  for (const peer of [one, two]) {
    peer.finish();
    await until(() => peer.over, "its end");
    expect(peer.wasReset).toBe(false);
  }
  expect(await it.process.exited).toBe(0);
  expect(it.process.stderr).toContain("mail: drained: all have finished");
  expect(it.process.stderr).toContain("web: drained: all have finished");
});
