// An admin side for the pictures' tests: what they ask for, over balancers that really run. Modes are recorded alone.

import type { BalancerEvent, Status } from "../../src/balancer.ts";
import type { ProgramEvent, ProgramStatus } from "../../src/control/steering.ts";
import { refusals } from "../../src/core/reason.ts";
import { pages } from "../../src/dashboard/pages.ts";
import type { Sample, SampleListener, SampleTimes } from "../../src/dashboard/sample.ts";
import type { InProcess } from "../e2e/ways.ts";

const testSampleMs = 100;

export interface AdminOptions {
  /** Their statuses by the listener's name. */
  readonly listeners: Readonly<Record<string, Pick<InProcess, "status" | "events">>>;
  /** What a change has to bring. */
  readonly token?: string;
  /** Reading needs it, too: as where others can reach the address. */
  readonly hidden?: boolean;
  readonly port?: number;
  /** From one sample to the next. */
  readonly sampleMs?: number;
  /** A unix socket instead of a port. */
  readonly unix?: string;
  /** Shows what a listener cannot be made to be quickly. */
  readonly dress?: (listener: SampleListener) => SampleListener;
}

export interface AdminServer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** `drain one`, in order of arrival. */
  readonly changes: readonly string[];
  /** Tells of something that has happened. */
  tell(event: Partial<ProgramEvent>): void;
  stop(): Promise<void>;
}

export function startAdmin(options: AdminOptions): AdminServer {
  const { listeners, token, unix, sampleMs = testSampleMs, dress = (each) => each } = options;
  const startedAt = Date.now();
  const modes = new Map<string, string>();
  const samples: Sample[] = [];
  const readers = new Set<ReadableStreamDefaultController<string>>();
  const changes: string[] = [];
  const before = new Map<string, Status>();
  const told = new Map<string, number>();
  let lastAt = startedAt;
  let count = 0;

  const send = (text: string): void => {
    for (const reader of readers) reader.enqueue(text);
  };
  const tell = (event: Partial<ProgramEvent>): void => {
    const whole = { at: Date.now(), kind: "set", listener: "", destination: "", message: "" };
    count += 1;
    send(
      `id: ${startedAt}-${count}\nevent: change\ndata: ${JSON.stringify({ ...whole, ...event })}\n\n`,
    );
  };
  const takeSample = (): void => {
    const at = Date.now();
    const seconds = Math.max(1, at - lastAt) / 1_000;
    lastAt = at;
    const all = Object.entries(listeners).map(([name, { status, events }]) => {
      for (const event of events.slice(told.get(name) ?? 0)) {
        tell({ kind: event.kind, listener: name, message: wordsOf(event) });
      }
      told.set(name, events.length);
      const now = status();
      const sample = sampleOf(name, before.get(name) ?? now, now, seconds, modes);
      before.set(name, now);
      return dress(sample);
    });
    const sample = { at, listeners: all };
    samples.push(sample);
    if (samples.length > 120) samples.shift();
    send(`event: sample\ndata: ${JSON.stringify(sample)}\n\n`);
  };
  const program = (): ProgramStatus => ({
    version: "0.2.0",
    pid: process.pid,
    startedAt,
    uptimeMs: Date.now() - startedAt,
    state: "running",
    config: "",
    reload: null,
    listeners: Object.entries(listeners).map(([name, { status }]) =>
      Object.assign({ name }, status()),
    ),
  });
  const change = (url: URL): Response => {
    const { name = "", verb = "" } =
      /^\/destinations\/(?<name>[^/]+)\/(?<verb>drain|ready|maintenance)$/.exec(url.pathname)
        ?.groups ?? {};
    const destination = decodeURIComponent(name);
    const listener = url.searchParams.get("listener") ?? "";
    const known = listeners[listener]
      ?.status()
      .destinations.some((each) => each.name === destination);
    if (known !== true)
      return refuse(404, "not-found", `no destination ${destination} at ${listener}`);
    changes.push(`${verb} ${destination}`);
    modes.set(`${listener} ${destination}`, verb);
    tell({ kind: "mode", listener, destination, message: `destination ${destination}: ${verb}` });
    takeSample();
    return new Response(null, { status: 204 });
  };
  const fetch = (request: Request): Response => {
    const url = new URL(request.url);
    const page = pages.get(url.pathname);
    if (page !== undefined) return page();
    const isTrusted =
      token === undefined || request.headers.get("authorization") === `Bearer ${token}`;
    const isChange = request.method === "POST";
    if (!isTrusted && (isChange || options.hidden === true)) {
      return refuse(401, "no-token", "this needs the token");
    }
    if (isChange) return change(url);
    if (url.pathname === "/status") return Response.json(program());
    if (url.pathname === "/samples") return Response.json(samples);
    if (url.pathname !== "/events") return refuse(404, "not-found", url.pathname);
    let own: ReadableStreamDefaultController<string> | null = null;
    const stream = new ReadableStream<string>({
      start(controller) {
        own = controller;
        readers.add(controller);
        controller.enqueue("retry: 2000\n\n");
      },
      cancel: () => void (own !== null && readers.delete(own)),
    });
    return new Response(stream.pipeThrough(new TextEncoderStream()), {
      headers: { "Content-Type": "text/event-stream" },
    });
  };
  const server =
    unix === undefined
      ? Bun.serve({ hostname: "127.0.0.1", port: options.port ?? 0, fetch, idleTimeout: 0 })
      : Bun.serve({ unix, fetch });
  const timer = setInterval(takeSample, sampleMs);
  const stop = async (): Promise<void> => {
    clearInterval(timer);
    await server.stop(true);
    readers.clear();
  };
  const port = server.port ?? 0;
  return {
    url: unix === undefined ? `http://127.0.0.1:${port}` : `unix:${unix}`,
    port,
    changes,
    tell,
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

function refuse(status: number, code: string, message: string): Response {
  return Response.json({ error: { code, message, hint: "" } }, { status });
}

function wordsOf(event: BalancerEvent): string {
  if (!("name" in event)) return event.kind;
  const cause = "cause" in event ? `: ${event.cause}` : "";
  return `destination ${event.name} is ${event.kind.slice("destination-".length)}${cause}`;
}

function sampleOf(
  name: string,
  before: Status,
  now: Status,
  seconds: number,
  modes: ReadonlyMap<string, string>,
): SampleListener {
  const rate = (read: (status: Status) => number): number => (read(now) - read(before)) / seconds;
  const refused = ({ closed }: Status) =>
    [...refusals].reduce((sum, each) => sum + closed[each], 0);
  const closed = ({ closed }: Status) => Object.values(closed).reduce((sum, each) => sum + each, 0);
  const { destinations: rows } = now;
  const byRow = (read: (row: Status["destinations"][number]) => number): number[] =>
    rows.map((row, n) => {
      const earlier = before.destinations[n];
      return (read(row) - (earlier === undefined ? 0 : read(earlier))) / seconds;
    });
  const time = ({ p50, p90, p99 }: Status["times"]["queue"]): SampleTimes | null =>
    p50 === null || p90 === null || p99 === null ? null : { p50, p90, p99 };
  return {
    name,
    open: now.open,
    waiting: now.queue.waiting,
    oldestMs: now.queue.oldestMs,
    accepted: rate(({ accepted }) => accepted),
    closed: rate(closed),
    refused: rate(refused),
    bytesUpPerSecond: rate(({ bytesUp }) => bytesUp),
    bytesDownPerSecond: rate(({ bytesDown }) => bytesDown),
    times: {
      queue: time(now.times.queue),
      connect: time(now.times.connect),
      firstByte: time(now.times.firstByte),
      session: time(now.times.session),
    },
    destinations: {
      name: rows.map((row) => row.name),
      state: rows.map(({ state }) => state),
      mode: rows.map((row) => modes.get(`${name} ${row.name}`) ?? "ready"),
      used: rows.map(({ used }) => used),
      slots: rows.map(({ slotsNow }) => slotsNow),
      connectionsPerSecond: byRow(({ connections }) => connections),
      bytesPerSecond: byRow(({ bytesUp, bytesDown }) => bytesUp + bytesDown),
    },
  };
}
