// `iawlb top`: the running balancer in a terminal, from its admin side; plain lines where there is none.

import { writeSync } from "node:fs";
import { emptyModel, frame, plainText, rowsOf, selectedIndex, shownListener } from "./top-frame.ts";
import { sortKeys, type TopModel } from "./top-frame.ts";
import type { TopSource } from "./top-source.ts";

const retryMs = 1_000;
/** How far Page Up and Page Down go. */
const pageRowCount = 10;
const stdoutFd = 1;

/** The other screen, no cursor; and back. */
const enter = "\x1b[?1049h\x1b[?25l";
const leave = "\x1b[?25h\x1b[?1049l";
/** Terminals that know it show what is between at once; the others pay no attention. */
const frameStart = "\x1b[?2026h\x1b[H";
const frameEnd = "\x1b[?2026l";

const verbs: Readonly<Record<string, string>> = { d: "drain", r: "ready", m: "maintenance" };

/** What a key does: a new model, a change to ask for, or the end. */
export interface Pressed {
  readonly model: TopModel;
  /** Path to post to; "" = none. */
  readonly path: string;
  readonly ends: boolean;
}

/** @param key as a terminal sends it. */
export function press(model: TopModel, key: string): Pressed {
  const stay = (next: TopModel): Pressed => ({ model: next, path: "", ends: false });
  const move = (step: number): Pressed => {
    const rows = rowsOf(model);
    const at = Math.min(rows.length - 1, Math.max(0, selectedIndex(rows, model.selected) + step));
    return stay({ ...model, selected: rows[at]?.name ?? "", notice: "" });
  };
  switch (key) {
    case "q":
    case "\x03": // Ctrl-C, which a raw terminal makes no signal of
      return { ...stay(model), ends: true };
    case "j":
    case "\x1b[B":
    case "\x1bOB":
      return move(1);
    case "k":
    case "\x1b[A":
    case "\x1bOA":
      return move(-1);
    case "\x1b[6~":
      return move(pageRowCount);
    case "\x1b[5~":
      return move(-pageRowCount);
    case "g":
    case "\x1b[H":
      return move(-Infinity);
    case "G":
    case "\x1b[F":
      return move(Infinity);
    case "s": {
      const at = (sortKeys.indexOf(model.sort) + 1) % sortKeys.length;
      return stay({ ...model, sort: sortKeys[at] ?? "configured", notice: "" });
    }
    case "l": {
      const names = model.sample?.listeners.map(({ name }) => name) ?? [];
      const at = names.indexOf(shownListener(model)?.name ?? "");
      const listener = names[(at + 1) % names.length] ?? "";
      return stay({ ...model, listener, selected: "", notice: "" });
    }
    default:
      return verbs[key] === undefined ? stay(model) : change(model, verbs[key]);
  }
}

function change(model: TopModel, verb: string): Pressed {
  const rows = rowsOf(model);
  const row = rows[selectedIndex(rows, model.selected)];
  const listener = shownListener(model)?.name ?? "";
  if (row === undefined) return { model, path: "", ends: false };
  const query = new URLSearchParams({ listener });
  return {
    model: { ...model, selected: row.name, notice: `${verb} ${row.name}: asked for` },
    path: `/destinations/${encodeURIComponent(row.name)}/${verb}?${query}`,
    ends: false,
  };
}

/** Keys of what has come in one read: several may. */
export function keysIn(text: string): string[] {
  // oxlint-disable-next-line no-control-regex -- these are what keys send
  return text.match(/\x1b[[O][\d;]*[A-Za-z~]|[\s\S]/gu) ?? [];
}

export interface TopOptions {
  /** One table in plain lines, and the end. */
  readonly once: boolean;
}

/** @returns the exit code. @throws what the source throws when it cannot be reached at the start. */
export async function top(source: TopSource, { once }: TopOptions): Promise<number> {
  const status = await source.status();
  const isTerminal = process.stdout.isTTY && process.stdin.isTTY;
  const model = { ...emptyModel, status };
  if (isTerminal && !once) return new Screen(source, model).run();
  for await (const sample of source.samples()) {
    process.stdout.write(`${plainText({ ...model, sample })}\n`);
    if (once) return 0;
  }
  return 1; // it has ended
}

class Screen {
  private readonly source: TopSource;
  private model: TopModel;
  private ended = false;
  private end: (code: number) => void = () => {};

  constructor(source: TopSource, model: TopModel) {
    this.source = source;
    this.model = model;
  }

  async run(): Promise<number> {
    const { stdin, stdout } = process;
    const finished = new Promise<number>((done) => (this.end = done));
    process.on("exit", this.restore); // also after an exception of ours
    process.on("SIGTERM", () => process.exit(143));
    process.on("SIGINT", () => process.exit(130));
    process.on("SIGHUP", () => process.exit(129));
    stdout.write(enter);
    stdin.setRawMode(true);
    stdin.setEncoding("utf8");
    stdin.on("data", (text: string | Buffer) =>
      keysIn(String(text)).forEach((key) => this.onKey(key)),
    );
    stdin.on("end", () => this.end(0));
    stdout.on("resize", () => this.draw());
    stdout.on("error", () => this.end(0)); // the terminal has gone
    this.draw();
    void this.follow();
    const code = await finished;
    this.ended = true;
    this.restore();
    return code;
  }

  private readonly restore = (): void => {
    process.off("exit", this.restore);
    try {
      if (process.stdin.isTTY) process.stdin.setRawMode(false);
      process.stdin.pause();
      writeSync(stdoutFd, leave); // nothing that is written later would be
    } catch {
      // The terminal has gone; so there is nothing to restore.
    }
  };

  private onKey(key: string): void {
    const { model, path, ends } = press(this.model, key);
    if (ends) return this.end(0);
    this.set(model);
    if (path === "") return;
    this.source.post(path).then(
      () => this.set({ ...this.model, notice: model.notice.replace("asked for", "done") }),
      (error: unknown) => this.set({ ...this.model, notice: wordsOf(error) }),
    );
  }

  private async follow(): Promise<void> {
    for (;;) {
      try {
        for await (const sample of this.source.samples()) {
          this.set({ ...this.model, sample, lost: "" });
          if (this.ended) return;
        }
        this.set({ ...this.model, lost: "the balancer has ended it" });
      } catch (error) {
        this.set({ ...this.model, lost: wordsOf(error) });
      }
      await Bun.sleep(retryMs);
      // It may be another process by now.
      const status = await this.source.status().catch(() => null);
      if (status !== null) this.set({ ...this.model, status });
    }
  }

  private set(model: TopModel): void {
    this.model = model;
    this.draw();
  }

  private draw(): void {
    if (this.ended) return;
    const { columns = 80, rows = 24 } = process.stdout;
    // Lines are as wide as the terminal: to erase behind them would take their last character.
    const lines = frame(this.model, columns, rows).split("\n");
    const text = lines.map((line) => (line === "" ? "\x1b[K" : line)).join("\r\n");
    process.stdout.write(frameStart + text + frameEnd);
  }
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
