// What it costs to be seen: keep-alive requests with the admin side off, and on with a reader of events and metrics.

import { join } from "node:path";
import { PLAIN } from "../programs.ts";
import { KEPT_CONNECTIONS, interleave, meteredRequests, withProgram } from "../row.ts";
import type { Bench, Limit, Row } from "../row.ts";

const DESTINATIONS = 4;
/** As often as nobody asks who is not in trouble; Prometheus does so every 15 s or more. */
const METRICS_MS = 1_000;
/** Longest wait for the admin side. */
const OPEN_MS = 5_000;
/** A loss of 3 % of the requests is 1/0.97 of the time for each. */
const BOUND = 1.03;

const NAMES = ["off", "on", "libc off", "libc on"] as const;
type Name = (typeof NAMES)[number];

/**
 * The rounds of the ratios differ by more than what is looked for. With the libc engine the main thread does nothing
 * but what is asked here, and its time can be read by itself.
 */
const ofMain: Limit = {
  title: "CPU of the main thread for it, of all CPU (libc)",
  condition: "",
  program: "libc on",
  over: "libc off",
  measure: "mainPercent",
  kind: "difference",
  sense: "at most",
  bound: 3,
  unit: " %",
};

const ratios = (["on", "libc on"] as const).map((program): Limit => ({
  title: `CPU per keep-alive request, watched over not (${program === "on" ? "bun" : "libc"})`,
  condition: "",
  program,
  over: program === "on" ? "off" : "libc off",
  measure: "cpuUs",
  kind: "ratio",
  sense: "at most",
  bound: BOUND,
  unit: "µs",
}));

export const watched: Row = {
  name: "watched",
  title: "Being seen",
  method: `The keep-alive requests, with --admin off, and with an admin socket of which one reader takes /events and /metrics every second; ${KEPT_CONNECTIONS} connections, 1 s of warm-up, then 3 s.`,
  needs: "wrk",
  measures: [
    { key: "cpuUs", title: "CPU per request, µs", digits: 2 },
    { key: "perSecond", title: "requests/s", digits: 0 },
    { key: "mainPercent", title: "of it the main thread's, %", digits: 2 },
  ],
  limits: [...ratios, ofMain],
  run,
};

async function run(bench: Bench) {
  await using destinations = await bench.load.serve(DESTINATIONS, "keep");
  const { ports } = destinations;
  const seconds = bench.small ? 1 : 3;
  const socket = join(bench.load.directory, "watched.sock");
  return await interleave(bench, NAMES, bench.small ? 1 : 9, "", (name: Name) => {
    const isOn = name.endsWith("on");
    const flags = ["--admin", isOn ? `unix:${socket}` : "off"];
    const engine = name.startsWith("libc") ? "iawlb libc" : "iawlb";
    return withProgram(bench, engine, { ...PLAIN, ports, flags }, async (running) => {
      await using reader = isOn ? await watch(socket) : null;
      const values = await meteredRequests(bench, running, seconds);
      return { ...values, readSize: reader?.size() ?? 0 };
    });
  });
}

interface Reader extends AsyncDisposable {
  /** Bytes that it has read. */
  size(): number;
}

/** Reads events and metrics until it is disposed. @throws when the admin side does not answer. */
async function watch(unix: string): Promise<Reader> {
  const control = new AbortController();
  let readSize = 0;
  const get = (path: string) => fetch(`http://localhost${path}`, { unix, signal: control.signal });
  const events = await firstAnswer(() => get("/events"));
  if (!events.ok || events.body === null) throw new Error(`/events: ${events.status}`);
  const { body } = events;
  const reading = (async () => {
    for await (const chunk of body) readSize += chunk.length;
  })().catch(() => {}); // it was ended
  const scraping = setInterval(() => {
    void get("/metrics")
      .then((answer) => answer.arrayBuffer())
      .then(({ byteLength }) => (readSize += byteLength))
      .catch(() => {});
  }, METRICS_MS);
  return {
    size: () => readSize,
    async [Symbol.asyncDispose]() {
      clearInterval(scraping);
      control.abort();
      await reading;
    },
  };
}

/** Clients are served before the admin side is there. */
async function firstAnswer(ask: () => Promise<Response>): Promise<Response> {
  for (const sinceMs = performance.now(); ; await Bun.sleep(10)) {
    try {
      return await ask();
    } catch (error) {
      if (performance.now() - sinceMs > OPEN_MS) throw error;
    }
  }
}
