// Destinations that are chosen by the same name and protocol form one route; those that say nothing, the default one.

import { bad, type Fault, quote } from "./mistake.ts";
import type { DestinationPreface } from "./preface-settings.ts";

/** Routes of a listener, the default one among them. */
export const routeCountMax = 64;

type Choice = Pick<DestinationPreface, "sni" | "alpn" | "plain">;

export interface Route extends Choice {
  /** `sni=a.example+*.b.example alpn=h2`, `plain`; "" = the default. */
  readonly key: string;
}

/**
 * One text for all that choose alike, in whatever order they say it: names before patterns, each by the alphabet.
 */
export function routeKeyOf({ sni, alpn, plain }: Choice): string {
  const names = [...new Set(sni)].toSorted(byName);
  const protocols = [...new Set(alpn)].toSorted(byText);
  return [
    names.length === 0 ? "" : `sni=${names.join("+")}`,
    protocols.length === 0 ? "" : `alpn=${protocols.join("+")}`,
    plain ? "plain" : "",
  ]
    .filter((each) => each !== "")
    .join(" ");
}

/** The distinct routes in the order in which they come first; at 0 always the default, even if nobody is of it. */
export function routesOf(destinations: readonly Choice[]): readonly Route[] {
  const routes = new Map<string, Route>([["", { key: "", sni: [], alpn: [], plain: false }]]);
  for (const { sni, alpn, plain } of destinations) {
    const key = routeKeyOf({ sni, alpn, plain });
    if (!routes.has(key)) routes.set(key, { key, sni, alpn, plain });
  }
  return [...routes.values()];
}

/** A destination that cannot be chosen as it says, by its index. */
export interface RouteFault {
  readonly row: number;
  readonly fault: Fault;
}

/** What cannot stand side by side: the same name and protocol in two routes, and more routes than there may be. */
export function routeFaultsOf(
  destinations: readonly (Choice & { readonly name: string })[],
): readonly RouteFault[] {
  const faults: RouteFault[] = [];
  const seen = new Set([""]);
  const claims = new Map<string, string>();
  destinations.forEach((each, row) => {
    const key = routeKeyOf(each);
    if (each.plain && each.sni.length + each.alpn.length > 0) {
      const problem = "plain stands beside sni or alpn";
      const { fault } = bad("bad-suffix", problem, "what is not TLS has no name and no protocol");
      faults.push({ row, fault });
      return;
    }
    if (seen.has(key)) return;
    seen.add(key);
    if (seen.size === routeCountMax + 1) {
      const accepted = `at most ${routeCountMax - 1} routes beside the default one are accepted`;
      faults.push({ row, fault: bad("out-of-range", "its route is one too many", accepted).fault });
    }
    const own = claimsOf(each);
    const taken = own.find((claim) => claims.has(claim));
    for (const claim of own) if (!claims.has(claim)) claims.set(claim, each.name);
    if (taken === undefined) return;
    const problem = `${taken} leads to ${quote(claims.get(taken) ?? "")} already`;
    const advice = "give both the same sni and alpn to share it, or another name";
    faults.push({ row, fault: bad("bad-suffix", problem, advice).fault });
  });
  return faults;
}

/** Every name with every protocol that a route is for, in words. */
function claimsOf({ sni, alpn }: Choice): readonly string[] {
  const names = sni.length === 0 ? [""] : sni;
  const protocols = alpn.length === 0 ? [""] : alpn;
  return names.flatMap((name) =>
    protocols.map((protocol) =>
      [name === "" ? "" : `sni ${name}`, protocol === "" ? "" : `alpn ${protocol}`]
        .filter((each) => each !== "")
        .join(" with "),
    ),
  );
}

function byName(a: string, b: string): number {
  return Number(a.startsWith("*")) - Number(b.startsWith("*")) || byText(a, b);
}

function byText(a: string, b: string): number {
  return a < b ? -1 : Number(a > b);
}
