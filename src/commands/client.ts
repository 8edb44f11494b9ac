// The command line's side of the admin socket: finds the one that runs, asks, and says why it cannot.

import { readTokenFile } from "../admin/token.ts";
import { formatAddress, readAddress, type Address } from "../control/address.ts";
import { mistakeIn, OptionsError } from "../control/mistake.ts";

/** Longest wait for an answer. */
const answerMs = 30_000;

/** What was asked for could not be done; exit code 1, or 2 where the arguments were wrong. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: 1 | 2;

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Where programs that run may be found. */
export interface Haunts {
  /** The directories of their sockets. */
  readonly directories: readonly string[];
  /** @returns the paths of the sockets that answer. */
  find(): Promise<readonly string[]>;
}

export interface Client {
  /** @returns what is answered. @throws CommandError */
  ask(method: string, path: string, body?: object): Promise<unknown>;
}

export interface OpenClient extends Client {
  /** Whom it asks. */
  readonly address: Address;
  /** @returns an answer without end, as text, until the signal ends it. @throws CommandError */
  follow(path: string, signal: AbortSignal): Promise<ReadableStream<string>>;
}

/**
 * @param admin as given, `unix:PATH`, `HOST:PORT` or `PORT`; "" = the one that runs.
 * @param tokenFile "" = none.
 * @throws CommandError, OptionsError
 */
export async function openClient(
  admin: string,
  tokenFile: string,
  haunts: Haunts,
): Promise<OpenClient> {
  const token = tokenFile === "" ? null : readTokenFile(tokenFile);
  const address = admin === "" ? await findOnly(haunts) : read(admin);
  return {
    address,
    async ask(method, path, body) {
      const signal = AbortSignal.timeout(answerMs);
      const answer = await request(address, token, { method, path, body, signal });
      const value: unknown = await answer.json().catch(() => null);
      if (answer.ok && value !== null) return value;
      throw refusalIn(value, answer.status, formatAddress(address));
    },
    async follow(path, signal) {
      const answer = await request(address, token, { method: "GET", path, signal });
      if (answer.ok && answer.body !== null)
        return answer.body.pipeThrough(new TextDecoderStream());
      const value: unknown = await answer.json().catch(() => null);
      throw refusalIn(value, answer.status, formatAddress(address));
    },
  };
}

function read(text: string): Address {
  const reading = readAddress(text, "destination");
  if (reading.fault !== null) throw new OptionsError([mistakeIn(`--admin ${text}`, reading.fault)]);
  return reading.value;
}

async function findOnly(haunts: Haunts): Promise<Address> {
  const [path, ...others] = await haunts.find();
  if (path === undefined) {
    const where = haunts.directories.join(", ");
    const words = `no iawlb answers in ${where}; is it running, and not with --admin off?`;
    throw new CommandError(`${words} --admin ADDRESS names another place`);
  }
  if (others.length > 0) {
    const all = [path, ...others].map((each) => `unix:${each}`).join(", ");
    throw new CommandError(`several answer: ${all}; --admin ADDRESS says which`, 2);
  }
  return { kind: "unix", path };
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body?: object | undefined;
  readonly signal: AbortSignal;
}

async function request(
  address: Address,
  token: string | null,
  { method, path, body, signal }: Request,
): Promise<Response> {
  const where = formatAddress(address);
  const base = address.kind === "unix" ? "http://localhost" : `http://${where}`;
  return fetch(base + path, {
    method,
    signal,
    redirect: "error",
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...(address.kind === "unix" ? { unix: address.path } : {}),
  }).catch((error: unknown) => {
    throw new CommandError(`no iawlb answers at ${where} (${causeOf(error)}); is it running?`);
  });
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code } = error as NodeJS.ErrnoException; // errors of fetch carry their name
  return typeof code === "string" ? code : error.name;
}

function refusalIn(value: unknown, status: number, where: string): CommandError {
  const { error } = (value ?? {}) as { error?: { message?: unknown; hint?: unknown } }; // looked at below
  if (typeof error?.message !== "string") {
    return new CommandError(`what answers at ${where} is no iawlb (HTTP ${status})`);
  }
  if (status === 401) return new CommandError(`${error.message}; --token-file FILE brings it`);
  const hint = typeof error.hint === "string" && error.hint !== "" ? `; ${error.hint}` : "";
  return new CommandError(
    error.message.replaceAll("?listener=NAME", "--listener NAME") +
      hint.replaceAll("?listener=NAME", "--listener NAME"),
    status === 400 ? 2 : 1,
  );
}
