// What the admin side (API, dashboard, console, command line) sees of a running program and may change in it. The
// program implements it; the admin side knows nothing else of it.
import type { Status } from "../status.ts";

/** What a destination may be given. `drain`: no new connection; `maintenance`: no check either. */
export const modes = ["ready", "drain", "maintenance"] as const;
export type Mode = (typeof modes)[number];
/** Modes by the names of destinations; who is not named is ready. */
export type Modes = Readonly<Record<string, Mode>>;
/** `leaving`: it was removed, and its last pairs go on. */
export const knownModes = [...modes, "leaving"] as const;

/** One destination: its name, and its listener's where several have one of that name ("" = the only one). */
export interface DestinationRef {
  readonly listener: string;
  readonly destination: string;
}

export interface ListenerStatus extends Status {
  /** From the configuration; on the command line the first address. */
  readonly name: string;
}

export interface ReloadOutcome {
  /** ms since 1970. */
  readonly at: number;
  /** `signal`, `api`, `watch`. */
  readonly by: string;
  /** What has changed, a line each; empty when nothing has, or it failed. */
  readonly changes: readonly string[];
  /** What takes a new process: `iawlb upgrade`. */
  readonly kept: readonly string[];
  /** Why nothing was changed; "" = it was. */
  readonly fault: string;
}

export interface ProgramStatus {
  readonly version: string;
  readonly pid: number;
  /** ms since 1970. */
  readonly startedAt: number;
  readonly uptimeMs: number;
  readonly state: "running" | "draining";
  /** The file it runs by; "" = the command line alone. */
  readonly config: string;
  readonly reload: ReloadOutcome | null;
  readonly listeners: readonly ListenerStatus[];
}

/** A connection that is open now. */
export interface Connection {
  /** `LISTENER/NUMBER`: the `id` of its access line after the listener's name. */
  readonly id: string;
  readonly listener: string;
  readonly client: string;
  /** "" = it waits for one. */
  readonly destination: string;
  readonly state: "preface" | "waiting" | "dialing" | "joined";
  readonly ageMs: number;
  readonly idleMs: number;
  readonly bytesUp: number;
  readonly bytesDown: number;
}

export interface ConnectionQuery {
  /** "" = any. */
  readonly listener: string;
  readonly destination: string;
  /** Address without port, "" = any. */
  readonly client: string;
  readonly ageMsMin: number;
  /** So many of the oldest first, and where the next page begins: the `next` of the one before, "" = the first. */
  readonly countMax: number;
  readonly after: string;
}

export interface ConnectionPage {
  readonly connections: readonly Connection[];
  /** "" = there are no more. */
  readonly next: string;
}

/** Something that has happened, once per change and never per connection. */
export interface ProgramEvent {
  /** ms since 1970. */
  readonly at: number;
  /** Kind of `BalancerEvent`, `reload`, `mode`, `added`, `removed`, `set`. */
  readonly kind: string;
  /** "" = all. */
  readonly listener: string;
  readonly destination: string;
  /** One line in words, as the log has it. */
  readonly message: string;
}

/** What was asked for cannot be had; `message` says what is known instead. */
export class SteeringError extends Error {
  override readonly name = "SteeringError";
  readonly kind: "unknown" | "ambiguous" | "refused";

  constructor(kind: SteeringError["kind"], message: string) {
    super(message);
    this.kind = kind;
  }
}

/** @throws SteeringError by everything that names something; OptionsError by everything that brings a value. */
export interface Steering {
  status(): ProgramStatus;
  connections(query: ConnectionQuery): Promise<ConnectionPage>;
  /** Called for every event from now on. @returns what ends that. */
  subscribe(receive: (event: ProgramEvent) => void): () => void;
  setMode(at: DestinationRef, mode: Mode): void;
  /** What is not given stays. */
  set(
    at: DestinationRef,
    change: { readonly weight?: number; readonly slots?: number },
  ): Promise<void>;
  /** @param place as on the command line: `10.0.0.5:80,slots=4`. @returns its name. */
  add(listener: string, place: string): Promise<string>;
  /** Its pairs go on; it is gone when the last has ended. */
  remove(at: DestinationRef): Promise<void>;
  /** Resets one connection. @param reason of its access line. */
  kill(id: string): Promise<void>;
  /** Closes some of its pairs at quiet moments. @param perSecond at most. @returns how many it will close. */
  rebalance(at: DestinationRef, count: number, perSecond: number): Promise<number>;
  reload(by: string): Promise<ReloadOutcome>;
  /** What a reload would change. */
  plan(): Promise<ReloadOutcome>;
  /** Writes what was changed since the start into the file. @returns its path. @throws SteeringError without one. */
  persist(): Promise<string>;
  /** Accepts no more, lets pairs finish, ends the program. */
  drain(): void;
}
