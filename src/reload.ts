// What a configuration that was read anew would change, in words: a line each.
import type { Balancer } from "./balancer.ts";
import type { Configuration } from "./config/config.ts";
import { formatAddress, OptionsError, type Options } from "./control/options.ts";
import { besideOf } from "./listeners.ts";
import type { ReloadOutcome } from "./control/steering.ts";
import { writeAdmin } from "./control/program-rows.ts";

export interface Difference {
  readonly changes: readonly string[];
  /** What takes a new process. */
  readonly kept: readonly string[];
}

interface Named {
  readonly name: string;
  readonly balancer: Balancer;
  readonly options: Options;
}

/** @throws OptionsError when one of the listeners cannot be as it is wanted. */
export function differenceOf(
  now: Configuration,
  listeners: readonly Named[],
  next: Configuration,
): Difference {
  const changes: string[] = [];
  const kept = [...keptOf(now.program, next.program)];
  const [before, after] = [now.program.logLevel, next.program.logLevel];
  if (before !== after) changes.push(`log-level: ${before} -> ${after}`);
  const isOne = next.listeners.length === 1 && listeners.length === 1;
  for (const { name, options } of next.listeners) {
    const listener = listeners.find((each) => each.name === name);
    const prefix = isOne ? "" : `${name}: `;
    if (listener === undefined) {
      changes.push(`listener ${name} at ${formatAddress(options.listen)} is added`);
      continue;
    }
    const { listen } = listener.options;
    const [from, to] = [listen, options.listen].map(formatAddress);
    const beside = besideOf(name, next.listeners);
    if (from !== to) changes.push(`${prefix}listen: ${from} -> ${to}`);
    for (const each of listener.balancer.plan({ ...options, listen, beside })) {
      if (each.what === "access-log" || each.what === "log-level") continue; // the program's
      const pairs = each.pairs === 0 ? "" : ` (${each.pairs} open)`;
      const values = `${each.from || "nothing"} -> ${each.to || "nothing"}`;
      (each.kept ? kept : changes).push(`${prefix}${each.what}: ${values}${pairs}`);
    }
  }
  for (const { name, balancer } of listeners) {
    if (next.listeners.some((each) => each.name === name)) continue;
    changes.push(`listener ${name} is removed (${balancer.status().open} open)`);
  }
  return { changes, kept };
}

type Program = Configuration["program"];

function keptOf(now: Program, next: Program): string[] {
  const rows = [
    ["admin", (each: Program) => writeAdmin(each.admin).join(",")],
    ["admin-token-file", (each: Program) => each.adminTokenFile || "nothing"],
    ["access-log", (each: Program) => each.accessLog],
    ["watch", (each: Program) => String(each.watch)],
    ["upgrade-timeout", (each: Program) => `${each.upgradeMs}ms`],
  ] as const;
  return rows.flatMap(([name, textOf]) => {
    const [from, to] = [textOf(now), textOf(next)];
    return from === to ? [] : [`${name}: ${from} -> ${to}`];
  });
}

/** One line of why nothing was done. */
export function faultOf(error: unknown): string {
  if (!(error instanceof OptionsError)) {
    return error instanceof Error ? error.message : String(error);
  }
  return error.mistakes
    .map(({ message, hint }) => (hint === "" ? message : `${message}; ${hint}`))
    .join("; ");
}

/** What is told of a reload, a line each. */
export function linesOf({ changes, kept, fault }: ReloadOutcome): readonly string[] {
  if (fault !== "") return [`reload failed, nothing has changed: ${fault}`];
  if (changes.length + kept.length === 0) return ["reload: no change"];
  return [
    ...changes.map((each) => `reload: ${each}`),
    ...kept.map((each) => `reload: ${each}: takes iawlb upgrade`),
  ];
}
