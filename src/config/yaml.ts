// YAML 1.2 with positions, and edits of one list in it that keep its comments.

import { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } from "yaml";
import type { Alias, Node, Pair } from "yaml";
import { lineEndOf, type ListPlace } from "./edit.ts";
import {
  checkDepth,
  type Entry,
  entryAt,
  faultAt,
  numberText,
  type Parsed,
  parsed,
  type Spot,
} from "./tree.ts";
import { type Tree, TreeFault } from "./tree.ts";

/** Nodes of the tree; an alias counts as all that it stands for, so that a few lines cannot become millions. */
const nodeCountMax = 2_000_000;

export function parseYaml(text: string): Parsed {
  return parsed(() => {
    const counter = new LineCounter();
    const document = parseDocument(text, {
      lineCounter: counter,
      prettyErrors: false,
      intAsBigInt: true,
    });
    const spotAt = (offset: number): Spot => {
      const { line, col } = counter.linePos(offset);
      return { line, column: col };
    };
    const faults = [...document.errors, ...document.warnings].map((error) => {
      const [message = ""] = error.message.split("\n");
      return faultAt(spotAt(error.pos[0]), message.replace(/[.:]$/, ""));
    });
    if (faults.length > 0) return { tree: null, faults };
    return { tree: new Walk(spotAt).treeOf(document.contents, 0, 0), faults };
  });
}

class Walk {
  private readonly spotAt: (offset: number) => Spot;
  /** The last node of each name so far, and what each alias has met first: the library looks through all each time. */
  private readonly anchors = new Map<string, Node>();
  private readonly met = new Set<Node>();
  private readonly targets = new Map<Alias, Node | undefined>();
  private count = 0;

  constructor(spotAt: (offset: number) => Spot) {
    this.spotAt = spotAt;
  }

  /** @param before where it would stand if nothing is there. */
  treeOf(node: Node | null, depth: number, before: number): Tree {
    const spot = this.spotAt(node?.range?.[0] ?? before);
    checkDepth(depth, spot);
    this.count++;
    if (this.count > nodeCountMax) {
      throw new TreeFault(spot, `it holds more than ${nodeCountMax} values`);
    }
    // A file without any value is one without any key.
    if (node === null) return depth === 0 ? { ...spot, kind: "table", entries: [] } : nothing(spot);
    if (isAlias(node)) {
      if (!this.targets.has(node)) this.targets.set(node, this.anchors.get(node.source));
      const target = this.targets.get(node);
      if (target === undefined) {
        throw new TreeFault(spot, `alias ${node.source} stands for nothing`);
      }
      return { ...this.treeOf(target, depth + 1, before), ...spot };
    }
    if (node.anchor !== undefined && !this.met.has(node)) {
      this.met.add(node);
      this.anchors.set(node.anchor, node);
    }
    if (isMap<Node, Node | null>(node)) {
      return {
        ...spot,
        kind: "table",
        entries: node.items.map((pair) => this.entryOf(pair, depth, spot)),
      };
    }
    if (isSeq<Node | null>(node)) {
      const start = node.range?.[0] ?? before;
      const items = node.items.map((item) => this.treeOf(item, depth + 1, start));
      return { ...spot, kind: "list", items };
    }
    if (!isScalar(node)) return { ...spot, kind: "other", text: "" };
    const { value } = node;
    if (typeof value === "string") return { ...spot, kind: "text", text: value };
    if (typeof value === "boolean") return { ...spot, kind: "boolean", text: String(value) };
    if (typeof value === "number" || typeof value === "bigint") {
      return { ...spot, kind: "number", text: numberText(value) };
    }
    return value === null ? nothing(spot) : { ...spot, kind: "other", text: String(value) };
  }

  private entryOf({ key, value }: Pair<Node, Node | null>, depth: number, home: Spot): Entry {
    const at = key.range?.[0];
    const spot = at === undefined ? home : this.spotAt(at);
    if (!isScalar(key)) throw new TreeFault(spot, "a key is one word");
    return entryAt(spot, String(key.value), this.treeOf(value, depth + 1, key.range?.[1] ?? 0));
  }
}

function nothing(spot: Spot): Tree {
  return { ...spot, kind: "nothing", text: "" };
}

/**
 * Finds the destinations of a listener. @param listener its number, null = the one above all.
 * @returns its list, and what stands before a new item; null when it is none, or stands for one elsewhere.
 */
export function yamlList(
  text: string,
  listener: number | null,
): { place: ListPlace; dash: string } | null {
  const document = parseDocument(text);
  const path = listener === null ? ["destinations"] : ["listener", listener, "destinations"];
  const node = document.getIn(path, true);
  if (!isSeq<Node>(node) || node.range === null || node.range === undefined) return null;
  const ranges = node.items.map((item) => {
    const [start = 0, end = 0] = item.range ?? [];
    return { start, end: start + text.slice(start, end).trimEnd().length };
  });
  if (node.flow === true) {
    const inside = { start: node.range[0] + 1, end: node.range[1] - 1 };
    return { place: { inside, items: ranges, comma: ",", comment: "#", blankCount: 0 }, dash: "" };
  }
  const items = ranges.map(({ start, end }) => ({ start: text.lastIndexOf("-", start - 1), end }));
  const inside = { start: items[0]?.start ?? 0, end: lineEndOf(text, items.at(-1)?.end ?? 0) };
  return { place: { inside, items, comma: "", comment: "#", blankCount: 0 }, dash: "- " };
}
