// Options and suffixes of how a connection begins that are right each for itself, and wrong together or alone.

import { bad, type Fault, quote } from "./mistake.ts";
import type { DestinationOptions } from "./places.ts";
import { routeFaultsOf } from "./routes.ts";
import type { Settings } from "./settings.ts";

/** A fault, and whose it is. */
export interface PrefaceFault {
  /** Index of a destination; null = it is an option's. */
  readonly row: number | null;
  /** Name of the option or the suffix. */
  readonly name: string;
  readonly fault: Fault;
}

/** Every one of a listener and its destinations. */
export function prefaceFaultsOf(
  settings: Settings,
  destinations: readonly DestinationOptions[],
): readonly PrefaceFault[] {
  const engine = engineFault(settings, destinations);
  return [
    ...proxyFaults(settings),
    ...listenerFaults(settings),
    ...(engine === null ? [] : [engine]),
    ...destinations.flatMap((each, row) =>
      destinationFaults(each).map(({ name, fault }) => ({ row, name, fault })),
    ),
    ...routeFaultsOf(destinations).map(({ row, fault }) => ({ row, name: "sni", fault })),
  ];
}

function ofOption(name: string, problem: string, accepted: string): PrefaceFault {
  return { row: null, name, fault: bad("incomplete", problem, accepted).fault };
}

function proxyFaults({ proxyIn, proxyFrom, proxyOthers }: Settings): readonly PrefaceFault[] {
  const isOn = proxyIn.v1 || proxyIn.v2;
  if (isOn && proxyFrom.length > 0) return [];
  if (isOn) {
    const advice = "--proxy-from is needed beside it, for a header says who the client is";
    return [ofOption("proxy-in", "it is not said who is believed", advice)];
  }
  const advice = "--proxy-in v1,v2 is needed beside it";
  const problem = "nobody begins with a PROXY header";
  return [
    ...(proxyFrom.length > 0 ? [ofOption("proxy-from", problem, advice)] : []),
    ...(proxyOthers === "refuse" ? [ofOption("proxy-others", problem, advice)] : []),
  ];
}

function listenerFaults({
  tlsCert,
  tlsKey,
  tlsAlpn,
  tlsClientCa,
}: Settings): readonly PrefaceFault[] {
  if (tlsCert.length === 0) {
    const named = [
      tlsKey.length > 0 ? "tls-key" : "",
      tlsAlpn.length > 0 ? "tls-alpn" : "",
      tlsClientCa === "" ? "" : "tls-client-ca",
    ].filter((name) => name !== "");
    return named.map((name) =>
      ofOption(name, "there is no certificate", "--tls-cert is needed beside it"),
    );
  }
  if (tlsKey.length === 0 || tlsKey.length === tlsCert.length) return [];
  const problem = `${tlsKey.length} for ${tlsCert.length} of --tls-cert`;
  const advice = "one for each in the same order is accepted, or none where each file holds both";
  return [ofOption("tls-key", problem, advice)];
}

function engineFault(
  { engine, tlsCert }: Settings,
  destinations: readonly DestinationOptions[],
): PrefaceFault | null {
  if (engine !== "libc") return null;
  const toTls = destinations.find(({ tls }) => tls);
  if (tlsCert.length === 0 && toTls === undefined) return null;
  const who = tlsCert.length > 0 ? "--tls-cert" : `,tls of ${quote(toTls?.name ?? "")}`;
  const problem = `the libc engine speaks no TLS, and ${who} stands beside it`;
  const { fault } = bad("unexpected-argument", problem, "--engine bun is needed for it");
  return { row: null, name: "engine", fault };
}

type OwnFault = Omit<PrefaceFault, "row">;

function destinationFaults(one: DestinationOptions): readonly OwnFault[] {
  const { tls, tlsCa, tlsName, tlsCert, tlsKey, tlsVerify, address } = one;
  const of = (name: string, problem: string, accepted: string): OwnFault => ({
    name,
    fault: bad("incomplete", problem, accepted).fault,
  });
  if (!tls) {
    const named = [
      tlsCa === "" ? "" : "tls-ca",
      tlsName === "" ? "" : "tls-name",
      tlsCert === "" ? "" : "tls-cert",
      tlsKey === "" ? "" : "tls-key",
      tlsVerify ? "" : "tls-verify",
    ].filter((name) => name !== "");
    // Not taken for a wish of TLS: whether bytes leave in the clear is to be said by one word, and seen by it.
    return named.map((name) => of(name, `${name} stands without tls`, "tls is needed beside it"));
  }
  const faults: OwnFault[] = [];
  if (tlsKey !== "" && tlsCert === "") {
    faults.push(of("tls-key", "tls-key stands without tls-cert", "it is the key of a certificate"));
  }
  if (tlsCa !== "" && !tlsVerify) {
    const problem = "tls-ca stands beside tls-verify=off";
    faults.push(of("tls-ca", problem, "nothing would be verified by it"));
  }
  if (address.kind === "unix" && tlsName === "" && tlsVerify) {
    const problem = "a unix socket has no name to verify";
    faults.push(of("tls", problem, "tls-name is needed beside tls"));
  }
  return faults;
}
