// The options of the whole program: its file, and where it is seen and steered. The rest are a listener's.

import { type Address, formatAddress, readAddress } from "./address.ts";
import { bad, good, type Reading } from "./mistake.ts";
import { duration, flag, text, type WordRow } from "./option-row.ts";
import type { AccessLogFormat, LogLevel } from "./settings.ts";

/** Where the admin side listens. */
export type AdminAddress = Address;

/** What the whole program runs by. */
export interface ProgramSettings {
  /** "auto" = a socket under the runtime directory (`admin-place.ts`); none = off. */
  readonly admin: "auto" | readonly AdminAddress[];
  /** "" = none. */
  readonly adminTokenFile: string;
  readonly accessLog: AccessLogFormat;
  readonly logLevel: LogLevel;
  /** Reload when the file changes. */
  readonly watch: boolean;
  /** Longest wait for the successor of an upgrade. */
  readonly upgradeMs: number;
}

/** Addresses of the admin side. */
const adminCountMax = 8;
const pathLengthMax = 4_096;

export interface ProgramRow<V = unknown, S = unknown> extends WordRow<V, S> {
  /** May be given several times; that is the same as with commas between. */
  readonly repeats: boolean;
}

export const programRows = [
  {
    name: "config",
    placeholder: "FILE",
    initial: "",
    help: "listeners and options from a file: .toml, .yaml, .yml, .json or .jsonc",
    repeats: false,
    ...text(readPath),
  },
  {
    name: "watch",
    placeholder: "",
    initial: "false",
    help: "reload when that file, or one of TLS, changes",
    repeats: false,
    ...flag,
  },
  {
    name: "admin",
    placeholder: "ADDRESS",
    initial: "auto",
    help: "where it is seen and steered: unix:PATH, HOST:PORT, several, or off; auto = a unix socket",
    repeats: true,
    read: readAdmin,
    write: (value: ProgramSettings["admin"]) => writeAdmin(value).join(","),
    schema: {
      anyOf: [
        { type: "string" },
        { type: "integer", minimum: 0, maximum: 65_535 },
        { type: "array", items: { type: "string" }, maxItems: adminCountMax },
      ],
    },
    native: "list",
  },
  {
    name: "admin-token-file",
    placeholder: "FILE",
    initial: "",
    help: "who changes something must bring the token in this file; needed off loopback",
    repeats: false,
    ...text(readPath),
  },
  {
    name: "upgrade-timeout",
    placeholder: "TIME",
    initial: "30s",
    help: "how long the new program of an upgrade may take until it serves; then it is ended",
    repeats: false,
    ...duration(1),
  },
] as const satisfies readonly ProgramRow[];

/** The values in words, one each: `auto`, `off`, or addresses. */
export function writeAdmin(value: ProgramSettings["admin"]): readonly string[] {
  if (value === "auto") return ["auto"];
  return value.length === 0 ? ["off"] : value.map(formatAddress);
}

function readPath(path: string): Reading<string> {
  if (path.length <= pathLengthMax && !path.includes("\0")) return good(path);
  const accepted = `a path of at most ${pathLengthMax} characters is accepted`;
  return bad("bad-value", "is no path", accepted);
}

/** A port alone is one of this machine only: a bare port of a listener is every interface, and this is no listener. */
function readAdmin(text: string): Reading<ProgramSettings["admin"]> {
  const items = text.split(",").map((item) => item.trim());
  if (items.length === 1 && items[0] === "auto") return good("auto");
  if (items.length === 1 && items[0] === "off") return good([]);
  if (items.includes("auto") || items.includes("off")) {
    return bad("bad-value", "auto and off stand alone", acceptedAdmin);
  }
  if (items.length > adminCountMax) {
    return bad(
      "out-of-range",
      `${items.length} addresses are too many`,
      `${adminCountMax} at most`,
    );
  }
  const addresses: AdminAddress[] = [];
  for (const item of items) {
    const reading = readAddress(item, "listen");
    if (reading.fault !== null) {
      const near = ["auto", "off"].find((word) => word.startsWith(item.toLowerCase()));
      const suggestion = item !== "" && near !== undefined ? near : reading.fault.suggestion;
      return { value: null, fault: { ...reading.fault, accepted: acceptedAdmin, suggestion } };
    }
    const { value } = reading;
    const isBarePort = value.kind === "tcp" && /^\d+$/.test(item);
    addresses.push(isBarePort ? { ...value, host: "127.0.0.1" } : value);
  }
  const texts = addresses.map(formatAddress).filter((each) => !each.endsWith(":0"));
  if (new Set(texts).size < texts.length) return bad("bad-value", "an address stands twice");
  return good(addresses);
}

const acceptedAdmin =
  "accepted are unix:/path, 127.0.0.1:9090, [::1]:9090, 9090 (loopback), auto and off";

/** Whether only this machine reaches it. */
export function isLocal(address: AdminAddress): boolean {
  if (address.kind === "unix") return true;
  const { host } = address;
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}
