// What was wrong with how a client began, as `fault` of its access line says it: of a PROXY header (`proxy-header`), of
// a ClientHello, or, in OpenSSL's words, of a handshake (`tls-handshake`).

import type { HelloFault } from "../wire/client-hello.ts";
import type { ProxyFault } from "../wire/proxy-protocol.ts";
import type { Words } from "./fault-words.ts";

const compare = "See both sides: openssl s_client -connect HOST:PORT -servername NAME.";

const brokenHello: Words = {
  meaning: "The client begins like TLS, and its ClientHello breaks the rules of it.",
  advice: "A scanner, or a broken client: its address stands in the same line.",
};

const brokenHeader: Words = {
  meaning: "The PROXY header begins right and is broken further on.",
  advice:
    "Look at what the proxy before us sends; HAProxy's send-proxy and send-proxy-v2 are right.",
};

const noCipher: Words = {
  meaning: "The client and the certificate have no cipher or curve in common.",
  advice: `Very old clients need an RSA certificate and TLS 1.2. ${compare}`,
};

const own = {
  plain: {
    meaning: "The client does not speak TLS, as with http:// to a port for https://.",
    advice: "Is the address right? A destination with ,plain serves clients that speak no TLS.",
  },
  "not-proxy": {
    meaning: "There is no PROXY header of a version that --proxy-in accepts.",
    advice:
      "Let the proxy send one (send-proxy-v2 of HAProxy, proxy_protocol on of nginx), or take its address out of --proxy-from.",
  },
  length: {
    meaning: "A length does not fit what it is in: of a PROXY header v2, or of a ClientHello.",
    advice: "A scanner, or a broken peer: its address stands in the same line.",
  },
  "record-version": brokenHello,
  "record-size": brokenHello,
  "record-type": brokenHello,
  "message-type": brokenHello,
  "hello-size": brokenHello,
  "session-id": brokenHello,
  version: brokenHeader,
  command: brokenHeader,
  family: brokenHeader,
  address: brokenHeader,
  port: brokenHeader,
  line: brokenHeader,
  tlv: brokenHeader,
  checksum: brokenHeader,
  "too-long": brokenHeader,
} as const satisfies Record<HelloFault | ProxyFault | "plain", Words>;

/** The commonest; whatever else OpenSSL says is told by its name, too. */
export const clientFaultWords: Readonly<Record<string, Words>> = {
  ...own,
  PEER_DID_NOT_RETURN_A_CERTIFICATE: {
    meaning: "The client showed no certificate, and --tls-client-ca asks for one.",
    advice: "Give it one by that authority, or say --tls-client optional.",
  },
  NO_APPLICATION_PROTOCOL: {
    meaning: "The client offers none of the protocols of --tls-alpn.",
    advice: "Add what alpn in the same line says, if the destinations speak it.",
  },
  BAD_PACKET_LENGTH: {
    meaning:
      "The client gave up before its keys were set: mostly it does not trust our certificate.",
    advice:
      "Is the chain in the file whole, and does the client know its authority (curl --cacert)?",
  },
  NO_SHARED_CIPHER: noCipher,
  WRONG_CURVE: noCipher,
};

const theirCertificate =
  "As fault of an access line: the certificate of the client, which is verified by --tls-client-ca.";
const theirVersion = "As fault of an access line: of the client; --tls-min is the oldest accepted.";
const theirRefusal =
  "As fault of an access line: the client refuses the certificate of --tls-cert, mostly for want of its chain or its authority.";

/** Names that are said of destinations as well, and what they mean of a client. */
export const alsoOfClients: Readonly<Record<string, string>> = {
  ECONNRESET:
    "As fault of an access line: the client gave up during the handshake, as some do when they do not trust the certificate.",
  CERT_HAS_EXPIRED: theirCertificate,
  CERT_NOT_YET_VALID: theirCertificate,
  DEPTH_ZERO_SELF_SIGNED_CERT: theirCertificate,
  SELF_SIGNED_CERT_IN_CHAIN: theirCertificate,
  UNABLE_TO_GET_ISSUER_CERT: theirCertificate,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: theirCertificate,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: theirCertificate,
  INVALID_PURPOSE: theirCertificate,
  UNSUPPORTED_PROTOCOL: theirVersion,
  TLSV1_ALERT_PROTOCOL_VERSION: theirVersion,
  TLSV1_ALERT_UNKNOWN_CA: theirRefusal,
  SSLV3_ALERT_BAD_CERTIFICATE: theirRefusal,
  SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: theirRefusal,
  SSLV3_ALERT_CERTIFICATE_EXPIRED: theirRefusal,
  SSLV3_ALERT_CERTIFICATE_UNKNOWN: theirRefusal,
};
