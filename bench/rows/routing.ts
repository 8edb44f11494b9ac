// What it costs to read the start of a connection and choose by the name in it: the same connection, with and without.

import { PLAIN } from "../programs.ts";
import { interleave, metered, withProgram } from "../row.ts";
import type { Bench, Limit, Row } from "../row.ts";

const IN_FLIGHT = 32;
const DESTINATIONS = 4;
const NAME = "bench.example";
/** What a connection may cost more. */
const BOUND_US = 15;

const NAMES = ["off", "on", "libc off", "libc on"] as const;
type Name = (typeof NAMES)[number];

const limits = (["on", "libc on"] as const).map((program): Limit => ({
  title: `CPU of a connection that is routed by name, less one that is not (${program === "on" ? "bun" : "libc"})`,
  condition: "",
  program,
  over: program === "on" ? "off" : "libc off",
  measure: "cpuUs",
  kind: "difference",
  sense: "at most",
  bound: BOUND_US,
  unit: "µs",
}));

export const routing: Row = {
  name: "routing",
  title: "Routing by name",
  method: `New connections as above, of which each sends a ClientHello of ${helloSize()} bytes and an empty line, which the destinations answer and end, undecrypted; ${DESTINATIONS} destinations for any client, and the same ones for the name ${NAME}. 10,000 connections of warm-up, then 20,000, in a fresh process each round.`,
  needs: "load",
  measures: [
    { key: "cpuUs", title: "CPU per connection, µs", digits: 1 },
    { key: "perSecond", title: "connections/s", digits: 0 },
    { key: "p99Us", title: "p99, µs", digits: 0 },
  ],
  limits,
  run,
};

async function run(bench: Bench) {
  await using destinations = await bench.load.serve(DESTINATIONS + 1, "close");
  const [last = 0, ...ports] = destinations.ports;
  const text = `hex:${clientHello(NAME)}${Buffer.from("\r\n\r\n").toString("hex")}`;
  const [warmCount, count] = bench.small ? [100, 500] : [10_000, 20_000];
  return await interleave(bench, NAMES, bench.small ? 1 : 10, "", (name: Name) => {
    const isOn = name.endsWith("on");
    const engine = name.startsWith("libc") ? "iawlb libc" : "iawlb";
    // Whether it answers is asked without a name, of the one that serves the rest.
    const setting = isOn
      ? { ...PLAIN, ports: [last], flags: ports.map((port) => `127.0.0.1:${port},sni=${NAME}`) }
      : { ...PLAIN, ports };
    return withProgram(bench, engine, setting, async (running) => {
      const connect = (each: number) => bench.load.connect(running.port, each, IN_FLIGHT, text);
      await connect(warmCount);
      const { result, cpuSeconds } = await metered(running, () => connect(count));
      return {
        cpuUs: (cpuSeconds / result.count) * 1e6,
        perSecond: result.count / result.seconds,
        p99Us: result.p99Us,
        count: result.count,
      };
    });
  });
}

function helloSize(): number {
  return clientHello(NAME).length / 2;
}

/** As a browser's, in hex: a name, protocols, versions, a key share, and padding to 512 bytes (RFC 7685). */
function clientHello(name: string): string {
  const sized = (size: 1 | 2 | 3, ...parts: readonly string[]) => {
    const body = parts.join("");
    return (body.length / 2).toString(16).padStart(2 * size, "0") + body;
  };
  const text = (words: string) => Buffer.from(words).toString("hex");
  const extension = (type: string, ...parts: readonly string[]) => type + sized(2, ...parts);
  const protocols = ["h2", "http/1.1"].map((id) => sized(1, text(id)));
  const extensions = [
    extension("0a0a"), // grease (RFC 8701)
    extension("0000", sized(2, "00", sized(2, text(name)))),
    extension("000a", sized(2, "001d", "0017")),
    extension("000d", sized(2, "0403", "0804", "0401")),
    extension("0010", sized(2, ...protocols)),
    extension("002b", sized(1, "0304", "0303")),
    extension("0033", sized(2, "001d", sized(2, "09".repeat(32)))),
  ].join("");
  const body = (filling: string) =>
    [
      "0303",
      "07".repeat(32),
      sized(1, "08".repeat(32)),
      sized(2, "1301", "1302", "c02b", "c02f"),
      sized(1, "00"),
      sized(2, extensions, filling),
    ].join("");
  const message = (filling: string) => `01${sized(3, body(filling))}`;
  const missing = 512 - message(extension("0015")).length / 2;
  return `160301${sized(2, message(extension("0015", "00".repeat(missing))))}`;
}
