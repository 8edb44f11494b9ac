// A thread of a protocol as an automaton. The real code runs from its start with the results of its first steps given,
// up to the next step on shared memory, and is left there by a thrown signal. Logs that lead to the same local state
// are one node; so each local state runs the code once, however many interleavings pass through it.
//
//   node ── load heads[1] ──> result 0 ──> node ── compareExchange … ──> …
//                             result 1 ──> node ── choose: wake | free 2 ──> …
import { assert } from "../../src/core/assert.ts";
import type { Memory } from "../../src/core/tickets.ts";

type Kind = keyof Memory | "choose" | "notify";

/** What a thread may do next when it is in no step: one of these, chosen by the explorer. */
export interface Turn {
  readonly name: string;
  /** Only after another thread has notified this one. */
  readonly wakes: boolean;
  run(): void;
}

export interface Op {
  readonly kind: Kind;
  /** Of the memory; of `notify`: the thread that is notified. */
  readonly slot: number;
  readonly a: number;
  readonly b: number;
  /** The method that does it. */
  readonly method: string;
  readonly turns: readonly { readonly name: string; readonly wakes: boolean }[];
}

/** The code under test, as one thread runs it. */
export interface Program {
  /** What it may do at rest. */
  turns(): readonly Turn[];
  /** All of its local state. */
  state(): string;
  /** Slots that its clients hold, by row. */
  holds(): readonly number[];
  /** What is wrong when nothing can happen any more; empty when nothing is. */
  complaint(): string;
  /** What is wrong whenever it is at rest. */
  complaintAtRest(): string;
}

export interface Node {
  readonly id: number;
  readonly thread: number;
  readonly log: readonly number[];
  /** Places in the log where a turn was chosen last. */
  readonly restAt: number;
  readonly op: Op;
  readonly holds: readonly number[];
  readonly complaint: string;
  /** An exception, or a complaint at rest. */
  readonly fault: string;
  readonly next: Map<number, Node>;
}

interface Frame {
  readonly head: string;
  readonly log: (string | number)[];
  readonly method: string;
  /** It keeps no locals over its calls: what they said before does not matter. */
  readonly forgets: boolean;
  readonly skips: boolean;
  /** One that skips: the line that it has read last. */
  line: string;
  readonly isStateful: boolean;
}

/** How a method is told from others that have done the same so far. */
export interface Trace {
  /** Its object has fields that it changes. */
  readonly isStateful: boolean;
  /** Methods without locals that live over a call. */
  readonly forgetful: readonly string[];
  /** Methods that read head and tail of line after line, and keep nothing of those where they are equal. */
  readonly skipping?: readonly string[];
}

export const slotCountMax = 256;
const signal = new Error("replay: stopped before the next step");
const noTurns: Op["turns"] = [];

/** Shared memory as the code under test sees it, and the automata that come of it. */
export class Replay {
  readonly nodes: Node[] = [];
  /** By slot: its first value and a name. */
  readonly initial = new Int32Array(slotCountMax);
  readonly slotNames: string[] = [];
  edgeCount = 0;
  private readonly slots = new Map<number, number>();
  private readonly byKey = new Map<string, Node>();
  private readonly start: (thread: number) => Program;
  private readonly nameOf: (word: number) => string;
  private thread = 0;
  private program: Program | null = null;
  private log: readonly number[] = [];
  private at = 0;
  private restAt = -1;
  private isTracing = false;
  private frames: Frame[] = [];
  private captured: Node | null = null;
  private opCount = 0;
  private slotAt = 0;

  constructor(start: (thread: number) => Program, nameOf: (word: number) => string) {
    this.start = start;
    this.nameOf = nameOf;
  }

  /** A slot of its own for what the explorer keeps beside the memory. */
  reserve(name: string): number {
    assert(this.slotNames.length < slotCountMax, "replay: too many slots");
    return this.slotNames.push(name) - 1;
  }

  slotOf(array: Int32Array, index: number): number {
    const word = array.byteOffset / 4 + index;
    let slot = this.slots.get(word);
    if (slot === undefined) {
      slot = this.reserve(this.nameOf(word));
      this.initial[slot] = array[index] ?? 0;
      this.slots.set(word, slot);
    }
    return slot;
  }

  get nodeCount(): number {
    return this.nodes.length;
  }

  root(thread: number): Node {
    return this.run(thread, [], -1);
  }

  /** Where a thread is when its next step says `result`. */
  next(node: Node, result: number): Node {
    const known = node.next.get(result);
    if (known !== undefined) return known;
    const restAt = node.op.kind === "choose" ? node.log.length : node.restAt;
    const next = this.run(node.thread, [...node.log, result], restAt);
    node.next.set(result, next);
    this.edgeCount += 1;
    return next;
  }

  private run(thread: number, log: readonly number[], restAt: number): Node {
    this.program = null; // while it is built its steps are done at once, on the memory as it was first
    this.thread = thread;
    this.log = log;
    this.at = 0;
    this.restAt = restAt;
    this.frames = [];
    this.isTracing = restAt < 0;
    this.captured = null;
    const program = this.start(thread);
    this.program = program;
    try {
      for (;;) this.choose(program.turns()).run();
    } catch (error) {
      if (error === signal && this.captured !== null) return this.captured;
      const fault = error instanceof Error ? error.message : String(error);
      return this.file(`fault ${fault} ${log.join()}`, this.op("choose", 0, 0, 0, noTurns), fault);
    }
  }

  private choose(turns: readonly Turn[]): Turn {
    this.frames = [];
    const chosen = turns[this.step("choose", 0, 0, 0, turns)];
    assert(chosen !== undefined, "replay: no such turn");
    this.isTracing = this.at > this.restAt;
    if (this.isTracing)
      this.frames.push(
        this.frame(chosen.name, [], { isStateful: false, forgetful: [chosen.name] }),
      );
    return chosen;
  }

  /** Wakes another thread. */
  notify(thread: number): void {
    this.step("notify", thread, 0, 0, noTurns);
  }

  private step(kind: Kind, slot: number, a: number, b: number, turns: Op["turns"]): number {
    this.opCount += 1;
    this.slotAt = slot;
    if (this.at < this.log.length) {
      const result = this.log[this.at] ?? 0;
      this.at += 1;
      if (this.isTracing) this.note(kind, result);
      return result;
    }
    const { program } = this;
    assert(program !== null, "replay: a step outside of a program");
    const frames = this.frames.map((each) => `${each.head}[${each.log.join()}]${each.line}`);
    const key = `${this.thread}${kind === "choose" ? "rest" : frames.join("/")}|${program.state()}`;
    const fault = kind === "choose" ? program.complaintAtRest() : "";
    this.captured = this.file(key, this.op(kind, slot, a, b, turns), fault);
    throw signal;
  }

  private note(kind: Kind, result: number): void {
    const frame = this.frames.at(-1);
    if (frame === undefined) return;
    const { log } = frame;
    const name = this.slotNames[this.slotAt] ?? "";
    if (!frame.skips || name.startsWith("heads") === name.startsWith("tails")) {
      log.push(result);
    } else if (kind === "compareExchange") {
      log.length = 0; // it begins anew, or is over
      frame.line = `${result}`;
    } else if (name.startsWith("tails")) {
      const head = log.pop();
      if (head !== result) log.push(`${name}>${head}`);
      frame.line = name;
    } else {
      log.push(result);
    }
  }

  private op(kind: Kind, slot: number, a: number, b: number, turns: Op["turns"]): Op {
    const method = this.frames.at(-1)?.method ?? "";
    return { kind, slot, a, b, method, turns: turns.map(({ name, wakes }) => ({ name, wakes })) };
  }

  private file(key: string, op: Op, fault: string): Node {
    const full = `${key}|${op.kind} ${op.slot} ${op.a} ${op.b}`;
    const known = this.byKey.get(full);
    if (known !== undefined) return known;
    const { thread, log, restAt } = this;
    const holds = [...(this.program?.holds() ?? [])];
    const complaint = this.program?.complaint() ?? "";
    const id = this.nodes.length;
    const node = { id, thread, log, restAt, op, holds, complaint, fault, next: new Map() };
    this.nodes.push(node);
    this.byKey.set(full, node);
    return node;
  }

  // --- which methods it is in

  /** Makes the methods of an object known to the traces. */
  trace(object: object, prototype: object): void {
    Object.setPrototypeOf(object, prototype);
  }

  /** A prototype whose methods say when they begin and what they return. */
  traced(base: object, how: Trace): object {
    const traced: Record<string, unknown> = Object.create(base) as Record<string, unknown>;
    for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(base))) {
      if (name === "constructor" || typeof value !== "function") continue;
      const method = value as (...args: unknown[]) => unknown; // it is a function, of whatever kind
      const call = (frame: Frame, run: () => unknown): unknown => this.call(frame, run);
      const frameOf = (args: readonly unknown[]): Frame | null =>
        this.isTracing ? this.frame(name, args, how) : null;
      traced[name] = function traceCall(this: unknown, ...args: unknown[]): unknown {
        const frame = frameOf(args);
        return frame === null
          ? method.apply(this, args)
          : call(frame, () => method.apply(this, args));
      };
    }
    return traced;
  }

  private call(frame: Frame, run: () => unknown): unknown {
    const before = this.opCount;
    this.frames.push(frame);
    const result = run();
    this.frames.pop();
    if (this.opCount === before) return result; // it follows from what is known
    const parent = this.frames.at(-1);
    if (parent === undefined) return result;
    // One that forgets knows still where it is.
    parent.log.push(parent.forgets ? frame.method : encode(result));
    if (parent.forgets) return result;
    if (frame.isStateful) parent.log.push(this.program?.state() ?? "");
    return result;
  }

  private frame(method: string, args: readonly unknown[], how: Trace): Frame {
    const { isStateful } = how;
    const forgets = how.forgetful.includes(method);
    const skips = how.skipping?.includes(method) === true;
    const state = isStateful && !forgets ? (this.program?.state() ?? "") : "";
    const head = `${method}(${args.map(encode).join()})${state}`;
    return { head, log: [], method, forgets, skips, line: "", isStateful };
  }

  // --- memory

  /** As the code under test takes it. */
  get memory(): Memory {
    return this as unknown as Memory; // all columns that are used so are whole numbers of 32 bits
  }

  add = (array: Int32Array, index: number, by: number) => this.on("add", array, index, by);
  sub = (array: Int32Array, index: number, by: number) => this.on("sub", array, index, by);
  and = (array: Int32Array, index: number, bits: number) => this.on("and", array, index, bits);
  or = (array: Int32Array, index: number, bits: number) => this.on("or", array, index, bits);
  load = (array: Int32Array, index: number) => this.on("load", array, index);
  store = (array: Int32Array, index: number, to: number) => this.on("store", array, index, to);
  exchange = (array: Int32Array, index: number, to: number) =>
    this.on("exchange", array, index, to);
  compareExchange = (array: Int32Array, index: number, expected: number, to: number) =>
    this.on("compareExchange", array, index, expected, to);

  private on(kind: keyof Memory, array: Int32Array, index: number, a = 0, b = 0): number {
    const slot = this.slotOf(array, index);
    if (this.program !== null) return this.step(kind, slot, a, b, noTurns);
    assert(kind === "load", "replay: a thread writes before it has begun");
    return this.initial[slot] ?? 0;
  }
}

function encode(value: unknown): string | number {
  if (typeof value === "number") return value;
  if (typeof value === "object" && value !== null && "order" in value) return `#${value.order}`;
  return typeof value === "function" ? "" : String(value);
}
