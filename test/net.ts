// What tests stand on: raw TCP peers with exact control of FIN and RST, and small servers of them.

import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket, SocketHandler } from "bun";
import { connectedUnix, dial, libc, placeOf, rawConnect, type Place } from "./raw.ts";

export * from "./run.ts";
export * from "./wait.ts";
export { blackhole, deadPort, limitDescriptors, rawPipe, type Place } from "./raw.ts";

// ---- one end of a connection -----------------------------------------------------------------

export interface PeerOptions {
  /** false: count what arrives, do not keep it. Default true. */
  readonly keep?: boolean;
  /** Do not read until `resume()`. */
  readonly paused?: boolean;
  readonly onData?: (peer: Peer, chunk: Buffer) => void;
  /** The peer's FIN has come. */
  readonly onEnd?: (peer: Peer) => void;
  /** Everything sent so far is with the kernel. */
  readonly onFlushed?: (peer: Peer) => void;
  /** Nothing more can come or go, and it was not our own reset. */
  readonly onClose?: (peer: Peer) => void;
}

/** One end of a connection. Nothing is sent, ended or answered unless the test says so. */
export class Peer {
  receivedCount = 0;
  /** The other side's FIN has come. */
  ended = false;
  /** The other side's RST has come (or a write found the connection gone). */
  wasReset = false;
  /** Nothing more can come or go. */
  closed = false;
  /** Error code of the reset, "" before. */
  code = "";
  /** "address:port" of the other side as seen at the start. */
  readonly remote: string;
  #socket: Socket<Peer | undefined>;
  #options: PeerOptions;
  #chunks: Buffer[] = [];
  #unsent: Uint8Array[] = [];
  #finishing = false;
  #finished = false;

  constructor(socket: Socket<Peer | undefined>, options: PeerOptions) {
    this.#socket = socket;
    this.#options = options;
    this.remote = `${socket.remoteAddress}:${socket.remotePort}`;
    if (options.paused) socket.pause();
  }

  get socket(): Socket<Peer | undefined> {
    return this.#socket;
  }
  /** Everything received and kept so far. */
  get received(): Buffer {
    if (this.#chunks.length > 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0] ?? Buffer.alloc(0);
  }
  get text(): string {
    return this.received.toString();
  }
  /** The other side ended or reset, or the connection is closed. */
  get over(): boolean {
    return this.ended || this.wasReset || this.closed;
  }
  get unsentCount(): number {
    return this.#unsent.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  /** Sends in order; what the kernel does not take yet waits here. Do not change the bytes later. */
  send(bytes: string | Uint8Array): void {
    const chunk = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    if (this.closed || chunk.length === 0) return;
    this.#unsent.push(chunk);
    if (this.#unsent.length === 1) this.#flush();
  }
  /** FIN after the last byte sent. Reading goes on. */
  finish(): void {
    this.#finishing = true;
    this.#flush();
  }
  /** RST, at once; unsent bytes are dropped. */
  reset(): void {
    if (this.closed) return;
    this.closed = true;
    this.#socket.terminate();
  }
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }
  [Symbol.dispose](): void {
    this.reset();
  }

  /** For the socket handlers below. */
  took(event: "data" | "drain" | "end" | "close", value?: Buffer | Error): void {
    if (this.closed) return;
    if (event === "data") {
      const chunk = value as Buffer; // `data` always brings one
      this.receivedCount += chunk.length;
      if (this.#options.keep !== false) this.#chunks.push(chunk);
      this.#options.onData?.(this, chunk);
    } else if (event === "drain") {
      this.#flush();
    } else if (event === "end") {
      if (this.wasReset) return; // a failed write makes Bun report a reset as an end
      this.ended = true;
      this.#options.onEnd?.(this);
    } else {
      this.closed = true;
      if (value !== undefined) this.#lost((value as NodeJS.ErrnoException).code ?? "unknown");
      else if (this.#finished && !this.wasReset && !this.ended) {
        this.ended = true;
        this.#options.onEnd?.(this);
      }
      this.#options.onClose?.(this);
    }
  }

  #lost(code: string): void {
    this.wasReset = true;
    this.code ||= code;
    this.#unsent = [];
  }
  #flush(): void {
    if (this.closed || this.#finished || this.wasReset) return;
    const waited = this.#unsent.length > 0;
    for (let chunk = this.#unsent[0]; chunk !== undefined; chunk = this.#unsent[0]) {
      const taken = this.#socket.write(chunk);
      if (taken < 0) return this.#lost("EPIPE");
      if (taken < chunk.length) {
        this.#unsent[0] = chunk.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#finishing) {
      this.#finished = true;
      this.#socket.shutdown();
    }
    if (waited) this.#options.onFlushed?.(this);
  }
}

const handlers: SocketHandler<Peer | undefined> = {
  data: (socket, chunk) => socket.data?.took("data", chunk),
  drain: (socket) => socket.data?.took("drain"),
  end: (socket) => socket.data?.took("end"),
  close: (socket, error) => socket.data?.took("close", error),
};

export interface ClientOptions extends PeerOptions {
  /** Address of its own, such as "127.0.0.5"; one of many only to tell clients apart. */
  readonly from?: string;
}

/** Connects; rejects when that fails. Connections that tests leave open are reset at the end. */
export async function client(place: Place, options: ClientOptions = {}): Promise<Peer> {
  const { promise, resolve, reject } = Promise.withResolvers<Peer>();
  const socket: SocketHandler<Peer | undefined> = {
    ...handlers,
    open(socket) {
      socket.data = new Peer(socket, options);
      resolve(socket.data);
    },
    connectError: (_, error) => reject(error),
  };
  const to = placeOf(place);
  const common = { allowHalfOpen: true, data: undefined, socket };
  // A unix peer that answers and ends at once is lost by `Bun.connect({ unix })`, not so by descriptor.
  if ("unix" in to) dial({ ...common, fd: connectedUnix(to.unix) });
  else if (options.from !== undefined) {
    dial({ ...common, fd: rawConnect(place, `${options.from}:0`) });
  } else Bun.connect<Peer | undefined>({ ...common, ...to }).catch(() => {});
  return promise;
}

/** A client at 127.0.0.1 that may be refused at once: its peer sees the reset even when that beats the connect. */
export function knock(port: number): Promise<Peer> {
  return client(port, { from: "127.0.0.1" });
}

// ---- servers ---------------------------------------------------------------------------------

export interface Server extends Disposable {
  /** As a destination on the command line: "127.0.0.1:3001", "[::1]:3001", "unix:/path". */
  readonly address: string;
  /** 0 for a unix socket. */
  readonly port: number;
  /** Every connection accepted so far, in order of arrival. */
  readonly peers: readonly Peer[];
  /** Those still open. */
  readonly openCount: number;
  /** Stops listening; connections stay. Disposing also resets those. */
  stop(): void;
}

/** A server of raw peers; `onOpen` makes it server-first. */
export function serve(
  options: PeerOptions & { readonly onOpen?: (peer: Peer) => void },
  place: Place = "127.0.0.1:0",
): Server {
  const peers: Peer[] = [];
  const socket: SocketHandler<Peer | undefined> = {
    ...handlers,
    open(socket) {
      const peer = new Peer(socket, options);
      socket.data = peer;
      peers.push(peer);
      options.onOpen?.(peer);
    },
  };
  const at = placeOf(place);
  const common = { allowHalfOpen: true, data: undefined, socket };
  const listener =
    "unix" in at
      ? Bun.listen<Peer | undefined>({ ...common, ...at })
      : Bun.listen<Peer | undefined>({ ...common, ...at });
  const port = "port" in listener ? listener.port : 0;
  // Bun's backlog of 512 would cost a client of a larger burst a second.
  if ("fd" in listener) libc().listen(listener.fd as number, 4_096); // missing in Bun's types
  const host = "hostname" in at && at.hostname.includes(":") ? "[::1]" : "127.0.0.1";
  const address = "unix" in at ? `unix:${at.unix}` : `${host}:${port}`;
  return serverOf(listener, { address, port }, peers, () => {
    if ("unix" in at) rmSync(at.unix, { force: true });
  });
}

/** What a test holds of a listener and of those that it has accepted. */
export function serverOf<P extends Peer>(
  listener: { stop(closesActive: boolean): void },
  where: Pick<Server, "address" | "port">,
  peers: readonly P[],
  onEnd: () => void = () => {},
): Server & { readonly peers: readonly P[] } {
  return {
    ...where,
    peers,
    get openCount() {
      return peers.filter((peer) => !peer.closed).length;
    },
    stop: () => listener.stop(false),
    [Symbol.dispose]() {
      listener.stop(false);
      for (const peer of peers) peer.reset();
      onEnd();
    },
  };
}

/** Sends back what comes, at the pace of the reader, and ends after the client's end. */
export function echoServer(place?: Place): Server {
  return serve(
    {
      keep: false,
      onData: (peer, chunk) => {
        peer.send(chunk);
        if (peer.unsentCount > 0) peer.pause();
      },
      onFlushed: (peer) => peer.resume(),
      onEnd: (peer) => peer.finish(),
    },
    place,
  );
}

/** Swallows everything (counted, not kept) and ends after the client's end. */
export function sink(place?: Place): Server {
  return serve({ keep: false, onEnd: (peer) => peer.finish() }, place);
}

/** Says its name at once, then ends (the default), or echoes. */
export function tagServer(name: string, place?: Place, then: "end" | "echo" = "end"): Server {
  return serve(
    {
      onOpen: (peer) => {
        peer.send(name);
        if (then === "end") peer.finish();
      },
      onData: (peer, chunk) => {
        if (then === "echo") peer.send(chunk);
      },
      onEnd: (peer) => peer.finish(),
    },
    place,
  );
}

let socketNumber = 0;
/** A fresh "unix:/…" place in the temporary directory. */
export function unixPlace(): string {
  return `unix:${join(tmpdir(), `iawlb-test-${process.pid}-${++socketNumber}.sock`)}`;
}
