// Names of destinations: dead and live addresses under one name, and a name that stops resolving.

import { expect } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CLI, type Server } from "../net.ts";
import { endings } from "../e2e/ways.ts";
import { fault } from "./lab.ts";
import { askMany, hearer, numbered } from "./peers.ts";

/** A program with an /etc/hosts of its own, in a mount namespace that ends with it. */
class Hosts implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), `iawlb-hosts-${process.pid}-`));
  readonly path = join(this.folder, "hosts");
  readonly command = [
    "unshare",
    "-m",
    "sh",
    "-c",
    'mount --bind "$0" /etc/hosts && exec "$@"',
    this.path,
  ];

  constructor(lines: readonly string[]) {
    this.say(lines);
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
