// What this system allows: whether the libc engine and threads can run, how many connections its descriptors serve.
import { countMax } from "./control/option-row.ts";
import { OptionsError, type Mistake, type Options } from "./control/options.ts";
import { unusable } from "./engine/libc-test.ts";
import { openCalls } from "./linux/calls.ts";
import { libc, raiseDescriptorLimit, type Libc } from "./linux/libc.ts";

/** Descriptors kept for listeners, logs, names and the runtime itself; fewer where the limit is low. */
const reservedDescriptorCountMax = 64;
const reservedDescriptorCountMin = 24;
/** Health checks under way at once: where descriptors are few, and where they are not. */
const checkCountMin = 4;
const checkCountMost = 256;
/** Of a thread of its own: epoll, wake, listeners; with the libc engine 16 pipes as well. */
const bunDescriptorCount = 8;
const libcDescriptorCount = 40;
/** Below so many connections the operator is told what the descriptor limit allows. */
const connectionCountFew = 400;
/** Where the limit cannot be asked. */
const descriptorCountFallback = 1024;

/** What was asked for and cannot be had here is said before anything starts. @throws OptionsError */
export function requireSystem({ threadCount, engine }: Options, c: Libc | null): void {
  const mistakes: Mistake[] = [];
  const noLibc = "the C library of Linux cannot be opened here";
  if (threadCount > 1 && c === null) mistakes.push(notHere(`--threads ${threadCount}`, noLibc));
  if (engine === "libc") {
    const fault = c === null ? noLibc : unusable(openCalls());
    if (fault !== null) mistakes.push(notHere("--engine libc", fault));
  }
  if (mistakes.length > 0) throw new OptionsError(mistakes);
}

export interface SystemLimits {
  /** Clients that may be connected at once: two descriptors each. */
  readonly connectionCountMax: number;
  /** Health checks under way at once. */
  readonly checkCountMax: number;
}

/**
 * Raises the limit of descriptors as far as it goes, and divides them.
 * @param beside other listeners of this process: each has the same share, and what one does not want is for the others.
 */
export function systemLimits(
  options: Options,
  beside: readonly Options[],
  onWarning: (message: string) => void,
): SystemLimits {
  const descriptorCount = raiseDescriptorLimit(libc) ?? descriptorCountFallback;
  const all = [options, ...beside];
  const checkCount = (of: Options) => checkCountOf(of, descriptorCount / all.length);
  const reserved = Math.min(
    reservedDescriptorCountMax,
    Math.max(reservedDescriptorCountMin, Math.floor(descriptorCount / 4)),
  );
  const own = all.reduce((sum, each) => sum + ownDescriptorCount(each) + checkCount(each), 0);
  const room = Math.floor((descriptorCount - reserved - own) / 2);
  const possible = Math.min(countMax, Math.max(1, shareOf(room, beside)));
  const wanted = options.connectionCountMax;
  if (wanted > possible || (wanted === 0 && possible < connectionCountFew)) {
    const asked = wanted === 0 ? "" : `, not the ${wanted} of --max-connections`;
    const shared = all.length === 1 ? "" : `, shared by ${all.length} listeners,`;
    onWarning(
      `the limit of ${descriptorCount} descriptors${shared} allows ${possible} connection${possible === 1 ? "" : "s"}${asked}; raise it with ulimit -n`,
    );
  }
  const connectionCountMax = wanted === 0 ? possible : Math.min(wanted, possible);
  return { connectionCountMax, checkCountMax: checkCount(options) };
}

/** Of so many connections, what is there for one more than `beside`. */
function shareOf(count: number, beside: readonly Options[]): number {
  const wants = beside.map(({ connectionCountMax: max }) => (max === 0 ? Infinity : max));
  let left = count;
  let sharers = beside.length + 1;
  for (const want of wants.toSorted((a, b) => a - b)) {
    if (want >= left / sharers) break; // from here on all have the same
    left -= want;
    sharers -= 1;
  }
  return Math.floor(left / sharers);
}

function checkCountOf({ destinations }: Options, descriptorCount: number): number {
  return Math.min(
    destinations.filter(({ healthMs }) => healthMs > 0).length,
    Math.max(checkCountMin, Math.min(checkCountMost, Math.floor(descriptorCount / 64))),
  );
}

/** What threads and connections opened ahead take of the descriptors. */
function ownDescriptorCount({ threadCount, engine, destinations }: Options): number {
  const perThread =
    engine === "libc" ? libcDescriptorCount : threadCount > 1 ? bunDescriptorCount : 0;
  return threadCount * perThread + destinations.reduce((sum, { warm }) => sum + warm, 0);
}

function notHere(argument: string, fault: string): Mistake {
  const hint = `without ${argument} it runs everywhere`;
  return { code: "not-here", argument, message: `${argument}: ${fault}`, hint };
}
