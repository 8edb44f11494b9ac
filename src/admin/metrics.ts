// /metrics: the status in Prometheus' text format 0.0.4, a family at a time as the format wants it.

import type { ProgramStatus } from "../control/steering.ts";
import type { DestinationStatus } from "../status.ts";
import {
  cumulated,
  destinationMetrics,
  histogramMetrics,
  label,
  listenerMetrics,
  programMetrics,
  type Add,
  type HistogramMetric,
} from "./metric-rows.ts";
import { processNumbers } from "./process-numbers.ts";

export function metricsText(status: ProgramStatus): string {
  let text = "";
  const family = (name: string, type: string, help: string, fill: (add: Add) => void): void => {
    let lines = "";
    fill((labels, value) => {
      lines += labels === "" ? `${name} ${value}\n` : `${name}{${labels}} ${value}\n`;
    });
    if (lines !== "") text += head(name, type, help) + lines;
  };
  const listeners = status.listeners.map((listener) => {
    const labels = label("listener", listener.name);
    const rows = distinct(listener.destinations).map((row) => ({
      row,
      labels: `${labels},${label("destination", row.name)}`,
    }));
    return { listener, labels, rows };
  });
  const numbers = processNumbers();
  for (const { name, type, help, each } of programMetrics) {
    family(name, type, help, (add) => each(add, status, numbers));
  }
  for (const { name, type, help, each } of listenerMetrics) {
    family(name, type, help, (add) => {
      for (const { listener, labels } of listeners) each(add, labels, listener);
    });
  }
  for (const metric of histogramMetrics) text += histogramText(metric, status);
  for (const { name, type, help, each } of destinationMetrics) {
    family(name, type, help, (add) => {
      for (const { rows } of listeners) for (const { row, labels } of rows) each(add, labels, row);
    });
  }
  return text;
}

/** One of each name: a series must not come twice. One that leaves gives way to another one of its name. */
function distinct(rows: readonly DestinationStatus[]): readonly DestinationStatus[] {
  const byName = new Map<string, DestinationStatus>();
  for (const row of rows) {
    if (row.mode !== "leaving" || !byName.has(row.name)) byName.set(row.name, row);
  }
  return [...byName.values()];
}

function histogramText(metric: HistogramMetric, { listeners }: ProgramStatus): string {
  const { name, help, of, edges, scale } = metric;
  let text = head(name, "histogram", help);
  for (const listener of listeners) {
    const labels = label("listener", listener.name);
    const { count, sum } = listener.histograms[of];
    const counts = cumulated(listener.histograms[of], edges);
    edges.forEach((edge, index) => {
      text += `${name}_bucket{${labels},le="${edge / scale}"} ${counts[index] ?? 0}\n`;
    });
    text += `${name}_bucket{${labels},le="+Inf"} ${count}\n`;
    text += `${name}_sum{${labels}} ${sum / scale}\n${name}_count{${labels}} ${count}\n`;
  }
  return text;
}

function head(name: string, type: string, help: string): string {
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
}
