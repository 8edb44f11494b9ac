// For tests of the start of connections: rules, headers and hellos, and planes that read them.
import { readNetworks } from "../../src/control/network.ts";
import { AccessRules } from "../../src/core/access.ts";
import type { Limits } from "../../src/core/limits.ts";
import type { PrefaceRules } from "../../src/core/preface.ts";
import { Routes, type Route } from "../../src/core/routes.ts";
import { writeLocalHeader, writeProxyHeader } from "../../src/wire/proxy-write.ts";
import { alpn, hello, sni } from "../wire/hellos.ts";
import { FakePlane, fakeSide, type FakeMore, type FakePlan, type FakeSocket } from "./fake.ts";

/** A proxy before us, a client behind it, and where that client wanted to go. */
export const proxyAddress = "10.0.0.1:1000";
export const clientAddress = "192.0.2.7:2000";
export const wantedAddress = "198.51.100.1:443";

export const prefaceMs = 1_000;

export function accessOf({ allow = "", deny = "" }): AccessRules {
  const networks = (text: string) => (text === "" ? [] : (readNetworks(text).value ?? []));
  return new AccessRules(networks(allow), networks(deny));
}

/** Both versions, from 10.0.0.0/8; others are served by their own address. */
export const proxyIn: NonNullable<PrefaceRules["proxy"]> = {
  versions: { v1: true, v2: true },
  from: accessOf({ allow: "10.0.0.0/8" }),
  othersRefused: false,
};

/** A certificate by the name of each host, and `first` where none is asked for. */
export const tlsIn: NonNullable<PrefaceRules["tls"]> = {
  sideOf: (name) => fakeSide(name === "" ? "first" : name),
  alpn: ["h2", "http/1.1"],
};

/** `a.example` goes to lane 1, `b.example` to lane 2. */
export const routesList: readonly Route[] = [
  { sni: ["a.example"], alpn: [], plain: false, lane: 1 },
  { sni: ["b.example"], alpn: [], plain: false, lane: 2 },
];
export const routes = new Routes(routesList, 0);

/** A plane that reads these parts of a start; a destination in each of three lanes if not given. */
export function reading(
  parts: Partial<PrefaceRules>,
  limits: Partial<Limits> = {},
  plans: readonly FakePlan[] = [{ lane: 0 }, { lane: 1 }, { lane: 2 }],
  more: FakeMore = {},
): FakePlane {
  const preface = { proxy: null, tls: null, routes: null, ...parts };
  return new FakePlane(plans, { prefaceMs, ...limits }, "pull", { ...more, preface });
}

export function headerOf(version: 1 | 2, source = clientAddress): Uint8Array {
  return writeProxyHeader(version, {
    source,
    destination: wantedAddress,
    tlvs: [],
    checksum: true,
  });
}

export const localHeader = writeLocalHeader;

export function helloOf(name: string, ...protocols: readonly string[]): Uint8Array {
  return hello([sni(name), ...(protocols.length > 0 ? [alpn(...protocols)] : [])]);
}

/** What has come to a peer, as bytes. */
export function bytesTo(socket: FakeSocket): Buffer {
  return Buffer.concat(socket.writes);
}

/** The one pair that is open. */
export function onlyPair(it: FakePlane) {
  const [pair, ...others] = it.plane.pairs;
  if (pair === undefined || others.length > 0) throw new Error("not one pair");
  return pair;
}

/** Serves who has arrived, as the end of this turn would, and connects what is dialed. @returns the last dial. */
export function serve(it: FakePlane): FakeSocket {
  it.plane.pull();
  for (const server of it.engine.dials) {
    if (!server.gone && server.events?.connected === false) server.connect();
  }
  return it.dial(it.engine.dials.length - 1);
}
