// A program with its admin side and its pages, for what looks at them: a browser, `iawlb top`.

import { openAdmin } from "../../src/admin/server.ts";
import { pages } from "../../src/dashboard/pages.ts";
import { runProgram, type Running } from "../admin/program.ts";

/** Much more often than in earnest, so that a test need not wait for the next. */
const testSampleMs = 50;

export interface AdminOptions {
  /** Arguments of each by its name: `[options] DEST...`. */
  readonly listeners: Readonly<Record<string, readonly string[]>>;
  /** What a change has to bring. */
  readonly token?: string;
  /** Others can reach the address, so that reading needs the token, too. */
  readonly isOpen?: boolean;
  /** From one sample to the next. */
  readonly sampleMs?: number;
  /** `unix:/path` instead of a port. */
  readonly place?: string;
}

export interface AdminServer extends Running {
  readonly url: string;
  /** Ends the program and its admin side. */
  stop(): Promise<void>;
}

export async function startAdmin(options: AdminOptions): Promise<AdminServer> {
  const { listeners, token = null, isOpen = false, sampleMs = testSampleMs } = options;
  const running = await runProgram(listeners);
  const place = options.place ?? (isOpen ? "0.0.0.0:0" : "127.0.0.1:0");
  const log = (message: string): void => console.error(message); // of faults of our own: none
  const admin = await openAdmin(running.program, [place], { token, log, pages, sampleMs });
  const address = admin.addresses[0] ?? "";
  const stop = async (): Promise<void> => {
    await running.program.stop();
    await admin.close();
  };
  return {
    ...running,
    url: address.startsWith("unix:") ? address : `http://127.0.0.1:${address.split(":").at(-1)}`,
    get isToEnd() {
      return running.isToEnd;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}
