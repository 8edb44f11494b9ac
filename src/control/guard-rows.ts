// The options that guard: the health of destinations, and who may connect, how often and how long.

import type { Network } from "../core/access.ts";
import { portMax } from "./address.ts";
import { good, type Reading } from "./mistake.ts";
import { formatNetworks, readNetworks } from "./network.ts";
import { choice, count, countMax, duration, type Row } from "./option-row.ts";
import type { Settings } from "./settings.ts";
import { readBytesText, readHttpPath } from "./text.ts";
import { formatMaxAge, formatRate, readMaxAge, readRate } from "./value.ts";

const healthCountMax = 1_000;
const downMeanings: readonly Settings["onDown"][] = ["keep", "close"];
const refusalForms: readonly Settings["refuseBy"][] = ["reset", "fin"];

/** Nothing, or what `read` reads. */
const networks = (text: string): Reading<readonly Network[]> =>
  text === "" ? good([]) : readNetworks(text);

export const guardRows: readonly Row[] = [
  {
    name: "slow-start",
    key: "slowStartMs",
    placeholder: "TIME",
    initial: "0",
    help: "time over which a destination that is back gets its slots, or its share; 0 = at once",
    read: duration(0),
  },
  {
    name: "max-age",
    key: "maxAge",
    placeholder: "TIME[+-N%]",
    initial: "0",
    help: "age at which a connection is closed at its next quiet moment; 0 = never",
    read: readMaxAge,
    write: formatMaxAge,
  },
  {
    name: "health-interval",
    key: "healthMs",
    placeholder: "TIME",
    initial: "2s",
    help: "from one health check of a destination to the next; 0 = none",
    read: duration(0),
  },
  {
    name: "health-timeout",
    key: "healthTimeoutMs",
    placeholder: "TIME",
    initial: "1s",
    help: "longest health check",
    read: duration(1),
  },
  {
    name: "health-fall",
    key: "healthFall",
    placeholder: "N",
    initial: "3",
    help: "checks in a row that fail until a destination is down",
    read: count(1, healthCountMax),
  },
  {
    name: "health-rise",
    key: "healthRise",
    placeholder: "N",
    initial: "2",
    help: "checks in a row that pass until it is back",
    read: count(1, healthCountMax),
  },
  {
    name: "health-send",
    key: "healthSend",
    placeholder: "TEXT",
    initial: "",
    help: "bytes that a check sends, such as PING\\r\\n",
    read: readBytesText,
  },
  {
    name: "health-expect",
    key: "healthExpect",
    placeholder: "TEXT",
    initial: "",
    help: "bytes that must be in the answer",
    read: readBytesText,
  },
  {
    name: "health-http",
    key: "healthHttp",
    placeholder: "PATH",
    initial: "",
    help: "a check is GET PATH by HTTP; 200 to 399 is well",
    read: readHttpPath,
  },
  {
    name: "health-port",
    key: "healthPort",
    placeholder: "N",
    initial: "0",
    help: "port of the checks; 0 = the destination's",
    read: count(0, portMax),
  },
  {
    name: "on-down",
    key: "onDown",
    placeholder: downMeanings.join("|"),
    initial: "keep",
    help: "open connections of a destination that its checks take down",
    read: choice(downMeanings),
  },
  {
    name: "max-per-client",
    key: "clientConnectionCountMax",
    placeholder: "N",
    initial: "0",
    help: "connections at once from one address; 0 = no limit",
    read: count(0, countMax),
  },
  {
    name: "rate-per-client",
    key: "clientRate",
    placeholder: "N/s",
    initial: "0",
    help: "new connections from one address, per s, m or h; at once a second's worth, at least one; 0 = no limit",
    read: readRate,
    write: formatRate,
  },
  {
    name: "client-prefix6",
    key: "clientPrefix6",
    placeholder: "N",
    initial: "64",
    help: "first bits of an IPv6 address that make one client",
    read: count(1, 128),
  },
  {
    name: "allow",
    key: "allow",
    placeholder: "CIDR,...",
    initial: "",
    help: "networks that may connect, and no others; the longest match of both lists counts",
    read: networks,
    write: formatNetworks,
  },
  {
    name: "deny",
    key: "deny",
    placeholder: "CIDR,...",
    initial: "",
    help: "networks that may not connect",
    read: networks,
    write: formatNetworks,
  },
  {
    name: "refuse",
    key: "refuseBy",
    placeholder: refusalForms.join("|"),
    initial: "reset",
    help: "how a client is turned away that is over a limit or denied; fin: who sends all the same is reset",
    read: choice(refusalForms),
  },
  {
    name: "refusal-lines",
    key: "refusalRecordsMax",
    placeholder: "N",
    initial: "100",
    help: "access lines for clients turned away, per second and thread; the rest is counted; 0 = all",
    read: count(0, countMax),
  },
];
