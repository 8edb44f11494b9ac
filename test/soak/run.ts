// A soak from start to end: destinations and the balancer, the traffic and the troubles, then what is left.

import type { Status } from "../../src/balancer.ts";
import { seeded, until } from "../wait.ts";
import { isAtRest, overSlots, unaccounted } from "./account.ts";
import { Destinations, type TroubleKind } from "./destinations.ts";
import type { Violation } from "./judge.ts";
import { Ledger, type KindCounts } from "./ledger.ts";
import { judgeMemory, type MemorySample, type MemoryVerdict } from "./memory.ts";
import { patternOf } from "./pattern.ts";
import { Subject } from "./subject.ts";
import { Traffic } from "./traffic.ts";

export interface SoakOptions {
  readonly seed: number;
  readonly ms: number;
  readonly engine: "bun" | "libc";
  readonly threads: string;
  /** New connections a second, at most. */
  readonly rate: number;
}

/** How it stands, every second. */
export interface Progress {
  readonly seconds: number;
  readonly connectionCount: number;
  readonly rate: number;
  readonly bytes: number;
  readonly open: number;
  readonly waiting: number;
  readonly rssMiB: number;
  readonly troubleCount: number;
  readonly violationCount: number;
}

export interface SoakReport {
  readonly options: SoakOptions;
  readonly seconds: number;
  readonly connectionCount: number;
  /** Sent and received by clients. */
  readonly bytes: number;
  readonly waitedCount: number;
  readonly kinds: Readonly<Record<string, KindCounts>>;
  readonly closed: Status["closed"] | null;
  readonly troubles: Readonly<Record<TroubleKind, number>>;
  /** Times a health check took a destination down. */
  readonly downCount: number;
  readonly memory: MemoryVerdict | null;
  /** By kind, and the first of them in words. */
  readonly violationCounts: Readonly<Partial<Record<Violation["kind"], number>>>;
  readonly violations: readonly Violation[];
}

const slots = 16;
const destinationCount = 5;
const longCount = 12;
const queueMs = 15_000;
const healthMs = 250;
const toldCountMax = 50;
const lookMs = 1_000;
const sampleMs = 200;
/** After the last connection has been started. Slow machines are three times slower. */
const overMs = 45_000;
/** The libc engine keeps 16 pipes for each thread. */
const keptPipeFdCountMax = 32;
/** What the balancer says of itself that is no sign of a fault. */
const usualWords =
  /^(?:warning: destination d\d is (?:out|down: health check): |destination d\d is back|draining: 0 open|drained: all)/;

class Violations {
  readonly told: Violation[] = [];
  readonly counts: Partial<Record<Violation["kind"], number>> = {};
  count = 0;

  add(violation: Violation): void {
    this.count += 1;
    this.counts[violation.kind] = (this.counts[violation.kind] ?? 0) + 1;
    if (this.told.length < toldCountMax) this.told.push(violation);
  }
}

export async function soak(
  options: SoakOptions,
  onProgress: (progress: Progress) => void = () => {},
): Promise<SoakReport> {
  const violations = new Violations();
  const add = (violation: Violation) => violations.add(violation);
  // Addresses of its own for each run on a machine.
  const hostOf = (number: number) => `127.0.${8 + (process.pid % 200)}.${1 + number}`;
  const patternSeed = options.seed + 1;
  await using destinations = new Destinations(destinationCount, patternSeed, hostOf, add);
  await destinations.start();
  const around = {
    wasKilled: destinations.wasKilled.bind(destinations),
    queueMs,
  };
  const ledger = new Ledger(around, add);
  const args = ["--engine", options.engine, "--threads", options.threads, "--slots", `${slots}`];
  // So often, checks take down a destination that is away for a second.
  const health = ["--health-interval", `${healthMs}ms`, "--health-timeout", `${healthMs}ms`];
  const times = ["--queue-timeout", `${queueMs}ms`, ...health];
  let downCount = 0;
  await using subject = new Subject([...args, ...times, ...destinations.arguments], {
    onLine: (line) => ledger.onLine(line),
    onWord(text) {
      if (text.includes(" is down: ")) downCount += 1;
      if (!usualWords.test(text)) add({ kind: "log", text });
    },
  });
  await subject.listening();
  const before = { status: await subject.status(), descriptors: subject.descriptors };
  const host = { port: subject.port, pattern: patternOf(patternSeed) };
  const traffic = new Traffic(seeded(options.seed), host, ledger);
  const watch = new Watch(subject, traffic, destinations, violations, onProgress);

  const endAt = performance.now() + options.ms;
  const random = seeded(options.seed + 2);
  const looking = watch.until(endAt);
  const troubling = destinations.trouble(random, endAt);
  await traffic.run(options.rate, longCount, endAt);
  const seconds = watch.seconds;
  await Promise.all([troubling, looking]);
  await settle(subject, traffic, before.status.deadlines, add);
  const last = await subject.status().catch(() => null);
  // Access lines are written within a tenth of a second.
  await until(() => ledger.lineCount >= (last?.accepted ?? 0), "lines", 20_000).catch(() => {});
  const { pipes, others } = before.descriptors;
  const pipesMax = pipes + keptPipeFdCountMax * before.status.threads.length;
  const isBack = () =>
    subject.descriptors.others <= others && subject.descriptors.pipes <= pipesMax;
  // A check may open one a moment later.
  const wasBack = await until(isBack, "descriptors", 20_000).catch(() => false);
  if (!wasBack) {
    const now = subject.descriptors;
    const text = `${now.others} and ${now.pipes} of pipes, ${others} and ${pipes} at the start`;
    add({ kind: "descriptors", text });
  }
  const code = await subject.stop();
  if (code !== 0) add({ kind: "exit", text: `exit code ${code} after SIGTERM` });
  ledger.close();
  const counts = { clients: traffic.startedCount, lines: ledger.lineCount };
  if (last === null) add({ kind: "accounting", text: "no status at the end" });
  else for (const each of unaccounted(last, before.status.deadlines, counts)) add(each);
  const memory = judgeMemory(
    watch.samples,
    heapCountOf(options.engine, before.status.threads.length),
  );
  if (memory !== null && memory.violation !== null) add(memory.violation);
  return {
    options,
    seconds,
    connectionCount: traffic.startedCount,
    bytes: traffic.bytes,
    waitedCount: last?.queue.waited ?? 0,
    kinds: Object.fromEntries(ledger.counts),
    closed: last?.closed ?? null,
    troubles: destinations.troubles,
    downCount,
    memory,
    violationCounts: violations.counts,
    violations: violations.told,
  };
}

/** Waits until every client is over and the balancer at rest; cuts off what hangs. */
async function settle(
  subject: Subject,
  traffic: Traffic,
  deadlines: number,
  add: (violation: Violation) => void,
): Promise<void> {
  await until(() => traffic.open.size === 0, "all clients", overMs).catch(() => {});
  for (const { course, address, startedAt, end } of traffic.open) {
    const seconds = ((performance.now() - startedAt) / 1_000).toFixed(1);
    const text =
      `${course.id} (${course.kind}), client ${address}: not over after ${seconds} s, ` +
      `${end?.sentSize} sent, ${end?.receivedSize} received`;
    add({ kind: "stuck", text });
  }
  traffic.cutOff();
  const isOver = async () => !subject.isRunning || isAtRest(await subject.status(), deadlines);
  await until(isOver, "the balancer at rest", 20_000).catch(() => {});
}

/** Looks at the balancer while it runs. */
class Watch {
  readonly samples: MemorySample[] = [];
  private readonly startedAt = performance.now();
  private readonly subject: Subject;
  private readonly traffic: Traffic;
  private readonly destinations: Destinations;
  private readonly violations: Violations;
  private readonly onProgress: (progress: Progress) => void;
  private lookedAt = performance.now();
  private countThen = 0;

  constructor(
    subject: Subject,
    traffic: Traffic,
    destinations: Destinations,
    violations: Violations,
    onProgress: (progress: Progress) => void,
  ) {
    this.subject = subject;
    this.traffic = traffic;
    this.destinations = destinations;
    this.violations = violations;
    this.onProgress = onProgress;
  }

  get seconds(): number {
    return (performance.now() - this.startedAt) / 1_000;
  }

  async until(endAt: number): Promise<void> {
    for (;;) {
      await Bun.sleep(sampleMs);
      const now = performance.now();
      if (now > endAt || !this.subject.isRunning) return;
      const connectionCount = this.traffic.startedCount;
      this.samples.push({ at: now, kiB: this.subject.rssKiB, connectionCount });
      if (now >= this.lookedAt + lookMs) await this.look(now);
    }
  }

  private async look(now: number): Promise<void> {
    const status = await this.subject.status();
    for (const each of overSlots(status)) this.violations.add(each);
    const connectionCount = this.traffic.startedCount;
    const rate = (connectionCount - this.countThen) / ((now - this.lookedAt) / 1_000);
    this.lookedAt = now;
    this.countThen = connectionCount;
    this.onProgress({
      seconds: this.seconds,
      connectionCount,
      rate,
      bytes: this.traffic.bytes,
      open: status.open,
      waiting: status.queue.waiting,
      rssMiB: this.subject.rssKiB / 1_024,
      troubleCount: Object.values(this.destinations.troubles).reduce((sum, each) => sum + each, 0),
      violationCount: this.violations.count,
    });
  }
}

/** One thread of Bun's sockets is the main one; all others stand beside it. */
function heapCountOf(engine: "bun" | "libc", threadCount: number): number {
  return engine === "bun" && threadCount === 1 ? 1 : threadCount + 1;
}
