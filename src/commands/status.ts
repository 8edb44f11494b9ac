// `iawlb status` and `iawlb connections`: what runs, in tables.

import type { ConnectionPage, ListenerStatus, ProgramStatus } from "../control/steering.ts";
import { daysUntil, durationMsMax, readCount, readDuration } from "../control/value.ts";
import { inBytes, inTime, table } from "./table.ts";
import { listenerOption, word, type Verb } from "./verb.ts";

/** As many as one page of the program has. */
const pageCountMax = 1_000;

export const statusVerb: Verb = {
  name: "status",
  help: "what runs: listeners, queue, times, destinations",
  operand: "",
  min: 0,
  max: 0,
  options: [],
  examples: [
    ["iawlb status", "the program that runs, in tables"],
    ["iawlb status --json | jq '.listeners[].queue'", "everything that is counted"],
  ],
  run: async ({ client, say }) => {
    const status = (await client.ask("GET", "/status")) as ProgramStatus; // what that route answers
    say(status, statusText(status));
  },
};

export const connectionsVerb: Verb = {
  name: "connections",
  help: "connections that are open, the oldest first",
  operand: "",
  min: 0,
  max: 0,
  options: [
    { ...listenerOption, help: "of this listener alone" },
    word("destination", "NAME", "of this destination alone"),
    word("client", "IP", "of this client alone"),
    {
      name: "age",
      placeholder: "TIME",
      help: "at least so old",
      read: (text) => readDuration(text, 0, durationMsMax),
    },
    {
      name: "count",
      placeholder: "N",
      help: "so many at most (default 100)",
      read: (text) => readCount(text, 1, pageCountMax),
    },
    word("after", "ID", "go on after a page: its last line says how"),
  ],
  examples: [
    ["iawlb connections --destination api --age 10m", "who holds api for ten minutes and more"],
    ["iawlb connections --json | jq '.connections[].id'", "ids, as kill takes them"],
  ],
  run: async ({ client, say, text, number }) => {
    const query = new URLSearchParams();
    for (const name of ["listener", "destination", "client", "after"]) {
      const value = text(name);
      if (value !== undefined) query.set(name, value);
    }
    const age = number("age");
    if (age !== undefined) query.set("age", `${age}ms`);
    const count = number("count");
    if (count !== undefined) query.set("count", String(count));
    const page = (await client.ask("GET", `/connections?${query}`)) as ConnectionPage; // what it answers
    say(page, connectionsText(page));
  },
};

function statusText(status: ProgramStatus): string {
  const { version, pid, uptimeMs, state, config, reload, listeners } = status;
  const from = config === "" ? "" : `, by ${config}`;
  const lines = [`iawlb ${version}, pid ${pid}, up ${inTime(uptimeMs)}, ${state}${from}`];
  if (reload !== null && reload.fault !== "") lines.push(`last reload failed: ${reload.fault}`);
  return [...lines, ...listeners.map(listenerText)].join("\n\n");
}

function listenerText(listener: ListenerStatus): string {
  const { name, addresses, open, accepted, queue, times, bytesUp, bytesDown } = listener;
  const oldest = queue.waiting === 0 ? "" : `, the oldest for ${inTime(queue.oldestMs)}`;
  const quantiles = Object.entries(times).map(([time, { p50, p90, p99 }]) => [
    timeNames[time] ?? time,
    inTime(p50),
    inTime(p90),
    inTime(p99),
  ]);
  const ends = Object.entries(listener.closed).filter(([, count]) => count > 0);
  return [
    `${name} on ${addresses.join(", ")}: ${open} open, ${queue.waiting} of them wait${oldest}`,
    `${accepted} accepted; ended ones moved ${inBytes(bytesUp)} up, ${inBytes(bytesDown)} down`,
    ...prefaceLines(listener),
    ...(ends.length === 0 ? [] : [ends.map(([reason, count]) => `${count} ${reason}`).join(", ")]),
    "",
    table(["TIME", "P50", "P90", "P99"], quantiles),
    "",
    destinationTable(listener),
  ].join("\n");
}

/** Nothing where nobody reads the start of a connection. */
function prefaceLines({ preface, certificates }: ListenerStatus): string[] {
  const { open, handshaking, secured, proxied } = preface;
  const isRead = open + secured + proxied + certificates.length > 0;
  const counts = `${proxied} came by a proxy, ${secured} by TLS; ${open} begin, ${handshaking} of them shake hands`;
  return [
    ...(isRead ? [counts] : []),
    ...certificates.map(({ file, names, notAfter }) => {
      const days = daysUntil(notAfter, Date.now());
      return `certificate ${file} for ${names.join(", ")}: expires in ${days} days`;
    }),
  ];
}

const timeNames: Readonly<Record<string, string>> = {
  firstByte: "first byte",
  handOff: "hand-off",
};

function destinationTable({ destinations }: ListenerStatus): string {
  const head = [
    "DESTINATION",
    "STATE",
    "MODE",
    "SLOTS",
    "WEIGHT",
    "CONNECTIONS",
    "FAILED",
    "BYTES",
    ...(destinations.some(({ route }) => route !== "") ? ["ROUTE"] : []),
  ];
  const rows = destinations.map((row) => [
    row.backup ? `${row.name} (backup)` : row.name,
    row.state,
    row.mode,
    `${row.used}/${row.slotsNow === 0 ? "-" : row.slotsNow}`,
    String(row.weight),
    String(row.connections),
    String(row.failures),
    inBytes(row.bytesUp + row.bytesDown),
    ...(head.includes("ROUTE") ? [row.route === "" ? "default" : row.route] : []),
    row.state === "up" ? "" : row.checkFault || row.lastFault,
  ]);
  return table([...head, "WHY"], rows);
}

function connectionsText({ connections, next }: ConnectionPage): string {
  if (connections.length === 0) return "no such connection is open";
  const head = ["ID", "CLIENT", "DESTINATION", "STATE", "AGE", "IDLE", "UP", "DOWN"];
  const rows = connections.map((each) => [
    each.id,
    each.client,
    each.destination === "" ? "-" : each.destination,
    each.state,
    inTime(each.ageMs),
    inTime(each.idleMs),
    inBytes(each.bytesUp),
    inBytes(each.bytesDown),
  ]);
  const more = next === "" ? "" : `\nthere are more: --after ${next}`;
  return table(head, rows) + more;
}
