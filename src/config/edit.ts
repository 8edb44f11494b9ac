// Edits the items of one list in a text; all that is not of an item that changes stays as it stands.

/** Where something stands in a text: offsets, the end behind it. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

/** A list in a text. */
export interface ListPlace {
  /** All that is between its brackets; of a list without brackets, from its first item on. */
  readonly inside: Range;
  readonly items: readonly Range[];
  /** What stands between two items, "" = nothing but the line's end. */
  readonly comma: "," | "";
  /** How a comment begins that ends with its line. */
  readonly comment: "#" | "//";
  /** Lines between two items where each has lines of its own: 0, or 1 for tables. */
  readonly blankCount: number;
}

/** What becomes of an item: it stays, it is gone, or it is this text. */
export type Change = "keep" | "remove" | { readonly text: string };

interface Piece {
  /** What stands before it, with the comments on lines of their own. */
  readonly lead: string;
  readonly body: string;
  readonly hasComma: boolean;
  /** The rest of its line, without the comma. */
  readonly tail: string;
}

/** @param changes one for each item, @param added texts of new ones, behind the last. */
export function editItems(
  text: string,
  list: ListPlace,
  changes: readonly Change[],
  added: readonly string[],
): string {
  const { pieces, rest } = piecesOf(text, list);
  const endedWithComma = pieces.at(-1)?.hasComma ?? false;
  const isMultiLine =
    text.slice(list.inside.start, list.inside.end).includes("\n") || list.comma === "";
  const kept: Piece[] = [];
  let orphaned = "";
  pieces.forEach((piece, index) => {
    const change = changes[index] ?? "keep";
    if (change === "remove") orphaned += commentsIn(piece.lead, list);
    else {
      const body = change === "keep" ? piece.body : change.text;
      const isInFirstPlace = kept.length === 0 && !piece.lead.includes("\n");
      const lead = isInFirstPlace ? (pieces[0]?.lead ?? "") : piece.lead;
      kept.push({ body, lead: orphaned + lead, hasComma: piece.hasComma, tail: piece.tail });
      orphaned = "";
    }
  });
  const indent = indentOf(text, list);
  for (const body of added) {
    const lines = "\n".repeat(1 + list.blankCount);
    const space = kept.length === 0 ? "" : " ";
    const lead = isMultiLine ? `${orphaned}${lines}${indent}` : orphaned + space;
    kept.push({ lead, body, hasComma: false, tail: "" });
    orphaned = "";
  }
  const written = kept.map((piece, index) => {
    const isLast = index === kept.length - 1;
    const comma = list.comma !== "" && (!isLast || endedWithComma) ? list.comma : "";
    return piece.lead + piece.body + comma + piece.tail;
  });
  const [first = ""] = written;
  // Without brackets nothing stands before the first item that would have to end its line.
  const whole =
    list.comma === "" ? first.trimStart() + written.slice(1).join("") : written.join("");
  return text.slice(0, list.inside.start) + whole + orphaned + rest + text.slice(list.inside.end);
}

/** Nothing, or a comment: it is of the item before it. */
const restOfLine = /^[ \t]*(?:#.*|\/\/.*|\/\*[^\n]*\*\/[ \t]*)?\r?$/;

/** Where the line ends that an offset is in. */
export function lineEndOf(text: string, offset: number): number {
  const newline = text.indexOf("\n", offset);
  return newline < 0 ? text.length : newline;
}

function piecesOf(text: string, list: ListPlace): { pieces: readonly Piece[]; rest: string } {
  let at = list.inside.start;
  const pieces = list.items.map(({ start, end }, index): Piece => {
    const next = list.items[index + 1]?.start ?? list.inside.end;
    const lead = text.slice(at, start);
    const comma = list.comma === "" ? -1 : commaIn(text, end, next, list.comment);
    const behindAt = comma < 0 ? end : comma + 1;
    const lineEnd = lineEndOf(text, behindAt);
    const behind = text.slice(behindAt, Math.min(lineEnd, next));
    const isOwn = lineEnd <= next && restOfLine.test(behind);
    const before = comma < 0 ? "" : text.slice(end, comma);
    const tail = before + (isOwn ? behind : "");
    at = behindAt + (isOwn ? behind.length : 0);
    return { lead, body: text.slice(start, end), hasComma: comma >= 0, tail };
  });
  return { pieces, rest: text.slice(at, list.inside.end) };
}

/** The comma between two items, outside of comments; -1 = there is none. */
function commaIn(text: string, from: number, to: number, comment: string): number {
  for (let at = from; at < to; at++) {
    if (text.startsWith(comment, at)) {
      const end = text.indexOf("\n", at);
      if (end < 0 || end >= to) return -1;
      at = end;
    } else if (comment === "//" && text.startsWith("/*", at)) {
      at = text.indexOf("*/", at) + 1;
    } else if (text[at] === ",") return at;
  }
  return -1;
}

/** The lines of a lead that are comments: they stay when their item goes, as one does behind the bracket. */
function commentsIn(lead: string, list: ListPlace): string {
  const [first = "", ...lines] = lead.split("\n");
  const isComment = (line: string) =>
    line.trimStart().startsWith(list.comment) || /^\s*\/\*.*\*\/\s*$/.test(line);
  const kept = lines.filter(isComment).map((line) => `\n${line}`);
  return (isComment(first) ? first : "") + kept.join("");
}

/** The white space before the last item, or a step more than that of the list's own line. */
function indentOf(text: string, list: ListPlace): string {
  const at = list.items.at(-1)?.start ?? list.inside.start;
  const lineStart = text.lastIndexOf("\n", at - 1) + 1;
  const indent = /^[ \t]*/.exec(text.slice(lineStart))?.[0] ?? "";
  const isOnOwnLine = lineStart + indent.length === at;
  return isOnOwnLine || list.comma === "" ? indent : `${indent}  `;
}
