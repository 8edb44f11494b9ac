// LISTEN and DEST...: every form that is accepted, every mistake with its code and its near miss.

import { describe, expect, test } from "bun:test";
import { type Address, formatAddress, parseOptions } from "../../src/control/options.ts";
import { plainPreface } from "../../src/control/preface-settings.ts";
import { withSeed } from "../wait.ts";
import { mistake, mistakesOf } from "./mistakes.ts";

const tcp = (host: string, port: number): Address => ({ kind: "tcp", host, port });
const unix = (path: string): Address => ({ kind: "unix", path });

describe("addresses", () => {
  test.each([
    ["8080", tcp("*", 8080)],
    ["0", tcp("*", 0)],
    ["65535", tcp("*", 65_535)],
    ["*:8080", tcp("*", 8080)],
    ["127.0.0.1:8080", tcp("127.0.0.1", 8080)],
    ["0.0.0.0:8080", tcp("0.0.0.0", 8080)],
    ["[::1]:8080", tcp("::1", 8080)],
    ["[::]:0", tcp("::", 0)],
    ["[0:0:0:0:0:0:0:1]:8080", tcp("::1", 8080)],
    ["[fe80::1%eth0]:8080", tcp("fe80::1%eth0", 8080)],
    ["localhost:8080", tcp("localhost", 8080)],
    ["unix:/run/app.sock", unix("/run/app.sock")],
    ["unix:app,1.sock", unix("app,1.sock")],
  ])("places: LISTEN %s is understood", (text, address) => {
    expect(parseOptions([text, "3001"]).listen).toEqual(address);
  });

  test.each([
    ["3001", tcp("localhost", 3001)],
    ["1", tcp("localhost", 1)],
    ["10.0.0.2:3001", tcp("10.0.0.2", 3001)],
    ["[::1]:3001", tcp("::1", 3001)],
    ["[FD00:0::2]:3001", tcp("fd00::2", 3001)],
    ["db-1.example.com:3001", tcp("db-1.example.com", 3001)],
    ["DB_1.Example.com.:3001", tcp("db_1.example.com.", 3001)],
    ["3com:80", tcp("3com", 80)],
    ["unix:/run/a.sock", unix("/run/a.sock")],
    [`unix:/${"x".repeat(106)}`, unix(`/${"x".repeat(106)}`)],
  ])("places: DEST %s is understood", (text, address) => {
    const [destination] = parseOptions(["8080", text]).destinations;
    const health = {
      healthMs: 2_000,
      healthSend: "",
      healthExpect: "",
      healthHttp: "",
      healthPort: 0,
    };
    const rest = { slots: 0, weight: 1, warm: 0, backup: false, ...health };
    expect(destination).toEqual({ name: text, address, ...rest, ...plainPreface });
  });

  test("places: an address written out is read as the same address, any address", async () => {
    await withSeed((random) => {
      for (let i = 0; i < 500; i++) {
        const groups = Array.from({ length: 8 }, () =>
          random.int(3) === 0 ? "0" : random.int(65_536).toString(16),
        );
        const ipv4 = [...random.bytes(4)].join(".");
        const host = random.int(2) === 0 ? `[${groups.join(":")}]` : ipv4;
        const { listen } = parseOptions([`${host}:${1 + random.int(65_535)}`, "unix:a"]);
        expect(parseOptions([formatAddress(listen), "unix:a"]).listen).toEqual(listen);
      }
    });
  });

  test.each([
    ["", "bad-address: "],
    ["localhost", "bad-address: "],
    ["foo", "bad-address: "],
    ["localhost:", "bad-port: "],
    ["localhost:http", "bad-port: "],
    ["300x", "bad-port: "],
    ["70000", "bad-port: "],
    ["0", "bad-port: "],
    ["localhost:0", "bad-port: "],
    ["localhost:65536", "bad-port: "],
    ["localhost:99999999999999999999999", "bad-port: "],
    [":3001", "empty-host: did you mean 3001?"],
    [":", "empty-host: "],
    ["*:3001", "bad-address: "],
    ["10.0.0.256:3001", "bad-address: "],
    ["10.0.0:3001", "bad-address: "],
    ["10.0.0.1", "bad-address: "],
    ["-a.b:3001,backup", "unknown-option: "],
    ["a b:3001", "bad-address: "],
    ["a..b:3001", "bad-address: "],
    [`${"a".repeat(64)}:3001`, "bad-address: "],
    ["::1:3001", "missing-brackets: did you mean [::1]:3001?"],
    ["fe80::1:70000", "missing-brackets: did you mean [fe80::1]:70000?"],
    ["1:2:3:4:5:6:7:8", "missing-brackets: did you mean [1:2:3:4:5:6:7:8]:PORT?"],
    ["2001:db8::1:3001,slots=2", "missing-brackets: did you mean [2001:db8::1]:3001,slots=2?"],
    ["[::1]", "bad-address: "],
    ["[::1]:", "bad-address: "],
    ["[::1:3001", "bad-address: "],
    ["[::1]3001", "bad-address: did you mean [::1]:3001?"],
    ["[web]:3001", "bad-address: did you mean web:3001?"],
    ["[]:3001", "bad-address: "],
    ["10.0.0.1:3001:5", "bad-address: did you mean 10.0.0.1:3001,slots=5?"],
    ["http://10.0.0.1:3001/x", "bad-address: did you mean 10.0.0.1:3001?"],
    ["http://web/", "bad-address: "],
    ["/run/a.sock", "bad-address: did you mean unix:/run/a.sock?"],
    ["./a.sock", "bad-address: did you mean unix:./a.sock?"],
    ["unix:", "bad-address: "],
    ["unix:///run/a.sock", "bad-address: did you mean unix:/run/a.sock?"],
    [`unix:/${"x".repeat(107)}`, "path-too-long: "],
    [`unix:/${"é".repeat(54)}`, "path-too-long: "],
  ])("places: DEST %p is a mistake", (text, told) => {
    expect(mistake("8080", text, "unix:other")).toBe(told);
  });

  test.each([
    ["65536", "bad-port: "],
    ["localhost:-1", "bad-port: "],
    [":8080", "empty-host: did you mean 8080?"],
    ["::1:8080", "missing-brackets: did you mean [::1]:8080?"],
    ["8080,slots=2", "unexpected-suffix: did you mean 8080?"],
    [`unix:/${"x".repeat(107)}`, "path-too-long: "],
  ])("places: LISTEN %p is a mistake", (text, told) => {
    expect(mistake(text, "3001")).toBe(told);
  });

  test.each([
    ["8080", "8080"],
    ["8080", "127.0.0.1:8080"],
    ["8080", "[::1]:8080"],
    ["localhost:8080", "127.0.0.1:8080"],
    ["127.0.0.1:8080", "8080"],
    ["0.0.0.0:8080", "127.1.2.3:8080"],
    ["[::]:8080", "[::1]:8080"],
    ["10.0.0.1:8080", "10.0.0.1:8080"],
    ["Web:8080", "web:8080"],
    ["unix:/run/a", "unix:/run/a"],
  ])("places: LISTEN %s and DEST %s are a loop", (listen, destination) => {
    expect(mistake(listen, destination)).toBe("loop: ");
  });

  test.each([
    ["8080", "8081"],
    ["8080", "10.0.0.1:8080"],
    ["127.0.0.1:8080", "[::1]:8080"],
    ["0", "3001"],
    ["unix:/run/a", "unix:/run/b"],
    ["unix:8080", "8080"],
  ])("places: LISTEN %s and DEST %s are no loop", (listen, destination) => {
    expect(mistakesOf(listen, destination)).toEqual([]);
  });
});

describe("destinations", () => {
  test("places: suffixes are read in any order, together and alone", () => {
    const { destinations } = parseOptions([
      "--slots=7",
      "8080",
      "3001,backup,name=a,weight=256,slots=0",
      "3002,slots=1048576",
      "3003,name=é-1",
    ]);
    const told = destinations.map(({ name, slots, weight, backup }) => {
      return { name, slots, weight, backup };
    });
    expect(told).toEqual([
      { name: "a", slots: 0, weight: 256, backup: true },
      { name: "3002", slots: 1_048_576, weight: 1, backup: false },
      { name: "é-1", slots: 7, weight: 1, backup: false },
    ]);
  });

  test("places: --slots holds for the destinations before it as well", () => {
    const { destinations } = parseOptions(["8080", "3001", "3002,slots=3", "--slots", "2"]);
    expect(destinations.map((one) => one.slots)).toEqual([2, 3]);
  });

  test.each([
    ["3001,slot=2", "unknown-suffix: did you mean ,slots=2?"],
    ["3001,wieght=2", "unknown-suffix: did you mean ,weight=2?"],
    ["3001,bakup", "unknown-suffix: did you mean ,backup?"],
    ["3001,Name=a", "unknown-suffix: did you mean ,name=a?"],
    ["3001,colour=red", "unknown-suffix: "],
    ["3001,", "unknown-suffix: "],
    ["3001,,backup", "unknown-suffix: "],
    ["3001,slots", "missing-value: "],
    ["3001,weight=", "missing-value: "],
    ["3001,name=", "missing-value: "],
    ["3001,slots=-1", "out-of-range: "],
    ["3001,slots=two", "bad-value: "],
    ["3001,slots=1.5", "bad-value: "],
    ["3001,slots=1048577", "out-of-range: "],
    ["3001,slots=1_000", "bad-value: did you mean ,slots=1000?"],
    ["3001,weight=0", "out-of-range: "],
    ["3001,weight=257", "out-of-range: "],
    ["3001,backup=yes", "bad-suffix: did you mean ,backup?"],
    ["3001,slots=1,slots=2", "bad-suffix: "],
    ["3001,name=a b", "bad-value: "],
    ["3001,name=a\u001bb", "bad-value: "],
    [`3001,name=${"a".repeat(129)}`, "bad-value: "],
  ])("places: DEST %p is a mistake", (text, told) => {
    expect(mistake("8080", text)).toBe(told);
  });

  test.each([
    [["3001", "3001"], "duplicate-address: "],
    [["3001", "localhost:3001,name=b"], "duplicate-address: "],
    [["[::1]:3001", "[0::0:1]:3001"], "duplicate-address: "],
    [["web:3001", "WEB:3001"], "duplicate-address: "],
    [["unix:/a", "unix:/a,slots=2"], "duplicate-address: "],
    [["3001,name=a", "3002,name=a"], "duplicate-name: "],
    [["3001", "3002,name=3001"], "duplicate-name: "],
  ])("places: the destinations %p are a mistake", (destinations, told) => {
    expect(mistake("8080", ...destinations)).toBe(told);
  });

  test("places: ten thousand destinations are read fast, right ones and wrong ones", () => {
    const places = Array.from({ length: 10_000 }, (_, i) => `10.1.${i >> 8}.${i & 255}:3001`);
    parseOptions(["8080", ...places]);
    const start = performance.now();
    const { destinations } = parseOptions(["8080", ...places.map((text) => `${text},slots=2`)]);
    const middle = performance.now();
    const mistakes = mistakesOf("8080", ...places, ...places);
    const end = performance.now();
    expect(destinations).toHaveLength(10_000);
    expect(mistakes).toHaveLength(10_000);
    // About 40 ms each; a comparison of each with each would take minutes.
    expect(middle - start).toBeLessThan(1_000);
    expect(end - middle).toBeLessThan(2_000);
  });

  test("places: one destination too many is told once for each", () => {
    const places = Array.from({ length: 65_537 }, (_, i) => `unix:${i}`);
    expect(mistake("8080", ...places)).toBe("too-many-destinations: ");
  });
});
