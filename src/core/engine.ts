// The contract between the core and an engine: the core decides, an engine moves bytes. Nothing here knows Bun or libc.

declare const opaque: unique symbol;
/** An open socket, as its engine holds it. */
export interface Socket {
  readonly [opaque]: "socket";
}
/** An address ready to be dialed, as its engine holds it. */
export interface DialAddress {
  readonly [opaque]: "address";
}

/** One side's certificates and rules for TLS, as its engine holds them. */
export interface TlsSide {
  readonly [opaque]: "tls";
}

/**
 * One socket's side of the core; the engine sets `socket` when there is one and calls the rest.
 * After `onEnd` no chunk comes; after `onClose` nothing comes.
 */
export interface SocketEvents {
  socket: Socket | null;
  /** Nobody wants this socket any more: an engine that could not abort its dial ends it when it opens. */
  closed: boolean;
  /** `onConnected` has been told. */
  readonly connected: boolean;
  /** A dialed socket can be written to. */
  onConnected(): void;
  /** The dial failed; `code` is the system's name of the cause. `onClose` does not follow. */
  onDialFailed(code: string): void;
  /** Bytes, lent for the time of the call; `Engine.keep` makes them ours. May come while paused, when a reset does. */
  onChunk(chunk: Uint8Array): void;
  /** So many bytes have gone from this socket to the one it is linked with, and did not pass through the core. */
  onMoved(size: number): void;
  /** Perhaps there is room to write; comes more often than that is so. */
  onWritable(): void;
  /** The peer has sent its last byte (FIN). We may still write. */
  onEnd(): void;
  /** The socket is gone. `code` is null when its peer ended in order, else the system's name of the cause. */
  onClose(code: string | null): void;
}

/** What a TLS handshake has shown. */
export interface Secured {
  /** "TLSv1.2" or "TLSv1.3". */
  readonly version: string;
  /** OpenSSL's name of the cipher suite. */
  readonly cipher: string;
  /** The protocol that was agreed upon; "" when none was. Source: RFC 7301. */
  readonly alpn: string;
  /** Common name of the peer's certificate, as its authority wrote it; "" without one, or where nobody asked for it. */
  readonly peerName: string;
  /** The peer's certificate has been checked, and its name where one was wanted. */
  readonly verified: boolean;
  /** By a session of before, whose certificates still count. */
  readonly resumed: boolean;
}

/** The events of a socket on which TLS begins. */
export interface SecureEvents extends SocketEvents {
  /** The handshake is over, and `socket` can be written to; may adopt it for other events. No chunk came before. */
  onSecured(secured: Secured): void;
  /**
   * The handshake has failed: a name of the system's, OpenSSL's or of a certificate's flaw. The socket is gone and
   * `onClose` does not follow. May be told inside `Engine.secure`.
   */
  onInsecure(cause: string): void;
}

/** How a handshake is to be made. */
export interface Securing {
  /** We are the server of this handshake. */
  readonly isServer: boolean;
  /** Bytes that were read from the socket already. A client must have none: what a server says before is not TLS. */
  readonly initial: Uint8Array | null;
  /** Protocols, the preferred first: what a client offers, or a server takes of that; none: nothing is agreed upon. */
  readonly alpn: readonly string[];
  /** For a client: the name asked for (SNI) and to be found in the certificate, or an IP literal; "" = neither. */
  readonly name: string;
}

export interface Acceptor {
  /** A client was accepted. @returns its events, or null when it was refused and its socket ended. */
  onAccept(socket: Socket, listener: number): SocketEvents | null;
  /** An exception in one of our own handlers. */
  onFault(error: unknown, events: SocketEvents | null): void;
}

/** A listener that an engine has opened. */
export interface Listening {
  /** As bound: `127.0.0.1:8080`, `[::]:8080`, `unix:/path`. */
  readonly address: string;
  /** 0 for unix. */
  readonly port: number;
  stop(): void;
}

/** A dial that is over when it has begun, as towards this host. */
export const connectedAlready = "connected already";

export interface Engine {
  /**
   * Starts a dial. Success and failure are told to `events`; what shows at once is returned instead.
   * @returns null when the dial is under way, `connectedAlready`, or the system's name of the cause of its failure.
   */
  dial(address: DialAddress, events: SocketEvents): string | null;
  /** Ends a dial or a socket at once; the peer sees a reset. `events.closed` is set before. */
  abort(events: SocketEvents): void;
  /** @returns how many bytes from `from` on were taken, or −1: the peer has reset the connection. */
  write(socket: Socket, chunk: Uint8Array, from: number): number;
  /** A chunk from `from` on, ours to keep. */
  keep(chunk: Uint8Array, from: number): Uint8Array;
  /** What was kept is not needed any more; to say so is a favour, not a duty. */
  giveBack?(kept: Uint8Array): void;
  /** No chunks and no end until `resume`; a reset is told all the same. */
  pause(socket: Socket): void;
  resume(socket: Socket): void;
  /** Ends our direction (FIN) after what was written. */
  shutdown(socket: Socket): void;
  /** Closes a socket whose both directions have ended, or that nobody wants to read; what was written is delivered. */
  close(socket: Socket): void;
  /** From now on `events` are told of this socket. */
  adopt(socket: Socket, events: SocketEvents): void;
  /** Its peer has neither ended nor reset, as far as can be asked; nothing must have been sent to it. */
  isOpen(socket: Socket): boolean;
  /**
   * What comes from each goes to the other, so the engine may move it itself, as long as it keeps the order and tells
   * `onMoved`; ends, resets and what a target does not take are told as ever.
   */
  link?(a: Socket, b: Socket): void;
  /**
   * Begins TLS on a plain socket. From inside this call on `events.socket` is the TLS one, and all calls here mean the
   * same for it: a shutdown is a close_notify and a FIN, an end in order is either of these from the peer.
   * @param side made by the engine that has the socket, for the same end of the connection.
   */
  secure?(events: SecureEvents, side: TlsSide, how: Securing): void;
  /** Bytes from this socket that the engine holds, on their way to the linked one. */
  heldSize?(socket: Socket): number;
  /** The same as `remote`, of our own end. */
  local(socket: Socket): string;
  /** `host:port` of the peer, IPv4 in its own form, `unix:` for a unix socket; "" when it has gone. */
  remote(socket: Socket): string;
}
