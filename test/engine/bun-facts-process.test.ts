// What Bun does as a process: timers of sockets, running out of descriptors, pointers, compiled binaries.
// Rules R8, R11, R16 and R17 rest on it; a failure here after an update of Bun means: read the rule again.

import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as joinPath } from "node:path";
import { rawConnect } from "../raw.ts";
import { until } from "../wait.ts";
import { join, RawPeer } from "./facts.ts";

setDefaultTimeout(60_000);

test.concurrent(
  "R8: a socket's timeout closes nothing, and traffic does not put it off",
  async () => {
    let fired = 0;
    using it = await join("accepted", { data() {}, timeout: () => void fired++ });
    it.bun.socket.timeout(1);
    const start = performance.now();
    await until(() => {
      it.raw.send(Buffer.from("traffic"));
      it.bun.socket.write("traffic");
      it.raw.read();
      return fired > 0;
    }, "the timeout");
    expect(performance.now() - start).toBeLessThan(9_000);
    expect(it.bun.seen("close")).toBe(false);
    it.bun.socket.write("open still");
    expect(await until(() => it.raw.read().toString(), "bytes after the timeout")).toBe(
      "open still",
    );
  },
);

/** Runs TypeScript in a fresh Bun and returns its output. */
async function outputOf(source: string): Promise<string> {
  const child = Bun.spawn([process.execPath, "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 30_000,
  });
  return new Response(child.stdout).text();
}

/** CPU milliseconds a process has used. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const OUT_OF_DESCRIPTORS = `
  const { openSync, closeSync } = require("node:fs");
  const socket = { data() {}, open() { console.log("accepted"); } };
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket });
  const files = [];
  try { for (;;) files.push(openSync("/dev/null")); } catch (error) { console.log(error.code); }
  const connectError = (_, error) => console.log(error.code, sync ? "at once" : "later");
  let sync = true;
  Bun.connect({ hostname: "127.0.0.1", port: listener.port, socket: { ...socket, connectError } }).catch(() => {});
  sync = false;
  process.on("SIGUSR2", () => files.splice(0, 8).forEach((fd) => closeSync(fd)));
  console.log("port", listener.port);
`;

test("R11: out of descriptors, an accept spins, and a dial by address blames the destination", async () => {
  const limited = ["sh", "-c", 'ulimit -n 64 && exec "$0" -e "$1"'];
  await using child = Bun.spawn([...limited, process.execPath, OUT_OF_DESCRIPTORS], {
    stdio: ["ignore", "pipe", "inherit"],
    timeout: 30_000,
  });
  let output = "";
  const reading = (async () => {
    for await (const chunk of child.stdout) output += Buffer.from(chunk).toString();
  })();
  const [, port] = await until(() => output.match(/port (\d+)\n/), "the child's port");
  expect(output).toStartWith("EMFILE\nECONNREFUSED at once\n"); // R10's synchronous, local fault

  const idleFrom = cpuMs(child.pid);
  await Bun.sleep(300);
  expect(cpuMs(child.pid) - idleFrom).toBeLessThan(100);
  using _waiting = new RawPeer(rawConnect(Number(port)));
  const from = cpuMs(child.pid);
  await until(
    () => cpuMs(child.pid) - from >= 300,
    "300 ms of CPU spent on one waiting connection",
  );
  expect(output).not.toContain("accepted");
  child.kill("SIGUSR2"); // descriptors again
  await until(() => output.includes("accepted"), "the accept once there are descriptors");
  child.kill("SIGKILL");
  await reading;
});

test("R16: an address outlives its array's collection only if the array is kept", async () => {
  const source = `
    import { ptr, read } from "bun:ffi";
    const kept = [];
    const addresses = (value, keep) => Array.from({ length: 2000 }, () => {
      const bytes = new Uint8Array(16).fill(value);
      if (keep) kept.push(bytes);
      return ptr(bytes);
    });
    const held = addresses(0x5a, true), lost = addresses(0xa5, false);
    Bun.gc(true);
    const others = Array.from({ length: 20000 }, () => new Uint8Array(16).fill(1));
    Bun.gc(true);
    const whole = (all, value) => all.filter((at) => read.u8(at, 0) === value && read.u8(at, 15) === value).length;
    console.log("kept", whole(held, 0x5a), kept.length, others.length);
    console.log("not kept", whole(lost, 0xa5));
  `;
  const output = await outputOf(source);
  expect(output).toStartWith("kept 2000 2000 20000\n");
  const survivors = output.match(/not kept (\d+)/)?.[1] ?? "0"; // absent: reading them crashed
  expect(Number(survivors)).toBeLessThan(100);
});

test("R17: a compiled binary runs the preload of its working directory, unless built not to", async () => {
  const folder = mkdtempSync(joinPath(tmpdir(), "iawlb-test-"));
  try {
    writeFileSync(joinPath(folder, "main.ts"), 'console.log("main");');
    const build = async (...flags: string[]) => {
      const to = ["main.ts", "--outfile", "binary"];
      const cwd = folder;
      await Bun.$`${process.execPath} build --compile ${flags} ${to}`.cwd(cwd).quiet();
      writeFileSync(joinPath(folder, "stranger.ts"), 'console.log("stranger");');
      writeFileSync(joinPath(folder, "bunfig.toml"), 'preload = ["./stranger.ts"]\n');
      writeFileSync(joinPath(folder, ".env"), "STRANGE=1\n");
      return Bun.$`./binary`.cwd(cwd).text();
    };
    expect(await build()).toBe("stranger\nmain\n");
    rmSync(joinPath(folder, "bunfig.toml"));
    const flags = ["--no-compile-autoload-bunfig", "--no-compile-autoload-dotenv"];
    expect(await build(...flags)).toBe("main\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
