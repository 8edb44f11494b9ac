// The files that a configuration is made of, watched together: which they are may change with each reload.

import { type FileWatch, watchFile } from "./watch-file.ts";

/** Each takes a timer and a few watches of the system. */
const fileCountMax = 1_024;

export class WatchedFiles {
  private readonly watches = new Map<string, Promise<FileWatch>>();
  private readonly onChange: () => void;
  private readonly warn: (message: string) => void;
  private closed = false;

  constructor(onChange: () => void, warn: (message: string) => void) {
    this.onChange = onChange;
    this.warn = warn;
  }

  /** Watches these from now on, and no others. @param readAtMs when they were read, in ms since 1970. */
  async follow(files: readonly string[], readAtMs: number): Promise<void> {
    if (this.closed) return;
    const wanted = new Set(files.slice(0, fileCountMax));
    if (files.length > fileCountMax) {
      this.warn(`of ${files.length} files, ${fileCountMax} are watched; SIGHUP reads all of them`);
    }
    for (const [file, watch] of this.watches) {
      if (wanted.has(file)) continue;
      this.watches.delete(file);
      void watch.then((each) => each.close());
    }
    for (const file of wanted) {
      if (this.watches.has(file)) continue;
      this.watches.set(file, watchFile(file, this.onChange, readAtMs));
    }
    await Promise.all(this.watches.values());
  }

  close(): void {
    this.closed = true;
    for (const watch of this.watches.values()) void watch.then((each) => each.close());
    this.watches.clear();
  }
}
