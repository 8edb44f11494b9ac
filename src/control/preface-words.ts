// What `iawlb check` says of how a connection begins: who is believed, TLS, and who is led where. Only what was asked
// for has a line.

import type { DestinationOptions, Options } from "./options.ts";
import { routesOf, routeKeyOf } from "./routes.ts";
import { formatDuration } from "./value.ts";

type Row = [name: string, words: string];

/** Lines of the listener. */
export function prefaceRowsOf(options: Options): Row[] {
  const { proxyIn, tlsCert, destinations } = options;
  const routes = routesOf(destinations).slice(1);
  const rows: Row[] = [];
  if (proxyIn.v1 || proxyIn.v2) rows.push(["proxy in", proxyWords(options)]);
  if (tlsCert.length > 0) rows.push(["tls", tlsWords(options)]);
  if (routes.length > 0) {
    const rest = destinations.some((each) => routeKeyOf(each) === "")
      ? "all others have the default"
      : "all others are turned away";
    rows.push(["routes", `${routes.length} by what the client asks for; ${rest}`]);
  }
  if (rows.length > 0) {
    rows.push(["preface", `${formatDuration(options.prefaceMs)} at most from accept on`]);
  }
  return rows;
}

function proxyWords({ proxyIn, proxyFrom, proxyOthers }: Options): string {
  const versions = [proxyIn.v1 ? "v1" : "", proxyIn.v2 ? "v2" : ""].filter((each) => each !== "");
  const count = proxyFrom.length;
  const rest =
    proxyOthers === "pass" ? "others are served by their own address" : "others are turned away";
  return `${versions.join(" or ")} from ${count} network${count === 1 ? "" : "s"}; ${rest}`;
}

function tlsWords(options: Options): string {
  const { tlsCert, tlsMin, tlsAlpn, tlsClientCa, tlsClient, handshakeCountMax } = options;
  return [
    `${tlsCert.length} certificate${tlsCert.length === 1 ? "" : "s"}`,
    `version ${tlsMin} or later`,
    tlsAlpn.length === 0 ? "no ALPN" : `ALPN ${tlsAlpn.join(", ")}`,
    tlsClientCa === "" ? "" : `client certificate ${tlsClient}`,
    `${handshakeCountMax} handshakes at once`,
  ]
    .filter((each) => each !== "")
    .join(", ");
}

/** What is said of a destination, behind all else. */
export function prefaceWords(one: DestinationOptions): string {
  const { proxy, tls, tlsCa, tlsName, tlsCert, tlsVerify } = one;
  const route = routeKeyOf(one);
  const by = tlsVerify ? `verified${tlsCa === "" ? "" : ` by ${tlsCa}`}` : "not verified";
  const words = [
    proxy === "off" ? "" : `PROXY ${proxy}`,
    tls ? `TLS ${by}${tlsName === "" ? "" : ` as ${tlsName}`}` : "",
    tls && tlsCert !== "" ? `with ${tlsCert}` : "",
    route === "" ? "" : `for ${route}`,
  ].filter((each) => each !== "");
  return words.map((each) => `, ${each}`).join("");
}
