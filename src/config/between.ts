// What must hold between listeners, and between the options of the whole program.

import { accessSync, constants } from "node:fs";
import { type Address, formatAddress, isLoop } from "../control/address.ts";
import { bad, type Fault, quote } from "../control/mistake.ts";
import { isLocal, type ProgramSettings } from "../control/program-rows.ts";
import type { NamedOptions } from "./assembly.ts";

/** What is wrong, and with which value: `listener[1].listen`. */
export interface PathFault {
  readonly path: string;
  readonly fault: Fault;
}

export function faultsOfProgram({ admin, adminTokenFile }: ProgramSettings): readonly PathFault[] {
  const open = admin === "auto" ? undefined : admin.find((address) => !isLocal(address));
  if (open !== undefined && adminTokenFile === "") {
    const problem = `${formatAddress(open)} can be reached from elsewhere`;
    const { fault } = bad("no-token", problem, "--admin-token-file is needed beside it");
    return [{ path: "admin", fault }];
  }
  if (adminTokenFile === "") return [];
  try {
    accessSync(adminTokenFile, constants.R_OK);
    return [];
  } catch {
    const problem = `${quote(adminTokenFile)} cannot be read`;
    return [{ path: "admin-token-file", fault: bad("unreadable", problem).fault }];
  }
}

export function faultsBetween(listeners: readonly NamedOptions[]): readonly PathFault[] {
  const faults: PathFault[] = [];
  const byName = new Map<string, number>();
  const byAddress = new Map<string, number>();
  listeners.forEach(({ name, options: { listen } }, index) => {
    const path = `listener[${index}]`;
    const address = formatAddress(listen);
    // Port 0 is another one for each.
    const sameAddress = address.endsWith(":0") ? undefined : byAddress.get(address);
    if (sameAddress !== undefined) {
      const problem = `${address} is the address of listener[${sameAddress}] too`;
      const { fault } = bad("duplicate-listener", problem, "each needs an address of its own");
      faults.push({ path: `${path}.listen`, fault });
      return;
    }
    byAddress.set(address, index);
    const sameName = byName.get(name);
    if (sameName !== undefined) {
      const problem = `the name ${quote(name)} is that of listener[${sameName}] too`;
      const { fault } = bad("duplicate-listener", problem, "another name is needed");
      faults.push({ path: `${path}.name`, fault });
    } else byName.set(name, index);
  });
  return [...faults, ...circles(listeners)];
}

/** A connection that goes from listener to listener and comes back would never end. */
export function circles(listeners: readonly NamedOptions[]): readonly PathFault[] {
  const byPort = new Map<string, number[]>();
  listeners.forEach(({ options: { listen } }, index) => {
    const port = portOf(listen);
    byPort.set(port, [...(byPort.get(port) ?? []), index]);
  });
  const next = listeners.map(({ options }) => {
    const indexes = options.destinations.flatMap(({ address }) =>
      (byPort.get(portOf(address)) ?? []).filter((index) => {
        const other = listeners[index];
        return other !== undefined && isLoop(other.options.listen, address);
      }),
    );
    return [...new Set(indexes)];
  });
  const faults: PathFault[] = [];
  const done = new Set<number>();
  const visit = (index: number, path: readonly number[]): void => {
    const at = path.indexOf(index);
    if (at >= 0) {
      const names = [...path.slice(at), index].map((each) => listeners[each]?.name ?? "");
      const { fault } = bad("loop", `goes round in a circle: ${names.join(" → ")}`);
      faults.push({ path: `listener[${index}].listen`, fault });
      return;
    }
    if (done.has(index)) return;
    for (const each of next[index] ?? []) visit(each, [...path, index]);
    done.add(index);
  };
  listeners.forEach((_, index) => visit(index, []));
  return faults;
}

function portOf(address: Address): string {
  return address.kind === "tcp" ? String(address.port) : formatAddress(address);
}
