// The clients of a storm: each asks for one thing (destination.ts) and does one thing itself, at random.

import type { Socket, SocketHandler } from "bun";
import { AF_INET, dial, libc, rawSocket, sockaddr } from "../raw.ts";
import type { Random } from "../wait.ts";

/**
 * What a client does once it is connected:
 * - `polite`: asks, ends after its destination has ended
 * - `half`: asks and ends at once
 * - `first`: asks, ends as soon as it is answered
 * - `stay`: asks, and ends never
 * - `leave`: asks, and resets at any moment; `cut`: asks, and resets as soon as it is answered
 * - `scan`: ends or resets at once without a word; `silent`: says nothing and stays
 */
type Act = "polite" | "half" | "first" | "stay" | "leave" | "cut" | "scan" | "silent";

interface Client {
  readonly letter: string;
  readonly act: Act;
  /** Bytes of the answer that have come. */
  size: number;
  /** A write has found the connection reset, which Bun then reports as an end. */
  wasReset: boolean;
  over: boolean;
}

type Peer = Socket<Client>;

/** How many of a thousand clients do what. */
const customs: readonly (readonly [count: number, letter: string, act: Act])[] = [
  [540, "a", "polite"],
  [100, "d", "polite"],
  [80, "h", "half"],
  [50, "s", "first"],
  [30, "r", "polite"],
  [20, "e", "polite"],
  [70, "a", "leave"],
  [50, "d", "leave"],
  [20, "h", "leave"],
  [16, "s", "cut"],
  [20, "-", "scan"],
  [1, "q", "stay"],
  [1, "q", "half"],
  [1, "i", "stay"],
  [1, "e", "stay"],
];

const answerSize = "answer\n".length;
/** Who leaves at any moment does so within this time. */
const leaveMsMax = 1_000;
/** Addresses that clients come from: who ends first keeps its port for a minute. */
const sourceCount = 32;

export class Load {
  startedCount = 0;
  overCount = 0;
  /** Those that got a whole answer. */
  answeredCount = 0;
  /** Ends in order without the answer that was asked for: a cut that looks like an end. */
  truncatedCount = 0;
  /** Connects that have failed, by cause: not even a reset of the balancer's. */
  readonly failures = new Map<string, number>();
  private readonly random: Random;
  private readonly to: Uint8Array;
  private readonly from = Array.from({ length: sourceCount }, (_, n) =>
    sockaddr(`127.0.7.${100 + n}:0`),
  );
  private readonly choices: readonly (readonly [letter: string, act: Act])[];
  private readonly handlers: SocketHandler<Client> = {
    open: (peer) => this.onOpen(peer),
    data: (peer, chunk) => this.onData(peer, chunk),
    end: (peer) => this.onEnd(peer),
    close: ({ data }) => this.end(data),
    connectError: ({ data }, error) => {
      const { code = "unknown" } = error as NodeJS.ErrnoException;
      // A refusal that was faster than the news of the connect.
      if (code !== "ECONNRESET") this.failures.set(code, (this.failures.get(code) ?? 0) + 1);
      this.end(data);
    },
  };

  constructor(port: number, random: Random) {
    this.to = sockaddr(port);
    this.random = random;
    this.choices = customs.flatMap(([count, letter, act]) =>
      Array.from({ length: count }, () => [letter, act] as const),
    );
  }

  get openCount(): number {
    return this.startedCount - this.overCount;
  }

  /** One more client. */
  start(): void {
    const [letter, act] = this.choices[this.random.int(this.choices.length)] ?? ["a", "polite"];
    const from = this.from[this.startedCount % sourceCount] ?? this.to;
    const fd = rawSocket(AF_INET);
    if (libc().bind(fd, from, from.length) < 0) throw new Error("no port is left to come from");
    libc().connect(fd, this.to, this.to.length);
    this.startedCount += 1;
    const data: Client = { letter, act, size: 0, wasReset: false, over: false };
    dial<Client>({ fd, allowHalfOpen: true, data, socket: this.handlers });
  }

  private onOpen(peer: Peer): void {
    const { letter, act } = peer.data;
    if (act === "silent") return;
    if (act === "scan") {
      if (this.random.int(2) === 0) peer.terminate();
      else peer.shutdown();
      return;
    }
    if (peer.write(`${letter}\n`) < 0) peer.data.wasReset = true;
    if (act === "half") peer.shutdown();
    if (act !== "leave") return;
    // Every fourth at once, so that some are gone before anybody has looked at them.
    const ms = this.random.int(4) === 0 ? 0 : this.random.int(leaveMsMax);
    if (ms === 0) peer.terminate();
    else setTimeout(() => peer.data.over || peer.terminate(), ms);
  }

  private onData(peer: Peer, chunk: Buffer): void {
    const { data } = peer;
    data.size += chunk.length;
    if (data.size < answerSize) return;
    this.answeredCount += 1;
    if (data.act === "first") peer.shutdown();
    if (data.act === "cut") peer.terminate();
  }

  private onEnd(peer: Peer): void {
    const { act, letter, size, wasReset } = peer.data;
    if (!wasReset && size < answerSize && "adhs".includes(letter)) this.truncatedCount += 1;
    if (act === "polite" || act === "leave") peer.shutdown();
  }

  private end(client: Client): void {
    if (client.over) return;
    client.over = true;
    this.overCount += 1;
  }
}
