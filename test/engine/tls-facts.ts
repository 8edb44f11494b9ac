// For the tests of facts about Bun's TLS: a socket of Bun's that is upgraded after its first bytes were read, with all
// that its two successors and the old one are told.

import type { Socket, SocketHandler } from "bun";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import { certs } from "../certs.ts";
import { dial, rawConnect, rawListen } from "../raw.ts";
import { until } from "../wait.ts";
import { accept, codeOf, listen, RawPeer } from "./facts.ts";
import { exactClient, exactServer, ExactPeer } from "./tls-peer.ts";

type Any = Socket<unknown>;

/** Bun's own context of certificates. */
export function context(options: SecureContextOptions): object {
  return createSecureContext(options).context as object;
}

/** That of a.example. */
export function serverContext(options: SecureContextOptions = {}): object {
  const { cert, key } = certs().server;
  return context({ cert, key, ...options });
}

export interface Upgrade {
  /** The `tls` of `upgradeTLS`. */
  readonly tls: object;
  /** Called beside the recording. */
  readonly hooks?: SocketHandler<unknown>;
  /** Upgrades when so many bytes were read. Default: a whole first record, from `skip` on. */
  readonly skip?: number;
}

/** What a Bun socket and its successors were told, in order. The old handlers' events begin with "old". */
class Upgraded {
  readonly events: string[] = [];
  /** What `handshake` was told: done or not, and the code of its error. */
  verdict: [boolean, string | null] | null = null;
  /** The whole error of it. */
  reason = "";
  receivedCount = 0;
  old!: Any; // set before anything else happens, as the next two
  raw!: Any;
  tls!: Any;
  /** The events that were told inside `upgradeTLS`. */
  insideCount = 0;
  readonly #how: Upgrade;
  readonly #isServer: boolean;
  #read = Buffer.alloc(0);
  #isUp = false;

  constructor(how: Upgrade, isServer: boolean) {
    this.#how = how;
    this.#isServer = isServer;
  }

  /** The handlers of the plain socket. */
  readonly handlers: SocketHandler<unknown> = {
    open: (socket) => {
      this.old = socket;
      socket.data = "old data";
    },
    drain: (socket) => {
      if (!this.#isServer && !this.#isUp)
        this.#upgrade(socket); // it is connected
      else if (this.#isUp) this.events.push("old drain");
    },
    data: (socket, chunk) => {
      if (this.#isUp) return void this.events.push(`old data ${chunk.length}`);
      this.#read = Buffer.concat([this.#read, chunk]);
      const from = this.#how.skip ?? 0;
      const size = this.#read.length - from;
      if (size >= 5 && size >= 5 + this.#read.readUInt16BE(from + 3)) this.#upgrade(socket);
    },
    end: () => void this.events.push("old end"),
    close: (_, error) =>
      void this.events.push(error === undefined ? "old close" : `old close ${codeOf(error)}`),
  };

  #upgrade(socket: Any): void {
    this.#isUp = true;
    const { tls, hooks = {}, skip = 0 } = this.#how;
    const initialData = this.#isServer ? this.#read.subarray(skip) : undefined;
    const handlers: SocketHandler<unknown> = {
      open: (socket) => {
        this.tls = socket;
        this.events.push("open");
        void hooks.open?.(socket);
      },
      handshake: (socket, done, error) => {
        this.verdict = [done, error === null ? null : codeOf(error)];
        this.reason = error === null ? "" : error.message;
        this.events.push(`handshake ${done}`);
        void hooks.handshake?.(socket, done, error);
      },
      data: (socket, chunk) => {
        this.events.push(`data ${chunk.length}`);
        this.receivedCount += chunk.length;
        void hooks.data?.(socket, chunk);
      },
      drain: (socket) => void hooks.drain?.(socket), // Bun tells it now and then without a reason
      end: (socket) => {
        this.events.push("end");
        void hooks.end?.(socket);
      },
      close: (_, error) =>
        void this.events.push(error === undefined ? "close" : `close ${codeOf(error)}`),
      error: (_, error) => void this.events.push(`error ${codeOf(error)} ${error.message}`),
    };
    const options = { isServer: this.#isServer, initialData, tls, data: this, socket: handlers };
    [this.raw, this.tls] = socket.upgradeTLS(options as never) as [Any, Any]; // half of it is not in Bun's types
    this.insideCount = this.events.length;
  }

  /** The story without what the old handlers were told, and without sizes. */
  get story(): string[] {
    return this.events
      .filter((event) => !event.startsWith("old"))
      .map((event) => event.replace(/^(data) \d+$/, "$1"));
  }
  seen(event: string): boolean {
    return this.events.some((each) => each === event || each.startsWith(`${event} `));
  }
  async until(event: string): Promise<void> {
    await until(() => this.seen(event), `"${event}" after [${this.events.join(", ")}]`);
  }
}

export interface Secured extends Disposable {
  readonly bun: Upgraded;
  readonly peer: ExactPeer;
}

/** A Bun socket that is the server of a handshake, and its peer; the handshake is over unless `waits` is false. */
export async function served(
  how: Partial<Upgrade> = {},
  options: Parameters<typeof exactClient>[1] = {},
  waits = true,
): Promise<Secured> {
  const bun = new Upgraded({ tls: { secureContext: serverContext() }, ...how }, true);
  const listener = listen({ allowHalfOpen: true, data: undefined, socket: bun.handlers });
  const peer = exactClient(listener.port, options);
  await until(() => bun.old, "an accept");
  listener[Symbol.dispose]();
  if (waits) {
    await peer.until(() => peer.isSecured && bun.seen("handshake"), "a handshake");
  }
  return { bun, peer, [Symbol.dispose]: () => (bun.raw?.terminate(), peer[Symbol.dispose]()) };
}

/** The same with a Bun socket that has dialed and is the client. */
export async function dialed(
  how: Partial<Upgrade> = {},
  pair = certs().server,
  waits = true,
): Promise<Secured> {
  const secureContext = context({ ca: certs().ca.cert });
  const bun = new Upgraded({ tls: { secureContext, servername: "a.example" }, ...how }, false);
  const { fd, port } = rawListen("127.0.0.1:0", 16);
  dial({ fd: rawConnect(port), allowHalfOpen: true, data: undefined, socket: bun.handlers });
  const peer = exactServer(await accept(fd), pair);
  new RawPeer(fd).close();
  if (waits) await peer.until(() => peer.isSecured && bun.seen("handshake"), "a handshake");
  return { bun, peer, [Symbol.dispose]: () => (bun.raw?.terminate(), peer[Symbol.dispose]()) };
}
