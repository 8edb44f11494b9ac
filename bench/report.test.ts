import { expect, test } from "bun:test";
import { join } from "node:path";
import { drawTail } from "./chart.ts";
import { Child } from "./children.ts";
import { renderReport, renderTable, renderVerdicts } from "./report.ts";
import type { RowResult } from "./report.ts";
import { PLAIN, configurationOf } from "./programs.ts";
import { bothEngines, judge } from "./row.ts";
import type { Limit, Sample } from "./row.ts";
import { countCollections } from "./rows/collections.ts";
import { parseCounts } from "./rows/system-calls.ts";
import { median, medianInterval, quantile, randomFrom } from "./stats.ts";

const RUN = join(import.meta.dir, "run.ts");

const LIMIT: Limit = {
  title: "CPU",
  condition: "",
  measure: "cpuUs",
  kind: "ratio",
  sense: "at most",
  bound: 1.1,
  unit: "µs",
};

test("judge: the ratio is over the better peer, of medians", () => {
  const samples = [
    ...samplesOf("iawlb", [10, 12, 11]),
    ...samplesOf("haproxy", [10, 10, 10]),
    ...samplesOf("nginx", [20, 20, 20]),
  ];
  expect(judge(LIMIT, samples)).toMatchObject({ peer: "haproxy", figure: 1.1, reached: true });
  expect(judge({ ...LIMIT, bound: 1.05 }, samples).reached).toBeFalse();
  expect(judge({ ...LIMIT, sense: "at least", bound: 0.6 }, samples)).toMatchObject({
    peer: "nginx",
    figure: 0.55,
    reached: false,
  });
});

test("judge: neither engine is the other one's peer", () => {
  const samples = [
    ...samplesOf("iawlb", [10, 10, 10]),
    ...samplesOf("iawlb libc", [8, 8, 8]),
    ...samplesOf("nginx", [20, 20, 20]),
  ];
  expect(judge(LIMIT, samples)).toMatchObject({ peer: "nginx", own: 10, figure: 0.5 });
  const libc = { ...LIMIT, program: "iawlb libc" };
  expect(judge(libc, samples)).toMatchObject({ peer: "nginx", own: 8, figure: 0.4 });
  expect(judge({ ...libc, over: "iawlb" }, samples)).toMatchObject({ peer: "iawlb", figure: 0.8 });
  expect(judge({ ...libc, over: "haproxy" }, samples)).toMatchObject({ figure: NaN });
});

test("limits: both engines have one, each with its own bound", () => {
  const { bound: _, ...limit } = LIMIT;
  expect(bothEngines({ bun: 1.2, libc: 0.8 }, limit)).toEqual([
    { ...limit, program: "iawlb", bound: 1.2 },
    { ...limit, program: "iawlb libc", bound: 0.8 },
  ]);
});

test("judge: a value needs no peer, and nothing measured is not reached", () => {
  const limit: Limit = { ...LIMIT, kind: "value", bound: 11 };
  expect(judge(limit, samplesOf("iawlb", [10, 12, 11]))).toMatchObject({
    figure: 11,
    reached: true,
  });
  expect(judge(limit, [])).toMatchObject({ figure: NaN, reached: false });
});

test("judge: a difference is of medians, from the program that it names", () => {
  const limit: Limit = { ...LIMIT, kind: "difference", program: "on", over: "off", bound: 3 };
  const samples = [...samplesOf("on", [14, 12, 13]), ...samplesOf("off", [10, 10, 11])];
  expect(judge(limit, samples)).toMatchObject({
    own: 13,
    peer: "off",
    figure: 3,
    interval: { low: 2, high: 4 },
    reached: true,
  });
  expect(judge({ ...limit, bound: 2 }, samples).reached).toBeFalse();
  const result = { ...resultOf(samples), limits: [limit] };
  expect(renderVerdicts([result])).toContain("| off 10 µs | 3.000 (2.000–4.000) | ≤ 3 µs |");
});

test("judge: a round that the host stole from is left out", () => {
  const [first, second] = samplesOf("iawlb", [10, 100]);
  const samples = [first, { ...second, stealShare: 0.03 }] as Sample[]; // both exist
  expect(judge({ ...LIMIT, kind: "value" }, samples).figure).toBe(10);
});

test("report: each limit is marked, each row has its table", () => {
  const result = resultOf([...samplesOf("iawlb", [10, 12]), ...samplesOf("haproxy", [5, 6])]);
  expect(renderVerdicts([result])).toContain("**not reached**");
  expect(renderTable(result)).toContain("| iawlb | 11.0 (10.0–12.0) | 2 |");
  const report = renderReport([result]);
  expect(report).toContain("a machine");
  expect(report).toContain("skipped: nginx");
  expect(renderVerdicts([resultOf(samplesOf("haproxy", [5]))])).toContain("not measured");
});

test("report: verdicts name the engine; a row stored before there were two is of Bun's", () => {
  const samples = [...samplesOf("iawlb", [10]), ...samplesOf("haproxy", [10])];
  const limits = [
    LIMIT,
    { ...LIMIT, program: "iawlb libc 4 threads" },
    { ...LIMIT, program: "haproxy" },
  ];
  const lines = renderVerdicts([{ ...resultOf(samples), limits }])
    .split("\n")
    .slice(2);
  expect(lines.map((line) => line.split(" | ")[1])).toEqual(["bun", "libc", "–"]);
});

test("report: a value that one program has not is a dash", () => {
  const measures = [
    { key: "cpuUs", title: "µs", digits: 1 },
    { key: "addedUs", title: "added", digits: 0 },
  ];
  const result = { ...resultOf(samplesOf("direct", [10, 12])), measures };
  expect(renderTable(result)).toContain("| direct | 11.0 (10.0–12.0) | – | 2 |");
});

test("configurations: each engine and so many threads are said in every program's own words", () => {
  const setting = { ...PLAIN, ports: [3001], threads: 4 };
  expect(configurationOf("iawlb libc", setting, 80)).toEndWith("--engine libc --threads 4");
  expect(configurationOf("iawlb", { ...setting, threads: 1 }, 80)).not.toMatch(/engine|threads/);
  expect(configurationOf("haproxy", setting, 80)).toContain("nbthread 4");
  expect(configurationOf("nginx", setting, 80)).toContain("worker_processes 4");
});

test("collections: Bun's lines of them are counted", () => {
  expect(countCollections("[GC]: => EdenCollection, x\n[GC]: => FullCollection\nother\n")).toBe(2);
});

test("chart: one line for each program that was measured", () => {
  const points = [0.5, 0.9].flatMap((load) =>
    ["iawlb", "haproxy roundrobin"].map((program, at): Sample => ({
      condition: `exponential ${load}`,
      program,
      round: 0,
      stealShare: 0,
      values: { p99Ratio: 1 + at + load },
    })),
  );
  const chart = drawTail(resultOf(points)) ?? "";
  expect(chart.match(/<polyline points="[\d.]+,[\d.]+ [\d.]+,[\d.]+"\/><circle/g)).toHaveLength(2);
  expect(chart).not.toContain("NaN");
  expect(drawTail(resultOf([]))).toBeNull();
});

test("skipping: what is absent is named with the way to get it", async () => {
  await using child = new Child([process.execPath, RUN, "--small", "connections", "requests"], {
    PATH: "/nowhere",
  });
  const { code, stdout } = await child.ended(20_000);
  expect(stdout).toContain("skipped: haproxy is not installed (apt-get install haproxy)");
  expect(stdout).toContain(
    "skipped: nginx is not installed (apt-get install nginx libnginx-mod-stream)",
  );
  expect(stdout).toContain("skipped: no C compiler is installed (apt-get install gcc libc6-dev)");
  expect(code).toBe(0);
});

test("command line: an unknown row, peer or number is named, exit 2", async () => {
  for (const [words, message] of [
    [["nonsense"], "no row is called nonsense"],
    [["--peers", "envoy"], "--peers takes haproxy,nginx, not envoy"],
    [["--rounds", "0"], "--rounds takes 1 to 100, not 0"],
    [["--unknown"], "unknown"],
  ] as const) {
    await using child = new Child([process.execPath, RUN, ...words]);
    const { code, stderr } = await child.ended(20_000);
    expect(stderr).toContain(message);
    expect(code).toBe(2);
  }
});

test("system calls: counts are read from strace's table", () => {
  const table = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           3       200        12 recvfrom
 40.00    0.000400           4       100           sendto
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           3       300        12 total
`;
  expect(parseCounts(table)).toEqual(
    new Map([
      ["recvfrom", 200],
      ["sendto", 100],
    ]),
  );
});

test("stats: median, quantile and the interval of a median", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect(median([])).toBeNaN();
  expect(quantile([10, 30, 20], 0.99)).toBe(30);
  const random = randomFrom(5);
  const values = Array.from({ length: 400 }, random);
  const { low, high } = medianInterval(values);
  expect(low).toBeWithin(0.4, 0.5);
  expect(high).toBeWithin(0.5, 0.6);
});

function samplesOf(program: string, values: readonly number[]): Sample[] {
  return values.map((cpuUs, round) => ({
    condition: "",
    program,
    round,
    stealShare: 0,
    values: { cpuUs },
  }));
}

function resultOf(samples: readonly Sample[]): RowResult {
  return {
    row: "row",
    title: "A row",
    method: "as it is",
    measures: [{ key: "cpuUs", title: "µs", digits: 1 }],
    rest: null,
    limits: [LIMIT],
    environment: {
      date: "2000-01-01 00:00 UTC",
      commit: "abc",
      machine: "a machine",
      versions: ["Bun 1"],
    },
    blocked: false,
    skipped: ["skipped: nginx is not installed"],
    samples,
  };
}
