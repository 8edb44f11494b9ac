// Options from the environment: IAWLB_SLOTS=4 is --slots 4.

import { bad, type Mistake, mistakeIn, nearestSlip } from "../control/mistake.ts";
import { optionRows } from "../control/option-rows.ts";
import type { Written } from "../control/places.ts";
import { programRows } from "../control/program-rows.ts";
import type { Given, Layer } from "./layer.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

const prefix = "IAWLB_";
const listenName = `${prefix}LISTEN`;
const destinationsName = `${prefix}DESTINATIONS`;

export interface EnvironmentValues {
  readonly layer: Layer;
  readonly listen: Written | null;
  readonly destinations: readonly Written[];
}

/** The name of the variable for an option. */
export function variableOf(option: string): string {
  return prefix + option.toUpperCase().replaceAll("-", "_");
}

/** Whether anything in it says what to run: without a file, the address to listen on is the least. */
export function saysWhatToRun(environment: Environment): boolean {
  return [variableOf("config"), listenName].some((name) => (environment[name] ?? "") !== "");
}

/** What of it concerns us. */
export function ownVariables(environment: Environment): Environment {
  return Object.fromEntries(
    Object.entries(environment).filter(([name]) => name.startsWith(prefix)),
  );
}

/** Reads the variables; one that is empty is not set. Notes what is wrong. */
export function readEnvironment(environment: Environment, mistakes: Mistake[]): EnvironmentValues {
  const layer = new Map<string, Given>();
  const known = new Set([listenName, destinationsName]);
  for (const row of [...optionRows, ...programRows]) {
    const name = variableOf(row.name);
    known.add(name);
    const text = environment[name] ?? "";
    if (text === "") continue;
    const reading = row.read(text);
    if (reading.fault === null) {
      layer.set(row.name, { value: reading.value, origin: { kind: "environment", name } });
      continue;
    }
    const { suggestion } = reading.fault;
    const whole = suggestion === "" ? "" : `${name}=${suggestion}`;
    mistakes.push(mistakeIn(name, { ...reading.fault, suggestion: whole }));
  }
  // A name that is no slip of ours is somebody else's: service managers and clusters set such names by themselves.
  for (const name of Object.keys(environment)) {
    if (!name.startsWith(prefix) || known.has(name) || (environment[name] ?? "") === "") continue;
    const near = nearestSlip(
      name.slice(prefix.length),
      [...known].map((each) => each.slice(prefix.length)),
    );
    if (near === "") continue;
    const { fault } = bad("unknown-variable", "is unknown", "", prefix + near);
    mistakes.push(mistakeIn(name, fault));
  }
  const [listen = null] = placesIn(environment, listenName);
  return { layer, listen, destinations: placesIn(environment, destinationsName) };
}

/** The addresses of a variable, spaces between them. */
function placesIn(environment: Environment, name: string): Written[] {
  const texts = (environment[name] ?? "").split(/\s+/).filter((text) => text !== "");
  const places = name === listenName ? [texts.join(" ")].filter((text) => text !== "") : texts;
  return places.map((text) => ({ text, tell: (fault) => mistakeIn(`${name}: ${text}`, fault) }));
}
