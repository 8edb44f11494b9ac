// Servers and clients for routes by name: each server has a certificate of its own and tells by it who has answered.

import tls from "node:tls";
import { certs } from "../certs.ts";
import { serve, until, type Peer, type Server } from "../net.ts";
import { openAt } from "../wire/tls-servers.ts";

/** Of `certs()`, the names that they are for. */
export type CertName = "server" | "second" | "wildcard";

export interface TlsDestination extends AsyncDisposable {
  readonly address: string;
  readonly count: number;
}

/** Ends TLS by itself; answers each line with its tag, the name that was asked for and the line. */
export async function tlsDestination(tag: string, cert: CertName): Promise<TlsDestination> {
  const { cert: chain, key } = certs()[cert];
  let count = 0;
  const server = tls.createServer(
    { cert: chain, key, ALPNProtocols: ["h2", "http/1.1"] },
    (socket) => {
      count += 1;
      socket.on("error", () => {});
      socket.on("data", (chunk) => {
        const words = `${tag} ${socket.servername || "-"} ${socket.alpnProtocol || "-"} `;
        socket.write(words + chunk.toString());
      });
    },
  );
  server.on("tlsClientError", () => {});
  const port = await openAt(server);
  return {
    address: `127.0.0.1:${port}`,
    get count() {
      return count;
    },
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}

interface Shake {
  /** What has come decrypted. */
  readonly text: string;
  /** The common name of the server's certificate. */
  readonly name: string;
  send(words: string): void;
  end(): void;
  readonly over: boolean;
}

/** A client of node:tls that has shaken hands. @throws when that fails */
function shake(port: number, name: string, alpn: readonly string[] = []): Promise<Shake> {
  const { promise, resolve, reject } = Promise.withResolvers<Shake>();
  let text = "";
  let over = false;
  const socket = tls.connect({
    host: "127.0.0.1",
    port,
    ca: certs().ca.cert,
    checkServerIdentity: () => undefined,
    ...(name === "" ? {} : { servername: name }),
    ...(alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
  });
  socket.on("error", (error) => {
    over = true;
    reject(error);
  });
  socket.on("close", () => (over = true));
  socket.on("data", (chunk) => (text += chunk.toString()));
  socket.once("secureConnect", () => {
    const { subject } = socket.getPeerCertificate();
    const names = subject?.CN;
    resolve({
      name: typeof names === "string" ? names : (names?.[0] ?? ""),
      get text() {
        return text;
      },
      get over() {
        return over;
      },
      send: (words) => void socket.write(words),
      end: () => void socket.destroy(),
    });
  });
  return promise;
}

/** What a server of `tlsDestination` answers to one word. */
export async function answerTo(
  port: number,
  name: string,
  alpn: readonly string[] = [],
): Promise<{ readonly name: string; readonly text: string }> {
  const client = await shake(port, name, alpn);
  client.send("hi");
  await until(() => client.text.endsWith("hi") || client.over, `an answer for ${name}`);
  client.end();
  return { name: client.name, text: client.text };
}

/** Says its tag to the first byte that comes, and keeps what it gets. */
export function tagged(tag: string): Server {
  const spoken = new WeakSet<Peer>();
  return serve({
    onData: (peer) => {
      if (!spoken.has(peer)) peer.send(tag);
      spoken.add(peer);
    },
    onEnd: (peer) => peer.finish(),
  });
}
