// Names to addresses, at start and again while the balancer runs; the last good answer is kept (IAWLB §16).
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";

/** Between two look-ups of the same name. */
const resolveMs = 30_000;
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

/** Keeps the addresses of destinations that are given by name. */
export class Names {
  /** Destinations of each name, by row. */
  private readonly rows = new Map<string, number[]>();
  /** Addresses of each name as last found; "" = it never had one. */
  private readonly found = new Map<string, string>();
  private readonly onAddresses: (row: number, ips: readonly string[]) => void;
  private readonly onWarning: (message: string) => void;
  private timer: ReturnType<typeof setInterval> | null = null;

  /** @param names by row; null: that destination has a fixed address. */
  constructor(
    names: readonly (string | null)[],
    onAddresses: (row: number, ips: readonly string[]) => void,
    onWarning: (message: string) => void,
  ) {
    names.forEach((name, row) => {
      if (name === null) return;
      const rows = this.rows.get(name) ?? [];
      this.rows.set(name, rows);
      rows.push(row);
    });
    this.onAddresses = onAddresses;
    this.onWarning = onWarning;
  }

  /** Looks up each name once and gives its addresses to every destination of that name. */
  async lookUp(): Promise<void> {
    const each = async ([name, rows]: [string, readonly number[]]): Promise<void> => {
      const answer = await resolve(name);
      if ("ips" in answer) this.use(name, answer.ips, rows);
      else this.onUnresolved(name, answer.cause);
    };
    await Promise.all([...this.rows].map(each));
  }

  /** Looks them up again from time to time. */
  watch(): void {
    if (this.rows.size === 0) return;
    this.timer = setInterval(() => void this.lookUp(), resolveMs);
    this.timer.unref();
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
  }

  private use(name: string, ips: readonly string[], rows: readonly number[]): void {
    const key = ips.toSorted().join(" "); // servers of names like to turn the order round
    if (this.found.get(name) === key) return;
    this.found.set(name, key);
    for (const row of rows) this.onAddresses(row, ips);
  }

  /** The last good answer is kept; a name that never had one is told once. */
  private onUnresolved(name: string, cause: string): void {
    if (this.found.has(name)) return;
    this.found.set(name, "");
    this.onWarning(
      `the name ${name} does not resolve (${cause}); its destinations wait, it is looked up every ${resolveMs / 1000} s`,
    );
  }
}
