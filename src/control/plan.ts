// What `iawlb check` says: the command line as it was understood, in words or as JSON.

import { formatNetworks } from "./network.ts";
import { type Address, formatAddress, formatDuration, type Options } from "./options.ts";
import { prefaceRowsOf, prefaceWords } from "./preface-words.ts";
import { formatMaxAge, formatRate } from "./value.ts";

const policyWords: Readonly<Record<Options["policy"], string>> = {
  pull: "the least used destination, the longest idle first",
  "round-robin": "each destination in turn, by weight",
  random: "two drawn at random, the less used of them",
  hash: "by client address, the same client to the same destination",
};

const logWords: Readonly<Record<Options["accessLog"], string>> = {
  logfmt: "logfmt lines on stdout",
  json: "JSON lines on stdout",
  haproxy: "HAProxy's TCP lines on stdout",
  off: "off",
};

/** One fact a line, in the order in which a connection meets them. */
export function planText(options: Options): string {
  const count = options.destinations.length;
  const wait = options.queueMs === 0 ? "for ever" : `${formatDuration(options.queueMs)} each`;
  const rows: [string, string][] = [
    ["listen", `${listenWords(options.listen)}, backlog ${options.backlogCount}`],
    ...prefaceRowsOf(options),
    ["policy", policyText(options)],
    ["threads", threadWords(options)],
    ["queue", `${plural(options.queueCountMax, "client")} at most, ${wait}; ${finWords(options)}`],
    ["batch", batchWords(options)],
    ["timeouts", timeoutWords(options)],
    ["connections", connectionWords(options)],
    ["clients", clientWords(options)],
    ["health", healthWords(options)],
    ["drain", options.drainMs === 0 ? "cut at once" : `up to ${formatDuration(options.drainMs)}`],
    ["access log", logWords[options.accessLog]],
    ["destinations", String(count)],
  ];
  const facts = rows.map(([name, words]) => `${name.padEnd(14)}${words}`);
  return [...facts, ...destinationLines(options)].join("\n");
}

/** The same for programs: addresses as texts, everything else as the balancer gets it. */
export function planOf(options: Options) {
  const { listen, destinations, ...settings } = options;
  return {
    listen: formatAddress(listen),
    destinations: destinations.map((each) => ({
      name: each.name,
      address: formatAddress(each.address),
      slots: each.slots,
      weight: each.weight,
      warm: each.warm,
      backup: each.backup,
      healthMs: each.healthMs,
      healthSend: each.healthSend,
      healthExpect: each.healthExpect,
      healthHttp: each.healthHttp,
      healthPort: each.healthPort,
      proxy: each.proxy,
      tls: each.tls,
      tlsCa: each.tlsCa,
      tlsName: each.tlsName,
      tlsCert: each.tlsCert,
      tlsKey: each.tlsKey,
      tlsVerify: each.tlsVerify,
      sni: each.sni,
      alpn: each.alpn,
      plain: each.plain,
    })),
    ...settings,
    allow: formatNetworks(settings.allow),
    deny: formatNetworks(settings.deny),
    proxyFrom: formatNetworks(settings.proxyFrom),
  };
}

function listenWords(listen: Address): string {
  const text = formatAddress(listen);
  if (listen.kind === "unix") return text;
  if (listen.host === "*") return `port ${listen.port || "of its choice"} of every interface`;
  return listen.port === 0 ? `${text}, a port of its choice` : text;
}

/** "pull: the least used …; 1 slot each, then clients wait in one queue". */
function policyText(options: Options): string {
  const counts = new Set(options.destinations.map((one) => one.slots));
  const [slots = 0] = counts;
  let limit = "slots as listed, then clients wait in one queue";
  if (counts.size === 1) {
    limit =
      slots === 0
        ? "no limit of slots, so clients wait only while all are down"
        : `${plural(slots, "slot")} each, then clients wait in one queue`;
  }
  return `${options.policy}: ${policyWords[options.policy]}; ${limit}`;
}

function threadWords({ threadCount, engine }: Options): string {
  const engineWords = engine === "bun" ? "Bun's sockets" : "the C library's epoll";
  if (threadCount === 1) return `1, ${engineWords}`;
  return `${threadCount}, ${engineWords}; one queue and one set of limits for all`;
}

function finWords(options: Options): string {
  return options.queueFin === "keep"
    ? "who has finished sending keeps its place"
    : "who has finished sending is taken as gone";
}

function batchWords(options: Options): string {
  const count =
    options.flushCount === 0
      ? "as many as destinations that can take one"
      : plural(options.flushCount, "arrival");
  const time =
    options.flushMs === 0 ? "the end of the event loop's turn" : formatDuration(options.flushMs);
  return `flushed at ${count}, or after ${time}`;
}

function timeoutWords(options: Options): string {
  const orWord = (ms: number, word: string): string => (ms === 0 ? word : formatDuration(ms));
  return [
    `connect ${formatDuration(options.connectMs)}`,
    `idle ${orWord(options.idleMs, "never")}`,
    `half-close ${orWord(options.halfCloseMs, "as idle")}`,
    `answer ${orWord(options.answerMs, "off")}`,
    `cooldown ${orWord(options.cooldownMs, "none")}`,
  ].join(", ");
}

function connectionWords({ connectionCountMax: max, maxAge, refuseBy }: Options): string {
  const most = max === 0 ? "as many as the descriptor limit allows" : `${max} at most`;
  const age = maxAge.ms === 0 ? "" : `; closed when quiet at the age of ${formatMaxAge(maxAge)}`;
  return `${most}; refused by ${refuseBy === "fin" ? "an end" : "a reset"}${age}`;
}

function clientWords(options: Options): string {
  const { clientConnectionCountMax: max, clientRate, clientPrefix6, allow, deny } = options;
  const words = [
    max === 0 ? "" : `${plural(max, "connection")} each`,
    clientRate === 0 ? "" : `${formatRate(clientRate)} each`,
    max + clientRate === 0 ? "" : `IPv6 by /${clientPrefix6}`,
    allow.length === 0 ? "" : `${plural(allow.length, "network")} allowed`,
    deny.length === 0 ? "" : `${plural(deny.length, "network")} denied`,
  ].filter((each) => each !== "");
  return words.length === 0 ? "anybody, as many as come" : words.join(", ");
}

function healthWords(options: Options): string {
  const { healthTimeoutMs, healthFall, healthRise, onDown, slowStartMs } = options;
  if (options.destinations.every(({ healthMs }) => healthMs === 0)) return "by real connects alone";
  const intervals = new Set(options.destinations.map(({ healthMs }) => formatDuration(healthMs)));
  const [first = ""] = intervals;
  return [
    `a check every ${intervals.size === 1 ? first : "interval as listed"}`,
    `${formatDuration(healthTimeoutMs)} at most`,
    `down after ${healthFall}, back after ${healthRise}`,
    onDown === "keep" ? "open connections stay" : "open connections are closed",
    ...(slowStartMs === 0 ? [] : [`slow start over ${formatDuration(slowStartMs)}`]),
  ].join(", ");
}

/** How a destination is checked, when it is not by a connect alone. */
function checkWords(one: Options["destinations"][number], isUniform: boolean): string {
  const { healthMs, healthHttp, healthSend, healthExpect, healthPort, address } = one;
  if (healthMs === 0) return ", no checks";
  const kind =
    healthHttp !== "" ? ` GET ${healthHttp}` : healthSend + healthExpect !== "" ? " bytes" : "";
  const isElsewhere = healthPort !== 0 && address.kind === "tcp" && address.port !== healthPort;
  const isPlain = isElsewhere && (one.tls || one.proxy !== "off");
  const port = healthPort === 0 ? "" : ` port ${healthPort}${isPlain ? " in plain" : ""}`;
  const interval = isUniform ? "" : ` every ${formatDuration(healthMs)}`;
  const words = `${kind}${port}${interval}`;
  return words === "" ? "" : `, checked by${kind === "" ? " connect" : kind}${port}${interval}`;
}

function destinationLines(options: Options): string[] {
  const isUniform = new Set(options.destinations.map(({ healthMs }) => healthMs)).size === 1;
  const named = options.destinations.map((one) => {
    const slots = one.slots === 0 ? "no limit" : plural(one.slots, "slot");
    const backup = one.backup ? ", backup" : "";
    const warm = one.warm > 0 ? `, ${one.warm} warm` : "";
    return [
      one.name,
      formatAddress(one.address),
      `${slots}, weight ${one.weight}${warm}${backup}${checkWords(one, isUniform)}${prefaceWords(one)}`,
    ] as const;
  });
  const nameWidth = Math.max(...named.map(([name]) => name.length));
  const addressWidth = Math.max(...named.map(([, address]) => address.length));
  return named.map(
    ([name, address, words]) =>
      `  ${name.padEnd(nameWidth)}  ${address.padEnd(addressWidth)}  ${words}`,
  );
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
