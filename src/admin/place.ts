// Where the admin side listens: a unix socket that is its user's alone, or a port; off loopback only with a token.

import { lstatSync, mkdirSync, renameSync, unlinkSync, type Stats } from "node:fs";
import { isIPv4 } from "node:net";
import { dirname, join } from "node:path";
import { formatAddress, readAddress, type Address } from "../control/address.ts";
import { isLive } from "../control/admin-place.ts";
import { bad, mistakeIn, OptionsError, type Mistake } from "../control/mistake.ts";
import { ListenError } from "../engine/listen.ts";

export interface AdminPlace {
  readonly address: Address;
  /** Nobody but this machine can reach it. */
  readonly isLocal: boolean;
}

/**
 * Reads `unix:PATH`, `HOST:PORT` and `PORT`, which is one of 127.0.0.1.
 * @throws OptionsError with all mistakes; an address that others reach is one where no token is set.
 */
export function readAdminPlaces(texts: readonly string[], hasToken: boolean): AdminPlace[] {
  const mistakes: Mistake[] = [];
  const places: AdminPlace[] = [];
  for (const text of texts) {
    const reading = readAddress(/^\d+$/.test(text) ? `127.0.0.1:${text}` : text, "listen");
    if (reading.fault !== null) {
      mistakes.push(mistakeIn(text, reading.fault));
      continue;
    }
    const place = { address: reading.value, isLocal: isLocal(reading.value) };
    if (place.isLocal || hasToken) places.push(place);
    else mistakes.push(mistakeIn(text, needsToken));
  }
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  return places;
}

const needsToken = bad(
  "no-token",
  "others can reach this address, and no token is set",
  "--admin-token-file FILE makes it one, 127.0.0.1:PORT or unix:PATH need none",
).fault;

/** Only what is certain: `localhost` and the loopback networks, no other name. */
function isLocal(address: Address): boolean {
  if (address.kind === "unix") return true;
  return isLoopbackHost(address.host);
}

export function isLoopbackHost(host: string): boolean {
  return host === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."));
}

/** The name to give Bun for an address. */
export function hostnameOf(host: string): string {
  if (host === "*") return "::";
  return host === "localhost" ? "127.0.0.1" : host;
}

/** A socket's file from before its bind to its end. */
export interface SocketFile {
  /** Where to bind: a name of its own beside the place, so that what stands there is replaced in one step. */
  readonly bindPath: string;
  /** Moves it to its place. */
  publish(): void;
  /** No successor has put its own there. */
  isOurs(): boolean;
  /** Takes it away, unless a successor has put its own there. */
  remove(): void;
}

let bindCount = 0;

/**
 * Makes way for a socket file. One that a dead process has left is replaced, one that answers is not, unless a
 * successor takes over from it.
 * @throws ListenError
 */
export async function socketFile(
  path: string,
  takesOver: (path: string) => boolean,
): Promise<SocketFile> {
  const folder = dirname(path);
  makeFolder(folder, path);
  const there = look(path);
  if (there !== null && !there.isSocket()) {
    throw new ListenError(`unix:${path}`, "EEXIST", "the file there is no socket");
  }
  if (there !== null && !takesOver(path) && (await isLive(path))) {
    throw new ListenError(`unix:${path}`, "EADDRINUSE", "another iawlb answers there");
  }
  const bindPath = join(folder, `.a${process.pid}-${++bindCount}`);
  let ours: Stats | null = null;
  const isOurs = (): boolean => {
    const now = fileOf(path);
    return ours !== null && now?.ino === ours.ino && now.dev === ours.dev;
  };
  return {
    bindPath,
    publish() {
      ours = fileOf(bindPath);
      renameSync(bindPath, path);
    },
    isOurs,
    remove() {
      if (isOurs()) unlinkSync(path);
    },
  };
}

/** Makes a missing directory, for this user alone. In one of another user's that user could put a socket of theirs. */
function makeFolder(folder: string, path: string): void {
  const fail = (code: string, words: string): never => {
    throw new ListenError(`unix:${path}`, code, words);
  };
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (error) {
    const { code = "EINVAL" } = error as NodeJS.ErrnoException; // what node:fs throws
    if (code !== "EEXIST") fail(code, `the directory ${folder} cannot be made (${code})`);
  }
  const { uid } = lstatSync(folder);
  const own = process.getuid?.() ?? uid;
  if (own !== 0 && uid !== own && uid !== 0) {
    fail("EACCES", `the directory ${folder} belongs to another user`);
  }
}

/** @throws ListenError when nobody may look there. */
function look(path: string): Stats | null {
  try {
    return fileOf(path);
  } catch (error) {
    const { code = "EINVAL" } = error as NodeJS.ErrnoException; // what node:fs throws
    throw new ListenError(`unix:${path}`, code, `it cannot be looked at (${code})`);
  }
}

function fileOf(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

/** As bound: `unix:/path`, `127.0.0.1:9000`. */
export function boundAddress(address: Address, port: number): string {
  if (address.kind === "unix") return formatAddress(address);
  return formatAddress({ kind: "tcp", host: hostnameOf(address.host), port });
}
