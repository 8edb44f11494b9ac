// One route: what it is called, what it takes, what it answers, what it does. Dispatch and /openapi.json both read it.

import type { Steering } from "../control/steering.ts";
import {
  bad,
  mistakeIn,
  nearest,
  OptionsError,
  type Mistake,
  type Reading,
} from "../control/mistake.ts";
import type { EventFeed } from "./events.ts";
import type { Access } from "./guard.ts";
import { Refusal } from "./reply.ts";
import type { Sampler } from "./sampler.ts";
import { checked, type Static, type TSchema } from "./schema.ts";

export const bodySizeMax = 64 * 1024;

export type Method = "GET" | "POST" | "PATCH" | "DELETE";

/** What the routes act upon. */
export interface Context {
  readonly steering: Steering;
  readonly sampler: Sampler;
  readonly feed: EventFeed;
}

export interface Call extends Context {
  readonly request: Request;
  /** The NAME or ID in the path. */
  readonly name: string;
  /** A value of the query as written; "" = not given. */
  text(parameter: string): string;
  /** The same, read. */
  number(parameter: string): number;
}

export interface Parameter {
  readonly description: string;
  /** For a number; a text is any. */
  readonly read?: (text: string) => Reading<number>;
  /** Where it is not given. */
  readonly initial?: number;
  readonly example: string;
}

export interface Answer {
  readonly description: string;
  /** `application/json` where there is a schema. */
  readonly contentType: string;
  readonly schema: TSchema | null;
}

export interface Route {
  readonly method: Method;
  /** At most one `{name}`. */
  readonly path: string;
  readonly summary: string;
  readonly access: Access;
  readonly query: Readonly<Record<string, Parameter>>;
  readonly body: TSchema | null;
  readonly answer: Answer;
  /** Statuses that it can refuse with beside those of every route. */
  readonly refusals: readonly number[];
  /** @param body checked already. */
  handle(call: Call, body: unknown): Response | Promise<Response>;
}

type Given = Pick<Route, "summary"> & Partial<Pick<Route, "query" | "refusals">>;

/** A route that only says something. */
export function reading(
  path: string,
  given: Given & {
    readonly answer: Answer;
    readonly access?: Access;
    handle(call: Call): Response | Promise<Response>;
  },
): Route {
  const defaults = { method: "GET", access: "read", query: {}, refusals: [], body: null } as const;
  return { ...defaults, path, ...given };
}

/** A route that changes something and is given no body. */
export function changing(
  method: Method,
  path: string,
  given: Given & { readonly answer: Answer; handle(call: Call): Promise<Response> },
): Route {
  return { access: "change", query: {}, refusals: [404, 409], method, path, body: null, ...given };
}

/** A route that changes something by what its body says. */
export function changingBy<T extends TSchema>(
  method: Method,
  path: string,
  body: T,
  given: Given & {
    readonly answer: Answer;
    handle(call: Call, body: Static<T>): Promise<Response>;
  },
): Route {
  const { handle, ...rest } = given;
  return {
    access: "change",
    query: {},
    refusals: [404, 409, 413, 415],
    method,
    path,
    body,
    ...rest,
    handle: (call, value) => handle(call, checked(body, value)),
  };
}

export function jsonAnswer(description: string, schema: TSchema): Answer {
  return { description, contentType: "application/json", schema };
}

export interface Found {
  readonly route: Route;
  readonly name: string;
}

/** Finds the route of a request. @throws Refusal */
export function find(routes: readonly Route[], method: string, pathname: string): Found {
  const here = routes.flatMap((route): Found[] => {
    const name = match(route.path, pathname);
    return name === null ? [] : [{ route, name }];
  });
  // A HEAD is answered as its GET; Bun leaves the body out.
  const wanted = method === "HEAD" ? "GET" : method;
  const found = here.find(({ route }) => route.method === wanted);
  if (found !== undefined) return found;
  if (here.length === 0) {
    const near = nearest(pathname, [...new Set(routes.map(({ path }) => path))]);
    const hint = near === "" ? "GET /openapi.json lists them" : `did you mean ${near}?`;
    throw new Refusal("not-found", `there is no ${JSON.stringify(pathname.slice(0, 200))}`, hint);
  }
  const allow = [...new Set(here.map(({ route }) => route.method))].join(", ");
  throw new Refusal(
    "wrong-method",
    `${method.slice(0, 20)} is not for this`,
    `accepted: ${allow}`,
    {
      allow,
    },
  );
}

/** @returns the name in the path, "" where it has none, null where the path is another one. @throws Refusal */
function match(pattern: string, pathname: string): string | null {
  const wanted = pattern.split("/");
  const given = pathname.split("/");
  if (wanted.length !== given.length) return null;
  let name = "";
  for (const [index, part] of wanted.entries()) {
    const text = given[index] ?? "";
    if (!part.startsWith("{")) {
      if (part !== text) return null;
      continue;
    }
    if (text === "") return null;
    name = decoded(text);
  }
  return name;
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Refusal("bad-request", "a name in the path is badly encoded", "%2F stands for /");
  }
}

/** @throws OptionsError with everything that is wrong in the query. */
export function readQuery(route: Route, given: URLSearchParams): Pick<Call, "text" | "number"> {
  const mistakes: Mistake[] = [];
  const names = Object.keys(route.query);
  const numbers = new Map<string, number>();
  for (const [name, value] of given) {
    const parameter = Object.hasOwn(route.query, name) ? route.query[name] : undefined;
    if (parameter === undefined) {
      const words = names.length === 0 ? "none is accepted" : `known are ${names.join(", ")}`;
      const { fault } = bad("unknown-option", "is unknown", words, nearest(name, names));
      mistakes.push(mistakeIn(`?${name}`, fault));
      continue;
    }
    const reading = parameter.read?.(value);
    if (reading === undefined) continue;
    if (reading.fault !== null) mistakes.push(mistakeIn(`?${name}=${value}`, reading.fault));
    else numbers.set(name, reading.value);
  }
  if (mistakes.length > 0) throw new OptionsError(mistakes);
  return {
    text: (name) => given.get(name) ?? "",
    number: (name) => numbers.get(name) ?? route.query[name]?.initial ?? 0,
  };
}

/** @returns what the body is as JSON, null where the route takes none. @throws Refusal */
export async function readBody(route: Route, request: Request): Promise<unknown> {
  if (route.body === null) return null;
  const type = (request.headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    const words = "the body must be JSON";
    throw new Refusal("wrong-type", words, "Content-Type: application/json is accepted");
  }
  const bytes = await bytesOf(request);
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw new Refusal("bad-request", "the body is no JSON");
  }
}

async function bytesOf(request: Request): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.length;
    if (size > bodySizeMax) throw new Refusal("too-large", "the body is larger than 64 KiB");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
