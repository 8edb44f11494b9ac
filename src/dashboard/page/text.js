// Numbers and moments in words, each as short as a column is narrow.

const whole = new Intl.NumberFormat("en");
const clockFormat = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });
const none = "–";

/** `0`, `1,234`, `56.7k`. @param {number} n */
export function countText(n) {
  if (n < 10_000) return whole.format(Math.round(n));
  return n < 1e6 ? `${(n / 1e3).toFixed(1)}k` : `${(n / 1e6).toFixed(1)}M`;
}

/** `0`, `0.4`, `12`, `3,400`. @param {number} n */
export function rateText(n) {
  return n > 0 && n < 9.95 ? n.toFixed(1) : countText(n);
}

/** `0 B`, `1.2 MiB`. @param {number} n */
export function bytesText(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; n >= 1_000 && at < units.length - 1; at += 1) n /= 1_024;
  return `${at > 0 && n < 9.95 ? n.toFixed(1) : Math.round(n)} ${units[at]}`;
}

/** `0.4 ms`, `12 ms`, `1.2 s`, `3 min`; a dash for nothing. @param {number | null | undefined} ms */
export function msText(ms) {
  if (ms === null || ms === undefined) return none;
  if (ms === 0) return "0 ms";
  if (ms < 9.95) return `${ms < 0.095 ? ms.toFixed(2) : ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1_000).toFixed(1)} s`;
  return ms < 120_000 ? `${Math.round(ms / 1_000)} s` : `${Math.round(ms / 60_000)} min`;
}

/** `42 s`, `5 min`, `3 h 12 min`, `8 d 4 h`. @param {number} ms */
export function ageText(ms) {
  const minutes = Math.floor(Math.max(0, ms) / 60_000);
  if (minutes < 1) return `${Math.floor(Math.max(0, ms) / 1_000)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 1) return `${minutes} min`;
  return hours < 24
    ? `${hours} h ${minutes % 60} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `14:03:59`, where the reader is. @param {number} at ms since 1970 */
export function clockText(at) {
  return clockFormat.format(at);
}

/** Writes a text unless it is there already: what has not changed costs no layout. @param {Node} node @param {string} text */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * The element of that selector; the page's own markup has it.
 * @template {Element} T
 * @param {ParentNode} where
 * @param {string} selector
 * @param {{ new (): T }} kind
 * @returns {T}
 */
export function find(where, selector, kind) {
  const element = where.querySelector(selector);
  if (!(element instanceof kind)) throw new Error(`the page has no ${selector}`);
  return element;
}

/**
 * A new element.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Readonly<Record<string, string>>} attributes
 * @param {readonly (Node | string)[]} children
 */
export function make(tag, attributes = {}, children = []) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
