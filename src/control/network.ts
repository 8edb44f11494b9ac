// Reads and writes networks, the rules of who may connect: `10.0.0.0/8`, `2001:db8::/32`, or one address.

import { isIPv4, isIPv6 } from "node:net";
import { type Network } from "../core/access.ts";
import { maskOf, readPlainAddress } from "../core/client.ts";
import { formatIPv6 } from "./address.ts";
import { bad, good, quote, type Reading } from "./mistake.ts";

/** Rules in one list. */
export const networkCountMax = 65_536;

const accepted =
  "accepted are 10.0.0.0/8, 192.168.1.7, 2001:db8::/32 and [::1], with commas between";

/**
 * Reads a list such as `10.0.0.0/8,192.168.1.7,2001:db8::/32,[::1]`; an address alone is a network of one.
 * IPv4 that is written as IPv6 (`::ffff:10.0.0.0/104`) is IPv4, as clients that come so are.
 */
export function readNetworks(text: string): Reading<readonly Network[]> {
  const items = text.split(",").map((item) => item.trim());
  if (items.length > networkCountMax) {
    const most = `at most ${networkCountMax} are accepted`;
    return bad("out-of-range", `${items.length} networks are too many`, most);
  }
  const filled = items.filter((item) => item !== "");
  if (filled.length < items.length) {
    const near = filled.join(",");
    const suggestion = near !== "" && readNetworks(near).fault === null ? near : "";
    return bad("bad-value", "a network is empty", accepted, suggestion);
  }
  const networks: Network[] = [];
  for (const item of items) {
    const { value, fault } = readNetwork(item);
    if (fault !== null) return { value: null, fault };
    networks.push(value);
  }
  return good(networks);
}

/** The shortest form that `readNetworks` reads back, so that equal networks are equal texts. */
export function formatNetwork({ words, family, prefix }: Network): string {
  const hosts = family === 4 ? 32 : 128;
  const literal =
    family === 4
      ? [24, 16, 8, 0].map((shift) => ((words[3] ?? 0) >>> shift) & 255).join(".")
      : formatIPv6(words);
  return prefix === hosts ? literal : `${literal}/${prefix}`;
}

function readNetwork(text: string): Reading<Network> {
  const parsed = parseNetwork(text);
  if (parsed === "bad-address") {
    const problem = `${quote(text)} is no network and no address`;
    return bad("bad-address", problem, accepted, nearNetwork(text));
  }
  if (parsed === "out-of-range") {
    const problem = `the prefix of ${quote(text)} is no number of bits`;
    const range = `0 to ${text.includes(":") ? 128 : 32} are accepted`;
    return bad("out-of-range", problem, range, nearNetwork(text));
  }
  const { network, isFirst } = parsed;
  if (isFirst) return good(network);
  const problem = `${quote(text)} has bits set behind its prefix`;
  const form = "a network begins with its first address";
  return bad("bad-value", problem, form, formatNetwork(network));
}

interface ParsedNetwork {
  readonly network: Network;
  /** The address was the network's first, with no bit set behind the prefix. */
  readonly isFirst: boolean;
}

function parseNetwork(text: string): ParsedNetwork | "bad-address" | "out-of-range" {
  const [literal = "", length, ...rest] = text.split("/");
  const host = /^\[([^\]]*)\]$/.exec(literal)?.[1] ?? literal;
  const isOurs = isIPv6(host) ? !host.includes("%") : isIPv4(host) && host === literal;
  const words = new Int32Array(4);
  const family = isOurs ? readPlainAddress(host, words) : 0;
  if (family === 0 || rest.length > 0) return "bad-address";
  const bitCount = isIPv4(host) ? 32 : 128; // as it was written
  if (length !== undefined && !/^(?:0|[1-9]\d*)$/.test(length)) return "out-of-range";
  const written = Number(length ?? bitCount);
  if (written > bitCount) return "out-of-range";

  const kept = written + 128 - bitCount;
  const masked = [...words].map((word, index) => word & maskOf(kept - 32 * index));
  // What is IPv4 in IPv6's form is IPv4, unless fewer bits are kept than say so.
  const prefix = family === 4 ? kept - 96 : kept;
  const network: Network =
    prefix >= 0 ? { words: masked, family, prefix } : { words: masked, family: 6, prefix: kept };
  return { network, isFirst: masked.every((word, index) => word === words[index]) };
}

/** `10.0/16` → `10.0.0.0/16`, `10.*` → `10.0.0.0/8`, `10.0.0.0/255.0.0.0` → `10.0.0.0/8`, `[::1]:80` → `::1`. */
function nearNetwork(text: string): string {
  const bare = text.replace(/^\[(.*)\]:\d+$|^([\d.]+):\d+$/, "$1$2").replace(/[[\]\s]|%[^/]*/g, "");
  const [literal = "", length = ""] = bare.split("/", 2);
  const parts = literal.replace(/[.*]+$/, "").split(".");
  const padded = [...parts, "0", "0", "0"].slice(0, 4).join(".");
  const bits = literal.endsWith("*") ? `${8 * parts.length}` : length.replace(/^0+(?=\d)/, "");
  const mask = isIPv4(length) ? bitsOfMask(length) : bits;
  const candidates = [bare, ...(mask === "" ? [] : [`${literal}/${mask}`, `${padded}/${mask}`])];
  for (const candidate of candidates) {
    const parsed = parseNetwork(candidate);
    if (typeof parsed === "object") return formatNetwork(parsed.network);
  }
  return "";
}

/** `255.0.0.0` → `8`; "" for what is no mask. */
function bitsOfMask(mask: string): string {
  const words = new Int32Array(4);
  readPlainAddress(mask, words);
  const count = Math.clz32(~(words[3] ?? 0));
  return words[3] === maskOf(count) ? `${count}` : "";
}

/** A list that `readNetworks` reads back. */
export function formatNetworks(networks: readonly Network[]): string {
  return networks.map(formatNetwork).join(",");
}
