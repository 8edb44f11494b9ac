// A file of any format as one tree, in which everything knows where it stands.

/** Where something begins; both from 1, as editors count. */
export interface Spot {
  readonly line: number;
  readonly column: number;
}

interface Scalar extends Spot {
  /** `nothing`: null, or a key without a value; `other`: a date, or what else a format has. */
  readonly kind: "text" | "number" | "boolean" | "nothing" | "other";
  /** The value as a row reads it: without quotes, numbers in plain digits where they are whole. */
  readonly text: string;
}

export interface List extends Spot {
  readonly kind: "list";
  readonly items: readonly Tree[];
}

export interface Table extends Spot {
  readonly kind: "table";
  readonly entries: readonly Entry[];
}

/** A key, where it stands, and its value. */
export interface Entry extends Spot {
  readonly name: string;
  readonly value: Tree;
}

export type Tree = Scalar | List | Table;

/** What is no file of its format. */
export interface SyntaxFault extends Spot {
  /** One line, without a full stop. */
  readonly message: string;
}

export interface Parsed {
  /** null when there are faults. */
  readonly tree: Tree | null;
  readonly faults: readonly SyntaxFault[];
}

export function faultAt({ line, column }: Spot, message: string): SyntaxFault {
  return { line, column, message: message.charAt(0).toLowerCase() + message.slice(1) };
}

export function entryAt({ line, column }: Spot, name: string, value: Tree): Entry {
  return { line, column, name, value };
}

/** Nothing that is configured here is nested so deeply. */
const depthMax = 64;

/** Thrown inside of a parser's walk. */
export class TreeFault extends Error {
  readonly spot: Spot;

  constructor(spot: Spot, message: string) {
    super(message);
    this.spot = spot;
  }
}

/** Runs a parser. @returns its tree, or the fault that it threw; `locate` reads those of the library. */
export function parsed(
  parse: () => Parsed,
  locate: (error: unknown) => SyntaxFault | null = () => null,
): Parsed {
  try {
    return parse();
  } catch (error) {
    const fault = locate(error);
    if (fault !== null) return { tree: null, faults: [fault] };
    if (error instanceof TreeFault) {
      return { tree: null, faults: [faultAt(error.spot, error.message)] };
    }
    if (!(error instanceof RangeError)) throw error;
    // The stack of the parser is full.
    return { tree: null, faults: [faultAt({ line: 1, column: 1 }, "it is nested too deeply")] };
  }
}

export function checkDepth(depth: number, spot: Spot): void {
  if (depth > depthMax) throw new TreeFault(spot, `it is nested more than ${depthMax} deep`);
}

/** A whole number in plain digits, whatever its size; others as JavaScript writes them. */
export function numberText(value: number | bigint): string {
  const isWhole = typeof value === "number" && Number.isInteger(value);
  return isWhole ? BigInt(value).toString() : String(value);
}

/** Finds lines and columns of offsets in a text. */
export class Lines {
  private readonly starts: number[] = [0];

  constructor(text: string) {
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) {
      this.starts.push(at + 1);
    }
  }

  spotOf(offset: number): Spot {
    let low = 0;
    let high = this.starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (this.starts[low] ?? 0) + 1 };
  }
}

/** Takes an entry out of those that are left. */
export function take(keys: Map<string, Entry>, name: string): Entry | null {
  const entry = keys.get(name) ?? null;
  keys.delete(name);
  return entry;
}

/** `listener[0]` and `slots` → `listener[0].slots`. */
export function join(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}
