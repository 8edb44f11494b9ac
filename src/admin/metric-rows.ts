// The table of metrics: name, type, meaning, and where the numbers come from. Base units; `_total` counts for ever.

import { knownModes, type ListenerStatus, type ProgramStatus } from "../control/steering.ts";
import type { DestinationStatus } from "../status.ts";
import type { HistogramStatus } from "../status.ts";
import type { ProcessNumbers } from "./process-numbers.ts";
import { destinationStates } from "./schema.ts";

/** As they stand in a line, such as `listener="main"`: written once, for there are many lines. */
export type Labels = string;
export type Add = (labels: Labels, value: number) => void;

interface Named {
  readonly name: string;
  readonly type: "counter" | "gauge";
  readonly help: string;
}

export interface ProgramMetric extends Named {
  readonly each: (add: Add, status: ProgramStatus, numbers: ProcessNumbers) => void;
}
/** `labels` has the listener. */
export interface ListenerMetric extends Named {
  readonly each: (add: Add, labels: Labels, status: ListenerStatus) => void;
}
/** `labels` has the listener and the destination. */
export interface DestinationMetric extends Named {
  readonly each: (add: Add, labels: Labels, status: DestinationStatus) => void;
}

export interface HistogramMetric {
  readonly name: string;
  readonly help: string;
  readonly of: keyof ListenerStatus["histograms"];
  /** Edges in the histogram's own unit (ms or bytes), each an edge of its buckets, so that the counts are exact. */
  readonly edges: readonly number[];
  /** So much of that unit is one of the metric's. */
  readonly scale: number;
}

/** Its value may be anything: as the format wants it, a backslash, a quote and a line end have one before them. */
export function label(name: string, value: string): Labels {
  if (!/["\\\n]/.test(value)) return `${name}="${value}"`;
  const escaped = value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
  return `${name}="${escaped}"`;
}

const one = <T>(read: (status: T) => number) => {
  return (add: Add, labels: Labels, status: T): void => add(labels, read(status));
};

export const programMetrics: readonly ProgramMetric[] = [
  {
    name: "iawlb_build_info",
    type: "gauge",
    help: "Always 1; the labels say what runs.",
    each: (add, { version }) => add(`${label("version", version)},${label("bun", Bun.version)}`, 1),
  },
  {
    name: "iawlb_uptime_seconds",
    type: "gauge",
    help: "Time since the start.",
    each: (add, { uptimeMs }) => add("", uptimeMs / 1_000),
  },
  {
    name: "iawlb_draining",
    type: "gauge",
    help: "1 while the program drains to its end.",
    each: (add, { state }) => add("", state === "draining" ? 1 : 0),
  },
  {
    name: "iawlb_last_reload_successful",
    type: "gauge",
    help: "1 if the last reload was applied; missing before the first.",
    each: (add, { reload }) => {
      if (reload !== null) add("", reload.fault === "" ? 1 : 0);
    },
  },
  {
    name: "iawlb_last_reload_timestamp_seconds",
    type: "gauge",
    help: "When the last reload was tried, in Unix time; missing before the first.",
    each: (add, { reload }) => {
      if (reload !== null) add("", reload.at / 1_000);
    },
  },
  {
    name: "process_start_time_seconds",
    type: "gauge",
    help: "When the process was started, in Unix time.",
    each: (add, { startedAt }) => add("", startedAt / 1_000),
  },
  {
    name: "process_cpu_seconds_total",
    type: "counter",
    help: "CPU time of all threads, user and system.",
    each: (add, _, { cpuSeconds }) => add("", cpuSeconds),
  },
  {
    name: "process_resident_memory_bytes",
    type: "gauge",
    help: "Memory that is resident.",
    each: (add, _, { residentBytes }) => add("", residentBytes),
  },
  {
    name: "process_open_fds",
    type: "gauge",
    help: "Descriptors that are open.",
    each: (add, _, { openDescriptors }) => {
      if (openDescriptors !== null) add("", openDescriptors);
    },
  },
  {
    name: "process_max_fds",
    type: "gauge",
    help: "Descriptors that may be open.",
    each: (add, _, { descriptorsMax }) => {
      if (descriptorsMax !== null) add("", descriptorsMax);
    },
  },
];

export const listenerMetrics: readonly ListenerMetric[] = [
  {
    name: "iawlb_listener_accepted_connections_total",
    type: "counter",
    help: "Connections accepted, by data-plane thread.",
    each: (add, labels, { threads }) =>
      threads.forEach(({ accepted }, index) => add(`${labels},thread="${index}"`, accepted)),
  },
  {
    name: "iawlb_listener_open_connections",
    type: "gauge",
    help: "Connections open now, waiting ones included, by data-plane thread.",
    each: (add, labels, { threads }) =>
      threads.forEach(({ open }, index) => add(`${labels},thread="${index}"`, open)),
  },
  {
    name: "iawlb_listener_max_connections",
    type: "gauge",
    help: "Connections that may be open.",
    each: one((status) => status.connectionCountMax),
  },
  {
    name: "iawlb_listener_closed_connections_total",
    type: "counter",
    help: "Connections that have ended, by reason.",
    each: (add, labels, { closed }) => {
      for (const [reason, count] of Object.entries(closed))
        add(`${labels},reason="${reason}"`, count);
    },
  },
  {
    name: "iawlb_listener_queue_connections",
    type: "gauge",
    help: "Clients that wait for a destination.",
    each: one(({ queue }) => queue.waiting),
  },
  {
    name: "iawlb_listener_queue_max_connections",
    type: "gauge",
    help: "Clients that may wait.",
    each: one(({ queue }) => queue.countMax),
  },
  {
    name: "iawlb_listener_queue_oldest_seconds",
    type: "gauge",
    help: "Age of the client that waits longest.",
    each: one(({ queue }) => queue.oldestMs / 1_000),
  },
  {
    name: "iawlb_listener_queued_connections_total",
    type: "counter",
    help: "Clients that had to wait.",
    each: one(({ queue }) => queue.waited),
  },
  {
    name: "iawlb_listener_preface_connections",
    type: "gauge",
    help: "Connections whose PROXY header, ClientHello or handshake is not over.",
    each: one(({ preface }) => preface.open),
  },
  {
    name: "iawlb_listener_tls_handshaking_connections",
    type: "gauge",
    help: "TLS handshakes in progress.",
    each: one(({ preface }) => preface.handshaking),
  },
  {
    name: "iawlb_listener_tls_handshakes_total",
    type: "counter",
    help: "TLS handshakes that succeeded; those that failed are closed connections with reason tls-handshake.",
    each: one(({ preface }) => preface.secured),
  },
  {
    name: "iawlb_listener_proxied_connections_total",
    type: "counter",
    help: "Clients that a PROXY header told of.",
    each: one(({ preface }) => preface.proxied),
  },
  {
    name: "iawlb_listener_tls_certificate_expiry_timestamp_seconds",
    type: "gauge",
    help: "When a certificate expires, in Unix time.",
    each: (add, labels, { certificates }) => {
      for (const { file, notAfter } of certificates)
        add(`${labels},${label("file", file)}`, notAfter / 1_000);
    },
  },
  {
    name: "iawlb_listener_bytes_total",
    type: "counter",
    help: "Bytes passed on by connections that have ended; up is from the client to the destination.",
    each: (add, labels, { bytesUp, bytesDown }) => {
      add(`${labels},direction="up"`, bytesUp);
      add(`${labels},direction="down"`, bytesDown);
    },
  },
  {
    name: "iawlb_listener_undelivered_bytes_total",
    type: "counter",
    help: "Bytes that came in and could not be passed on before the connection ended.",
    each: one((status) => status.bytesUndelivered),
  },
  {
    name: "iawlb_listener_local_faults_total",
    type: "counter",
    help: "Dials that failed for want of descriptors, ports or memory here.",
    each: one((status) => status.localFaults),
  },
  {
    name: "iawlb_listener_deadlines",
    type: "gauge",
    help: "Deadlines that are filed.",
    each: one((status) => status.deadlines),
  },
];

export const destinationMetrics: readonly DestinationMetric[] = [
  {
    name: "iawlb_destination_state",
    type: "gauge",
    help: "1 for the state that it is in.",
    each: (add, labels, row) => {
      for (const state of destinationStates)
        add(`${labels},state="${state}"`, Number(row.state === state));
    },
  },
  {
    name: "iawlb_destination_mode",
    type: "gauge",
    help: "1 for its mode: drain and maintenance take no new client, leaving was removed.",
    each: (add, labels, row) => {
      for (const mode of knownModes) add(`${labels},mode="${mode}"`, Number(row.mode === mode));
    },
  },
  {
    name: "iawlb_destination_used_slots",
    type: "gauge",
    help: "Connections that hold a slot of it.",
    each: one((row) => row.used),
  },
  {
    name: "iawlb_destination_slots",
    type: "gauge",
    help: "Slots it has now, fewer while it starts slowly; 0 is no limit.",
    each: one((row) => row.slotsNow),
  },
  {
    name: "iawlb_destination_configured_slots",
    type: "gauge",
    help: "Slots it was given; 0 is no limit.",
    each: one((row) => row.slots),
  },
  {
    name: "iawlb_destination_weight",
    type: "gauge",
    help: "Its weight.",
    each: one((row) => row.weight),
  },
  {
    name: "iawlb_destination_backup",
    type: "gauge",
    help: "1 if it serves only while no other can.",
    each: one((row) => Number(row.backup)),
  },
  {
    name: "iawlb_destination_connections_total",
    type: "counter",
    help: "Connections it was given.",
    each: one((row) => row.connections),
  },
  {
    name: "iawlb_destination_connect_failures_total",
    type: "counter",
    help: "Connects to it that failed.",
    each: one((row) => row.failures),
  },
  {
    name: "iawlb_destination_outages_total",
    type: "counter",
    help: "Times it was put out by connects or taken down by checks.",
    each: one((row) => row.outCount),
  },
  {
    name: "iawlb_destination_bytes_total",
    type: "counter",
    help: "Bytes passed on by connections that have ended; up is to it.",
    each: (add, labels, { bytesUp, bytesDown }) => {
      add(`${labels},direction="up"`, bytesUp);
      add(`${labels},direction="down"`, bytesDown);
    },
  },
];

/** Powers of two of the histogram's smallest unit, from and to these, every `step`. */
function powers(from: number, to: number, step: number, unit: number): number[] {
  const edges: number[] = [];
  for (let power = from; power <= to; power += step) edges.push(2 ** power / unit);
  return edges;
}

/** 64 µs to 134 s, and for whole sessions 1 ms to 36 min. */
const waits = { edges: powers(6, 27, 1, 1_000), scale: 1_000 };
const sessions = { edges: powers(10, 31, 1, 1_000), scale: 1_000 };

export const histogramMetrics: readonly HistogramMetric[] = [
  {
    name: "iawlb_listener_queue_wait_seconds",
    help: "Of clients that had to wait: from accept to the dial.",
    of: "queue",
    ...waits,
  },
  {
    name: "iawlb_listener_connect_seconds",
    help: "Connects that succeeded.",
    of: "connect",
    ...waits,
  },
  {
    name: "iawlb_listener_first_byte_seconds",
    help: "From accept to the destination's first byte.",
    of: "firstByte",
    ...waits,
  },
  {
    name: "iawlb_listener_hand_off_seconds",
    help: "From a freed slot to the next client's first byte on its way to the destination.",
    of: "handOff",
    ...waits,
  },
  {
    name: "iawlb_listener_session_seconds",
    help: "From accept to the end.",
    of: "session",
    ...sessions,
  },
  {
    name: "iawlb_listener_session_bytes",
    help: "Bytes passed on by a connection in both directions.",
    of: "size",
    edges: powers(6, 30, 2, 1),
    scale: 1,
  },
];

/** How many observations are at most `edge`, by ascending edges. Floats apart by rounding are the same edge. */
export function cumulated({ buckets }: HistogramStatus, edges: readonly number[]): number[] {
  let at = 0;
  let sum = 0;
  return edges.map((edge) => {
    for (let bucket = buckets[at]; bucket !== undefined; bucket = buckets[at]) {
      if (bucket[0] > edge * 1.000001) break;
      sum += bucket[1];
      at += 1;
    }
    return sum;
  });
}
