// The two policies, one over the primary destinations and one over the backups, and who is filed with them as ready.
import { fullShare, type Board } from "./board.ts";
import type { Destination } from "./destination.ts";
import type { Policy } from "./policy.ts";

/** A policy over its members, none of them filed yet. */
export type PolicyMaker = (board: Board, members: readonly Destination[]) => Policy;

export class Filing {
  primary: Policy;
  backup: Policy;
  /** Primary destinations that are filed. */
  readyCount = 0;
  private readonly board: Board;
  /** What the policies were made of: who is in them, and their weights, which some read only then. */
  private makeup = "";

  private readonly lane: number;

  constructor(board: Board, make: PolicyMaker, lane: number) {
    this.board = board;
    this.lane = lane;
    this.primary = make(board, []);
    this.backup = make(board, []);
  }

  /** These are the members from now on. Nobody is filed afterwards, unless they and the policy's name are as before. */
  setMembers(list: readonly Destination[], make: PolicyMaker, name: string): boolean {
    const { board } = this;
    const makeup = list.map(
      ({ row, generation, backup }) =>
        `${row}.${generation}.${backup ? "b" : "p"}${board.weight[row] ?? fullShare}`,
    );
    const before = this.makeup;
    this.makeup = [name, ...makeup].join(" ");
    if (this.makeup === before) return false;
    this.readyCount = 0;
    const primaries = list.filter((each) => !each.backup);
    const backups = list.filter((each) => each.backup);
    this.primary = make(board, primaries);
    this.backup = make(board, backups);
    return true;
  }

  /** Finds one of this lane that is free and wanted, whoever knows of it. −1: none. */
  findFree(isWanted: (row: number) => boolean): number {
    return this.board.findFree(isWanted, this.lane);
  }

  isStale(destination: Destination): boolean {
    return this.policyOf(destination).isStale(destination);
  }

  /** Files a destination that is ready, or anew for its load; takes out one that is not. */
  file(destination: Destination, ready: boolean): void {
    const policy = this.policyOf(destination);
    if (ready) policy.file(destination);
    else if (destination.ready) policy.remove(destination);
    if (ready !== destination.ready && !destination.backup) this.readyCount += ready ? 1 : -1;
    destination.ready = ready;
  }

  private policyOf({ backup }: Destination): Policy {
    return backup ? this.backup : this.primary;
  }
}
