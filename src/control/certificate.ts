// Certificates and keys in PEM, as they stand in files: read, checked, and told about without a byte of a key.
// Origin: RFC 7468 (PEM), RFC 5280 (certificates), RFC 6125 §6.4 (names in them).

import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { dayOf } from "./value.ts";

/** Certificates of one file: a bundle of authorities is the largest. */
const certificateCountMax = 1_024;
/** Today's clients refuse less. Source: RFC 9325 §4.5. */
const rsaBitsMin = 2_048;
/** Less than that before its end it is told: 14 days. */
export const soonMs = 14 * 86_400_000;

interface Problem {
  readonly problem: string;
  /** The next step. */
  readonly advice: string;
}

/** A thing, or what is wrong. */
export type Found<T> =
  | { readonly value: T; readonly problem: null }
  | { readonly value: null; readonly problem: Problem };

const found = <T>(value: T): Found<T> => ({ value, problem: null });
const lost = (problem: string, advice: string): Found<never> => ({
  value: null,
  problem: { problem, advice },
});

/** A private key, and the PEM text of it alone. */
export interface Key {
  readonly object: KeyObject;
  readonly pem: string;
}

interface Block {
  readonly label: string;
  readonly text: string;
}

const blockPattern = /-----BEGIN ([A-Z0-9 ]+)-----[^]*?-----END \1-----/g;
const certificateLabels: ReadonlySet<string> = new Set(["CERTIFICATE", "X509 CERTIFICATE"]);

function blocksOf(text: string): readonly Block[] {
  return [...text.matchAll(blockPattern)].map(([block, label = ""]) => ({ label, text: block }));
}

const isKey = ({ label }: Block): boolean => label.endsWith("PRIVATE KEY");

/** Whether the text has a private key in it. */
export function holdsKey(text: string): boolean {
  return blocksOf(text).some(isKey);
}

/** All certificates of a file, the first one first; and the text of them alone. */
export function readCertificates(
  text: string,
): Found<{ readonly all: readonly [X509Certificate, ...X509Certificate[]]; readonly pem: string }> {
  const blocks = blocksOf(text);
  if (blocks.length === 0) return notPem();
  const own = blocks.filter(({ label }) => certificateLabels.has(label));
  if (own.length === 0) {
    const advice = blocks.some(isKey)
      ? "it holds a key: the two files may be swapped"
      : "a block that begins with -----BEGIN CERTIFICATE----- is needed";
    return lost("there is no certificate in it", advice);
  }
  if (own.length > certificateCountMax) {
    return lost(
      `${own.length} certificates are too many`,
      `at most ${certificateCountMax} are read`,
    );
  }
  const all: X509Certificate[] = [];
  for (const { text: pem } of own) {
    try {
      all.push(new X509Certificate(pem));
    } catch {
      const which = own.length === 1 ? "the certificate" : `certificate ${all.length + 1}`;
      return lost(`${which} in it is damaged`, "copy the file again");
    }
  }
  const [first, ...rest] = all;
  if (first === undefined) return notPem();
  return found({ all: [first, ...rest], pem: joined(own) });
}

/** The first private key of a file. No fault tells what stands in it. */
export function readKey(text: string): Found<Key> {
  const blocks = blocksOf(text);
  if (blocks.length === 0) return notPem();
  const block = blocks.find(isKey);
  if (block === undefined) {
    const advice = blocks.some(({ label }) => certificateLabels.has(label))
      ? "it holds a certificate; name the file of its key"
      : "a block that begins with -----BEGIN PRIVATE KEY----- is needed";
    return lost("there is no private key in it", advice);
  }
  if (block.label === "ENCRYPTED PRIVATE KEY" || /^Proc-Type:.*ENCRYPTED/m.test(block.text)) {
    return lost("the key in it is encrypted", "openssl pkey -in FILE -out NEW writes it without");
  }
  try {
    const object = createPrivateKey(block.text);
    const bits = object.asymmetricKeyDetails?.modulusLength;
    if (bits === undefined || bits >= rsaBitsMin) return found({ object, pem: joined([block]) });
    return lost(`the RSA key in it has ${bits} bits`, `at least ${rsaBitsMin} are accepted`);
  } catch {
    const advice = "RSA, Ed25519, and EC on P-256, P-384 or P-521 are accepted";
    return lost("the key in it is damaged, or of a kind that is not spoken here", advice);
  }
}

function notPem(): Found<never> {
  return lost(
    "it is no PEM",
    "openssl x509 or pkey with -inform der -in FILE -out NEW converts it",
  );
}

function joined(blocks: readonly Block[]): string {
  return blocks.map(({ text }) => `${text}\n`).join("");
}

/** Whether it is the key of that certificate. */
export function isPair(certificate: X509Certificate, { object }: Key): boolean {
  try {
    return certificate.checkPrivateKey(object);
  } catch {
    return false; // of another kind
  }
}

/** From when on a certificate counts, and until when; in ms since 1970. */
export function periodOf({ validFrom, validTo }: X509Certificate): {
  readonly fromMs: number;
  readonly toMs: number;
} {
  return { fromMs: Date.parse(validFrom), toMs: Date.parse(validTo) };
}

/** What is wrong with the time of a certificate, null = nothing. */
export function periodProblem(certificate: X509Certificate, nowMs: number): Problem | null {
  const { fromMs, toMs } = periodOf(certificate);
  if (!(toMs >= nowMs)) {
    return { problem: `it expired on ${dayOf(toMs)}`, advice: "renew it" };
  }
  if (fromMs <= nowMs) return null;
  const problem = `it is not valid before ${dayOf(fromMs)}`;
  return { problem, advice: "is the clock of this machine right?" };
}

/** The DNS names in it, else its common name, in lower case; wildcards as they are written. */
export function namesOf(certificate: X509Certificate): readonly string[] {
  const alternatives = listed(certificate.subjectAltName ?? "")
    .filter((each) => each.startsWith("DNS:"))
    .map((each) => each.slice("DNS:".length).toLowerCase());
  if (alternatives.length > 0) return [...new Set(alternatives)];
  const name = fieldOf(certificate.subject, "CN").toLowerCase();
  return name === "" ? [] : [name];
}

/** Who signed it: the common name, else the organisation. */
export function issuerOf({ issuer }: X509Certificate): string {
  return fieldOf(issuer, "CN") || fieldOf(issuer, "O") || "nobody that it names";
}

/** Items between commas; one with a comma in it stands in quotes, as JSON. */
function listed(text: string): readonly string[] {
  return (text.match(/(?:"(?:[^"\\]|\\.)*"|[^,"])+/g) ?? []).map((item) => item.trim());
}

/** Of `CN=a.example\nO=An\, Inc`. */
function fieldOf(subject: string | undefined, name: string): string {
  const line = (subject ?? "").split("\n").find((each) => each.startsWith(`${name}=`)) ?? "";
  return line.slice(name.length + 1).replace(/\\(.)/g, "$1");
}
