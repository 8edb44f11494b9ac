// Reads a file of the configuration: bounded, text only, by the parser of its extension.

import { constants, open, stat } from "node:fs/promises";
import { extname } from "node:path";
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
  try {
    const found = await stat(file);
    if (found.isDirectory()) refuse(file, "it is a directory", accepted);
    // What is no file may keep a reader waiting, and gives its bytes only once: a reload would find nothing.
    if (!found.isFile()) refuse(file, "it is no regular file", accepted);
    // It may have become a pipe in between: not to wait for a writer of it.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size } = await handle.stat();
    if (size > fileBytesMax) refuse(file, `its ${size} bytes are too many`, accepted);
    const buffer = new Uint8Array(size + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
      length += bytesRead;
      if (bytesRead === 0 || length === buffer.length) break;
    }
    if (length > size) refuse(file, "it is growing", accepted);
    return buffer.slice(0, length);
  } catch (error) {
    if (error instanceof OptionsError) throw error;
    refuse(file, `it cannot be read: ${causeOf(error)}`, "", "");
  }
}

/** `no such file or directory` of `ENOENT: no such file or directory, stat '…'`. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return /^[A-Z0-9]+: ([^,]+)/.exec(error.message)?.[1] ?? error.message;
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
