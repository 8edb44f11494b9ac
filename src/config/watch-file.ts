// Tells when a file has changed, in whatever way: written over, replaced by rename, or behind a link that was turned.

import { type FSWatcher, watch } from "node:fs";
import { readlink, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** An editor writes in several steps: a change counts when the file has been the same for so long after it. */
const quietMs = 150;
/** Where nothing tells of changes (a network file system, a watch that was lost), they are seen so late. */
const lookMs = 2_000;
/** Links from one file to the next. */
const linkCountMax = 16;

export interface FileWatch {
  close(): void;
}

/**
 * Calls `onChange` once after each change. What is watched is the directory, for a file that is replaced takes its own
 * watch with it; and each directory on the way of its links.
 * @param readAtMs when it was read, in ms since 1970: what was written after that is a change that nobody has seen.
 */
export async function watchFile(
  file: string,
  onChange: () => void,
  readAtMs = Number.POSITIVE_INFINITY,
): Promise<FileWatch> {
  const watching = new Watching(resolve(file), onChange);
  await watching.start(readAtMs);
  return watching;
}

class Watching implements FileWatch {
  private readonly file: string;
  private readonly onChange: () => void;
  private readonly watchers = new Map<string, FSWatcher>();
  /** Its state when a change was told last, and when it was looked at last. */
  private last = "";
  private seen = "";
  private quiet: ReturnType<typeof setTimeout> | null = null;
  private look: ReturnType<typeof setInterval> | null = null;
  private closed = false;

  constructor(file: string, onChange: () => void) {
    this.file = file;
    this.onChange = onChange;
  }

  async start(readAtMs: number): Promise<void> {
    this.last = await markOf(this.file);
    if (writtenAtMs(this.last) > readAtMs) this.last = unseen;
    await this.watchAll();
    this.look = setInterval(() => void this.compare(), lookMs);
    this.look.unref();
    await this.compare(); // it may have changed before anybody watched
  }

  close(): void {
    this.closed = true;
    if (this.quiet !== null) clearTimeout(this.quiet);
    if (this.look !== null) clearInterval(this.look);
    for (const watcher of this.watchers.values()) watcher.close();
    this.watchers.clear();
  }

  private soon(): void {
    if (this.closed || this.quiet !== null) return;
    this.quiet = setTimeout(() => {
      this.quiet = null;
      void this.compare();
    }, quietMs);
  }

  /** Other files of the directory may never be quiet, so the file itself is asked. */
  private async compare(): Promise<void> {
    const mark = await markOf(this.file);
    if (this.closed || mark === this.last) return;
    if (mark !== this.seen) {
      this.seen = mark;
      return this.soon();
    }
    this.last = mark;
    await this.watchAll(); // the links may lead elsewhere now
    if (mark !== "" && !this.closed) this.onChange(); // a file that is gone says nothing
  }

  private async watchAll(): Promise<void> {
    const files = await linksOf(this.file);
    if (this.closed) return;
    const wanted = new Set(files.map((file) => dirname(file)));
    for (const [directory, watcher] of this.watchers) {
      if (wanted.has(directory)) continue;
      watcher.close();
      this.watchers.delete(directory);
    }
    for (const directory of wanted) if (!this.watchers.has(directory)) this.watchOne(directory);
  }

  private watchOne(directory: string): void {
    try {
      const watcher = watch(directory, { persistent: false }, () => this.soon());
      watcher.on("error", () => {
        watcher.close();
        this.watchers.delete(directory);
      });
      this.watchers.set(directory, watcher);
    } catch {
      // It is looked at all the same, every so often.
    }
  }
}

/** The file, each that it leads to, and the links on the way, which may be of directories above it. */
async function linksOf(file: string): Promise<readonly string[]> {
  const files = [file];
  let at = file;
  for (let count = 0; count < linkCountMax; count++) {
    const next = await nextOf(at);
    if (next === null) break;
    files.push(next.link, next.target);
    at = next.target;
  }
  return files;
}

/** The first link in a path, and the path that it makes; null when none is a link. */
async function nextOf(file: string): Promise<{ link: string; target: string } | null> {
  const parts = file.split("/");
  for (let count = 2; count <= parts.length; count++) {
    const link = parts.slice(0, count).join("/");
    const target = await readlink(link).catch(() => null);
    if (target !== null) {
      return { link, target: resolve(dirname(link), target, ...parts.slice(count)) };
    }
  }
  return null;
}

/** A state that no file has. */
const unseen = "unseen";

/** When the file of a mark was written, in ms since 1970; 0 = there is none. */
function writtenAtMs(mark: string): number {
  return Number(BigInt(mark.split(":")[3] ?? "0") / 1_000_000n);
}

/** What tells one state of a file from another; "" = there is none. */
async function markOf(file: string): Promise<string> {
  try {
    const { dev, ino, size, mtimeNs } = await stat(file, { bigint: true });
    return `${dev}:${ino}:${size}:${mtimeNs}`;
  } catch {
    return "";
  }
}
