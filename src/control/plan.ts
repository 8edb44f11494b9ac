// What `iawlb check` says: the command line as it was understood, in words or as JSON.

import { type Address, formatAddress, formatDuration, type Options } from "./options.ts";

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
    ["policy", policyText(options)],
    ["threads", threadWords(options)],
    ["queue", `${plural(options.queueCountMax, "client")} at most, ${wait}; ${finWords(options)}`],
    ["batch", batchWords(options)],
    ["timeouts", timeoutWords(options)],
    ["connections", connectionWords(options)],
    ["drain", options.drainMs === 0 ? "cut at once" : `up to ${formatDuration(options.drainMs)}`],
    ["access log", logWords[options.accessLog]],
    ["destinations", String(count)],
  ];
  const facts = rows.map(([name, words]) => `${name.padEnd(14)}${words}`);
  return [...facts, ...destinationLines(options)].join("\n");
}

/** The same for programs: addresses as texts, everything else as the balancer gets it. */
export function planJson(options: Options): string {
  const { listen, destinations, ...settings } = options;
  const plan = {
    listen: formatAddress(listen),
    destinations: destinations.map((each) => ({
      name: each.name,
      address: formatAddress(each.address),
      slots: each.slots,
      weight: each.weight,
      warm: each.warm,
      backup: each.backup,
    })),
    ...settings,
  };
  return JSON.stringify(plan, null, 2);
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

function connectionWords(options: Options): string {
  const max = options.connectionCountMax;
  return max === 0 ? "as many as the descriptor limit allows" : `${max} at most`;
}

function destinationLines(options: Options): string[] {
  const named = options.destinations.map((one) => {
    const slots = one.slots === 0 ? "no limit" : plural(one.slots, "slot");
    const backup = one.backup ? ", backup" : "";
    const warm = one.warm > 0 ? `, ${one.warm} warm` : "";
    return [
      one.name,
      formatAddress(one.address),
      `${slots}, weight ${one.weight}${warm}${backup}`,
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
