// /metrics as Prometheus' own tool reads it, its numbers against the balancer's, and what it all costs.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { metricsText } from "../../src/admin/metrics.ts";
import { sampleOf } from "../../src/admin/sample.ts";
import { client, until } from "../net.ts";
import { pathOf, testWith } from "../e2e/program.ts";
import { scene } from "./steered.ts";
import { statusWith, wideStatus } from "./wide.ts";

const destinationCount = 1_000;

/** The value of a line, NaN where there is none. */
function valueOf(text: string, line: string): number {
  const found = text.split("\n").find((each) => each.startsWith(`${line} `));
  return Number(found?.slice(line.length) ?? Number.NaN);
}

async function lint(text: string): Promise<[code: number, words: string]> {
  const child = Bun.spawn([pathOf("promtool"), "check", "metrics"], {
    stdio: [Buffer.from(text), "pipe", "pipe"],
    timeout: 20_000,
  });
  const words = await Promise.all(
    [child.stdout, child.stderr].map((each) => new Response(each).text()),
  );
  return [await child.exited, words.join("")];
}

const withPromtool = testWith({ promtool: "prometheus" });

describe("metrics", () => {
  withPromtool("metrics: promtool has nothing to say against them", async () => {
    await using it = await scene();
    using peer = await client(it.port);
    peer.send("hello");
    await until(() => peer.receivedCount === 5, "an echo");
    const answer = await it.ask("GET", "/metrics");
    expect(answer.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await lint(await answer.text())).toEqual([0, ""]);
  });

  withPromtool("metrics: promtool reads names with quotes, backslashes and line ends", async () => {
    const status = statusWith(1);
    const [listener] = status.listeners;
    if (listener === undefined) throw new Error("no listener");
    const name = 'a"b\\c\nd{e="f"}';
    const reload = { at: 1_700_000_000_000, by: "api", changes: [], kept: [], fault: "" };
    const text = metricsText({ ...status, reload, listeners: [{ ...listener, name }] });
    expect(await lint(text)).toEqual([0, ""]);
    expect(text).toContain('{listener="a\\"b\\\\c\\nd{e=\\"f\\"}"} ');
    expect(valueOf(text, "iawlb_last_reload_timestamp_seconds")).toBe(1_700_000_000);
    expect((await lint(text.replaceAll("\\n", "\n")))[0]).not.toBe(0);
  });

  withPromtool(
    "metrics: one that leaves and one that came in its name are one series",
    async () => {
      const status = statusWith(1, 3);
      const [listener] = status.listeners;
      const [row] = listener?.destinations ?? [];
      if (listener === undefined || row === undefined) throw new Error("no destination");
      const gone = { ...row, mode: "leaving", connections: 99 } as const;
      for (const destinations of [
        [gone, row],
        [row, gone],
        [gone, { ...gone, connections: 3 }],
      ]) {
        const text = metricsText({ ...status, listeners: [{ ...listener, destinations }] });
        expect(await lint(text)).toEqual([0, ""]);
        const lines = text.match(/^iawlb_destination_connections_total\{.*$/gm);
        expect(lines?.length).toBe(1);
        if (destinations.includes(row)) expect(lines?.[0]).toEndWith(" 3");
      }
    },
  );

  test("metrics: the README names each with its type, and no other", () => {
    const readme = readFileSync(join(import.meta.dir, "..", "..", "README.md"), "utf8");
    const shown = [...readme.matchAll(/^\| `((?:iawlb|process)_\w+)` +\| (\w+)/gm)];
    const reload = { at: 0, by: "api", changes: [], kept: [], fault: "" };
    const text = metricsText({ ...statusWith(1), reload });
    const known = [...text.matchAll(/^# TYPE (\S+) (\w+)$/gm)];
    const pairs = (found: readonly RegExpMatchArray[]) =>
      found.map(([, name, type]) => [name, type]);
    expect(pairs(shown)).toEqual(pairs(known));
  });

  test("metrics: they are the balancer's numbers, in seconds and bytes, by listener and destination", async () => {
    await using it = await scene();
    for (const size of [1, 1_024, 5_000]) {
      using peer = await client(it.port);
      peer.send(Buffer.alloc(size));
      await until(() => peer.receivedCount === size, "an echo");
      peer.finish();
      await until(() => peer.ended, "the end");
    }
    await until(() => it.status().closed.done === 3, "three ends");
    it.program.setMode({ listener: "", destination: "b/2" }, "drain");
    const text = await (await it.ask("GET", "/metrics")).text();
    const value = (line: string) => valueOf(text, line);
    const main = 'listener="main"';
    expect(value(`iawlb_listener_accepted_connections_total{${main},thread="0"}`)).toBe(3);
    expect(value(`iawlb_listener_closed_connections_total{${main},reason="done"}`)).toBe(3);
    expect(value(`iawlb_listener_bytes_total{${main},direction="up"}`)).toBe(6_025);
    const sizes = "iawlb_listener_session_bytes";
    expect(value(`${sizes}_sum{${main}}`)).toBe(2 * 6_025);
    expect(value(`${sizes}_bucket{${main},le="64"}`)).toBe(1);
    expect(value(`${sizes}_bucket{${main},le="1024"}`)).toBe(1);
    expect(value(`${sizes}_bucket{${main},le="4096"}`)).toBe(2);
    expect(value(`${sizes}_bucket{${main},le="16384"}`)).toBe(3);
    expect(value(`${sizes}_bucket{${main},le="+Inf"}`)).toBe(3);
    const { session } = it.status().histograms;
    const seconds = "iawlb_listener_session_seconds";
    expect(value(`${seconds}_count{${main}}`)).toBe(3);
    expect(value(`${seconds}_sum{${main}}`)).toBeCloseTo(session.sum / 1_000, 9);
    const b = `${main},destination="b/2"`;
    const [, row] = it.status().destinations;
    expect(value(`iawlb_destination_connections_total{${b}}`)).toBe(row?.connections ?? -1);
    expect(value(`iawlb_destination_state{${b},state="up"}`)).toBe(1);
    expect(value(`iawlb_destination_state{${b},state="out"}`)).toBe(0);
    expect(value(`iawlb_destination_mode{${b},mode="drain"}`)).toBe(1);
    expect(value(`iawlb_destination_slots{${main},destination="a"}`)).toBe(4);
    expect(value("process_open_fds")).toBeGreaterThan(5);
    expect(value("process_max_fds")).toBeGreaterThan(value("process_open_fds"));
    expect(value("process_resident_memory_bytes")).toBeGreaterThan(10_000_000);
  });

  test(`metrics: status, sample and metrics of ${destinationCount} destinations cost little`, () => {
    const look = wideStatus(destinationCount, 3);
    const before = look();
    const cost = (work: () => unknown): number => {
      const runs = Array.from({ length: 15 }, () => {
        const before = process.cpuUsage(); // not the clock: others may have the processor meanwhile
        work();
        const { user, system } = process.cpuUsage(before);
        return (user + system) / 1_000;
      });
      return runs.toSorted((a, b) => a - b)[7] ?? Number.NaN; // the median
    };
    const costs = {
      status: cost(look),
      sample: cost(() => JSON.stringify(sampleOf(before, look(), 0, 1_000))),
      metrics: cost(() => metricsText(look())),
    };
    const report = Object.entries(costs).map(([name, ms]) => `${name} ${ms.toFixed(2)} ms`);
    console.log(`${destinationCount} destinations: ${report.join(", ")}`);
    // Several times what they take when nobody else runs.
    expect(costs.status).toBeLessThan(20);
    expect(costs.sample).toBeLessThan(40);
    expect(costs.metrics).toBeLessThan(200);
  });
});
