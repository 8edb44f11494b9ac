// One line of this thread's waiters: the items are here, their numbers on the board (tickets.ts).
//
//   items    [ . | a | . | c | d | e | f | . ]
//                  ^served   ^head       ^tail      before `head`: claimed, a grant is on its way (or it was served)
//   beyond   [ g | h ]       no place is free: filed when one is
import { assert } from "./assert.ts";
import type { Tickets } from "./tickets.ts";

/** Where an item is: outside of the batch, gathered, or in one of its two lines. */
export const Place = { nowhere: 0, fresh: 1, arrived: 2, back: 3 } as const;
export type Place = (typeof Place)[keyof typeof Place];

export interface Waiter {
  /** Number of arrival: grows, never repeats. */
  readonly order: number;
  /** Set by the batch. */
  place: Place;
  /** Went away while it waited; it is dropped when its turn comes. */
  left: boolean;
}

export class Line<T extends Waiter> {
  /** Items that wait and have not left. */
  count = 0;
  private readonly tickets: Tickets;
  private readonly line: number;
  private readonly items: (T | null)[];
  /** Nobody is left before this position. */
  private served: number;
  private tail: number;
  private newest = 0;
  /** Oldest first, all newer than those that are filed. */
  private readonly beyond: T[] = [];
  private leftCount = 0;

  constructor(tickets: Tickets, line: number) {
    this.tickets = tickets;
    this.line = line;
    this.items = Array.from({ length: tickets.placesPerLine }, () => null);
    this.tail = tickets.tail(line);
    this.served = tickets.head(line);
    assert(this.served === this.tail, "line: taken over before it was cleared");
  }

  /** The oldest item that has not left, or null. */
  oldest(): T | null {
    this.skipServed();
    for (let at = this.served; at !== this.tail; at = (at + 1) | 0) {
      const item = this.itemAt(at);
      if (item !== null && !item.left) return item;
    }
    return null;
  }

  /** A slot is on its way, or there already. */
  get expectsGrants(): boolean {
    this.skipServed();
    return this.served !== this.tickets.head(this.line);
  }

  /** Files an item at its place by arrival: at the end as a rule; `publish` then shows it to the other threads. */
  file(item: T): void {
    this.count += 1;
    if (this.isFull() && this.leftCount > 0) this.refile(null);
    const isEmpty = this.tickets.head(this.line) === this.tail;
    const isNewest = isEmpty || item.order > this.newest;
    if (this.isFull() || this.beyond.length > 0) {
      const last = this.beyond.at(-1);
      this.beyond.push(item);
      if (!isNewest || (last !== undefined && last.order > item.order)) this.refile(null);
    } else if (isNewest) {
      this.append(item);
    } else if (!this.prepend(item)) {
      this.refile(item);
    }
  }

  /** One step for all that was filed since (IAWLB §38). */
  publish(): void {
    this.tickets.publish(this.line, this.tail);
  }

  /** An item of this line has left. @returns true when others became visible: a slot may be free for them. */
  leave(): boolean {
    this.count -= 1;
    this.leftCount += 1;
    const hadBeyond = this.beyond.length > 0;
    this.dropLeft();
    return hadBeyond;
  }

  /** The item of a place that this thread has just claimed, or null when it has left. */
  take(place: number): T | null {
    const index = this.tickets.indexOf(place);
    const item = this.items[index] ?? null;
    this.items[index] = null;
    this.tickets.clear(this.line, place);
    this.dropLeft();
    return this.counted(item);
  }

  /** Tells of every slot that other threads have granted; `item` is null when it has left. */
  takeGrants(receive: (row: number, item: T | null) => void): void {
    this.skipServed();
    const head = this.tickets.head(this.line);
    for (let at = this.served; at !== head; at = (at + 1) | 0) {
      const index = this.tickets.indexOf(at);
      const item = this.items[index] ?? null;
      if (item === null) continue;
      const row = this.tickets.takeGrant(this.line, at);
      if (row < 0) continue; // claimed, the slot is not there yet: its giver wakes us
      this.items[index] = null;
      receive(row, this.counted(item));
    }
    this.dropLeft();
  }

  /** Those at the head that have left go at once, so that nobody takes them for the oldest. */
  private dropLeft(): void {
    while (this.leftCount > 0) {
      const head = this.tickets.head(this.line);
      const isEmpty = head === this.tickets.tail(this.line);
      if (isEmpty || this.itemAt(head)?.left !== true) break;
      if (!this.tickets.claimOwn(this.line, head, (head + 1) | 0)) continue;
      this.clear(head);
      this.leftCount -= 1;
    }
    this.fileBeyond();
  }

  private counted(item: T | null): T | null {
    if (item === null) return null;
    if (item.left) {
      this.leftCount -= 1;
      return null;
    }
    this.count -= 1;
    item.place = Place.nowhere;
    return item;
  }

  private append(item: T): void {
    this.items[this.tickets.indexOf(this.tail)] = item;
    this.tickets.file(this.line, this.tail, item.order | 0);
    this.tail = (this.tail + 1) | 0;
    this.newest = item.order;
  }

  /** Puts an item that is older than all before the head. @returns false when it is not, or the place is not free. */
  private prepend(item: T): boolean {
    const head = this.tickets.head(this.line);
    const oldest = this.itemAt(head);
    const before = (head - 1) | 0;
    if (oldest === null || item.order > oldest.order || this.itemAt(before) !== null) return false;
    this.items[this.tickets.indexOf(before)] = item;
    this.tickets.file(this.line, before, item.order | 0);
    if (!this.tickets.claimOwn(this.line, head, before)) {
      this.clear(before);
      return false;
    }
    if (this.served === head) this.served = before;
    return true;
  }

  /** Claims all that is waiting and files it anew in order, without those that have left. O(count). */
  private refile(added: T | null): void {
    this.publish();
    let head = this.tickets.head(this.line);
    while (!this.tickets.claimOwn(this.line, head, this.tail)) head = this.tickets.head(this.line);
    const items = this.beyond.splice(0);
    if (added !== null) items.push(added);
    for (let at = head; at !== this.tail; at = (at + 1) | 0) {
      const item = this.itemAt(at);
      if (item !== null) items.push(item);
      this.clear(at);
    }
    const live = items.filter((each) => !each.left);
    this.leftCount -= items.length - live.length;
    for (const item of live.toSorted((a, b) => a.order - b.order)) {
      if (this.isFull()) this.beyond.push(item);
      else this.append(item);
    }
    this.publish();
  }

  private isFull(): boolean {
    return this.held() === this.items.length;
  }

  /** Places have become free. */
  private fileBeyond(): void {
    if (this.beyond.length === 0) return;
    if (this.isFull() && 2 * this.leftCount > this.items.length) return this.refile(null);
    let filed = 0;
    for (const item of this.beyond) {
      if (this.isFull()) break;
      if (item.left) this.leftCount -= 1;
      else this.append(item);
      filed += 1;
    }
    this.beyond.splice(0, filed);
    this.publish();
  }

  /** Positions in use, those of claimed items included. */
  private held(): number {
    this.skipServed();
    return (this.tail - this.served) >>> 0;
  }

  private skipServed(): void {
    while (this.served !== this.tail && this.itemAt(this.served) === null) {
      this.served = (this.served + 1) | 0;
    }
  }

  private itemAt(position: number): T | null {
    return this.items[this.tickets.indexOf(position)] ?? null;
  }

  private clear(position: number): void {
    this.items[this.tickets.indexOf(position)] = null;
    this.tickets.clear(this.line, position);
  }
}
