// Reads a file whole, up to a limit, and waits for no writer: whatever is no regular file is refused.

import { constants, open, stat } from "node:fs/promises";

export type FileReading =
  | { readonly bytes: Uint8Array; readonly mode: number; readonly problem: "" }
  | { readonly bytes: null; readonly mode: 0; readonly problem: string };

/** @returns its bytes and its mode, or what is wrong with it in words. */
export async function readBounded(file: string, bytesMax: number): Promise<FileReading> {
  try {
    const found = await stat(file);
    if (found.isDirectory()) return refused("it is a directory");
    // What is no file may keep a reader waiting, and gives its bytes only once: a reload would find nothing.
    if (!found.isFile()) return refused("it is no regular file");
    // It may have become a pipe in between: not to wait for a writer of it.
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const { size, mode } = await handle.stat();
    if (size > bytesMax) return refused(`its ${size} bytes are too many`);
    const buffer = new Uint8Array(size + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await handle.read(buffer, length, buffer.length - length, null);
      length += bytesRead;
      if (bytesRead === 0 || length === buffer.length) break;
    }
    if (length > size) return refused("it is growing");
    return { bytes: buffer.slice(0, length), mode, problem: "" };
  } catch (error) {
    return refused(`it cannot be read: ${causeOf(error)}`);
  }
}

function refused(problem: string): FileReading {
  return { bytes: null, mode: 0, problem };
}

/** `no such file or directory` of `ENOENT: no such file or directory, stat '…'`. */
function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return /^[A-Z0-9]+: ([^,]+)/.exec(error.message)?.[1] ?? error.message;
}
