// What is set of how a connection begins, before its bytes: who is calling (PROXY protocol), TLS on either side, and
// by what names and protocols a destination is chosen.

import type { Network } from "../core/access.ts";

/** Of a listener. */
export interface PrefaceSettings {
  /** Versions of the PROXY protocol that clients may and must begin with; both false = off. */
  readonly proxyIn: { readonly v1: boolean; readonly v2: boolean };
  /** Who begins so. */
  readonly proxyFrom: readonly Network[];
  /** Everybody else: served by the own address, or turned away. */
  readonly proxyOthers: "pass" | "refuse";
  /** From accept to the chosen destination, whatever comes in between; above 0. */
  readonly prefaceMs: number;
  /** Files of certificates, each with its chain; none = TLS is not terminated. */
  readonly tlsCert: readonly string[];
  /** Files of their keys, in the same order; none = each stands in the file of its certificate. */
  readonly tlsKey: readonly string[];
  /** Protocols that are agreed on, the preferred first; none = ALPN is not answered. */
  readonly tlsAlpn: readonly string[];
  /** The oldest version that is spoken. */
  readonly tlsMin: "1.2" | "1.3";
  /** File of the authorities of client certificates; "" = clients are not asked for one. */
  readonly tlsClientCa: string;
  /** Whether a client without a certificate is served; counts only beside `tlsClientCa`. */
  readonly tlsClient: "required" | "optional";
  /** Handshakes in progress at once; more wait. */
  readonly handshakeCountMax: number;
}

/** Of a destination. */
export interface DestinationPreface {
  /** What it is told of the client, before anything else. */
  readonly proxy: "off" | "v1" | "v2";
  readonly tls: boolean;
  /** File of the authorities that it is trusted by; "" = the system's. */
  readonly tlsCa: string;
  /** Asked for, and verified; "" = the host of its address. */
  readonly tlsName: string;
  /** Files of our certificate towards it; "" = none. */
  readonly tlsCert: string;
  /** "" = the key stands in the file of the certificate. */
  readonly tlsKey: string;
  readonly tlsVerify: boolean;
  /** Names that lead to it, such as `a.example` and `*.b.example`; none = any. */
  readonly sni: readonly string[];
  /** Protocols that lead to it; none = any. */
  readonly alpn: readonly string[];
  /** It serves what is not TLS. */
  readonly plain: boolean;
}

/** Of one that says nothing. */
export const plainPreface: DestinationPreface = {
  proxy: "off",
  tls: false,
  tlsCa: "",
  tlsName: "",
  tlsCert: "",
  tlsKey: "",
  tlsVerify: true,
  sni: [],
  alpn: [],
  plain: false,
};
