// What is allowed, and hardly meant. `check --strict` takes it for a mistake.

import { statSync } from "node:fs";
import { formatAddress } from "../control/address.ts";
import { bad, type Mistake, mistakeIn, quote } from "../control/mistake.ts";
import { plainPreface } from "../control/preface-settings.ts";
import { routeKeyOf } from "../control/routes.ts";
import { tlsFilesOf } from "../control/tls-need.ts";
import type { Assembled, ListenerConfiguration } from "./assembly.ts";
import { fromLine, mistakeOf } from "./layer.ts";

export function warningsOf(assembled: Assembled): readonly Mistake[] {
  const { listeners, origins, program } = assembled;
  const warnings: Mistake[] = [];
  const warn = (path: string, problem: string, advice: string): void => {
    const name = path.slice(path.lastIndexOf(".") + 1);
    const { fault } = bad("warning", problem, advice);
    const origin = origins.get(path) ?? fromLine;
    const [, index, row] = /^listener\[(\d+)\]\.destinations\[(\d+)\]$/.exec(path) ?? [];
    const written = listeners[Number(index)]?.options.destinations[Number(row)]?.name;
    const isOnLine = origin.kind === "command line" && written !== undefined;
    warnings.push(isOnLine ? mistakeIn(written, fault) : mistakeOf(origin, name, fault));
  };
  listeners.forEach((listener, index) => {
    for (const { key, problem, advice } of doubtsOf(listener))
      warn(`listener[${index}].${key}`, problem, advice);
  });
  const seen = new Map<string, string>();
  listeners.forEach(({ name, options }, index) => {
    options.destinations.forEach(({ address }, row) => {
      const text = formatAddress(address);
      const other = seen.get(text);
      if (other === undefined) seen.set(text, name);
      else {
        const problem = `${text} is a destination of listener ${other} too`;
        warn(
          `listener[${index}].destinations[${row}]`,
          problem,
          "each counts its slots for itself",
        );
      }
    });
  });
  if (program.adminTokenFile !== "" && isOpenToOthers(program.adminTokenFile)) {
    warn("admin-token-file", "others can read the token", "chmod 600 keeps it secret");
  }
  const hasFile = [...origins.values()].some(({ kind }) => kind === "file");
  if (
    program.watch &&
    !hasFile &&
    !listeners.some(({ options }) => tlsFilesOf(options).length > 0)
  ) {
    warn("watch", "there is no file to watch", "--config names one");
  }
  return warnings;
}

interface Doubt {
  /** `slots`, `destinations[2]`. */
  readonly key: string;
  readonly problem: string;
  readonly advice: string;
}

function doubtsOf({ options }: ListenerConfiguration): Doubt[] {
  const { destinations, queueCountMax, flushCount, flushMs } = options;
  const doubts: Doubt[] = [];
  if (queueCountMax === 0 && destinations.some(({ slots }) => slots > 0)) {
    const problem = "nobody may wait, and slots are limited";
    doubts.push({
      key: "queue-max",
      problem,
      advice: "clients are refused when all slots are taken",
    });
  }
  const rows = destinations.map(({ backup }, row) => ({ row, backup }));
  const byRoute = Map.groupBy(rows, ({ row }) => routeKeyOf(destinations[row] ?? plainPreface));
  for (const [route, own] of byRoute) {
    if (!own.every(({ backup }) => backup)) continue;
    const problem = `all destinations${route === "" ? "" : ` of ${route}`} are backups`;
    const key = `destinations[${own[0]?.row ?? 0}]`;
    doubts.push({ key, problem, advice: "one must serve for others to stand in" });
  }
  if (flushMs > 0 && flushCount === 1) {
    const problem = "each arrival is handed out alone";
    doubts.push({ key: "flush-time", problem, advice: "it has no effect beside flush-count 1" });
  }
  doubts.push(...prefaceDoubtsOf(options));
  destinations.forEach(({ slots, warm, healthMs, healthHttp, healthSend, healthExpect }, row) => {
    const key = `destinations[${row}]`;
    if (slots > 0 && warm > slots) {
      const problem = `${warm} connections are opened ahead for ${slots} at once`;
      doubts.push({ key, problem, advice: "no more than slots are used" });
    }
    if (healthMs === 0 && healthHttp + healthSend + healthExpect !== "") {
      const problem = "says what a check asks, and there are no checks";
      doubts.push({ key, problem, advice: "health-interval is 0" });
    }
  });
  return doubts.slice(0, doubtCountMax);
}

/** Of protocols, as they are written by mistake. */
const alpnSlips: ReadonlyMap<string, string> = new Map([
  ...["http2", "http/2", "http/2.0"].map((slip) => [slip, "h2"] as const),
  ...["http", "https", "h1", "http1", "http/1", "http1.1"].map(
    (slip) => [slip, "http/1.1"] as const,
  ),
]);

function prefaceDoubtsOf(options: ListenerConfiguration["options"]): Doubt[] {
  const { tlsCert, tlsAlpn, tlsClient, tlsClientCa, destinations } = options;
  const doubts: Doubt[] = [];
  const slips = (key: string, alpn: readonly string[]): void => {
    for (const id of alpn) {
      const meant = alpnSlips.get(id.toLowerCase());
      if (meant === undefined) continue;
      const problem = `no client offers ${quote(id)}`;
      doubts.push({ key, problem, advice: `did you mean ${meant}?` });
    }
  };
  slips("tls-alpn", tlsAlpn);
  destinations.forEach(({ alpn }, row) => {
    const key = `destinations[${row}]`;
    slips(key, alpn);
    if (tlsCert.length === 0 || alpn.length === 0 || alpn.some((id) => tlsAlpn.includes(id)))
      return;
    const problem = `nobody is led to it: none of alpn=${alpn.join("+")} is agreed on here`;
    doubts.push({ key, problem, advice: "tls-alpn names what is" });
  });
  if (tlsClient === "optional" && tlsClientCa === "") {
    const problem = "no client is asked for a certificate";
    doubts.push({ key: "tls-client", problem, advice: "tls-client-ca asks for one" });
  }
  return doubts;
}

/** Of one listener: what is wrong with a thousand destinations is mostly one slip. */
const doubtCountMax = 20;

function isOpenToOthers(file: string): boolean {
  try {
    return (statSync(file).mode & 0o007) !== 0;
  } catch {
    return false; // it is gone; who needs it says so
  }
}
