// For tests of TLS: a peer whose handshake, records, close_notify, FIN and RST go out exactly when the test says so.
// Its TLS runs in memory; its connection is nothing but libc calls.

import { Duplex } from "node:stream";
import { connect, createSecureContext, TLSSocket, type ConnectionOptions } from "node:tls";
import { certs } from "../certs.ts";
import { rawConnect, type Place } from "../raw.ts";
import { until } from "../wait.ts";
import { RawPeer } from "./facts.ts";

export class ExactPeer implements Disposable {
  readonly raw: RawPeer;
  readonly tls: TLSSocket;
  isSecured = false;
  /** The other side's close_notify has come. */
  isNotified = false;
  /** Names of what went wrong with its TLS. */
  readonly errors: string[] = [];
  /** What it would send is kept in `held` instead, such as its answer to a close_notify, which it gives by itself. */
  holds = false;
  held: Buffer[] = [];
  #chunks: Buffer[] = [];
  #wire: Duplex;
  #reads = true;

  constructor(fd: number, make: (wire: Duplex) => TLSSocket) {
    this.raw = new RawPeer(fd);
    this.#wire = new Duplex({
      read() {},
      write: (chunk: Buffer, _encoding, done) => {
        if (this.holds) this.held.push(Buffer.from(chunk));
        else if (this.raw.send(chunk) < chunk.length)
          throw new Error("the kernel did not take all");
        done();
      },
      final: (done) => done(), // FIN is the test's to send
    });
    this.tls = make(this.#wire);
    this.tls.on("secureConnect", () => (this.isSecured = true));
    this.tls.on("secure", () => (this.isSecured = true));
    this.tls.on("data", (chunk: Buffer) => this.#chunks.push(chunk));
    this.tls.on("end", () => (this.isNotified = true));
    this.tls.on("error", (error) => this.errors.push(error.message));
  }

  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }
  get text(): string {
    return this.received.toString();
  }

  /** Takes what has come over the wire. */
  pump(): void {
    if (!this.#reads) return;
    const bytes = this.raw.read();
    if (bytes.length > 0) this.#wire.push(bytes);
  }

  /** Waits for a condition and takes meanwhile what comes. */
  until(condition: () => unknown, what: string): Promise<unknown> {
    return until(() => (this.pump(), condition()), what);
  }

  async secured(): Promise<this> {
    await this.until(() => this.isSecured, `a handshake [${this.errors.join(", ")}]`);
    return this;
  }

  /** Sends, and returns when it is with the kernel. */
  async say(bytes: string | Uint8Array): Promise<void> {
    await new Promise<void>((done) => this.tls.write(bytes, () => done()));
  }

  /** The next record of `bytes`, encrypted and not sent. */
  async record(bytes: string): Promise<Buffer> {
    const held = this.holds;
    this.holds = true;
    await this.say(bytes);
    this.holds = held;
    return Buffer.concat(this.held.splice(0));
  }

  /** Sends a close_notify, and no FIN. */
  async notify(): Promise<void> {
    this.tls.end();
    await until(() => this.tls.writableFinished, "the close_notify to go out");
  }

  [Symbol.dispose](): void {
    this.raw.reset();
    this.#reads = false;
    this.tls.destroy();
  }
}

/** A TLS client, to a place or by a descriptor that is connected already. */
export function exactClient(place: Place | { fd: number }, options: ConnectionOptions = {}) {
  const fd = typeof place === "object" ? place.fd : rawConnect(place);
  const trust = { ca: certs().ca.cert, servername: "a.example" };
  return new ExactPeer(fd, (socket) => connect({ ...trust, ...options, socket }));
}

/** A TLS server on a descriptor that was accepted. */
export function exactServer(fd: number, pair = certs().server): ExactPeer {
  const secureContext = createSecureContext({ cert: pair.cert, key: pair.key });
  return new ExactPeer(fd, (wire) => new TLSSocket(wire, { isServer: true, secureContext }));
}
