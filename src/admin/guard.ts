// Who may ask: a token where one is set, and no page of another origin (forged requests, names bound to our address).

import { isIP } from "node:net";
import { isLoopbackHost, type AdminPlace } from "./place.ts";
import { Refusal } from "./reply.ts";
import { hasToken } from "./token.ts";

/** `free`: says nothing that is not everybody's; `read`: says what is; `change`: changes it. */
export type Access = "free" | "read" | "change";

/** @throws Refusal */
export function admit(
  request: Request,
  access: Access,
  place: AdminPlace,
  token: string | null,
): void {
  if (access === "free") return;
  const isTrusted = token !== null && hasToken(request.headers.get("authorization"), token);
  const needsToken = token !== null && (access === "change" || !place.isLocal);
  if (needsToken && !isTrusted) throw noToken(request);
  refuseOtherOrigins(request, place, isTrusted);
}

function noToken(request: Request): Refusal {
  const isGiven = request.headers.has("authorization");
  return new Refusal(
    "no-token",
    isGiven ? "this is not the token" : "this needs the token",
    "Authorization: Bearer TOKEN, with what is in the file of --admin-token-file",
    { "www-authenticate": 'Bearer realm="iawlb"' },
  );
}

function refuseOtherOrigins(request: Request, place: AdminPlace, isTrusted: boolean): void {
  const host = request.headers.get("host") ?? "";
  const origin = request.headers.get("origin");
  const site = request.headers.get("sec-fetch-site");
  // Who knows the token needs no such proof; a name that was bound to our address by a stranger does not know it.
  if (!isTrusted && !isOwnName(host, place)) {
    throw forbidden(`Host ${JSON.stringify(host)} is not a name of this address`);
  }
  if (origin !== null && !/^https?:\/\//.test(origin)) throw forbidden("the Origin is opaque");
  if (origin !== null && origin.replace(/^https?:\/\//, "") !== host) {
    throw forbidden(`a page of ${origin} asks`);
  }
  if (site === "cross-site" || site === "same-site") throw forbidden("a page of another site asks");
}

function forbidden(message: string): Refusal {
  return new Refusal("forbidden-origin", message, "pages of this very address alone may ask");
}

/** An IP literal, a name of loopback, or the name it was bound by: what no stranger's name service can hand out. */
function isOwnName(host: string, { address }: AdminPlace): boolean {
  if (address.kind === "unix") return true; // no browser gets there
  const name = /^\[([^\]]*)\](?::\d+)?$/.exec(host)?.[1] ?? host.replace(/:\d+$/, "");
  const lower = name.toLowerCase();
  return isIP(name) !== 0 || isLoopbackHost(lower) || lower === address.host;
}
