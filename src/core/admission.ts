// Who is let in: rules by network, connections and their rate by client. Asked once per accepted connection, and only
// where there is a rule or a limit.
import type { AccessRules } from "./access.ts";
import { readClient } from "./client.ts";
import { refusedByCount, refusedByRate, type ClientTable } from "./clients.ts";
import type { CloseReason } from "./reason.ts";

/** What of a client is remembered while it is connected. */
export interface Admitted {
  /** Its address as `Engine.remote` gives it. */
  readonly client: string;
  /** −1 = it is not counted. */
  clientEntry: number;
  /** Who has let it in and counts it out; null = nobody counts it. */
  admission: Admission | null;
}

export class Admission {
  private readonly rules: AccessRules | null;
  private readonly clients: ClientTable | null;
  private readonly words = new Int32Array(4);

  constructor(rules: AccessRules | null, clients: ClientTable | null) {
    this.rules = rules;
    this.clients = clients;
  }

  /** A rule forbids it. Who has no IP address, as by a unix socket, is let in: its file has permissions of its own. */
  isDenied({ client }: Admitted): boolean {
    if (this.rules === null) return false;
    const family = readClient(client, this.words);
    return family !== 0 && !this.rules.allows(family, this.words);
  }

  /** Counts a client in. @returns why it is refused, or null: then `leave` counts it out. */
  enter(admitted: Admitted, nowMs: number): CloseReason | null {
    if (this.clients === null) return null;
    const family = readClient(admitted.client, this.words);
    if (family === 0) return null;
    const entry = this.clients.enter(family, this.words, nowMs);
    if (entry === refusedByCount) return "client-limit";
    if (entry === refusedByRate) return "client-rate";
    admitted.clientEntry = entry;
    admitted.admission = this;
    return null;
  }

  leave(admitted: Admitted): void {
    if (admitted.clientEntry < 0) return;
    this.clients?.leave(admitted.clientEntry);
    admitted.clientEntry = -1;
    admitted.admission = null;
  }
}
