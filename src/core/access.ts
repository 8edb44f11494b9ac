// Who may connect: networks that are allowed or denied, in a binary trie, so that a look costs the same with ten rules
// and with thousands.
//
//   root of a family ─0→ node ─1→ node ─…    one step per bit of the address, the highest first; a node that ends a
//                    └1→ …                   rule's prefix bears its verdict, and the last one on the way counts

export interface Network {
  /** Four words of 32 bits, an IPv4 address in its mapped form (`readClient`). */
  readonly words: readonly number[];
  readonly family: 4 | 6;
  /** How many bits count: 0..32 of IPv4, 0..128 of IPv6. Those behind them are not looked at. */
  readonly prefix: number;
}

const Verdict = { none: 0, allowed: 1, denied: 2 } as const;
type Verdict = (typeof Verdict)[keyof typeof Verdict];

/** Node 0 is nobody's child and stands for none. */
const root4 = 1;
const root6 = 2;
/** An IPv4 address is the last 32 of the 128 bits. */
const firstBit4 = 96;

/** The longest prefix that matches decides; a network that is in both lists is denied. */
export class AccessRules {
  /** By node: where a bit of 0 and a bit of 1 lead to. */
  private children = new Int32Array(64);
  private verdicts = new Uint8Array(32);
  private nodeCount = 3;
  private readonly initial: Verdict;

  constructor(allow: readonly Network[], deny: readonly Network[]) {
    this.initial = allow.length > 0 ? Verdict.denied : Verdict.allowed;
    for (const network of allow) this.add(network, Verdict.allowed);
    for (const network of deny) this.add(network, Verdict.denied);
    this.resize(this.nodeCount);
  }

  /**
   * Whether an address may connect, as `readClient` gives it. At most 32 or 128 steps, allocates nothing.
   * @returns where no rule matches: true when nothing is allowed by a rule.
   */
  allows(family: 4 | 6, words: Int32Array): boolean {
    const { children, verdicts } = this;
    let verdict: number = this.initial;
    let node = family === 4 ? root4 : root6;
    for (let bit = family === 4 ? firstBit4 : 0; node !== 0; bit += 1) {
      const own = verdicts[node] ?? 0;
      if (own !== Verdict.none) verdict = own;
      if (bit === 128) break;
      node = children[2 * node + (((words[bit >>> 5] ?? 0) >>> (31 - (bit & 31))) & 1)] ?? 0;
    }
    return verdict === Verdict.allowed;
  }

  private add({ words, family, prefix }: Network, verdict: Verdict): void {
    const start = family === 4 ? firstBit4 : 0;
    let node = family === 4 ? root4 : root6;
    for (let bit = start; bit < start + prefix; bit += 1) {
      const place = 2 * node + (((words[bit >>> 5] ?? 0) >>> (31 - (bit & 31))) & 1);
      node = this.children[place] ?? 0;
      if (node !== 0) continue;
      node = this.nodeCount;
      if (node === this.verdicts.length) this.resize(2 * node);
      this.children[place] = node;
      this.nodeCount += 1;
    }
    this.verdicts[node] = verdict;
  }

  private resize(nodeCountMax: number): void {
    const { children, verdicts, nodeCount } = this;
    this.children = new Int32Array(2 * nodeCountMax);
    this.children.set(children.subarray(0, 2 * nodeCount));
    this.verdicts = new Uint8Array(nodeCountMax);
    this.verdicts.set(verdicts.subarray(0, nodeCount));
  }
}
