// Certificates and rules of one side of TLS, checked and made ready once for all its connections.
import { createSecureContext, getCACertificates, type SecureContextOptions } from "node:tls";
import type { TlsSide } from "../core/engine.ts";

/** What clients are answered with. Texts are PEM. */
export interface TlsServerParts {
  /** The certificate, then those between it and its authority. */
  readonly cert: string;
  readonly key: string;
  /** Authorities of clients' certificates; "" = clients are asked for none. */
  readonly clientCa: string;
  /** A client without a certificate is refused. One with a bad certificate always is. */
  readonly clientRequired: boolean;
  readonly versionMin: "TLSv1.2" | "TLSv1.3";
}

/** How a destination is met. Texts are PEM. */
export interface TlsClientParts {
  /** Authorities that are trusted; "" = the system's. */
  readonly ca: string;
  /** Our own certificate and its key, for destinations that ask; "" = none. */
  readonly cert: string;
  readonly key: string;
  /** A destination whose certificate or name is not as wanted is refused. */
  readonly verify: boolean;
}

/** A side as this engine holds it. */
export interface HeldSide {
  readonly isServer: boolean;
  /** Bun's, with the keys of its session tickets: no session passes from one side to another. */
  readonly context: object;
  readonly asksForCert: boolean;
  /** The peer must have a certificate. */
  readonly requiresCert: boolean;
  /** The peer's certificate must be good, if it has one. */
  readonly verifies: boolean;
}

/** Those with forward secrecy and an authenticated cipher; of TLS 1.3 there are no others. Source: RFC 9325 §4.2. */
const ciphers = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

// A side is opaque to the core; these two casts are its only doors.
const opaque = (side: HeldSide) => side as unknown as TlsSide;
export const sideOf = (side: TlsSide) => side as unknown as HeldSide;

/** @throws what OpenSSL says of a certificate, key or authority that it cannot use, or of two that are no pair */
export function tlsServer(parts: TlsServerParts): TlsSide {
  const { cert, key, clientCa, clientRequired, versionMin } = parts;
  if (cert === "" || key === "") throw new RangeError("a certificate and its key are needed");
  const asksForCert = clientCa !== "";
  return opaque({
    isServer: true,
    context: contextOf({ cert, key, minVersion: versionMin, ...(asksForCert && { ca: clientCa }) }),
    asksForCert,
    requiresCert: asksForCert && clientRequired,
    verifies: asksForCert,
  });
}

/** @throws as `tlsServer` does */
export function tlsClient(parts: TlsClientParts): TlsSide {
  const { ca, cert, key, verify } = parts;
  if ((cert === "") !== (key === "")) throw new RangeError("a certificate needs its key");
  const own = cert === "" ? {} : { cert, key };
  return opaque({
    isServer: false,
    context: contextOf({ ...own, ...trustOf(ca), minVersion: "TLSv1.2" }),
    asksForCert: true,
    requiresCert: verify,
    verifies: verify,
  });
}

function contextOf(options: SecureContextOptions): object {
  return createSecureContext({ ...options, ciphers }).context as object; // `any` in Node's types
}

/** Where the system has no authorities, those that Bun brings along. */
function trustOf(ca: string): SecureContextOptions {
  if (ca !== "") return { ca };
  const system = getCACertificates("system");
  return system.length === 0 ? {} : { ca: system };
}
