// Listeners of one program beside each other: what one leaves to the next, and what cannot be among them.
import type { Balancer } from "./balancer.ts";
import type { Configuration } from "./config/config.ts";
import { circles } from "./config/between.ts";
import { readAddress } from "./control/address.ts";
import { mistakeIn, OptionsError } from "./control/mistake.ts";
import { formatAddress, type Options } from "./control/options.ts";
import type { Modes } from "./control/steering.ts";
import { handedDown, type Inheritance } from "./inherited.ts";
import { libc } from "./linux/libc.ts";

export interface Listener {
  name: string;
  readonly balancer: Balancer;
  /** As configured and steered; what is in force besides is the balancer's. */
  options: Options;
}

type Wanted = Configuration["listeners"][number];

/** Of destinations that are not ready, by the names of their listeners. */
export function modesOf(listeners: Iterable<Listener>): Readonly<Record<string, Modes>> {
  const all = [...listeners].map(({ name, balancer }) => [name, modesIn(balancer)] as const);
  return Object.fromEntries(all.filter(([, modes]) => Object.keys(modes).length > 0));
}

/** Of one; none of none. */
export function modesIn(balancer: Balancer | undefined): Modes {
  return Object.fromEntries(
    (balancer?.status().destinations ?? []).flatMap(({ name, mode }) =>
      mode === "ready" || mode === "leaving" ? [] : [[name, mode] as const],
    ),
  );
}

export interface Left {
  readonly inheritance: Inheritance | null;
  /** Their heirs listen. */
  settle(): void;
  /** Closes what nobody has taken. */
  close(): void;
}

/** Addresses that go from one listener to another are never closed. */
export function leftBy(gone: readonly Listener[], moved: readonly Wanted[]): Left {
  const wanted = new Set(moved.map(({ options }) => formatAddress(options.listen)));
  const left = gone
    .filter(({ options }) => wanted.has(formatAddress(options.listen)) && !isPicked({ options }))
    .flatMap(({ balancer }) => balancer.descriptors);
  const inheritance = libc === null || left.length === 0 ? null : handedDown(libc, left);
  return {
    inheritance,
    settle() {
      for (const descriptor of left) descriptor.leaveFile();
      inheritance?.settle();
    },
    close() {
      if (libc !== null) inheritance?.closeRest(libc);
    },
  };
}

/** Its port is one that the system picks. */
export function isPicked({ options: { listen } }: { readonly options: Options }): boolean {
  return listen.kind === "tcp" && listen.port === 0;
}

/** From listener to listener and back to the first. @throws OptionsError */
export function refuseCircle(
  listeners: readonly Listener[],
  changed: Listener,
  wanted: Options,
  argument: string,
): void {
  const all = listeners.map((each) => {
    const options = each === changed ? wanted : each.options;
    const bound = readAddress(each.balancer.addresses[0] ?? "", "listen").value;
    return { name: each.name, options: { ...options, listen: bound ?? options.listen } };
  });
  const [found] = circles(all);
  if (found !== undefined) throw new OptionsError([mistakeIn(argument, found.fault)]);
}
