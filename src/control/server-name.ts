// Names of servers and ids of protocols, as a TLS client says them.
// Origin: RFC 6066 §3, RFC 7301 §3.1, RFC 6125 §6.4.3.

import { isIP } from "node:net";
import { bad, good, quote, type Reading } from "./mistake.ts";

const nameLengthMax = 253;
/** Names, or protocols, in one list. */
const listCountMax = 256;
const protocolBytesMax = 255;

const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const acceptedName = "a host name such as a.example is accepted";
const acceptedPattern = "names such as a.example and *.b.example are accepted, with + between";
const acceptedProtocol = "protocols such as h2 and http/1.1 are accepted";

/** A host name, or the literal of an address: a certificate may name either. */
export function readPeerName(text: string): Reading<string> {
  return isIP(text) === 0 ? readName(text, acceptedName) : good(text);
}

/** A host name, or one whose whole first label is `*`. */
function readPattern(text: string): Reading<string> {
  if (text === "*") {
    const advice = "destinations without ,sni= serve all other names";
    return bad("bad-value", `"*" is every name`, advice);
  }
  if (!text.startsWith("*.")) {
    const isWild = text.includes("*");
    if (!isWild) return readName(text, acceptedPattern);
    const problem = `${quote(text)} has its * in the wrong place`;
    return bad("bad-value", problem, "it stands for the whole first label, as in *.b.example");
  }
  const { value, fault } = readName(text.slice(2), acceptedPattern);
  if (fault === null) return good(`*.${value}`);
  const { code, accepted, suggestion } = fault;
  const near = suggestion === "" ? "" : `*.${suggestion}`;
  return bad(code, `${quote(text)} is no name`, accepted, near);
}

/** In lower case; a name that is not ASCII stands in the form of RFC 5890. */
function readName(text: string, accepted: string): Reading<string> {
  const name = text.toLowerCase();
  if (faultOfName(name) === "") return good(name);
  if (isIP(text.replace(/^\[(.*)\]$/, "$1")) !== 0) {
    return bad("bad-value", `${quote(text)} is an address, and clients ask for names`, accepted);
  }
  return bad("bad-value", `${quote(text)} is no name`, accepted, nearName(name));
}

/** @returns what is wrong with it, "" = nothing. */
function faultOfName(name: string): string {
  if (name === "" || name.length > nameLengthMax) return "length";
  const labels = name.split(".");
  if (!labels.every((each) => label.test(each))) return "label";
  return /^\d+$/.test(labels.at(-1) ?? "") ? "number" : ""; // who reads hosts would take it for an address
}

/** `bücher.example` → `xn--bcher-kva.example`, `a.example.` → `a.example`. */
function nearName(name: string): string {
  const bare = name.replace(/^[a-z]+:\/\//, "").replace(/[./]+$/, "");
  if (/[\s@:/?#\\%*]/.test(bare)) return "";
  const near = URL.canParse(`http://${bare}`) ? new URL(`http://${bare}`).hostname : "";
  return faultOfName(near) === "" ? near : "";
}

/** Names with + or, in a file's list, commas between them, each once; nothing is none. */
export function readPatterns(text: string): Reading<readonly string[]> {
  return readList(text, /[+,]/, readPattern, acceptedPattern);
}

/** Ids with + or, in a file's list, commas between them, each once; nothing is none. */
export function readProtocols(text: string): Reading<readonly string[]> {
  return readList(text, /[+,]/, readProtocol, acceptedProtocol);
}

function readProtocol(text: string): Reading<string> {
  const isPrintable = /^[!-~]+$/.test(text);
  if (isPrintable && text.length <= protocolBytesMax) return good(text);
  const accepted = `1 to ${protocolBytesMax} printable characters are accepted, such as h2`;
  return bad("bad-value", `${quote(text)} is no protocol`, accepted);
}

/** Reads items of a text, spaces around them left out. */
export function readList(
  text: string,
  separator: RegExp,
  read: (item: string) => Reading<string>,
  accepted: string,
  countMax = listCountMax,
): Reading<readonly string[]> {
  if (text === "") return good([]);
  const items = text.split(separator).map((item) => item.trim());
  if (items.includes("")) return bad("bad-value", "one of the list is empty", accepted);
  if (items.length > countMax) {
    return bad("out-of-range", `${items.length} are too many`, `${countMax} at most are accepted`);
  }
  const values: string[] = [];
  for (const item of items) {
    const reading = read(item);
    if (reading.fault === null) values.push(reading.value);
    else {
      const { suggestion } = reading.fault;
      const whole = suggestion === "" ? "" : text.replace(item, suggestion);
      return { value: null, fault: { ...reading.fault, suggestion: whole } };
    }
  }
  return good(values);
}

/** Each once, in the order in which it came first. */
export function distinct(values: readonly string[]): readonly string[] {
  return [...new Set(values)];
}
