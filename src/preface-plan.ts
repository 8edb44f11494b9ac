// What the threads are told of the start of connections: made from the options and what the files of TLS hold.
import { OptionsError, type DestinationOptions, type Options } from "./control/options.ts";
import { routeKeyOf, routesOf } from "./control/routes.ts";
import type { DestinationTls, TlsMaterial } from "./control/tls-files.ts";
import { faultOfTls } from "./thread-preface.ts";
import type { OutwardPlan, PrefacePlan } from "./thread-plan.ts";

/** @param laneOf the lane of a route. @returns null: nobody reads the start. */
export function prefacePlanOf(
  options: Options,
  tls: TlsMaterial,
  laneOf: (route: string) => number,
): PrefacePlan | null {
  const plan = {
    proxy: proxyOf(options),
    tls: tlsOf(options, tls),
    routes: routesPlanOf(options.destinations, laneOf),
  };
  return plan.proxy === null && plan.tls === null && plan.routes === null ? null : plan;
}

/** @param tls what its files hold; null = it speaks none. */
export function outwardPlanOf(
  { proxy, tlsName, tlsVerify, address }: DestinationOptions,
  tls: DestinationTls | null,
): OutwardPlan | null {
  if (proxy === "off" && tls === null) return null;
  const host = address.kind === "tcp" ? address.host : "";
  return {
    proxy: proxy === "off" ? 0 : proxy === "v1" ? 1 : 2,
    tls: tls && { ...tls, verify: tlsVerify },
    name: tlsName === "" ? host : tlsName,
  };
}

/** The files were read and looked at; what OpenSSL itself makes of them has the last word. @throws OptionsError */
export function refuseBadTls(options: Options, tls: TlsMaterial): void {
  const preface = prefacePlanOf(options, tls, () => 0);
  const outwards = options.destinations.map((each, index) =>
    outwardPlanOf(each, tls.destinations[index] ?? null),
  );
  const fault = faultOfTls(preface, outwards);
  if (fault === null) return;
  const message = `--tls-cert: OpenSSL refuses what its files hold: ${fault}`;
  const hint = "iawlb check tells what is in them";
  throw new OptionsError([{ code: "bad-certificate", argument: "--tls-cert", message, hint }]);
}

function proxyOf({ proxyIn, proxyFrom, proxyOthers }: Options): PrefacePlan["proxy"] {
  if (!proxyIn.v1 && !proxyIn.v2) return null;
  return { versions: proxyIn, from: proxyFrom, othersRefused: proxyOthers === "refuse" };
}

function tlsOf(
  { tlsAlpn, tlsClient, tlsMin }: Options,
  { identities, clientCa }: TlsMaterial,
): PrefacePlan["tls"] {
  if (identities.length === 0) return null;
  const clientRequired = tlsClient === "required";
  const versionMin = tlsMin === "1.2" ? "TLSv1.2" : "TLSv1.3";
  return {
    alpn: tlsAlpn,
    identities: identities.map(({ names, cert, key }) => ({
      names,
      parts: { cert, key, clientCa, clientRequired, versionMin },
    })),
  };
}

function routesPlanOf(
  destinations: readonly DestinationOptions[],
  laneOf: (route: string) => number,
): PrefacePlan["routes"] {
  const named = routesOf(destinations).filter(({ key }) => key !== "");
  if (named.length === 0) return null;
  const hasDefault = destinations.some((each) => routeKeyOf(each) === "");
  return {
    list: named.map(({ key, sni, alpn, plain }) => ({ sni, alpn, plain, lane: laneOf(key) })),
    defaultLane: hasDefault ? 0 : -1,
  };
}
