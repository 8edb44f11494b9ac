// Every interleaving of threads at the level of their steps on shared memory, breadth first, each state once. A state
// is the memory and the node of each thread (replay.ts). Steps that no other thread can tell (its own locations, reads
// of what nobody else writes) do not make a state: which these are is learned, and the search begins anew when it was
// wrong.
import { assert } from "../../src/core/assert.ts";
import { Futures } from "./future.ts";
import { Packed, States } from "./packed.ts";
import { seeded, type Random } from "../wait.ts";
import { slotCountMax, type Node, type Op, type Replay } from "./replay.ts";

/** Looks at each step with the memory after it. @returns what is wrong, or an empty text. */
export type Watch = (thread: number, op: Op, result: number, memory: Packed) => string;

export interface Report {
  readonly states: number;
  readonly transitions: number;
  readonly ends: number;
  /** Local states of all threads. */
  readonly nodes: number;
  readonly restarts: number;
  readonly ms: number;
  /** What was found, or an empty text, and how it came to that. */
  readonly fault: string;
  readonly trace: readonly string[];
}

export interface Protocol {
  readonly replay: Replay;
  readonly threadCount: number;
  /** By thread: notified, and it has not run since. */
  readonly notified: readonly number[];
  readonly watch: Watch;
  /** Whether `watch` weighs this step, so that its place among those of others matters. */
  readonly isWatched: (thread: number, op: Op, memory: Packed) => boolean;
  /** Slots of memory that are part of the state though only `watch` writes them. */
  readonly ghosts: readonly number[];
  /** What is wrong in this state; empty when nothing is. */
  readonly check: (nodes: readonly Node[], memory: Packed) => string;
  /** The same of a state in which nothing can happen any more. */
  readonly checkEnd: (nodes: readonly Node[], memory: Packed) => string;
}

/** Random runs before a search. */
const scoutCount = 2_000;

class Explorer {
  private readonly protocol: Protocol;
  private readonly replay: Replay;
  /** By slot: which threads read and write it, one bit each. */
  private readonly readers = new Int32Array(slotCountMax);
  private readonly writers = new Int32Array(slotCountMax);
  /** Slots that are written, in the order in which states hold them. */
  private readonly written: number[] = [];
  private isStale = false;
  private readonly futures: Futures;
  private readonly isReduced: boolean;
  private restarts = 0;
  private transitions = 0;
  private ends = 0;
  private fault = "";
  private faultAt = 0;
  private nodesSeen = 0;
  private edgesSeen = 0;
  private size = 0;
  private states = new States(1);
  private work = new Packed(new Int32Array(slotCountMax), [], 0);
  private readonly now: Node[] = [];
  private trace: string[] | null = null;

  constructor(protocol: Protocol, isReduced: boolean) {
    this.protocol = protocol;
    this.isReduced = isReduced;
    this.futures = new Futures(protocol.replay);
    this.replay = protocol.replay;
    this.written.push(...protocol.notified, ...protocol.ghosts);
    for (const slot of protocol.notified) this.writers[slot] = -1;
  }

  run(stateCountMax: number): Report {
    const from = performance.now();
    this.scout(scoutCount);
    this.learn(0);
    do {
      this.search(stateCountMax);
      this.restarts += 1;
    } while (this.isStale);
    const { transitions, ends, restarts, fault } = this;
    const { count } = this.states;
    const trace = fault === "" ? [] : this.retrace(this.faultAt);
    const nodes = this.replay.nodes.length;
    const ms = Math.round(performance.now() - from);
    return { states: count, transitions, ends, nodes, restarts, ms, fault, trace };
  }

  /** Random runs, to learn who uses what before the search. */
  private scout(runCount: number): void {
    const random = seeded(1);
    const { threadCount } = this.protocol;
    for (let run = 0; run < runCount; run += 1) {
      this.begin();
      this.fault = "";
      for (let idleCount = 0; idleCount < 64; idleCount += 1) {
        const thread = random.int(threadCount);
        for (let steps = 1 + random.int(12); steps > 0 && this.stroll(thread, random); steps -= 1) {
          idleCount = 0;
        }
        if (this.isStale || this.fault !== "") break;
      }
    }
    this.fault = "";
  }

  /** One step of a thread. @returns false when it has none. */
  private stroll(thread: number, random: Random): boolean {
    if (this.isStale || this.fault !== "" || this.nodeOf(thread).fault !== "") return false;
    const { turns, kind } = this.nodeOf(thread).op;
    if (kind !== "choose") {
      this.perform(thread, -1);
      return true;
    }
    const turn = random.int(turns.length);
    const isWoken = this.work.get(this.protocol.notified[thread] ?? 0) !== 0;
    if (turns[turn]?.wakes !== false && !isWoken) return false;
    this.perform(thread, turn);
    return true;
  }

  private begin(): void {
    const { threadCount } = this.protocol;
    this.size = threadCount + Math.ceil(this.written.length / 4);
    this.work = new Packed(this.replay.initial, this.written, threadCount);
    this.isStale = false;
    for (let thread = 0; thread < threadCount; thread += 1) {
      this.now[thread] = this.replay.root(thread);
    }
    for (let thread = 0; thread < threadCount; thread += 1) this.runOn(thread);
  }

  private search(stateCountMax: number): void {
    this.begin();
    this.transitions = 0;
    this.ends = 0;
    this.fault = "";
    this.states = new States(this.size);
    this.file(-1, 0);
    let learnAt = 0x4000;
    for (let at = 0; at < this.states.count && !this.isStale && this.fault === ""; at += 1) {
      assert(this.states.count < stateCountMax, "interleave: more states than allowed");
      this.expand(at);
      if (at === learnAt) {
        this.learn(at + 1);
        learnAt *= 4;
      }
      if (at === this.states.count - 1) this.learn(at + 1);
    }
  }

  /** Looks whether threads can do more than was known. */
  private learn(expandedCount: number): void {
    if (!this.isReduced) return;
    const { nodeCount, edgeCount } = this.replay;
    if (nodeCount === this.nodesSeen && edgeCount === this.edgesSeen) return;
    this.nodesSeen = nodeCount;
    this.edgesSeen = edgeCount;
    if (!this.futures.update()) return;
    // Where one thread went on alone and another can tell after all, the others go on as well.
    for (let at = 0; at < expandedCount && this.fault === ""; at += 1) {
      const alone = this.states.markOf(at) - 1;
      if (alone >= 0 && this.isTold(at, alone)) this.expandAll(at);
    }
  }

  /** A thread whose next step no other can tell from now on: its step alone is gone on with. −1: there is none. */
  private unseen(at: number): number {
    const { threadCount } = this.protocol;
    for (let thread = 0; thread < threadCount; thread += 1) {
      const { op } = this.nodeAt(at, thread);
      if (op.kind === "choose" || op.kind === "notify") continue;
      if (this.isTold(at, thread)) continue;
      this.unpack(at);
      if (!this.protocol.isWatched(thread, op, this.work)) return thread;
    }
    return -1;
  }

  private expand(at: number): void {
    const alone = this.isReduced ? this.unseen(at) : -1;
    this.states.mark(at, alone + 1); // of the thread that went on alone
    if (alone >= 0) this.step(at, alone, -1);
    else this.expandAll(at);
  }

  private isTold(at: number, thread: number): boolean {
    const { op } = this.nodeAt(at, thread);
    for (let other = 0; other < this.protocol.threadCount; other += 1) {
      if (other === thread) continue;
      if (this.futures.canTell(this.nodeAt(at, other), op.slot, op.kind === "load")) return true;
    }
    return false;
  }

  private expandAll(at: number): void {
    this.states.mark(at, 0);
    const { threadCount, notified } = this.protocol;
    let isEnd = true;
    for (let thread = 0; thread < threadCount; thread += 1) {
      const node = this.nodeAt(at, thread);
      if (node.op.kind !== "choose") {
        isEnd = false;
        this.step(at, thread, -1);
        continue;
      }
      for (let turn = 0; turn < node.op.turns.length; turn += 1) {
        const slot = notified[thread] ?? 0;
        if (node.op.turns[turn]?.wakes === true) {
          this.unpack(at);
          if (this.work.get(slot) === 0) continue;
        }
        isEnd = false;
        this.step(at, thread, turn);
      }
    }
    if (!isEnd) return;
    this.ends += 1;
    this.unpack(at);
    this.report(this.protocol.checkEnd(this.now, this.work), at);
  }

  /** One step of a thread that others can tell, and all of its own that follow. */
  private step(at: number, thread: number, turn: number): void {
    this.unpack(at);
    this.transitions += 1;
    const via = thread * 64 + turn + 1;
    this.perform(thread, turn);
    if (this.isStale) return;
    if (this.fault !== "") return this.report(this.fault, at, via);
    this.file(at, via);
  }

  private perform(thread: number, turn: number): void {
    if (turn >= 0) {
      const node = this.nodeOf(thread);
      const wakes = node.op.turns[turn]?.wakes === true;
      if (wakes) this.work.set(this.protocol.notified[thread] ?? 0, 0);
      this.say(thread, node, turn);
      this.now[thread] = this.replay.next(node, turn);
      this.runOn(thread);
      if (wakes || this.nodeOf(thread).op.kind === "choose") return;
    }
    this.apply(thread);
    this.runOn(thread);
  }

  /** Does the steps of a thread that nobody can tell. */
  private runOn(thread: number): void {
    while (!this.isStale && this.isOwn(thread, this.nodeOf(thread).op)) this.apply(thread);
  }

  /** Learns who uses what. @returns true when no other thread can tell this step. */
  private isOwn(thread: number, op: Op): boolean {
    if (op.kind === "choose" || op.kind === "notify") return false;
    const { slot } = op;
    const bit = 1 << thread;
    const isLoad = op.kind === "load";
    const used = isLoad ? this.readers : this.writers;
    if (((used[slot] ?? 0) & bit) === 0) {
      used[slot] = (used[slot] ?? 0) | bit;
      const both = (this.readers[slot] ?? 0) | (this.writers[slot] ?? 0);
      if (this.writers[slot] !== 0 && both !== bit) this.isStale = true;
      if (!isLoad && !this.written.includes(slot)) {
        this.written.push(slot);
        this.isStale = true;
      }
    }
    const others = ((this.writers[slot] ?? 0) | (isLoad ? 0 : (this.readers[slot] ?? 0))) & ~bit;
    return others === 0;
  }

  private apply(thread: number): void {
    const node = this.nodeOf(thread);
    const { op } = node;
    const isOwn = this.isOwn(thread, op);
    const result = this.work.perform(op, this.protocol.notified);
    this.say(thread, node, result);
    if (!isOwn || op.kind !== "load") {
      const fault = this.protocol.watch(thread, op, result, this.work);
      if (fault !== "") this.fault = fault;
    }
    this.now[thread] = this.replay.next(node, result);
  }

  private report(fault: string, at: number, via = -1): void {
    if (fault === "") return;
    this.fault = fault;
    this.faultAt = via < 0 ? at : this.states.append(this.work.words, at, via);
  }

  // --- states

  private file(parent: number, via: number): void {
    const { threadCount } = this.protocol;
    const key = this.work.words;
    for (let thread = 0; thread < threadCount; thread += 1) key[thread] = this.nodeOf(thread).id;
    const at = this.states.add(key, parent, via);
    if (at < 0) return;
    const { check } = this.protocol;
    let fault = check(this.now, this.work);
    for (const node of this.now) fault = node.fault === "" ? fault : node.fault;
    this.report(fault, at);
  }

  private unpack(at: number): void {
    const { threadCount } = this.protocol;
    this.states.copyTo(at, this.work.words);
    for (let thread = 0; thread < threadCount; thread += 1)
      this.now[thread] = this.nodeAt(at, thread);
  }

  private nodeAt(at: number, thread: number): Node {
    return this.known(this.replay.nodes[this.states.word(at, thread)]);
  }

  private nodeOf(thread: number): Node {
    return this.known(this.now[thread]);
  }

  private known(node: Node | undefined): Node {
    assert(node !== undefined, "interleave: no such node");
    return node;
  }

  // --- how it came to that

  private say(thread: number, { op }: Node, result: number): void {
    if (this.trace === null) return;
    const name = this.replay.slotNames[op.slot] ?? "";
    const turn = op.turns[result]?.name ?? "";
    const args = ["store", "add", "sub", "and", "or", "exchange"].includes(op.kind)
      ? ` ${op.a}`
      : "";
    const exchange = op.kind === "compareExchange" ? ` ${op.a} -> ${op.b}` : "";
    if (op.kind === "choose") this.trace.push(`${thread}: ${turn}`);
    else if (op.kind === "notify") this.trace.push(`${thread}:   wakes ${op.slot}`);
    else
      this.trace.push(
        `${thread}:   ${op.method}: ${op.kind} ${name}${args}${exchange} = ${result}`,
      );
  }

  private retrace(at: number): string[] {
    this.unpack(0);
    const trace: string[] = [];
    this.trace = trace;
    for (const via of this.states.wayTo(at)) this.perform(via >> 6, (via & 63) - 1);
    this.trace = null;
    return trace;
  }
}

export interface Bounds {
  readonly stateCountMax?: number;
  /** Leaves out states that differ only in when a step was done that nobody can tell. */
  readonly isReduced?: boolean;
}

/** Goes through all states of a protocol, up to the first fault. */
export function explore(protocol: Protocol, bounds: Bounds = {}): Report {
  const { stateCountMax = 20_000_000, isReduced = true } = bounds;
  return new Explorer(protocol, isReduced).run(stateCountMax);
}
