// `iawlb upgrade`: asks a running balancer for an upgrade and watches from outside what comes of it, by /proc alone.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { firstGivenFd } from "./inherited.ts";

/** No new process by then: it could not be started. */
const startMs = 2_000;
/** Longer than any --upgrade-timeout that makes sense. */
const waitMs = 600_000;
/** Between two looks: before the new process is found, and after. */
const lookMsMin = 2;
const lookMs = 50;
/** Bit of SIGUSR2 in a mask of signals. */
const upgradeBit = 1n << 11n;

export interface Answer {
  readonly done: boolean;
  readonly words: string;
}

/** Sends SIGUSR2, which would kill most other programs: only to one that takes it. */
export async function askToUpgrade(pid: number): Promise<Answer> {
  const no = (words: string): Answer => ({ done: false, words: `process ${pid} ${words}` });
  const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(textOf(`/proc/${pid}/status`) ?? "")?.[1];
  if (caught === undefined) return no("is not there");
  if ((BigInt(`0x${caught}`) & upgradeBit) === 0n) {
    return no("takes no SIGUSR2, so it is no balancer that runs");
  }
  const ours = socketsOf(pid);
  if (ours === null) return no("is another user's; that user or root may ask");
  const before = new Set(processes());
  try {
    process.kill(pid, "SIGUSR2");
  } catch (error) {
    return no(`cannot be asked: ${error instanceof Error ? error.message : String(error)}`);
  }
  const askedAt = performance.now();
  let child: number | null = null;
  let hasShared = false;
  for (let elapsedMs = 0; elapsedMs < waitMs; elapsedMs = performance.now() - askedAt) {
    child ??= processes().find((each) => !before.has(each) && parentOf(each) === pid) ?? null;
    if (child === null) {
      if (!isAlive(pid)) {
        const heir = processes().find((each) => !before.has(each) && areShared(ours, each));
        return heir === undefined ? no("has ended") : served(heir);
      }
      if (elapsedMs > startMs) return no("goes on; it has started no new one, see its log");
    } else {
      if (!isAlive(child)) return no("goes on; the new one has ended, see its log");
      const shared = areShared(socketsOf(pid) ?? new Set(), child);
      // One that is ending has let go of everything as well.
      const isHeir = areShared(ours, child);
      if (isHeir && !shared && (hasShared || !isAlive(pid))) return served(child);
      hasShared = shared;
    }
    await Bun.sleep(child === null ? lookMsMin : lookMs);
  }
  return no(`has come to no end of it within ${waitMs / 60_000} minutes`);
}

function served(pid: number): Answer {
  return { done: true, words: `process ${pid} serves from now on` };
}

/** It holds one of those sockets: what is handed on is the new one's alone once the old one has let go. */
function areShared(sockets: ReadonlySet<string>, pid: number): boolean {
  return [...(socketsOf(pid) ?? [])].some((each) => sockets.has(each));
}

/** @returns the sockets of a process, those of stdin, stdout and stderr left out; null when it may not be looked at. */
function socketsOf(pid: number): ReadonlySet<string> | null {
  try {
    const links = readdirSync(`/proc/${pid}/fd`).map((fd) => ({
      isStandard: Number(fd) < firstGivenFd,
      to: linkOf(`/proc/${pid}/fd/${fd}`),
    }));
    // stdout may be a socket, and have a second descriptor.
    const standard = new Set(links.filter(({ isStandard }) => isStandard).map(({ to }) => to));
    const isOther = (to: string) => to.startsWith("socket:") && !standard.has(to);
    return new Set(links.map(({ to }) => to).filter(isOther));
  } catch (error) {
    const { code } = error as { code?: unknown }; // errors of the system carry their name
    return code === "EACCES" || code === "EPERM" ? null : new Set();
  }
}

function isAlive(pid: number): boolean {
  const state = /^State:\s*(\S)/m.exec(textOf(`/proc/${pid}/status`) ?? "Z")?.[1];
  return state !== undefined && state !== "Z";
}

function processes(): number[] {
  return readdirSync("/proc").flatMap((name) => (/^\d+$/.test(name) ? [Number(name)] : []));
}

function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)/m.exec(textOf(`/proc/${pid}/status`) ?? "")?.[1]);
}

function textOf(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed meanwhile
  }
}
