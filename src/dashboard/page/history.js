// What is kept of the samples: columns for the plots, and a short one of connections a second for each destination.

/** @typedef {import("../../admin/sample.ts").Sample} Sample */
/** @typedef {import("../../admin/sample.ts").ListenerSample} ListenerSample */

/** Samples that are plotted: two minutes. */
export const sampleCountMax = 120;
/** Samples in the line of one destination. */
export const trendCountMax = 60;
/** Samples come once a second; after a longer pause the lines are broken. */
const pauseMs = 3_500;
/** So far back go no samples: the clock was set. */
export const clockStepMs = 300_000;

export class History {
  constructor() {
    /** Null stands for a pause. @type {{ at: number, listener: ListenerSample | null }[]} */
    this.samples = [];
    /** Newest last. @type {Map<string, number[]>} */
    this.trends = new Map();
    this.lastAt = 0;
  }

  /** @param {number} at @param {ListenerSample} listener */
  add(at, listener) {
    if (this.lastAt - at > clockStepMs) {
      this.samples.length = 0;
      this.lastAt = 0;
    }
    if (at <= this.lastAt) return;
    if (this.lastAt > 0 && at - this.lastAt > pauseMs) {
      this.samples.push({ at: this.lastAt + 1_000, listener: null });
    }
    this.samples.push({ at, listener });
    this.samples.splice(0, this.samples.length - sampleCountMax);
    this.lastAt = at;
    this.addTrends(listener);
  }

  /** @param {ListenerSample} listener */
  addTrends({ destinations }) {
    const { name, connectionsPerSecond } = destinations;
    for (let n = 0; n < name.length; n += 1) {
      const key = name[n] ?? "";
      const trend = this.trends.get(key) ?? [];
      if (trend.length === 0) this.trends.set(key, trend);
      trend.push(connectionsPerSecond[n] ?? 0);
      if (trend.length > trendCountMax) trend.shift();
    }
    if (this.trends.size === name.length) return;
    const known = new Set(name);
    for (const key of this.trends.keys()) if (!known.has(key)) this.trends.delete(key);
  }

  /**
   * Seconds since 1970, and a column for each value.
   * @param {readonly ((listener: ListenerSample) => number | null)[]} values
   * @returns {[number[], ...(number | null)[][]]}
   */
  columns(values) {
    const times = this.samples.map(({ at }) => at / 1_000);
    const column = (/** @type {(listener: ListenerSample) => number | null} */ value) =>
      this.samples.map(({ listener }) => (listener === null ? null : value(listener)));
    return [times, ...values.map(column)];
  }
}

/** The points of a line 59 wide and 16 high, its newest at the right. @param {readonly number[]} trend */
export function trendPoints(trend) {
  const highest = Math.max(1, ...trend);
  const left = trendCountMax - trend.length;
  return trend
    .map((n, index) => `${left + index},${(15 - (14 * n) / highest).toFixed(1)}`)
    .join(" ");
}
