// Whether TLS needs any file, and what of the files that were read still serves when options change. Whoever speaks no
// TLS loads no cryptography for it.

import type { DestinationOptions, Options } from "./options.ts";
import type * as Loading from "./tls-files.ts";
import type { DestinationTls, TlsMaterial } from "./tls-files.ts";

type Needs = Pick<Options, "tlsCert" | "tlsKey" | "tlsClientCa" | "destinations">;

/** Of who speaks none. */
export const noTls: TlsMaterial = { identities: [], clientCa: "", destinations: [] };
const noFiles = { tlsCert: [], tlsKey: [], tlsClientCa: "" } as const;

/** Whether TLS is spoken on either side. */
export function wantsTls({ tlsCert, tlsClientCa, destinations }: Omit<Needs, "tlsKey">): boolean {
  return tlsCert.length > 0 || tlsClientCa !== "" || destinations.some(({ tls }) => tls);
}

/** Every file that is named, each once. */
export function tlsFilesOf({ tlsCert, tlsKey, tlsClientCa, destinations }: Needs): string[] {
  const theirs = destinations.flatMap((each) => [each.tlsCa, each.tlsCert, each.tlsKey]);
  const all = new Set([...tlsCert, ...tlsKey, tlsClientCa, ...theirs]);
  all.delete("");
  return [...all];
}

/** Reads them. @param warn of what is allowed and hardly meant. @throws OptionsError with all that is wrong in them */
export async function readTls(
  wanted: Needs,
  warn: (message: string) => void,
): Promise<TlsMaterial> {
  const { notes, ...material } = await loadTls(wanted, wanted.destinations);
  for (const { message } of notes) warn(message);
  return material;
}

/**
 * What other options need. Files that were read for the ones before are not read again: one that is renewed just now
 * is a matter of a reload, and must not stand in the way of another change.
 * @throws OptionsError with all that is wrong in the others
 */
export async function followTls(
  before: Needs,
  material: TlsMaterial,
  wanted: Needs,
): Promise<TlsMaterial> {
  const isSame = listenerKeyOf(before) === listenerKeyOf(wanted);
  const known = new Map<string, DestinationTls | null>();
  before.destinations.forEach((each, row) => {
    if (each.tls) known.set(filesKeyOf(each), material.destinations[row] ?? null);
  });
  const others = wanted.destinations.filter((each) => each.tls && !known.has(filesKeyOf(each)));
  const read =
    isSame && others.length === 0 ? noTls : await loadTls(isSame ? noFiles : wanted, others);
  others.forEach((each, index) => {
    known.set(filesKeyOf(each), read.destinations[index] ?? null);
  });
  const { identities, clientCa } = isSame ? material : read;
  const destinations = wanted.destinations.map((each) =>
    each.tls ? (known.get(filesKeyOf(each)) ?? null) : null,
  );
  return { identities, clientCa, destinations };
}

async function loadTls(...of: Parameters<typeof Loading.loadTls>) {
  return (await import("./tls-files.ts")).loadTls(...of);
}

function listenerKeyOf({ tlsCert, tlsKey, tlsClientCa }: Omit<Needs, "destinations">): string {
  return JSON.stringify([tlsCert, tlsKey, tlsClientCa]);
}

/** Destinations that name the same files need the same. */
export function filesKeyOf({ tlsCa, tlsCert, tlsKey }: DestinationOptions): string {
  return JSON.stringify([tlsCa, tlsCert, tlsKey]);
}
