// What is known of a client besides its address and its bytes: who has sent it on, and what its TLS says. Only where a
// listener reads the start of its connections; else a pair has none.
import type { ProxyTlv } from "../wire/proxy-tlv.ts";
import type { Secured } from "./engine.ts";

export interface Facts {
  /** Peer of the connection when a PROXY header tells of another client; "" = the client itself. */
  via: string;
  /** Where the client wanted to go by that header; "" = our own end of the connection. */
  target: string;
  /** What that header said besides. */
  tlvs: readonly ProxyTlv[];
  /** Name that its ClientHello asks for; "" = none. */
  sni: string;
  /** Protocols that it offers (RFC 7301). */
  alpn: readonly string[];
  /** null = its TLS, if any, is not ended here. */
  tls: Secured | null;
  /** Why its start was refused; "" = it was not. */
  fault: string;
}

export function noFacts(): Facts {
  return { via: "", target: "", tlvs: [], sni: "", alpn: [], tls: null, fault: "" };
}
