// Names to addresses, at start and again while the balancer runs; the last good answer is kept (IAWLB §16).
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

/** Between two look-ups of the same name. */
export const resolveMs = 30_000;
/** Addresses of one name that are used. */
const addressCountMax = 16;

export type Resolution = { readonly ips: readonly string[] } | { readonly cause: string };

/** All addresses of a name, as getaddrinfo orders them; a literal is its own address. */
export async function resolve(host: string): Promise<Resolution> {
  if (isLiteral(host)) return { ips: [host] };
  try {
    const answers = await lookup(host, { all: true, order: "verbatim" });
    const ips = [...new Set(answers.map((answer) => answer.address))].slice(0, addressCountMax);
    return ips.length > 0 ? { ips } : { cause: "no address" };
  } catch (error) {
    const { code } = error as { code?: unknown }; // errors of dns carry their name
    return { cause: typeof code === "string" ? code : "no answer" };
  }
}

export function isLiteral(host: string): boolean {
  return isIP(host.split("%")[0] ?? host) !== 0;
}
