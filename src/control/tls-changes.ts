// What is different between the TLS files that are in use and those that were read anew, in words.

import type { Change } from "./changes.ts";
import type { Options } from "./options.ts";
import type { DestinationTls, TlsIdentity, TlsMaterial } from "./tls-files.ts";
import { filesKeyOf } from "./tls-need.ts";
import { dayOf } from "./value.ts";

/** Options, and what their TLS files hold. */
interface Holding {
  readonly options: Pick<Options, "tlsClientCa" | "destinations">;
  readonly tls: TlsMaterial;
}

/** Of files that both name: what comes and goes by its name is told as a change of that option. */
export function tlsChangesOf(before: Holding, after: Holding): readonly Change[] {
  const changes: Change[] = [];
  const add = (what: string, from: string, to: string): void => {
    if (from !== to) changes.push({ what, from, to, pairs: 0, kept: false });
  };
  const identities = new Map(before.tls.identities.map((each) => [each.file, each]));
  for (const each of after.tls.identities) {
    const old = identities.get(each.file);
    if (old === undefined || (old.cert === each.cert && old.key === each.key)) continue;
    add(`tls-cert ${each.file}`, untilText(old), untilText(each));
  }
  if (before.options.tlsClientCa === after.options.tlsClientCa) {
    const texts = [before.tls.clientCa, after.tls.clientCa].map(markOf);
    add(`tls-client-ca ${after.options.tlsClientCa}`, texts[0] ?? "", texts[1] ?? "");
  }
  const files = new Map<string, DestinationTls>();
  const named = ({ options, tls }: Holding) =>
    options.destinations.flatMap((each, row) => {
      const own = tls.destinations[row] ?? null;
      if (own === null) return [];
      return [[each.name, `${each.name}\0${filesKeyOf(each)}`, own] as const];
    });
  for (const [, key, own] of named(before)) files.set(key, own);
  for (const [name, key, own] of named(after)) {
    const old = files.get(key) ?? own;
    // Marks take a while where hundreds share large authorities: only of those that differ.
    if (old.ca === own.ca && old.cert === own.cert && old.key === own.key) continue;
    const [from, to] = [old, own].map((each) => markOf(each.ca + each.cert + each.key));
    add(`destination ${name}: TLS files`, from ?? "", to ?? "");
  }
  return changes;
}

/** `a.example until 2027-02-01 (3f9c2a10)`. */
function untilText({ names, notAfterMs, cert, key }: TlsIdentity): string {
  return `${names[0] ?? "no name"} until ${dayOf(notAfterMs)} (${markOf(cert + key)})`;
}

/** Tells one content from another, and nothing of it. */
function markOf(text: string): string {
  return text === "" ? "" : new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 8);
}
