// What the system's and OpenSSL's names of a failed connect mean, and what to do about each.

export interface Words {
  readonly meaning: string;
  readonly advice: string;
}

const ourFault = "No destination is to blame: clients wait, and dials begin again after a moment.";

const untrusted: Words = {
  meaning: "The destination's certificate is signed by nobody that is trusted here.",
  advice: "Give the file of its authority by ,tls-ca=FILE; it may be the certificate itself.",
};

const notSpoken: Words = {
  meaning: "The destination does not speak TLS, or a version or protocol that it knows is missing.",
  advice: "Look at what it says: openssl s_client -connect ADDRESS. Without TLS leave ,tls away.",
};

const tooOld: Words = {
  meaning: "The destination speaks no version of TLS from 1.2 on.",
  advice: "Let it speak TLS 1.2 or 1.3: older ones are broken.",
};

const ourCertificate: Words = {
  meaning: "The destination refuses the certificate that it was shown.",
  advice: "Give one by an authority that it trusts by ,tls-cert=FILE and ,tls-key=FILE.",
};

/** What the system says of a connect: `lastFault` and `checkFault` in the status, causes in the log. */
export const faultWords: Readonly<Record<string, Words>> = {
  ECONNREFUSED: {
    meaning: "Nobody listens at the destination's address and port, or a firewall refuses it.",
    advice: "Is the process running, on that port and that address (not on 127.0.0.1 alone)?",
  },
  ECONNRESET: {
    meaning: "The destination accepted the connection and reset it at once.",
    advice: "It is overloaded, about to end, or refuses our address: its own log says which.",
  },
  ETIMEDOUT: {
    meaning: "The connect was not answered within --connect-timeout.",
    advice: "The machine is off, a firewall drops packets, or its accept queue is full.",
  },
  EHOSTUNREACH: {
    meaning: "No way leads to that host: a router says so, or nobody on the network answers to it.",
    advice:
      "Is the machine up, and the address right? ip route get ADDRESS says which way it goes.",
  },
  EPROTO: notSpoken,
  WRONG_VERSION_NUMBER: notSpoken,
  CERT_HAS_EXPIRED: {
    meaning: "The destination's certificate has expired.",
    advice: "Renew it there.",
  },
  CERT_NOT_YET_VALID: {
    meaning: "The destination's certificate is not valid yet.",
    advice: "Is the clock right, here and where it was made?",
  },
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_GET_ISSUER_CERT: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  ERR_TLS_CERT_ALTNAME_INVALID: {
    meaning: "The destination's certificate is for another name than the one it was asked for by.",
    advice: "Give the name that it is for by ,tls-name=NAME.",
  },
  INVALID_PURPOSE: {
    meaning: "The destination's certificate is not one of a server.",
    advice: "Let it have one whose extended key usage names serverAuth.",
  },
  UNSUPPORTED_PROTOCOL: tooOld,
  TLSV1_ALERT_PROTOCOL_VERSION: tooOld,
  SSLV3_ALERT_HANDSHAKE_FAILURE: {
    meaning:
      "The destination shares no cipher with us, or asks for a certificate that we do not show.",
    advice: "Give one by ,tls-cert=FILE, or let it have ECDHE with AES-GCM or ChaCha20.",
  },
  TLSV1_ALERT_NO_APPLICATION_PROTOCOL: {
    meaning:
      "The destination does not speak the protocol that its client has agreed on here (ALPN).",
    advice: "Name in --tls-alpn only what every destination speaks.",
  },
  TLSV1_ALERT_UNRECOGNIZED_NAME: {
    meaning: "The destination has no certificate for the name that it was asked for by.",
    advice: "Give the name that it is for by ,tls-name=NAME.",
  },
  TLSV1_ALERT_UNKNOWN_CA: ourCertificate,
  SSLV3_ALERT_BAD_CERTIFICATE: ourCertificate,
  SSLV3_ALERT_UNSUPPORTED_CERTIFICATE: ourCertificate,
  SSLV3_ALERT_CERTIFICATE_EXPIRED: ourCertificate,
  SSLV3_ALERT_CERTIFICATE_UNKNOWN: ourCertificate,
  ENETUNREACH: {
    meaning: "This machine has no route to that network.",
    advice: "Often IPv6 on a machine that has none: use the IPv4 address, or set a route.",
  },
  EACCES: {
    meaning: "This user may not connect there: the permissions of a unix socket, or a local rule.",
    advice: "Let the balancer's user write to the socket and enter its directories.",
  },
  EPERM: {
    meaning: "A local firewall rule, or a sandbox, forbids the connect.",
    advice: "See the rules for outgoing connections, and RestrictAddressFamilies= of systemd.",
  },
  ENOENT: {
    meaning: "There is no unix socket at that path.",
    advice: "Is the process running, and is the path the same in its view of the file system?",
  },
  EINVAL: {
    meaning: "The system does not take that address.",
    advice: "See whether it is one that can be connected to; a link-local one needs its zone.",
  },
  EPIPE: {
    meaning: "The destination had gone when the first byte was written.",
    advice: "As with ECONNRESET: its own log says why it closes so early.",
  },
  EMFILE: {
    meaning: `The process has no descriptor left. ${ourFault}`,
    advice: "A higher descriptor limit (ulimit -n, LimitNOFILE=), or a lower --max-connections.",
  },
  ENFILE: {
    meaning: `The whole machine has no descriptor left. ${ourFault}`,
    advice: "Raise fs.file-max, or find who holds so many files.",
  },
  ENOBUFS: {
    meaning: `The kernel has no buffer for another socket. ${ourFault}`,
    advice: "Memory of the machine, and net.ipv4.tcp_mem.",
  },
  ENOMEM: {
    meaning: `The kernel has no memory for another socket. ${ourFault}`,
    advice: "Memory of the machine, the limit of its control group, and net.ipv4.tcp_mem.",
  },
  ENOSPC: {
    meaning: `The kernel watches as many descriptors as it may for this user. ${ourFault}`,
    advice: "Raise fs.epoll.max_user_watches.",
  },
  EADDRNOTAVAIL: {
    meaning:
      "There is no address or port left to connect from: towards one destination address there are about 28,000. The destination is not to blame.",
    advice:
      "Raise net.ipv4.ip_local_port_range, allow net.ipv4.tcp_tw_reuse=1, or give the destination more addresses.",
  },
  EADDRINUSE: {
    meaning: "The port to connect from was taken. The destination is not to blame.",
    advice: "As with EADDRNOTAVAIL: more local ports.",
  },
  EAGAIN: {
    meaning:
      "The accept queue of a unix socket is full. The destination is alive and asked again in 10 ms.",
    advice: "A longer backlog of the destination, more processes of it, or --slots.",
  },
  ENOTFOUND: {
    meaning: "The destination's name has no address, or this thread has not heard of it yet.",
    advice: "Does the name resolve here? It is looked up again every 30 s, without a restart.",
  },
  EUNKNOWN: {
    meaning: "The connect failed for a cause that has no name here.",
    advice: "The log line of the moment when it went out may say more.",
  },
};
