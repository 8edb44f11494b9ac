// Paths of unix sockets in PROXY headers: 108 bytes there, printable text here.

/** Bytes of a path on the wire, filled up with zeros. */
export const unixPathSize = 108;

const quote = 0x22;
const at = 0x40;
const backslash = 0x5c;
const letterX = 0x78;

/**
 * The path as text: `/run/a.sock`, an abstract name after `@`, "" for none. Bytes that a log must not get — control
 * characters, blanks, quotes, what is not ASCII — and a backslash come as `\x1b`.
 */
export function textOfUnixPath(field: Uint8Array): string {
  const isAbstract = field[0] === 0;
  let start = 0;
  let end = field.indexOf(0);
  if (end < 0) end = field.length;
  if (isAbstract) {
    start = 1;
    end = field.length;
    while (end > start && field[end - 1] === 0) end -= 1;
    if (end === start) return "";
  }
  let text = isAbstract ? "@" : "";
  for (let index = start; index < end; index += 1) {
    const byte = field[index] ?? 0;
    // An `@` in front means an abstract name: one that is part of a path must look otherwise.
    const isPlain = byte > 0x20 && byte < 0x7f && byte !== quote && byte !== backslash;
    text +=
      isPlain && !(byte === at && index === 0)
        ? String.fromCharCode(byte)
        : `\\x${byte.toString(16).padStart(2, "0")}`;
  }
  return text;
}

/** The same the other way. @returns 108 bytes, or null when it is too long for them. */
export function unixPathOf(text: string): Uint8Array | null {
  const isAbstract = text.startsWith("@");
  const name = bytesOf(isAbstract ? text.slice(1) : text);
  const start = isAbstract ? 1 : 0;
  if (start + name.length > unixPathSize) return null;
  const field = new Uint8Array(unixPathSize);
  field.set(name, start);
  return field;
}

/** Text in UTF-8, and `\x1b` in it as the one byte that it stands for. */
function bytesOf(text: string): Uint8Array {
  const encoded = new TextEncoder().encode(text);
  if (!text.includes("\\x")) return encoded;
  const bytes = new Uint8Array(encoded.length);
  let size = 0;
  for (let index = 0; index < encoded.length; index += 1) {
    const isEscape = encoded[index] === backslash && encoded[index + 1] === letterX;
    const high = isEscape ? hexOf(encoded[index + 2]) : -1;
    const low = isEscape ? hexOf(encoded[index + 3]) : -1;
    if (high < 0 || low < 0) {
      bytes[size] = encoded[index] ?? 0;
    } else {
      bytes[size] = high * 16 + low;
      index += 3;
    }
    size += 1;
  }
  return bytes.subarray(0, size);
}

/** Of a digit or a small letter, −1 of everything else. */
function hexOf(code: number | undefined): number {
  if (code === undefined) return -1;
  if (code >= 48 && code <= 57) return code - 48;
  return code >= 97 && code <= 102 ? code - 87 : -1;
}
