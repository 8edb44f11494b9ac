// Listeners and destinations by the names that somebody who steers gives.
import { nearby } from "./control/mistake.ts";
import type { Options } from "./control/options.ts";
import { SteeringError, type DestinationRef } from "./control/steering.ts";

interface Named {
  readonly name: string;
  readonly options: Options;
}

/** @param name "" = the only one. @throws SteeringError */
export function listenerAt<T extends Named>(listeners: ReadonlyMap<string, T>, name: string): T {
  const known = [...listeners.keys()].join(", ");
  if (name === "") {
    const [only, ...others] = listeners.values();
    if (only !== undefined && others.length === 0) return only;
    throw new SteeringError("ambiguous", `there are several listeners; one of ${known} is needed`);
  }
  const listener = listeners.get(name);
  if (listener !== undefined) return listener;
  throw new SteeringError("unknown", `no listener ${name}; known are ${known}`);
}

/** @throws SteeringError */
export function destinationAt<T extends Named>(
  listeners: ReadonlyMap<string, T>,
  ref: DestinationRef,
): { readonly listener: T; readonly name: string } {
  const name = ref.destination;
  const where =
    ref.listener === "" ? [...listeners.values()] : [listenerAt(listeners, ref.listener)];
  const namesOf = (each: T) => each.options.destinations.map((one) => one.name);
  const [found, another] = where.filter((each) => namesOf(each).includes(name));
  if (found === undefined) {
    const known = nearby(name, [...new Set(where.flatMap(namesOf))]);
    throw new SteeringError("unknown", `no destination ${name}; ${known}`);
  }
  if (another === undefined) return { listener: found, name };
  const both = `${found.name} and ${another.name}`;
  throw new SteeringError("ambiguous", `${name} is a destination of ${both}; name the listener`);
}
