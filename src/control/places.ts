// LISTEN and DEST...: reads a destination's suffixes and notes what cannot stand side by side (IAWLB §4, §7).

import { type Address, formatAddress, isLoop, portMax, readAddress } from "./address.ts";
import { bad, good, type Mistake, mistakeIn, nearest, quote, type Reading } from "./mistake.ts";
import { countMax } from "./option-row.ts";
import { warmCountMax } from "./option-rows.ts";
import type { HealthSettings, Settings } from "./settings.ts";
import { readBytesText, readHttpPath } from "./text.ts";
import { durationMsMax, formatDuration, readCount, readDuration } from "./value.ts";

export interface DestinationOptions extends HealthSettings {
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
  { name: "health-interval", value: "TIME", help: "instead of --health-interval" },
  { name: "health-send", value: "TEXT", help: "instead of --health-send; \\x2c is a comma" },
  { name: "health-expect", value: "TEXT", help: "instead of --health-expect" },
  { name: "health-http", value: "PATH", help: "instead of --health-http" },
  { name: "health-port", value: "N", help: "instead of --health-port" },
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

/** A destination before the options are known, which may stand after it; null: what the option says for all. */
type Shared = Pick<DestinationOptions, "slots" | "warm" | keyof HealthSettings>;
type Draft = Omit<DestinationOptions, keyof Shared> & {
  readonly [K in keyof Shared]: Shared[K] | null;
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

  destinations(settings: Settings): readonly DestinationOptions[] {
    return this.drafts.map((draft) => ({
      ...draft,
      slots: draft.slots ?? settings.slots,
      warm: draft.warm ?? settings.warm,
      ...healthOf(draft, settings),
    }));
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
  const draft: Omit<Draft, "address"> = {
    name: written,
    slots: null,
    weight: 1,
    warm: null,
    backup: false,
    healthMs: null,
    healthSend: null,
    healthExpect: null,
    healthHttp: null,
    healthPort: null,
  };
  for (const part of parts) {
    const reading = readSuffix(part, seen);
    if (reading.fault !== null) mistakes.push(mistakeIn(argument, reading.fault));
    else Object.assign(draft, reading.value);
  }
  if (asksForBytes(draft) && (draft.healthHttp ?? "") !== "") {
    const problem = ",health-http stands beside ,health-send or ,health-expect";
    const { fault } = bad("bad-suffix", problem, "one way to check is accepted");
    mistakes.push(mistakeIn(argument, fault));
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
  if (text === "" && (equals < 0 || !mayBeEmpty.has(name))) {
    return bad("missing-value", `,${name}= needs a value`, acceptedSuffixes);
  }
  const reading = readers[name](text);
  if (reading.fault === null) return good({ [keys[name]]: reading.value });
  const { suggestion } = reading.fault;
  const fault = {
    ...reading.fault,
    problem: `,${name}: ${reading.fault.problem}`,
    suggestion: suggestion === "" ? "" : `,${name}=${suggestion}`,
  };
  return { value: null, fault };
}

/** Nothing instead of what the option says. */
const mayBeEmpty: ReadonlySet<string> = new Set(["health-send", "health-expect", "health-http"]);

type SuffixName = Exclude<(typeof suffixNames)[number], "backup">;

const keys: Readonly<Record<SuffixName, keyof Draft>> = {
  slots: "slots",
  weight: "weight",
  warm: "warm",
  "health-interval": "healthMs",
  "health-send": "healthSend",
  "health-expect": "healthExpect",
  "health-http": "healthHttp",
  "health-port": "healthPort",
  name: "name",
};

const readers: Readonly<Record<SuffixName, (text: string) => Reading<number | string>>> = {
  slots: (text) => readCount(text, 0, countMax),
  weight: (text) => readCount(text, 1, weightMax),
  warm: (text) => readCount(text, 0, warmCountMax),
  "health-interval": (text) => readDuration(text, 0, durationMsMax),
  "health-send": readBytesText,
  "health-expect": readBytesText,
  "health-http": readHttpPath,
  "health-port": (text) => readCount(text, 0, portMax),
  name: readName,
};

/** A destination that says how it is checked is not checked the other way that the options say. */
function healthOf(draft: Draft, settings: Settings): HealthSettings {
  const hasOwnBytes = asksForBytes(draft);
  const hasOwnPath = (draft.healthHttp ?? "") !== "";
  return {
    healthMs: draft.healthMs ?? settings.healthMs,
    healthSend: draft.healthSend ?? (hasOwnPath ? "" : settings.healthSend),
    healthExpect: draft.healthExpect ?? (hasOwnPath ? "" : settings.healthExpect),
    healthHttp: draft.healthHttp ?? (hasOwnBytes ? "" : settings.healthHttp),
    healthPort: draft.healthPort ?? settings.healthPort,
  };
}

function asksForBytes({ healthSend, healthExpect }: Omit<Draft, "address">): boolean {
  return (healthSend ?? "") + (healthExpect ?? "") !== "";
}

/** A destination as `Places` reads it. */
export function formatPlace(each: Partial<DestinationOptions> & { address: Address }): string {
  const suffixes = suffixNames.flatMap((name) => {
    if (name === "backup") return each.backup === true ? [",backup"] : [];
    const value = each[keys[name]];
    if (value === undefined) return [];
    const text = name === "health-interval" ? formatDuration(Number(value)) : String(value);
    const comma = name === "health-http" ? "%2C" : "\\x2c";
    return [`,${name}=${text.replaceAll(",", comma)}`];
  });
  return formatAddress(each.address) + suffixes.join("");
}

/** A name is one word, of any script, so that it stands as it is in every log format. */
function readName(text: string): Reading<string> {
  if (text.length <= nameLengthMax && !/[\s\p{C}"\\=]/u.test(text)) return good(text);
  const accepted = `at most ${nameLengthMax} characters without spaces, quotes, = and \\ are accepted`;
  return bad("bad-value", `,name: ${quote(text)} is no name`, accepted);
}

const acceptedSuffixes = `accepted are ${suffixTable()
  .map((row) => row.suffix)
  .join(" ")}`;
