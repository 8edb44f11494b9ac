// Names of destinations: dead and live addresses under one name, and a name that stops resolving.

import { expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLI, until, type Server } from "../net.ts";
import { endings } from "../e2e/ways.ts";
import { fault } from "./lab.ts";
import { ask, askMany, hearer, longMs, numbered } from "./peers.ts";

const bind = 'mount --bind "$0/hosts" /etc/hosts';
/** No server of names is asked. */
const bindOrder =
  '{ [ ! -e /etc/nsswitch.conf ] || mount --bind "$0/nsswitch.conf" /etc/nsswitch.conf; }';

/** A program with an /etc/hosts of its own, in a mount namespace that ends with it. */
class Hosts implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), `iawlb-hosts-${process.pid}-`));
  readonly path = join(this.folder, "hosts");
  readonly command = [
    "unshare",
    "-m",
    "sh",
    "-c",
    `${bind} && ${bindOrder} && exec "$@"`,
    this.folder,
  ];

  constructor(lines: readonly string[]) {
    this.say(lines);
    writeFileSync(join(this.folder, "nsswitch.conf"), "hosts: files\n");
  }

  say(lines: readonly string[]): void {
    writeFileSync(this.path, ["127.0.0.1 localhost", ...lines, ""].join("\n"));
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

function missingMounts(): string | null {
  if (Bun.which("unshare") === null) return "unshare is not installed (apt-get install util-linux)";
  using hosts = new Hosts([]);
  const { exitCode, stderr } = Bun.spawnSync([...hosts.command, "true"]);
  return exitCode === 0 ? null : `no mount namespace (${stderr.toString().trim()})`;
}

const skip = missingMounts();
const name = `lab-${process.pid}.test`;

fault(
  35,
  "a name with dead addresses and a live one serves every client",
  async (lab) => {
    using hosts = new Hosts(["127.0.0.7", "127.0.0.8", "127.0.0.1"].map((ip) => `${ip} ${name}`));
    using server: Server = hearer("live");
    const balancer = await lab.start([`${name}:${server.port}`], {
      command: [...hosts.command, process.execPath, CLI],
    });
    const words = numbered(30);
    expect(await askMany(balancer.port, words)).toEqual(words.map((each) => `live heard ${each}`));
    const ended = await balancer.finish(30);
    expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
    expect(new Set(ended.map((each) => each.destination))).toEqual(
      new Set([`${name}:${server.port}`]),
    );
  },
  { skip },
);

fault(
  35,
  "a name that does not resolve is told at the start, the others serve",
  async (lab) => {
    using hosts = new Hosts([]);
    using server = hearer("live");
    const balancer = await lab.start([`${name}:80`, server.address], {
      command: [...hosts.command, process.execPath, CLI],
    });
    const words = numbered(20);
    expect(await askMany(balancer.port, words)).toEqual(words.map((each) => `live heard ${each}`));
    expect(balancer.stderr).toContain(`the name ${name} does not resolve`);
    const { destinations } = await balancer.status();
    expect(destinations[0]).toMatchObject({ state: "unresolved", connections: 0 });
    const ended = await balancer.finish(20);
    expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
    expect(ended.filter((each) => each.tried.length > 0)).toEqual([]);
  },
  { skip },
);

/** Looks a name up, again after each change of the hosts file, and prints what destinations are given. */
const looker = `
const [module, name, path] = process.argv.slice(1);
const { Names } = await import(module);
const { writeFileSync } = await import("node:fs");
const heard = [];
const names = new Names([name, null, name], (row, ips) => heard.push([row, ips]), (text) => heard.push(text));
for (const ip of ["10.0.0.1", "", "10.0.0.1", "10.0.0.2"]) {
  writeFileSync(path, ip === "" ? "" : ip + " " + name + "\\n");
  await names.lookUp();
  heard.push("then");
}
console.log(JSON.stringify(heard));`;

fault(
  35,
  "a name that stops resolving keeps its last addresses, without a word",
  async () => {
    using hosts = new Hosts([]);
    const module = join(import.meta.dir, "../../src/control/resolve.ts");
    const child = Bun.spawn(
      [...hosts.command, process.execPath, "-e", looker, module, name, hosts.path],
      { stdio: ["ignore", "pipe", "inherit"], timeout: 30_000 },
    );
    const heard: unknown = JSON.parse(await new Response(child.stdout).text());
    expect(await child.exited).toBe(0);
    const given = (ip: string) => [
      [0, [ip]],
      [2, [ip]],
    ];
    // Lost and found again: nothing changes.
    expect(heard).toEqual([
      ...given("10.0.0.1"),
      "then",
      "then",
      "then",
      ...given("10.0.0.2"),
      "then",
    ]);
  },
  { skip },
);

const hasten = ["--preload", join(import.meta.dir, "hasten.ts")];
const other = `other-${process.pid}.test`;

fault(
  35,
  "names that begin to resolve, stop and change: clients go where the last answer says",
  async (lab) => {
    // One port at two addresses.
    using old = hearer("old", "127.0.0.71:0");
    using fresh = hearer("new", `127.0.0.72:${old.port}`);
    using hosts = new Hosts([]);
    const places = [`${name}:${old.port}`, `${other}:${old.port},backup`];
    const balancer = await lab.start(places, {
      command: [...hosts.command, process.execPath, ...hasten, CLI],
    });
    let count = 0;
    const answerOf = async (words: string) => {
      count += 1;
      return (await ask(balancer.port, words)).text;
    };
    // Neither resolves: who comes waits, and is served once one does.
    const waiting = answerOf("patient");
    await balancer.when((now) => now.queue.waiting === 1, "it waits");
    hosts.say([`127.0.0.71 ${name}`]);
    expect(await waiting).toBe("old heard patient");
    // It moves.
    hosts.say([`127.0.0.72 ${name}`]);
    const hasMoved = async () => (await answerOf("where")).startsWith("new");
    await until(hasMoved, "a client at the new address", longMs);
    // It is gone. That the other is found shows that they were looked up meanwhile.
    hosts.say([`127.0.0.71 ${other}`]);
    await balancer.when((now) => now.destinations[1]?.state === "up", "the other is found");
    // A thread may hear of the move a moment later than the one that has served us.
    const words = numbered(20);
    const wanted = words.map((each) => `new heard ${each}`).join();
    const isKept = async () => {
      count += words.length;
      return (await askMany(balancer.port, words)).join() === wanted;
    };
    await until(isKept, "all clients at the last address", longMs);
    expect((await balancer.status()).destinations[0]?.state).toBe("up");
    expect([old.heard[0], fresh.heard.length > 0]).toEqual(["patient", true]);
    const ended = await balancer.finish(count);
    expect(new Set(endings(ended))).toEqual(new Set(["done -- client"]));
    expect(ended.filter((each) => each.tried.length > 0)).toEqual([]);
    const told = balancer.stderr.split(`the name ${name} does not resolve`).length - 1;
    expect(told).toBe(1);
  },
  { skip },
);
