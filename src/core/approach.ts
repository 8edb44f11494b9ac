// What a destination is told before a client's first byte: a PROXY header, and a TLS handshake after it.

import { sslTlv, textTlv, tlvType, type ProxyTlv } from "../wire/proxy-tlv.ts";
import { writeProxyHeader } from "../wire/proxy-write.ts";
import type { Engine, SecureEvents, Secured, Socket, SocketEvents, TlsSide } from "./engine.ts";
import type { Facts } from "./facts.ts";
import { clientOf } from "./live.ts";
import type { Pair } from "./pair.ts";

/** It speaks before it is spoken to, where its first word is to be a handshake. */
const plainWords = "EPROTO";

/**
 * The PROXY header for a client: its true address, what its own header said besides, and what its TLS says.
 * Source: HAProxy's doc/proxy-protocol.txt, 2.
 */
export function headerFor(pair: Pair, version: 1 | 2, engine: Engine): Uint8Array {
  const facts = pair.preface?.facts ?? null;
  const { socket } = pair.up;
  const own = socket === null ? "" : engine.local(socket);
  const target = facts === null || facts.target === "" ? own : facts.target;
  return writeProxyHeader(version, {
    source: clientOf(pair, engine),
    destination: target,
    tlvs: facts === null ? [] : tlvsOf(facts),
    checksum: true,
  });
}

/** What we know ourselves comes before what we were told. */
function tlvsOf({ sni, tls, tlvs }: Facts): ProxyTlv[] {
  const own: ProxyTlv[] = [];
  if (tls !== null && tls.alpn !== "") own.push(textTlv(tlvType.alpn, tls.alpn));
  if (sni !== "") own.push(textTlv(tlvType.authority, sni));
  if (tls !== null) {
    const { version, cipher, peerName: clientName, verified, resumed } = tls;
    own.push(sslTlv({ version, cipher, clientName, verified, resumed }));
  }
  const ownTypes = new Set(own.map(({ type }) => type));
  return [...tlvs.filter(({ type }) => !ownTypes.has(type)), ...own];
}

/** How a dialed socket becomes one that speaks TLS. */
export interface ApproachParts {
  readonly engine: Engine;
  /** Is told of the socket once all is done, as if it had been dialed only then; has the socket from the start. */
  readonly target: SocketEvents;
  /** What goes before the handshake, in plain; null = nothing. */
  readonly header: () => Uint8Array | null;
  readonly tls: TlsSide;
  /** What the certificate is to be for; "" = nothing is asked for. */
  readonly name: string;
  /** Protocols to offer. */
  readonly alpn: readonly string[];
}

/** A dialed socket on its way from connected to TLS. */
export class Approach implements SecureEvents {
  connected = false;
  private readonly parts: ApproachParts;
  /** What of the header is not out yet. */
  private rest: Uint8Array | null = null;
  /** What comes from now on is the target's. */
  private isOver = false;
  private hasFailed = false;

  constructor(parts: ApproachParts) {
    this.parts = parts;
  }

  /** Its socket is the target's, so that whoever ends the dial ends it. */
  get socket(): Socket | null {
    return this.target.socket;
  }

  set socket(socket: Socket | null) {
    this.target.socket = socket;
  }

  get closed(): boolean {
    return this.hasFailed || this.target.closed;
  }

  get target(): SocketEvents {
    return this.parts.target;
  }

  onConnected(): void {
    this.connected = true;
    this.rest = this.parts.header();
    this.goOn();
  }

  onWritable(): void {
    if (this.isOver) this.target.onWritable();
    else if (this.rest !== null) this.goOn();
  }

  onSecured(_secured: Secured): void {
    const { socket, parts } = this;
    if (this.isOver || this.closed || socket === null) return;
    this.isOver = true;
    parts.engine.adopt(socket, parts.target);
    parts.target.onConnected();
  }

  onInsecure(cause: string): void {
    this.fail(cause);
  }

  onDialFailed(code: string): void {
    this.isOver = true;
    this.target.onDialFailed(code);
  }

  onChunk(chunk: Uint8Array): void {
    if (this.isOver) this.target.onChunk(chunk);
    else this.fail(plainWords);
  }

  onEnd(): void {
    if (this.isOver) this.target.onEnd();
    else this.fail("ECONNRESET");
  }

  onClose(code: string | null): void {
    if (this.isOver) this.target.onClose(code);
    else this.fail(code ?? "ECONNRESET");
  }

  onMoved(size: number): void {
    this.target.onMoved(size);
  }

  private goOn(): void {
    const { socket, rest } = this;
    const { engine, tls, name, alpn } = this.parts;
    if (socket === null || this.closed || this.isOver) return;
    if (rest !== null) {
      const count = engine.write(socket, rest, 0);
      if (count < 0) return this.fail("ECONNRESET");
      this.rest = count < rest.length ? rest.subarray(count) : null;
      if (this.rest !== null) return;
    }
    engine.secure?.(this, tls, { isServer: false, initial: null, alpn, name });
  }

  private fail(code: string): void {
    if (this.isOver || this.closed) return;
    this.hasFailed = true; // first: the end of the socket may be told inside the call, and is not the target's affair
    this.parts.engine.abort(this);
    this.target.onDialFailed(code);
  }
}
