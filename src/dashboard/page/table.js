// The destinations of one listener, a row each. Rows out of sight are not touched: a thousand cost no more than thirty.

import { trendPoints } from "./history.js";
import { bytesText, countText, find, rateText, setText } from "./text.js";

/** @typedef {import("../../admin/sample.ts").ListenerSample["destinations"]} SampleDestinations */
/** @typedef {"name" | "state" | "used" | "rate" | "bytes"} SortKey */

/** Rows at once; who has more destinations filters them. */
const rowCountMax = 2_000;
/** Live values reorder the rows so often, and never under the reader's hand. */
const reorderMs = 5_000;

/** Worst first, as they are sorted. The mark stands beside the word, for those who see no colours. */
const states = new Map([
  ["down", { mark: "✕", health: "bad" }],
  ["out", { mark: "✕", health: "bad" }],
  ["unresolved", { mark: "?", health: "bad" }],
  ["trial", { mark: "◐", health: "wanting" }],
  ["resting", { mark: "◐", health: "wanting" }],
  ["up", { mark: "●", health: "good" }],
]);
const stateOrder = [...states.keys()];
const apart = { mark: "‖", health: "apart" };

/** A row's element and the parts of it that change. */
class Row {
  /** @param {string} name @param {HTMLTemplateElement} template */
  constructor(name, template) {
    this.name = name;
    /** Its place in the columns of the sample. */
    this.at = 0;
    this.visible = false;
    /** Mode and state as painted. */
    this.look = "";
    const copy = /** @type {ParentNode} */ (template.content.cloneNode(true)); // of a fragment it is one
    this.element = find(copy, "tr", HTMLTableRowElement);
    const part = (/** @type {string} */ selector) => find(this.element, selector, HTMLElement);
    const title = part(".name");
    title.textContent = name;
    title.title = name;
    this.state = part(".state");
    this.mark = part(".mark");
    this.word = part(".word");
    this.slots = part("td.slots");
    this.bar = part(".slot-bar span");
    this.used = part(".used");
    this.rate = part(".rate");
    this.line = find(this.element, "polyline", SVGPolylineElement);
    this.bytes = part(".bytes");
    this.button = find(this.element, "button", HTMLButtonElement);
  }
}

export class Table {
  /**
   * @param {HTMLElement} section
   * @param {(name: string, verb: "drain" | "ready") => Promise<void>} change
   */
  constructor(section, change) {
    this.change = change;
    this.body = find(section, "tbody", HTMLElement);
    this.summary = find(section, "#summary", HTMLElement);
    this.shown = find(section, "#shown", HTMLElement);
    this.rest = find(section, "#rest", HTMLElement);
    this.text = find(section, "#filter-text", HTMLInputElement);
    this.kind = find(section, "#filter-kind", HTMLSelectElement);
    this.template = find(document, "#row", HTMLTemplateElement);
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    /** @type {WeakMap<Element, Row>} */
    this.rowOf = new WeakMap();
    /** As configured, until a head is pressed. @type {SortKey | null} */
    this.sortKey = null;
    this.descending = false;
    /** @type {SampleDestinations | null} */
    this.now = null;
    /** @type {ReadonlyMap<string, readonly number[]>} */
    this.trends = new Map();
    this.usedMax = 1;
    this.orderedAt = 0;
    this.pointed = false;
    this.watcher = new IntersectionObserver((entries) => this.onSight(entries), {
      rootMargin: "200px 0px",
    });
    this.listen(section);
  }

  /** @param {HTMLElement} section */
  listen(section) {
    find(section, "#filter", HTMLFormElement).addEventListener("submit", (e) => e.preventDefault());
    const filtered = () => {
      this.arrange();
      setText(this.shown, `${countText(this.body.childElementCount)} shown`);
    };
    this.text.addEventListener("input", filtered);
    this.kind.addEventListener("change", filtered);
    for (const head of section.querySelectorAll("th[data-sort]")) {
      const key = /** @type {SortKey} */ (head.getAttribute("data-sort")); // the markup has no others
      head.addEventListener("click", () => this.sortBy(key, section));
    }
    this.body.addEventListener("pointerenter", () => (this.pointed = true));
    this.body.addEventListener("pointerleave", () => (this.pointed = false));
    this.body.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("button") : null;
      const element = button?.closest("tr") ?? null;
      const row = element === null ? undefined : this.rowOf.get(element);
      if (row !== undefined) void this.press(row);
    });
  }

  /** Another listener: nothing of the one before stays. */
  clear() {
    this.watcher.disconnect();
    this.body.replaceChildren();
    this.rows.clear();
    this.now = null;
  }

  /** @param {SampleDestinations} now @param {ReadonlyMap<string, readonly number[]>} trends */
  update(now, trends) {
    const before = this.now;
    this.now = now;
    this.trends = trends;
    this.usedMax = Math.max(1, ...now.used);
    const isSame =
      before !== null &&
      before.name.length === now.name.length &&
      before.name.every((name, n) => name === now.name[n]);
    if (!isSame) this.adopt(now);
    const isLive = this.kind.value !== "all" || (this.sortKey !== null && this.sortKey !== "name");
    const isDue = isLive && performance.now() - this.orderedAt >= reorderMs && !this.isHeld();
    if (!isSame || isDue) this.arrange();
    for (const row of this.rows.values()) this.paint(row, now);
    this.summarize(now);
  }

  /** The reader points at a row, or has the focus on its button. */
  isHeld() {
    return this.pointed || this.body.contains(document.activeElement);
  }

  /** @param {SampleDestinations} now */
  adopt(now) {
    const gone = new Set(this.rows.keys());
    now.name.forEach((name, at) => {
      gone.delete(name);
      const row = this.rows.get(name) ?? new Row(name, this.template);
      row.at = at;
      this.rows.set(name, row);
      this.rowOf.set(row.element, row);
    });
    for (const name of gone) this.rows.delete(name);
  }

  /** Puts the rows that are wanted into the table, in order. */
  arrange() {
    const { now } = this;
    if (now === null) return;
    this.orderedAt = performance.now();
    const wanted = [...this.rows.values()].filter((row) => this.isWanted(row, now));
    const order = this.orderOf(now);
    wanted.sort((a, b) => order(a.at, b.at) || a.at - b.at);
    const rows = wanted.slice(0, rowCountMax);
    const elements = rows.map(({ element }) => element);
    const { children } = this.body;
    const isSame =
      children.length === elements.length && elements.every((e, n) => e === children[n]);
    if (!isSame) {
      const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
      this.watcher.disconnect();
      for (const row of this.rows.values()) row.visible = false;
      this.body.replaceChildren(...elements);
      for (const element of elements) this.watcher.observe(element);
      if (focused instanceof HTMLElement && focused.isConnected)
        focused.focus({ preventScroll: true });
    }
    this.rest.hidden = rows.length > 0 && rows.length === wanted.length;
    const hidden = countText(wanted.length - rows.length);
    setText(this.rest, rows.length === 0 ? "None." : `${hidden} more: filter to see them.`);
  }

  /** @param {Row} row @param {SampleDestinations} now */
  isWanted({ name, at }, now) {
    const state = now.state[at] ?? "";
    const mode = now.mode[at] ?? "ready";
    const kind = this.kind.value;
    if (kind === "busy" && now.used[at] === 0) return false;
    if (kind === "ill" && state === "up") return false;
    if (kind === "apart" && mode === "ready") return false;
    const words = this.text.value.toLowerCase().split(/\s+/);
    const text = `${name} ${state} ${mode}`.toLowerCase();
    return words.every((word) => text.includes(word));
  }

  /** @param {SampleDestinations} now @returns {(a: number, b: number) => number} */
  orderOf(now) {
    const sign = this.descending ? -1 : 1;
    const rank = (/** @type {number} */ at) =>
      now.mode[at] === "ready" ? stateOrder.indexOf(now.state[at] ?? "") : stateOrder.length;
    const numbers = { used: now.used, rate: now.connectionsPerSecond, bytes: now.bytesPerSecond };
    switch (this.sortKey) {
      case null:
        return () => 0;
      case "name":
        return (a, b) =>
          sign * (now.name[a] ?? "").localeCompare(now.name[b] ?? "", "en", { numeric: true });
      case "state":
        return (a, b) => sign * (rank(a) - rank(b));
      default: {
        const column = numbers[this.sortKey];
        return (a, b) => sign * ((column[a] ?? 0) - (column[b] ?? 0));
      }
    }
  }

  /** Numbers begin with the highest; the third press restores the configured order. @param {SortKey} key @param {Element} section */
  sortBy(key, section) {
    const isNumber = key !== "name" && key !== "state";
    if (this.sortKey !== key) {
      this.sortKey = key;
      this.descending = isNumber;
    } else if (this.descending === isNumber) {
      this.descending = !isNumber;
    } else this.sortKey = null;
    for (const head of section.querySelectorAll("th[data-sort]")) {
      if (head.getAttribute("data-sort") !== this.sortKey) head.removeAttribute("aria-sort");
      else head.setAttribute("aria-sort", this.descending ? "descending" : "ascending");
    }
    this.arrange();
  }

  /** @param {readonly IntersectionObserverEntry[]} entries */
  onSight(entries) {
    for (const { target, isIntersecting } of entries) {
      const row = this.rowOf.get(target);
      if (row === undefined) continue;
      row.visible = isIntersecting;
      if (isIntersecting && this.now !== null) this.paint(row, this.now);
    }
  }

  /**
   * The state is always true, also where it is searched or read out; numbers are written where they are seen.
   * @param {Row} row
   * @param {SampleDestinations} now
   */
  paint(row, now) {
    const { at } = row;
    const state = now.state[at] ?? "";
    const mode = now.mode[at] ?? "ready";
    const look = `${mode} ${state}`;
    if (row.look !== look) {
      row.look = look;
      this.paintState(row, state, mode);
    }
    if (row.visible) this.paintNumbers(row, now);
  }

  /** @param {Row} row @param {string} state @param {string} mode */
  paintState(row, state, mode) {
    const isReady = mode === "ready";
    const { mark, health } = isReady ? (states.get(state) ?? apart) : apart;
    row.element.dataset["health"] = health;
    setText(row.mark, mark);
    setText(row.word, isReady ? state : state === "up" ? mode : `${mode}, ${state}`);
    setText(row.button, isReady ? "Drain" : "Ready");
    row.button.setAttribute("aria-label", `${isReady ? "Drain" : "Ready"} ${row.name}`);
  }

  /** @param {Row} row @param {SampleDestinations} now */
  paintNumbers(row, now) {
    const { at } = row;
    const used = now.used[at] ?? 0;
    const slots = now.slots[at] ?? 0;
    row.slots.dataset["limit"] = slots === 0 ? "none" : "some";
    row.slots.dataset["full"] = slots > 0 && used >= slots ? "yes" : "no";
    row.bar.style.width = `${Math.min(100, (100 * used) / (slots === 0 ? this.usedMax : slots))}%`;
    setText(row.used, slots === 0 ? countText(used) : `${countText(used)} of ${countText(slots)}`);
    setText(row.rate, rateText(now.connectionsPerSecond[at] ?? 0));
    setText(row.bytes, bytesText(now.bytesPerSecond[at] ?? 0));
    row.line.setAttribute("points", trendPoints(this.trends.get(row.name) ?? []));
  }

  /** @param {Row} row */
  async press(row) {
    if (row.button.getAttribute("aria-busy") === "true") return;
    row.button.setAttribute("aria-busy", "true"); // not disabled: that would take the focus away
    await this.change(row.name, this.now?.mode[row.at] === "ready" ? "drain" : "ready");
    row.button.removeAttribute("aria-busy");
  }

  /** @param {SampleDestinations} now */
  summarize(now) {
    /** @type {Map<string, number>} */
    const counts = new Map();
    now.state.forEach((state, at) => {
      const mode = now.mode[at] ?? "ready";
      const word = mode === "ready" ? state : mode;
      counts.set(word, (counts.get(word) ?? 0) + 1);
    });
    const order = ["up", ...stateOrder.slice(0, -1), "drain", "maintenance"];
    const parts = order
      .filter((word) => counts.has(word))
      .map((word) => `${countText(counts.get(word) ?? 0)} ${word}`);
    setText(this.summary, `${countText(now.name.length)}: ${parts.join(", ")}`);
  }
}
