// Draws the tail: p99 over the central queue's by load, as an SVG that is legible on light and dark.

import type { RowResult } from "./report.ts";
import { valuesOf } from "./row.ts";
import { median } from "./stats.ts";

interface Series {
  readonly program: string;
  readonly label: string;
  readonly light: string;
  readonly dark: string;
}

const SERIES: readonly Series[] = [
  { program: "iawlb", label: "iawlb, pull FIFO", light: "#0b6bcb", dark: "#58a6ff" },
  { program: "haproxy maxconn 1", label: "HAProxy maxconn 1", light: "#1a7f37", dark: "#3fb950" },
  { program: "haproxy leastconn", label: "HAProxy leastconn", light: "#9a6700", dark: "#d29922" },
  { program: "nginx least_conn", label: "nginx least_conn", light: "#8250df", dark: "#bc8cff" },
  { program: "haproxy roundrobin", label: "HAProxy roundrobin", light: "#cf222e", dark: "#ff7b72" },
];

const WIDTH = 840;
const HEIGHT = 380;
const TOP = 84;
const BOTTOM = 326;
const PANEL_WIDTH = 356;
const PANEL_LEFTS = [52, 464] as const;
const TICKS = [1, 1.25, 1.5, 2, 3, 4, 6] as const;

/** @returns the SVG, or null when the tail was not measured. */
export function drawTail(result: RowResult): string | null {
  const cases = [...new Set(result.samples.map(({ condition }) => condition))].flatMap(
    (condition) => {
      const [, service, load] = /^(\w+) ([\d.]+)$/.exec(condition) ?? [];
      return service === undefined ? [] : [{ condition, service, load: Number(load) }];
    },
  );
  const services = [...new Set(cases.map(({ service }) => service))];
  const ratios = (condition: string, program: string) =>
    median(valuesOf(result.samples, condition, program, "p99Ratio").values());
  const known = cases.flatMap(({ condition }) =>
    SERIES.map(({ program }) => ratios(condition, program)),
  );
  const top = Math.max(1.5, ...known.filter(Number.isFinite)) * 1.06;
  if (cases.length === 0) return null;

  const y = (ratio: number) =>
    BOTTOM - (Math.log(Math.max(1, ratio)) / Math.log(top)) * (BOTTOM - TOP);
  const panels = services.map((service, index) => {
    const own = cases.filter((one) => one.service === service).toSorted((a, b) => a.load - b.load);
    const left = PANEL_LEFTS[index] ?? PANEL_LEFTS[0];
    const x = (load: number) => left + 16 + ((load - 0.5) / 0.4) * (PANEL_WIDTH - 32);
    const lines = SERIES.map((series, order) => {
      const points = own
        .map(({ condition, load }) => ({ x: x(load), y: y(ratios(condition, series.program)) }))
        .filter((point) => Number.isFinite(point.y));
      return drawLine(points, order);
    });
    return [
      text(left, TOP - 12, `${service} service times`, "head"),
      drawGrid(left, top, y),
      ...own.map(({ load }) => text(x(load), BOTTOM + 20, String(load), "middle")),
      // The most important line is drawn last, above the others.
      ...lines.toReversed(),
    ].join("\n");
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-labelledby="title">
<title id="title">p99 response time over that of the theoretical central queue, by load</title>
<style>
${style()}
</style>
${legend()}
${panels.join("\n")}
${text(WIDTH / 2, HEIGHT - 12, "load of four one-slot destinations · p99 over the theoretical central queue's (1 = the limit, logarithmic)", "middle")}
</svg>
`;
}

function drawGrid(left: number, top: number, y: (ratio: number) => number): string {
  return TICKS.filter((tick) => tick <= top)
    .map((tick) => {
      const at = round(y(tick));
      const line = `<line x1="${left}" y1="${at}" x2="${left + PANEL_WIDTH}" y2="${at}" class="${tick === 1 ? "limit" : "grid"}"/>`;
      return `${line}\n${text(left - 8, at + 4, String(tick), "end")}`;
    })
    .join("\n");
}

function drawLine(
  points: readonly { readonly x: number; readonly y: number }[],
  order: number,
): string {
  if (points.length === 0) return "";
  const path = points.map(({ x, y }) => `${round(x)},${round(y)}`).join(" ");
  const marks = points.map(({ x, y }) => mark(round(x), round(y), order)).join("");
  return `<g class="s${order}"><polyline points="${path}"/>${marks}</g>`;
}

/** Each series has a form as well as a colour. */
function mark(x: number, y: number, order: number): string {
  if (order === 0) return `<circle cx="${x}" cy="${y}" r="4.5"/>`;
  if (order === 1) return `<rect x="${x - 4}" y="${y - 4}" width="8" height="8"/>`;
  if (order === 2) return `<path d="M${x} ${y - 5}l5 9h-10z"/>`;
  if (order === 3) return `<path d="M${x} ${y - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5z"/>`;
  return `<path d="M${x} ${y + 5}l5 -9h-10z"/>`;
}

function legend(): string {
  return SERIES.map(({ label }, order) => {
    const left = 44 + order * 158;
    return `<g class="s${order}"><polyline points="${left},24 ${left + 24},24"/>${mark(left + 12, 24, order)}</g>${text(left + 30, 28, label, "start")}`;
  }).join("\n");
}

function style(): string {
  const colours = (theme: "light" | "dark") =>
    SERIES.map((series, order) => `.s${order}{stroke:${series[theme]};fill:${series[theme]}}`).join(
      "",
    );
  return `text{font:12px system-ui,sans-serif;fill:#57606a}
.head{font-weight:600;font-size:13px}.middle{text-anchor:middle}.end{text-anchor:end}
.grid{stroke:#8b949e;stroke-opacity:.3}.limit{stroke:#8b949e}
polyline{fill:none;stroke-width:2}.s0 polyline{stroke-width:3}
${colours("light")}
@media (prefers-color-scheme:dark){text{fill:#9da7b3}${colours("dark")}}`;
}

function text(x: number, y: number, words: string, kind: string): string {
  return `<text x="${round(x)}" y="${round(y)}" class="${kind}">${words}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
