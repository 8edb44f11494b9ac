// Questions to all data-plane threads, and their answers: each has a number, and a limit for how long it is waited for.
import { SteeringError } from "./control/steering.ts";
import type { ThreadAnswer, ThreadCommand, ThreadQuestion } from "./thread-plan.ts";

/** Longest wait for the threads' answers. */
export const answerMsMax = 5_000;
/** Questions that are not answered yet: more are refused, for then some thread stands still. */
const openCountMax = 256;

interface AskedThreads {
  readonly count: number;
  send(command: ThreadCommand): void;
  /** It will answer, unless it dies before. */
  isListening(thread: number): boolean;
}

export interface Asked {
  readonly answers: readonly ThreadAnswer[];
  /** Every thread has answered, or is gone. */
  readonly done: Promise<void>;
}

interface OpenQuestion {
  readonly answers: ThreadAnswer[];
  readonly missing: Set<number>;
  readonly onDone: () => void;
}

export class Asking {
  private readonly threads: () => AskedThreads | null;
  private readonly open = new Map<number, OpenQuestion>();
  private lastNumber = 0;

  /** @param threads null: there are none, and so no answers. */
  constructor(threads: () => AskedThreads | null) {
    this.threads = threads;
  }

  /** @throws SteeringError when too many questions are open. */
  ask(question: ThreadQuestion): Asked {
    if (this.open.size >= openCountMax) {
      throw new SteeringError("refused", "a data-plane thread does not answer; try again later");
    }
    const { promise: done, resolve: onDone } = Promise.withResolvers<void>();
    const threads = this.threads();
    const all = Array.from({ length: threads?.count ?? 0 }, (_, thread) => thread);
    const missing = new Set(all.filter((thread) => threads?.isListening(thread)));
    const answers: ThreadAnswer[] = [];
    this.lastNumber += 1;
    const number = this.lastNumber;
    if (missing.size === 0) {
      onDone();
    } else {
      this.open.set(number, { answers, missing, onDone }); // first: one in this thread answers inside of `send`
      threads?.send({ kind: "ask", number, question });
    }
    return { answers, done };
  }

  /** @returns what has been answered in time, by whoever did. */
  async answers(question: ThreadQuestion): Promise<readonly ThreadAnswer[]> {
    const { answers, done } = this.ask(question);
    await inTime(done);
    return answers;
  }

  onAnswer(thread: number, number: number, answer: ThreadAnswer): void {
    const question = this.open.get(number);
    question?.answers.push(answer);
    this.onMissing(thread, number);
  }

  /** A thread has ended: it answers no more. */
  onGone(thread: number): void {
    for (const number of this.open.keys()) this.onMissing(thread, number);
  }

  /** Nobody is waited for any more. */
  close(): void {
    for (const { onDone } of this.open.values()) onDone();
    this.open.clear();
  }

  private onMissing(thread: number, number: number): void {
    const question = this.open.get(number);
    if (question === undefined) return;
    question.missing.delete(thread);
    if (question.missing.size > 0) return;
    this.open.delete(number);
    question.onDone();
  }
}

/** @returns false when it took too long. */
export async function inTime(done: Promise<void>): Promise<boolean> {
  const { promise: late, resolve } = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => resolve(false), answerMsMax);
  const isDone = await Promise.race([done.then(() => true), late]);
  clearTimeout(timer);
  return isDone;
}
