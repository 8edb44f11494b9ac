// Every limit the core obeys, with its unit in its name; the defaults live in control/options.ts.

export interface MaxAge {
  /** 0 = no limit. */
  readonly ms: number;
  /** Part of it that is left to chance, more or less: 0.1 = ±10 %. */
  readonly jitter: number;
}

export interface Limits {
  /** Open client connections at once, waiting ones included; one more is refused at once. */
  readonly connectionCountMax: number;
  /** How a refused client is closed. */
  readonly refuseBy: "reset" | "fin";
  /** Access records of refused clients a second and thread; the rest is counted. 0 = all. */
  readonly refusalRecordsMax: number;
  /** Clients that may wait for a slot (IAWLB §37: the original's list had no end). */
  readonly queueCountMax: number;
  /** Longest wait for a slot; 0 = for ever. */
  readonly queueMs: number;
  /** From accept to the end of a PROXY header, a ClientHello and a handshake together, where they are read. */
  readonly prefaceMs: number;
  /** Handshakes in progress at once; more wait. */
  readonly handshakeCountMax: number;
  /** Deadline of one connect attempt. */
  readonly connectMs: number;
  /** A joined pair that moves no byte for this long is reset; 0 = never. */
  readonly idleMs: number;
  /** The same once one side has ended; 0 = `idleMs` holds. */
  readonly halfCloseMs: number;
  /** From the client's first byte to the destination's first (IAWLB §17, 31 s there); 0 = off. */
  readonly answerMs: number;
  /** Age at which a joined pair is closed at its next quiet moment; 0 = never. */
  readonly maxAge: MaxAge;
  /** Time over which the slots or the share of a destination that is back grow; 0 = it has them at once. */
  readonly slowStartMs: number;
  /** Rest of a slot after each connection (IAWLB §13); 0 = none. */
  readonly cooldownMs: number;
  /** Arrivals that make a flush; 0 = as many as destinations that can take one (IAWLB §38). */
  readonly flushCount: number;
  /** Longest an arrival stays in the batch; 0 = to the end of this turn of the event loop (IAWLB §38). */
  readonly flushMs: number;
  /** What a client's FIN means while it waits: a legal half-close, or that it has left. */
  readonly queueFin: "keep" | "leave";
}
