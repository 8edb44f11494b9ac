// TLS over a socket of Bun's that bytes were read from already. Bun makes two of it: one that shows what comes as it
// came, one that speaks in plain. What it does beyond its documentation: R18–R23 (test/engine/tls-facts.test.ts).
//
//   plain socket ── secure ──> [ handshake ] ──────────> onSecured, then chunks, ends, resets as of any socket
//                                   └─ flaw, end, reset ─> onInsecure, gone
import type { Socket as BunSocket, SocketHandler } from "bun";
import { isIP } from "node:net";
import { checkServerIdentity, type PeerCertificate } from "node:tls";
import type { Acceptor, Secured, SecureEvents, Securing, SocketEvents } from "../core/engine.ts";
import { TlsRecords } from "./tls-records.ts";
import type { HeldSide } from "./tls-side.ts";

/** What the engine calls on a socket, be it Bun's or a TLS one. */
export interface Held {
  data: SocketEvents;
  readonly fd: number;
  /** 1: open; below: closed. */
  readonly readyState: number;
  readonly remoteAddress: string | undefined;
  readonly remotePort: number | undefined;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  write(chunk: Uint8Array, from?: number, count?: number): number;
  pause(): void;
  resume(): void;
  shutdown(): void;
  end(): void;
  terminate(): void;
}

type Plain = BunSocket<SocketEvents>;
type Native = BunSocket<TlsSocket>;

/** A peer that does not read what it was sent before a close is given so long, ms; then it is reset. */
const lingerMs = 30_000;

/** What OpenSSL calls a server's demand for a certificate that was not met. */
const noCertificate = "PEER_DID_NOT_RETURN_A_CERTIFICATE";
/** The system's name of a broken protocol: a bad record, a fatal alert, a record that was cut. */
const broken = "EPROTO";
/** A connection that ended before the handshake did. */
const endedEarly = "ECONNRESET";
const protocolFaults: ReadonlySet<string> = new Set([broken, endedEarly]);

export class TlsSocket implements Held {
  data: SocketEvents;
  /** Who waits for the handshake; let go of when it is over. */
  private starting: SecureEvents | null;
  private readonly side: HeldSide;
  private readonly name: string;
  private readonly records = new TlsRecords();
  private raw: Plain | null = null;
  private tls: Native | null = null;
  private secured = false;
  private finished = false;
  /** Nothing is told any more. */
  private over = false;
  private isBroken = false;

  constructor(events: SecureEvents, side: HeldSide, name: string) {
    this.data = events;
    this.starting = events;
    this.side = side;
    this.name = name;
  }

  /** Takes the place of the plain socket. */
  start(plain: Plain, how: Securing, socket: SocketHandler<TlsSocket>): void {
    const { side, name, records } = this;
    const { initial, alpn } = how;
    const initialData = initial === null || initial.length === 0 ? undefined : Buffer.from(initial);
    if (plain.readyState !== 1) return this.fail(endedEarly);
    plain.data = records;
    if (!side.isServer && initialData !== undefined) {
      plain.terminate();
      return this.fail(broken); // or somebody could put words into the mouth of a destination (CVE-2026-1642)
    }
    if (initialData !== undefined) records.onChunk(initialData);
    const tls = {
      secureContext: side.context,
      ...(side.isServer && { requestCert: side.asksForCert }),
      rejectUnauthorized: side.isServer ? side.requiresCert : side.verifies,
      ...(alpn.length > 0 && { ALPNProtocols: wireOf(alpn) }),
      ...(name !== "" && isIP(name) === 0 && { servername: name }), // an address is no name to ask for: RFC 6066 §3
    };
    const options = { isServer: side.isServer, initialData, tls, data: this, socket };
    const [raw] = plain.upgradeTLS(options as never) as unknown as [Plain, Native]; // half of it is not in Bun's types
    this.raw = raw;
  }

  get fd(): number {
    return (this.tls as { readonly fd?: number } | null)?.fd ?? -1; // missing in Bun's types
  }
  get readyState(): number {
    return this.tls?.readyState ?? -1;
  }
  get remoteAddress(): string | undefined {
    return this.tls?.remoteAddress;
  }
  get remotePort(): number | undefined {
    return this.tls?.remotePort;
  }
  get localAddress(): string | undefined {
    return this.tls?.localAddress;
  }
  get localPort(): number | undefined {
    return this.tls?.localPort;
  }

  /** As Bun's: 0 also while what was taken before waits, encrypted, for room (R20). */
  write(chunk: Uint8Array, from = 0, count = chunk.length - from): number {
    if (!this.secured) return 0;
    return this.tls === null ? -1 : this.tls.write(chunk, from, count);
  }

  pause(): void {
    if (this.secured) this.tls?.pause();
  }

  resume(): void {
    this.tls?.resume();
  }

  /** Says close_notify and ends our direction of the connection (R21). */
  shutdown(): void {
    if (this.finished) return;
    this.finished = true;
    this.tls?.shutdown();
  }

  /**
   * Closes it, once the peer has taken what was written. Bun's `end` alone would wait for the peer's close_notify,
   * perhaps for ever (R21).
   */
  end(): void {
    const { tls, raw } = this;
    if (tls === null || raw === null) return this.terminate();
    this.shutdown();
    tls.end();
    if (this.tls === null) return; // closed inside the call
    setTimeout(() => raw.terminate(), lingerMs).unref();
  }

  /** The TLS one would not reset once it was told to end (R21). */
  terminate(): void {
    this.over = true;
    (this.raw ?? this.tls)?.terminate();
  }

  // ---- from Bun's handlers ---------------------------------------------------------------------

  onOpen(tls: Native): void {
    this.tls = tls;
  }

  onHandshake(isDone: boolean, error: Error | null): void {
    if (this.over || this.secured || this.tls === null) return;
    const { tls, side, name } = this;
    if (!isDone && !(!side.isServer && isDoneAfterAll(tls, error)))
      return this.fail(causeOf(error));
    const cert = side.asksForCert ? certOf(tls) : null;
    const flaw = cert === null ? null : flawOf(cert, error, side, name);
    if (side.verifies && flaw !== null) return this.refuse(flaw);
    if (side.requiresCert && cert === null) return this.refuse(noCertificate);
    const { starting } = this;
    this.secured = true;
    this.starting = null;
    starting?.onSecured(seen(tls, cert, cert !== null && flaw === null));
  }

  onData(chunk: Uint8Array): void {
    if (this.over) return;
    if (!this.secured) return this.refuse(broken); // Bun tells none so early (R19)
    this.data.onChunk(chunk);
  }

  onDrain(): void {
    if (this.secured && !this.over) this.data.onWritable();
  }

  /**
   * The peer's close_notify or its FIN: many honest peers leave the former out, so between two records either is an
   * end. In the middle of one, bytes are missing for certain.
   */
  onEnd(): void {
    if (this.over || !this.secured) return; // `close` tells of an end in mid-handshake
    if (!this.records.isInside) return this.data.onEnd();
    const { data } = this;
    this.terminate();
    data.onClose(broken);
  }

  onClose(error: Error | undefined): void {
    this.tls = null;
    if (this.over) return;
    const code = this.isBroken ? broken : error === undefined ? null : codeOf(error);
    if (!this.secured) return this.fail(code ?? endedEarly);
    this.over = true;
    // After our own shutdown the peer's end is told by this alone.
    this.data.onClose(code ?? (this.records.isInside ? broken : null));
  }

  /** @returns whether it was the protocol's fault; `close` follows. */
  onError(error: Error): boolean {
    this.isBroken ||= codeOf(error) === broken;
    return this.isBroken;
  }

  /** The handshake is done, but its peer is not welcome. */
  private refuse(cause: string): void {
    this.terminate();
    this.starting?.onInsecure(cause);
  }

  /** Bun closes it by itself, after its alert. */
  private fail(cause: string): void {
    this.over = true;
    if (this.tls !== null) setImmediate(() => this.terminate()); // should it not, nobody else would
    this.starting?.onInsecure(cause);
  }
}

/** The handlers of all TLS sockets. */
export function tlsHandlers(onFault: Acceptor["onFault"]): SocketHandler<TlsSocket> {
  return {
    open: (socket) => socket.data.onOpen(socket),
    handshake: (socket, isDone, error) => socket.data.onHandshake(isDone, error),
    data: (socket, chunk) => socket.data.onData(chunk),
    drain: (socket) => socket.data.onDrain(),
    end: (socket) => socket.data.onEnd(),
    close: (socket, error) => socket.data.onClose(error),
    error(socket, error) {
      if (!socket.data.onError(error)) onFault(error, socket.data.data);
    },
  };
}

function seen(tls: Native, cert: PeerCertificate | null, verified: boolean): Secured {
  const name: unknown = cert?.subject.CN; // a list where there are several
  return {
    version: tls.getTLSVersion(),
    cipher: tls.getCipher().name,
    alpn: tls.alpnProtocol || "",
    peerName: typeof name === "string" ? name : "",
    verified,
    resumed: tls.isSessionReused(),
  };
}

/**
 * Of a server whose certificate is flawed or somebody else's, Bun may say that the handshake has failed, also where it
 * was told not to mind, and leaves the connection open (R23). Keys for others are given only when it is over.
 */
function isDoneAfterAll(tls: Native, error: Error | null): boolean {
  if (error === null || protocolFaults.has(codeOf(error))) return false;
  try {
    return tls.exportKeyingMaterial(1, "EXPORTER-none", Buffer.alloc(0)).length === 1;
  } catch {
    return false;
  }
}

/** The peer's certificate, or null when it has none. */
function certOf(tls: Native): PeerCertificate | null {
  const cert = tls.getPeerCertificate() as PeerCertificate | undefined; // Bun's types do not know of none
  return cert?.raw === undefined ? null : cert;
}

/** What is wrong with a certificate: its chain, its dates, its purpose, or that it is somebody else's. */
function flawOf(
  cert: PeerCertificate,
  error: Error | null,
  { isServer }: HeldSide,
  name: string,
): string | null {
  if (error !== null && error !== undefined) return codeOf(error);
  if (isServer || name === "") return null;
  const mismatch = checkServerIdentity(name, cert);
  return mismatch === undefined ? null : codeOf(mismatch);
}

/** OpenSSL's reason out of `error:100000f7:SSL routines:OPENSSL_internal:WRONG_VERSION_NUMBER`, else the code. */
function causeOf(error: Error | null): string {
  if (error === null) return broken;
  const reason = /^error:.*:([A-Z0-9_]+)$/.exec(error.message)?.[1];
  return reason ?? codeOf(error);
}

function codeOf(error: Error): string {
  const { code } = error as Error & { code?: unknown }; // system errors of Bun carry their name
  return typeof code === "string" ? code : "EUNKNOWN";
}

/** The list as it goes over the wire: each with its length before it. Source: RFC 7301 §3.1. */
function wireOf(protocols: readonly string[]): Uint8Array {
  return Buffer.concat(
    protocols.map((protocol) => {
      const bytes = Buffer.from(protocol, "latin1");
      return Buffer.concat([Uint8Array.of(bytes.length), bytes]);
    }),
  );
}
