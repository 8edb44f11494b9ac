// What a program leaves to its successor besides its descriptors: its admin sockets, whose place the successor takes,
// and the modes of destinations that are not ready. It travels in the environment, and nobody else sees it.
import { lstatSync, type Stats } from "node:fs";
import { modes as knownModes, type Mode, type Modes } from "./control/steering.ts";
import type { Environment } from "./inherited.ts";

const legacyVariable = "IAWLB_LEGACY";
/** Linux takes 128 KiB in one variable. Source: execve(2), MAX_ARG_STRLEN. */
const legacyBytesMax = 96 * 1024;

/** The file of a unix socket: its inode says whether it is still the one that was left. */
interface LeftSocket {
  readonly path: string;
  readonly dev: number;
  readonly ino: number;
}

export interface Legacy {
  readonly sockets: readonly LeftSocket[];
  /** By the names of listeners. */
  readonly modes: Readonly<Record<string, Modes>>;
}

/** What is left: nothing where it would be too much, which is told. */
export function legacyOf(
  socketPaths: readonly string[],
  modes: Legacy["modes"],
  onWarning: (message: string) => void,
): Environment {
  const sockets = socketPaths.flatMap((path) => {
    const file = fileAt(path);
    return file === undefined ? [] : [{ path, dev: file.dev, ino: file.ino }];
  });
  const text = JSON.stringify({ sockets, modes });
  if (Buffer.byteLength(text) <= legacyBytesMax) return { [legacyVariable]: text };
  onWarning("the new process does not hear which destinations drain: they are too many");
  return { [legacyVariable]: JSON.stringify({ sockets, modes: {} }) };
}

/** Takes it out of the environment: no child shall see it. What is no legacy of ours is none. */
export function takeLegacy(environment: Environment): Legacy {
  const text = environment[legacyVariable] ?? "";
  delete environment[legacyVariable];
  return {
    sockets: listOf(text, "sockets").filter(isSocket),
    modes: modesIn(fieldOf(text, "modes")),
  };
}

/** @returns whether the file there is the predecessor's, so that a successor may take its place. */
export function isLeft({ sockets }: Legacy, path: string): boolean {
  const file = fileAt(path);
  const left = sockets.find((each) => each.path === path);
  return left !== undefined && file?.ino === left.ino && file.dev === left.dev;
}

function fileAt(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined; // nobody can say whose it is
  }
}

function fieldOf(text: string, name: string): unknown {
  try {
    const value: unknown = JSON.parse(text);
    return entriesOf(value).find(([key]) => key === name)?.[1];
  } catch {
    return undefined;
  }
}

function listOf(text: string, name: string): readonly unknown[] {
  const value = fieldOf(text, name);
  return Array.isArray(value) ? value : [];
}

function isSocket(value: unknown): value is LeftSocket {
  const fields = new Map(entriesOf(value));
  const isNumber = (name: string) => typeof fields.get(name) === "number";
  return typeof fields.get("path") === "string" && isNumber("dev") && isNumber("ino");
}

function modesIn(value: unknown): Legacy["modes"] {
  const isMode = (entry: readonly [string, unknown]): entry is [string, Mode] =>
    knownModes.some((mode) => mode === entry[1]);
  return Object.fromEntries(
    entriesOf(value).map(([name, of]) => [name, Object.fromEntries(entriesOf(of).filter(isMode))]),
  );
}

function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === "object" && value !== null ? Object.entries(value) : [];
}
