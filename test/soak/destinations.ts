// The destinations of a soak, each a process of its own on a port that it keeps, and what happens to them: killed,
// stopped for a while, all of them down at once.

import { join } from "node:path";
import { until, type Random } from "../wait.ts";
import type { DestinationOrders, DestinationWord } from "./destination.ts";
import { healthAnswer, healthQuestion } from "./end.ts";
import type { Violation } from "./judge.ts";
import { eachLine, endsWithUs } from "./process.ts";

const troubleKinds = ["killed", "stopped", "all killed", "all stopped"] as const;
export type TroubleKind = (typeof troubleKinds)[number];

const program = join(import.meta.dir, "destination.ts");
/** A process that was killed, and the system that closes its sockets, have so long. */
const afterKillMs = 50;

export class Destinations implements AsyncDisposable {
  readonly troubles: Record<TroubleKind, number> = {
    killed: 0,
    stopped: 0,
    "all killed": 0,
    "all stopped": 0,
  };
  private readonly all: readonly Destination[];
  private isEnded = false;

  /** @param hostOf each has an address of its own, whose ports no outgoing connection takes. */
  constructor(
    count: number,
    patternSeed: number,
    hostOf: (number: number) => string,
    onViolation: (violation: Violation) => void,
  ) {
    this.all = Array.from({ length: count }, (_, number) => {
      const orders = { number, host: hostOf(number), port: 0, patternSeed };
      return new Destination(orders, onViolation);
    });
  }

  /** As arguments of the balancer. Every other one is checked by bytes, which a stopped process does not answer. */
  get arguments(): readonly string[] {
    const byBytes = `,health-send=${healthQuestion}\\n,health-expect=${healthAnswer}`;
    return this.all.map(
      ({ host, port }, number) =>
        `${host}:${port},name=d${number}${number % 2 === 0 ? "" : byBytes}`,
    );
  }

  async start(): Promise<void> {
    await Promise.all(this.all.map((each) => each.start()));
  }

  wasKilled(number: number, fromMs: number, toMs: number): boolean {
    const asked = number < 0 ? this.all : this.all.slice(number, number + 1);
    return asked.some((each) => each.wasDown(fromMs, toMs));
  }

  /** One trouble after the other, until `end`; each kind comes early, then at random. */
  async trouble(random: Random, endAt: number): Promise<void> {
    for (let count = 0; ; count++) {
      await Bun.sleep(200 + random.int(1_000));
      if (performance.now() > endAt || this.isEnded) break;
      const next = random.int(10);
      const kind = troubleKinds[count] ?? troubleKinds[next < 6 ? next % 2 : 2 + (next % 2)];
      await this.bring(kind ?? "killed", random);
    }
    await Promise.all(this.all.map((each) => each.start()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.isEnded = true;
    await Promise.all(this.all.map((each) => each.end()));
  }

  private async bring(kind: TroubleKind, random: Random): Promise<void> {
    this.troubles[kind] += 1;
    const isAll = kind === "all killed" || kind === "all stopped";
    const one = this.all.slice(random.int(this.all.length)).slice(0, 1);
    const whom = isAll ? this.all : one;
    const ms = isAll ? 1_000 : 100 + random.int(2_000);
    if (kind === "killed" || kind === "all killed") {
      await Promise.all(whom.map((each) => each.kill()));
      // Others may come into trouble while one is down.
      const back = Bun.sleep(ms).then(() => Promise.all(whom.map((each) => each.start())));
      if (isAll) await back;
      else void back.catch(() => {}); // the last start, or its own listening, tells
    } else {
      for (const each of whom) each.stop();
      await Bun.sleep(ms);
      for (const each of whom) each.goOn();
    }
  }
}

class Destination {
  readonly host: string;
  port = 0;
  private readonly orders: DestinationOrders;
  private readonly onViolation: (violation: Violation) => void;
  private child: Bun.Subprocess<"pipe", "pipe", "inherit"> | null = null;
  private starting: Promise<void> | null = null;
  private isEnded = false;
  /** When it was down because it was killed; the last `to` is in the future while it is. */
  private readonly downs: { readonly from: number; to: number }[] = [];

  constructor(orders: DestinationOrders, onViolation: (violation: Violation) => void) {
    this.orders = orders;
    this.host = orders.host;
    this.onViolation = onViolation;
  }

  /** Harmless when it runs, or is being started. */
  start(): Promise<void> {
    this.starting ??= this.startOnce();
    return this.starting;
  }

  async kill(): Promise<void> {
    if (this.child === null) return;
    const down = { from: performance.now(), to: Infinity };
    this.downs.push(down);
    const { child } = this;
    this.child = null;
    child.kill("SIGKILL");
    await child.exited;
    this.starting = null;
    down.to = performance.now() + afterKillMs;
  }

  wasDown(fromMs: number, toMs: number): boolean {
    for (let at = this.downs.length - 1; at >= 0; at--) {
      const down = this.downs[at];
      if (down === undefined || down.to < fromMs) return false;
      if (down.from <= toMs) return true;
    }
    return false;
  }

  stop(): void {
    this.child?.kill("SIGSTOP");
  }

  goOn(): void {
    this.child?.kill("SIGCONT");
  }

  async end(): Promise<void> {
    this.isEnded = true;
    await this.starting?.catch(() => {});
    await this.kill();
  }

  /** Somebody else may have its port for a moment: then it is started again. */
  private async startOnce(): Promise<void> {
    await until(() => this.isEnded || this.listen(), `destination ${this.orders.number}`, 30_000);
  }

  private async listen(): Promise<boolean> {
    const orders = JSON.stringify({ ...this.orders, port: this.port });
    const child = Bun.spawn([process.execPath, program, orders], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, NODE_ENV: undefined },
    });
    endsWithUs(child);
    const { promise, resolve } = Promise.withResolvers<boolean>();
    void child.exited.then(() => resolve(false));
    void eachLine(child.stdout, (line) => {
      const word = JSON.parse(line) as DestinationWord; // its own program writes it
      if ("violation" in word) return this.onViolation(word.violation);
      this.port = word.listening;
      this.child = child;
      resolve(true);
    });
    return promise;
  }
}
