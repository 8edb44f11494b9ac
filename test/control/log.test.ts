// What the operator reads: one plain line an event, on stderr, by level.

import { expect, test } from "bun:test";
import { join } from "node:path";
import type { BalancerEvent } from "../../src/balancer.ts";
import type { LogLevel } from "../../src/control/options.ts";

const events: readonly (readonly [BalancerEvent, LogLevel, string])[] = [
  [{ kind: "listening", address: "127.0.0.1:8080" }, "info", "listening on 127.0.0.1:8080"],
  [
    { kind: "destination-out", name: "3002", cause: "connect refused 3 times", retryMs: 1_000 },
    "warn",
    "warning: destination 3002 is out: connect refused 3 times, next try in 1 s",
  ],
  [
    { kind: "destination-out", name: "web", cause: "no answer", retryMs: 250.4 },
    "warn",
    "warning: destination web is out: no answer, next try in 250 ms",
  ],
  [{ kind: "destination-back", name: "3002" }, "info", "destination 3002 is back"],
  [{ kind: "queue-full" }, "warn", "warning: queue is full: new clients are refused"],
  [{ kind: "queue-clear" }, "info", "queue has room again"],
  [
    { kind: "local-fault", cause: "EMFILE" },
    "error",
    "error: cannot dial, and no destination is to blame: EMFILE",
  ],
  [{ kind: "draining", pairs: 3, waiting: 2 }, "info", "draining: 3 open go on, 2 waiting refused"],
  [{ kind: "drained", cut: 0 }, "info", "drained: all have finished"],
  [{ kind: "drained", cut: 2 }, "info", "drained: 2 cut off"],
  [{ kind: "warning", message: "a\nb\u001b[31m" }, "warn", "warning: a?b?[31m"],
];

const levels: readonly LogLevel[] = ["error", "warn", "info", "debug"];

test.each([...levels])(
  "log: what is at least as grave as %s is told, plain lines without a terminal",
  async (level) => {
    const said = await saidOf(level);
    const loud = events.filter(([, of]) => levels.indexOf(of) <= levels.indexOf(level));
    expect(said.stderr).toBe(loud.map(([, , line]) => `${line}\n`).join(""));
    expect(said.stdout).toBe("");
  },
);

async function saidOf(level: LogLevel) {
  const log = join(import.meta.dir, "../../src/control/log.ts");
  const program = `
    import { levelOf, say, setLogLevel, wordsOf } from ${JSON.stringify(log)};
    setLogLevel(${JSON.stringify(level)});
    for (const event of ${JSON.stringify(events.map(([event]) => event))}) say(levelOf(event), wordsOf(event));
  `;
  await using child = Bun.spawn([process.execPath, "-e", program], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, FORCE_COLOR: "1" },
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(await child.exited).toBe(0);
  return { stdout, stderr };
}
