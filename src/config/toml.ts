// TOML with positions, and edits of one list in it that leave everything else as it stands.

import { type AST, ParseError, parseTOML } from "toml-eslint-parser";
import { lineEndOf, type ListPlace, type Range } from "./edit.ts";
import { checkDepth, entryAt, faultAt, numberText, type Parsed, parsed } from "./tree.ts";
import type { Spot, SyntaxFault, Table, Tree } from "./tree.ts";

export function parseToml(text: string): Parsed {
  return parsed(() => ({ tree: treeOf(parseTOML(text)), faults: [] }), faultOf);
}

function faultOf(error: unknown): SyntaxFault | null {
  if (!(error instanceof ParseError)) return null;
  return faultAt({ line: error.lineNumber, column: error.column + 1 }, error.message);
}

/** A table while it is put together: its keys may stand in several places of the file. */
interface Draft extends Spot {
  readonly kind: "table" | "list";
  readonly members: Map<string | number, { spot: Spot; value: Draft | Tree }>;
}

function treeOf(program: AST.TOMLProgram): Table {
  const root = draftAt({ line: 1, column: 1 }, "table");
  const [top] = program.body;
  for (const node of top.body) {
    if (node.type === "TOMLKeyValue") addTo(root, node);
    else {
      const home = homeOf(root, node.resolvedKey, node.key.keys.map(spotOf), spotOf(node));
      for (const each of node.body) addTo(home, each);
    }
  }
  return tableOf(root, 0);
}

/** The table that a header names; what is missing on the way is made. The parser has refused what cannot be. */
function homeOf(
  root: Draft,
  path: readonly (string | number)[],
  spots: readonly Spot[],
  at: Spot,
): Draft {
  let home = root;
  let named = -1;
  path.forEach((step, index) => {
    if (typeof step === "string") named++;
    const spot = typeof step === "string" ? (spots[named] ?? at) : at;
    const found = home.members.get(step)?.value;
    if (found !== undefined && "members" in found) home = found;
    else {
      const next = draftAt(spot, typeof path[index + 1] === "number" ? "list" : "table");
      home.members.set(step, { spot, value: next });
      home = next;
    }
  });
  return home;
}

function addTo(table: Draft, node: AST.TOMLKeyValue): void {
  const names = node.key.keys.map(nameOf);
  const spots = node.key.keys.map(spotOf);
  const last = names.at(-1) ?? "";
  const home = homeOf(table, names.slice(0, -1), spots, spotOf(node));
  home.members.set(last, { spot: spots.at(-1) ?? spotOf(node), value: valueOf(node.value, 0) });
}

function draftAt(spot: Spot, kind: Draft["kind"]): Draft {
  return { line: spot.line, column: spot.column, kind, members: new Map() };
}

function tableOf(draft: Draft, depth: number): Table {
  checkDepth(depth, draft);
  const entries = [...draft.members].map(([name, { spot, value }]) => {
    return entryAt(spot, String(name), "members" in value ? closed(value, depth + 1) : value);
  });
  return { line: draft.line, column: draft.column, kind: "table", entries };
}

function closed(draft: Draft, depth: number): Tree {
  const table = tableOf(draft, depth);
  if (draft.kind === "table") return table;
  const { line, column } = draft;
  return { line, column, kind: "list", items: table.entries.map(({ value }) => value) };
}

function valueOf(node: AST.TOMLContentNode, depth: number): Tree {
  const spot = spotOf(node);
  checkDepth(depth, spot);
  if (node.type === "TOMLArray") {
    return { ...spot, kind: "list", items: node.elements.map((each) => valueOf(each, depth + 1)) };
  }
  if (node.type === "TOMLInlineTable") {
    const draft = draftAt(spot, "table");
    for (const each of node.body) addTo(draft, each);
    return tableOf(draft, depth);
  }
  switch (node.kind) {
    case "string":
      return { ...spot, kind: "text", text: node.value };
    case "integer":
      return { ...spot, kind: "number", text: numberText(node.bigint) };
    case "float":
      return { ...spot, kind: "number", text: numberText(node.value) };
    case "boolean":
      return { ...spot, kind: "boolean", text: String(node.value) };
    default:
      return { ...spot, kind: "other", text: node.datetime };
  }
}

function nameOf(key: AST.TOMLBare | AST.TOMLQuoted): string {
  return key.type === "TOMLBare" ? key.name : key.value;
}

function spotOf({ loc }: { readonly loc: AST.HasLocs["loc"] }): Spot {
  return { line: loc.start.line, column: loc.start.column + 1 };
}

/**
 * Finds the destinations of a listener. @param listener its number, null = the one above all.
 * @returns its list, and whether its items are tables under headers of their own; null when it is no list.
 */
export function tomlList(text: string, listener: number | null): TomlList | null {
  const [top] = parseTOML(text).body;
  const path = listener === null ? ["destinations"] : ["listener", listener, "destinations"];
  const tables = top.body.filter(
    (node): node is AST.TOMLTable =>
      node.type === "TOMLTable" &&
      node.kind === "array" &&
      isPath(node.resolvedKey.slice(0, -1), path),
  );
  const [first, last] = [tables[0], tables.at(-1)];
  if (first !== undefined && last !== undefined) {
    const items = tables.map(rangeOf);
    const inside = { start: rangeOf(first).start, end: lineEndOf(text, rangeOf(last).end) };
    const header = `[[${first.key.keys.map((key) => text.slice(...key.range)).join(".")}]]`;
    return { place: { inside, items, comma: "", comment: "#", blankCount: 1 }, header };
  }
  const node = findIn(top.body, path);
  if (node?.type !== "TOMLArray") return null;
  const { start, end } = rangeOf(node);
  const place = {
    inside: { start: start + 1, end: end - 1 },
    items: node.elements.map(rangeOf),
    comma: ",",
    comment: "#",
    blankCount: 0,
  } as const;
  return { place, header: "" };
}

export interface TomlList {
  readonly place: ListPlace;
  /** `[[listener.destinations]]`; "" = an array. */
  readonly header: string;
}

/** The value at a path, wherever the file says it. */
function findIn(
  nodes: readonly (AST.TOMLKeyValue | AST.TOMLTable)[],
  path: readonly (string | number)[],
): AST.TOMLContentNode | null {
  for (const node of nodes) {
    const own = node.type === "TOMLTable" ? node.resolvedKey : node.key.keys.map(nameOf);
    if (own.length > path.length || !isPath(own, path.slice(0, own.length))) continue;
    const rest = path.slice(own.length);
    const found =
      node.type === "TOMLTable" ? findIn(node.body, rest) : findInValue(node.value, rest);
    if (found !== null) return found;
  }
  return null;
}

function findInValue(
  node: AST.TOMLContentNode,
  path: readonly (string | number)[],
): AST.TOMLContentNode | null {
  const [step, ...rest] = path;
  if (step === undefined) return node;
  if (node.type === "TOMLInlineTable") return findIn(node.body, path);
  const element =
    node.type === "TOMLArray" && typeof step === "number" ? node.elements[step] : undefined;
  return element === undefined ? null : findInValue(element, rest);
}

function isPath(one: readonly (string | number)[], other: readonly (string | number)[]): boolean {
  return one.length === other.length && one.every((step, index) => step === other[index]);
}

function rangeOf({ range: [start, end] }: { readonly range: readonly [number, number] }): Range {
  return { start, end };
}
