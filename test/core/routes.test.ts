// Where a client goes by its name and protocols, against a look at every route.

import { describe, expect, test } from "bun:test";
import { Routes, type Route } from "../../src/core/routes.ts";
import { withSeed, type Random } from "../wait.ts";

const nobody = -1;
const fallback = 99;

function route(lane: number, parts: Partial<Omit<Route, "lane">> = {}): Route {
  return { sni: [], alpn: [], plain: false, ...parts, lane };
}

/** @returns where a client goes that asks for `sni` and offers `alpn`. */
function chooser(routes: readonly Route[], defaultLane = fallback) {
  const table = new Routes(routes, defaultLane);
  return (sni: string, ...alpn: readonly string[]) => table.choose({ sni, alpn });
}

describe("choice", () => {
  test("routes: the most specific name counts, in whatever order they stand", () => {
    const list = [
      route(0),
      route(1, { sni: ["*.example"] }),
      route(2, { sni: ["*.b.example"] }),
      route(3, { sni: ["a.b.example", "C.Example"] }),
    ];
    for (const routes of [list, list.toReversed()]) {
      const choose = chooser(routes);
      expect(choose("a.b.example")).toBe(3);
      expect(choose("c.example")).toBe(3);
      expect(choose("x.b.example")).toBe(2);
      expect(choose("y.x.b.example")).toBe(2);
      expect(choose("b.example")).toBe(1);
      expect(choose("example")).toBe(0);
      expect(choose("")).toBe(0);
    }
  });

  test("routes: one that asks for a protocol comes before one that asks for none, in whatever order", () => {
    const list = [
      route(1, { sni: ["a.example"] }),
      route(2, { sni: ["a.example"], alpn: ["h2", "h3"] }),
    ];
    for (const routes of [list, list.toReversed()]) {
      const choose = chooser(routes);
      expect(choose("a.example", "http/1.1", "h2")).toBe(2);
      expect(choose("a.example", "h3")).toBe(2);
      expect(choose("a.example", "http/1.1")).toBe(1);
      expect(choose("a.example")).toBe(1);
      expect(choose("a.example", "H2")).toBe(1);
    }
  });

  test("routes: of two whose protocols are offered the upper one counts, not the client's order", () => {
    const choose = chooser([
      route(1, { sni: ["a.example"], alpn: ["http/1.1"] }),
      route(2, { sni: ["a.example"], alpn: ["h2"] }),
    ]);
    expect(choose("a.example", "h2", "http/1.1")).toBe(1);
    expect(choose("a.example", "http/1.1", "h2")).toBe(1);
    expect(choose("a.example", "h2")).toBe(2);
  });

  test("routes: where no protocol is offered that is asked for, the next less specific name is tried", () => {
    const choose = chooser([
      route(1, { sni: ["a.b.example"], alpn: ["h2"] }),
      route(2, { sni: ["*.b.example"], alpn: ["acme-tls/1"] }),
      route(3, { sni: ["*.example"] }),
      route(4, { alpn: ["mqtt"] }),
    ]);
    expect(choose("a.b.example", "h2", "acme-tls/1")).toBe(1);
    expect(choose("a.b.example", "acme-tls/1")).toBe(2);
    expect(choose("a.b.example", "http/1.1")).toBe(3);
    expect(choose("a.b.example", "mqtt")).toBe(3);
    expect(choose("other", "mqtt")).toBe(4);
    expect(choose("", "mqtt")).toBe(4);
    expect(choose("other", "http/1.1")).toBe(fallback);
  });

  test("routes: what nobody matches goes to the default, or to nobody", () => {
    const routes = [route(1, { sni: ["a.example"] }), route(2, { alpn: ["h2"] })];
    expect(chooser(routes)("b.example", "http/1.1")).toBe(fallback);
    expect(chooser(routes, nobody)("b.example", "http/1.1")).toBe(nobody);
    expect(chooser([])("a.example")).toBe(fallback);
    expect(new Routes([], nobody).choose(null)).toBe(nobody);
  });

  test("routes: what is not TLS goes to the plain route, else to the default", () => {
    const plain = route(5, { plain: true });
    expect(new Routes([route(1), plain], fallback).choose(null)).toBe(5);
    expect(new Routes([route(1)], fallback).choose(null)).toBe(fallback);
    expect(new Routes([route(1)], nobody).choose(null)).toBe(nobody);
    expect(new Routes([route(6, { sni: ["a.example"], plain: true })], nobody).choose(null)).toBe(
      6,
    );
  });

  test("routes: a plain route serves TLS only where it has a name or a protocol", () => {
    expect(chooser([route(5, { plain: true })])("a.example", "h2")).toBe(fallback);
    expect(chooser([route(5, { plain: true, sni: ["a.example"] })])("a.example")).toBe(5);
    expect(chooser([route(5, { plain: true, alpn: ["h2"] })])("a.example", "h2")).toBe(5);
  });

  test("routes: where two conflict the first counts", () => {
    const choose = chooser([
      route(1, { sni: ["a.example"] }),
      route(2, { sni: ["A.example"] }),
      route(3, { alpn: ["h2"] }),
      route(4, { alpn: ["h2"] }),
    ]);
    expect([choose("a.example"), choose("", "h2")]).toEqual([1, 3]);
  });

  test("routes: random lists decide as a look at each route does", () =>
    withSeed((random) => {
      const byLane = new Map<number, number>();
      for (let round = 0; round < 300; round += 1) {
        const routes = Array.from({ length: random.int(8) }, (_, lane) =>
          randomRoute(random, lane),
        );
        const table = new Routes(routes, fallback);
        for (let n = 0; n < 40; n += 1) {
          const asked =
            random.int(8) === 0 ? null : { sni: randomName(random), alpn: randomIds(random) };
          const expected = chooseNaively(routes, asked);
          byLane.set(expected, (byLane.get(expected) ?? 0) + 1);
          const lane = table.choose(asked);
          if (lane !== expected) expect({ routes, asked, lane }).toBe(expected as never);
        }
      }
      expect(byLane.size).toBe(8); // seven lanes and the default
      expect(byLane.get(fallback)).toBeLessThan(9_000);
    }));
});

function randomName({ int }: Random): string {
  return int(6) === 0 ? "" : Array.from({ length: 1 + int(3) }, () => "ab"[int(2)]).join(".");
}

function randomIds({ int }: Random): string[] {
  return Array.from({ length: int(3) }, () => ["h2", "h3", "mqtt"][int(3)] ?? "");
}

function randomRoute(random: Random, lane: number): Route {
  const pattern = () => (random.int(2) === 0 ? "*." : "") + (randomName(random) || "a");
  const sni = Array.from({ length: random.int(3) }, pattern);
  return { sni, alpn: randomIds(random), plain: random.int(6) === 0, lane };
}

/** Ranks every route that matches, and takes the highest, the upper one of two alike. */
function chooseNaively(
  routes: readonly Route[],
  asked: { readonly sni: string; readonly alpn: readonly string[] } | null,
): number {
  if (asked === null) return routes.find(({ plain }) => plain)?.lane ?? fallback;
  let best = { rank: -1, lane: fallback };
  for (const { sni, alpn, plain, lane } of routes) {
    if (plain && sni.length === 0 && alpn.length === 0) continue;
    if (alpn.length > 0 && !alpn.some((id) => asked.alpn.includes(id))) continue;
    const ranks = sni.length === 0 ? [0] : sni.map((pattern) => rankOf(pattern, asked.sni));
    const name = Math.max(...ranks);
    const rank = name < 0 ? -1 : 2 * name + (alpn.length > 0 ? 1 : 0);
    if (rank > best.rank) best = { rank, lane };
  }
  return best.lane;
}

function rankOf(pattern: string, name: string): number {
  if (!pattern.startsWith("*")) return pattern === name ? 1_000 : -1;
  return name.endsWith(pattern.slice(1)) && name.length >= pattern.length ? pattern.length : -1;
}

describe("conflicts", () => {
  test("routes: a list without conflicts decides alike in every order, but for protocols of two routes", () =>
    withSeed((random) => {
      let count = 0;
      while (count < 100) {
        const routes = Array.from({ length: 4 }, (_, lane) => randomRoute(random, lane));
        if (new Set(routes.flatMap(claimsOf)).size < routes.flatMap(claimsOf).length) continue;
        count += 1;
        const [one, other] = [chooser(routes), chooser(routes.toReversed())];
        for (let n = 0; n < 40; n += 1) {
          const [name, [id = "none"]] = [randomName(random), randomIds(random)];
          expect([routes, name, id, other(name, id)]).toEqual([routes, name, id, one(name, id)]);
        }
      }
    }));
});

/** Every name with every protocol that a route is for, each once. */
function claimsOf({ sni, alpn, plain }: Route): readonly string[] {
  const names = sni.length > 0 ? sni : plain && alpn.length === 0 ? [] : [""];
  const ids = alpn.length === 0 ? [""] : alpn;
  const claims = names.flatMap((name) => ids.map((id) => `${name.toLowerCase()} ${id}`));
  return [...new Set(plain ? [...claims, "plain"] : claims)];
}
