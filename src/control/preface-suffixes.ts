// What may stand behind a destination's address of how it is spoken to, and of who is led to it.

import { good, type Reading } from "./mistake.ts";
import { choice, flag, text } from "./option-row.ts";
import { readFilePath } from "./preface-rows.ts";
import { distinct, readPatterns, readPeerName, readProtocols } from "./server-name.ts";

const proxyVersions = ["off", "v1", "v2"] as const;

const onOff = {
  read: (written: string): Reading<boolean> =>
    written === "on" || written === "off" ? good(written === "on") : readFlag(written),
  write: (value: boolean): string => (value ? "on" : "off"),
  schema: {
    anyOf: [{ type: "boolean" }, { type: "string", enum: ["on", "off", "true", "false"] }],
  },
  native: "flag",
} as const;

/** The near miss is one of the words that stand for it here. */
function readFlag(written: string): Reading<boolean> {
  const reading = flag.read(written);
  if (reading.fault === null) return reading;
  const { suggestion } = reading.fault;
  const near = suggestion === "" ? "" : suggestion === "true" ? "on" : "off";
  return {
    ...reading,
    fault: { ...reading.fault, accepted: "accepted are on, off", suggestion: near },
  };
}

/** Texts with + between them; in a file a list as well. */
const list = (readAll: (written: string) => Reading<readonly string[]>) =>
  ({
    read: (written: string): Reading<readonly string[]> => {
      const reading = readAll(written);
      return reading.fault === null ? good(distinct(reading.value)) : reading;
    },
    write: (values: readonly string[]): string => values.join("+"),
    schema: { anyOf: [{ type: "string" }, { type: "array", items: { type: "string" } }] },
    native: "texts",
  }) as const;

const peerName = text((written) => (written === "" ? good("") : readPeerName(written)));

/** By what a destination is chosen; in a file a route says it for all of its own. */
export const routeSuffixes = [
  {
    name: "sni",
    key: "sni",
    value: "NAME+...",
    help: "for TLS clients that ask for one of these names; *.b.example is any label before it, or several",
    ...list(readPatterns),
  },
  {
    name: "alpn",
    key: "alpn",
    value: "ID+...",
    help: "for TLS clients that offer one of these protocols, such as h2+http/1.1",
    ...list(readProtocols),
  },
  {
    name: "plain",
    key: "plain",
    value: "",
    help: "for clients that speak no TLS",
    ...flag,
  },
] as const;

export const prefaceSuffixes = [
  {
    name: "proxy",
    key: "proxy",
    value: proxyVersions.join("|"),
    help: "tell it the client's address by the PROXY protocol; off if not given",
    ...choice(proxyVersions),
  },
  { name: "tls", key: "tls", value: "", help: "speak TLS to it, and verify it", ...flag },
  {
    name: "tls-ca",
    key: "tlsCa",
    value: "FILE",
    help: "authorities to verify it by, in PEM; the system's if not given",
    ...text(readFilePath),
  },
  {
    name: "tls-name",
    key: "tlsName",
    value: "NAME",
    help: "its name in the handshake and the certificate; its host if not given",
    ...peerName,
  },
  {
    name: "tls-cert",
    key: "tlsCert",
    value: "FILE",
    help: "our certificate towards it, in PEM",
    ...text(readFilePath),
  },
  {
    name: "tls-key",
    key: "tlsKey",
    value: "FILE",
    help: "the key of that, if it does not stand beside it",
    ...text(readFilePath),
  },
  {
    name: "tls-verify",
    key: "tlsVerify",
    value: "on|off",
    help: "whether its certificate must be valid and name it; on if not given",
    ...onOff,
  },
  ...routeSuffixes,
] as const;
