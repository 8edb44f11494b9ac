// LISTEN and DEST...: reads a destination's suffixes and notes what cannot stand side by side (IAWLB §4, §7).

import { type Address, formatAddress, isLoop, readAddress } from "./address.ts";
import { bad, type Fault, type Mistake, mistakeIn, quote, type Reading } from "./mistake.ts";
import { type DestinationPreface, plainPreface } from "./preface-settings.ts";
import { routeKeyOf } from "./routes.ts";
import type { HealthSettings, Settings } from "./settings.ts";
import { isFlag, mayBeEmpty, type Part, readPart, readSuffix } from "./suffix.ts";
import { type Suffix, suffixes, withoutCommas } from "./suffix.ts";

export interface DestinationOptions extends HealthSettings, DestinationPreface {
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
/** A destination before the options are known, which may stand after it; null: what the option says for all. */
type Shared = Pick<DestinationOptions, "slots" | "warm" | keyof HealthSettings>;
type Draft = Omit<DestinationOptions, keyof Shared> & {
  readonly [K in keyof Shared]: Shared[K] | null;
};

/** By what a destination is chosen. */
export type RouteChoice = Pick<DestinationOptions, "sni" | "alpn" | "plain">;

/** A place as a user wrote it, and how a fault in it, or in one part of it, is told. */
export interface Written {
  readonly text: string;
  tell(fault: Fault, part?: string): Mistake;
}

/** How it is told that one of them is missing; with nothing when that is not its fault. */
export type TellMissing = (key: "listen" | "destinations", fault: Fault) => readonly Mistake[];

const argumentOf = (argument: string): Written => ({
  text: argument,
  tell: (fault) => mistakeIn(argument, fault),
});

/** Collects the positional arguments: the first is LISTEN, every other one a destination. */
export class Places {
  private readonly mistakes: Mistake[];
  private readonly drafts: Draft[] = [];
  private readonly places: Written[] = [];
  private readonly byAddress = new Map<string, string>();
  private readonly byName = new Map<string, string>();
  private listen: Address | null = null;
  private hasListen = false;
  private hasDestination = false;

  constructor(mistakes: Mistake[]) {
    this.mistakes = mistakes;
  }

  add(argument: string): void {
    if (this.hasListen) this.addDestination(argumentOf(argument));
    else this.addListen(argumentOf(argument));
  }

  /** Takes for the one, or the other, what other places than the arguments say, if these said nothing. */
  fill(listen: Written | null, destinations: readonly Written[]): void {
    if (!this.hasListen && listen !== null) this.addListen(listen);
    if (this.hasDestination) return;
    for (const each of destinations) this.addDestination(each);
  }

  /** @returns where to listen, or null when that is missing or wrong, which is noted. */
  finish(tell: TellMissing = missing): Address | null {
    if (!this.hasListen) {
      const accepted = "a port or address to listen on, such as 8080, is needed";
      this.mistakes.push(...tell("listen", bad("no-listen", "missing", accepted).fault));
    }
    if (!this.hasDestination) {
      const accepted = "at least one destination, such as 3001, is needed";
      this.mistakes.push(...tell("destinations", bad("no-destination", "missing", accepted).fault));
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

  addListen(written: Written): void {
    this.hasListen = true;
    const { text } = written;
    const comma = text.startsWith("unix:") ? -1 : text.indexOf(",");
    if (comma < 0) {
      const reading = readAddress(text, "listen");
      if (reading.fault === null) this.listen = reading.value;
      else this.mistakes.push(written.tell(reading.fault));
      return;
    }
    const problem = "the first address is the one to listen on and takes no suffix";
    const { fault } = bad("unexpected-suffix", problem, "", text.slice(0, comma));
    this.mistakes.push(written.tell(fault));
  }

  /** A fault of a destination, told where it stands. @param row as in `destinations` */
  told(row: number, fault: Fault, part: string): readonly Mistake[] {
    const written = this.places[row];
    return written === undefined ? [] : [written.tell(fault, part)];
  }

  /**
   * @param parts what stands beside the address, where it is not behind it in the text.
   * @param route by what it is chosen, where that is said for several.
   */
  addDestination(written: Written, parts?: readonly Part[], route?: RouteChoice): void {
    this.hasDestination = true;
    const own = readDestination(written, parts ?? null, this.mistakes);
    if (own === null) return;
    if (route !== undefined && routeKeyOf(own) !== "") {
      const problem = "it says by what it is chosen, and so does its route";
      const { fault } = bad("bad-suffix", problem, "sni, alpn and plain are the route's here");
      this.mistakes.push(written.tell(fault));
      return;
    }
    const draft = { ...own, ...route };
    const clash = this.clash(draft);
    if (clash !== null) {
      this.mistakes.push(written.tell(clash.fault));
      return;
    }
    this.drafts.push(draft);
    this.places.push(written);
    this.byAddress.set(placeKeyOf(draft), written.text);
    this.byName.set(draft.name, written.text);
  }

  /** @returns why the destination cannot stand beside what came before it, or null. */
  private clash(draft: Draft): { readonly fault: Fault } | null {
    if (this.listen !== null && isLoop(this.listen, draft.address)) {
      const problem = `is the listener ${formatAddress(this.listen)} itself`;
      return bad("loop", problem, "the address of another program is needed");
    }
    const { address, healthPort } = draft;
    if (healthPort !== null && healthPort > 0) {
      if (address.kind === "unix") {
        return bad("bad-suffix", ",health-port stands at a unix socket", "it has no port");
      }
      if (this.listen !== null && isLoop(this.listen, { ...address, port: healthPort })) {
        const problem = `,health-port is the listener ${formatAddress(this.listen)} itself`;
        return bad("loop", problem, "the port of another program is needed");
      }
    }
    const sameAddress = this.byAddress.get(placeKeyOf(draft));
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
}

/** In two routes the same address is two destinations. */
function placeKeyOf(draft: Draft): string {
  return `${formatAddress(draft.address)} ${routeKeyOf(draft)}`;
}

const missing: TellMissing = (key, fault) => [
  mistakeIn(key === "listen" ? "LISTEN" : "DEST", fault),
];

/** Reads `ADDRESS[,slots=N][,weight=W]…`; null when anything in it is wrong, which is noted. */
function readDestination(
  written: Written,
  parts: readonly Part[] | null,
  mistakes: Mistake[],
): Draft | null {
  const [before = "", ...behind] = written.text.split(",");
  const text = parts === null ? before : written.text;
  const count = mistakes.length;
  const address = readDestinationAddress(text);
  if (address.fault !== null) {
    const { suggestion } = address.fault;
    const whole = suggestion === "" ? "" : `${suggestion}${written.text.slice(text.length)}`;
    mistakes.push(written.tell({ ...address.fault, suggestion: whole }, "address"));
  }
  const seen = new Set<string>();
  const draft: Omit<Draft, "address"> = {
    name: text,
    slots: null,
    weight: 1,
    warm: null,
    backup: false,
    healthMs: null,
    healthSend: null,
    healthExpect: null,
    healthHttp: null,
    healthPort: null,
    ...plainPreface,
  };
  const take = (reading: Reading<Partial<Draft>>, part?: string) => {
    if (reading.fault !== null) mistakes.push(written.tell(reading.fault, part));
    else Object.assign(draft, reading.value);
  };
  if (parts === null) for (const suffix of behind) take(readSuffix(suffix, seen));
  else for (const part of parts) take(readPart(...part), part[0]);
  if (asksForBytes(draft) && (draft.healthHttp ?? "") !== "") {
    const [comma, where] = parts === null ? [",", undefined] : ["", "health-http"];
    const problem = `${comma}health-http stands beside ${comma}health-send or ${comma}health-expect`;
    const { fault } = bad("bad-suffix", problem, "one way to check is accepted");
    mistakes.push(written.tell(fault, where));
  }
  if (address.value === null || mistakes.length > count) return null;
  return { ...draft, address: address.value };
}

/** Behind a comma suffixes begin, and a destination must be writable in either form. */
function readDestinationAddress(text: string): Reading<Address> {
  const comma = text.indexOf(",");
  if (comma < 0) return readAddress(text, "destination");
  const problem = "a comma cannot stand in an address";
  const accepted = "what stands behind it in a text is a key of its own here";
  return bad("bad-address", problem, accepted, text.slice(0, comma));
}

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
  const texts = suffixes.map((suffix: FormattedSuffix) => {
    const value = each[suffix.key];
    if (isFlag(suffix.name)) return value === true ? `,${suffix.name}` : "";
    const text = value === undefined ? "" : withoutCommas(suffix.name, suffix.write(value));
    if (value === undefined || (text === "" && !mayBeEmpty.has(suffix.name))) return "";
    return `,${suffix.name}=${text}`;
  });
  return formatAddress(each.address) + texts.join("");
}

/** A suffix beside a value of its own key. */
interface FormattedSuffix {
  readonly name: Suffix["name"];
  readonly key: Suffix["key"];
  write(value: unknown): string;
}
