// Reads a file of the configuration: bounded, text only, by the parser of its extension.

import { extname } from "node:path";
import { readBounded } from "../control/bounded-file.ts";
import { bad, type Mistake, mistakeAt, nearest, OptionsError, quote } from "../control/mistake.ts";
import type { Parsed, Tree } from "./tree.ts";

/** More than 65,536 destinations need, written out. */
const fileBytesMax = 16 * 2 ** 20;
/** Faults of one file that are told; what follows the first few is mostly their consequence. */
const faultCountMax = 20;

type Format = "toml" | "json" | "yaml";

const formats: ReadonlyMap<string, Format> = new Map([
  [".toml", "toml"],
  [".json", "json"],
  [".jsonc", "json"],
  [".yaml", "yaml"],
  [".yml", "yaml"],
]);

/** A file as it was read. */
export interface Source {
  readonly file: string;
  readonly format: Format;
  readonly text: string;
  /** Of its bytes; by it a change in between is seen. */
  readonly hash: string;
}

/** Reads a file. @throws OptionsError with what is wrong with it as a whole. */
export async function readSource(file: string): Promise<Source> {
  const format = formats.get(extname(file).toLowerCase());
  if (format === undefined) {
    const near = nearest(extname(file), [...formats.keys()]);
    const problem = `the extension ${quote(extname(file))} tells no format`;
    const known = `accepted are ${[...formats.keys()].join(", ")}`;
    refuse(file, problem, known, near === "" ? "" : file.slice(0, -extname(file).length) + near);
  }
  const bytes = await readBytes(file);
  if (bytes.includes(0)) refuse(file, "it is no text", "a text file in UTF-8 is accepted");
  return { file, format, text: decoded(file, bytes), hash: hashOf(bytes) };
}

export function hashOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

/** @throws OptionsError with every fault of its syntax. */
export async function parseSource({ file, format, text }: Source): Promise<Tree> {
  const parse = await parserOf(format);
  const { tree, faults } = parse(text);
  if (tree !== null) return tree;
  const told = faults.slice(0, faultCountMax).map(({ line, column, message }): Mistake => {
    return mistakeAt({ file, line, column, path: "" }, bad("bad-syntax", message).fault);
  });
  throw new OptionsError(told);
}

/** Only the parser that is needed is loaded: a start without a file pays for none. */
async function parserOf(format: Format): Promise<(text: string) => Parsed> {
  if (format === "toml") return (await import("./toml.ts")).parseToml;
  if (format === "json") return (await import("./json.ts")).parseJson;
  return (await import("./yaml.ts")).parseYaml;
}

async function readBytes(file: string): Promise<Uint8Array> {
  const accepted = `a file of at most ${fileBytesMax / 2 ** 20} MiB is accepted`;
  const { bytes, problem } = await readBounded(file, fileBytesMax);
  if (bytes !== null) return bytes;
  refuse(file, problem, problem.startsWith("it cannot be read") ? "" : accepted);
}

/** A mark of the byte order at the beginning is none of the text. */
function decoded(file: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    refuse(file, "it is no UTF-8", "a text file in UTF-8 is accepted");
  }
}

function refuse(file: string, problem: string, accepted: string, suggestion = ""): never {
  const at = { file, line: 0, column: 0, path: "" };
  throw new OptionsError([mistakeAt(at, bad("unreadable", problem, accepted, suggestion).fault)]);
}
