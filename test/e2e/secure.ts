// Both ends of TLS as tests of the running balancer need them: clients and destinations of Bun's own, with exact
// control of their ends, and openssl's client, which shares no code with what is tested.

import { Duplex } from "node:stream";
import { connect } from "node:tls";
import type { Socket, SocketHandler, TLSOptions } from "bun";
import { certs, type CertPair, opensslMissing } from "../certs.ts";
import { Peer, type PeerOptions, type Server, serverOf, until } from "../net.ts";
import type { AccessRecord, PrefaceRecord } from "../../src/control/access-log.ts";
import { testWith } from "./program.ts";
import type { Ended } from "./ways.ts";

/** Certificates are made by openssl. */
export const testTls = testWith(opensslMissing === null ? {} : { openssl: "openssl" });

interface Wishes {
  /** Name to ask for and to verify. Default "a.example"; "" asks for none and verifies none. */
  readonly name?: string;
  readonly alpn?: readonly string[];
  /** The own certificate. */
  readonly pair?: CertPair;
  /** Authorities in PEM; default is that of the tests. */
  readonly ca?: string;
}

type Held = Socket<Peer | undefined>;

/** A peer whose handshake is done. */
export class SecurePeer extends Peer {
  readonly #held: Held;

  constructor(socket: Held, options: PeerOptions) {
    super(socket, options);
    this.#held = socket;
  }

  /** What it has agreed on; "" = nothing. */
  get alpn(): string {
    return this.#held.alpnProtocol || "";
  }
  get version(): string {
    return this.#held.getTLSVersion();
  }
  /** Common name of the other side's certificate; "" = it has shown none. */
  get shown(): string {
    const cert = this.#held.getPeerCertificate() as { subject?: { CN?: string } } | undefined; // there may be none
    return cert?.subject?.CN ?? "";
  }
  /** Number of the other side's certificate. */
  get serial(): string {
    const cert = this.#held.getPeerCertificate() as { serialNumber?: string } | undefined;
    return cert?.serialNumber ?? "";
  }
}

const events: SocketHandler<Peer | undefined> = {
  data: (socket, chunk) => socket.data?.took("data", chunk),
  drain: (socket) => socket.data?.took("drain"),
  end: (socket) => socket.data?.took("end"),
  close: (socket, error) => socket.data?.took("close", error),
};

/** The wire form of RFC 7301 §3.1, which Bun wants. */
function wire(alpn: readonly string[]): Buffer {
  return Buffer.concat(alpn.map((id) => Buffer.from(`${String.fromCharCode(id.length)}${id}`)));
}

/** Connects and shakes hands; rejects with the cause. In TLS 1.3 its own certificate is judged only after that. */
export async function secureClient(
  port: number,
  options: PeerOptions & Wishes = {},
): Promise<SecurePeer> {
  const { name = "a.example", alpn = [], pair, ca = certs().ca.cert } = options;
  const { promise, resolve, reject } = Promise.withResolvers<SecurePeer>();
  const socket: SocketHandler<Peer | undefined> = {
    ...events,
    handshake(socket, isDone, error) {
      if (!isDone || (error !== null && error !== undefined && name !== "")) {
        socket.terminate();
        return reject(error ?? new Error("no handshake"));
      }
      if (socket.data !== undefined) return;
      const peer = new SecurePeer(socket, options);
      socket.data = peer;
      resolve(peer);
    },
    close(socket, error) {
      if (socket.data === undefined) reject(error ?? new Error("closed in mid-handshake"));
      else socket.data.took("close", error);
    },
    connectError: (_, error) => reject(error),
  };
  const tls: TLSOptions & { readonly ALPNProtocols?: Buffer } = {
    ca,
    rejectUnauthorized: name !== "",
    ...(name !== "" && { serverName: name }),
    ...(alpn.length > 0 && { ALPNProtocols: wire(alpn) }),
    ...(pair !== undefined && { cert: pair.cert, key: pair.key }),
  };
  const where = { hostname: "127.0.0.1", port, allowHalfOpen: true };
  Bun.connect<Peer | undefined>({ ...where, tls, data: undefined, socket }).catch(() => {});
  return promise;
}

/** A destination that speaks TLS; its peers are those whose handshake is done. */
export function secureServe(
  options: PeerOptions & { readonly onOpen?: (peer: SecurePeer) => void },
  { pair = certs().server, alpn = [], clientCa = "", port: place = 0 } = {} as {
    readonly pair?: CertPair;
    readonly alpn?: readonly string[];
    /** Clients without a certificate by it are refused. */
    readonly clientCa?: string;
    /** 0 = any. */
    readonly port?: number;
  },
  hostname = "127.0.0.1",
): Server & { readonly peers: readonly SecurePeer[] } {
  const peers: SecurePeer[] = [];
  const socket: SocketHandler<Peer | undefined> = {
    ...events,
    handshake(socket, isDone, error) {
      if (!isDone || socket.data !== undefined) return;
      if (clientCa !== "" && error !== null && error !== undefined) return socket.terminate();
      const peer = new SecurePeer(socket, options);
      socket.data = peer;
      peers.push(peer);
      options.onOpen?.(peer);
    },
  };
  const tls = {
    cert: pair.cert,
    key: pair.key,
    ...(alpn.length > 0 && { ALPNProtocols: wire(alpn) }),
    ...(clientCa !== "" && { ca: clientCa, requestCert: true, rejectUnauthorized: true }),
  };
  const common = { port: place, allowHalfOpen: true, data: undefined, socket };
  const listener = Bun.listen<Peer | undefined>({ ...common, hostname, tls });
  const { port } = listener;
  const address = hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
  return serverOf(listener, { address, port }, peers);
}

/** Sends back what comes, at the pace of the reader, and ends after the client's end. */
export function secureEcho(
  ...how: Parameters<typeof secureServe> extends [unknown, ...infer R] ? R : never
) {
  return secureServe(
    {
      keep: false,
      onData: (peer, chunk) => {
        peer.send(chunk);
        if (peer.unsentCount > 0) peer.pause();
      },
      onFlushed: (peer) => peer.resume(),
      onEnd: (peer) => peer.finish(),
    },
    ...how,
  );
}

export interface Told {
  readonly code: number;
  /** All that it wrote. */
  readonly text: string;
  /** Of "subject=O = iawlb, CN = a.example"; "" = none was shown. */
  readonly subject: string;
  /** Such as "TLSv1.3"; "" = no handshake. */
  readonly version: string;
  readonly cipher: string;
  /** "" = none was agreed on. */
  readonly alpn: string;
  readonly isReused: boolean;
}

/** `openssl s_client`, which sends `input` and reads until the server ends. */
export async function sClient(
  port: number,
  args: readonly string[] = [],
  input = "",
): Promise<Told> {
  const to = ["-connect", `127.0.0.1:${port}`, "-CAfile", certs().ca.certFile, "-ign_eof"];
  const child = Bun.spawn(["openssl", "s_client", ...to, ...args], {
    stdio: [Buffer.from(input), "pipe", "pipe"],
    timeout: 20_000,
  });
  const [out, err, code] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  const text = out + err;
  const found = (pattern: RegExp) => pattern.exec(text)?.[1] ?? "";
  const cipher = found(/Cipher is (\S+)$/m);
  return {
    code,
    text,
    subject: found(/^subject=.*CN = (.*)$/m),
    version: cipher === "" || cipher === "(NONE)" ? "" : found(/^(?:New|Reused), (\S+), Cipher/m),
    cipher,
    alpn: found(/^ALPN protocol: (.*)$/m),
    isReused: /^Reused, /m.test(text),
  };
}

/** Arguments that make a listener show these certificates, the first one by default. */
export function shows(...pairs: readonly CertPair[]): string[] {
  const files = (which: "certFile" | "keyFile") => pairs.map((pair) => pair[which]).join(",");
  return ["--tls-cert", files("certFile"), "--tls-key", files("keyFile")];
}

/** What is told of the start of a connection that a way in this process has told of. */
export function startOf(ended: Ended): PrefaceRecord {
  const { preface } = ended as AccessRecord; // these are the library's own records
  if (preface === null) throw new Error("nobody has read its start");
  return preface;
}

/** Such as "tls-handshake: plain", "done". */
export function verdicts(ended: readonly Ended[]): string[] {
  return ended.map((each) => {
    const { fault } = startOf(each);
    return fault === "" ? each.reason : `${each.reason}: ${fault}`;
  });
}

/** A ClientHello as a real client sends it. */
export async function realHello(name = "a.example"): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const wire = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  const tls = connect({ socket: wire, servername: name });
  tls.on("error", () => {});
  await until(() => chunks.length > 0, "a hello");
  tls.destroy();
  return Buffer.concat(chunks);
}
