// The options of how a connection begins: the PROXY protocol from clients, and TLS with them.

import { networks } from "./guard-rows.ts";
import { bad, good, quote, type Reading } from "./mistake.ts";
import { type AnyRow, choice, count, countMax, duration, text } from "./option-row.ts";
import type { PrefaceSettings } from "./preface-settings.ts";
import { distinct, readList, readProtocols } from "./server-name.ts";

/** Certificates of a listener. */
const certificateCountMax = 256;
const pathLengthMax = 4_096;

const others = ["pass", "refuse"] as const;
const clientMeanings = ["required", "optional"] as const;
const versions = ["1.2", "1.3"] as const;

const proxyIn = {
  read: readProxyIn,
  write: ({ v1, v2 }: PrefaceSettings["proxyIn"]): string =>
    [v1 ? "v1" : "", v2 ? "v2" : ""].filter((each) => each !== "").join(","),
  schema: {
    anyOf: [
      { type: "string", pattern: "^(v[12]( *, *v[12])*)?$" },
      { type: "array", items: { type: "string", enum: ["v1", "v2"] } },
    ],
  },
  native: "texts",
} as const;

function readProxyIn(written: string): Reading<PrefaceSettings["proxyIn"]> {
  const items = written === "" ? [] : written.split(",").map((item) => item.trim());
  const strange = items.find((item) => item !== "v1" && item !== "v2");
  if (strange === undefined) return good({ v1: items.includes("v1"), v2: items.includes("v2") });
  const near = written.toLowerCase().replace(/[^12]+/g, "");
  const suggestion = [...near].map((digit) => `v${digit}`).join(",");
  return bad("bad-value", `${quote(strange)} is unknown`, "accepted are v1, v2", suggestion);
}

/** One path. */
export function readFilePath(path: string): Reading<string> {
  const isPath = path.length <= pathLengthMax && !path.includes("\0") && !path.includes(",");
  if (isPath) return good(path);
  const accepted = `a path of at most ${pathLengthMax} characters without commas is accepted`;
  return bad("bad-value", "is no path", accepted);
}

const files = {
  read: (written: string): Reading<readonly string[]> =>
    readList(written, /,/, readFilePath, "a path such as a.pem is accepted", certificateCountMax),
  write: (paths: readonly string[]): string => paths.join(","),
  schema: { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] },
  native: "texts",
  repeats: true,
} as const;

const protocols = {
  read: (written: string): Reading<readonly string[]> => {
    const reading = readProtocols(written);
    return reading.fault === null ? good(distinct(reading.value)) : reading;
  },
  write: (ids: readonly string[]): string => ids.join(","),
  schema: { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] },
  native: "texts",
} as const;

/** A file may say it as a number. */
const version = {
  ...choice(versions),
  schema: { enum: [...versions, 1.2, 1.3] },
  native: "number",
} as const;

export const prefaceRows = [
  {
    name: "proxy-in",
    key: "proxyIn",
    placeholder: "v1,v2",
    initial: "",
    help: "versions of the PROXY protocol that clients in --proxy-from begin with",
    ...proxyIn,
  },
  {
    name: "proxy-from",
    key: "proxyFrom",
    placeholder: "CIDR,...",
    initial: "",
    help: "who must begin with a PROXY header; nobody else is believed; may be repeated",
    ...networks,
  },
  {
    name: "proxy-others",
    key: "proxyOthers",
    placeholder: others.join("|"),
    initial: "pass",
    help: "clients beside --proxy-from: served by their own address, or turned away",
    ...choice(others),
  },
  {
    name: "preface-timeout",
    key: "prefaceMs",
    placeholder: "TIME",
    initial: "5s",
    help: "longest from accept to the end of PROXY header and TLS handshake; no byte prolongs it",
    ...duration(1),
  },
  {
    name: "tls-cert",
    key: "tlsCert",
    placeholder: "FILE,...",
    initial: "",
    help: "terminate TLS with these certificates in PEM, chosen by name; may be repeated",
    ...files,
  },
  {
    name: "tls-key",
    key: "tlsKey",
    placeholder: "FILE,...",
    initial: "",
    help: "their keys in the same order; not needed where each stands beside its certificate",
    ...files,
  },
  {
    name: "tls-alpn",
    key: "tlsAlpn",
    placeholder: "LIST",
    initial: "",
    help: "protocols to agree on, the preferred first, such as h2,http/1.1",
    ...protocols,
  },
  {
    name: "tls-min",
    key: "tlsMin",
    placeholder: versions.join("|"),
    initial: "1.2",
    help: "the oldest version of TLS that clients may speak",
    ...version,
  },
  {
    name: "tls-client-ca",
    key: "tlsClientCa",
    placeholder: "FILE",
    initial: "",
    help: "ask clients for a certificate by one of the authorities in this file",
    ...text(readFilePath),
  },
  {
    name: "tls-client",
    key: "tlsClient",
    placeholder: clientMeanings.join("|"),
    initial: "required",
    help: "whether a client without a certificate is turned away, beside --tls-client-ca",
    ...choice(clientMeanings),
  },
  {
    name: "tls-handshakes-max",
    key: "handshakeCountMax",
    placeholder: "N",
    initial: "10000",
    help: "TLS handshakes in progress at once; more wait",
    ...count(1, countMax),
  },
] as const satisfies readonly AnyRow[];
