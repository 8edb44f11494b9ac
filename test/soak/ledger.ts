// Brings every client and its access line together, judges the two, and counts: one line for each client, one client
// for each line, ids without gaps.

import type { Ended } from "../e2e/ways.ts";
import type { ClientRecord } from "./client.ts";
import type { Kind } from "./course.ts";
import { judgeClient, type Circumstances, type Outcome, type Violation } from "./judge.ts";

interface Entry {
  readonly record: ClientRecord;
  line: Ended | null;
}

export type KindCounts = Partial<Record<Outcome, number>> & { started: number };

export class Ledger {
  readonly counts = new Map<Kind, KindCounts>();
  lineCount = 0;
  private readonly around: Circumstances;
  private readonly onViolation: (violation: Violation) => void;
  /** By the client's address; more than one where a port was used again at once. */
  private readonly open = new Map<string, Entry[]>();
  /** Lines of clients that had gone before anybody could ask for their address. */
  private readonly nameless: Ended[] = [];
  private readonly ids = new IdCounter();

  constructor(around: Circumstances, onViolation: (violation: Violation) => void) {
    this.around = around;
    this.onViolation = onViolation;
  }

  /** Clients that are not over, or whose line has not come. */
  get openCount(): number {
    let count = 0;
    for (const entries of this.open.values()) count += entries.length;
    return count;
  }

  onStarted(record: ClientRecord): void {
    this.countsOf(record.course.kind).started += 1;
    const entries = this.open.get(record.address) ?? [];
    entries.push({ record, line: null });
    this.open.set(record.address, entries);
  }

  onOver(record: ClientRecord): void {
    const entry = this.open.get(record.address)?.find((each) => each.record === record);
    if (entry !== undefined && entry.line !== null) this.settle(entry);
  }

  onLine(line: Ended): void {
    this.lineCount += 1;
    if (!this.ids.add(line.id)) this.tell(`id ${line.id} twice`);
    if (line.client === "") return void this.nameless.push(line);
    // Where a port was used again, the client that started when this one was accepted.
    const acceptedAt = performance.now() - line.totalMs;
    const distance = ({ record }: Entry) => Math.abs(record.startedAt - acceptedAt);
    const entry = (this.open.get(line.client) ?? [])
      .filter((each) => each.line === null)
      .toSorted((a, b) => distance(a) - distance(b))[0];
    if (entry === undefined) return this.tell(`a line for ${line.client}, which is no client`);
    entry.line = line;
    if (entry.record.isOver) this.settle(entry);
  }

  /** After the last line. What is open still is a violation, but for clients that were gone at once. */
  close(): void {
    const rest = [...this.open.values()].flat();
    const gone = rest.filter(({ line, record }) => line === null && record.end?.ending === "left");
    // Which line is whose nobody can say. If they can be paired at all, then in the order of their bytes.
    const bySize = gone.toSorted((a, b) => sentSize(a) - sentSize(b));
    const nameless = this.nameless.toSorted((a, b) => a.bytesUp - b.bytesUp);
    for (const entry of bySize) entry.line = nameless.shift() ?? null;
    for (const entry of rest) {
      if (!entry.record.isOver) this.tell(`${nameOf(entry)} is not over`);
      else if (entry.line === null) this.tell(`no line for ${nameOf(entry)}`);
      else this.settle(entry);
    }
    for (const line of nameless) this.tell(`line ${line.id} is no client's`);
    for (const id of this.ids.missing()) this.tell(`no line with id ${id}`);
  }

  private settle(entry: Entry): void {
    const { record, line } = entry;
    const entries = this.open.get(record.address) ?? [];
    entries.splice(entries.indexOf(entry), 1);
    if (entries.length === 0) this.open.delete(record.address);
    const judged = judgeClient(record, line, this.around);
    if (typeof judged !== "string") return this.onViolation(judged);
    const counts = this.countsOf(record.course.kind);
    counts[judged] = (counts[judged] ?? 0) + 1;
  }

  private countsOf(kind: Kind): KindCounts {
    const counts = this.counts.get(kind) ?? { started: 0 };
    this.counts.set(kind, counts);
    return counts;
  }

  private tell(text: string): void {
    this.onViolation({ kind: "access line", text });
  }
}

/** Numbers from 1 on that come about in order; holds no more than those that came early. */
class IdCounter {
  private next = 1;
  private readonly early = new Set<number>();

  /** @returns false when it was there before. */
  add(id: number): boolean {
    if (id < this.next || this.early.has(id)) return false;
    this.early.add(id);
    while (this.early.delete(this.next)) this.next += 1;
    return true;
  }

  /** Up to ten that are missing below the highest. */
  missing(): readonly number[] {
    const highest = Math.max(...this.early, -1);
    const found: number[] = [];
    for (let id = this.next; id < highest && found.length < 10; id++) {
      if (!this.early.has(id)) found.push(id);
    }
    return found;
  }
}

function sentSize({ record }: Entry): number {
  return record.end?.sentSize ?? 0;
}

function nameOf({ record }: Entry): string {
  return `${record.course.id} (${record.course.kind}), client ${record.address}`;
}
