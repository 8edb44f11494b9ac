// What is allowed, and hardly meant. `check --strict` takes it for a mistake.

import { statSync } from "node:fs";
import { formatAddress } from "../control/address.ts";
import { bad, type Mistake } from "../control/mistake.ts";
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
    warnings.push(mistakeOf(origins.get(path) ?? fromLine, name, fault));
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

/** Of one listener: what is wrong with a thousand destinations is mostly one slip. */
const doubtCountMax = 20;

function isOpenToOthers(file: string): boolean {
  try {
    return (statSync(file).mode & 0o007) !== 0;
  } catch {
    return false; // it is gone; who needs it says so
  }
}
