// Puts the layers together: one listener after the other, then what must hold between them.

import { bad, type Mistake, mistakeAt, OptionsError } from "../control/mistake.ts";
import { optionRows, sharedNames } from "../control/option-rows.ts";
import { faultTogether, type Options } from "../control/options.ts";
import { Places, type TellMissing } from "../control/places.ts";
import { prefaceFaultsOf } from "../control/preface-faults.ts";
import { type ProgramSettings, programRows } from "../control/program-rows.ts";
import { programFrom, settingsFrom } from "../control/settings.ts";
import type { TlsMaterial } from "../control/tls-files.ts";
import { faultsBetween, faultsOfProgram } from "./between.ts";
import { type EnvironmentValues, variableOf } from "./environment.ts";
import type { FileListener } from "./file-reader.ts";
import { fromDefault, fromLine, type Layer, Layers, mistakeOf, type Origin } from "./layer.ts";
import { readTlsOf, type TlsWanted } from "./tls.ts";

/** A listener but for what its files hold. */
export interface NamedOptions {
  /** As given; else `main` when it is the only one, else its address as it was written. */
  readonly name: string;
  readonly options: Options;
}

export interface ListenerConfiguration extends NamedOptions {
  /** What its TLS files held when this was read. It stands beside the options, which are shown; keys are not. */
  readonly tls: TlsMaterial;
}

export interface Assembled {
  readonly listeners: readonly ListenerConfiguration[];
  readonly program: ProgramSettings;
  /** Where each value came from: of `admin`, `listener[0].slots`, `listener[0].destinations[2]`. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** What is allowed in its TLS files, and hardly meant. */
  readonly tlsWarnings: readonly Mistake[];
}

/** The name of a listener that is the only one and has none. */
const onlyName = "main";

/** What one listener is made of, besides what is above all. */
interface Parts {
  readonly name: string;
  readonly layer: Layer;
  readonly places: Places;
  /** Of its name, its address and its destinations. */
  readonly origins: readonly (readonly [key: string, origin: Origin])[];
  readonly tellMissing?: TellMissing;
}

export class Assembly {
  private readonly above: readonly Layer[];
  private readonly top: Layer;
  private readonly mistakes: Mistake[];
  /** What was told once. */
  private readonly messages = new Set<string>();
  private readonly origins = new Map<string, Origin>();
  private readonly listeners: (NamedOptions & TlsWanted)[] = [];

  /** @param above what counts more than a listener's own, @param top what counts less. */
  constructor(above: readonly Layer[], top: Layer, mistakes: Mistake[]) {
    this.above = above;
    this.top = top;
    this.mistakes = mistakes;
  }

  /** The listener of the command line and the environment. @param count of its arguments. */
  addPlaces(places: Places, count: number, variables: EnvironmentValues): void {
    places.fill(variables.listen, variables.destinations);
    const own = count > 1 ? Array<Origin>(count - 1).fill(fromLine) : variablesOf(variables);
    const listen = count > 0 ? fromLine : fromVariable("listen");
    this.add({
      name: onlyName,
      layer: new Map(),
      places,
      origins: [["name", fromDefault], ["listen", listen], ...own.map(destinationOrigin)],
    });
  }

  addFile(listeners: readonly FileListener[], variables: EnvironmentValues): void {
    const isOnly = listeners.length === 1;
    if (!isOnly) this.refuseVariables(variables, listeners.length);
    for (const one of listeners) this.addListener(one, isOnly, isOnly ? variables : null);
  }

  /** @throws OptionsError with all mistakes so far. */
  async finish(): Promise<Assembled> {
    const { mistakes, origins } = this;
    const layers = new Layers([...this.above, this.top]);
    const program = programFrom(layers.values());
    for (const name of [...programRows.map((row) => row.name), ...sharedNames]) {
      origins.set(name, layers.originOf(name));
    }
    for (const { path, fault } of [...faultsOfProgram(program), ...faultsBetween(this.listeners)]) {
      mistakes.push(mistakeOf(origins.get(path) ?? fromLine, path, fault));
    }
    const tls = await readTlsOf(this.listeners);
    for (const each of tls.mistakes) this.noteOnce(each);
    if (mistakes.length > 0) throw new OptionsError(inOrder(mistakes));
    const listeners = this.listeners.flatMap(({ name, options }, index) => {
      const material = tls.materials[index];
      return material === undefined ? [] : [{ name, options, tls: material }];
    });
    const byMessage = new Map(tls.warnings.map((each) => [each.message, each]));
    return { listeners, program, origins, tlsWarnings: [...byMessage.values()] };
  }

  private addListener(
    one: FileListener,
    isOnly: boolean,
    variables: EnvironmentValues | null,
  ): void {
    const places = new Places(this.mistakes);
    const listen = variables?.listen ?? one.listen;
    if (listen !== null) places.addListen(listen);
    const own = variables === null ? [] : variablesOf(variables);
    places.fill(null, variables?.destinations ?? []);
    if (own.length === 0) {
      for (const { written, parts, route } of one.destinations) {
        places.addDestination(written, parts, route);
      }
    }
    const inFile = one.destinations.map(({ at }): Origin => ({ kind: "file", at }));
    const listenAt: Origin = { kind: "file", at: one.listen?.at ?? one.at };
    this.add({
      name: one.name !== "" ? one.name : isOnly ? onlyName : (listen?.text ?? ""),
      layer: one.layer,
      places,
      origins: [
        ["name", one.name === "" ? fromDefault : { kind: "file", at: one.at }],
        ["listen", (variables?.listen ?? null) === null ? listenAt : fromVariable("listen")],
        ...(own.length > 0 ? own : inFile).map(destinationOrigin),
      ],
      tellMissing: (key, fault) => {
        if (key === "destinations" && !one.lacksDestinations) return []; // each was noted
        const path = one.at.path === "" ? key : `${one.at.path}.${key}`;
        return [mistakeAt({ ...one.at, path }, fault)];
      },
    });
  }

  private add({ name, layer, places, origins, tellMissing }: Parts): void {
    const listen = places.finish(tellMissing);
    const layers = new Layers([...this.above, layer, this.top]);
    const settings = settingsFrom(layers.values());
    const together = faultTogether(settings);
    if (together !== null) {
      this.noteOnce(mistakeOf(layers.originOf(together.name), together.name, together.fault));
    }
    const destinations = places.destinations(settings);
    const told: TlsWanted["told"] = ({ row, name: part, fault }) =>
      row === null
        ? [mistakeOf(layers.originOf(part), part, fault)]
        : places.told(row, fault, part);
    for (const fault of prefaceFaultsOf(settings, destinations)) {
      for (const each of told(fault)) this.noteOnce(each);
    }
    if (listen === null) return; // which is noted
    const path = `listener[${this.listeners.length}]`;
    for (const row of optionRows)
      this.origins.set(`${path}.${row.name}`, layers.originOf(row.name));
    for (const [key, origin] of origins) this.origins.set(`${path}.${key}`, origin);
    this.listeners.push({ name, options: { ...settings, listen, destinations }, told });
  }

  /** What stands above the listeners is wrong for each of them, and told once. */
  private noteOnce(told: Mistake): void {
    if (this.messages.has(told.message)) return;
    this.messages.add(told.message);
    this.mistakes.push(told);
  }

  private refuseVariables({ listen, destinations }: EnvironmentValues, count: number): void {
    const problem = `the file has ${count} listeners`;
    const { fault } = bad(
      "unexpected-argument",
      problem,
      "one alone can be given its addresses so",
    );
    for (const written of [listen, destinations[0] ?? null]) {
      if (written !== null) this.mistakes.push(written.tell(fault));
    }
  }
}

function variablesOf({ destinations }: EnvironmentValues): readonly Origin[] {
  return destinations.map(() => fromVariable("destinations"));
}

function fromVariable(option: string): Origin {
  return { kind: "environment", name: variableOf(option) };
}

function destinationOrigin(origin: Origin, index: number): readonly [string, Origin] {
  return [`destinations[${index}]`, origin];
}

/** What stands in the file in its order, after all that does not. */
function inOrder(mistakes: readonly Mistake[]): readonly Mistake[] {
  const lineOf = ({ at }: Mistake) => at?.line ?? -1;
  const columnOf = ({ at }: Mistake) => at?.column ?? -1;
  return mistakes.toSorted((a, b) => lineOf(a) - lineOf(b) || columnOf(a) - columnOf(b));
}
