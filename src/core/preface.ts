// The start of a connection, where a listener reads it before it chooses: a PROXY header, then a ClientHello, then,
// where TLS ends here, the handshake. One deadline from accept to the end of all three, whatever comes meanwhile.
//
//   accept ──> PROXY header ──────> ClientHello ───> handshake ──> a lane, with the bytes that are the client's
//              (of --proxy-from)    (routes, TLS)    (TLS)
import { ClientHelloReader, helloSizeMax, type ClientHello } from "../wire/client-hello.ts";
import { readProxyHeader } from "../wire/proxy-protocol.ts";
import type { AccessRules } from "./access.ts";
import { readClient } from "./client.ts";
import type { Engine, SecureEvents, Secured, Socket, SocketEvents, TlsSide } from "./engine.ts";
import { noFacts, type Facts } from "./facts.ts";
import type { Handshakes } from "./handshakes.ts";
import type { Pair } from "./pair.ts";
import type { CloseReason } from "./reason.ts";
import type { Routes } from "./routes.ts";

/** What a client may have sent while its handshake waits for its turn: its hello, and hardly more than that. */
const earlySizeMax: number = helloSizeMax + 16 * 1024;

/** What a listener reads before it chooses. */
export interface PrefaceRules {
  readonly proxy: {
    readonly versions: { readonly v1: boolean; readonly v2: boolean };
    /** Who may and must send a header. */
    readonly from: AccessRules;
    readonly othersRefused: boolean;
  } | null;
  readonly tls: {
    /** The certificate for a name, "" = none was asked for. */
    sideOf(name: string): TlsSide;
    /** Accepted protocols, the best first; none: the client's wishes are not answered. */
    readonly alpn: readonly string[];
  } | null;
  /** null = everything goes to the first lane. */
  readonly routes: Routes | null;
}

/** What a preface needs of the plane it lives in. */
export interface PrefaceHost {
  readonly engine: Engine;
  readonly handshakes: Handshakes;
  /** As they are now; null = everything goes to the first lane. */
  readonly routes: Routes | null;
  /** Who the client is has come out. @returns why it is refused, or null. */
  onClientKnown(pair: Pair): CloseReason | null;
  /** It knows where it goes, and its bytes so far are in its flow. */
  onArrived(pair: Pair, lane: number): void;
  /** An exception of ours, which costs this connection. */
  onFault(error: unknown, events: SocketEvents): void;
}

const nothing = new Uint8Array(0);
const words = new Int32Array(4);

export class Preface implements SecureEvents {
  readonly connected = true;
  readonly facts: Facts = noFacts();
  private readonly host: PrefaceHost;
  private readonly rules: PrefaceRules;
  readonly pair: Pair;
  /** It has told where it goes. */
  hasArrived = false;
  private phase: "proxy" | "hello" | "queued" | "handshake" | "over";
  /** What has come, of which `size` bytes count, from `from` on the client's. */
  private bytes: Uint8Array = nothing;
  private size = 0;
  private from = 0;
  private reader: ClientHelloReader | null = null;
  private side: TlsSide | null = null;
  private hasEnded = false;

  constructor(host: PrefaceHost, rules: PrefaceRules, pair: Pair) {
    this.host = host;
    this.rules = rules;
    this.pair = pair;
    this.phase = this.isFromProxy ? "proxy" : "hello";
  }

  /** Its socket is that of the pair's flow all the time. */
  get socket(): Socket | null {
    return this.pair.up.socket;
  }

  set socket(socket: Socket | null) {
    this.pair.up.socket = socket;
  }

  get closed(): boolean {
    return this.pair.up.closed;
  }

  /** Its address alone does not say who the client is. Who comes by a unix socket may open its file, and is trusted. */
  get isFromProxy(): boolean {
    const { proxy } = this.rules;
    if (proxy === null) return false;
    const { client } = this.pair;
    const family = readClient(client, words);
    if (family === 0) return client !== ""; // gone: its address is not known
    return proxy.from.allows(family, words);
  }

  get refusesOthers(): boolean {
    return this.rules.proxy?.othersRefused ?? false;
  }

  /** Nothing is to be read: it goes on at once. */
  start(): void {
    if (this.phase === "hello" && !this.readsHello) this.arrive(0);
  }

  onChunk(chunk: Uint8Array): void {
    if (this.phase === "over") return this.pair.up.onChunk(chunk);
    if (this.closed || this.phase === "handshake") return;
    this.append(chunk);
    if (this.phase === "proxy") this.readProxy();
    if (this.phase === "hello") this.readHello();
    if (this.phase === "queued" && this.size - this.from > earlySizeMax)
      this.refuse("tls-handshake", "too-long");
  }

  onEnd(): void {
    if (this.phase === "over") return this.pair.up.onEnd();
    this.hasEnded = true;
    if (this.phase !== "handshake") this.pair.settle("client-left", "client");
  }

  onClose(code: string | null): void {
    if (this.phase === "over") return this.pair.up.onClose(code);
    if (this.closed) return;
    this.pair.up.closed = true;
    this.pair.settle("client-left", "client");
  }

  onMoved(size: number): void {
    this.pair.up.onMoved(size);
  }

  onWritable(): void {
    if (this.phase === "over") this.pair.up.onWritable();
  }

  /** It was accepted, not dialed. */
  onConnected(): void {}

  onDialFailed(): void {}

  onSecured(secured: Secured): void {
    if (this.phase !== "handshake" || this.closed) return;
    this.host.handshakes.leave(this);
    this.facts.tls = secured;
    this.bytes = nothing;
    this.size = 0;
    this.from = 0;
    const { sni } = this.facts;
    this.choose({ sni, alpn: secured.alpn === "" ? [] : [secured.alpn] });
  }

  onInsecure(cause: string): void {
    if (this.phase === "handshake") this.refuse("tls-handshake", cause);
  }

  /** Its turn to shake hands has come. */
  secure(): void {
    const { tls } = this.rules;
    if (tls === null || this.side === null || this.closed) return;
    this.phase = "handshake";
    const initial = this.bytes.subarray(this.from, this.size);
    const how = { isServer: true, initial, alpn: tls.alpn, name: "" };
    try {
      this.host.engine.secure?.(this, this.side, how);
    } catch (error) {
      this.host.onFault(error, this); // not that of who has left and let us in
    }
  }

  /** Its pair is over. */
  end(): void {
    this.phase = "over";
    this.host.handshakes.leave(this);
  }

  private get readsHello(): boolean {
    return this.rules.tls !== null || this.rules.routes !== null;
  }

  private readProxy(): void {
    const { proxy } = this.rules;
    if (proxy === null) return;
    const reading = readProxyHeader(this.bytes.subarray(0, this.size), proxy.versions);
    if (reading.kind === "more") return;
    if (reading.kind === "bad") return this.refuse("proxy-header", reading.fault);
    const { pair, facts } = this;
    const { command, source, destination, tlvs } = reading.header;
    this.from = reading.size;
    if (command === "proxy" && source !== "") {
      facts.via = pair.client;
      facts.target = destination;
      pair.client = source;
    }
    facts.tlvs = tlvs;
    const refusal = this.host.onClientKnown(pair);
    if (refusal !== null) return this.refuse(refusal, "");
    this.phase = "hello";
  }

  private readHello(): void {
    if (!this.readsHello) return this.arrive(0);
    if (this.size === this.from) return;
    this.reader ??= new ClientHelloReader();
    const reading = this.reader.read(this.bytes.subarray(this.from), this.size - this.from);
    if (reading.kind === "more") return;
    if (reading.kind === "hello") return this.onHello(reading.hello);
    const { tls } = this.rules;
    if (reading.kind === "bad") {
      if (tls !== null) return this.refuse("tls-handshake", reading.fault);
      return this.choose(unreadable);
    }
    // What is not TLS is served by a route of its own, and where no TLS is asked for by the default one.
    if (tls !== null && this.host.routes?.servesPlain !== true)
      return this.refuse("tls-handshake", "plain");
    this.choose(null);
  }

  private onHello({ sni, alpn }: ClientHello): void {
    this.facts.sni = sni;
    this.facts.alpn = alpn;
    const { tls } = this.rules;
    if (tls === null) return this.choose({ sni, alpn });
    this.side = tls.sideOf(sni);
    if (this.host.handshakes.enter(this)) this.secure();
    else this.phase = "queued";
  }

  private choose(hello: { readonly sni: string; readonly alpn: readonly string[] } | null): void {
    const { routes } = this.host;
    const lane = routes === null ? 0 : routes.choose(hello);
    if (lane < 0) this.refuse("no-route", "");
    else this.arrive(lane);
  }

  /** Its bytes go to its flow first, so that they are there when its destination is. */
  private arrive(lane: number): void {
    const { pair, socket } = this;
    if (socket === null) return;
    this.phase = "over";
    this.hasArrived = true;
    pair.state = "waiting";
    this.host.engine.adopt(socket, pair.up);
    if (this.size > this.from) pair.up.onChunk(this.bytes.subarray(this.from, this.size));
    if (this.hasEnded) pair.up.onEnd();
    this.bytes = nothing;
    this.reader = null;
    if (!pair.settled) this.host.onArrived(pair, lane);
  }

  private refuse(reason: CloseReason, fault: string): void {
    this.facts.fault = fault;
    this.pair.settle(reason, "balancer");
  }

  /** Room doubles, so that bytes that come one by one cost no more than those that come together. */
  private append(chunk: Uint8Array): void {
    if (this.size === 0) {
      this.bytes = this.host.engine.keep(chunk, 0);
      this.size = chunk.length;
      return;
    }
    const size = this.size + chunk.length;
    if (size > this.bytes.length) {
      const more = new Uint8Array(Math.max(size, 2 * this.bytes.length));
      more.set(this.bytes.subarray(0, this.size));
      this.bytes = more;
    }
    this.bytes.set(chunk, this.size);
    this.size = size;
  }
}

/** A hello that is none: it asks for nothing that could be chosen by. */
const unreadable = { sni: "", alpn: [] };
