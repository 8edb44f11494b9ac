// What the options set, and the words in which help and README show them.

import { assert } from "../core/assert.ts";
import type { Limits } from "../core/limits.ts";
import type { Network } from "../core/access.ts";
import type { Values } from "./arguments.ts";
import type { WordRow } from "./option-row.ts";
import { optionRows } from "./option-rows.ts";
import type { PrefaceSettings } from "./preface-settings.ts";
import { type ProgramSettings, programRows } from "./program-rows.ts";

type PolicyName = "pull" | "round-robin" | "random" | "hash";
export type AccessLogFormat = "logfmt" | "json" | "haproxy" | "off";
export type LogLevel = "error" | "warn" | "info" | "debug";
type EngineName = "bun" | "libc";

/** How a destination is checked; per destination as well. */
export interface HealthSettings {
  /** From one check to the next; 0 = no checks. */
  readonly healthMs: number;
  /** What to send, and what to await, as written: with escapes; "" = nothing. */
  readonly healthSend: string;
  readonly healthExpect: string;
  /** Path of an HTTP request; "" = none. */
  readonly healthHttp: string;
  /** 0 = the destination's own. */
  readonly healthPort: number;
}

/** What the options set. `connectionCountMax` 0 = as many as the descriptor limit allows. */
export interface Settings extends Limits, HealthSettings, PrefaceSettings {
  /** Connections at once of every destination without a `,slots=` of its own; 0 = no limit. */
  readonly slots: number;
  /** Connections opened ahead to every destination without a `,warm=` of its own. */
  readonly warm: number;
  readonly policy: PolicyName;
  /** Longest check. */
  readonly healthTimeoutMs: number;
  /** Checks in a row that must fail, or pass, for a destination to be taken down, or back. */
  readonly healthFall: number;
  readonly healthRise: number;
  /** What becomes of the open pairs of a destination that its checks take down. */
  readonly onDown: "keep" | "close";
  /** Open connections of one client; 0 = no limit. */
  readonly clientConnectionCountMax: number;
  /** New connections of one client, per second; 0 = no limit. */
  readonly clientRate: number;
  /** First bits of an IPv6 address that make a client. */
  readonly clientPrefix6: number;
  readonly allow: readonly Network[];
  readonly deny: readonly Network[];
  /** Data-plane threads. */
  readonly threadCount: number;
  readonly engine: EngineName;
  /** How long open pairs may go on once stopping has begun; 0 = they are cut at once. */
  readonly drainMs: number;
  /** Connections that the kernel holds until they are accepted. */
  readonly backlogCount: number;
  readonly accessLog: AccessLogFormat;
  readonly logLevel: LogLevel;
}

/** Every setting: what was given under an option's name, and the default of the others. */
export function settingsFrom(given: Values): Settings {
  const values = optionRows.map((row) => [row.key, given.get(row.name) ?? initialOf(row)]);
  // The table has one row per setting (tested), each row reads the type of its own key (checked by its type), and
  // what is given was read by the rows.
  return Object.fromEntries(values) as Settings;
}

/** Every setting as it is when the command line says nothing. */
export const DEFAULTS: Settings = settingsFrom(new Map());

export interface OptionTableRow {
  readonly option: string;
  readonly placeholder: string;
  readonly default: string;
  readonly help: string;
}

/** What the whole program runs by: what was given under an option's name, and the default of the others. */
export function programFrom(given: Values): ProgramSettings {
  const settings = settingsFrom(given);
  const value = (name: string) => {
    const row = programRows.find((each) => each.name === name);
    assert(row !== undefined, "an option of the program is in its table");
    return given.get(name) ?? initialOf(row);
  };
  return {
    admin: value("admin") as ProgramSettings["admin"], // what its row reads
    adminTokenFile: value("admin-token-file") as string, // likewise
    accessLog: settings.accessLog,
    logLevel: settings.logLevel,
    watch: value("watch") === true,
    upgradeMs: value("upgrade-timeout") as number, // likewise
  };
}

/** The options in the order and the words in which help and README show them. */
export function optionTable(): readonly OptionTableRow[] {
  return [...optionRows, ...programRows].map((row) => ({
    option: `--${row.name}`,
    placeholder: row.placeholder,
    default: row.initial === "" ? '""' : row.initial, // as a shell takes it
    help: row.help,
  }));
}

function initialOf(row: Pick<WordRow, "initial" | "read">): unknown {
  const reading = row.read(row.initial);
  assert(reading.fault === null, "a default is a value its own option accepts");
  return reading.value;
}
