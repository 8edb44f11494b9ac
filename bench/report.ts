// Renders what was measured: a table for the terminal, RESULTS.md from every stored row.

import type { Environment } from "./environment.ts";
import { ENGINES, PEERS, PLAIN, configurationOf } from "./programs.ts";
import { STEAL_SHARE_MAX, isOurs, judge, valuesOf } from "./row.ts";
import type { Limit, Measure, Sample, Verdict } from "./row.ts";
import { median } from "./stats.ts";

/** All that is kept of one row's run: enough to render it again. */
export interface RowResult {
  readonly row: string;
  readonly title: string;
  readonly method: string;
  readonly measures: readonly Measure[];
  readonly rest: string | null;
  readonly limits: readonly Limit[];
  readonly environment: Environment;
  /** Something that the row cannot do without is absent; there are no samples. */
  readonly blocked: boolean;
  /** What is absent, a line each. */
  readonly skipped: readonly string[];
  readonly samples: readonly Sample[];
}

/** One line for each condition and program: medians, and the range of the first measure. */
export function renderTable(result: RowResult): string {
  const { samples, measures } = result;
  const conditions = [...new Set(samples.map(({ condition }) => condition))];
  const programs = [...new Set(samples.map(({ program }) => program))];
  const named = conditions.some((condition) => condition !== "");
  const head = [
    ...(named ? ["case"] : []),
    "program",
    ...measures.map(({ title }, index) => (index === 0 ? `${title} (range)` : title)),
    ...(result.rest === null ? [] : [result.rest]),
    "rounds",
  ];
  const lines = conditions.flatMap((condition) =>
    programs.flatMap((program) => {
      const own = samples.filter((one) => one.condition === condition && one.program === program);
      if (own.length === 0) return [];
      const cells = measures.map(({ key, digits }, index) => {
        const values = [...valuesOf(samples, condition, program, key).values()];
        const middle = values.length === 0 ? "–" : median(values).toFixed(digits);
        if (index > 0 || values.length < 2) return middle;
        return `${middle} (${Math.min(...values).toFixed(digits)}–${Math.max(...values).toFixed(digits)})`;
      });
      const rest = result.rest === null ? [] : [restOf(own, measures)];
      return [[...(named ? [condition] : []), program, ...cells, ...rest, String(own.length)]];
    }),
  );
  return table(head, lines);
}

/** The limits, with what was found and whether it holds. */
export function renderVerdicts(results: readonly RowResult[]): string {
  const verdicts = results.flatMap(({ limits, samples }) =>
    limits.map((limit) => judge(limit, samples)),
  );
  const head = ["limit", "engine", "iawlb", "over", "figure (95 % of its median)", "bound", ""];
  return table(head, verdicts.map(verdictCells));
}

export function renderReport(results: readonly RowResult[]): string {
  const last = results
    .map(({ environment }) => environment)
    .toSorted(byDate)
    .at(-1);
  if (last === undefined) return "";
  const samples = results.flatMap((result) => result.samples);
  const stolen = samples.filter((one) => one.stealShare > STEAL_SHARE_MAX);
  return `# Results

Written by \`bun bench/run.ts\`; the raw figures are in \`bench/results/\`. All traffic is on
loopback, but for the path with delay that a row makes for itself.

- Machine: ${last.machine}
- Versions: ${last.versions.join("; ")}
- Commit ${last.commit}, ${last.date} (a row measured at another time says so)

## Limits

One thread where no other number is named. A ratio is an engine's median over that of the better of HAProxy and nginx
in the same run, or over what is named; the interval is the bootstrap's, of the ratios by round.

${renderVerdicts(results)}

## Method

The balancer has one core, load and destinations the other, where a row does not say otherwise. A round starts each
program afresh, forwards in one round and backwards in the next, and begins only when an answer has come through it.
Processor time is the sum of \`schedstat\` over all threads and children before and after; memory is PSS. A load with one
failed connection is no figure. Of ${samples.length} measurements, ${stolen.length} were left out because the host took
more than ${STEAL_SHARE_MAX * 100} % of the machine. On loopback the sender's system call pays for the receiver's work:
compare, do not add.

${results.map((result) => renderSection(result, last)).join("\n\n")}

## Configurations

${configurations()}
`;
}

function renderSection(result: RowResult, last: Environment): string {
  const { environment, skipped } = result;
  const elsewhere = environment.commit !== last.commit || environment.machine !== last.machine;
  const notes = [
    result.method,
    ...(elsewhere
      ? [`(Commit ${environment.commit}, ${environment.date}, ${environment.machine}.)`]
      : []),
    ...skipped,
  ];
  return `## ${result.title}\n\n${notes.join("\n\n")}\n\n${renderTable(result)}`;
}

function verdictCells({
  limit,
  own,
  peer,
  peerValue,
  figure,
  interval,
  reached,
}: Verdict): string[] {
  const plain = (value: number) => Number(value.toPrecision(3)).toString();
  const sign = limit.sense === "at most" ? "≤" : "≥";
  const engine = engineOf(limit);
  if (Number.isNaN(figure))
    return [limit.title, engine, "–", "–", "–", `${sign} ${limit.bound}`, "not measured"];
  const unit = limit.unit === "" ? "" : ` ${limit.unit}`;
  return [
    limit.title,
    engine,
    `${plain(own)}${unit}`,
    peer === "" ? "–" : `${peer} ${plain(peerValue)}${unit}`,
    `${figure.toFixed(3)} (${interval.low.toFixed(3)}–${interval.high.toFixed(3)})`,
    `${sign} ${limit.bound}${limit.kind === "ratio" ? "" : unit}`,
    reached ? "reached" : "**not reached**",
  ];
}

/** Rows that were stored before there were two engines name none: it was Bun's. */
function engineOf({ program = "iawlb" }: Limit): string {
  if (!isOurs(program)) return "–";
  return program.startsWith("iawlb libc") ? "libc" : "bun";
}

function restOf(samples: readonly Sample[], measures: readonly Measure[]): string {
  const known = new Set(measures.map(({ key }) => key));
  return Object.entries(samples[0]?.values ?? {})
    .filter(([key]) => !known.has(key))
    .map(([key, value]) => `${key} ${value.toFixed(2)}`)
    .join(", ");
}

function configurations(): string {
  const setting = { ...PLAIN, ports: [3001, 3002] };
  const peers = PEERS.map(
    (name) => `\`\`\`\n${configurationOf(name, setting, 8080).trimEnd()}\n\`\`\``,
  );
  const own = ENGINES.map((name) => configurationOf(name, setting, 8080)).join("\n");
  return `${[`\`\`\`\n${own}\n\`\`\``, ...peers].join("\n\n")}

In front of one-slot destinations: \`--slots 1\`; \`balance leastconn\`, \`balance roundrobin\`, or \`balance leastconn\` with \`maxconn 1\` on each
server; \`least_conn\`. With N threads: \`--threads N\`; \`nbthread N\`; \`worker_processes N\` and \`reuseport\`.`;
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const row = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [row(head), row(head.map(() => "---")), ...lines.map(row)].join("\n");
}

function byDate(a: Environment, b: Environment): number {
  return a.date < b.date ? -1 : Number(a.date > b.date);
}
