// The files of TLS: read, checked, and handed on as texts. Every fault names its file and the next step.

import type { X509Certificate } from "node:crypto";
import { isAbsolute } from "node:path";
import { readBounded } from "./bounded-file.ts";
import {
  type Found,
  holdsKey,
  isPair,
  type Key,
  namesOf,
  periodOf,
  periodProblem,
  readCertificates,
  readKey,
  soonMs,
} from "./certificate.ts";
import { bad, type Fault, type Mistake, mistakeIn, OptionsError, quote } from "./mistake.ts";
import type { DestinationOptions } from "./places.ts";
import type { Settings } from "./settings.ts";
import { dayOf, daysUntil } from "./value.ts";

/** The largest bundle of authorities is a quarter of it. */
const fileBytesMax = 2 ** 20;

/** A certificate that clients are shown, with its chain and its key; both are PEM. */
export interface TlsIdentity {
  /** Of the certificate, as it was given. */
  readonly file: string;
  /** DNS names that it is for, in lower case, else its common name; wildcards as they are written. */
  readonly names: readonly string[];
  readonly cert: string;
  /** It goes to nobody but the engine. */
  readonly key: string;
  /** ms since 1970. */
  readonly notAfterMs: number;
}

/** What is needed to speak TLS to a destination, in PEM; "" = the system's authorities, no certificate of ours. */
export interface DestinationTls {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** All that one listener needs of files. */
export interface TlsMaterial {
  readonly identities: readonly TlsIdentity[];
  /** Authorities of clients' certificates in PEM, "" = clients are not asked. */
  readonly clientCa: string;
  /** By the index of the destination; null = no TLS. */
  readonly destinations: readonly (DestinationTls | null)[];
}

/** What is told of a file, and by which option or suffix it was named. */
export interface TlsNote {
  /** Index of a destination; null = it is an option's. */
  readonly row: number | null;
  readonly name: string;
  readonly fault: Fault;
}

export interface TlsReading {
  readonly material: TlsMaterial;
  readonly faults: readonly TlsNote[];
  readonly warnings: readonly TlsNote[];
}

type Files = Pick<Settings, "tlsCert" | "tlsKey" | "tlsClientCa">;
type Peers = readonly DestinationOptions[];

/** @throws OptionsError with all that is wrong with the files. @returns them, and what is allowed and hardly meant. */
export async function loadTls(
  settings: Files,
  destinations: Peers,
): Promise<TlsMaterial & { readonly notes: readonly Mistake[] }> {
  const { material, faults, warnings } = await new TlsFiles().read(settings, destinations);
  const told = ({ row, name, fault }: TlsNote) =>
    mistakeIn(row === null ? `--${name}` : (destinations[row]?.name ?? ""), fault);
  if (faults.length > 0) throw new OptionsError(faults.map(told));
  return { ...material, notes: warnings.map(told) };
}

/** Files of one configuration, each read once for however many listeners and destinations name it. */
export class TlsFiles {
  private readonly texts = new Map<string, Promise<Text>>();
  private readonly authorities = new Map<string, Promise<Checked<string>>>();
  private readonly pairs = new Map<string, Promise<Checked<Pair>>>();
  private readonly nowMs: number;

  constructor(nowMs = Date.now()) {
    this.nowMs = nowMs;
  }

  async read(settings: Files, destinations: Peers): Promise<TlsReading> {
    const notes = new Notes();
    const { tlsCert, tlsKey, tlsClientCa } = settings;
    const identities: TlsIdentity[] = [];
    for (const [index, file] of tlsCert.entries()) {
      const keyFile = tlsKey[index] ?? "";
      if (keyFile === "" && tlsKey.length > 0) continue; // told already: a key for each of them, or none
      const pair = await this.pairOf(file, keyFile);
      notes.take(null, pair, {
        certificate: "tls-cert",
        key: keyFile === "" ? "tls-cert" : "tls-key",
      });
      if (pair.value !== null) identities.push({ file, ...pair.value });
    }
    for (const { file, name, other } of twiceNamed(identities)) {
      const problem = `${quote(file)} is for ${name}, as ${quote(other)} is`;
      notes.warn(null, "tls-cert", problem, "the first of them is shown");
    }
    const clientCa = tlsClientCa === "" ? null : await this.authoritiesOf(tlsClientCa);
    notes.take(null, clientCa, { certificate: "tls-client-ca", key: "" });
    const theirs: (DestinationTls | null)[] = [];
    for (const [row, one] of destinations.entries()) {
      theirs.push(one.tls ? await this.destinationOf(one, row, notes) : null);
    }
    const { faults, warnings } = notes;
    const material = { identities, clientCa: clientCa?.value ?? "", destinations: theirs };
    return { material, faults, warnings };
  }

  private async destinationOf(
    { tlsCa, tlsCert, tlsKey }: DestinationOptions,
    row: number,
    notes: Notes,
  ): Promise<DestinationTls> {
    const ca = tlsCa === "" ? null : await this.authoritiesOf(tlsCa);
    notes.take(row, ca, { certificate: "tls-ca", key: "" });
    const pair = tlsCert === "" ? null : await this.pairOf(tlsCert, tlsKey);
    notes.take(row, pair, { certificate: "tls-cert", key: tlsKey === "" ? "tls-cert" : "tls-key" });
    return { ca: ca?.value ?? "", cert: pair?.value?.cert ?? "", key: pair?.value?.key ?? "" };
  }

  private pairOf(file: string, keyFile: string): Promise<Checked<Pair>> {
    return once(this.pairs, `${file}\0${keyFile}`, () => this.readPair(file, keyFile));
  }

  private authoritiesOf(file: string): Promise<Checked<string>> {
    return once(this.authorities, file, () => this.readAuthorities(file));
  }

  private textOf(file: string): Promise<Text> {
    return once(this.texts, file, async () => {
      const { bytes, mode, problem } = await readBounded(file, fileBytesMax);
      if (bytes !== null) return { text: new TextDecoder().decode(bytes), mode, fault: null };
      const isUnread = problem.startsWith("it cannot be read");
      const home = isAbsolute(file) ? "" : ` It counts from ${process.cwd()}`;
      const advice = isUnread
        ? `does it exist, and may this user read it?${home}`
        : `a file of at most ${fileBytesMax / 2 ** 20} MiB is accepted`;
      return {
        text: "",
        mode,
        fault: bad("unreadable", `${quote(file)}: ${problem}`, advice).fault,
      };
    });
  }

  private async readPair(file: string, keyFile: string): Promise<Checked<Pair>> {
    const told = new Told();
    const text = await this.textOf(file);
    const keyText = keyFile === "" ? text : await this.textOf(keyFile);
    const named = keyFile === "" ? file : keyFile;
    if (text.fault !== null) told.fault("certificate", text.fault);
    if (keyText.fault !== null && keyText !== text) told.fault("key", keyText.fault);
    const chain =
      text.fault === null ? told.keep("certificate", file, readCertificates(text.text)) : null;
    const isBoth = keyFile === "" && text.fault === null && !holdsKey(text.text);
    const key =
      keyText.fault === null && !isBoth ? told.keep("key", named, readKey(keyText.text)) : null;
    if (isBoth && chain !== null) {
      const advice = "name the file of its key by tls-key";
      told.refuse("key", file, "there is no private key in it", advice);
    }
    if (keyText.fault === null && (keyText.mode & 0o007) !== 0 && holdsKey(keyText.text)) {
      told.warn("key", `${quote(named)}: others can read the key`, "chmod 600 keeps it secret");
    }
    if (chain === null) return { value: null, ...told };
    const [own, ...rest] = chain.all;
    this.checkPeriods(file, own, rest, told);
    if (key !== null) checkPair(named, chain.all, key, told);
    if (key === null || told.faults.length > 0) return { value: null, ...told };
    const pair = {
      names: namesOf(own),
      cert: chain.pem,
      key: key.pem,
      notAfterMs: periodOf(own).toMs,
    };
    return { value: pair, ...told };
  }

  private checkPeriods(
    file: string,
    own: X509Certificate,
    rest: readonly X509Certificate[],
    told: Told,
  ): void {
    const problem = periodProblem(own, this.nowMs);
    if (problem !== null) return told.refuse("certificate", file, problem.problem, problem.advice);
    const { toMs } = periodOf(own);
    if (toMs - this.nowMs < soonMs) {
      const days = daysUntil(toMs, this.nowMs);
      const words = days === 1 ? "in 1 day" : `in ${days} days`;
      told.warn(
        "certificate",
        `${quote(file)}: it expires ${words}, on ${dayOf(toMs)}`,
        "renew it",
      );
    }
    const over = rest.find((each) => periodProblem(each, this.nowMs) !== null);
    if (over === undefined) return;
    const words = `${quote(file)}: of its chain, ${namesOf(over)[0] ?? "one"} is not valid now`;
    told.warn("certificate", words, "clients may refuse it");
  }

  private async readAuthorities(file: string): Promise<Checked<string>> {
    const told = new Told();
    const { text, fault } = await this.textOf(file);
    if (fault !== null) told.fault("certificate", fault);
    const read = fault === null ? told.keep("certificate", file, readCertificates(text)) : null;
    if (read === null) return { value: null, ...told };
    const problems = read.all.flatMap((each) => periodProblem(each, this.nowMs) ?? []);
    const [first] = problems;
    if (first === undefined) return { value: read.pem, ...told };
    if (problems.length === read.all.length) {
      told.refuse("certificate", file, first.problem, first.advice);
      return { value: null, ...told };
    }
    const words = `${quote(file)}: ${problems.length} of its ${read.all.length} certificates are not valid now`;
    told.warn("certificate", words, "nobody is trusted by those");
    return { value: read.pem, ...told };
  }
}

interface Text {
  readonly text: string;
  readonly mode: number;
  readonly fault: Fault | null;
}

type Pair = Omit<TlsIdentity, "file">;
/** Which of the two files of a pair. */
type Part = "certificate" | "key";
type PartFault = readonly [part: Part, fault: Fault];

/** What a file holds, null = it cannot be used; and what is told of it. */
interface Checked<T> {
  readonly value: T | null;
  readonly faults: readonly PartFault[];
  readonly warnings: readonly PartFault[];
}

class Told {
  readonly faults: PartFault[] = [];
  readonly warnings: PartFault[] = [];

  fault(part: Part, fault: Fault): void {
    this.faults.push([part, fault]);
  }

  refuse(part: Part, file: string, problem: string, advice: string): void {
    this.fault(part, bad("bad-certificate", `${quote(file)}: ${problem}`, advice).fault);
  }

  warn(part: Part, problem: string, advice: string): void {
    this.warnings.push([part, bad("warning", problem, advice).fault]);
  }

  /** @returns what was found, or null, which is noted. */
  keep<T>(part: Part, file: string, { value, problem }: Found<T>): T | null {
    if (problem !== null) this.refuse(part, file, problem.problem, problem.advice);
    return value;
  }
}

/** What is told under the names of options and suffixes, each once: many destinations may name one file. */
class Notes {
  readonly faults: TlsNote[] = [];
  readonly warnings: TlsNote[] = [];
  private readonly seen = new Set<string>();

  take<T>(
    row: number | null,
    checked: Checked<T> | null,
    names: Readonly<Record<Part, string>>,
  ): void {
    for (const [part, fault] of checked?.faults ?? [])
      this.add(this.faults, row, names[part], fault);
    for (const [part, fault] of checked?.warnings ?? [])
      this.add(this.warnings, row, names[part], fault);
  }

  warn(row: number | null, name: string, problem: string, advice: string): void {
    this.add(this.warnings, row, name, bad("warning", problem, advice).fault);
  }

  private add(to: TlsNote[], row: number | null, name: string, fault: Fault): void {
    if (this.seen.has(fault.problem)) return;
    this.seen.add(fault.problem);
    to.push({ row, name, fault });
  }
}

function checkPair(file: string, chain: readonly X509Certificate[], key: Key, told: Told): void {
  const at = chain.findIndex((each) => isPair(each, key));
  if (at === 0) return;
  const problem =
    at < 0 ? "the key in it does not match the certificate" : "the chain is upside down";
  const advice =
    at < 0
      ? "certificate and key are made together; is it the file of another one?"
      : `its key is that of certificate ${at + 1}, which must come first`;
  told.refuse("key", file, problem, advice);
}

function twiceNamed(
  identities: readonly TlsIdentity[],
): readonly { readonly file: string; readonly name: string; readonly other: string }[] {
  const first = new Map<string, TlsIdentity>();
  return identities.flatMap((identity) => {
    const name = identity.names.find((each) => first.has(each));
    for (const each of identity.names) if (!first.has(each)) first.set(each, identity);
    if (name === undefined) return [];
    return [{ file: identity.file, name, other: first.get(name)?.file ?? "" }];
  });
}

function once<T>(known: Map<string, Promise<T>>, name: string, make: () => Promise<T>): Promise<T> {
  const before = known.get(name);
  if (before !== undefined) return before;
  const made = make();
  known.set(name, made);
  return made;
}
