// Real TLS servers that tell what a hello has asked them for: Bun's own (BoringSSL) and OpenSSL's.

import type { Server } from "node:net";
import tls from "node:tls";
import { certs } from "../certs.ts";
import { client, until } from "../net.ts";

export interface Asked {
  /** As the server was told it; "" for no name. */
  readonly sni: string;
  readonly alpn: readonly string[];
}

export interface TlsServer extends AsyncDisposable {
  readonly port: number;
  /** What each hello has asked for, of those the server had nothing against so far. */
  readonly asked: readonly Asked[];
  /** Sends a hello, ends, and waits until it is done with. @returns what it took it for; null: it was refused. */
  ask(hello: Uint8Array): Promise<Asked | null>;
}

/** Answers any request over HTTP/1.1, whatever else is offered. */
export async function bunServer(): Promise<TlsServer> {
  const { cert, key } = certs().server;
  const asked: Asked[] = [];
  let named = "";
  const server = tls.createServer(
    {
      cert,
      key,
      SNICallback(name, done) {
        named = name;
        done(null, tls.createSecureContext({ cert, key }));
      },
      ALPNCallback({ servername, protocols }) {
        asked.push({ sni: servername || "", alpn: protocols });
        return protocols.includes("http/1.1") ? "http/1.1" : protocols[0];
      },
    },
    (socket) => {
      if (socket.alpnProtocol === false) asked.push({ sni: socket.servername || "", alpn: [] });
      socket.on("error", () => {});
      const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi";
      socket.once("data", () => socket.end(answer));
    },
  );
  server.on("tlsClientError", () => {});
  const port = await openAt(server);
  return {
    port,
    asked,
    async ask(hello) {
      const count = asked.length;
      named = "";
      if (!(await speak(port, hello))) return null;
      const told = asked[count];
      // Without protocols it is told of the name alone.
      return told ?? (named === "" ? null : { sni: named, alpn: [] });
    },
    [Symbol.asyncDispose]: async () => void server.close(),
  };
}

/** `openssl s_server`, one connection after the other. */
export async function opensslServer(): Promise<TlsServer> {
  const { certFile, keyFile } = certs().server;
  const pair = ["-cert", certFile, "-key", keyFile, "-cert2", certFile, "-key2", keyFile];
  // A name of its own makes it tell those that are asked for; line by line, or it tells when its buffer is full.
  const how = ["-accept", "127.0.0.1:0", "-servername", "own.example", "-alpn", "h2,http/1.1,x"];
  const child = Bun.spawn(["stdbuf", "-oL", "openssl", "s_server", ...how, ...pair], {
    stdio: ["pipe", "pipe", "ignore"], // it ends with its input
  });
  let output = "";
  const collected = (async () => {
    for await (const chunk of child.stdout) output += Buffer.from(chunk).toString("latin1");
  })();
  const port = Number(
    await until(() => /ACCEPT \S+:(\d+)\n/.exec(output)?.[1], "openssl s_server to listen"),
  );
  const asked: Asked[] = [];
  return {
    port,
    asked,
    async ask(hello) {
      const start = output.length;
      const isAnswered = await speak(port, hello);
      const said = await until(() => {
        const text = output.slice(start);
        return text.includes("CONNECTION CLOSED") && text;
      }, "openssl s_server to be done");
      const sni = /Hostname in TLS extension: "(.*)"/.exec(said)?.[1];
      const alpn = /protocols advertised by the client: ([^]*?)\n(?:ALPN protocols|shutting)/.exec(
        said,
      )?.[1];
      if (!isAnswered || (sni === undefined && alpn === undefined)) return null;
      const told = { sni: sni ?? "", alpn: alpn?.split(", ") ?? [] };
      asked.push(told);
      return told;
    },
    async [Symbol.asyncDispose]() {
      child.kill();
      await Promise.all([child.exited, collected]);
    },
  };
}

/** @returns whether the server went on: it says hello, and sends no fatal alert. */
async function speak(port: number, hello: Uint8Array): Promise<boolean> {
  using peer = await client(port);
  peer.send(hello);
  peer.finish();
  await until(() => peer.over, "the server's end");
  const { received } = peer;
  // OpenSSL warns of a name that is not its own (an alert of 7 bytes, level 1), and goes on.
  const first = received[0] === 21 && received[5] === 1 ? 7 : 0;
  return received[first] === 22;
}

/** Listens on 127.0.0.1. @returns the port that it was given. */
export async function openAt(server: Server): Promise<number> {
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  const address = server.address();
  return address !== null && typeof address === "object" ? address.port : 0;
}
