// `iawlb wait-drained`: returns when destinations serve nobody any more, for scripts that stop them then.

import type { ConnectionPage, ProgramStatus } from "../control/steering.ts";
import { durationMsMax, formatDuration, readDuration } from "../control/value.ts";
import type { DestinationStatus } from "../status.ts";
import { CommandError } from "./client.ts";
import { listenerOption, nameCountMax, type Verb, type VerbCall } from "./verb.ts";

const timeoutMs = 300_000;
/** From one look to the next: short at first, then as often as costs little. */
const lookMsMin = 50;
const lookMsMax = 1_000;

export const waitDrainedVerb: Verb = {
  name: "wait-drained",
  help: "wait until destinations serve nobody any more",
  operand: "NAME...",
  min: 1,
  max: nameCountMax,
  options: [
    {
      name: "timeout",
      placeholder: "TIME",
      help: "then give up, exit code 1; 0 = never (default 5m)",
      read: (text) => readDuration(text, 0, durationMsMax),
    },
    listenerOption,
  ],
  examples: [
    ["iawlb drain api && iawlb wait-drained api && systemctl restart api", "costs no client"],
    ["iawlb wait-drained api --timeout 10m || iawlb connections --destination api", "who stays"],
  ],
  run: async (call) => {
    const limitMs = call.number("timeout") ?? timeoutMs;
    const from = performance.now();
    for (const name of call.names) await waitFor(call, name, from, limitMs);
    const words = `${call.names.join(", ")}: drained`;
    call.say({ drained: call.names }, words);
  },
};

async function waitFor(call: VerbCall, name: string, from: number, limitMs: number): Promise<void> {
  let isSeen = false;
  for (let lookMs = lookMsMin; ; lookMs = Math.min(2 * lookMs, lookMsMax)) {
    const found = await find(call, name);
    if (found.length === 0) {
      if (isSeen) return; // it was removed, and its last connection has ended
      throw new CommandError(`${name}: there is no such destination`);
    }
    if (!isSeen && found.some(({ mode }) => mode === "ready")) {
      call.tell(`${name} is not drained but ready: it gets new clients meanwhile`);
    }
    isSeen = true;
    const used = found.reduce((sum, each) => sum + each.used, 0);
    if (used === 0 && (await hasNone(call, name))) return;
    const leftMs = limitMs === 0 ? lookMs : from + limitMs - performance.now();
    if (leftMs <= 0) {
      const words = `${name} serves ${used} still after ${formatDuration(limitMs)}`;
      throw new CommandError(`${words}; iawlb connections --destination ${name} says whom`);
    }
    await Bun.sleep(Math.min(lookMs, leftMs));
  }
}

/** Of the one listener that was named, or of all. */
async function find(call: VerbCall, name: string): Promise<readonly DestinationStatus[]> {
  const { listeners } = (await call.client.ask("GET", "/status")) as ProgramStatus; // what it answers
  const wanted = call.text("listener");
  return listeners
    .filter((listener) => wanted === undefined || listener.name === wanted)
    .flatMap(({ destinations }) => destinations.filter((each) => each.name === name));
}

/** A slot is free at the destination's last byte; its pair may still have some of it to pass on. */
async function hasNone(call: VerbCall, name: string): Promise<boolean> {
  const query = new URLSearchParams({ destination: name, count: "1" });
  const listener = call.text("listener");
  if (listener !== undefined) query.set("listener", listener);
  const page = (await call.client.ask("GET", `/connections?${query}`)) as ConnectionPage; // what it answers
  return page.connections.length === 0;
}
