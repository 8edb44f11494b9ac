// For the tests of facts about Bun: a Bun socket that records its events, and opposite it a peer that
// is nothing but libc calls, each done when the call returns. So what is seen is Bun's doing.

import type { Socket, SocketHandler } from "bun";
import { dial, errno, libc, rawConnect, rawListen, type Place } from "../raw.ts";
import { until } from "../wait.ts";

const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const EAGAIN = 11;
const ECONNRESET = 104;

/** A connection's end without Bun: FIN, RST and reading exactly when the test says so. */
export class RawPeer {
  receivedCount = 0;
  /** How reading ended so far. */
  fate: "open" | "FIN" | "RST" = "open";
  #fd: number;
  #buffer = new Uint8Array(256 * 1024);

  constructor(fd: number) {
    this.#fd = fd;
  }
  /** Returns how much the kernel took. */
  send(bytes: Uint8Array): number {
    return Number(libc().send(this.#fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL));
  }
  /** Reads what is there now; `fate` tells whether and how it ended. */
  read(countMax = Number.POSITIVE_INFINITY): Buffer {
    const chunks: Buffer[] = [];
    let count = 0;
    while (count < countMax && this.fate === "open") {
      const size = Math.min(this.#buffer.length, countMax - count);
      const n = Number(libc().recv(this.#fd, this.#buffer, size, MSG_DONTWAIT));
      if (n > 0) chunks.push(Buffer.from(this.#buffer.slice(0, n)));
      else if (n === 0) this.fate = "FIN";
      else if (errno() === ECONNRESET) this.fate = "RST";
      else if (errno() === EAGAIN) break;
      else throw new Error(`recv failed with errno ${errno()}`);
      count += Math.max(n, 0);
    }
    this.receivedCount += count;
    return Buffer.concat(chunks);
  }
  /** Reads and drops until the other side's FIN or RST. */
  async readToEnd(): Promise<void> {
    await until(() => {
      this.read();
      return this.fate !== "open";
    }, "FIN or RST at the raw peer");
  }
  /** Half-close: FIN, reading goes on. */
  fin(): void {
    libc().shutdown(this.#fd, 1);
  }
  reset(): void {
    libc().setsockopt(this.#fd, SOL_SOCKET, SO_LINGER, new Int32Array([1, 0]), 8);
    this.close();
  }
  close(): void {
    if (this.#fd >= 0) libc().close(this.#fd);
    this.#fd = -1;
  }
  [Symbol.dispose](): void {
    this.close();
  }
}

/** A Bun socket's events in order: "open", "data 5", "drain", "end", "close" or "close ECONNRESET". */
export class Recorder {
  readonly events: string[] = [];
  receivedCount = 0;
  /** Set by `open`. */
  socket!: Socket<unknown>;
  readonly handlers: SocketHandler<unknown>;

  constructor(hooks: SocketHandler<unknown> = {}) {
    this.handlers = {
      open: (socket) => {
        this.socket = socket;
        this.events.push("open");
        void hooks.open?.(socket);
      },
      data: (socket, chunk) => {
        this.events.push(`data ${chunk.length}`);
        this.receivedCount += chunk.length;
        void hooks.data?.(socket, chunk);
      },
      drain: (socket) => {
        this.events.push("drain");
        void hooks.drain?.(socket);
      },
      end: (socket) => {
        this.events.push("end");
        void hooks.end?.(socket);
      },
      close: (socket, error) => {
        this.events.push(error === undefined ? "close" : `close ${codeOf(error)}`);
        void hooks.close?.(socket, error);
      },
      connectError: (socket, error) => {
        this.events.push(`connectError ${codeOf(error)}`);
        void hooks.connectError?.(socket, error);
      },
      ...(hooks.timeout === undefined ? {} : { timeout: hooks.timeout }),
    };
  }
  seen(event: string): boolean {
    return this.events.some((each) => each === event || each.startsWith(`${event} `));
  }
  /** The events without the spurious ones and without sizes. */
  get story(): string[] {
    return this.events
      .filter((event) => event !== "drain")
      .map((event) => event.replace(/ \d+$/, ""));
  }
  async until(event: string): Promise<void> {
    await until(() => this.seen(event), `"${event}" after [${this.events.join(", ")}]`);
  }
}

export function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "no code";
}

/** The descriptor of a socket or listener; Bun has it, its types do not. */
export function fdOf(owner: unknown): number {
  return (owner as { fd: number }).fd;
}

export interface Joined extends Disposable {
  readonly bun: Recorder;
  readonly raw: RawPeer;
}

export type Side = "accepted" | "dialed";
export const SIDES: readonly Side[] = ["accepted", "dialed"];

/** A Bun socket, accepted by `Bun.listen` or dialed by `Bun.connect`, joined to a raw peer. */
export async function join(
  side: Side,
  hooks: SocketHandler<unknown> = {},
  allowHalfOpen = true,
): Promise<Joined> {
  const bun = new Recorder(hooks);
  const options = { allowHalfOpen, data: undefined, socket: bun.handlers };
  let raw: RawPeer;
  if (side === "accepted") {
    using listener = listen(options);
    raw = new RawPeer(rawConnect(listener.port));
    await bun.until("open");
  } else {
    const { fd, port } = rawListen("127.0.0.1:0", 16);
    Bun.connect({ ...options, hostname: "127.0.0.1", port }).catch(() => {});
    raw = new RawPeer(await accept(fd));
    libc().close(fd);
    await bun.until("open");
  }
  return { bun, raw, [Symbol.dispose]: () => (bun.socket.terminate(), raw.close()) };
}

/** A Bun listener on a free port of 127.0.0.1 that stops when disposed; its connections stay. */
export function listen(options: Bun.SocketOptions<unknown>): { port: number } & Disposable {
  const listener = Bun.listen({ ...options, hostname: "127.0.0.1", port: 0 });
  return { port: listener.port, [Symbol.dispose]: () => listener.stop(false) };
}

/** Waits for a connection at a raw listener. */
export function accept(fd: number): Promise<number> {
  return until(() => {
    const accepted = libc().accept4(fd, 0, 0, 0);
    return accepted >= 0 && accepted;
  }, "a connection at the raw listener");
}

/** Starts a connect by libc and gives the descriptor to Bun. */
export function dialByFd(place: Place, bun: Recorder): void {
  dial({ fd: rawConnect(place), allowHalfOpen: true, data: undefined, socket: bun.handlers });
}

/**
 * A whole turn of the event loop has passed: every socket event that was due before this call has been
 * delivered. The marker is a connection made now, whose accept is due after all of those.
 */
export async function turn(): Promise<void> {
  const passed = Promise.withResolvers<void>();
  using listener = listen({
    allowHalfOpen: true,
    socket: {
      data() {},
      open: (socket) => {
        socket.terminate();
        passed.resolve();
      },
    },
  });
  using _peer = new RawPeer(rawConnect(listener.port));
  await passed.promise;
}
