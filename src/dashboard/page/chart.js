// The four plots over the last two minutes.

import { sampleCountMax } from "./history.js";
import { bytesText, clockText, countText, find, make, msText, rateText, setText } from "./text.js";

/** @typedef {import("../../admin/sample.ts").ListenerSample} ListenerSample */
/** @typedef {import("./history.js").History} History */
/** @typedef {import("uplot")} Plot */

/** The library stands before this script. */
const { uPlot } = /** @type {{ uPlot: typeof import("uplot") }} */ (
  /** @type {unknown} */ (globalThis)
);

const plotHeight = 132;
const syncKey = "moment";

/**
 * @typedef {object} Line
 * @property {string} label
 * @property {"first" | "second" | "third" | "bad"} look
 * @property {(listener: ListenerSample) => number | null} value
 */
/** @typedef {{ title: string, text: (n: number) => string, steps?: number[], lines: readonly Line[] }} Subject */

/** Colours alone tell no line from another: `second` is dashed, `third` and `bad` are dotted. */
const dashes = { first: [], second: [5, 3], third: [1.5, 3], bad: [1.5, 3] };

/** @type {readonly Subject[]} */
const subjects = [
  {
    title: "Connections per second",
    text: rateText,
    lines: [
      { label: "accepted", look: "first", value: ({ accepted }) => accepted },
      { label: "refused", look: "bad", value: ({ refused }) => refused },
    ],
  },
  {
    title: "Connections",
    text: countText,
    lines: [
      { label: "open", look: "first", value: ({ open }) => open },
      { label: "waiting", look: "second", value: ({ waiting }) => waiting },
    ],
  },
  {
    title: "Bytes per second",
    text: bytesText,
    steps: Array.from({ length: 50 }, (_, n) => 2 ** n),
    lines: [
      { label: "up", look: "first", value: (each) => each.bytesUpPerSecond },
      { label: "down", look: "second", value: (each) => each.bytesDownPerSecond },
    ],
  },
];

const times = /** @type {const} */ ([
  ["firstByte", "to the first byte"],
  ["queue", "in the queue"],
  ["connect", "to connect"],
  ["session", "in all"],
]);

/** @param {typeof times[number][0]} name @returns {Subject} */
function timeSubject(name) {
  return {
    title: `Time ${times.find(([each]) => each === name)?.[1]}`,
    text: msText,
    lines: [
      { label: "p50", look: "first", value: (each) => each.times[name]?.p50 ?? null },
      { label: "p90", look: "second", value: (each) => each.times[name]?.p90 ?? null },
      { label: "p99", look: "third", value: (each) => each.times[name]?.p99 ?? null },
    ],
  };
}

class Chart {
  /** @param {Element} parent @param {Subject} subject */
  constructor(parent, subject) {
    const template = find(document, "#chart", HTMLTemplateElement);
    const figure = find(
      /** @type {ParentNode} */ (template.content.cloneNode(true)), // of a fragment it is one
      "figure",
      HTMLElement,
    );
    this.title = find(figure, "h3", HTMLElement);
    setText(this.title, subject.title);
    this.subject = subject;
    this.select = find(figure, "select", HTMLSelectElement);
    this.box = find(figure, ".plot", HTMLElement);
    this.values = subject.lines.map(() => make("b"));
    this.marks = subject.lines.map(({ look }) => make("i", { class: look, "aria-hidden": "true" }));
    const list = find(figure, ".legend", HTMLElement);
    subject.lines.forEach(({ label }, n) => {
      list.append(make("li", {}, [this.marks[n] ?? "", `${label} `, this.values[n] ?? ""]));
    });
    parent.append(figure);
    this.plot = this.draw();
    new ResizeObserver(() => {
      this.plot.setSize({ width: Math.max(100, this.box.clientWidth), height: plotHeight });
    }).observe(this.box);
  }

  draw() {
    const colorOf = (/** @type {Element} */ element) => getComputedStyle(element).color;
    const { lines } = this.subject;
    /** @type {import("uplot").Axis} */
    const axis = {
      stroke: () => colorOf(this.box),
      font: "11px system-ui, sans-serif",
      ticks: { show: false },
      grid: { stroke: () => `color-mix(in srgb, ${colorOf(this.box)} 18%, transparent)`, width: 1 },
    };
    return new uPlot(
      {
        width: Math.max(100, this.box.clientWidth),
        height: plotHeight,
        legend: { show: false },
        padding: [6, 16, 0, 0],
        cursor: { y: false, drag: { x: false, y: false }, sync: { key: syncKey } },
        scales: {
          x: { time: true },
          y: { range: (_plot, _low, high) => [0, Math.max(1, (high || 0) * 1.1)] },
        },
        axes: [
          { ...axis, size: 22, space: 74, grid: { show: false }, values: clocks },
          {
            ...axis,
            size: 56,
            space: 26,
            ...(this.subject.steps === undefined ? {} : { incrs: this.subject.steps }),
            values: (_plot, splits) => splits.map((n) => this.subject.text(n)),
          },
        ],
        series: [
          {},
          ...lines.map(({ look }, n) => ({
            stroke: () => colorOf(this.marks[n] ?? this.box),
            width: 1.5,
            dash: [...dashes[look]],
            points: { size: 4 },
          })),
        ],
        hooks: { setCursor: [() => this.say()] },
      },
      [[]],
      this.box,
    );
  }

  /** @param {History} history @param {number} nowMs the time of the newest sample */
  show(history, nowMs) {
    const values = this.subject.lines.map(({ value }) => value);
    this.plot.setData(history.columns(values), false);
    // Both scales at once; the lower one anew from what is in view.
    this.plot.setScale("x", { min: nowMs / 1_000 - sampleCountMax + 1, max: nowMs / 1_000 });
    this.say();
  }

  /** The values at the pointer, or the newest. */
  say() {
    const { data, cursor } = this.plot;
    const at = cursor.idx ?? data[0].length - 1;
    const words = this.subject.lines.map(({ label }, n) => {
      const value = data[n + 1]?.[at];
      const text = value === null || value === undefined ? "–" : this.subject.text(value);
      const place = this.values[n];
      if (place !== undefined) setText(place, text);
      return `${label} ${text}`;
    });
    if (cursor.idx === null || cursor.idx === undefined) {
      this.box.setAttribute("aria-label", `${this.subject.title}, now: ${words.join(", ")}`);
    }
  }
}

/**
 * `14:03`, and `14:03:30` between the minutes.
 * @param {Plot} _plot
 * @param {number[]} splits
 */
function clocks(_plot, splits) {
  return splits.map((seconds) => clockText(seconds * 1_000).replace(/:00$/, ""));
}

/** The plots, and what they show of one listener. */
export class Charts {
  /** @param {Element} parent */
  constructor(parent) {
    this.plain = subjects.map((subject) => new Chart(parent, subject));
    this.time = new Chart(parent, timeSubject("firstByte"));
    setText(this.time.title, "Time"); // the choice beside it says which
    this.all = [...this.plain, this.time];
    /** @type {{ history: History, nowMs: number } | null} */
    this.last = null;
    const { select } = this.time;
    select.hidden = false;
    select.setAttribute("aria-label", "Which time");
    for (const [value, label] of times) select.append(make("option", { value }, [label]));
    select.addEventListener("change", () => {
      const name = times.find(([value]) => value === select.value)?.[0] ?? "firstByte";
      this.time.subject = timeSubject(name);
      this.show();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.show());
  }

  /** @param {History} [history] @param {number} [nowMs] */
  show(history, nowMs) {
    if (history !== undefined && nowMs !== undefined) this.last = { history, nowMs };
    const { last } = this;
    if (last === null || document.hidden) return;
    for (const each of this.all) each.show(last.history, last.nowMs);
  }
}
