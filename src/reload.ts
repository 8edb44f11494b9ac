// What a configuration that was read anew would change, in words: a line each.
import { ListenError, type Balancer, type Change } from "./balancer.ts";
import type { Configuration } from "./config/config.ts";
import { placeText } from "./control/mistake.ts";
import { formatAddress, OptionsError, type Options } from "./control/options.ts";
import type { ReloadOutcome } from "./control/steering.ts";
import { writeAdmin } from "./control/program-rows.ts";
import type { TlsMaterial } from "./control/tls-files.ts";
import { formatDuration } from "./control/value.ts";

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

type Wanted = Configuration["listeners"][number];
type Program = Configuration["program"];

/** @throws OptionsError when one of the listeners cannot be as it is wanted. */
export function differenceOf(
  now: Program,
  listeners: readonly Named[],
  next: Configuration,
): Difference {
  const changes: string[] = [];
  const kept = [...keptOf(now, next.program)];
  const [before, after] = [now.logLevel, next.program.logLevel];
  if (before !== after) changes.push(`log-level: ${before} -> ${after}`);
  const isOne = next.listeners.length === 1 && listeners.length === 1;
  const partners = partnersOf(listeners, next.listeners);
  for (const wanted of next.listeners) {
    const { name, options } = wanted;
    const listener = partners.get(wanted);
    const prefix = isOne ? "" : `${name}: `;
    if (listener === undefined) {
      changes.push(`listener ${name} at ${formatAddress(options.listen)} is added`);
      continue;
    }
    if (name !== listener.name)
      changes.push(
        `listener ${listener.name} is called ${name} now${inWords(listener.balancer.status().open)}`,
      );
    const { listen } = listener.options;
    if (!isSamePlace(listener, wanted)) {
      const [from, to] = [listen, options.listen].map(formatAddress);
      changes.push(`${prefix}listen: ${from} -> ${to}${inWords(listener.balancer.status().open)}`);
    }
    for (const each of planOf(listener, { ...options, listen }, next, wanted)) {
      if (each.what === "access-log" || each.what === "log-level") continue; // the program's
      const values = `${each.from || "nothing"} -> ${each.to || "nothing"}${inWords(each.pairs)}`;
      (each.kept ? kept : changes).push(`${prefix}${each.what}: ${values}`);
    }
  }
  const staying = new Set(partners.values());
  for (const each of listeners) {
    if (staying.has(each)) continue;
    changes.push(`listener ${each.name} is removed${inWords(each.balancer.status().open)}`);
  }
  return { changes, kept };
}

/** @throws OptionsError with the places of its mistakes. */
function planOf(
  { balancer }: Named,
  options: Options,
  next: Configuration,
  wanted: Wanted,
): readonly Change[] {
  try {
    return balancer.plan({ ...options, ...aroundOf(wanted, next) });
  } catch (error) {
    throw withPlace(error, next, wanted);
  }
}

/** What its TLS files hold, and the others: they share the descriptors. */
export function aroundOf(
  wanted: Wanted,
  { listeners }: Configuration,
): { readonly beside: readonly Options[]; readonly tls: TlsMaterial } {
  const beside = listeners.filter((each) => each !== wanted).map(({ options }) => options);
  return { beside, tls: wanted.tls };
}

function inWords(openCount: number): string {
  return openCount === 0 ? "" : ` (${openCount} open)`;
}

/** What each of them was before: the one of its name, else one at its address whose name is gone. */
export function partnersOf<T extends Named>(
  now: readonly T[],
  wanted: readonly Wanted[],
): Map<Wanted, T> {
  const gone = now.filter(({ name }) => !wanted.some((each) => each.name === name));
  const partners = new Map<Wanted, T>();
  for (const each of wanted) {
    const namesake = now.find(({ name }) => name === each.name);
    const index = gone.findIndex((one) => isSamePlace(one, each));
    const partner = namesake ?? (index < 0 ? undefined : gone.splice(index, 1)[0]);
    if (partner !== undefined) partners.set(each, partner);
  }
  return partners;
}

/** It need not be opened anew. */
export function isSamePlace(now: { readonly options: Options }, wanted: Wanted): boolean {
  return formatAddress(now.options.listen) === formatAddress(wanted.options.listen);
}

/** @returns the error with the places where its causes are written, as far as they are in a file. */
export function withPlace(
  error: unknown,
  { listeners, origins }: Configuration,
  wanted: Wanted | undefined,
): unknown {
  const path = `listener[${listeners.findIndex((each) => each === wanted)}]`;
  const placeOf = (key: string): string => {
    const origin = origins.get(`${path}.${key}`);
    return origin?.kind === "file" ? `${placeText(origin.at)}: ` : "";
  };
  if (error instanceof ListenError) {
    error.message = placeOf("listen") + error.message;
    return error;
  }
  if (!(error instanceof OptionsError)) return error;
  const names = wanted?.options.destinations.map(({ name }) => name) ?? [];
  return new OptionsError(
    error.mistakes.map((each) => {
      if (each.at !== undefined) return each;
      const place = placeOf(`destinations[${names.indexOf(each.argument)}]`);
      return { ...each, message: place + each.message };
    }),
  );
}

function keptOf(now: Program, next: Program): string[] {
  const rows = [
    ["admin", (each: Program) => writeAdmin(each.admin).join(",")],
    ["admin-token-file", (each: Program) => each.adminTokenFile || "nothing"],
    ["access-log", (each: Program) => each.accessLog],
    ["watch", (each: Program) => String(each.watch)],
    ["upgrade-timeout", (each: Program) => formatDuration(each.upgradeMs)],
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
