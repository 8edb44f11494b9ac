// Proxies as tests play them: headers before a client's words, and what a destination was told before its first byte.

import { readProxyHeader, type ProxyHeader } from "../../src/wire/proxy-protocol.ts";
import { client, until, type Peer, type Server } from "../net.ts";
import type { Place } from "../raw.ts";
import { ipv4, ipv6, unix, v2 } from "../wire/proxy-vectors.ts";
import { allWaysInProcess, chosen, portably, type Balancing, type Ended } from "./ways.ts";

/** Each engine, with one thread and with three; how it dials has nothing to do with how a connection begins. */
export const prefaceWays = chosen(allWaysInProcess.filter((way) => way !== portably));

/** Everybody on loopback begins with a header, in either version. */
export const trusting = ["--proxy-in", "v1,v2", "--proxy-from", "127.0.0.0/8"] as const;

export interface Form {
  readonly name: string;
  readonly header: Uint8Array;
  /** The client that it tells of; "" = the connection's own. */
  readonly source: string;
}

/** Every way to say who the client is, or that it is not known. */
export const forms: readonly Form[] = [
  form("v1 TCP4", "PROXY TCP4 192.0.2.7 198.51.100.2 4661 443\r\n", "192.0.2.7:4661"),
  form("v1 TCP6", "PROXY TCP6 2001:db8::7 2001:db8::2 4662 443\r\n", "[2001:db8::7]:4662"),
  form("v1 UNKNOWN", "PROXY UNKNOWN\r\n", ""),
  form("v1 UNKNOWN with addresses", "PROXY UNKNOWN 192.0.2.7 198.51.100.2 1 2\r\n", ""),
  form("v2 TCP4", v2(0x21, 0x11, ipv4), "192.0.2.1:4660"),
  form("v2 TCP6", v2(0x21, 0x21, ipv6), "[2001:db8::1]:4660"),
  form("v2 UNIX", v2(0x21, 0x31, unix), "unix:/run/client"),
  form("v2 UNSPEC", v2(0x21, 0x00), ""),
  form("v2 LOCAL", v2(0x20, 0x00), ""),
  form("v2 LOCAL with addresses", v2(0x20, 0x11, ipv4), ""),
];

function form(name: string, header: string | Uint8Array, source: string): Form {
  return { name, header: bytesOf(header), source };
}

function bytesOf(text: string | Uint8Array): Buffer {
  return typeof text === "string" ? Buffer.from(text, "latin1") : Buffer.from(text);
}

/** A header of v1 for this client. */
export function lineFor(ip: string, port = 1_024): Buffer {
  return bytesOf(`PROXY TCP4 ${ip} 198.51.100.2 ${port} 443\r\n`);
}

/** The address of each client's own end, which cannot be asked for once it is over. */
const owns = new WeakMap<Peer, string>();

/** A client at an address of its own, or at one of loopback. */
export async function comer(place: Place, from?: string): Promise<Peer> {
  const peer = await client(place, from === undefined ? {} : { from });
  owns.set(peer, from === undefined ? `127.0.0.1:${peer.socket.localPort}` : `${from}:`);
  return peer;
}

/** "127.0.0.1:40123"; of one at an address that was given "127.0.0.5:", for that is its own alone. */
export function ownOf(peer: Peer): string {
  return owns.get(peer) ?? "nobody";
}

/** A client that a proxy sends on: the header and its first words in one segment. */
export async function through(
  place: Place,
  header: string | Uint8Array,
  words: string | Uint8Array = "",
  from?: string,
): Promise<Peer> {
  const peer = await comer(place, from);
  peer.send(Buffer.concat([bytesOf(header), bytesOf(words)]));
  return peer;
}

/** Sends them in a segment each, as far as the other side reads meanwhile. */
export async function drip(peer: Peer, bytes: Uint8Array, pauseMs = 0): Promise<void> {
  peer.socket.setNoDelay(true);
  for (let at = 0; at < bytes.length && !peer.over; at += 1) {
    peer.send(bytes.subarray(at, at + 1));
    await (pauseMs > 0 ? Bun.sleep(pauseMs) : new Promise(setImmediate));
  }
}

export async function untilOver(peer: Peer, what = "the end"): Promise<void> {
  await until(() => peer.over, what);
}

/** By the client's own end of its connection, for a header may tell of another client. */
export function endedOf(balancer: Balancing, peer: Peer): Promise<Ended> {
  const own = ownOf(peer);
  const isIts = (address: string) =>
    own.endsWith(":") ? address.startsWith(own) : address === own;
  return until(
    () => balancer.ended.find(({ client: told, preface }) => isIts(preface?.via || told)),
    `the line of ${own}`,
  );
}

export interface Told {
  readonly header: ProxyHeader;
  /** As it came. */
  readonly raw: Buffer;
  /** What came behind. */
  readonly rest: Buffer;
}

/** What a destination was told before its first byte; null: that is not all there. @throws when it is none */
export function toldTo(peer: Peer | undefined): Told | null {
  if (peer === undefined) return null;
  const { received } = peer;
  const reading = readProxyHeader(received, { v1: true, v2: true });
  if (reading.kind === "more") return null;
  if (reading.kind === "bad") throw new Error(`${reading.fault}: ${received.toString("hex")}`);
  const { header, size } = reading;
  return { header, raw: received.subarray(0, size), rest: received.subarray(size) };
}

/** The same, once all of it is there and these words behind it. */
export function told(server: Server, index: number, words = ""): Promise<Told> {
  return until(
    () => {
      const found = toldTo(server.peers[index]);
      return found !== null && found.rest.toString() === words ? found : null;
    },
    `header ${index} and ${JSON.stringify(words)} behind it`,
  );
}
