// The table of clients as the options want it: the same in every thread.
import { ClientTable } from "../core/clients.ts";
import type { Options } from "./options.ts";

/** Clients that are remembered at least, so that a rate holds for those who come and go. */
const clientCountMin = 65_536;

/** @returns null when there is no limit per client. */
export function newClientTable(options: Options): ClientTable | null {
  if (options.clientConnectionCountMax === 0 && options.clientRate === 0) return null;
  return clientTable(options, options.threadCount, options.threadCount);
}

/** @param buffer of the table to share; without it, a new one. */
export function clientTable(
  options: Options,
  threadCount: number,
  thread: number,
  buffer?: SharedArrayBuffer,
): ClientTable {
  const { connectionCountMax, clientConnectionCountMax, clientRate, clientPrefix6 } = options;
  const clientCountMax = Math.max(clientCountMin, 2 * connectionCountMax);
  const limits = {
    countMax: clientConnectionCountMax,
    ratePerSecond: clientRate,
    prefix6: clientPrefix6,
  };
  return new ClientTable({ clientCountMax, threadCount }, limits, thread, buffer);
}
