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

interface Name {
  /** Destinations of it, by row. */
  readonly rows: Set<number>;
  /** As last found; null = it never had any. */
  ips: readonly string[] | null;
  isTold: boolean;
}

/** Keeps the addresses of destinations that are given by name. */
export class Names {
  private readonly names = new Map<string, Name>();
  private readonly onAddresses: (row: number, ips: readonly string[]) => void;
  private readonly onWarning: (message: string) => void;
  private timer: ReturnType<typeof setInterval> | null = null;

  /** @param names by row; null: that destination has a fixed address. */
  constructor(
    names: readonly (string | null)[],
    onAddresses: (row: number, ips: readonly string[]) => void,
    onWarning: (message: string) => void,
  ) {
    this.onAddresses = onAddresses;
    this.onWarning = onWarning;
    names.forEach((name, row) => {
      if (name !== null) this.add(row, name);
    });
  }

  /** One more destination of a name: it gets the addresses that are known, or is looked up now. */
  follow(row: number, name: string): void {
    const entry = this.add(row, name);
    if (entry.ips !== null) this.onAddresses(row, entry.ips);
    else void this.lookUpOne(name, entry);
  }

  /** A destination has left its row. */
  forget(row: number): void {
    for (const [name, { rows }] of this.names) {
      if (rows.delete(row) && rows.size === 0) this.names.delete(name);
    }
  }

  /** Looks up each name once and gives its addresses to every destination of that name. */
  async lookUp(): Promise<void> {
    await Promise.all([...this.names].map(([name, entry]) => this.lookUpOne(name, entry)));
  }

  /** Looks them up again from time to time. */
  watch(): void {
    this.timer = setInterval(() => void this.lookUp(), resolveMs);
    this.timer.unref();
  }

  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
  }

  private add(row: number, name: string): Name {
    const entry = this.names.get(name) ?? { rows: new Set(), ips: null, isTold: false };
    this.names.set(name, entry);
    entry.rows.add(row);
    return entry;
  }

  private async lookUpOne(name: string, entry: Name): Promise<void> {
    const answer = await resolve(name);
    if (this.names.get(name) !== entry) return; // nobody wants it any more
    if ("ips" in answer) this.use(entry, answer.ips);
    else this.onUnresolved(name, entry, answer.cause);
  }

  private use(entry: Name, ips: readonly string[]): void {
    const key = (all: readonly string[]) => all.toSorted().join(" "); // servers of names like to turn the order round
    if (entry.ips !== null && key(entry.ips) === key(ips)) return;
    entry.ips = ips;
    for (const row of entry.rows) this.onAddresses(row, ips);
  }

  /** The last good answer is kept; a name that never had one is told once. */
  private onUnresolved(name: string, entry: Name, cause: string): void {
    if (entry.ips !== null || entry.isTold) return;
    entry.isTold = true;
    this.onWarning(
      `the name ${name} does not resolve (${cause}); its destinations wait, it is looked up every ${resolveMs / 1000} s`,
    );
  }
}
