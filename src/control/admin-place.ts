// Where the admin side is found: one well-known socket per user under the runtime directory, so that the commands need
// no address; a second program of the same user adds its pid.

import { accessSync, chmodSync, constants, lstatSync, mkdirSync, readdirSync } from "node:fs";
import { rmSync, statSync } from "node:fs";
import { createConnection } from "node:net";
import { dirname, join } from "node:path";

/** Longest wait for a socket to take a connection: a live one is at once, or busy. */
const probeMs = 500;
/** Sockets looked at in one directory. */
const socketCountMax = 256;
/** `sun_path` holds 108 bytes, the last of them the end mark. */
const pathBytesMax = 107;

/** Where the programs of all users find room. */
const everybodys = "/tmp";

/** Who looks, and where. */
export interface AdminScene {
  readonly uid: number;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

const ownScene = (): AdminScene => ({
  uid: process.getuid?.() ?? 0,
  environment: process.env,
});

/** The directories in which a socket may lie, the best first. The service manager's own comes before all others. */
export function adminDirectories(scene: AdminScene = ownScene()): readonly string[] {
  const { uid, environment } = scene;
  const given = environment["RUNTIME_DIRECTORY"]?.split(":")[0] ?? "";
  const session = environment["XDG_RUNTIME_DIR"] ?? "";
  const all = [
    given,
    uid === 0 || session === "" ? "" : session,
    "/run/iawlb",
    join(everybodys, `iawlb-${uid}`),
  ];
  return [...new Set(all.filter((directory) => directory.startsWith("/")))];
}

export interface AdminPlace {
  /** The first of the directories that can be used, "" when none can. */
  readonly directory: string;
  /** Sockets to try, the well-known one first; empty when no directory can be used. */
  readonly paths: readonly string[];
  /** Why there is none, "" when there is. */
  readonly fault: string;
}

/**
 * The places where a program that starts may make its socket: the first that nobody answers on is its own.
 * Makes the directory, for its user alone, and takes away sockets in it that nobody answers on. Never throws.
 */
export async function adminPlaces(
  scene: AdminScene = ownScene(),
  pid: number = process.pid,
): Promise<AdminPlace> {
  const faults: string[] = [];
  for (const directory of adminDirectories(scene)) {
    if (directory === "/run/iawlb" && scene.uid !== 0) continue; // it is root's
    const paths = ["iawlb.sock", `iawlb-${pid}.sock`].map((name) => join(directory, name));
    const fault = paths.every(fits) ? prepare(directory, scene.uid) : "the path is too long";
    if (fault !== "") {
      faults.push(`${directory}: ${fault}`);
      continue;
    }
    const free: string[] = [];
    for (const path of paths) if (await isFree(path)) free.push(path);
    if (free.length > 0) return { directory, paths: free, fault: "" };
    faults.push(`${directory}: every name in it is taken`);
  }
  return { directory: "", paths: [], fault: faults.join("; ") };
}

/** @returns the sockets under the runtime directories that somebody answers on, the well-known ones first. */
export async function findAdmin(scene: AdminScene = ownScene()): Promise<readonly string[]> {
  const found: string[] = [];
  for (const directory of adminDirectories(scene)) {
    const paths = socketsIn(directory, scene.uid);
    const live = await Promise.all(paths.map((path) => isLive(path)));
    found.push(...paths.filter((_, index) => live[index]));
  }
  return found;
}

function fits(path: string): boolean {
  return Buffer.byteLength(path) <= pathBytesMax;
}

/** Makes a directory fit for our socket. @returns why it is not, or "". */
function prepare(directory: string, uid: number): string {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (!isTrusted(directory, uid)) return "belongs to somebody else";
    const found = statSync(directory);
    if (found.uid === uid && (found.mode & 0o022) !== 0) chmodSync(directory, 0o700);
    accessSync(directory, constants.W_OK);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Where all may make directories, one of our name may be somebody else's, who waits for our token. */
function isTrusted(directory: string, uid: number): boolean {
  if (dirname(directory) !== everybodys) return true;
  const found = lstatSync(directory);
  return found.isDirectory() && found.uid === uid;
}

function socketsIn(directory: string, uid: number): readonly string[] {
  try {
    if (!isTrusted(directory, uid)) return [];
    const names = readdirSync(directory).filter((name) => /^iawlb(?:-\d+)?\.sock$/.test(name));
    const rest = names.filter((name) => name !== "iawlb.sock").toSorted();
    const sorted = names.includes("iawlb.sock") ? ["iawlb.sock", ...rest] : rest;
    return sorted
      .slice(0, socketCountMax)
      .map((name) => join(directory, name))
      .filter(fits);
  } catch {
    return []; // there is none, or it is not ours to read
  }
}

/** Takes a socket away that nobody answers on. @returns whether the place is free now. */
async function isFree(path: string): Promise<boolean> {
  try {
    if (!lstatSync(path).isSocket()) return false; // not ours to take away
  } catch {
    return true;
  }
  if (await isLive(path)) return false;
  rmSync(path, { force: true });
  return true;
}

/** Whether a connection is taken; one that cannot be made in time is of somebody who is busy. */
export function isLive(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = createConnection({ path });
    const end = (live: boolean) => {
      socket.destroy();
      done(live);
    };
    socket.setTimeout(probeMs, () => end(true));
    socket.once("connect", () => end(true));
    socket.once("error", (error: NodeJS.ErrnoException) => end(isBusy(error.code)));
  });
}

/** Its queue is full, or we have no descriptor left: that says nothing against it. */
function isBusy(code: string | undefined): boolean {
  return code === "EAGAIN" || code === "EMFILE" || code === "ENFILE";
}
