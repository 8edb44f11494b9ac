// The verbs of the command line against an admin side that runs: what they ask, what they print, how they end.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { inBytes, inTime, table } from "../../src/commands/table.ts";
import { runVerb, verbs, verbUsage } from "../../src/commands/verbs.ts";
import { folder } from "../e2e/program.ts";
import { CLI, client, deadPort, serve, unixPlace, until } from "../net.ts";
import { recordedScene, scene, type Scene } from "./steered.ts";

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly told: string;
}

/** Runs a verb in this process. @param found sockets that are found without `--admin`. */
async function run(found: readonly string[], ...args: string[]): Promise<Outcome> {
  const [name = "", ...rest] = args;
  const verb = verbs.find((each) => each.name === name);
  if (verb === undefined) throw new Error(`no verb ${name}`);
  const [out, told]: [string[], string[]] = [[], []];
  const code = await runVerb(verb, rest, {
    print: (line) => out.push(line),
    tell: (line) => told.push(line),
    haunts: { directories: ["/run/here", "/run/there"], find: () => Promise.resolve(found) },
  });
  return { code, out: out.join("\n"), told: told.join("\n") };
}

function on(it: Scene, ...args: string[]): Promise<Outcome> {
  return run([(it.admin.addresses[0] ?? "").replace("unix:", "")], ...args);
}

describe("verbs", () => {
  test("verbs: each asks for what it says", async () => {
    await using it = await recordedScene();
    it.steering.configPath = "/etc/iawlb.toml";
    const words = async (...args: string[]) => {
      const { code, out, told } = await on(it, ...args);
      expect([args, code, told]).toEqual([args, 0, ""]);
      return out;
    };
    expect(await words("drain", "a", "b/2")).toBe("a drains\nb/2 drains");
    expect(await words("ready", "a", "--listener", "main")).toBe("a is ready");
    expect(await words("maintenance", "b/2")).toBe("b/2 is in maintenance");
    expect(await words("set", "a", "--slots", "8", "--weight=2", "--persist")).toBe(
      "a has weight 2, slots 8; written to /etc/iawlb.toml",
    );
    expect(await words("add", "10.0.0.5:80,name=c", "--listener", "main")).toBe(
      "10.0.0.5:80 was added",
    );
    expect(await words("remove", "b/2")).toBe("b/2 goes when its last connection has ended");
    expect(await words("kill", "main/7", "main/8")).toBe("main/7 was reset\nmain/8 was reset");
    expect(await words("rebalance", "a", "--count", "5", "--rate", "30/m")).toBe(
      "4 connections of a close at quiet moments",
    );
    expect(await words("reload", "--plan")).toBe("slots of a: 2, was 1");
    expect(await words("reload")).toBe("slots of a: 2, was 1");
    expect(await words("drain", "--all")).toBe("the program drains and ends");
    const a = { listener: "", destination: "a" };
    const b = { listener: "", destination: "b/2" };
    expect(it.steering.calls).toEqual([
      ["setMode", a, "drain"],
      ["setMode", b, "drain"],
      ["setMode", { ...a, listener: "main" }, "ready"],
      ["setMode", b, "maintenance"],
      ["set", a, { weight: 2, slots: 8 }],
      ["persist"],
      ["add", "main", "10.0.0.5:80,name=c"],
      ["remove", b],
      ["kill", "main/7"],
      ["kill", "main/8"],
      ["rebalance", a, 5, 0.5],
      ["reload", "api"],
      ["drain"],
    ]);
  });

  test("verbs: status in tables and as JSON", async () => {
    await using it = await scene();
    using peer = await client(it.port);
    peer.send("hello");
    await until(() => peer.receivedCount === 5, "an echo");
    await on(it, "drain", "b/2");
    const { out } = await on(it, "status");
    const lines = out.split("\n");
    expect(lines[0]).toMatch(
      new RegExp(
        `^iawlb ${RegExp.escape(manifest.version)}, pid ${process.pid}, up \\S+ ms, running$`,
      ),
    );
    expect(out).toContain(`main on ${it.status().addresses[0]}: 1 open, 0 of them wait\n`);
    expect(lines.find((line) => line.startsWith("DESTINATION"))).toMatch(
      /^DESTINATION  STATE  MODE +SLOTS  WEIGHT  CONNECTIONS  FAILED  +BYTES  WHY$/,
    );
    expect(lines.some((line) => /^a +up +ready +[01]\/4 +1 +[01] +0 +0 B$/.test(line))).toBe(true);
    expect(lines.some((line) => /^b\/2 +up +drain +[01]\/- +1 +[01] +0 +0 B$/.test(line))).toBe(
      true,
    );
    const json = await on(it, "status", "--json");
    expect(JSON.parse(json.out)).toMatchObject({ state: "running", listeners: [{ open: 1 }] });
  });

  test("verbs: connections by the page, and by what is asked", async () => {
    await using it = await recordedScene();
    const common = {
      listener: "main",
      client: "10.0.0.1:5",
      state: "joined",
      ageMs: 90_000,
    } as const;
    const open = (destination: string, n: number) =>
      Object.assign(
        { id: `main/${n}`, destination, idleMs: 5, bytesUp: 2_048, bytesDown: n },
        common,
      );
    it.steering.connectionList = ["a", "b/2", "a"].map(open);
    const page = await on(it, "connections", "--destination", "a", "--age", "1m", "--count", "1");
    expect(page.out.split("\n")).toEqual([
      "ID      CLIENT      DESTINATION  STATE    AGE  IDLE     UP  DOWN",
      "main/0  10.0.0.1:5  a            joined  90 s  5 ms  2 KiB   0 B",
      "there are more: --after 1",
    ]);
    const rest = await on(it, "connections", "--destination", "a", "--after", "1", "--json");
    expect(JSON.parse(rest.out)).toMatchObject({ connections: [{ id: "main/2" }], next: "" });
    expect((await on(it, "connections", "--age", "1h")).out).toBe("no such connection is open");
  });

  test("verbs: wait-drained returns when the last slot and the last pair are gone", async () => {
    await using it = await recordedScene();
    using peer = await client(it.port);
    peer.send("hello");
    await until(() => peer.receivedCount === 5, "an echo");
    const [row] = it.status().destinations;
    const name = row?.used === 1 ? "a" : "b/2";
    const late = await on(it, "wait-drained", name, "--timeout", "100ms");
    expect(late.code).toBe(1);
    expect(late.told).toBe(
      `${name} is not drained but ready: it gets new clients meanwhile\n${name} serves 1 still after 100ms; iawlb connections --destination ${name} says whom`,
    );
    it.program.setMode({ listener: "", destination: name }, "drain");
    let isOver = false;
    const waiting = on(it, "wait-drained", name).finally(() => (isOver = true));
    const connection = { id: "main/1", listener: "main", client: "", destination: name } as const;
    const numbers = { ageMs: 0, idleMs: 0, bytesUp: 0, bytesDown: 0 };
    it.steering.connectionList = [{ ...connection, ...numbers, state: "joined" }];
    peer.finish();
    await until(
      () => it.steering.calls.some(([call]) => call === "connections"),
      "a look at pairs",
    );
    expect(isOver).toBe(false);
    it.steering.connectionList = [];
    expect(await waiting).toEqual({ code: 0, out: `${name}: drained`, told: "" });
  });

  test("verbs: what cannot be done is said in a line, exit code 1, and mistakes all at once, 2", async () => {
    await using it = await scene({ token: "a-token-of-24-characters", twice: true });
    using place = folder();
    const tokenFile = join(place.path, "token");
    writeFileSync(tokenFile, "a-token-of-24-characters\n");
    const cases: [string[], number, string][] = [
      [["drain", "a"], 1, "this needs the token; --token-file FILE brings it"],
      [
        ["drain", "nobody", "--token-file", tokenFile],
        1,
        "no destination nobody; known are a, b/2, twice",
      ],
      [
        ["drain", "twice", "--token-file", tokenFile],
        1,
        "twice is a destination of main and other; name the listener; --listener NAME says which",
      ],
      [["wait-drained", "nobody"], 1, "nobody: there is no such destination"],
      [["drain"], 2, "NAME: is missing; NAME is a destination; --all is all of it"],
      [["drain", "a", "--all"], 2, "a: is not needed; --all drains the whole program"],
      [["set", "a"], 2, "set: nothing to change; --weight N, --slots N, or both"],
      [["rebalance", "a"], 2, "--count: is missing; how many connections are to close"],
      [["ready"], 2, "NAME...: is missing; iawlb ready --help says more"],
      [["status", "x"], 2, "x: is not needed; status takes nothing beside its options"],
      [
        ["status", "--jsn"],
        2,
        '--jsn: option "--jsn" is unknown; iawlb --help lists them all; did you mean --json?',
      ],
    ];
    for (const [args, code, words] of cases) {
      const outcome = await on(it, ...args);
      const [told] = outcome.told.split("\n");
      expect([args, outcome.code, told, outcome.out]).toEqual([args, code, words, ""]);
    }
    expect(it.modes()).toEqual(["a ready", "b/2 ready", "twice ready"]);
    const both = await on(it, "set", "a", "--slots", "many", "--weight", "0");
    expect([both.code, both.told.split("\n").length]).toEqual([2, 3]);
    expect((await on(it, "drain", "a", "--token-file", tokenFile)).code).toBe(0);
    expect(it.modes()[0]).toBe("a drain");
  });

  test("verbs: nobody there, several there, somebody else there", async () => {
    const none = await run([], "status");
    expect([none.code, none.told]).toEqual([
      1,
      "no iawlb answers in /run/here, /run/there; is it running, and not with --admin off? --admin ADDRESS names another place",
    ]);
    const two = await run(["/run/here/iawlb.sock", "/run/here/iawlb-7.sock"], "status");
    expect([two.code, two.told]).toEqual([
      2,
      "several answer: unix:/run/here/iawlb.sock, unix:/run/here/iawlb-7.sock; --admin ADDRESS says which",
    ]);
    const place = unixPlace();
    const gone = await run([], "status", "--admin", place);
    expect([gone.code, gone.told]).toEqual([
      1,
      `no iawlb answers at ${place} (ENOENT); is it running?`,
    ]);
    using dead = deadPort();
    const refused = await run([], "status", "--admin", String(dead.port));
    expect(refused.told).toContain(`no iawlb answers at localhost:${dead.port} (ECONNREFUSED)`);
    using other = serve({
      onData: (peer) => {
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
        peer.finish();
      },
    });
    const stranger = await run([], "status", "--admin", other.address);
    expect([stranger.code, stranger.told]).toEqual([
      1,
      `what answers at ${other.address} is no iawlb (HTTP 200)`,
    ]);
  });

  test("verbs: the command line has them all, and a help with examples for each", async () => {
    await using it = await scene();
    const command = async (...args: string[]) => {
      const child = Bun.spawn([process.execPath, CLI, ...args], {
        stdio: ["ignore", "pipe", "pipe"],
      });
      const [out, told] = await Promise.all([
        new Response(child.stdout).text(),
        new Response(child.stderr).text(),
      ]);
      return { code: await child.exited, out, told };
    };
    const [help, drained, wrong] = await Promise.all([
      command("drain", "--help"),
      command("drain", "a", "--json", "--admin", it.admin.addresses[1] ?? ""),
      command("set", "a"),
    ]);
    const drainVerb = verbs.find(({ name }) => name === "drain");
    if (drainVerb === undefined) throw new Error("no drain");
    expect(help).toEqual({ code: 0, out: `${verbUsage(drainVerb, manifest.version)}\n`, told: "" });
    expect(drained).toEqual({ code: 0, out: '{"message":"a drains","persisted":""}\n', told: "" });
    expect(it.modes()[0]).toBe("a drain");
    expect([wrong.code, wrong.out]).toEqual([2, ""]);
    for (const verb of verbs) {
      const text = verbUsage(verb, "1");
      expect(verb.examples.length).toBeGreaterThan(0);
      expect(text).toContain(`Usage: iawlb ${verb.name}`);
      for (const { name } of verb.options) expect(text).toContain(`--${name}`);
    }
  });

  test("verbs: quantities and tables for people", () => {
    expect([0, 1_023, 1_536, 20 * 2 ** 30].map(inBytes)).toEqual([
      "0 B",
      "1023 B",
      "1.5 KiB",
      "20 GiB",
    ]);
    expect([null, 0.25, 15_000, 600_000, 9_000_000, 4 * 86_400_000].map(inTime)).toEqual([
      "-",
      "0.3 ms",
      "15 s",
      "10 min",
      "2.5 h",
      "4 d",
    ]);
    expect(
      table(
        ["NAME", "N"],
        [
          ["ä\u001b[31m", "5"],
          ["longer", "1234"],
        ],
      ),
    ).toBe("NAME       N\nä?[31m     5\nlonger  1234");
  });
});
