// What a thread makes of the plan for the start of its connections: rules, routes, and TLS contexts of its own.
import { AccessRules } from "./core/access.ts";
import type { Outward } from "./core/destination.ts";
import type { TlsSide } from "./core/engine.ts";
import { NameTable } from "./core/names.ts";
import type { PrefaceRules } from "./core/preface.ts";
import { Routes } from "./core/routes.ts";
import {
  tlsClient,
  tlsServer,
  type TlsClientParts,
  type TlsServerParts,
} from "./engine/tls-side.ts";
import type { OutwardPlan, PrefacePlan } from "./thread-plan.ts";

/**
 * The contexts of a thread. One that has not changed is the one that it was: sessions that were begun with it can be
 * resumed. Those that no plan has asked for since the last `sweep` go.
 */
export class TlsSides {
  private sides = new Map<string, TlsSide>();
  private wanted = new Map<string, TlsSide>();
  /** Numbers of the texts that sides are made of: hundreds of them share authorities, which are large. */
  private texts = new Map<string, number>();
  private wantedTexts = new Map<string, number>();
  private lastText = 0;

  /** @throws what OpenSSL says of material that it refuses. */
  server(parts: TlsServerParts): TlsSide {
    return this.side(this.keyOf("server", parts), () => tlsServer(parts));
  }

  /** @throws what OpenSSL says of material that it refuses. */
  client(parts: TlsClientParts): TlsSide {
    return this.side(this.keyOf("client", parts), () => tlsClient(parts));
  }

  /** What was asked for since the last call is all that is needed. */
  sweep(): void {
    this.sides = this.wanted;
    this.wanted = new Map();
    this.texts = this.wantedTexts;
    this.wantedTexts = new Map();
  }

  /** The same for the same material. */
  private keyOf(kind: string, parts: TlsServerParts | TlsClientParts): string {
    const words = Object.entries(parts).map(([name, part]: readonly [string, string | boolean]) => {
      return `${name}=${typeof part === "string" ? this.numberOf(part) : part}`;
    });
    return `${kind} ${words.toSorted().join(" ")}`;
  }

  private numberOf(text: string): number {
    const number = this.wantedTexts.get(text) ?? this.texts.get(text) ?? (this.lastText += 1);
    this.wantedTexts.set(text, number);
    return number;
  }

  private side(key: string, make: () => TlsSide): TlsSide {
    const side = this.wanted.get(key) ?? this.sides.get(key) ?? make();
    this.wanted.set(key, side);
    return side;
  }
}

export function outwardOf(plan: OutwardPlan | null, sides: TlsSides): Outward | null {
  if (plan === null) return null;
  return { ...plan, tls: plan.tls === null ? null : sides.client(plan.tls) };
}

export function prefaceRulesOf(plan: PrefacePlan | null, sides: TlsSides): PrefaceRules | null {
  if (plan === null) return null;
  const { proxy, tls, routes } = plan;
  return {
    proxy: proxy === null ? null : { ...proxy, from: new AccessRules(proxy.from, []) },
    tls: tls === null ? null : { alpn: tls.alpn, sideOf: chooserOf(tls.identities, sides) },
    routes: routes === null ? null : new Routes(routes.list, routes.defaultLane),
  };
}

/** What OpenSSL refuses of the material of a plan, in its words; null = nothing. */
export function faultOfTls(
  preface: PrefacePlan | null,
  outwards: readonly (OutwardPlan | null)[],
): string | null {
  const sides = new TlsSides();
  try {
    prefaceRulesOf(preface, sides);
    for (const each of outwards) outwardOf(each, sides);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** The certificate that is for a name; else the first. */
function chooserOf(
  identities: NonNullable<PrefacePlan["tls"]>["identities"],
  sides: TlsSides,
): (name: string) => TlsSide {
  const byName = new NameTable<TlsSide>("one");
  const all = identities.map(({ names, parts }) => {
    const side = sides.server(parts);
    for (const name of names) byName.add(name, side);
    return side;
  });
  const [first] = all;
  if (first === undefined) throw new Error("TLS without a certificate");
  return (name) => byName.find(name) ?? first;
}
