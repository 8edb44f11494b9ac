// A destination as one thread sees it: a row of the board, its addresses, and its place with the policy that files it.
// Origin: IAWLB §10, whose state nobody read.
import type { DialAddress, TlsSide } from "./engine.ts";
import { Expiring } from "./sweep.ts";

/** What a destination is told before a client's first byte. */
export interface Outward {
  /** Version of the PROXY header; 0 = none. */
  readonly proxy: 0 | 1 | 2;
  /** null = no TLS. */
  readonly tls: TlsSide | null;
  /** What its certificate is to be for; "" = nothing is asked for. */
  readonly name: string;
}

/** What a thread knows of a destination. Slots, weight and state are on the board. */
export interface DestinationPlan {
  /** Of this stay in its row: a row that is used anew has another one. */
  readonly generation?: number;
  readonly name: string;
  readonly addresses: readonly DialAddress[];
  /** Connections that this thread opens ahead; 0 as a rule. */
  readonly warm?: number;
  readonly backup: boolean;
  /** It gets no connection any more; those that it has go on. */
  readonly isLeaving?: boolean;
  /** null = nothing. */
  readonly outward?: Outward | null;
}

/** Told to the control plane, once per change and never per connection. */
export interface DestinationEvents {
  onOut(destination: Destination, cause: string, retryMs: number): void;
  onBack(destination: Destination): void;
}

/** Who ends its rest. */
interface RestHost {
  onRestOver(destination: Destination, nowMs: number): number;
}

export class Destination extends Expiring {
  /** Row on the board. */
  readonly row: number;
  readonly generation: number;
  readonly name: string;
  backup = false;
  warm = 0;
  isLeaving = false;
  outward: Outward | null = null;
  /** All addresses of its name; empty until the name resolves. */
  addresses: readonly DialAddress[];
  /** Index of the address that answered last; the next dial starts there. */
  preferred = 0;
  /** Filed with its policy: it can take a client now. */
  ready = false;
  /** Links and place of the policy that files it. */
  previous: Destination = this;
  next: Destination = this;
  place = -1;
  credit = 0;
  private readonly host: RestHost;

  constructor(host: RestHost, row: number, plan: DestinationPlan) {
    super();
    this.host = host;
    this.row = row;
    this.generation = plan.generation ?? 0;
    this.name = plan.name;
    this.addresses = plan.addresses;
    this.follow(plan);
  }

  /** What may change while it stays. */
  follow({ backup, warm = 0, isLeaving = false, outward = null }: DestinationPlan): void {
    this.backup = backup;
    this.outward = outward;
    this.warm = isLeaving ? 0 : warm;
    this.isLeaving = isLeaving;
  }

  /** Filed by nobody. */
  unfile(): void {
    this.previous = this;
    this.next = this;
    this.place = -1;
    this.ready = false;
  }

  /** The rest after failures is over. */
  override onSweep(nowMs: number): number {
    return this.host.onRestOver(this, nowMs);
  }
}
