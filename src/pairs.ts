// The open pairs of all threads together: a list of them by pages, the end of one, the end of some at quiet moments.
import type { Asking } from "./asking.ts";
import { SteeringError } from "./control/steering.ts";
import type { Connection, ConnectionPage, ConnectionQuery } from "./control/steering.ts";
import { closeMsMax, type Board } from "./core/board.ts";
import type { OpenPair } from "./core/live.ts";
import type { Roster } from "./roster.ts";

/** Connections on one page. */
const pageCountMax = 1_000;
/** Pairs that one call closes for others. */
const rebalanceCountMax = 65_536;
/** The clock that spaces them counts in whole ms. */
const perSecondMax = 1_000;

export class Pairs {
  private readonly board: Board;
  private readonly roster: Roster;
  private readonly asking: Asking;

  constructor(board: Board, roster: Roster, asking: Asking) {
    this.board = board;
    this.roster = roster;
    this.asking = asking;
  }

  async connections(query: ConnectionQuery): Promise<ConnectionPage> {
    const { roster, asking } = this;
    const after = query.after === "" ? 0 : Number(query.after);
    if (!Number.isSafeInteger(after) || after < 0) {
      const message = `${JSON.stringify(query.after)} is no \`next\` of a page before`;
      throw new SteeringError("refused", message);
    }
    const { destination, ageMsMin } = query;
    const rows = destination === "" ? null : roster.allNamed(destination).map(({ row }) => row);
    const client = query.client.replace(/^\[(.*)\]$/, "$1");
    const pageCount = Math.min(Math.max(1, Math.floor(query.countMax) || 1), pageCountMax);
    const countMax = pageCount + 1; // one more tells that there is more
    const asked = { rows, client, ageMsMin, countMax, after };
    const answers = await asking.answers({ kind: "list", query: asked });
    const pairs = answers.flatMap((each) => each.pairs).toSorted((a, b) => a.order - b.order);
    const page = pairs.slice(0, pageCount);
    return {
      connections: page.map((pair) => this.connectionOf(pair)),
      next: pairs.length > page.length ? String(page.at(-1)?.order ?? "") : "",
    };
  }

  async kill(id: number): Promise<boolean> {
    const answers = await this.asking.answers({ kind: "kill", order: id });
    return answers.some(({ count }) => count > 0);
  }

  /** @throws SteeringError */
  async rebalance(destination: string, count: number, perSecond: number): Promise<number> {
    const { board, roster, asking } = this;
    const row = roster.named(destination)?.row;
    if (row === undefined) {
      const message = `there is no destination ${JSON.stringify(destination)}`;
      throw new SteeringError("unknown", message);
    }
    const isMeant = Number.isSafeInteger(count) && count >= 0 && perSecond > 0;
    if (!isMeant) throw new SteeringError("refused", "a count and a rate above 0 are needed");
    const intervalMs = Math.ceil(1_000 / Math.min(perSecond, perSecondMax));
    if (intervalMs > closeMsMax) {
      throw new SteeringError("refused", "a rate of at least one connection an hour is needed");
    }
    const countMax = Math.min(count, rebalanceCountMax);
    const found = await asking.answers({ kind: "candidates", row, countMax });
    const oldest = found.flatMap(({ numbers }) => numbers).toSorted((a, b) => a - b);
    const to = oldest.slice(0, countMax).at(-1);
    if (to === undefined) return 0;
    board.startClosing(row, performance.now());
    const retired = await asking.answers({ kind: "retire", row, to, intervalMs });
    return retired.reduce((sum, each) => sum + each.count, 0);
  }

  private connectionOf(pair: OpenPair): Connection {
    const { order, client, row, state, ageMs, idleMs, bytesUp, bytesDown } = pair;
    const destination = row < 0 ? "" : this.roster.nameOf(row);
    const id = String(order);
    return { id, listener: "", client, destination, state, ageMs, idleMs, bytesUp, bytesDown };
  }
}
