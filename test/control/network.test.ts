// Networks as a user writes them: what is read, what is written, and what is said of mistakes.
import { expect, test } from "bun:test";
import { formatNetwork, networkCountMax, readNetworks } from "../../src/control/network.ts";
import { withSeed } from "../wait.ts";

function formatted(text: string): string | undefined {
  return readNetworks(text).value?.map(formatNetwork).join(",");
}

test.each([
  ["10.0.0.0/8", "10.0.0.0/8"],
  ["10.0.0.1", "10.0.0.1"],
  ["10.0.0.1/32", "10.0.0.1"],
  ["0.0.0.0/0", "0.0.0.0/0"],
  ["::/0", "::/0"],
  ["2001:DB8:0:0::/32", "2001:db8::/32"],
  ["[::1]", "::1"],
  ["[2001:db8::]/32", "2001:db8::/32"],
  ["::1/128", "::1"],
  ["::ffff:10.0.0.0/104", "10.0.0.0/8"],
  ["::ffff:10.0.0.1", "10.0.0.1"],
  ["::ffff:0:0/96", "0.0.0.0/0"],
  ["::fffe:0:0/95", "::fffe:0:0/95"],
  ["255.255.255.255/32, 128.0.0.0/1", "255.255.255.255,128.0.0.0/1"],
  ["10.0.0.0/8,192.168.1.7,2001:db8::/32,[::1]", "10.0.0.0/8,192.168.1.7,2001:db8::/32,::1"],
])("network: %s is read", (text, expected) => {
  expect(formatted(text)).toBe(expected);
});

test("network: an address is its four words, its family and all of its bits", () => {
  expect(readNetworks("10.0.0.1,::1").value).toEqual([
    { words: [0, 0, 0xffff, 0x0a000001], family: 4, prefix: 32 },
    { words: [0, 0, 0, 1], family: 6, prefix: 128 },
  ]);
});

test.each([
  ["10.0.0.1/8", "bad-value", "10.0.0.0/8"],
  ["192.168.1.7,2001:db8::1/32", "bad-value", "2001:db8::/32"],
  ["255.255.255.255/0", "bad-value", "0.0.0.0/0"],
  ["::ffff:10.0.0.1/104", "bad-value", "10.0.0.0/8"],
  ["::ffff:0:0/64", "bad-value", "::/64"],
  ["10.0.0.0/33", "out-of-range", ""],
  ["::/129", "out-of-range", ""],
  ["10.0.0.0/08", "out-of-range", "10.0.0.0/8"],
  ["10.0.0.0/", "out-of-range", ""],
  ["10.0.0.0/-8", "out-of-range", ""],
  ["10.0.0.0/255.0.0.0", "out-of-range", "10.0.0.0/8"],
  ["10.0.0.0/255.255.255.255", "out-of-range", "10.0.0.0"],
  ["10.0.0.0/255.0.255.0", "out-of-range", ""],
  ["10/8", "bad-address", "10.0.0.0/8"],
  ["10.1/16", "bad-address", "10.1.0.0/16"],
  ["10.1.*", "bad-address", "10.1.0.0/16"],
  ["10.0.0.1:80", "bad-address", "10.0.0.1"],
  ["[::1]:80", "bad-address", "::1"],
  ["[2001:db8::/32]", "bad-address", "2001:db8::/32"],
  ["[10.0.0.1]", "bad-address", "10.0.0.1"],
  ["fe80::1%eth0", "bad-address", "fe80::1"],
  ["010.0.0.1", "bad-address", ""],
  ["10.0.0.0/8/8", "bad-address", "10.0.0.0/8"],
  ["localhost", "bad-address", ""],
  ["10.0.0.0/8,,::1", "bad-value", "10.0.0.0/8,::1"],
  ["10.0.0.1,", "bad-value", "10.0.0.1"],
  ["x,", "bad-value", ""],
  ["", "bad-value", ""],
] as const)("network: %p is a mistake with its near miss", (text, code, suggestion) => {
  expect(readNetworks(text).fault).toMatchObject({ code, suggestion });
});

test("network: a mistake quotes the one network of the list that is wrong", () => {
  expect(readNetworks("10.0.0.0/8,1.2.3.4/40").fault).toEqual({
    code: "out-of-range",
    problem: 'the prefix of "1.2.3.4/40" is no number of bits',
    accepted: "0 to 32 are accepted",
    suggestion: "",
  });
});

test("network: as many as the limit are read, one more is a mistake", () => {
  const text = Array.from({ length: networkCountMax }, (_, n) => `10.0.${n >> 8}.${n & 255}`);
  expect(readNetworks(text.join(",")).value).toHaveLength(networkCountMax);
  expect(readNetworks([...text, "::1"].join(",")).fault?.code).toBe("out-of-range");
});

test("network: every network is read back as written, and equal ones are equal texts", () =>
  withSeed(({ int }) => {
    for (let n = 0; n < 2_000; n += 1) {
      const prefix = int(129);
      const bits = Array.from({ length: 128 }, (_, bit) => (bit < prefix && int(3) === 0 ? 1 : 0));
      const groups = Array.from({ length: 8 }, (_, group) =>
        parseInt(bits.slice(16 * group, 16 * group + 16).join(""), 2).toString(16),
      );
      const text = `${groups.join(":")}/${prefix}`;
      const written = formatted(text) ?? "";
      expect(formatted(written)).toBe(written);
      expect(readNetworks(written).value).toEqual(readNetworks(text).value);
    }
    for (let n = 0; n < 2_000; n += 1) {
      const prefix = int(33);
      const address = prefix === 0 ? 0 : (int(2 ** 32) & (-1 << (32 - prefix))) >>> 0;
      const host = [24, 16, 8, 0].map((shift) => (address >>> shift) & 255).join(".");
      expect(formatted(`${host}/${prefix}`)).toBe(prefix === 32 ? host : `${host}/${prefix}`);
    }
  }));
