// The command line against a process that runs: what each verb does to its traffic, and where it is found.

import { describe, expect, test } from "bun:test";
import { existsSync, lstatSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { folder } from "../e2e/program.ts";
import { client, CLI, echoServer, spawnBalancer, tagServer, until } from "../net.ts";
import type { Peer, RunningBalancer } from "../net.ts";
import type { ConnectionPage, ProgramStatus } from "../../src/control/steering.ts";

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly told: string;
}

/** Runs a command as a user does. */
async function command(env: Record<string, string>, ...args: string[]): Promise<Outcome> {
  const child = Bun.spawn([process.execPath, CLI, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_ENV: undefined, NO_COLOR: "1", ...env },
    timeout: 20_000,
  });
  const streams = [child.stdout, child.stderr].map((each) => new Response(each).text());
  const [code, out = "", told = ""] = await Promise.all([child.exited, ...streams]);
  return { code, out: out.trimEnd(), told: Bun.stripANSI(told).trimEnd() };
}

/** A verb that must be done. @returns what it has printed. */
type Verb = (...args: string[]) => Promise<string>;

function verbsAt(place: string): Verb {
  return async (...args) => {
    const { code, out, told } = await command({}, ...args, "--admin", place);
    expect([args, code, told]).toEqual([args, 0, ""]);
    return out;
  };
}

async function pidIn(env: Record<string, string>): Promise<number> {
  const { out, told } = await command(env, "status", "--json");
  if (out === "") throw new Error(told);
  return (JSON.parse(out) as ProgramStatus).pid; // what that verb prints
}

async function ask(port: number): Promise<string> {
  using peer = await client(port);
  peer.finish();
  await until(() => peer.over, "the answer");
  return peer.text;
}

/** Who answers so many clients. */
async function answering(port: number, count = 6): Promise<string[]> {
  const names = new Set<string>();
  for (let n = 0; n < count; n += 1) names.add(await ask(port));
  return [...names].toSorted();
}

/** Clients that have been served and stay. */
function stay(port: number, count: number): Promise<Peer[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const peer = await client(port);
      peer.send("here");
      await until(() => peer.text.endsWith("here"), "an echo");
      return peer;
    }),
  );
}

const isSocket = (path: string): boolean =>
  lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;

describe("command line", () => {
  test("commands: modes, weights and destinations change what traffic does", async () => {
    using place = folder();
    using a = tagServer("a");
    using b = tagServer("b");
    using c = tagServer("c");
    const admin = `unix:${join(place.path, "a.sock")}`;
    const file = join(place.path, "iawlb.toml");
    const text = `listen = "127.0.0.1:0"\nhealth-interval = 0\ndestinations = ["${a.address},name=a", "${b.address},name=b"]\n`;
    writeFileSync(file, text);
    await using balancer = await spawnBalancer(["--admin", admin, "--config", file]);
    const { port } = balancer;
    await until(() => isSocket(admin.slice("unix:".length)), "the admin socket");
    const verb = verbsAt(admin);
    expect(await verb("status")).toContain(`main on 127.0.0.1:${port}: 0 open, 0 of them wait`);
    expect(await answering(port)).toEqual(["a", "b"]);

    expect(await verb("drain", "a")).toBe("a drains");
    expect(await answering(port)).toEqual(["b"]);
    expect(await verb("maintenance", "b")).toBe("b is in maintenance");
    const waiting = ask(port);
    const waits = async () => (await verb("status")).includes("1 open, 1 of them wait");
    await until(waits, "one waits for a destination");
    expect(await verb("ready", "a")).toBe("a is ready");
    expect(await waiting).toBe("a");
    expect(await answering(port)).toEqual(["a"]);

    expect(await verb("add", `${c.address},name=c`)).toBe("c was added");
    expect(await answering(port)).toEqual(["a", "c"]);
    expect(await verb("remove", "a")).toBe("a goes when its last connection has ended");
    expect(await answering(port)).toEqual(["c"]);
    // What was steered and not written is undone by the file, a mode is not.
    const plan = await verb("reload", "--plan");
    expect(plan).toContain("c");
    expect(await answering(port)).toEqual(["c"]);
    expect(await verb("reload")).toBe(plan);
    expect(await answering(port)).toEqual(["a"]);
    expect(await verb("reload")).toBe("nothing has changed");
    expect(await verb("set", "b", "--weight", "7", "--persist")).toBe(
      `b has weight 7; written to ${file}`,
    );
    expect(readFileSync(file, "utf8")).toContain(`${b.address},weight=7,name=b`);
    writeFileSync(file, "listen = nonsense\n");
    const bad = await command({}, "reload", "--admin", admin);
    expect([bad.code, bad.told]).toEqual([1, expect.stringContaining("nothing was changed")]);
    expect(await answering(port)).toEqual(["a"]);
    expect(await balancer.stop()).toBe(0);
    expect(existsSync(admin.slice("unix:".length))).toBe(false);
  });

  test("commands: connections are listed, killed, moved, waited for, and all of it ends", async () => {
    using place = folder();
    using a = echoServer();
    using b = echoServer();
    const admin = `unix:${join(place.path, "a.sock")}`;
    const places = [`${a.address},name=a,slots=4`, `${b.address},name=b,slots=4`];
    const args = ["--admin", admin, "--access-log", "json", "--health-interval", "0"];
    await using balancer = await spawnBalancer([...args, "127.0.0.1:0", ...places]);
    await until(() => isSocket(admin.slice("unix:".length)), "the admin socket");
    const verb = verbsAt(admin);
    await verb("drain", "b");
    const peers = await stay(balancer.port, 4);
    const [first] = peers;
    const listed = async (...more: string[]) => {
      const out = await verb("connections", "--json", ...more);
      return (JSON.parse(out) as ConnectionPage).connections; // what that verb prints
    };
    const all = await listed("--destination", "a");
    expect(all.map(({ state, bytesUp }) => `${state} ${bytesUp}`)).toEqual(
      Array.from({ length: 4 }, () => "joined 4"),
    );
    expect(await listed("--destination", "b")).toEqual([]);
    const own = all.find(({ client }) => client.endsWith(`:${first?.socket.localPort}`));
    expect(await verb("kill", own?.id ?? "")).toBe(`${own?.id} was reset`);
    await until(() => first?.wasReset === true, "its reset");
    expect(peers.filter((peer) => peer.over).length).toBe(1);
    const again = await command({}, "kill", own?.id ?? "", "--admin", admin);
    expect([again.code, again.told]).toEqual([1, `connection ${own?.id} is not open`]);

    // A slot is free now, and no more than the limit says.
    expect(await verb("set", "a", "--slots", "3")).toBe("a has slots 3");
    const late = await client(balancer.port);
    late.send("late");
    await until(async () => (await listed()).some(({ state }) => state === "waiting"), "one waits");
    await verb("set", "a", "--slots", "4");
    await until(() => late.text === "late", "a slot for it");

    expect(await verb("rebalance", "a", "--count", "2", "--rate", "100/s")).toBe(
      "2 connections of a close at quiet moments",
    );
    const open = () => [...peers, late].filter((peer) => !peer.over);
    for (const peer of open()) peer.finish(); // half-closed, so that an end from there ends it
    await until(() => open().length === 0, "the ends");
    const stayer = (await stay(balancer.port, 1))[0];
    await verb("drain", "a");
    let isDrained = false;
    const drained = verb("wait-drained", "a").finally(() => (isDrained = true));
    const soon = await command({}, "wait-drained", "a", "--timeout", "100ms", "--admin", admin);
    expect([soon.code, isDrained]).toEqual([1, false]);
    expect(soon.told).toStartWith("a serves 1 still after 100ms");
    stayer?.finish();
    expect(await drained).toBe("a: drained");

    await verb("ready", "a");
    const [last] = await stay(balancer.port, 1);
    expect(await verb("drain", "--all")).toBe("the program drains and ends");
    await until(() => balancer.stderr.includes("draining: 1 open go on"), "it drains");
    expect(await verb("status")).toContain(", draining");
    last?.send("more");
    await until(() => last?.text === "heremore", "it goes on");
    last?.finish();
    expect(await balancer.exited).toBe(0);
    const reasons = balancer.stdout.map((line) => (JSON.parse(line) as { reason: string }).reason);
    expect(reasons.filter((each) => each === "killed").length).toBe(1);
  });
});

describe("the place where it is found", () => {
  const start = (env: Record<string, string>, server: { address: string }) =>
    spawnBalancer(["--health-interval", "0", "127.0.0.1:0", server.address], { env });

  test("commands: two of one user are told apart, sockets come and go with them", async () => {
    using place = folder();
    using server = tagServer("x");
    // root looks in /run/iawlb as well; the service manager's directory comes before everything.
    const env = { IAWLB_ADMIN: "auto", XDG_RUNTIME_DIR: place.path, RUNTIME_DIRECTORY: place.path };
    const well = join(place.path, "iawlb.sock");
    const startAt = async (path: (one: RunningBalancer) => string) => {
      const one = await start(env, server);
      await until(() => isSocket(path(one)), `its socket\n${one.stderr}`);
      return one;
    };
    await using first = await startAt(() => well);
    expect((lstatSync(well).mode & 0o777).toString(8)).toBe("600");
    expect(await pidIn(env)).toBe(first.pid);
    const ofSecond = (one: RunningBalancer) => join(place.path, `iawlb-${one.pid}.sock`);
    await using second = await startAt(ofSecond);
    expect((lstatSync(ofSecond(second)).mode & 0o777).toString(8)).toBe("600");
    const both = await command(env, "status");
    expect(both).toEqual({
      code: 2,
      out: "",
      told: expect.stringContaining(
        `several answer: unix:${well}, unix:${ofSecond(second)}; --admin ADDRESS says which`,
      ),
    });
    const named = await command(env, "status", "--admin", `unix:${ofSecond(second)}`);
    expect(named.out).toContain(`, pid ${second.pid}, `);
    expect(await first.stop()).toBe(0);
    expect(existsSync(well)).toBe(false);
    // `top`, too, finds the one that runs.
    const shown = await command(env, "top", "--once");
    expect([shown.code, shown.told]).toEqual([0, ""]);
    expect(shown.out).toContain(` pid ${second.pid} `);
    await second.stop("SIGKILL");
    expect(isSocket(ofSecond(second))).toBe(true);
    // What it has left is nobody's.
    expect((await command(env, "status")).told).toContain("no iawlb answers in ");
    await using third = await startAt(() => well);
    await third.stop("SIGKILL");
    expect(isSocket(well)).toBe(true);
    await using fourth = await start(env, server);
    const answers = async () => (await command(env, "status")).out.includes(` ${fourth.pid}, `);
    await until(answers, "an answer where a dead one was");
    expect(await ask(fourth.port)).toBe("x");
    expect(await fourth.stop()).toBe(0);
    expect(existsSync(well)).toBe(false);
  });

  test("commands: a place that cannot be had keeps nobody from serving", async () => {
    using place = folder();
    using server = tagServer("x");
    const file = join(place.path, "iawlb.sock");
    writeFileSync(file, "");
    const named = await command({}, "--admin", `unix:${file}`, "127.0.0.1:0", server.address);
    expect([named.code, named.told]).toEqual([
      1,
      expect.stringContaining("the file there is no socket"),
    ]);
    const env = { IAWLB_ADMIN: "auto", RUNTIME_DIRECTORY: place.path };
    await using balancer = await start(env, server);
    const own = join(place.path, `iawlb-${balancer.pid}.sock`);
    await until(() => isSocket(own), "a socket of another name");
    expect(readFileSync(file, "utf8")).toBe("");
    expect(await ask(balancer.port)).toBe("x");
  });
});
