// Real programs through the balancer, started by its command line as a user would.

import { expect, setDefaultTimeout } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seeded, serve, spawnBalancer, until, type RunningBalancer } from "../net.ts";
import { folder, freePort, pathOf, run, server, testWith } from "./program.ts";

setDefaultTimeout(120_000);

const MIB = 1024 * 1024;
const isRoot = process.getuid?.() === 0;

/** A balancer on a free port in front of one destination on this machine. */
function before(...destinations: readonly (number | string)[]): Promise<RunningBalancer> {
  // Some of these programs serve one connection and end: a check would be that one.
  const options = ["--health-interval", "0"];
  return spawnBalancer([
    ...options,
    "127.0.0.1:0",
    ...destinations.map((each) => toDestination(each)),
  ]);
}

function toDestination(place: number | string): string {
  return typeof place === "number" ? `127.0.0.1:${place}` : place;
}

/** The balancer ends well, and tells of `count` connections, none of them lost by its own doing. */
async function endsWell(balancer: RunningBalancer, count: number): Promise<void> {
  expect(await balancer.stop()).toBe(0);
  expect(balancer.stdout.length).toBeGreaterThanOrEqual(count);
  expect(balancer.stdout.filter((line) => line.includes("closed_by=balancer"))).toEqual([]);
}

function nginxConfig(path: string, ports: readonly number[]): string {
  const kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
  return `
    daemon off; pid ${path}/nginx.pid; error_log ${path}/error.log; worker_processes 1;
    events { worker_connections 256; }
    http {
      access_log off;
      ${kinds.map((kind) => `${kind}_temp_path ${path}/${kind};`).join(" ")}
      server {
        ${ports.map((port) => `listen 127.0.0.1:${port};`).join(" ")}
        root ${path};
        location = /port { return 200 "$server_port"; }
      }
    }`;
}

const testNginx = testWith({ nginx: "nginx", curl: "curl" });

testNginx(
  "curl and nginx: a big file whole and in ranges, and kept-alive connections",
  async () => {
    using home = folder();
    const ports = [freePort(), freePort()];
    const big = seeded().bytes(48 * MIB);
    writeFileSync(join(home.path, "big"), big);
    writeFileSync(join(home.path, "small"), "small");
    const config = join(home.path, "nginx.conf");
    writeFileSync(config, nginxConfig(home.path, ports));
    const nginx = ["nginx", "-c", config, "-p", home.path, "-e", join(home.path, "error.log")];
    await using _nginx = await server(nginx, ports[0] ?? 0);
    await using balancer = await before(...ports);
    const at = `http://${balancer.address}`;
    const curl = (...args: string[]) => run(["curl", "-sSf", "--max-time", "30", ...args]);

    expect((await curl(`${at}/big`)).equals(big)).toBe(true);
    const range = await curl("-r", "1000000-20999999", `${at}/big`);
    expect(range.equals(big.subarray(1_000_000, 21_000_000))).toBe(true);
    const slow = await curl("--limit-rate", "24M", "-r", "0-12582911", `${at}/big`);
    expect(slow.equals(big.subarray(0, 12 * MIB))).toBe(true);

    const told = ["-w", "%{num_connects} "];
    const kept = await curl(...told, `${at}/small`, `${at}/small`, `${at}/small`);
    expect(kept.toString().replaceAll("small", "")).toBe("1 0 0 ");
    const fresh = ["--parallel", "--no-keepalive", "-H", "Connection: close"];
    const answers = await curl(...fresh, ...Array.from({ length: 40 }, () => `${at}/port`));
    for (const port of ports) expect(answers.toString()).toContain(String(port)); // both serve
    await endsWell(balancer, 44);
  },
);

testNginx("curl: a dead destination beside a live one costs nobody an answer", async () => {
  using home = folder();
  const port = freePort();
  const config = join(home.path, "nginx.conf");
  writeFileSync(config, nginxConfig(home.path, [port]));
  const nginx = ["nginx", "-c", config, "-p", home.path, "-e", join(home.path, "error.log")];
  await using _nginx = await server(nginx, port);
  await using balancer = await before(freePort(), port, freePort());
  for (let i = 0; i < 20; i++) {
    const answer = await run(["curl", "-sSf", `http://${balancer.address}/port`]);
    expect(answer.toString()).toBe(String(port));
  }
  await endsWell(balancer, 20);
});

interface IperfReport {
  readonly end: Readonly<Record<string, { readonly bytes: number } | undefined>>;
  readonly error?: string;
}

testWith({ iperf3: "iperf3" })("iperf3: up, down, both at once, and in parallel", async () => {
  const port = freePort();
  await using _iperf = await server(["iperf3", "-s", "-p", String(port)], port);
  await using balancer = await before(port);
  const base = ["iperf3", "-c", "127.0.0.1", "-p", String(balancer.port), "-n", "64M", "--json"];
  const bytesOf = async (...way: string[]) => {
    // Its server is busy for a moment after each test, and says so.
    const { end, error } = await until(async () => {
      const report = JSON.parse((await run([...base, ...way])).toString()) as IperfReport;
      return !report.error?.includes("busy") && report;
    }, "an iperf3 server that is not busy");
    expect(error).toBeUndefined();
    return (sum: string) => end[sum]?.bytes ?? 0;
  };
  for (const way of [[], ["-R"], ["-P", "4"], ["-P", "4", "-R"]]) {
    const bytes = await bytesOf(...way);
    expect(bytes("sum_sent")).toBeGreaterThanOrEqual(64 * MIB);
    expect(bytes("sum_received")).toBeGreaterThan(0);
  }
  const bytes = await bytesOf("--bidir"); // ends when the quicker way is done
  expect(Math.max(bytes("sum_sent"), bytes("sum_sent_bidir_reverse"))).toBeGreaterThanOrEqual(
    64 * MIB,
  );
  expect(Math.min(bytes("sum_received"), bytes("sum_received_bidir_reverse"))).toBeGreaterThan(0);
  await endsWell(balancer, 15);
});

const redis = {
  "redis-server": "redis-server",
  "redis-cli": "redis-tools",
  "redis-benchmark": "redis-tools",
};

testWith(redis)(
  "redis: commands, pipelines and many clients, by TCP and by unix socket",
  async () => {
    using home = folder();
    const port = freePort();
    const socket = join(home.path, "redis.sock");
    const where = ["--port", String(port), "--unixsocket", socket, "--dir", home.path];
    await using _redis = await server(["redis-server", ...where, "--save", ""], port);
    for (const destination of [port, `unix:${socket}`]) {
      await using balancer = await before(destination);
      const at = ["-h", "127.0.0.1", "-p", String(balancer.port)];
      const cli = async (...words: string[]) =>
        (await run(["redis-cli", ...at, ...words])).toString().trim();
      expect(await cli("FLUSHALL")).toBe("OK");
      const value = seeded().bytes(MIB).toString("base64");
      expect(
        (await run(["redis-cli", ...at, "-x", "SET", "big"], { input: value })).toString(),
      ).toBe("OK\n");
      expect(await cli("GET", "big")).toBe(value);
      const commands = Array.from({ length: 20_000 }, (_, i) => `SET key:${i} ${i}\r\n`).join("");
      const piped = await run(["redis-cli", ...at, "--pipe"], { input: commands });
      expect(piped.toString()).toContain("errors: 0, replies: 20000");
      expect(await cli("DBSIZE")).toBe("20001");
      const load = ["-t", "set,get", "-n", "20000", "-c", "50", "-P", "16", "-q"];
      const told = await run(["redis-benchmark", ...at, ...load]);
      expect(told.toString()).toMatch(
        /SET: [\d.]+ requests per second[^]*GET: [\d.]+ requests per second/,
      );
      await endsWell(balancer, 105);
    }
  },
);

/** PostgreSQL does not run as root: then as its own user. */
async function postgresUser(): Promise<{ prefix: string[]; owner?: number }> {
  if (!isRoot) return { prefix: [] };
  const owner = Number((await run(["id", "-u", "postgres"])).toString());
  return { prefix: ["setpriv", `--reuid=${owner}`, "--regid=postgres", "--clear-groups"], owner };
}

const postgres = { initdb: "postgresql", postgres: "postgresql", psql: "postgresql-client" };

testWith(postgres)("PostgreSQL: queries, COPY of megabytes both ways, many sessions", async () => {
  const { prefix, owner } = await postgresUser();
  using home = folder(owner);
  const data = join(home.path, "data");
  const init = [
    "-D",
    data,
    "-U",
    "tester",
    "--auth=trust",
    "--no-sync",
    "--locale=C",
    "-E",
    "UTF8",
  ];
  await run([...prefix, pathOf("initdb"), ...init]);
  const port = freePort();
  const settings = [
    `port=${port}`,
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "fsync=off",
  ];
  const command = [
    ...prefix,
    pathOf("postgres"),
    "-D",
    data,
    ...settings.flatMap((s) => ["-c", s]),
  ];
  await using _postgres = await server(command, port);
  await using balancer = await before(port);
  const at = ["-h", "127.0.0.1", "-p", String(balancer.port), "-U", "tester", "-d", "postgres"];
  const psql = (text: string, input?: string) =>
    run(["psql", ...at, "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", text], { input });

  expect((await psql("select 6 * 7")).toString()).toBe("42\n");
  await psql("create table rows (id int, words text)");
  const rows = Array.from(
    { length: 120_000 },
    (_, i) => `${i}\trow ${i} of so many rows, of which none is lost\n`,
  ).join("");
  expect(rows.length).toBeGreaterThan(5 * MIB);
  await psql("copy rows from stdin", rows);
  expect((await psql("copy (select * from rows order by id) to stdout")).toString()).toBe(rows);
  const sums = await Promise.all(
    Array.from({ length: 12 }, (_, i) => psql(`select count(*) from rows where id % 12 = ${i}`)),
  );
  expect(new Set(sums.map(String))).toEqual(new Set(["10000\n"]));
  await endsWell(balancer, 16);
});

/** Run by root, sshd wants this folder, which its service makes at boot; it stays, for others may use it. */
const SSHD_FOLDER = "/run/sshd";

const ssh = {
  sshd: "openssh-server",
  ssh: "openssh-client",
  scp: "openssh-client",
  "ssh-keygen": "openssh-client",
};

testWith(ssh)("ssh: a command, and 5 MB by scp and by pipe, each way", async () => {
  using home = folder();
  const at = (name: string) => join(home.path, name);
  for (const key of ["host", "user"]) {
    await run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", at(key)]);
  }
  const port = freePort();
  const config = [
    `Port ${port}`,
    "ListenAddress 127.0.0.1",
    `HostKey ${at("host")}`,
    `AuthorizedKeysFile ${at("user.pub")}`,
    `PidFile ${at("pid")}`,
    "PermitRootLogin yes",
    "StrictModes no",
    "UsePAM no",
    "Subsystem sftp internal-sftp",
  ];
  writeFileSync(at("sshd_config"), `${config.join("\n")}\n`);
  if (isRoot) mkdirSync(SSHD_FOLDER, { recursive: true, mode: 0o755 });
  await using _sshd = await server(["sshd", "-D", "-e", "-f", at("sshd_config")], port);
  await using balancer = await before(port);
  const settings = [
    "IdentitiesOnly=yes",
    "BatchMode=yes",
    "StrictHostKeyChecking=no",
    `UserKnownHostsFile=${at("known")}`,
  ];
  const options = ["-F", "none", "-i", at("user"), ...settings.flatMap((each) => ["-o", each])];
  const user = `${(await run(["id", "-un"])).toString().trim()}@127.0.0.1`;
  const shell = (command: string, input?: Uint8Array) =>
    run(["ssh", ...options, "-p", String(balancer.port), user, command], { input });
  const bytes = seeded().bytes(5_000_000);

  expect((await shell("echo $((6 * 7))")).toString()).toBe("42\n");
  await shell(`cat > ${at("piped")}`, bytes);
  expect(readFileSync(at("piped")).equals(bytes)).toBe(true);
  expect((await shell(`cat ${at("piped")}`)).equals(bytes)).toBe(true);
  const scp = ["scp", "-q", ...options, "-P", String(balancer.port)];
  await run([...scp, at("piped"), `${user}:${at("there")}`]);
  await run([...scp, `${user}:${at("there")}`, at("back")]);
  expect(readFileSync(at("back")).equals(bytes)).toBe(true);
  await endsWell(balancer, 5);
});

testWith({ nc: "netcat-openbsd" })(
  "nc -N: an answer that begins after the client's end",
  async () => {
    using counter = serve({
      onEnd: (peer) => (peer.send(`${peer.receivedCount} bytes`), peer.finish()),
    });
    await using balancer = await before(counter.address);
    const input = seeded().bytes(3 * MIB);
    const answer = await run(["nc", "-N", "127.0.0.1", String(balancer.port)], { input });
    expect(answer.toString()).toBe(`${3 * MIB} bytes`);
    expect(counter.peers[0]?.received.equals(input)).toBe(true);
    await endsWell(balancer, 1);
  },
);

testWith({ ss: "iproute2" })("ss: the backlog is in force, as asked for", async () => {
  const somaxconn = Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
  for (const [options, backlog] of [
    [[], 4096],
    [["--backlog", "77"], 77],
  ] as const) {
    for (const listen of ["127.0.0.1:0", "[::1]:0", "0"]) {
      await using balancer = await spawnBalancer([...options, listen, String(freePort())]);
      const shown = (await run(["ss", "-ltnH", `sport = ${balancer.port}`])).toString();
      expect(shown).toMatch(new RegExp(`^LISTEN +0 +${Math.min(backlog, somaxconn)} `));
    }
  }
});
