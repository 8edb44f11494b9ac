// What a user can get wrong on the command line, told in one form, with the near miss (IAWLB §4 knew one message).

/** Every kind of mistake; scripts and tests rely on the code, people read the message. */
export type MistakeCode =
  | "unknown-option"
  | "missing-value"
  | "bad-value"
  | "out-of-range"
  | "bad-address"
  | "bad-port"
  | "empty-host"
  | "missing-brackets"
  | "path-too-long"
  | "unknown-suffix"
  | "bad-suffix"
  | "unexpected-argument"
  | "unexpected-suffix"
  | "no-listen"
  | "no-destination"
  | "too-many-destinations"
  | "duplicate-address"
  | "duplicate-name"
  | "loop"
  | "not-here"
  | "unreadable"
  | "bad-syntax"
  | "unknown-key"
  | "duplicate-key"
  | "unknown-variable"
  | "no-listener"
  | "too-many-listeners"
  | "duplicate-listener"
  | "no-token"
  | "incomplete"
  | "bad-certificate"
  | "warning";

export interface Mistake {
  readonly code: MistakeCode;
  /** As the user wrote it; `LISTEN` or `DEST` when it is the argument itself that is missing. */
  readonly argument: string;
  /** One line: the argument, what is wrong, what is accepted. */
  readonly message: string;
  /** One line such as "did you mean --slots?", or "" when nothing is near. */
  readonly hint: string;
  /** Where in a file it stands; not given for what stands in none. */
  readonly at?: FilePlace;
}

/** A place in a file. */
export interface FilePlace {
  readonly file: string;
  /** From 1; 0 = the file as a whole. */
  readonly line: number;
  readonly column: number;
  /** `listener[0].slots`; "" = the whole. */
  readonly path: string;
}

/** All mistakes of one command line, in the order of its arguments. */
export class OptionsError extends Error {
  override readonly name = "OptionsError";
  readonly mistakes: readonly Mistake[];

  constructor(mistakes: readonly Mistake[]) {
    super(mistakes.map((mistake) => mistake.message).join("\n"));
    this.mistakes = mistakes;
  }
}

/** What is wrong with a text, before it is known which argument it stood in. */
export interface Fault {
  readonly code: MistakeCode;
  readonly problem: string;
  /** "… is accepted", or "" where the problem says it. */
  readonly accepted: string;
  /** A text that would have been right, or "". */
  readonly suggestion: string;
}

/** What reading a text gives: its value, or the fault in it. */
export type Reading<T> =
  { readonly value: T; readonly fault: null } | { readonly value: null; readonly fault: Fault };

export function good<T>(value: T): Reading<T> {
  return { value, fault: null };
}

export function bad(
  code: MistakeCode,
  problem: string,
  accepted = "",
  suggestion = "",
): { readonly value: null; readonly fault: Fault } {
  return { value: null, fault: { code, problem, accepted, suggestion } };
}

/** The fault as the user is told it. */
export function mistakeIn(argument: string, fault: Fault): Mistake {
  const { code, problem, accepted, suggestion } = fault;
  const shown = quote(argument).slice(1, -1);
  const message = `${shown}: ${problem}${accepted === "" ? "" : `; ${accepted}`}`;
  const hint = suggestion === "" ? "" : `did you mean ${quote(suggestion).slice(1, -1)}?`;
  return { code, argument, message, hint };
}

/** The same for what stands in a file: `file:line:column: listener[0].slots: problem; what is accepted`. */
export function mistakeAt(at: FilePlace, fault: Fault): Mistake {
  const { code, problem, accepted, suggestion } = fault;
  const argument = placeText(at);
  const message = `${argument}: ${problem}${accepted === "" ? "" : `; ${accepted}`}`;
  const hint = suggestion === "" ? "" : `did you mean ${quote(suggestion).slice(1, -1)}?`;
  return { code, argument, message, hint, at };
}

/** `file:line:column: listener[0].slots`. */
export function placeText({ file, line, column, path }: FilePlace): string {
  const where = line === 0 ? file : `${file}:${line}:${column}`;
  return (path === "" ? where : `${where}: ${path}`).replace(unprintables, "?");
}

/** The user's own text inside a message: quoted, one line, no control characters, not without end. */
export function quote(text: string): string {
  const short = text.length > quotedLengthMax ? `${text.slice(0, quotedLengthMax)}…` : text;
  return JSON.stringify(short).replace(unprintable, "?");
}

/**
 * Finds the candidate that `text` is most likely a slip of.
 * @returns the candidate, or "" when none is near: at most one edit in three characters, or one begins with the other.
 */
export function nearest(text: string, candidates: readonly string[]): string {
  if (text.length > nearestLengthMax) return "";
  const wanted = text.toLowerCase().replaceAll("_", "-");
  const best = nearestSlip(wanted, candidates);
  if (best !== "" || wanted.length < 3) return best;
  const sharesStart = (one: string): boolean => one.startsWith(wanted) || wanted.startsWith(one);
  return candidates.find(sharesStart) ?? "";
}

/** @returns the candidate within one edit in three characters, or "". */
export function nearestSlip(text: string, candidates: readonly string[]): string {
  if (text.length > nearestLengthMax) return "";
  let best = "";
  let bestDistance = Math.max(1, Math.floor(text.length / 3)) + 1;
  for (const candidate of candidates) {
    const distance = editDistance(text, candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** What somebody may have meant by a name, in words. */
export function nearby(name: string, known: readonly string[]): string {
  const near = nearest(name, known);
  if (near !== "") return `did you mean ${near}?`;
  const shown = known.slice(0, shownCountMax).join(", ");
  return `known are ${shown}${known.length > shownCountMax ? ", …" : ""}`;
}

const shownCountMax = 10;

/** Insertions, deletions, replacements and swaps of neighbours that turn one text into the other. */
function editDistance(a: string, b: string): number {
  let beforeAbove: readonly number[] = [];
  let above: readonly number[] = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const line = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = at(above, column - 1) + (a[row - 1] === b[column - 1] ? 0 : 1);
      const swapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      line[column] = Math.min(
        at(line, column - 1) + 1,
        at(above, column) + 1,
        replaced,
        swapped && row > 1 && column > 1 ? at(beforeAbove, column - 2) + 1 : replaced,
      );
    }
    beforeAbove = above;
    above = line;
  }
  return at(above, b.length);
}

function at(line: readonly number[], column: number): number {
  return line[column] ?? 0;
}

const quotedLengthMax = 80;
const nearestLengthMax = 40;
/** What JSON leaves as it is although a terminal or a line reader acts on it. */
const unprintable = /[\u007f-\u009f\u2028\u2029]/g;
const unprintables = /[\p{Cc}\u2028\u2029]/gu;
