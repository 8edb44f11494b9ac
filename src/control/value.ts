// Reads the values of options: durations, sizes, counts, one of several words; each says what it accepts.

import type { MaxAge } from "../core/limits.ts";
import { bad, good, nearest, quote, type Reading } from "./mistake.ts";

/** 24 days, the most that a 32-bit timer in milliseconds holds in whole days. */
export const durationMsMax = 24 * 24 * 3_600_000;

/** `500ms`, `15s`, `5m`, `1h`, or plain `0`; in milliseconds. */
export function readDuration(text: string, msMin: number, msMax: number): Reading<number> {
  const accepted = `a duration from ${formatDuration(msMin)} to ${formatDuration(msMax)}, such as 500ms, 15s, 5m or 1h, is accepted`;
  const parts = durationPattern.exec(text);
  const scale = durationUnits.get(parts?.[2] ?? "");
  const ms = text === "0" ? 0 : scale === undefined ? NaN : Number(parts?.[1]) * scale;
  if (Number.isNaN(ms)) {
    return bad("bad-value", `${quote(text)} is no duration`, accepted, nearDuration(text));
  }
  if (ms < msMin || ms > msMax) {
    return bad("out-of-range", `${quote(text)} is out of range`, accepted);
  }
  return good(ms);
}

/** The shortest exact form that `readDuration` reads back: `0`, `1500ms`, `15s`, `1h`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0";
  if (ms % 3_600_000 === 0) return `${ms / 3_600_000}h`;
  if (ms % 60_000 === 0) return `${ms / 60_000}m`;
  if (ms % 1_000 === 0) return `${ms / 1_000}s`;
  return `${ms}ms`;
}

/** `1h`, or `1h±10%` (also `1h+-10%`): each connection draws its own age from that range. */
export function readMaxAge(text: string): Reading<MaxAge> {
  const parts = /^(.*?)(?:(?:±|\+-)(\d{1,2})%)?$/u.exec(text);
  const duration = readDuration(parts?.[1] ?? text, 0, durationMsMax);
  if (duration.fault === null)
    return good({ ms: duration.value, jitter: Number(parts?.[2] ?? 0) / 100 });
  const accepted =
    "a duration such as 1h, or one with a part left to chance such as 1h±10%, is accepted";
  return bad(duration.fault.code, `${quote(text)} is no age`, accepted, duration.fault.suggestion);
}

export function formatMaxAge({ ms, jitter }: MaxAge): string {
  return `${formatDuration(ms)}${jitter > 0 ? `±${Math.round(jitter * 100)}%` : ""}`;
}

/** `10/s`, `90/m`, `500/h`, or a plain number per second; in 1/s. */
export function readRate(text: string): Reading<number> {
  const accepted = `a rate such as 10/s, 90/m or 500/h is accepted, ${rateMax}/s at most`;
  const parts = /^(\d{1,7}(?:\.\d{1,6})?)(?:\/(s|m|h))?$/.exec(text);
  if (parts === null) {
    const near = /^(\d+) ?(?:\/|per) ?(s|m|h)[a-z]*$/i.exec(text);
    const suggestion = near === null ? "" : `${near[1]}/${(near[2] ?? "").toLowerCase()}`;
    return bad("bad-value", `${quote(text)} is no rate`, accepted, suggestion);
  }
  const seconds = (durationUnits.get(parts[2] ?? "s") ?? 1_000) / 1_000;
  const rate = Number(parts[1]) / seconds;
  return rate <= rateMax
    ? good(rate)
    : bad("out-of-range", `${quote(text)} is out of range`, accepted);
}

/** The form that `readRate` reads back. */
export function formatRate(rate: number): string {
  for (const [unit, scale] of [
    ["s", 1],
    ["m", 60],
    ["h", 3_600],
  ] as const) {
    const count = rate * scale;
    if (Math.abs(count - Math.round(count)) < 1e-6) return `${Math.round(count)}/${unit}`;
  }
  return `${rate}/s`;
}

/** New connections of one client, per second. */
export const rateMax = 1_000_000;

/** `2026-11-23`. */
export function dayOf(ms: number): string {
  return Number.isNaN(ms) ? "an unknown day" : new Date(ms).toISOString().slice(0, 10);
}

/** Whole days from now on; 0 = less than one. */
export function daysUntil(ms: number, nowMs: number): number {
  return Math.floor((ms - nowMs) / dayMs);
}

/** `512B`, `64KiB`, `1MiB`, `1GiB`, or plain `0`; in bytes. */
export function readSize(text: string, bytesMin: number, bytesMax: number): Reading<number> {
  const accepted = `a size from ${formatSize(bytesMin)} to ${formatSize(bytesMax)}, such as 512B, 64KiB or 1MiB, is accepted`;
  const parts = sizePattern.exec(text);
  const scale = sizeUnits.get(parts?.[2] ?? "");
  const bytes = text === "0" ? 0 : scale === undefined ? NaN : Number(parts?.[1]) * scale;
  if (Number.isNaN(bytes)) {
    return bad("bad-value", `${quote(text)} is no size`, accepted, nearSize(text));
  }
  if (bytes < bytesMin || bytes > bytesMax) {
    return bad("out-of-range", `${quote(text)} is out of range`, accepted);
  }
  return good(bytes);
}

/** The shortest exact form that `readSize` reads back. */
export function formatSize(bytes: number): string {
  if (bytes === 0) return "0";
  let unit = "B";
  let scale = 1;
  for (const [name, size] of sizeUnits) {
    if (bytes % size === 0) [unit, scale] = [name, size];
  }
  return `${bytes / scale}${unit}`;
}

/** A whole number in plain digits. */
export function readCount(text: string, min: number, max: number): Reading<number> {
  const accepted = `a whole number from ${min} to ${max} is accepted`;
  if (!/^[+-]?\d+$/.test(text)) {
    const digits = text.replace(/[_,' ]/g, "");
    const near = /^\d+$/.test(digits) && Number(digits) >= min && Number(digits) <= max;
    return bad("bad-value", `${quote(text)} is no whole number`, accepted, near ? digits : "");
  }
  const count = Number(text);
  if (count < min || count > max) {
    return bad("out-of-range", `${quote(text)} is out of range`, accepted);
  }
  return good(count);
}

/** One of a few words. */
export function readChoice<T extends string>(text: string, choices: readonly T[]): Reading<T> {
  const choice = choices.find((word) => word === text);
  if (choice !== undefined) return good(choice);
  const accepted = `accepted are ${choices.join(", ")}`;
  return bad("bad-value", `${quote(text)} is unknown`, accepted, nearest(text, choices));
}

/** `15` → `15s`, `15 sec` → `15s`, `1.5s` → `1500ms`. */
function nearDuration(text: string): string {
  const parts = /^(\d+(?:\.\d{1,3})?)\s*([a-z]*)$/i.exec(text);
  if (parts === null) return "";
  const word = (parts[2] ?? "").toLowerCase();
  const unit = word.startsWith("ms") || word.startsWith("mil") ? "ms" : word === "" ? "s" : word[0];
  const scale = durationUnits.get(unit ?? "");
  return scale === undefined ? "" : formatDuration(Math.round(Number(parts[1]) * scale));
}

/** `64k` → `64KiB`, `64` → `64B`. */
function nearSize(text: string): string {
  const parts = /^(\d+)\s*([kmg]?)(?:i?b)?$/i.exec(text);
  if (parts === null) return "";
  const letter = (parts[2] ?? "").toUpperCase();
  return `${parts[1]}${letter === "" ? "B" : `${letter}iB`}`;
}

const dayMs = 86_400_000;
const durationPattern = /^(\d{1,15})(ms|s|m|h)$/;
const durationUnits: ReadonlyMap<string, number> = new Map([
  ["ms", 1],
  ["s", 1_000],
  ["m", 60_000],
  ["h", 3_600_000],
]);
const sizePattern = /^(\d{1,15})(B|KiB|MiB|GiB)$/;
const sizeUnits: ReadonlyMap<string, number> = new Map([
  ["B", 1],
  ["KiB", 2 ** 10],
  ["MiB", 2 ** 20],
  ["GiB", 2 ** 30],
]);
