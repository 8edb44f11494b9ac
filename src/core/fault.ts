// Whose fault a failed dial is: the destination's, unless the system's own name of the cause says otherwise.

/** `system`: nothing can be dialed for a moment; `source`: no address or port of ours towards it; `busy`: it is alive. */
export type FaultKind = "system" | "source" | "busy" | "destination";

const kinds: ReadonlyMap<string, FaultKind> = new Map([
  ["EMFILE", "system"],
  ["ENFILE", "system"],
  ["ENOBUFS", "system"],
  ["ENOMEM", "system"],
  ["ENOSPC", "system"], // epoll watches as many as it may
  ["EADDRNOTAVAIL", "source"],
  ["EADDRINUSE", "source"],
  ["EAGAIN", "busy"], // the accept queue of a unix socket is full
  ["ENOTFOUND", "busy"], // its name has begun to resolve: other threads have the addresses, ours are on their way
]);

/** Source: R10 and the causes that connect(2) names. */
export function kindOfFault(code: string): FaultKind {
  return kinds.get(code) ?? "destination";
}

/** Names of causes that the board can hold; another one is kept as the last. */
export const faultCodes: readonly string[] = [
  "",
  "ECONNREFUSED",
  "ECONNRESET",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "EACCES",
  "EPERM",
  "ENOENT",
  "EINVAL",
  "EPIPE",
  ...kinds.keys(),
  // Of a TLS handshake, as OpenSSL names them.
  "EPROTO",
  "CERT_HAS_EXPIRED",
  "CERT_NOT_YET_VALID",
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "ERR_TLS_CERT_ALTNAME_INVALID",
  "INVALID_PURPOSE",
  "WRONG_VERSION_NUMBER",
  "UNSUPPORTED_PROTOCOL",
  "TLSV1_ALERT_PROTOCOL_VERSION",
  "SSLV3_ALERT_HANDSHAKE_FAILURE",
  "TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
  "TLSV1_ALERT_UNRECOGNIZED_NAME",
  "TLSV1_ALERT_UNKNOWN_CA",
  "SSLV3_ALERT_BAD_CERTIFICATE",
  "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
  "SSLV3_ALERT_CERTIFICATE_EXPIRED",
  "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
  "EUNKNOWN",
];

/** Where the board holds a cause: one of OpenSSL's many that has no name here is a broken protocol. */
export function placeOfFault(code: string): number {
  const known = faultCodes.indexOf(code);
  if (known >= 0) return known;
  return faultCodes.indexOf(/^E[A-Z0-9]+$/.test(code) ? "EUNKNOWN" : "EPROTO");
}
