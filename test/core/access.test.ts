// Rules of who may connect, against one that looks at every rule.
import { expect, test } from "bun:test";
import { AccessRules, type Network } from "../../src/core/access.ts";
import { readClient } from "../../src/core/client.ts";
import { type Random, withSeed } from "../wait.ts";

function network(text: string): Network {
  const [host = "", prefix] = text.split("/");
  const words = new Int32Array(4);
  const family = readClient(host.includes(":") ? `[${host}]:0` : `${host}:0`, words);
  if (family === 0) throw new Error(`no network: ${text}`);
  return { words: [...words], family, prefix: Number(prefix) };
}

function rules(allow: readonly string[], deny: readonly string[]): (client: string) => boolean {
  const access = new AccessRules(allow.map(network), deny.map(network));
  const words = new Int32Array(4);
  return (client) => {
    const family = readClient(client, words);
    if (family === 0) throw new Error(`no client: ${client}`);
    return access.allows(family, words);
  };
}

test("access: everybody may connect, without rules", () => {
  const allows = rules([], []);
  expect([allows("1.2.3.4:5"), allows("[::1]:5")]).toEqual([true, true]);
});

test("access: whom no rule names is denied, with an allowed network", () => {
  const allows = rules(["10.0.0.0/8"], []);
  expect(allows("10.255.255.255:5")).toBe(true);
  expect(allows("[::ffff:10.0.0.1]:5")).toBe(true);
  expect(allows("11.0.0.0:5")).toBe(false);
  expect(allows("[::1]:5")).toBe(false);
});

test("access: whom no rule names is allowed, with denied networks only", () => {
  const allows = rules([], ["10.0.0.0/8", "2001:db8::/32"]);
  expect(allows("10.0.0.1:5")).toBe(false);
  expect(allows("[2001:db8:ffff::1]:5")).toBe(false);
  expect(allows("9.255.255.255:5")).toBe(true);
  expect(allows("[2001:db9::]:5")).toBe(true);
});

test("access: the longest prefix decides, whatever list it is in", () => {
  const allows = rules(["10.1.0.0/16", "10.1.2.3/32"], ["10.0.0.0/8", "10.1.2.0/24"]);
  expect(allows("10.2.0.0:5")).toBe(false);
  expect(allows("10.1.1.1:5")).toBe(true);
  expect(allows("10.1.2.2:5")).toBe(false);
  expect(allows("10.1.2.3:5")).toBe(true);
});

test("access: a network that is in both lists is denied", () => {
  expect(rules(["10.0.0.0/8"], ["10.0.0.0/8"])("10.0.0.1:5")).toBe(false);
});

test("access: every address of one family is none of the other", () => {
  const four = rules(["0.0.0.0/0"], []);
  expect([four("255.0.0.1:5"), four("[::1]:5"), four("[ffff::]:5")]).toEqual([true, false, false]);
  const six = rules(["::/0"], []);
  expect([six("255.0.0.1:5"), six("[::ffff:1.2.3.4]:5"), six("[::1]:5")]).toEqual([
    false,
    false,
    true,
  ]);
});

test("access: a single address of IPv6 is told from its neighbour", () => {
  const allows = rules(["2001:db8::8000:1/128"], []);
  expect(allows("[2001:db8::8000:1]:5")).toBe(true);
  expect(allows("[2001:db8::8000:0]:5")).toBe(false);
});

/** Addresses that share much: each bit is most often that of one of a few. */
function randomNetwork({ int }: Random, patterns: readonly number[]): Network {
  const family = int(2) === 0 ? 4 : 6;
  const prefix = int(family === 4 ? 33 : 129);
  const words = [0, 1, 2, 3].map((word) =>
    family === 4 && word < 3 ? (word === 2 ? 0xffff : 0) : randomWord(int, patterns),
  );
  return { words, family, prefix };
}

function randomWord(int: Random["int"], patterns: readonly number[]): number {
  const flip = int(3) === 0 ? 1 << int(32) : 0;
  return ((patterns[int(patterns.length)] ?? 0) ^ flip) | 0;
}

function allowsNaively(
  allow: readonly Network[],
  deny: readonly Network[],
  { family, words }: Network,
): boolean {
  const longest = (list: readonly Network[]) =>
    list
      .filter((rule) => rule.family === family && sharePrefix(rule, words))
      .reduce((most, rule) => Math.max(most, rule.prefix), -1);
  const allowed = longest(allow);
  const denied = longest(deny);
  return allowed === denied && allowed < 0 ? allow.length === 0 : allowed > denied;
}

function sharePrefix({ words, family, prefix }: Network, other: readonly number[]): boolean {
  const bits = (each: readonly number[]) =>
    each.map((word) => (word >>> 0).toString(2).padStart(32, "0")).join("");
  const count = family === 4 ? 96 + prefix : prefix;
  return bits(words).slice(0, count) === bits(other).slice(0, count);
}

test("access: random rules decide as a look at each of them does", () =>
  withSeed((random) => {
    const { int } = random;
    let allowedCount = 0;
    for (let round = 0; round < 60; round += 1) {
      const patterns = [0, -1, int(2 ** 32), int(2 ** 32)];
      const list = () => Array.from({ length: int(12) }, () => randomNetwork(random, patterns));
      const [allow, deny] = [list(), list()];
      const access = new AccessRules(allow, deny);
      for (let n = 0; n < 50; n += 1) {
        const client = randomNetwork(random, patterns);
        const expected = allowsNaively(allow, deny, client);
        if (expected) allowedCount += 1;
        const allowed = access.allows(client.family, Int32Array.from(client.words));
        if (allowed !== expected) expect({ allow, deny, client, allowed }).toBe(expected as never);
      }
    }
    expect(allowedCount).toBeGreaterThan(300);
    expect(allowedCount).toBeLessThan(2_700);
  }));
