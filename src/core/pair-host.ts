// What a pair asks for and tells, the plane it lives in; and what the plane tells in turn.
import type { Engine } from "./engine.ts";
import type { Flow } from "./flow.ts";
import type { Limits } from "./limits.ts";
import type { Pair } from "./pair.ts";
import type { CloseReason } from "./reason.ts";

export interface PairHost {
  readonly engine: Engine;
  readonly limits: Limits;
  now(): number;
  /** A dial has succeeded. */
  onJoined(pair: Pair): void;
  /** The connection has held: its destination has spoken, ended in order, or not reset it for a while. */
  onHeld(pair: Pair): void;
  /** The destination has reset the connection at once, before a byte of its own. */
  onResetAtOnce(pair: Pair): void;
  /** A dial has failed: another address, another destination, or back to the queue. */
  onDialFailed(pair: Pair, code: string): void;
  /** The destination has sent its last byte: its slot is free, however long the client takes to read and close. */
  onDestinationOver(pair: Pair): void;
  onFirstBytes(pair: Pair, flow: Flow): void;
  onSettled(pair: Pair): void;
  /** Its time is over, and this is a quiet moment. @returns the reason to close it for now, or how many ms it waits. */
  onQuiet(pair: Pair, nowMs: number): CloseReason | number;
  /** Files the next look at a pair, unless an earlier one is filed. */
  watch(pair: Pair, atMs: number): void;
}

export interface PlaneEvents {
  /** A connection has ended; `pair` is not used afterwards. */
  onSettled: ((pair: Pair) => void) | null;
  /** The queue has become full, or has room again. */
  onQueueFull(full: boolean): void;
  /** Clients are refused for `limits.connectionCountMax`; told once per episode. */
  onConnectionLimit(): void;
  /** A fault of our own keeps clients waiting; told once per episode. */
  onLocalFault(code: string): void;
  /** An exception in a handler of ours. */
  onFault(error: unknown): void;
}
