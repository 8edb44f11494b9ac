// What `iawlb top` shows, as text: a frame for a terminal of any size, or plain tables. Draws nothing itself.

import type { ProgramStatus } from "../control/steering.ts";
import type { Sample, ListenerSample } from "../admin/sample.ts";
import { ageText, bytesText, countText, fit, msText, rateText } from "./top-text.ts";

export const sortKeys = ["configured", "name", "state", "used", "new/s", "bytes/s"] as const;
type SortKey = (typeof sortKeys)[number];

export interface TopModel {
  readonly status: ProgramStatus | null;
  readonly sample: Sample | null;
  /** Name of the listener on show; "" = the first. */
  readonly listener: string;
  /** Name of the selected destination; "" = the first. */
  readonly selected: string;
  readonly sort: SortKey;
  /** What the last key has done, or why not. */
  readonly notice: string;
  /** Why there is no connection; "" = there is one. */
  readonly lost: string;
}

export const emptyModel: TopModel = {
  status: null,
  sample: null,
  listener: "",
  selected: "",
  sort: "configured",
  notice: "",
  lost: "",
};

/** One destination, out of the columns of the sample. */
interface TopRow {
  readonly name: string;
  readonly state: string;
  readonly mode: string;
  readonly used: number;
  /** 0 = no limit. */
  readonly slots: number;
  readonly rate: number;
  readonly bytes: number;
}

const stateOrder = ["down", "out", "unresolved", "trial", "resting", "up"];
const keys = "↑↓ select  s sort  d drain  r ready  m maintenance  l listener  q quit";
/** Lines around the table: three of the listener, its summary, the head, notice and keys. */
const frameLineCount = 7;

const bold = (text: string): string => `\x1b[1m${text}\x1b[22m`;
const dim = (text: string): string => `\x1b[2m${text}\x1b[22m`;
const reverse = (text: string): string => `\x1b[7m${text}\x1b[27m`;
const red = (text: string): string => `\x1b[31m${text}\x1b[39m`;

export function shownListener({ sample, listener }: TopModel): ListenerSample | null {
  const { listeners = [] } = sample ?? {};
  return listeners.find(({ name }) => name === listener) ?? listeners[0] ?? null;
}

/** The rows of the listener on show, in the order asked for. */
export function rowsOf(model: TopModel): TopRow[] {
  const listener = shownListener(model);
  return listener === null ? [] : rowsOfListener(listener).toSorted(orders[model.sort]);
}

function rowsOfListener({ destinations: columns }: ListenerSample): TopRow[] {
  return columns.name.map((name, at) => ({
    name,
    state: columns.state[at] ?? "",
    mode: columns.mode[at] ?? "ready",
    used: columns.used[at] ?? 0,
    slots: columns.slots[at] ?? 0,
    rate: columns.connectionsPerSecond[at] ?? 0,
    bytes: columns.bytesPerSecond[at] ?? 0,
  }));
}

/** Numbers: the highest first; states: the worst first. */
const orders: Readonly<Record<SortKey, (a: TopRow, b: TopRow) => number>> = {
  configured: () => 0,
  name: (a, b) => a.name.localeCompare(b.name, "en", { numeric: true }),
  state: (a, b) => stateRank(a) - stateRank(b),
  used: (a, b) => b.used - a.used,
  "new/s": (a, b) => b.rate - a.rate,
  "bytes/s": (a, b) => b.bytes - a.bytes,
};

function stateRank({ state, mode }: TopRow): number {
  return mode === "ready" ? stateOrder.indexOf(state) : stateOrder.length;
}

/** Where the selected row is, 0 when it is gone. */
export function selectedIndex(rows: readonly TopRow[], selected: string): number {
  return Math.max(
    0,
    rows.findIndex(({ name }) => name === selected),
  );
}

/** One frame for a terminal of that size: as many lines, none longer. */
export function frame(model: TopModel, columns: number, rows: number): string {
  const lines = [...headLines(model, columns), ...tableLines(model, columns, rows)];
  const table = lines.slice(0, Math.max(0, rows - 2));
  while (table.length < rows - 2) table.push("");
  const notice = model.lost === "" ? model.notice : `connection lost: ${model.lost}; trying again`;
  const shown = fit(notice, columns);
  const ends = [model.lost === "" ? shown : red(shown), dim(fit(keys, columns))];
  return [...table, ...ends.slice(0, Math.max(0, rows))].slice(0, rows).join("\n");
}

function headLines(model: TopModel, columns: number): string[] {
  const { status, sample } = model;
  const listener = shownListener(model);
  if (sample === null || listener === null)
    return [fit("iawlb: waiting for the first sample…", columns)];
  const at = sample.listeners.indexOf(listener) + 1;
  const where =
    sample.listeners.length < 2
      ? listener.name
      : `${listener.name} (${at} of ${sample.listeners.length})`;
  const program = programWords(status);
  const first = sides(program, where, columns);
  return [
    bold(first),
    ...figureLines(listener).map((line) => fit(line, columns)),
    fit(summaryOf(model), columns),
  ];
}

function programWords(status: ProgramStatus | null): string {
  if (status === null) return "iawlb";
  const { version, pid, startedAt, state } = status;
  const draining = state === "draining" ? "  DRAINING" : "";
  return `iawlb ${version}  pid ${pid}  up ${ageText(Date.now() - startedAt)}${draining}`;
}

function figureLines(listener: ListenerSample): string[] {
  const { open, waiting, oldestMs, accepted, closed, refused, times } = listener;
  const oldest = waiting === 0 ? "" : ` (oldest ${msText(oldestMs)})`;
  const { firstByte, queue } = times;
  const rates = `accepted ${rateText(accepted)}/s  closed ${rateText(closed)}/s  refused ${rateText(refused)}/s`;
  const bytes = `up ${bytesText(listener.bytesUpPerSecond)}/s  down ${bytesText(listener.bytesDownPerSecond)}/s`;
  const first = `first byte p50 ${msText(firstByte?.p50)}  p99 ${msText(firstByte?.p99)}`;
  return [
    `open ${countText(open)}  waiting ${countText(waiting)}${oldest}  ${rates}`,
    `${bytes}  ${first}  queue p99 ${msText(queue?.p99)}`,
  ];
}

function summaryOf(model: TopModel): string {
  const counts = new Map<string, number>();
  const rows = rowsOf(model);
  for (const { mode, state } of rows) {
    const word = mode === "ready" ? state : mode;
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const parts = [...counts].toSorted().map(([word, count]) => `${countText(count)} ${word}`);
  const sorted = model.sort === "configured" ? "" : `  by ${model.sort}`;
  return `${countText(rows.length)} destinations: ${parts.join(", ")}${sorted}`;
}

/** Widths of the columns; 0 = no room for it. The name has what is left. */
interface Widths {
  readonly name: number;
  readonly state: number;
  readonly bar: number;
  readonly slots: number;
  readonly rate: number;
  readonly bytes: number;
}

const nameWidthMin = 10;

function widthsFor(columns: number): Widths {
  const wide = { state: 12, bar: 12, slots: 9, rate: 8, bytes: 10 };
  const given = { state: 0, bar: 0, slots: 0, rate: 0, bytes: 0 };
  let left = columns - 1 - nameWidthMin;
  for (const column of ["state", "slots", "rate", "bar", "bytes"] as const) {
    if (left < wide[column]) break;
    given[column] = wide[column];
    left -= wide[column];
  }
  return { name: nameWidthMin + left, ...given };
}

function tableLines(model: TopModel, columns: number, rows: number): string[] {
  if (model.sample === null) return [];
  const all = rowsOf(model);
  const widths = widthsFor(columns);
  const selected = selectedIndex(all, model.selected);
  const count = Math.max(1, rows - frameLineCount);
  // The selected row is in view, in the middle as far as there are rows around it.
  const first = Math.max(0, Math.min(selected - Math.floor(count / 2), all.length - count));
  const usedMax = Math.max(1, ...all.map(({ used }) => used));
  const lines = all.slice(first, first + count).map((row, n) => {
    const isSelected = first + n === selected;
    const line = fit(`${isSelected ? ">" : " "}${rowText(row, widths, usedMax)}`, columns);
    if (isSelected) return reverse(line);
    return row.mode === "ready" && row.state !== "up" ? red(line) : line;
  });
  return [dim(fit(` ${headText(widths)}`, columns)), ...lines];
}

function headText(widths: Widths): string {
  const { name, state, bar, slots, rate, bytes } = widths;
  const left = fit("NAME", name) + fit("STATE", state) + fit("SLOTS", bar + slots);
  return `${left}${right("NEW/S", rate)}${right("BYTES/S", bytes)}`;
}

function rowText(row: TopRow, widths: Widths, usedMax: number): string {
  const { name, state, mode, used, slots, rate, bytes } = row;
  const word = mode === "ready" ? state : state === "up" ? mode : `${mode}, ${state}`;
  const length = Math.max(0, widths.bar - 2);
  const full = Math.min(length, Math.ceil((length * used) / (slots === 0 ? usedMax : slots)));
  const bar = widths.bar === 0 ? "" : `${"█".repeat(full)}${"░".repeat(length - full)}  `;
  const ofSlots = slots === 0 ? countText(used) : `${countText(used)}/${countText(slots)}`;
  const left = fit(fit(name, widths.name - 1), widths.name) + fit(word, widths.state);
  return `${left}${bar}${fit(ofSlots, widths.slots)}${right(rateText(rate), widths.rate)}${right(bytesText(bytes), widths.bytes)}`;
}

/** All listeners as plain lines, for who reads no terminal. */
export function plainText({ status, sample }: TopModel): string {
  if (sample === null) return "";
  const width = 100;
  const time = new Date(sample.at).toISOString();
  const lines = sample.listeners.flatMap((listener) => {
    const rows = rowsOfListener(listener);
    const usedMax = Math.max(1, ...rows.map(({ used }) => used));
    const longest = Math.max(nameWidthMin, ...rows.map(({ name }) => name.length + 2));
    const widths = { ...widthsFor(width), bar: 0, name: longest };
    return [
      `${time}  ${programWords(status)}  ${listener.name}`,
      ...figureLines(listener),
      headText(widths),
      ...rows.map((row) => rowText(row, widths, usedMax)),
      "",
    ];
  });
  return lines.map((line) => line.trimEnd()).join("\n");
}

function right(text: string, width: number): string {
  return width === 0
    ? ""
    : fit(text, width - 1)
        .trimEnd()
        .padStart(width);
}

/** Two texts, the second at the right edge where there is room. */
function sides(left: string, edge: string, columns: number): string {
  const room = columns - Bun.stringWidth(left) - Bun.stringWidth(edge);
  return room < 2 ? fit(`${edge}  ${left}`, columns) : `${left}${" ".repeat(room)}${edge}`;
}
