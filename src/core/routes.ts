// Where a connection goes by what its first bytes say: the name it asks for, the protocols it offers, or that it is no
// TLS at all.
//
// Routes that share a name are a group; the groups that match a name stand in a line, from the most specific to the
// one without a name. The line is walked until a group serves the client:
//
//   a.b.example ──> *.b.example ──> *.example ──> any name ──> the default lane
//
// In a group a route that asks for a protocol the client offers comes before one that asks for none; of two that ask,
// the one that is further up in the list.

import { NameTable } from "./names.ts";

export interface Route {
  /** Names and wildcards, which stand for any number of labels; none: any name, and clients without one. */
  readonly sni: readonly string[];
  /** One of them has to be offered; none: whatever is offered. Ids of ALPN, compared byte by byte. */
  readonly alpn: readonly string[];
  /** Serves what is not TLS. Without `sni` and `alpn` it then serves nothing else: TLS has the default lane. */
  readonly plain: boolean;
  /** 0 or more. */
  readonly lane: number;
}

/** What of a ClientHello decides. */
interface Asked {
  readonly sni: string;
  readonly alpn: readonly string[];
}

const noLane = -1;

/** The routes of one name. */
class Group {
  /** By id of ALPN: the place in the list and the lane of the first route that asks for it. */
  readonly byAlpn = new Map<string, { readonly place: number; readonly lane: number }>();
  /** Of the first route that asks for no protocol. */
  lane = noLane;
  wider: Group | null = null;

  choose(alpn: readonly string[]): number {
    let place = Infinity;
    let { lane } = this;
    if (this.byAlpn.size === 0) return lane;
    for (const id of alpn) {
      const asking = this.byAlpn.get(id);
      if (asking === undefined || asking.place >= place) continue;
      ({ place, lane } = asking);
    }
    return lane;
  }
}

export class Routes {
  private readonly names = new NameTable<Group>("any");
  private readonly anyName = new Group();
  /** One of them is for what is not TLS. */
  readonly servesPlain: boolean;
  private readonly plainLane: number;
  private readonly defaultLane: number;

  /**
   * @param routes whose names are legal; where two serve the same the first counts.
   * @param defaultLane serves what no route does; −1: nobody does.
   */
  constructor(routes: readonly Route[], defaultLane: number) {
    const groups = new Map<string, Group>();
    for (const [place, route] of routes.entries()) {
      for (const pattern of patternsOf(route)) {
        let group = pattern === "" ? this.anyName : groups.get(pattern);
        if (group === undefined) {
          group = new Group();
          groups.set(pattern, group);
          this.names.add(pattern, group);
        }
        addTo(group, place, route);
      }
    }
    for (const [pattern, group] of groups) {
      group.wider = this.names.findWider(pattern) ?? this.anyName;
    }
    this.defaultLane = defaultLane;
    const plain = routes.find((route) => route.plain);
    this.servesPlain = plain !== undefined;
    this.plainLane = plain?.lane ?? defaultLane;
  }

  /**
   * Chooses for a client. A hash for the name and for each of its dots, one for each protocol in each group that
   * matches; allocates nothing but parts of the name.
   * @param hello null: it is not TLS.
   * @returns the lane; −1 when nobody serves it.
   */
  choose(hello: Asked | null): number {
    if (hello === null) return this.plainLane;
    let group: Group | null = this.names.find(hello.sni) ?? this.anyName;
    for (; group !== null; group = group.wider) {
      const lane = group.choose(hello.alpn);
      if (lane !== noLane) return lane;
    }
    return this.defaultLane;
  }
}

/** The names of its TLS, in lower case; [""] for any, [] when it serves no TLS. */
function patternsOf({ sni, alpn, plain }: Route): readonly string[] {
  if (sni.length > 0) return sni.map((pattern) => pattern.toLowerCase());
  return plain && alpn.length === 0 ? [] : [""];
}

function addTo(group: Group, place: number, { alpn, lane }: Route): void {
  if (alpn.length === 0 && group.lane === noLane) group.lane = lane;
  for (const id of alpn) {
    if (!group.byAlpn.has(id)) group.byAlpn.set(id, { place, lane });
  }
}
