// A destination that does with each client what that one asks for, counts how many it serves at once, can be killed and
// started again at the same address. One letter and the rest of a line is a request:
//
//   a  answer and end              h  answer and end after the client's end     r  say half an answer, then reset
//   d  the same a little later     s  answer, end after the client's end        q  never say anything
//   i  say half an answer only     e  end without an answer                     w  wait for `letGo`

import type { Socket, TCPSocketListener } from "bun";
import { libc } from "../raw.ts";
import type { Random } from "../wait.ts";

/** Longest time that a `d` takes. */
const answerMsMax = 4;

interface Client {
  /** The letter it has sent; "" = nothing yet: perhaps it is no client but a look whether we are alive. */
  kind: string;
  /** When it has found that there are too many: those beside it, until one of them turns out to have gone already. */
  beside: readonly Client[];
  state: "serving" | "over" | "cut";
  answered: boolean;
}

type Peer = Socket<Client>;

/** Since the start of this process: each has an address of its own. */
let createdCount = 0;

export class Destination implements Disposable {
  readonly name: string;
  readonly slots: number;
  readonly port: number;
  /** Most clients that it has served at the same time. */
  servingMax = 0;
  servedCount = 0;
  /** By ms since 1970. */
  readonly downs: [fromMs: number, toMs: number][] = [];
  private readonly host: string;
  private readonly random: Random;
  private readonly serving = new Set<Client>();
  private readonly suspects: { readonly client: Client; readonly count: number }[] = [];
  private readonly peers = new Set<Peer>();
  private listener: TCPSocketListener<Client> | null = null;

  /**
   * @param slots as many as the balancer may use; 0 = no limit.
   * @param host an address of its own, so that nobody else gets its port while it is down.
   * @param port 0 = one that is free.
   */
  constructor(
    name: string,
    slots: number,
    random: Random,
    host = `127.0.7.${10 + (createdCount++ % 90)}`,
    port = 0,
  ) {
    this.name = name;
    this.slots = slots;
    this.host = host;
    this.random = random;
    this.listener = this.listen(port);
    this.port = this.listener.port;
  }

  /** As on the command line. */
  get place(): string {
    return `${this.host}:${this.port},name=${this.name},slots=${this.slots}`;
  }

  get isUp(): boolean {
    return this.listener !== null;
  }

  /**
   * What must not be: more clients at once than slots. One whose connection the balancer has reset counts until we
   * hear of it, which may be after its slot has gone to the next: so it excuses the one too many.
   */
  get complaints(): readonly string[] {
    const isGuilty = ({ client }: (typeof this.suspects)[number]) =>
      client.beside.every((each) => each.state !== "cut");
    return this.suspects
      .filter(isGuilty)
      .map(({ count }) => `${this.name} has served ${count} clients at once, of ${this.slots}`);
  }

  /** As a process that dies: it does not listen any more, and all its connections are reset. */
  kill(): void {
    if (this.listener === null) return;
    this.listener.stop(false);
    this.listener = null;
    this.downs.push([now(), Number.POSITIVE_INFINITY]);
    for (const peer of this.peers) peer.terminate();
  }

  start(): void {
    const down = this.downs.at(-1);
    if (this.listener !== null || down === undefined) return;
    this.listener = this.listen(this.port);
    down[1] = now();
  }

  /** Those who have sent a `w` and are still there. */
  get heldCount(): number {
    return [...this.peers].filter(({ data }) => data.kind === "w" && data.state === "serving")
      .length;
  }

  /** Ends all of those. */
  letGo(how: "finish" | "reset"): void {
    for (const peer of this.peers) {
      if (peer.data.kind !== "w" || peer.data.state !== "serving") continue;
      if (how === "finish") this.answer(peer, true);
      else this.cut(peer);
    }
  }

  /** Connections on which nothing has been said: opened ahead, or to see whether we are alive. */
  get silentCount(): number {
    return [...this.peers].filter(({ data }) => data.kind === "").length;
  }

  resetSilent(): void {
    for (const peer of this.peers) if (peer.data.kind === "") peer.terminate();
  }

  [Symbol.dispose](): void {
    this.kill();
  }

  private listen(port: number): TCPSocketListener<Client> {
    const listener = Bun.listen<Client>({
      hostname: this.host,
      port,
      allowHalfOpen: true,
      socket: {
        open: (peer) => {
          peer.data = { kind: "", beside: [], state: "serving", answered: false };
          this.peers.add(peer);
        },
        data: (peer, chunk) => this.onData(peer, chunk),
        end: (peer) => this.onEnd(peer),
        close: (peer) => {
          this.peers.delete(peer);
          this.leave(peer.data, "cut");
        },
      },
    });
    // Bun's backlog of 512 would cost a client of a larger burst a second.
    if ("fd" in listener) libc().listen(listener.fd as number, 4_096); // missing in Bun's types
    return listener;
  }

  private onData(peer: Peer, chunk: Buffer): void {
    const { data } = peer;
    if (data.kind !== "") return;
    data.kind = String.fromCharCode(chunk[0] ?? 0);
    this.enter(data);
    switch (data.kind) {
      case "a":
        return this.answer(peer, true);
      case "d":
        return void setTimeout(() => this.answer(peer, true), 1 + this.random.int(answerMsMax));
      case "s":
        return this.answer(peer, false);
      case "i":
        return void peer.write("half");
      case "e":
        this.leave(data, "over");
        return void peer.shutdown();
      case "r":
        peer.write("half"); // so that nobody takes it for a destination that is not well
        return void setTimeout(() => this.cut(peer), 1);
    }
  }

  private onEnd(peer: Peer): void {
    const { data } = peer;
    if (data.kind === "h") return this.answer(peer, true);
    if (data.kind !== "" && "qiw".includes(data.kind)) return; // a deadline ends it, or `letGo`
    this.leave(data, "over");
    peer.shutdown();
  }

  private answer(peer: Peer, ends: boolean): void {
    const { data } = peer;
    if (data.state !== "serving" || data.answered) return;
    data.answered = true;
    peer.write("answer\n");
    if (!ends) return;
    this.leave(data, "over"); // first: the balancer may give its slot on as soon as we have ended
    peer.shutdown();
  }

  private cut(peer: Peer): void {
    this.leave(peer.data, "over");
    peer.terminate();
  }

  private enter(client: Client): void {
    this.serving.add(client);
    this.servedCount += 1;
    const count = this.serving.size;
    const fits = this.slots === 0 || count <= this.slots;
    if (fits) this.servingMax = Math.max(this.servingMax, count);
    if (fits) return;
    client.beside = [...this.serving].filter((each) => each !== client);
    this.suspects.push({ client, count });
  }

  private leave(client: Client, state: "over" | "cut"): void {
    if (client.state !== "serving") return;
    client.state = state;
    this.serving.delete(client);
  }
}

/** ms since 1970, by the monotonic clock. */
function now(): number {
  return performance.timeOrigin + performance.now();
}
