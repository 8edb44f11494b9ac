// The table of clients as the settings want it: one over all threads, the same in each.
import { ClientTable, type ClientLimits } from "../core/clients.ts";
import type { Settings } from "./settings.ts";

/** Clients that are remembered at least, so that a rate holds for those who come and go. */
const clientCountMin = 65_536;

/** Clients that a table has to know, so that one is always free to be forgotten. */
function clientCountOf({ connectionCountMax }: Settings): number {
  return Math.max(clientCountMin, 2 * connectionCountMax);
}

function limitsPerClient(settings: Settings): boolean {
  return settings.clientConnectionCountMax > 0 || settings.clientRate > 0;
}

export function clientLimitsOf(settings: Settings): ClientLimits {
  return {
    countMax: settings.clientConnectionCountMax,
    ratePerSecond: settings.clientRate,
    prefix6: settings.clientPrefix6,
  };
}

/** The table of one balancer, made anew only where another one is needed. */
export class ClientTables {
  /** null: there is no limit per client. */
  table: ClientTable | null = null;
  /** Tells one table from another. */
  number = 0;
  private readonly threadCount: number;
  private prefix6 = 0;

  constructor(settings: Settings, threadCount: number) {
    this.threadCount = threadCount;
    this.follow(settings);
  }

  /** Clients are counted on in the table that there is, as long as it has room and means the same by a client. */
  follow(settings: Settings): void {
    if (!limitsPerClient(settings)) {
      this.table = null;
      return;
    }
    const limits = clientLimitsOf(settings);
    const clientCountMax = clientCountOf(settings);
    const fits = this.table !== null && this.table.capacity >= clientCountMax;
    if (this.table !== null && fits && this.prefix6 === limits.prefix6) {
      return this.table.setLimits(limits);
    }
    const { threadCount } = this;
    this.table = new ClientTable({ clientCountMax, threadCount }, limits, threadCount);
    this.prefix6 = limits.prefix6;
    this.number += 1;
  }
}
