// Reads and writes addresses; the original lost the last character of each and knew no IPv6 (IAWLB §25, §26).

import { isIPv4, isIPv6 } from "node:net";
import { readPlainAddress } from "../core/client.ts";
import { bad, good, quote, type Reading } from "./mistake.ts";

/** Where to listen or to dial. `host` is a name or a literal, IPv6 without brackets; `*` is every interface. */
export type Address =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export type Role = "listen" | "destination";

export const portMax = 65_535;
/** `sun_path` holds 108 bytes, the last of them the end mark. */
const unixPathBytesMax = 107;
const hostLengthMax = 253;

/**
 * Reads `8080`, `127.0.0.1:8080`, `[::1]:8080`, `name:8080` or `unix:/path`.
 * A bare port is every interface for a listener and `localhost` for a destination; port 0 is for listeners only.
 * Names come out in lower case and IPv6 in its shortest form, so that equal addresses are equal texts.
 */
export function readAddress(text: string, role: Role): Reading<Address> {
  if (text.startsWith("unix:")) return readUnixPath(text, role);
  if (/^[./~]/.test(text)) {
    return bad("bad-address", "a path needs unix: before it", acceptedForms(role), `unix:${text}`);
  }
  if (text.includes("://")) return refuseUrl(text, role);
  if (text.startsWith("[")) return readBracketed(text, role);
  const colon = text.lastIndexOf(":");
  if (colon < 0) return readBarePort(text, role);
  if (colon !== text.indexOf(":")) return refuseManyColons(text, role);
  if (colon === 0) return refuseEmptyHost(text, role);
  return readNamed(text.slice(0, colon), text.slice(colon + 1), role);
}

/** The form that `readAddress` reads back: `*:8080`, `[::1]:8080`, `unix:/path`. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** True when dialing `destination` would plainly reach `listen` itself. */
export function isLoop(listen: Address, destination: Address): boolean {
  if (listen.kind === "unix" || destination.kind === "unix") {
    return formatAddress(listen) === formatAddress(destination);
  }
  if (listen.port !== destination.port || listen.port === 0) return false;
  if (listen.host === destination.host) return true;
  return loopbackOf(destination.host).some((ip) => accepts(listen.host, ip));
}

function accepts(host: string, ip: string): boolean {
  if (host === "*" || host === "::") return true;
  return host === "0.0.0.0" ? isIPv4(ip) : loopbackOf(host).includes(ip);
}

/** The addresses of this machine's loopback behind a host, as far as they are certain; each is one of its own. */
function loopbackOf(host: string): readonly string[] {
  if (host === "localhost" || host === "*") return ["127.0.0.1", "::1"];
  if (host === "0.0.0.0") return ["127.0.0.1"];
  if (host === "::") return ["::1"];
  return host === "::1" || (isIPv4(host) && host.startsWith("127.")) ? [host] : [];
}

function acceptedForms(role: Role): string {
  const port = role === "listen" ? "8080" : "3001";
  return `accepted are ${port}, 10.0.0.2:${port}, [::1]:${port}, name:${port} and unix:/path`;
}

function readUnixPath(text: string, role: Role): Reading<Address> {
  const path = text.slice("unix:".length);
  if (path === "") {
    return bad("bad-address", `the path after unix: is missing`, acceptedForms(role));
  }
  if (path.startsWith("//")) {
    const suggestion = `unix:${path.replace(/^\/+/, "/")}`;
    return bad("bad-address", "the path follows unix: alone", acceptedForms(role), suggestion);
  }
  const size = Buffer.byteLength(path);
  if (size <= unixPathBytesMax) return good({ kind: "unix", path });
  const accepted = `at most ${unixPathBytesMax} are accepted`;
  return bad("path-too-long", `the path is ${size} bytes long`, accepted);
}

function readBarePort(text: string, role: Role): Reading<Address> {
  if (text === "") return bad("bad-address", `the address is empty`, acceptedForms(role));
  if (/^\d/.test(text) && !text.includes(".")) {
    return joinPort(role === "listen" ? "*" : "localhost", text, role);
  }
  return bad("bad-address", `the port is missing`, acceptedForms(role));
}

function readNamed(host: string, port: string, role: Role): Reading<Address> {
  if (host === "*" && role === "listen") return joinPort(host, port, role);
  if (isIPv4(host)) return joinPort(host, port, role);
  if (/^[\d.]+$/.test(host)) {
    return bad("bad-address", `${quote(host)} is no IPv4 address`, acceptedForms(role));
  }
  if (host.length > hostLengthMax || !hostName.test(host)) {
    return bad("bad-address", `${quote(host)} is no host name`, acceptedForms(role));
  }
  return joinPort(host.toLowerCase(), port, role);
}

function readBracketed(text: string, role: Role): Reading<Address> {
  const parts = /^\[([^\]]*)\]:?(.*)$/.exec(text);
  const host = parts?.[1] ?? "";
  const port = parts?.[2] ?? "";
  if (parts === null) {
    return bad("bad-address", `the closing bracket is missing`, acceptedForms(role));
  }
  if (!isIPv6(host)) {
    const named = host !== "" && readNamed(host, port, role).fault === null;
    const problem = `${quote(host)} is no IPv6 address`;
    return bad("bad-address", problem, acceptedForms(role), named ? `${host}:${port}` : "");
  }
  if (port === "") return bad("bad-address", `the port is missing`, acceptedForms(role));
  if (!text.includes("]:")) {
    const problem = "a colon is missing before the port";
    return bad("bad-address", problem, acceptedForms(role), `[${host}]:${port}`);
  }
  return joinPort(shortestIPv6(host), port, role);
}

function joinPort(host: string, text: string, role: Role): Reading<Address> {
  const portMin = role === "listen" ? 0 : 1;
  const accepted = `a number from ${portMin} to ${portMax} is accepted`;
  if (text === "") return bad("bad-port", `the port is missing`, accepted);
  if (!/^\d+$/.test(text)) {
    return bad("bad-port", `port ${quote(text)} is no number`, accepted);
  }
  const port = Number(text);
  if (port >= portMin && port <= portMax) return good({ kind: "tcp", host, port });
  return bad("bad-port", `port ${text.slice(0, 20)} is out of range`, accepted);
}

/** `::1:3001` may mean a port or the last group of the address: only brackets tell. */
function refuseManyColons(text: string, role: Role): Reading<Address> {
  const colon = text.lastIndexOf(":");
  const host = text.slice(0, colon);
  const port = text.slice(colon + 1);
  const problem = "an IPv6 address needs brackets";
  const accepted = acceptedForms(role);
  if (isIPv6(host) && /^\d+$/.test(port)) {
    return bad("missing-brackets", problem, accepted, `[${host}]:${port}`);
  }
  if (isIPv6(text)) return bad("missing-brackets", problem, accepted, `[${text}]:PORT`);
  const slots = readAddress(host, role).fault === null && /^\d+$/.test(port);
  const suggestion = slots && role === "destination" ? `${host},slots=${port}` : "";
  return bad("bad-address", `there is more than one colon`, acceptedForms(role), suggestion);
}

function refuseEmptyHost(text: string, role: Role): Reading<Address> {
  const port = text.slice(1);
  const suggestion = readBarePort(port, role).fault === null ? port : "";
  const meaning = role === "listen" ? "every interface" : "localhost";
  const accepted = `a port alone is accepted and means ${meaning}`;
  return bad("empty-host", "the host before the colon is empty", accepted, suggestion);
}

function refuseUrl(text: string, role: Role): Reading<Address> {
  const rest = text.replace(/^[^/]*:\/\//, "").replace(/[/?#].*$/, "");
  const suggestion = readAddress(rest, role).fault === null ? rest : "";
  return bad("bad-address", `an address is no URL`, acceptedForms(role), suggestion);
}

/** A zone (`%eth0`) stays as it is. */
function shortestIPv6(host: string): string {
  const [literal = "", zone] = host.split("%", 2);
  const words = new Int32Array(4);
  readPlainAddress(literal, words);
  const shortest = formatIPv6(words);
  return zone === undefined ? shortest : `${shortest}%${zone}`;
}

/** Four words in RFC 5952's form. */
export function formatIPv6(words: ArrayLike<number>): string {
  const groups = Array.from(words, (word) => [word >>> 16, word & 0xffff]).flat();
  const written = groups.map((group) => group.toString(16)).join(":");
  return new URL(`http://[${written}]`).hostname.slice(1, -1);
}

/** Labels of letters, digits, `-` and `_`, at most 63 characters each; a last dot is allowed. */
const hostName =
  /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?$/i;
