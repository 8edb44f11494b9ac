// What the admin side tells of every listener once a second: the dashboard and `iawlb top` are drawn from it.

/** In ms. */
export interface SampleTimes {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** Columns of the same length, a place for each destination. */
interface SampleDestinations {
  readonly name: readonly string[];
  readonly state: readonly string[];
  readonly mode: readonly string[];
  readonly used: readonly number[];
  /** 0 = no limit. */
  readonly slots: readonly number[];
  readonly connectionsPerSecond: readonly number[];
  readonly bytesPerSecond: readonly number[];
}

export interface SampleListener {
  readonly name: string;
  /** Waiting ones included. */
  readonly open: number;
  readonly waiting: number;
  readonly oldestMs: number;
  /** Per second, as the two below. */
  readonly accepted: number;
  readonly closed: number;
  readonly refused: number;
  readonly bytesUpPerSecond: number;
  readonly bytesDownPerSecond: number;
  /** Of what has happened since the sample before; null = nothing has. */
  readonly times: Readonly<
    Record<"queue" | "connect" | "firstByte" | "session", SampleTimes | null>
  >;
  readonly destinations: SampleDestinations;
}

export interface Sample {
  /** ms since 1970. */
  readonly at: number;
  readonly listeners: readonly SampleListener[];
}
