// The clients of a soak: each connects from an address of its own, so that no port is used up, and leaves a record.

import { dial, libc, rawConnect } from "../raw.ts";
import type { Course } from "./course.ts";
import { End, endHandlers, type EndHost } from "./end.ts";
import type { Pattern } from "./pattern.ts";

/** What a client knows of its connection. */
export interface ClientRecord {
  readonly course: Course;
  /** "127.0.7.3:40123", as an access line says it. */
  readonly address: string;
  readonly startedAt: number;
  endedAt: number;
  /** Null until it has connected. */
  end: End | null;
  isOver: boolean;
}

export interface ClientHost {
  readonly port: number;
  readonly pattern: Pattern;
  onOver(record: ClientRecord): void;
}

const sourceCount = 200;

/** Connects by a source address out of 200; the number of the connection says which. */
export function connectClient(course: Course, host: ClientHost): ClientRecord {
  const source = `127.0.7.${1 + (course.id % sourceCount)}`;
  const fd = rawConnect(host.port, `${source}:0`);
  const record: ClientRecord = {
    course,
    address: `${source}:${portOf(fd)}`,
    startedAt: performance.now(),
    endedAt: -1,
    end: null,
    isOver: false,
  };
  const over = () => {
    if (record.isOver) return;
    record.isOver = true;
    record.endedAt = performance.now();
    host.onOver(record);
  };
  const endHost: EndHost = { pattern: host.pattern, destination: -1, onOver: over };
  dial<End>({
    fd,
    allowHalfOpen: true,
    data: undefined as unknown as End, // set by `open`, before any other event
    socket: {
      ...endHandlers,
      open(socket) {
        socket.data = record.end = new End("client", course, socket, endHost);
        // The earliest that anybody can go: before the balancer has seen it.
        if (course.kind === "scan" && course.leaves?.ms === 0) record.end.onConnected();
      },
      connectError: over,
    },
  });
  return record;
}

function portOf(fd: number): number {
  const bound = new Uint8Array(128);
  libc().getsockname(fd, bound, new Uint32Array([bound.length]));
  return new DataView(bound.buffer).getUint16(2);
}
