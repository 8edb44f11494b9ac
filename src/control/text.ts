// Bytes and paths that a user writes for health checks: escapes are read here, so that any byte can be written.

import { bad, good, quote, type Reading } from "./mistake.ts";

const bytesMax = 4_096;
const pathLengthMax = 1_024;

const escapes: ReadonlyMap<string, number> = new Map([
  ["r", 13],
  ["n", 10],
  ["t", 9],
  ["0", 0],
  ["\\", 92],
]);

/** Text with the escapes \r \n \t \0 \\ and \xHH; the value is the text as it was written. */
export function readBytesText(text: string): Reading<string> {
  const bytes = bytesOf(text);
  const accepted = `up to ${bytesMax} bytes with the escapes \\r \\n \\t \\0 \\\\ \\xHH are accepted`;
  if (bytes === null) return bad("bad-value", `${quote(text)} has an unknown escape`, accepted);
  if (bytes.length <= bytesMax) return good(text);
  return bad("out-of-range", `${bytes.length} bytes are too many`, accepted);
}

/** The bytes that a text stands for, null when an escape in it is unknown. */
export function bytesOf(text: string): Uint8Array | null {
  const bytes: number[] = [];
  for (let at = 0; at < text.length; at += 1) {
    const character = String.fromCodePoint(text.codePointAt(at) ?? 0);
    if (character !== "\\") {
      bytes.push(...new TextEncoder().encode(character));
      at += character.length - 1;
      continue;
    }
    at += 1;
    const name = text[at] ?? "";
    const hex = text.slice(at + 1, at + 3);
    const isHex = name === "x" && /^[0-9a-f]{2}$/i.test(hex);
    const byte = isHex ? Number.parseInt(hex, 16) : escapes.get(name);
    if (byte === undefined) return null;
    bytes.push(byte);
    if (isHex) at += 2;
  }
  return Uint8Array.from(bytes);
}

/** The path of an HTTP request; "" for none. */
export function readHttpPath(text: string): Reading<string> {
  if (text === "" || (/^\/[!-~]*$/.test(text) && text.length <= pathLengthMax)) return good(text);
  const accepted = "a path such as /healthz, of printable ASCII without spaces, is accepted";
  const near = `/${text}`;
  const suggestion =
    text.startsWith("/") || !/^[!-~]+$/.test(text) || text.includes("://") ? "" : near;
  return bad("bad-value", `${quote(text)} is no path`, accepted, suggestion);
}
