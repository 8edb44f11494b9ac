// What `iawlb check` says of each certificate: for whom it is, who signed it, and how long it is good. Of keys, nothing.

import { X509Certificate } from "node:crypto";
import { issuerOf } from "./certificate.ts";
import type { TlsMaterial } from "./tls-files.ts";
import { dayOf, daysUntil } from "./value.ts";

export interface CertificateFacts {
  readonly file: string;
  readonly names: readonly string[];
  readonly issuer: string;
  /** `2027-02-01`. */
  readonly until: string;
  /** Whole days from now. */
  readonly days: number;
}

/** Of the certificates that clients are shown, in their order. */
export function certificatesIn({ identities }: TlsMaterial, nowMs: number): CertificateFacts[] {
  return identities.map(({ file, names, cert, notAfterMs }) => ({
    file,
    names,
    issuer: issuerOf(new X509Certificate(cert)),
    until: dayOf(notAfterMs),
    days: daysUntil(notAfterMs, nowMs),
  }));
}

/** A line each, names first. */
export function certificateLines(facts: readonly CertificateFacts[]): string[] {
  return facts.map(({ file, names, issuer, until, days }) => {
    const left = `${days} day${days === 1 ? "" : "s"}`;
    return `  ${file}  ${names.join(", ") || "no name"}, by ${issuer}, until ${until} (${left})`;
  });
}
