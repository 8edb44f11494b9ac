// What is different between the options that run and those that shall, in words, and what of it takes a new process.
import { formatAddress, textOf, type DestinationOptions, type Options } from "./options.ts";
import { optionRows } from "./option-rows.ts";
import type { AnyRow } from "./option-row.ts";
import { formatDuration } from "./value.ts";

/** One thing that changes. */
export interface Change {
  /** `slots`, `destination db1`, `destination db1: weight`. */
  readonly what: string;
  /** As on the command line; "" = it was not there. */
  readonly from: string;
  /** "" = it is there no more. */
  readonly to: string;
  /** Live pairs it concerns; none where it is kept. */
  readonly pairs: number;
  /** It takes a new process (`iawlb upgrade`); until then it stays as it is. */
  readonly kept: boolean;
}

/** How many live pairs there are, of all destinations or of one. */
export interface PairCounts {
  readonly all: number;
  of(destination: string): number;
}

/** Settings that a thread or a listener is born with. */
const keptKeys: ReadonlySet<string> = new Set(["threadCount", "engine", "backlogCount"]);

type Field = keyof DestinationOptions & (typeof fields)[number][0];
/** What a destination has of its own, and how it is called. */
const fields = [
  ["slots", "slots"],
  ["weight", "weight"],
  ["warm", "warm"],
  ["backup", "backup"],
  ["healthMs", "health-interval"],
  ["healthSend", "health-send"],
  ["healthExpect", "health-expect"],
  ["healthHttp", "health-http"],
  ["healthPort", "health-port"],
  ["proxy", "proxy"],
  ["tls", "tls"],
  ["tlsCa", "tls-ca"],
  ["tlsName", "tls-name"],
  ["tlsCert", "tls-cert"],
  ["tlsKey", "tls-key"],
  ["tlsVerify", "tls-verify"],
  ["sni", "sni"],
  ["alpn", "alpn"],
  ["plain", "plain"],
] as const;
/** Of these, what an option says for all. */
type SharedField = Extract<Field, "slots" | "warm" | `health${string}`>;

/** What it runs by after the change: all of it but what takes a new process. */
export function withKept(before: Options, wanted: Options): Options {
  const { listen, threadCount, engine, backlogCount } = before;
  return { ...wanted, listen, threadCount, engine, backlogCount };
}

/** In the order of the options, then destination by destination. */
export function changesOf(before: Options, after: Options, pairs: PairCounts): Change[] {
  const changes: Change[] = [];
  const add = (what: string, from: string, to: string, pairCount: number, kept = false): void => {
    if (from !== to) changes.push({ what, from, to, pairs: pairCount, kept });
  };
  add("listen", formatAddress(before.listen), formatAddress(after.listen), 0, true);
  for (const row of optionRows) {
    const isKept = keptKeys.has(row.key);
    const [from, to] = [settingText(row, before), settingText(row, after)];
    add(row.name, from, to, isKept ? 0 : pairs.all, isKept);
  }
  const gone = new Map(before.destinations.map((each) => [each.name, each]));
  for (const each of after.destinations) {
    const what = `destination ${each.name}`;
    const old = gone.get(each.name);
    gone.delete(each.name);
    if (old === undefined) {
      add(what, "", formatAddress(each.address), 0);
      continue;
    }
    const pairCount = pairs.of(each.name);
    add(`${what}: address`, formatAddress(old.address), formatAddress(each.address), pairCount);
    for (const [key, word] of fields) {
      // What all have from a setting is told once, as that setting.
      if (isOfSetting(before, old, key) && isOfSetting(after, each, key)) continue;
      add(`${what}: ${word}`, fieldText(old, key), fieldText(each, key), pairCount);
    }
  }
  for (const { name, address } of gone.values()) {
    add(`destination ${name}`, formatAddress(address), "", pairs.of(name));
  }
  return changes;
}

function settingText(row: AnyRow, options: Options): string {
  return textOf(row, options[row.key]);
}

function isOfSetting(options: Options, destination: DestinationOptions, key: Field): boolean {
  return isShared(key) && destination[key] === options[key];
}

function isShared(key: Field): key is SharedField {
  return key === "slots" || key === "warm" || key.startsWith("health");
}

function fieldText(destination: DestinationOptions, key: Field): string {
  const value = destination[key];
  if (Array.isArray(value)) return value.join("+");
  return key === "healthMs" ? formatDuration(destination[key]) : String(value);
}
