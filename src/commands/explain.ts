// `iawlb explain CODE`: what a word of an access line or a status means and what to do, as text or as JSON.

import { bad, mistakeIn, OptionsError, quote, type Mistake } from "../control/mistake.ts";
import { allCodes, explain, nearestCode, type Explanation } from "../control/explanations.ts";

const lineWidth = 80;
const titles: Readonly<Record<Explanation["kind"], string>> = {
  reason: "Why a connection ended: reason in its access line",
  state: "Who ended it, and when: state in its access line",
  destination: "States of a destination",
  preface: "What was wrong with how a client began: fault in its access line",
  fault: "Why a connect failed: lastFault, checkFault, and causes in the log",
};

/**
 * @param args codes, none for all of them, and `--json`.
 * @returns what to print.
 * @throws OptionsError with every code that is unknown.
 */
export function explainText(args: readonly string[]): string {
  const asJson = args.includes("--json");
  const codes = args.filter((argument) => argument !== "--json" && argument !== "--");
  const mistakes: Mistake[] = [];
  const found: Explanation[] = [];
  for (const code of codes.length === 0 ? allCodes() : codes) {
    const explanation = explain(code);
    if (explanation === null) mistakes.push(unknown(code));
    else found.push(explanation);
  }
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  if (asJson) return JSON.stringify(codes.length === 1 ? found[0] : found, null, 2);
  return codes.length === 0 ? listOf(found) : found.map(textOf).join("\n\n");
}

function unknown(code: string): Mistake {
  if (code.startsWith("-") && code.length > 2) {
    const near = code.startsWith("--j") ? "--json" : "";
    const problem = `option ${quote(code)} is unknown`;
    return mistakeIn(code, bad("unknown-option", problem, "--json is the only one", near).fault);
  }
  const accepted = "iawlb explain lists them all";
  const { fault } = bad("bad-value", "is no code of ours", accepted, nearestCode(code));
  return mistakeIn(code, fault);
}

function textOf({ code, kind, meaning, advice, related }: Explanation): string {
  const lines = [code, ...wrap(meaning), ...wrap(`To do: ${advice}`)];
  const word = kind === "state" ? "Reasons" : "States";
  if (related.length > 0) lines.push(...wrap(`${word}: ${related.join(", ")}`));
  return lines.join("\n");
}

/** A line each, by kind. */
function listOf(all: readonly Explanation[]): string {
  const kinds = Object.entries(titles).map(([kind, title]) => {
    const lines = all
      .filter((each) => each.kind === kind)
      .map(({ code, meaning }) => {
        const [first = ""] = meaning.split(/(?<=\.) /);
        const [start = "", ...rest] = wrap(first, 22);
        // A code that is longer than its column has a line of its own.
        const head = code.length < 20 ? [] : [`  ${code}`];
        const column = head.length === 0 ? `  ${code.padEnd(20)}` : " ".repeat(22);
        return [...head, column + start.trimStart(), ...rest].join("\n");
      });
    return `${title}\n${lines.join("\n")}`;
  });
  return `${kinds.join("\n\n")}\n\nAll of one: iawlb explain CODE`;
}

function wrap(text: string, indent = 2): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && indent + line.length + 1 + word.length > lineWidth) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].map((each) => " ".repeat(indent) + each);
}
