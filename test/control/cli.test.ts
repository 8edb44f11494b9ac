// The program as a user meets it: help, check, mistakes, signals, and output that nobody reads.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { optionTable, suffixTable } from "../../src/control/options.ts";
import { client, echoServer, spawnBalancer, tagServer, until } from "../net.ts";

const cli = join(import.meta.dir, "../../src/cli.ts");

/** Runs the program to its end. */
async function run(...args: string[]) {
  await using child = Bun.spawn([process.execPath, cli, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, NODE_ENV: undefined },
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { code: await child.exited, stdout, stderr };
}

const linesOf = (text: string) => text.split("\n").slice(0, -1);

describe("help and version", () => {
  test.each([
    [["--help"]],
    [["-h"]],
    [["serve", "--help"]],
    [["check", "-h"]],
    [["8080", "--help"]],
  ])("cli: %p tells every option with its default, every suffix, and examples", async (args) => {
    const { code, stdout, stderr } = await run(...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const words = stdout.replace(/\s+/g, " ");
    for (const row of optionTable()) {
      const { option, placeholder, help } = row;
      const term = `${option} ${placeholder}`.trimEnd(); // a flag takes no value
      expect(words).toContain(`${term} ${help} (default ${row.default})`);
    }
    for (const { suffix, help } of suffixTable()) expect(words).toContain(`${suffix} ${help}`);
    expect(words).toContain("Examples: iawlb ");
    expect(words).toContain(`iawlb ${manifest.version}`);
    for (const line of linesOf(stdout)) expect(line).toMatch(/^[\x20-\x7e]{0,80}$/);
  });

  test("cli: the help of demo tells of its port alone", async () => {
    const { code, stdout } = await run("demo", "--help");
    expect(code).toBe(0);
    expect(stdout).toContain("iawlb demo [--port N]");
    expect(stdout).not.toContain("--slots");
  });

  test("cli: every example of the help is accepted", async () => {
    const { stdout } = await run("--help");
    const examples = [...stdout.matchAll(/^ {2}iawlb (\S.*)$/gm)].map((match) => match[1] ?? "");
    expect(examples.length).toBeGreaterThan(3);
    for (const example of examples) {
      const { code, stderr } = await run("check", ...example.split(" "));
      expect({ example, code, stderr }).toEqual({ example, code: 0, stderr: "" });
    }
  });

  test.each([[["--version"]], [["-v"]], [["serve", "--version"]], [["check", "8080", "-v"]]])(
    "cli: %p tells the version",
    async (args) => {
      expect(await run(...args)).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: "" });
    },
  );

  test("cli: without any argument a short usage is told, exit code 2", async () => {
    const { code, stdout, stderr } = await run();
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(/^Usage: iawlb .*\n.*\n.*iawlb --help\n$/);
  });
});

describe("check", () => {
  test("cli: check says in words what would run", async () => {
    const line = "check --slots 1 8080 3001 [::1]:3002,weight=3,backup,name=two";
    const { code, stdout, stderr } = await run(...line.split(" "));
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(linesOf(stdout)).toEqual([
      "listen        port 8080 of every interface, backlog 4096",
      "policy        pull: the least used destination, the longest idle first; 1 slot each, then clients wait in one queue",
      "threads       1, Bun's sockets",
      "queue         10000 clients at most, 15s each; who has finished sending keeps its place",
      "batch         flushed at as many as destinations that can take one, or after the end of the event loop's turn",
      "timeouts      connect 5s, idle 1h, half-close 30s, answer off, cooldown none",
      "connections   as many as the descriptor limit allows; refused by a reset",
      "clients       anybody, as many as come",
      "health        a check every 2s, 1s at most, down after 3, back after 2, open connections stay",
      "drain         up to 30s",
      "access log    logfmt lines on stdout",
      "destinations  2",
      "  3001  localhost:3001  1 slot, weight 1",
      "  two   [::1]:3002      1 slot, weight 3, backup",
    ]);
  });

  test("cli: check says every setting that differs from its default", async () => {
    const line =
      "check --queue-timeout=0 --queue-fin=leave --flush-count=64 --flush-time=2ms --idle-timeout=0 " +
      "--half-close-timeout=0 --answer-timeout=31s --cooldown=50ms --max-connections=100 " +
      "--drain-timeout=0 --access-log=off --policy=hash --refuse=fin --max-age=1h+-10% --max-per-client=5 " +
      "--rate-per-client=90/m --allow=::/0 --deny=10.0.0.0/8,::1 --on-down=close --slow-start=30s " +
      "[::1]:0 unix:/run/a,slots=2 3002,health-http=/up,health-interval=5s,health-port=9";
    const { stdout } = await run(...line.split(" "));
    expect(linesOf(stdout)).toEqual([
      "listen        [::1]:0, a port of its choice, backlog 4096",
      "policy        hash: by client address, the same client to the same destination; slots as listed, then clients wait in one queue",
      "threads       1, Bun's sockets",
      "queue         10000 clients at most, for ever; who has finished sending is taken as gone",
      "batch         flushed at 64 arrivals, or after 2ms",
      "timeouts      connect 5s, idle never, half-close as idle, answer 31s, cooldown 50ms",
      "connections   100 at most; refused by an end; closed when quiet at the age of 1h±10%",
      "clients       5 connections each, 90/m each, IPv6 by /64, 1 network allowed, 2 networks denied",
      "health        a check every interval as listed, 1s at most, down after 3, back after 2, open connections are closed, slow start over 30s",
      "drain         cut at once",
      "access log    off",
      "destinations  2",
      "  unix:/run/a  unix:/run/a     2 slots, weight 1, checked by connect every 2s",
      "  3002         localhost:3002  no limit, weight 1, checked by GET /up port 9 every 5s",
    ]);
  });

  test("cli: check --json says the same for programs", async () => {
    const line = "check 8080 --json 3001,slots=2 --policy hash";
    const { code, stdout } = await run(...line.split(" "));
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      listen: "*:8080",
      destinations: [
        { name: "3001", address: "localhost:3001", slots: 2, weight: 1, backup: false },
      ],
      policy: "hash",
      queueMs: 15_000,
      connectionCountMax: 0,
    });
  });

  test("cli: check --json tells mistakes as JSON, exit code 2", async () => {
    const { code, stdout, stderr } = await run("check", "--json", "--slot", "1", "8080");
    expect({ code, stderr }).toEqual({ code: 2, stderr: "" });
    const { mistakes } = JSON.parse(stdout);
    expect(mistakes.map((one: { code: string }) => one.code)).toEqual([
      "unknown-option",
      "no-destination",
    ]);
  });

  test("cli: check of thousands of destinations is written whole", async () => {
    const places = Array.from({ length: 3_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}:3001`);
    const { code, stdout } = await run("check", "8080", ...places);
    expect(code).toBe(0);
    expect(linesOf(stdout)).toHaveLength(12 + 3_000);
  });
});

describe("mistakes", () => {
  test.each(["serve", "check"])(
    "cli: %s tells all mistakes on stderr, exit code 2",
    async (command) => {
      const { code, stdout, stderr } = await run(
        command,
        "--slot",
        "1",
        "8080",
        "::1:3001",
        "3001,",
      );
      expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
      const lines = linesOf(stderr);
      expect(lines).toHaveLength(4);
      expect(lines[0]).toMatch(/^--slot: .*; did you mean --slots\?$/);
      expect(lines[1]).toMatch(/^::1:3001: .*; did you mean \[::1\]:3001\?$/);
      expect(lines[2]).toMatch(/^3001,: .* accepted are ,slots=N .*/);
      expect(lines[3]).toContain("iawlb --help");
    },
  );

  test("cli: a mistyped command is taken as the address it would be, and told", async () => {
    const { code, stderr } = await run("chekc", "8080", "3001");
    expect(code).toBe(2);
    expect(stderr).toStartWith("chekc: the port is missing");
  });

  test("cli: demo tells its mistakes too", async () => {
    const { code, stderr } = await run("demo", "8080", "--prot", "1");
    expect(code).toBe(2);
    expect(linesOf(stderr)[0]).toStartWith("8080: is not needed");
    expect(linesOf(stderr)[1]).toEndWith("did you mean --port?");
  });

  test("cli: a port in use is one line with address and cause, exit code 1", async () => {
    using server = echoServer();
    for (const args of [
      [`127.0.0.1:${server.port}`, "3001"],
      ["demo", "--port", String(server.port)],
    ]) {
      const { code, stdout, stderr } = await run(...args);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(linesOf(stderr)).toHaveLength(1);
      expect(stderr).toContain(`127.0.0.1:${server.port}`);
      expect(stderr).toContain("EADDRINUSE");
    }
  });
});

describe("serving", () => {
  test("cli: a connection goes through, its line is on stdout, SIGTERM ends with 0", async () => {
    using server = echoServer();
    await using balancer = await spawnBalancer(["127.0.0.1:0", `${server.address},name=echo`]);
    const peer = await client(balancer.port);
    peer.send("hello");
    await until(() => peer.text === "hello", "the echo");
    peer.finish();
    await until(() => balancer.stdout.length === 1, "the access line");
    expect(await balancer.stop("SIGTERM")).toBe(0);
    const ends = "bytes_up=5 bytes_down=5 state=-- closed_by=client reason=done";
    expect(balancer.stdout[0]).toMatch(/^time=\S+Z id=\d+ client=127\.0\.0\.1:\d+ /);
    expect(balancer.stdout[0]).toContain(
      ` listener=${balancer.address} destination=echo tried="" `,
    );
    expect(balancer.stdout[0]).toEndWith(ends);
    expect(linesOf(balancer.stderr)).toEqual([
      `listening on ${balancer.address}`,
      "draining: 0 open go on, 0 waiting refused",
      "drained: all have finished",
    ]);
  });

  test("cli: the first SIGTERM waits for who is served, who then finishes in peace", async () => {
    using server = echoServer();
    await using balancer = await spawnBalancer(["127.0.0.1:0", server.address]);
    const peer = await client(balancer.port);
    peer.send("a");
    await until(() => peer.text === "a", "the echo");
    const exited = balancer.stop("SIGTERM");
    await until(() => balancer.stderr.includes("draining"), "draining");
    peer.send("b");
    await until(() => peer.text === "ab", "the second echo");
    peer.finish();
    expect(await exited).toBe(0);
    // Its line was still on the way when the last connection ended.
    expect(balancer.stdout).toHaveLength(1);
  });

  test.each([
    ["SIGTERM", 143],
    ["SIGINT", 130],
  ] as const)("cli: the second signal ends at once, %s with %i", async (signal, code) => {
    using server = echoServer();
    await using balancer = await spawnBalancer(["127.0.0.1:0", server.address]);
    const peer = await client(balancer.port);
    peer.send("a");
    await until(() => peer.text === "a", "the echo");
    const exited = balancer.stop("SIGTERM");
    await until(() => balancer.stderr.includes("draining"), "draining");
    let ended = false;
    void exited.then(() => (ended = true));
    // Within 100 ms of the first a second one is taken for the same Ctrl-C.
    await until(() => ended || void process.kill(balancer.pid, signal), "the end");
    expect(await exited).toBe(code);
  });

  test("cli: SIGHUP reads the configuration again and ends nothing", async () => {
    using server = tagServer("one");
    await using balancer = await spawnBalancer(["127.0.0.1:0", server.address]);
    process.kill(balancer.pid, "SIGHUP");
    await until(() => balancer.stderr.includes("reload: no change\n"), "the line");
    await expectAnswer(balancer.port, "one");
    expect(await balancer.stop()).toBe(0);
  });

  test("cli: --access-log and --log-level are obeyed", async () => {
    using server = tagServer("one");
    const place = server.address;
    await using balancer = await spawnBalancer(["127.0.0.1:0", place, "--access-log=json"]);
    await expectAnswer(balancer.port, "one");
    await until(() => balancer.stdout.length === 1, "the access line");
    expect(JSON.parse(balancer.stdout[0] ?? "")).toMatchObject({
      destination: place,
      reason: "done",
    });
    await balancer.stop();

    await using silent = Bun.spawn(
      [process.execPath, cli, "127.0.0.1:0", place, "--access-log=off", "--log-level=warn"],
      { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, IAWLB_ADMIN: "off" } },
    );
    const output = Promise.all([silent.stdout.text(), silent.stderr.text()]);
    // It says nothing, so only its handler for SIGHUP shows that it has started.
    await until(() => catches(silent.pid, 1), "the signal handlers");
    silent.kill("SIGTERM");
    expect(await output).toEqual(["", ""]);
    expect(await silent.exited).toBe(0);
  });

  test("cli: a broken stdout ends the lines, not the balancer, and is told once", async () => {
    using server = tagServer("one");
    await using child = Bun.spawn([process.execPath, cli, "127.0.0.1:0", server.address], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const output = { stderr: "" };
    const collected = collect(child.stderr, (text) => (output.stderr += text));
    await until(() => output.stderr.includes("listening on"), "listening");
    await child.stdout.cancel();
    const port = portIn(output.stderr);
    await expectAnswer(port, "one");
    await until(() => output.stderr.includes("access log ends: EPIPE\n"), "the warning");
    await expectAnswer(port, "one");
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    await collected;
    expect(output.stderr.split("access log ends")).toHaveLength(2);
    expect(output.stderr).toEndWith("2 access lines were not written\n");
  });

  test("cli: a broken stderr does not end the balancer", async () => {
    using server = tagServer("one");
    await using child = Bun.spawn([process.execPath, cli, "127.0.0.1:0", server.address], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const stderr = child.stderr.getReader();
    const port = portIn(new TextDecoder().decode((await stderr.read()).value));
    await stderr.cancel();
    for (let i = 0; i < 3; i++) {
      child.kill("SIGHUP"); // of which it tells
      await expectAnswer(port, "one");
    }
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
    expect(linesOf(await child.stdout.text())).toHaveLength(3);
  });

  test("cli: demo passes requests on to one, two and three, on the port it says", async () => {
    // When 8080 is taken, by us or by another, it takes a free one.
    const taken = tryListen(8080);
    await using child = Bun.spawn([process.execPath, cli, "demo"], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const stderr = child.stderr.text();
    const output = { text: "" };
    const collected = collect(child.stdout, (text) => (output.text += text));
    await until(() => output.text.includes("Ctrl-C"), "the text");
    const url = /^http:\/\/127\.0\.0\.1:\d+/.exec(output.text)?.[0] ?? "";
    expect(url).not.toEndWith(":8080");
    const get = async (path = "/") => {
      const response = await fetch(url + path, { headers: { connection: "close" } });
      return (await response.text()).trim();
    };
    const answers = [await get(), await get(), await get(), await get()];
    expect(answers.toSorted()).toEqual([
      "one: request 1",
      "one: request 2",
      "three: request 1",
      "two: request 1",
    ]);
    const gone = (await get("/away")).split(":")[0] ?? "";
    const left = await Promise.all(Array.from({ length: 6 }, () => get()));
    expect(left.filter((answer) => answer.startsWith(gone))).toEqual([]);
    await until(() => output.text.includes(` tried=${gone} `), "the line of the retry");
    child.kill("SIGINT");
    expect(await child.exited).toBe(0);
    await collected;
    expect(await stderr).toContain("listening on ");
    taken?.stop(true);
  });
});

async function collect(stream: ReadableStream<Uint8Array>, add: (text: string) => void) {
  const decoder = new TextDecoder();
  for await (const chunk of stream) add(decoder.decode(chunk, { stream: true }));
}

/** Connects to a server that speaks first, reads to its end, and ends too. */
async function expectAnswer(port: number, answer: string): Promise<void> {
  const peer = await client(port);
  await until(() => peer.over, "the answer");
  expect(peer.text).toBe(answer);
  peer.finish();
}

function portIn(text: string): number {
  return Number(/listening on \S+:(\d+)\n/.exec(text)?.[1]);
}

/** The process has a handler for the signal. */
function catches(pid: number, signal: number): boolean {
  const mask = /^SigCgt:\s+(\w+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return ((BigInt(`0x${mask ?? "0"}`) >> BigInt(signal - 1)) & 1n) === 1n;
}

function tryListen(port: number) {
  try {
    return Bun.listen({ hostname: "127.0.0.1", port, socket: { data() {} } });
  } catch {
    return null;
  }
}
