// For tests of the engine's TLS: its sockets, accepted or dialed, that begin TLS and record what they are told.

import { availableParallelism } from "node:os";
import { connectedAlready } from "../../src/core/engine.ts";
import type { Acceptor, Secured, SecureEvents, Socket, TlsSide } from "../../src/core/engine.ts";
import { BunEngine } from "../../src/engine/bun.ts";
import { acceptFrom, openDescriptor } from "../../src/engine/listen.ts";
import { tlsClient, tlsServer, type TlsClientParts } from "../../src/engine/tls-side.ts";
import type { TlsServerParts } from "../../src/engine/tls-side.ts";
import { libc } from "../../src/linux/libc.ts";
import { certs } from "../certs.ts";
import { until } from "../wait.ts";

if (libc === null) throw new Error("these tests need libc");
const c = libc;

/** Exceptions of handlers, which no test here wants. */
export const faults: unknown[] = [];
export const engine = new BunEngine(c, (error) => void faults.push(error));

export function serverSide(parts: Partial<TlsServerParts> = {}): TlsSide {
  const { cert, key } = certs().server;
  const plain = { clientCa: "", clientRequired: false, versionMin: "TLSv1.2" } as const;
  return tlsServer({ cert, key, ...plain, ...parts });
}

export function clientSide(parts: Partial<TlsClientParts> = {}): TlsSide {
  return tlsClient({ ca: certs().ca.cert, cert: "", key: "", verify: true, ...parts });
}

export interface Way {
  readonly side: TlsSide;
  readonly alpn?: readonly string[];
  readonly name?: string;
  /** An accepted one: bytes before the hello that are ours to read. A dialed one: what is sent before it. */
  readonly prefix?: string;
  /** Plain sockets of the other side that talk first: TLS begins when they have. */
  readonly waits?: boolean;
  readonly onSecured?: (end: End) => void;
  readonly onChunk?: (end: End, chunk: Uint8Array) => void;
  readonly onEnd?: (end: End) => void;
}

/** One end of a connection, as the core would have it. */
export class End implements SecureEvents {
  socket: Socket | null = null;
  closed = false;
  connected = false;
  secured: Secured | null = null;
  /** Why there was no handshake. */
  cause: string | null = null;
  /** What it was told: "secured", "chunk", "end", "close", "close ECONNRESET", "insecure …". */
  readonly story: string[] = [];
  receivedCount = 0;
  keeps = true;
  readonly #way: Way;
  readonly #isServer: boolean;
  #read = Buffer.alloc(0);
  #begun = false;
  #chunks: Uint8Array[] = [];
  #unsent: Uint8Array | null = null;
  #sent = 0;
  #finishes = false;

  constructor(way: Way, isServer: boolean) {
    this.#way = way;
    this.#isServer = isServer;
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }
  get text(): string {
    return this.received.toString();
  }
  get over(): boolean {
    return this.cause !== null || this.story.some((each) => each.startsWith("close"));
  }
  /** Without repetitions of "chunk". */
  get brief(): string[] {
    return this.story.filter((each, i) => each !== "chunk" || this.story[i - 1] !== "chunk");
  }

  /** Sends in order, at the pace of the reader. A next one only when this has gone. */
  send(bytes: Uint8Array | string): this {
    this.#unsent = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
    this.#sent = 0;
    this.#push();
    return this;
  }
  finish(): this {
    this.#finishes = true;
    this.#push();
    return this;
  }
  get isBusy(): boolean {
    return this.#unsent !== null;
  }
  /** As the pair does: `closed` first. */
  abort(): void {
    this.closed = true;
    engine.abort(this);
  }
  close(): void {
    this.closed = true;
    if (this.socket !== null) engine.close(this.socket);
  }
  pause(): void {
    if (this.socket !== null) engine.pause(this.socket);
  }
  resume(): void {
    if (this.socket !== null) engine.resume(this.socket);
  }

  onConnected(): void {
    this.connected = true;
    const { prefix, waits = false } = this.#way;
    if (this.#isServer || this.socket === null) return;
    if (prefix !== undefined) engine.write(this.socket, Buffer.from(prefix), 0);
    if (!waits) this.#begin(null);
  }
  onDialFailed(code: string): void {
    this.story.push(`dial ${code}`);
  }
  onChunk(chunk: Uint8Array): void {
    if (this.#begun) {
      this.story.push("chunk");
      this.receivedCount += chunk.length;
      if (this.keeps) this.#chunks.push(chunk);
      this.#way.onChunk?.(this, chunk);
      return;
    }
    this.#read = Buffer.concat([this.#read, chunk]);
    const hello = this.#read.subarray(this.#isServer ? (this.#way.prefix ?? "").length : 0);
    const isWhole = hello.length >= 5 && hello.length >= 5 + hello.readUInt16BE(3);
    if (isWhole || !this.#isServer) this.#begin(hello);
  }
  onMoved(): void {}
  onWritable(): void {
    if (this.secured !== null) this.#push();
  }
  onEnd(): void {
    this.story.push("end");
    this.#way.onEnd?.(this);
  }
  onClose(code: string | null): void {
    if (!this.closed) this.story.push(code === null ? "close" : `close ${code}`);
    this.closed = true;
  }
  onSecured(secured: Secured): void {
    this.secured = secured;
    this.story.push("secured");
    this.#way.onSecured?.(this);
  }
  onInsecure(cause: string): void {
    this.cause = cause;
    this.story.push(`insecure ${cause}`);
  }

  #begin(initial: Uint8Array | null): void {
    this.#begun = true;
    const { side, alpn = [], name = "" } = this.#way;
    engine.secure(this, side, { isServer: this.#isServer, initial, alpn, name });
  }
  #push(): void {
    if (this.socket === null) return;
    if (this.#unsent !== null) {
      const count = engine.write(this.socket, this.#unsent, this.#sent);
      if (count > 0) this.#sent += count;
      if (this.#sent < this.#unsent.length) return;
      this.#unsent = null;
    }
    if (this.#finishes) engine.shutdown(this.socket);
    this.#finishes = false;
  }
}

export interface Door extends Disposable {
  readonly port: number;
  /** All that were accepted. */
  readonly ends: readonly End[];
}

/** Accepts by a descriptor of ours, reads a whole hello, begins TLS. */
export function door(way: Way): Door {
  const ends: End[] = [];
  const acceptor: Acceptor = {
    onAccept(socket) {
      const end = new End(way, true);
      end.socket = socket;
      end.connected = true;
      ends.push(end);
      return end;
    },
    onFault: (error) => void faults.push(error),
  };
  const found = openDescriptor(c, { ip: "127.0.0.1", port: 0 }, 512);
  const listening = acceptFrom(engine, c, found.fd, 512, acceptor, 0);
  return {
    port: found.port,
    ends,
    [Symbol.dispose]() {
      listening.stop();
      found.close();
      for (const end of ends) if (!end.over) end.abort();
    },
  };
}

/** Dials by a descriptor and begins TLS when it is connected. */
export function dialEnd(port: number, way: Way): End {
  const end = new End(way, false);
  const outcome = engine.dial(engine.address({ ip: "127.0.0.1", port }), end);
  if (outcome === connectedAlready) end.onConnected();
  else if (outcome !== null) end.onDialFailed(outcome);
  return end;
}

/** An engine on both ends. */
export async function join(up: Partial<Way> = {}, down: Partial<Way> = {}) {
  const listening = door({ side: serverSide(), ...down });
  const client = dialEnd(listening.port, { side: clientSide(), name: "a.example", ...up });
  const settled = (end: End | undefined) => end?.secured != null || end?.cause != null;
  const server = await until(
    () => settled(client) && settled(listening.ends[0]) && listening.ends[0],
    `a handshake [${client.story.join(", ")}]`,
  );
  const close = () => (client.abort(), listening[Symbol.dispose]());
  return { client, server, [Symbol.dispose]: close };
}

/** Runs a program of another TLS; its input stays open until `hold` is over. @returns all that it wrote */
export async function run(
  command: readonly string[],
  input: string | Uint8Array = "",
  hold?: () => Promise<unknown>,
): Promise<{ code: number; stdout: Buffer; stderr: string }> {
  const child = Bun.spawn([...command], {
    stdio: ["pipe", "pipe", "pipe"],
    env: { ...process.env, OPENSSL_CONF: "/dev/null" }, // what a distribution forbids, too
  });
  child.stdin.write(input);
  child.stdin.flush();
  const written = Promise.all([child.stdout.bytes(), child.stderr.text()]);
  await hold?.();
  await child.stdin.end();
  const [stdout, stderr] = await written;
  return { code: await child.exited, stdout: Buffer.from(stdout), stderr };
}

/** openssl s_client at a port; ended as soon as the handshake is over one way or the other, and `hold` too. */
export async function sClient(
  port: number,
  args: readonly string[],
  hold?: () => Promise<unknown>,
): Promise<string> {
  const at = ["-connect", `127.0.0.1:${port}`, "-servername", "a.example"];
  const { stdout, stderr } = await run(["openssl", "s_client", ...at, ...args], "", hold);
  return stdout.toString() + stderr;
}

/** As many at once as this machine bears. */
export async function each<T>(
  items: readonly T[],
  body: (item: T) => Promise<void>,
): Promise<void> {
  const rest = [...items];
  const one = async (): Promise<void> => {
    for (let item = rest.shift(); item !== undefined; item = rest.shift()) await body(item);
  };
  await Promise.all(Array.from({ length: Math.min(4, availableParallelism()) }, one));
}
