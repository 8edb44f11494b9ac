// The benches from the command line: runs rows, keeps the raw figures, renders the report and the chart.

import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { drawTail } from "./chart.ts";
import { environment } from "./environment.ts";
import { openBench, runRow } from "./harness.ts";
import { PEERS, setIawlb } from "./programs.ts";
import type { Peer } from "./programs.ts";
import { renderReport, renderTable, renderVerdicts } from "./report.ts";
import type { RowResult } from "./report.ts";
import { ROWS } from "./rows/index.ts";

const RESULTS = join(import.meta.dir, "results");
const REPORT = join(import.meta.dir, "RESULTS.md");
const CHART = join(import.meta.dir, "..", "doc", "tail.svg");

const HELP = `usage: bun bench/run.ts [options] [ROW...]

Measures iawlb beside HAProxy and nginx on this machine (about 25 minutes for all rows), writes
bench/results/ROW.json, bench/RESULTS.md and doc/tail.svg. Keep the machine otherwise quiet.

  --only ROW        as naming the row; may be repeated
  --rounds N        rounds of each row instead of its own number
  --peers A,B       peers to measure: ${PEERS.join(", ")} (default: all)
  --iawlb FILE      measure this program, such as dist/iawlb, instead of src/cli.ts
  --small           little work, as the tests do; figures say nothing, and nothing is written
  --render          only render RESULTS.md and the chart again from bench/results
  --list            list the rows
  --help            this text

rows: ${ROWS.map(({ name }) => name).join(", ")}
`;

process.exitCode = await main();

async function main(): Promise<number> {
  const options = parse();
  if (typeof options === "string") {
    process.stderr.write(`${options}\n\n${HELP}`);
    return 2;
  }
  if (options.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (options.list) {
    for (const { name, title } of ROWS) process.stdout.write(`${name.padEnd(14)}${title}\n`);
    return 0;
  }
  if (options.iawlb !== undefined) setIawlb([resolve(options.iawlb)]);
  if (!options.render) {
    const failed = await measure(options);
    if (failed > 0) return 1;
  }
  if (!options.small) await render();
  return 0;
}

async function measure(options: Options): Promise<number> {
  const bench = await openBench(options);
  const stamp = environment();
  let failed = 0;
  for (const row of ROWS.filter(
    ({ name }) => options.rows.length === 0 || options.rows.includes(name),
  )) {
    bench.say(`${row.name}: ${row.title}`);
    const startAt = performance.now();
    try {
      const result = await runRow(bench, row, stamp);
      for (const line of result.skipped) bench.say(`  ${line}`);
      if (result.samples.length === 0) continue;
      bench.say(`\n${renderTable(result)}\n`);
      if (result.limits.length > 0) bench.say(`${renderVerdicts([result])}\n`);
      bench.say(`${row.name} took ${((performance.now() - startAt) / 1000).toFixed(0)} s\n`);
      if (!options.small) await store(result);
    } catch (error) {
      failed++;
      process.stderr.write(
        `${row.name} failed: ${error instanceof Error ? error.message : error}\n`,
      );
    }
  }
  return failed;
}

async function store(result: RowResult): Promise<void> {
  mkdirSync(RESULTS, { recursive: true });
  await Bun.write(join(RESULTS, `${result.row}.json`), `${JSON.stringify(result, null, 1)}\n`);
}

/** From every stored row, so that measuring one again leaves the others in the report. */
async function render(): Promise<void> {
  const results: RowResult[] = [];
  for (const { name } of ROWS) {
    const path = join(RESULTS, `${name}.json`);
    if (existsSync(path)) results.push(await Bun.file(path).json());
  }
  await Bun.write(REPORT, renderReport(results));
  // What is committed must pass the format check, tables and data included.
  Bun.spawnSync([process.execPath, "fmt", RESULTS, REPORT], { cwd: join(import.meta.dir, "..") });
  const tail = results.find(({ row }) => row === "tail");
  const chart = tail === undefined ? null : drawTail(tail);
  if (chart !== null) await Bun.write(CHART, chart);
}

interface Options {
  readonly rows: readonly string[];
  readonly peers: readonly Peer[];
  readonly rounds: number | undefined;
  readonly iawlb: string | undefined;
  readonly small: boolean;
  readonly render: boolean;
  readonly list: boolean;
  readonly help: boolean;
}

/** @returns the options, or what is wrong with them. */
function parse(): Options | string {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        only: { type: "string", multiple: true, default: [] },
        rounds: { type: "string" },
        peers: { type: "string", default: PEERS.join(",") },
        iawlb: { type: "string" },
        small: { type: "boolean", default: false },
        render: { type: "boolean", default: false },
        list: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    const rows = [...positionals, ...values.only].flatMap((names) => names.split(","));
    const unknown = rows.find((name) => !ROWS.some((row) => row.name === name));
    if (unknown !== undefined) return `no row is called ${unknown}`;
    const named = values.peers.split(",").filter((name) => name !== "");
    const peers = PEERS.filter((peer) => named.includes(peer));
    if (peers.length !== named.length)
      return `--peers takes ${PEERS.join(",")}, not ${values.peers}`;
    const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
    if (rounds !== undefined && !(Number.isInteger(rounds) && rounds >= 1 && rounds <= 100)) {
      return `--rounds takes 1 to 100, not ${values.rounds}`;
    }
    return { ...values, iawlb: values.iawlb, rows, peers, rounds };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
