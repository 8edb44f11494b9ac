// What one place, such as a file or the environment, gives for options, and where that stands.

import {
  type Fault,
  type FilePlace,
  type Mistake,
  mistakeAt,
  mistakeIn,
} from "../control/mistake.ts";

/** Where a value came from. */
export type Origin =
  | { readonly kind: "default" }
  | { readonly kind: "file"; readonly at: FilePlace }
  | { readonly kind: "environment"; readonly name: string }
  | { readonly kind: "command line" };

export interface Given {
  readonly value: unknown;
  readonly origin: Origin;
}

/** Values by the names of their options. */
export type Layer = ReadonlyMap<string, Given>;

export const fromDefault: Origin = { kind: "default" };
export const fromLine: Origin = { kind: "command line" };

/** Values and origins of several layers: the first one that gives a value counts. */
export class Layers {
  private readonly layers: readonly Layer[];

  constructor(layers: readonly Layer[]) {
    this.layers = layers;
  }

  /** As `settingsFrom` takes them. */
  values(): ReadonlyMap<string, unknown> {
    const values = new Map<string, unknown>();
    for (const layer of this.layers.toReversed()) {
      for (const [name, { value }] of layer) values.set(name, value);
    }
    return values;
  }

  originOf(name: string): Origin {
    return this.layers.find((layer) => layer.has(name))?.get(name)?.origin ?? fromDefault;
  }
}

/** `default`, `web.toml:3`, `environment IAWLB_SLOTS`, `command line`. */
export function originText(origin: Origin): string {
  switch (origin.kind) {
    case "file":
      return origin.at.line === 0 ? origin.at.file : `${origin.at.file}:${origin.at.line}`;
    case "environment":
      return `environment ${origin.name}`;
    default:
      return origin.kind;
  }
}

/** A fault of an option, told where its value stands. */
export function mistakeOf(origin: Origin, name: string, fault: Fault): Mistake {
  if (origin.kind === "file") return mistakeAt(origin.at, fault);
  return mistakeIn(origin.kind === "environment" ? origin.name : `--${name}`, fault);
}
