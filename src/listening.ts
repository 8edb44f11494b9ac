// Where it listens: the addresses of LISTEN, opened all or none. Origin: IAWLB §5–§9.
import { networkInterfaces } from "node:os";
import type { Address } from "./control/options.ts";
import { resolve } from "./control/resolve.ts";
import type { Target } from "./engine/dial.ts";
import { ListenError, openDescriptor, type ListeningDescriptor } from "./engine/listen.ts";
import type { Inheritance } from "./inherited.ts";
import type { Libc } from "./linux/libc.ts";

/** Ports that are picked for several addresses at once before giving up. */
const pickCountMax = 16;

export interface OpenListener {
  readonly address: string;
  readonly port: number;
  close(): void;
}

/** Every address of LISTEN. @throws ListenError when its name does not resolve. */
export async function listenTargets(address: Address): Promise<readonly Target[]> {
  if (address.kind === "unix") return [{ path: address.path }];
  const { host, port } = address;
  if (host === "*") return [{ ip: hasIpv6() ? "::" : "0.0.0.0", port }];
  const found = await resolve(host);
  if ("cause" in found) {
    throw new ListenError(
      `${host}:${port}`,
      found.cause,
      `the name does not resolve (${found.cause})`,
    );
  }
  return found.ips.map((ip) => ({ ip, port }));
}

/**
 * Opens all that are not inherited, or throws.
 * A port that the first address picked may be taken on the next one: then another is picked.
 */
export function openAll(
  c: Libc,
  wanted: readonly Target[],
  backlogCount: number,
  inheritance: Inheritance | null,
): ListeningDescriptor[] {
  const open = (target: Target) =>
    inheritance?.take(c, target, backlogCount) ?? openDescriptor(c, target, backlogCount);
  for (let tries = 1; ; tries += 1) {
    try {
      return inTurn(wanted, open);
    } catch (error) {
      const wasPicked = wanted.some((each) => "ip" in each && each.port === 0);
      const isTaken = error instanceof ListenError && error.code === "EADDRINUSE";
      if (!wasPicked || !isTaken || tries === pickCountMax) throw error;
    }
  }
}

/** Opens one after the other; port 0 of several addresses: the first picks, the others follow. All or none. */
export function inTurn<T extends OpenListener>(
  wanted: readonly Target[],
  open: (target: Target) => T,
): T[] {
  const opened: T[] = [];
  try {
    for (const target of wanted) {
      const port = opened[0]?.port ?? 0;
      opened.push(open("ip" in target && target.port === 0 ? { ...target, port } : target));
    }
    return opened;
  } catch (error) {
    for (const each of opened) each.close();
    throw error;
  }
}

/** A destination's address is one that we listen on, as far as this machine's interfaces show. */
export function isOurs(target: Target, listening: readonly Target[]): boolean {
  return listening.some((each) => {
    if ("path" in target || "path" in each) {
      return "path" in target && "path" in each && target.path === each.path;
    }
    if (target.port !== each.port) return false;
    const isAny = each.ip === "::" || (each.ip === "0.0.0.0" && !target.ip.includes(":"));
    return target.ip === each.ip || (isAny && isOwnIp(target.ip));
  });
}

function isOwnIp(ip: string): boolean {
  if (ip.startsWith("127.") || ip === "0.0.0.0" || ip === "::") return true;
  return Object.values(networkInterfaces()).some((all) =>
    all?.some(({ address }) => address === ip),
  );
}

/** IPv6 can be switched off in the kernel; then all interfaces are those of IPv4. */
function hasIpv6(): boolean {
  try {
    Bun.listen({ hostname: "::1", port: 0, socket: { data() {} } }).stop();
    return true;
  } catch {
    return false;
  }
}
