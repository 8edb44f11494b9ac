// What a program is told of its balancer: one record per connection, one event per change.
import type { CloseReason } from "../core/reason.ts";
import type { AccessRecord } from "./access-log.ts";

/** A change that a data-plane thread sees; told to programs as it is. */
export type ChangeEvent =
  | {
      readonly kind: "destination-out";
      readonly name: string;
      readonly cause: string;
      readonly retryMs: number;
    }
  | { readonly kind: "destination-back"; readonly name: string }
  /** Clients that were turned away and have no access record. */
  | { readonly kind: "unlogged"; readonly reason: CloseReason; readonly count: number }
  | { readonly kind: "queue-full" }
  | { readonly kind: "queue-clear" }
  | { readonly kind: "local-fault"; readonly cause: string };

export type BalancerEvent =
  | ChangeEvent
  /** Its health checks have failed. */
  | { readonly kind: "destination-down"; readonly name: string; readonly cause: string }
  | { readonly kind: "listening"; readonly address: string }
  | { readonly kind: "draining"; readonly pairs: number; readonly waiting: number }
  /** A successor accepts; what is open or waits here goes on. */
  | { readonly kind: "handed-over" | "retired"; readonly pairs: number; readonly waiting: number }
  | { readonly kind: "drained"; readonly cut: number }
  | { readonly kind: "warning"; readonly message: string };

export interface Hooks {
  /** One record per connection, when it has ended. Called in its handler: store it, do the work later. What a hook
   * throws is told once as a `warning` event and costs no connection. */
  readonly access?: (record: AccessRecord) => void;
  readonly event?: (event: BalancerEvent) => void;
}

/** A hook that throws must not reach the core, whose handlers would be left half done. */
export function guarded(hooks: Hooks): Hooks {
  let told = false;
  const guard = <T>(name: string, hook: ((value: T) => void) | undefined) => {
    return (value: T): void => {
      try {
        hook?.(value);
      } catch (error) {
        if (told) return;
        told = true;
        const message = `the ${name} hook has thrown: ${String(error)}`;
        event({ kind: "warning", message });
      }
    };
  };
  const event = guard("event", hooks.event);
  return hooks.access === undefined ? { event } : { event, access: guard("access", hooks.access) };
}
