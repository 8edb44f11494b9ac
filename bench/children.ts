// Programs that a bench starts: each is read line by line, and ended by its id, whatever happens.

import { processTree } from "./proc.ts";

const TERM_MS = 2000;
const started = new Set<number>();

// A bench that throws or is interrupted leaves nothing behind.
process.on("exit", () => {
  for (const pid of started) signal(pid, "SIGKILL");
});

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** One running program; `await using` ends it. */
export class Child implements AsyncDisposable {
  readonly pid: number;
  private readonly process: Bun.Subprocess<"pipe", "pipe", "pipe">;
  private readonly stdout: Lines;
  private readonly stderr: Lines;

  constructor(command: readonly string[], extraEnv: Readonly<Record<string, string>> = {}) {
    this.process = Bun.spawn([...command], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
      env: { ...process.env, NO_COLOR: "1", ...extraEnv },
    });
    this.pid = this.process.pid;
    started.add(this.pid);
    void this.process.exited.then(() => started.delete(this.pid));
    this.stdout = new Lines(this.process.stdout);
    this.stderr = new Lines(this.process.stderr);
  }

  /** The first line of stdout that matches. Throws when the program ends or stays silent. */
  async stdoutLine(pattern: RegExp, withinMs = 10_000): Promise<RegExpExecArray> {
    return this.expectLine(this.stdout, pattern, withinMs);
  }

  async stderrLine(pattern: RegExp, withinMs = 10_000): Promise<RegExpExecArray> {
    return this.expectLine(this.stderr, pattern, withinMs);
  }

  send(text: string): void {
    this.process.stdin.write(text);
    this.process.stdin.flush();
  }

  closeStdin(): void {
    this.process.stdin.end();
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  get errorText(): string {
    return this.stderr.text.trim();
  }

  async ended(withinMs: number): Promise<Ended> {
    const code = await within(this.process.exited, withinMs);
    if (code === null) {
      await this[Symbol.asyncDispose]();
      throw new Error(`no end within ${withinMs} ms: ${this.errorText}`);
    }
    await Promise.all([this.stdout.ended, this.stderr.ended]);
    return { code, stdout: this.stdout.text, stderr: this.stderr.text };
  }

  interrupt(): void {
    signal(this.pid, "SIGINT");
  }

  /** Asks for an end, then insists: the children too, which a killed parent would leave behind. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.running) return;
    const tree = processTree(this.pid);
    signal(this.pid, "SIGTERM");
    if ((await within(this.process.exited, TERM_MS)) !== null) return;
    for (const pid of tree) signal(pid, "SIGKILL");
    await this.process.exited;
  }

  private async expectLine(
    lines: Lines,
    pattern: RegExp,
    withinMs: number,
  ): Promise<RegExpExecArray> {
    const match = await within(lines.match(pattern), withinMs);
    if (match !== null) return match;
    throw new Error(`no line like ${pattern} from process ${this.pid}: ${this.errorText}`);
  }
}

/** Runs a program to its end. Throws when it fails. */
export async function finish(command: readonly string[], withinMs = 60_000): Promise<Ended> {
  await using child = new Child(command);
  child.closeStdin();
  const ended = await child.ended(withinMs);
  if (ended.code === 0) return ended;
  throw new Error(`${command.join(" ")} ended with ${ended.code}: ${ended.stderr.trim()}`);
}

/** What a stream has said so far, and a way to wait for a line of it. */
class Lines {
  text = "";
  readonly ended: Promise<void>;
  private seen = 0;
  private over = false;
  private wake = Promise.withResolvers<void>();

  constructor(stream: ReadableStream<Uint8Array>) {
    this.ended = this.read(stream);
  }

  /** Each line is matched once. Null when the stream ends without a match. */
  async match(pattern: RegExp): Promise<RegExpExecArray | null> {
    for (;;) {
      const end = this.text.indexOf("\n", this.seen);
      if (end >= 0) {
        const match = pattern.exec(this.text.slice(this.seen, end));
        this.seen = end + 1;
        if (match) return match;
        continue;
      }
      if (this.over) return null;
      await this.wake.promise;
    }
  }

  private async read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      this.text += decoder.decode(bytes, { stream: true });
      this.wakeUp();
    }
    this.over = true;
    this.wakeUp();
  }

  private wakeUp(): void {
    this.wake.resolve();
    this.wake = Promise.withResolvers<void>();
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // Gone already, which is what was wanted.
  }
}

/** The value, or null when it takes too long. */
async function within<T>(value: Promise<T>, ms: number): Promise<T | null> {
  const late = Promise.withResolvers<null>();
  const timer = setTimeout(() => late.resolve(null), ms);
  try {
    return await Promise.race([value, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
