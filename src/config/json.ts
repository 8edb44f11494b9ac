// JSON with comments, with positions, and edits of one list in it that leave everything else as it stands.

import { findNodeAtLocation, parseTree, printParseErrorCode } from "jsonc-parser";
import type { Node, ParseError } from "jsonc-parser";
import type { ListPlace } from "./edit.ts";
import { checkDepth, entryAt, faultAt, Lines, numberText, type Parsed, parsed } from "./tree.ts";
import { type Tree, TreeFault } from "./tree.ts";

const parseOptions = { allowTrailingComma: true, disallowComments: false } as const;

export function parseJson(text: string): Parsed {
  return parsed(() => {
    const errors: ParseError[] = [];
    const node = parseTree(text, errors, parseOptions);
    const lines = new Lines(text);
    if (node === undefined || errors.length > 0) {
      const faults = errors.map(({ error, offset }) =>
        faultAt(lines.spotOf(offset), wordsOf(printParseErrorCode(error))),
      );
      return { tree: null, faults };
    }
    return { tree: treeOf(node, text, lines, 0), faults: [] };
  });
}

function treeOf(node: Node, text: string, lines: Lines, depth: number): Tree {
  const spot = lines.spotOf(node.offset);
  checkDepth(depth, spot);
  const children = node.children ?? [];
  switch (node.type) {
    case "object": {
      const entries = children.map((property) => {
        const [key, value] = property.children ?? [];
        if (key === undefined || value === undefined)
          throw new TreeFault(spot, "a value is missing");
        const inner = treeOf(value, text, lines, depth + 1);
        return entryAt(lines.spotOf(key.offset), String(key.value), inner);
      });
      return { ...spot, kind: "table", entries };
    }
    case "array":
      return {
        ...spot,
        kind: "list",
        items: children.map((each) => treeOf(each, text, lines, depth + 1)),
      };
    case "number": {
      const written = text.slice(node.offset, node.offset + node.length);
      const isWhole = /^-?\d+$/.test(written);
      return {
        ...spot,
        kind: "number",
        text: numberText(isWhole ? BigInt(written) : Number(written)),
      };
    }
    case "string":
      return { ...spot, kind: "text", text: String(node.value) };
    case "boolean":
      return { ...spot, kind: "boolean", text: String(node.value) };
    default:
      return { ...spot, kind: "nothing", text: "" };
  }
}

/** `CloseBraceExpected` → `close brace expected`. */
function wordsOf(code: string): string {
  return code.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
}

/** Finds the destinations of a listener, null = no list. @param listener its number, null = the one above all. */
export function jsonList(text: string, listener: number | null): ListPlace | null {
  const root = parseTree(text, [], parseOptions);
  const path = listener === null ? ["destinations"] : ["listener", listener, "destinations"];
  const node = root === undefined ? undefined : findNodeAtLocation(root, path);
  if (node?.type !== "array") return null;
  const items = (node.children ?? []).map(({ offset, length }) => ({
    start: offset,
    end: offset + length,
  }));
  const inside = { start: node.offset + 1, end: node.offset + node.length - 1 };
  return { inside, items, comma: ",", comment: "//", blankCount: 0 };
}
