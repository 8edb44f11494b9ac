// LISTEN and DEST...: reads a destination's suffixes and notes what cannot stand side by side (IAWLB §4, §7).

import { type Address, formatAddress, isLoop, readAddress } from "./address.ts";
import { bad, good, type Mistake, mistakeIn, nearest, quote, type Reading } from "./mistake.ts";
import { countMax, warmCountMax } from "./settings.ts";
import { readCount } from "./value.ts";

export interface DestinationOptions {
  /** `,name=TEXT`, else the address as the user wrote it. */
  readonly name: string;
  readonly address: Address;
  /** Connections at once; 0 = no limit. */
  readonly slots: number;
  /** 1 to 256. */
  readonly weight: number;
  /** Connections that are opened to it ahead of their clients, outside of the slots. */
  readonly warm: number;
  /** Serves only while no other destination is up. */
  readonly backup: boolean;
}

const destinationCountMax = 65_536;
const weightMax = 256;
const nameLengthMax = 128;

const suffixes = [
  { name: "slots", value: "N", help: "connections at once, instead of --slots" },
  { name: "weight", value: "W", help: `its share, 1 to ${weightMax}; 1 if not given` },
  { name: "warm", value: "N", help: "connections opened ahead, instead of --warm" },
  { name: "backup", value: "", help: "serves only while no other destination is up" },
  { name: "name", value: "TEXT", help: "its name in the logs; the address if not given" },
] as const;

const suffixNames = suffixes.map((suffix) => suffix.name);

export interface SuffixTableRow {
  readonly suffix: string;
  readonly help: string;
}

/** The suffixes of `DEST` as help and README show them. */
export function suffixTable(): readonly SuffixTableRow[] {
  return suffixes.map(({ name, value, help }) => ({
    suffix: value === "" ? `,${name}` : `,${name}=${value}`,
    help,
  }));
}

/** A destination before `--slots` is known, which may stand after it. */
/** null: what the option says for all. */
type Draft = Omit<DestinationOptions, "slots" | "warm"> & {
  readonly slots: number | null;
  readonly warm: number | null;
};

/** Collects the positional arguments: the first is LISTEN, every other one a destination. */
export class Places {
  private readonly mistakes: Mistake[];
  private readonly drafts: Draft[] = [];
  private readonly byAddress = new Map<string, string>();
  private readonly byName = new Map<string, string>();
  private listen: Address | null = null;
  private count = 0;

  constructor(mistakes: Mistake[]) {
    this.mistakes = mistakes;
  }

  add(argument: string): void {
    this.count++;
    if (this.count === 1) this.addListen(argument);
    else this.addDestination(argument);
  }

  /** @returns where to listen, or null when that is missing or wrong, which is noted. */
  finish(): Address | null {
    if (this.count === 0) {
      const accepted = "a port or address to listen on, such as 8080, is needed";
      this.note("LISTEN", bad("no-listen", "missing", accepted));
    }
    if (this.count < 2) {
      const accepted = "at least one destination, such as 3001, is needed";
      this.note("DEST", bad("no-destination", "missing", accepted));
    }
    return this.listen;
  }

  destinations(slots: number, warm: number): readonly DestinationOptions[] {
    return this.drafts.map((draft) => {
      return { ...draft, slots: draft.slots ?? slots, warm: draft.warm ?? warm };
    });
  }

  private addListen(argument: string): void {
    const comma = argument.startsWith("unix:") ? -1 : argument.indexOf(",");
    if (comma < 0) {
      const reading = readAddress(argument, "listen");
      if (reading.fault === null) this.listen = reading.value;
      else this.note(argument, reading);
      return;
    }
    const problem = "the first address is the one to listen on and takes no suffix";
    this.note(argument, bad("unexpected-suffix", problem, "", argument.slice(0, comma)));
  }

  private addDestination(argument: string): void {
    const draft = readDestination(argument, this.mistakes);
    if (draft === null) return;
    const clash = this.clash(draft);
    if (clash !== null) {
      this.note(argument, clash);
      return;
    }
    this.drafts.push(draft);
    this.byAddress.set(formatAddress(draft.address), argument);
    this.byName.set(draft.name, argument);
  }

  /** @returns why the destination cannot stand beside what came before it, or null. */
  private clash(draft: Draft): Reading<never> | null {
    if (this.listen !== null && isLoop(this.listen, draft.address)) {
      const problem = `is the listener ${formatAddress(this.listen)} itself`;
      return bad("loop", problem, "the address of another program is needed");
    }
    const sameAddress = this.byAddress.get(formatAddress(draft.address));
    if (sameAddress !== undefined) {
      const problem = `is the same address as ${quote(sameAddress)}`;
      return bad("duplicate-address", problem, "give one of them more by ,slots= or ,weight=");
    }
    const sameName = this.byName.get(draft.name);
    if (sameName !== undefined) {
      const problem = `its name ${quote(draft.name)} is that of ${quote(sameName)}`;
      return bad("duplicate-name", problem, "another ,name=TEXT is needed");
    }
    if (this.drafts.length < destinationCountMax) return null;
    const accepted = `at most ${destinationCountMax} destinations are accepted`;
    return bad("too-many-destinations", "is one too many", accepted);
  }

  private note(argument: string, reading: Reading<unknown>): void {
    if (reading.fault !== null) this.mistakes.push(mistakeIn(argument, reading.fault));
  }
}

/** Reads `ADDRESS[,slots=N][,weight=W][,warm=N][,backup][,name=TEXT]`; null when anything in it is wrong, which is noted. */
function readDestination(argument: string, mistakes: Mistake[]): Draft | null {
  const [written = "", ...parts] = argument.split(",");
  const before = mistakes.length;
  const address = readAddress(written, "destination");
  if (address.fault !== null) {
    const { suggestion } = address.fault;
    const whole = suggestion === "" ? "" : `${suggestion}${argument.slice(written.length)}`;
    mistakes.push(mistakeIn(argument, { ...address.fault, suggestion: whole }));
  }
  const seen = new Set<string>();
  const draft = {
    name: written,
    slots: null as number | null,
    weight: 1,
    warm: null as number | null,
    backup: false,
  };
  for (const part of parts) {
    const reading = readSuffix(part, seen);
    if (reading.fault !== null) mistakes.push(mistakeIn(argument, reading.fault));
    else Object.assign(draft, reading.value);
  }
  if (address.value === null || mistakes.length > before) return null;
  return { ...draft, address: address.value };
}

function readSuffix(suffix: string, seen: Set<string>): Reading<Partial<Draft>> {
  const equals = suffix.indexOf("=");
  const written = equals < 0 ? suffix : suffix.slice(0, equals);
  const text = equals < 0 ? "" : suffix.slice(equals + 1);
  const name = suffixNames.find((known) => known === written);
  if (name === undefined) {
    const near = nearest(written, suffixNames);
    const value = near === "backup" ? "" : `=${text}`;
    const suggestion = near === "" ? "" : `,${near}${value}`;
    return bad(
      "unknown-suffix",
      `suffix ${quote(suffix)} is unknown`,
      acceptedSuffixes,
      suggestion,
    );
  }
  if (seen.has(name)) return bad("bad-suffix", `,${name} stands twice`, "once is accepted");
  seen.add(name);
  if (name === "backup") {
    if (equals < 0) return good({ backup: true });
    return bad("bad-suffix", ",backup takes no value", "", ",backup");
  }
  if (text === "") return bad("missing-value", `,${name}= needs a value`, acceptedSuffixes);
  if (name === "name") return readName(text);
  const [min, max] = ranges[name];
  const reading = readCount(text, min, max);
  if (reading.fault === null) return good({ [name]: reading.value });
  const { suggestion } = reading.fault;
  const fault = {
    ...reading.fault,
    problem: `,${name}: ${reading.fault.problem}`,
    suggestion: suggestion === "" ? "" : `,${name}=${suggestion}`,
  };
  return { value: null, fault };
}

const ranges = { slots: [0, countMax], weight: [1, weightMax], warm: [0, warmCountMax] } as const;

/** A name is one word, of any script, so that it stands as it is in every log format. */
function readName(text: string): Reading<Partial<Draft>> {
  if (text.length <= nameLengthMax && !/[\s\p{C}"\\=]/u.test(text)) return good({ name: text });
  const accepted = `at most ${nameLengthMax} characters without spaces, quotes, = and \\ are accepted`;
  return bad("bad-value", `,name: ${quote(text)} is no name`, accepted);
}

const acceptedSuffixes = `accepted are ${suffixTable()
  .map((row) => row.suffix)
  .join(" ")}`;
