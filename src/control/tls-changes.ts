// What is different between the TLS files that are in use and those that were read anew, in words.

import type { Change } from "./changes.ts";
import type { Options } from "./options.ts";
import type { TlsIdentity, TlsMaterial } from "./tls-files.ts";
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
  const files = new Map<string, string>();
  const named = ({ options, tls }: Holding) =>
    options.destinations.flatMap((each, row) => {
      const own = tls.destinations[row] ?? null;
      if (own === null) return [];
      return [[each.name, filesKeyOf(each), markOf(own.ca + own.cert + own.key)] as const];
    });
  for (const [name, key, mark] of named(before)) files.set(`${name}\0${key}`, mark);
  for (const [name, key, mark] of named(after)) {
    add(`destination ${name}: TLS files`, files.get(`${name}\0${key}`) ?? mark, mark);
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
