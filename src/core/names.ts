// Host names and wildcards, found by the most specific that matches: for routes, and for certificates.
//
// `*.example.com` is read in two ways, because those who ask for it have two rules to live by. A certificate's wildcard
// stands for exactly one label (RFC 9525 §6.3; browsers refuse a certificate for more), so a table of certificates must
// not offer one for two: the default may be the right one. A route is about where a whole domain lives: nginx, Envoy
// and the Gateway API of Kubernetes take any number of labels, and who comes from there expects it. Neither matches
// `example.com` itself.

/** How many labels the `*` of a pattern stands for. */
export type WildcardReach = "one" | "any";

const wildcard = "*";

/** Values by pattern. A look costs a hash for the name and one for each of its dots, with however many patterns. */
export class NameTable<T> {
  private readonly exact = new Map<string, T>();
  /** By what is behind the `*`: ".example.com". */
  private readonly behindWildcard = new Map<string, T>();
  private behindWildcardSizeMax = 0;
  private readonly reach: WildcardReach;

  constructor(reach: WildcardReach) {
    this.reach = reach;
  }

  /**
   * Adds a name or a wildcard.
   * @param pattern legal, as the control plane reads it, in any case; the value that was there first stays.
   */
  add(pattern: string, value: T): void {
    const name = pattern.toLowerCase();
    const isWildcard = name.startsWith(wildcard);
    const key = isWildcard ? name.slice(wildcard.length) : name;
    const table = isWildcard ? this.behindWildcard : this.exact;
    if (!table.has(key)) table.set(key, value);
    if (!isWildcard) return;
    this.behindWildcardSizeMax = Math.max(this.behindWildcardSizeMax, key.length);
  }

  /**
   * The value of the most specific pattern that matches: the name itself, else the longest wildcard.
   * @param name in lower case, as `ClientHello.sni` is; "" matches nothing.
   * @returns undefined when none does. Allocates nothing but parts of the name.
   */
  find(name: string): T | undefined {
    return this.exact.get(name) ?? this.findWildcard(name);
  }

  /**
   * The value of the next less specific pattern: of the most specific one that matches whatever `pattern` does, and more.
   * @returns undefined when there is none.
   */
  findWider(pattern: string): T | undefined {
    const name = pattern.toLowerCase();
    if (!name.startsWith(wildcard)) return this.findWildcard(name);
    return this.reach === "one" ? undefined : this.findWildcard(name.slice(wildcard.length), 1);
  }

  /** @param from where the first dot to look at may stand. */
  private findWildcard(name: string, from = 0): T | undefined {
    for (let dot = name.indexOf(".", from); dot >= 0; dot = name.indexOf(".", dot + 1)) {
      // What is longer than all of them is none of them: a name of many dots costs no more for it.
      const isShort = name.length - dot <= this.behindWildcardSizeMax;
      const value = isShort ? this.behindWildcard.get(name.slice(dot)) : undefined;
      if (value !== undefined || this.reach === "one") return value;
    }
    return undefined;
  }
}
