// One value of a file as the text that its row reads: what may stand there without quotes is the row's to say.

import { bad, type Fault, good, quote, type Reading } from "../control/mistake.ts";
import type { WordRow } from "../control/option-row.ts";
import type { List, Spot, Tree } from "./tree.ts";

type Readable = Pick<WordRow, "read" | "native">;

/** A fault, and where in the value it is. */
export interface SpotFault {
  readonly spot: Spot;
  readonly fault: Fault;
  /** Which of a list, "" = the whole. */
  readonly step: string;
}

export type TextReading = { readonly text: string } | { readonly faults: readonly SpotFault[] };

/** The text of a value; the row has not read it yet. */
export function textOf(row: Readable, tree: Tree): TextReading {
  switch (tree.kind) {
    case "text":
      return { text: tree.text };
    case "number":
      if (row.native !== "text" && row.native !== "texts") return { text: tree.text };
      return refused(
        tree,
        `${quote(tree.text).slice(1, -1)} is no text`,
        acceptedBy(row, "it needs quotes"),
      );
    case "boolean":
      if (row.native === "flag") return { text: tree.text };
      return refused(
        tree,
        `${tree.text} is no text and no number`,
        acceptedBy(row, "it needs quotes"),
      );
    case "list":
      if (row.native === "list" || row.native === "texts") return listText(row, tree);
      return refused(tree, "a list is one value too many", acceptedBy(row, "a text is accepted"));
    case "table":
      return refused(tree, "a table is no value", acceptedBy(row, "a text is accepted"));
    case "nothing":
      return {
        faults: [
          {
            spot: tree,
            step: "",
            fault: bad("missing-value", "a value is missing", acceptedBy(row)).fault,
          },
        ],
      };
    case "other":
      return refused(
        tree,
        `${quote(tree.text).slice(1, -1)} without quotes is no text`,
        "it needs quotes",
      );
  }
}

/** Reads a value by its row. */
export function valueOf(
  row: Readable,
  tree: Tree,
): Reading<unknown> & { readonly faults?: readonly SpotFault[] } {
  const written = textOf(row, tree);
  if ("faults" in written)
    return { value: null, fault: faultOf(written.faults), faults: written.faults };
  const reading = row.read(written.text);
  if (reading.fault === null) return good(reading.value);
  return { ...reading, faults: [{ spot: tree, step: "", fault: reading.fault }] };
}

/** The items of a list, each read alone so that the one that is wrong is named. */
function listText(row: Readable, list: List): TextReading {
  const faults: SpotFault[] = [];
  const texts = list.items.map((item, index) => {
    const step = `[${index}]`;
    const inner = textOf({ read: row.read, native: "text" }, item);
    if ("faults" in inner) {
      faults.push(...inner.faults.map((each) => ({ ...each, step })));
      return "";
    }
    const comma = inner.text.includes(",")
      ? bad("bad-value", "a comma stands in it", "each needs a text of its own")
      : null;
    const { fault } = comma ?? row.read(inner.text);
    if (fault !== null) faults.push({ spot: item, step, fault });
    else if (inner.text === "")
      faults.push({ spot: item, step, fault: bad("bad-value", "it is empty").fault });
    return inner.text;
  });
  return faults.length > 0 ? { faults } : { text: texts.join(",") };
}

function refused(spot: Spot, problem: string, accepted: string): TextReading {
  return { faults: [{ spot, step: "", fault: bad("bad-value", problem, accepted).fault }] };
}

/** What a row says that it accepts, for it accepts nothing that is empty; else `otherwise`. */
function acceptedBy(row: Readable, otherwise = ""): string {
  return row.read("").fault?.accepted ?? otherwise;
}

function faultOf(faults: readonly SpotFault[]): Fault {
  return faults[0]?.fault ?? bad("bad-value", "is wrong").fault;
}
