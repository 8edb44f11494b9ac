// The file of a program that runs changes: what is asked for holds at once, what is wrong changes nothing, and no live
// pair is touched.

import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { Files } from "../config/files.ts";
import { client, echoServer, knock, spawnBalancer, tagServer, until, withSeed } from "../net.ts";
import { Configured, expectLive, listener, talk } from "./configured.ts";
import { freePort } from "./program.ts";
import { ask } from "./steering.ts";

test("reload: by a signal, by the API, by the command, and by itself with --watch", async () => {
  using server = echoServer();
  const a = `${server.address},name=a`;
  const text = (slots: number) => listener("web", [a], `slots = ${slots}`);
  await using it = await Configured.start(text(1), "--watch");
  const told = (slots: number) => `reload: slots: ${slots - 1} -> ${slots}\n`;
  it.write(text(2));
  await until(() => it.process.stderr.includes(told(2)), "the watched change");
  expect((await it.status()).reload?.by).toBe("watch");
  // From here on the watch may come first: then there is no change any more, and the other one says so.
  const before = (await it.status()).reload?.at ?? 0;
  await until(async () => {
    process.kill(it.process.pid, "SIGHUP"); // again, when the watch was later still
    const { reload } = await it.status();
    return reload?.by === "signal" && reload.at >= before;
  }, "the signal's reload");
  await until(() => it.process.stderr.includes("reload: no change"), "the word of it");
  expect(await it.iawlb("reload")).toMatchObject({ code: 0, out: "nothing has changed" });
  expect(await it.rows("web")).toEqual(["a ready 0/2"]);
});

test("reload: each way without --watch applies what the file says", async () => {
  using server = echoServer();
  const text = (slots: number) => listener("web", [`${server.address},name=a`], `slots = ${slots}`);
  await using it = await Configured.start(text(1));
  it.write(text(2));
  process.kill(it.process.pid, "SIGHUP");
  await until(() => it.process.stderr.includes("reload: slots: 1 -> 2\n"), "the change");
  it.write(text(3));
  expect(await it.reload()).toEqual(["slots: 2 -> 3"]);
  it.write(text(4));
  using _ = await talk(await it.portOf("web"));
  const changes = "slots: 3 -> 4 (1 open)";
  expect(await it.iawlb("reload", "--plan")).toEqual({ code: 0, out: changes, told: "" });
  expect(await it.rows("web")).toEqual(["a ready 1/3"]);
  expect(await it.iawlb("reload")).toEqual({ code: 0, out: changes, told: "" });
  expect(await it.rows("web")).toEqual(["a ready 1/4"]);
  expect(await it.iawlb("reload", "--plan")).toMatchObject({ out: "nothing would change" });
});

test("reload: a plan says how many open connections each change concerns, and changes nothing", async () => {
  using server = echoServer();
  using other = echoServer();
  const [a, b] = [`${server.address},name=a`, `${other.address},name=b`];
  const before = listener("web", [a, b]) + listener("db", [a]) + listener("old", [b]);
  await using it = await Configured.start(before);
  const port = await it.portOf("web");
  using one = await talk(port);
  using two = await talk(port);
  using three = await talk(await it.portOf("old"));
  const statusOf = async () =>
    (await it.status()).listeners.map(({ name, addresses, destinations }) => ({
      name,
      addresses,
      destinations,
    }));
  const was = await statusOf();
  it.write(
    listener("web", [`${a},weight=2`], "idle-timeout = '5m'", "threads = 2") +
      listener("db", [a], 'listen = "127.0.0.2:0"') +
      listener("new", [b]),
  );
  const planned = await it.plan();
  expect(planned.toSorted()).toEqual([
    "db: listen: 127.0.0.1:0 -> 127.0.0.2:0",
    "kept: web: threads: 1 -> 2",
    "listener old is called new now (1 open)",
    "web: destination a: weight: 1 -> 2 (1 open)",
    `web: destination b: ${other.address} -> nothing (1 open)`,
    "web: idle-timeout: 1h -> 5m (2 open)",
  ]);
  expect(await statusOf()).toEqual(was);
  expect(await it.reload()).toEqual(planned);
  for (const peer of [one, two, three]) await expectLive(peer);
});

test("reload: a file that is wrong changes nothing, and says where and why", async () => {
  using server = echoServer();
  using taken = echoServer();
  const a = `${server.address},name=a`;
  const right = listener("web", [a]);
  await using it = await Configured.start(right);
  using peer = await talk(await it.portOf("web"));
  const was = (await it.status()).listeners.map(({ addresses, destinations }) => ({
    addresses,
    destinations,
  }));
  const faultOf = (text: string) => (it.write(text), it.fault());
  expect(await faultOf(`${right}slots = = 2\n`)).toMatch(/^FILE:5:9: /);
  expect(await faultOf(`${right}slotz = 2\n`)).toMatch(/^FILE:5:1: .*"slotz".* slots\?$/);
  // Nor is anything else of that file applied.
  const inUse =
    listener("web", [a], "slots = 3") + listener("new", [a], `listen = "${taken.address}"`);
  expect(await faultOf(inUse)).toBe(
    `FILE:9:10: listener[1].listen: cannot listen on ${taken.address}: Address already in use (EADDRINUSE): another program listens there`,
  );
  const own = `127.0.0.1:${await it.portOf("web")}`;
  expect(await faultOf(listener("web", [a, own]))).toMatch(
    /^FILE:4:\d+: .*is this balancer itself/,
  );
  expect(await faultOf(listener("new", [own], `listen = "${own}"`))).toMatch(/^FILE:\d+:\d+: /);
  expect(await faultOf("")).toMatch(/^FILE/);
  it.write(right + "slotz = 2\n");
  const { code, told } = await it.iawlb("reload");
  expect(code).toBe(1);
  expect(told).toContain(`${it.file}:5:1: `);
  expect(await it.iawlb("reload", "--plan")).toMatchObject({ code: 1 });
  rmSync(it.file);
  expect(await it.fault()).toContain("FILE");
  const now = (await it.status()).listeners.map(({ addresses, destinations }) => ({
    addresses,
    destinations,
  }));
  expect(now).toEqual(was);
  expect((await it.status()).reload?.fault).not.toBe("");
  await expectLive(peer);
  it.write(right);
  expect(await it.reload()).toEqual([]);
});

test("reload: a listener comes, is called otherwise, moves, goes; its pairs go on until they end", async () => {
  using server = echoServer();
  using gone = echoServer();
  const [a, b] = [`${server.address},name=a`, `${gone.address},name=b`];
  // One without a name is `main` as long as it is the only one, then its address.
  const nameless = (port: number) => listener("", [a], `listen = "127.0.0.1:${port}"`);
  const unnamed = (port: number) => nameless(port).replace(/name = ""\n/, "");
  await using it = await Configured.start(listener("main", [a, b]));
  const port = await it.portOf("main");
  expect(await it.ask("POST", "/destinations/b/drain")).toMatchObject({ status: 200 });
  using one = await talk(port, "one");
  it.write(listener("main", [a, b]) + listener("second", [b]));
  const added = await it.reload();
  expect(added.filter((each) => !each.includes("max-connections"))).toEqual([
    "listener second at 127.0.0.1:0 is added",
  ]);
  const second = await it.portOf("second");
  using two = await talk(second, "two");
  const words = `second: listening on 127.0.0.1:${second}\n`;
  await until(() => it.process.stderr.includes(words), "the word of it");

  it.write(listener("main", [a, b]) + listener("other", [b]));
  expect(await it.reload()).toEqual(["listener second is called other now (1 open)"]);
  expect(await it.portOf("other")).toBe(second);
  using _ = await talk(second, "by another name");

  const moved = 'listen = "127.0.0.3:0"';
  it.write(listener("main", [a, b], moved) + listener("other", [b]));
  expect(await it.reload()).toEqual(["main: listen: 127.0.0.1:0 -> 127.0.0.3:0 (1 open)"]);
  const main = await it.listener("main");
  expect(main.addresses[0]).toStartWith("127.0.0.3:");
  expect(await it.rows("main")).toEqual(["a ready 0/0", "b drain 0/0"]); // it was drained before
  expect((await client(port).catch(() => null)) === null).toBe(true);
  await expectLive(one);

  it.write(listener("main", [a, b], moved));
  const removed = await it.reload();
  expect(removed.filter((each) => !each.includes("max-connections"))).toEqual([
    "listener other is removed (2 open)",
  ]);
  expect((await it.status()).listeners.map(({ name, open }) => `${name} ${open}`)).toEqual([
    "main 0",
    "main~1 1",
    "other~2 2",
  ]);
  await expectLive(two);
  await expectLive(_);
  const listed = (await it.ask("GET", "/connections?listener=other~2")).body;
  expect(listed).toMatchObject({ connections: [{ destination: "b" }, { destination: "b" }] });
  for (const peer of [one, two, _]) {
    peer.finish();
    await until(() => peer.over, "its end");
    expect(peer.wasReset).toBe(false);
  }
  await until(async () => (await it.status()).listeners.length === 1, "those that left are gone");
  expect([one.text, two.text, _.text]).toEqual(["one.", "two.", "by another name."]);
  await until(() => it.process.stdout.length === 3, "a line of each");

  it.write(unnamed(freePort()));
  expect(await it.reload()).toHaveLength(2);
  const address = (await it.listener("main")).addresses[0] ?? "";
  it.write(unnamed(Number(address.split(":")[1])) + listener("x", [a]));
  expect(await it.reload()).toEqual([
    `listener main is called ${address} now`,
    "listener x at 127.0.0.1:0 is added",
  ]);
});

const threeThreads = ["--threads", "3"];
test.each([
  ["one thread", []],
  ["three threads", threeThreads],
  ["libc, three threads", [...threeThreads, "--engine", "libc"]],
])("reload: live pairs are untouched byte by byte through many of them, %s", async (_, args) => {
  await withSeed(async (random) => {
    using first = echoServer();
    using second = echoServer();
    const places = [`${first.address},name=a`, `${second.address},name=b`];
    const draw = () =>
      listener(
        "web",
        [
          places.map((each) => `${each},weight=${1 + random.int(9)}`),
          [places[random.int(2)] ?? ""],
        ][random.int(2)] ?? [],
        `slots = ${1 + random.int(50)}`,
        `idle-timeout = "${1 + random.int(50)}m"`,
        `policy = "${["pull", "hash", "random"][random.int(3)]}"`,
        `allow = ${random.int(2) === 0 ? "[]" : '["127.0.0.0/8"]'}`,
        `max-per-client = ${100 + random.int(100)}`,
      ) + (random.int(2) === 0 ? listener("side", places) : "");
    await using it = await Configured.start(listener("web", places, "slots = 9"), ...args);
    const port = await it.portOf("web");
    const peers = await Promise.all(Array.from({ length: 8 }, () => client(port)));
    const sent = peers.map(() => [] as Buffer[]);
    for (let n = 0; n < 12; n++) {
      it.write(draw());
      const reloaded = it.reload();
      peers.forEach((peer, i) => {
        const bytes = random.bytes(1 + random.int(30_000));
        sent[i]?.push(bytes);
        peer.send(bytes);
      });
      await reloaded;
    }
    for (const peer of peers) peer.finish();
    await until(() => peers.every((peer) => peer.over), "all echoes are complete");
    peers.forEach((peer, i) => {
      expect(peer.wasReset).toBe(false);
      expect(peer.received.equals(Buffer.concat(sent[i] ?? []))).toBe(true);
    });
    const { reload, listeners } = await it.status();
    expect(reload?.fault).toBe("");
    expect(listeners.find(({ name }) => name === "web")?.closed.done).toBe(peers.length);
    for (const peer of peers) peer.reset();
  });
});

test("reload: slots, weights, timeouts and access rules hold at once; who is removed drains", async () => {
  using first = echoServer();
  using second = tagServer("b");
  const [a, b] = [`${first.address},name=a`, `${second.address},name=b`];
  await using it = await Configured.start(listener("web", [`${a},slots=1`]));
  const port = await it.portOf("web");
  using one = await talk(port);
  using two = await client(port);
  two.send("two");
  await until(async () => (await it.listener("web")).queue.waiting === 1, "one waits");
  it.write(listener("web", [`${a},slots=2,weight=5`]));
  expect(await it.reload()).toEqual([
    "destination a: slots: 1 -> 2 (1 open)",
    "destination a: weight: 1 -> 5 (1 open)",
  ]);
  await until(() => two.text === "two", "who waited is served");
  it.write(listener("web", [b]));
  expect(await it.reload()).toEqual([
    `destination b: nothing -> ${second.address}`,
    `destination a: ${first.address} -> nothing (2 open)`,
  ]);
  expect(await it.rows("web")).toEqual(["b ready 0/0", "a leaving 2/2"]);
  expect(await ask(port)).toBe("b");
  await expectLive(one);
  it.write(listener("web", [b], 'deny = ["127.0.0.1"]'));
  await it.reload();
  using denied = await knock(port);
  await until(() => denied.wasReset, "the refusal");
  await expectLive(one);
  it.write(listener("web", [b], 'idle-timeout = "1s"'));
  await it.reload();
  await until(async () => (await expectLive(one), two.wasReset), "the idle one's end");
  expect(await ask(port)).toBe("b");
  one.finish();
  await until(() => one.over, "its end");
  expect(one.wasReset).toBe(false);
  await until(async () => (await it.rows("web")).length === 1, "a is gone");
});

test("reload: what takes a new process is told each time, and stays as it is", async () => {
  using server = echoServer();
  const a = `${server.address},name=a`;
  await using it = await Configured.start(listener("web", [a]));
  it.write(
    `upgrade-timeout = "9s"\nlog-level = "debug"\n${listener("web", [a], "threads = 2", 'engine = "libc"', "backlog = 7")}`,
  );
  const kept = [
    "kept: upgrade-timeout: 30s -> 9s",
    "kept: threads: 1 -> 2",
    "kept: engine: bun -> libc",
    "kept: backlog: 4096 -> 7",
  ];
  const first = await it.reload();
  expect(first.toSorted()).toEqual([...kept, "log-level: info -> debug"].toSorted());
  const again = await it.reload();
  expect(again.toSorted()).toEqual(kept.toSorted());
  const words = "reload: threads: 1 -> 2: takes iawlb upgrade\n";
  await until(() => it.process.stderr.includes(words), "the word of it");
  const { threadCount, engine } = await it.listener("web");
  expect([threadCount, engine]).toEqual([1, "bun"]);
  using _ = await talk(await it.portOf("web"));
});

test("reload: the admin side's own address takes a new process", async () => {
  using server = echoServer();
  using files = new Files();
  const socket = files.path("admin.sock");
  const text = (admin: string) =>
    `admin = "${admin}"\n${listener("web", [`${server.address},name=a`])}`;
  const file = files.add("a.toml", text(`unix:${socket}`));
  const env = { IAWLB_ADMIN: "" };
  await using started = await spawnBalancer(["--config", file], { env });
  const answers = () => fetch("http://localhost/healthz", { unix: socket }).catch(() => null);
  await until(answers, "the admin side");
  writeFileSync(file, text("off"));
  process.kill(started.pid, "SIGHUP");
  const words = `reload: admin: unix:${socket} -> off: takes iawlb upgrade\n`;
  await until(() => started.stderr.includes(words), "what is told");
  expect((await answers())?.status).toBe(200);
  expect(await started.stop()).toBe(0);
});

test("reload: who asks while one is under way gets a reading of its own, later ones share it", async () => {
  using server = echoServer();
  const text = (slots: number) => listener("web", [`${server.address},name=a`], `slots = ${slots}`);
  await using it = await Configured.start(text(1), "--threads", "2");
  for (let slots = 2; slots < 6; slots++) {
    // The first has read its file and starts threads when the file changes again.
    it.write(text(100 + slots) + listener(`extra${slots}`, [server.address]));
    const early = it.reload();
    await Bun.sleep(10 * (slots - 1));
    it.write(text(slots));
    const late = [it.reload(), it.reload(), it.reload()];
    await Promise.all([early, ...late]);
    expect(await it.rows("web")).toEqual([`a ready 0/${slots}`]);
  }
});

test("reload: it is refused while the program drains", async () => {
  using server = echoServer();
  const a = `${server.address},name=a`;
  await using it = await Configured.start(listener("web", [a]));
  using peer = await talk(await it.portOf("web"));
  it.write(listener("web", [a], "slots = 3"));
  process.kill(it.process.pid, "SIGTERM");
  await until(async () => (await it.status()).state === "draining", "it drains");
  expect(await it.fault()).toBe("it is draining");
  expect(await it.iawlb("reload")).toMatchObject({
    code: 1,
    told: expect.stringContaining("it is draining"),
  });
  process.kill(it.process.pid, "SIGHUP");
  await until(() => it.process.stderr.includes("SIGHUP is ignored"), "the answer to the signal");
  expect(await it.rows("web")).toEqual(["a ready 1/0"]);
  await expectLive(peer);
  peer.finish();
  expect(await it.process.exited).toBe(0);
});

test("reload: a listener that is being opened when the program begins to drain takes nobody", async () => {
  using server = echoServer();
  const web = listener("web", [`${server.address},name=a`]);
  await using it = await Configured.start(web, "--threads", "2");
  using peer = await talk(await it.portOf("web"));
  const port = freePort();
  it.write(web + listener("late", [server.address], `listen = "127.0.0.1:${port}"`));
  const reloaded = it.reload().catch((error: Error) => error.message);
  await Bun.sleep(15); // it starts threads by now, as a rule
  process.kill(it.process.pid, "SIGTERM");
  await until(async () => (await it.status()).state === "draining", "it drains");
  const outcome = await reloaded;
  if (typeof outcome === "string") expect(outcome).toBe("it is draining");
  // Its threads hear of the drain each in its own time.
  const connects = async () => {
    using late = await client(port).catch(() => null);
    return late !== null;
  };
  await until(async () => !(await connects()), "nobody listens there");
  await expectLive(peer);
  peer.finish();
  expect(await it.process.exited).toBe(0);
});
