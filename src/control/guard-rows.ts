// The options that guard: the health of destinations, and who may connect, how often and how long.

import type { Network } from "../core/access.ts";
import { portMax } from "./address.ts";
import { good, type Reading } from "./mistake.ts";
import { formatNetworks, readNetworks } from "./network.ts";
import { type AnyRow, choice, count, countMax, duration, text } from "./option-row.ts";
import { readBytesText, readHttpPath } from "./text.ts";
import { formatMaxAge, formatRate, rateMax, readMaxAge, readRate } from "./value.ts";

const healthCountMax = 1_000;
const downMeanings = ["keep", "close"] as const;
const refusalForms = ["reset", "fin"] as const;

/** Nothing, or a list. */
export const networks = {
  read: (text: string): Reading<readonly Network[]> =>
    text === "" ? good([]) : readNetworks(text),
  write: formatNetworks,
  schema: {
    anyOf: [
      { type: "string", pattern: networkPattern(true) },
      { type: "array", items: { type: "string", pattern: networkPattern(false) } },
    ],
  },
  native: "list",
  repeats: true,
} as const;

/** For editors: the letters of networks, with commas between them or without. */
function networkPattern(isList: boolean): string {
  return `^[0-9a-fA-F:./[\\]${isList ? ", " : ""}]*$`;
}

const maxAge = {
  read: readMaxAge,
  write: formatMaxAge,
  schema: {
    anyOf: [
      { const: 0 },
      { type: "string", pattern: "^(0|[0-9]{1,15}(ms|s|m|h))((±|\\+-)[0-9]{1,2}%)?$" },
    ],
  },
  native: "number",
} as const;

const rate = {
  read: readRate,
  write: formatRate,
  schema: {
    anyOf: [
      { type: "number", minimum: 0, maximum: rateMax },
      { type: "string", pattern: "^[0-9]{1,7}([.][0-9]{1,6})?(/[smh])?$" },
    ],
  },
  native: "number",
} as const;

export const guardRows = [
  {
    name: "slow-start",
    key: "slowStartMs",
    placeholder: "TIME",
    initial: "0",
    help: "time over which a destination that is back gets its slots, or its share; 0 = at once",
    ...duration(0),
  },
  {
    name: "max-age",
    key: "maxAge",
    placeholder: "TIME[+-N%]",
    initial: "0",
    help: "age at which a connection is closed at its next quiet moment; 0 = never",
    ...maxAge,
  },
  {
    name: "health-interval",
    key: "healthMs",
    placeholder: "TIME",
    initial: "2s",
    help: "from one health check of a destination to the next; 0 = none",
    ...duration(0),
  },
  {
    name: "health-timeout",
    key: "healthTimeoutMs",
    placeholder: "TIME",
    initial: "1s",
    help: "longest health check",
    ...duration(1),
  },
  {
    name: "health-fall",
    key: "healthFall",
    placeholder: "N",
    initial: "3",
    help: "checks in a row that fail until a destination is down",
    ...count(1, healthCountMax),
  },
  {
    name: "health-rise",
    key: "healthRise",
    placeholder: "N",
    initial: "2",
    help: "checks in a row that pass until it is back",
    ...count(1, healthCountMax),
  },
  {
    name: "health-send",
    key: "healthSend",
    placeholder: "TEXT",
    initial: "",
    help: "bytes that a check sends, such as PING\\r\\n",
    ...text(readBytesText),
  },
  {
    name: "health-expect",
    key: "healthExpect",
    placeholder: "TEXT",
    initial: "",
    help: "bytes that must be in the answer",
    ...text(readBytesText),
  },
  {
    name: "health-http",
    key: "healthHttp",
    placeholder: "PATH",
    initial: "",
    help: "a check is GET PATH by HTTP; 200 to 399 is well",
    ...text(readHttpPath, "^(/[!-~]*)?$"),
  },
  {
    name: "health-port",
    key: "healthPort",
    placeholder: "N",
    initial: "0",
    help: "port of the checks; another one gets no PROXY header and no TLS; 0 = the destination's",
    ...count(0, portMax),
  },
  {
    name: "on-down",
    key: "onDown",
    placeholder: downMeanings.join("|"),
    initial: "keep",
    help: "open connections of a destination that its checks take down",
    ...choice(downMeanings),
  },
  {
    name: "max-per-client",
    key: "clientConnectionCountMax",
    placeholder: "N",
    initial: "0",
    help: "connections at once from one address; 0 = no limit",
    ...count(0, countMax),
  },
  {
    name: "rate-per-client",
    key: "clientRate",
    placeholder: "N/s",
    initial: "0",
    help: "new connections from one address, per s, m or h; at once a second's worth, at least one; 0 = no limit",
    ...rate,
  },
  {
    name: "client-prefix6",
    key: "clientPrefix6",
    placeholder: "N",
    initial: "64",
    help: "first bits of an IPv6 address that make one client",
    ...count(1, 128),
  },
  {
    name: "allow",
    key: "allow",
    placeholder: "CIDR,...",
    initial: "",
    help: "networks that may connect, and no others; the longest match of both lists counts; may be repeated",
    ...networks,
  },
  {
    name: "deny",
    key: "deny",
    placeholder: "CIDR,...",
    initial: "",
    help: "networks that may not connect; may be repeated",
    ...networks,
  },
  {
    name: "refuse",
    key: "refuseBy",
    placeholder: refusalForms.join("|"),
    initial: "reset",
    help: "how a client is turned away that is over a limit or denied; fin: who sends all the same is reset",
    ...choice(refusalForms),
  },
  {
    name: "refusal-lines",
    key: "refusalRecordsMax",
    placeholder: "N",
    initial: "100",
    help: "access lines for clients turned away, per second and thread; the rest is counted; 0 = all",
    ...count(0, countMax),
  },
] as const satisfies readonly AnyRow[];
