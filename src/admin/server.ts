// The admin side: an HTTP server beside the traffic, by which a running program is seen and steered.

import { OptionsError } from "../control/mistake.ts";
import type { Steering } from "../control/steering.ts";
import { describeError, libc } from "../linux/libc.ts";
import { ListenError } from "../engine/listen.ts";
import { formatAddress } from "../control/address.ts";
import { EventFeed } from "./events.ts";
import { admit } from "./guard.ts";
import { openApiDocument } from "./openapi.ts";
import { boundAddress, hostnameOf, readAdminPlaces, socketFile } from "./place.ts";
import type { AdminPlace } from "./place.ts";
import { json, Refusal, refusalOf } from "./reply.ts";
import { bodySizeMax, find, jsonAnswer, readBody, readQuery, reading } from "./route.ts";
import type { Context, Route } from "./route.ts";
import { routes } from "./routes.ts";
import { Sampler } from "./sampler.ts";
import { openApi } from "./schema.ts";

/** A connection on which nothing moves for so long is closed; one that reads events has a beat more often. */
const idleSeconds = 60;
/** What Bun itself refuses, without a word; up to here we say why. */
const hardBodySizeMax = 2 * bodySizeMax;

export interface Admin {
  /** As bound: `unix:/path`, `127.0.0.1:9000`. */
  readonly addresses: readonly string[];
  /** Cuts whoever is still there, and removes the socket files that are still ours. */
  close(): Promise<void>;
}

export interface AdminOptions {
  /** What every change, and off loopback everything, must bring; null: nothing. */
  readonly token: string | null;
  /** Told of errors of our own. */
  readonly log: (message: string) => void;
  /** What a browser is shown, by path: whole in itself and nobody's secret, so that it needs no token. */
  readonly pages?: ReadonlyMap<string, () => Response>;
  /** A successor takes the place of the program before it, which still answers on that path. */
  readonly takesOver?: (path: string) => boolean;
}

/**
 * Opens the admin side at `unix:PATH`, `HOST:PORT` or `PORT`.
 * @throws OptionsError with every mistake in the places; ListenError where one cannot be had.
 */
export async function openAdmin(
  steering: Steering,
  places: readonly string[],
  options: AdminOptions,
): Promise<Admin> {
  const wanted = readAdminPlaces(places, options.token !== null);
  const sampler = new Sampler(() => steering.status());
  const feed = new EventFeed(steering, sampler);
  const desk = new Desk({ steering, sampler, feed }, options);
  const opened: Opened[] = [];
  const close = async (): Promise<void> => {
    feed.close();
    sampler.close();
    await Promise.all(opened.map((each) => each.close()));
  };
  try {
    for (const place of wanted) opened.push(await openPlace(place, desk, options));
  } catch (error) {
    await close();
    throw error;
  }
  return { addresses: opened.map(({ address }) => address), close };
}

interface Opened {
  readonly address: string;
  close(): Promise<void>;
}

/** Answers requests, wherever they come in. */
class Desk {
  private readonly context: Context;
  private readonly routes: readonly Route[];
  private readonly options: AdminOptions;

  constructor(context: Context, options: AdminOptions) {
    this.context = context;
    this.options = options;
    const pages = [...(options.pages?.keys() ?? [])];
    const document: Route = reading("/openapi.json", {
      summary: "This document",
      answer: jsonAnswer("OpenAPI 3.1", openApi),
      handle: ({ steering }) =>
        json(openApiDocument(this.routes, pages, steering.status().version)),
    });
    this.routes = [...routes, document];
  }

  async answer(request: Request, place: AdminPlace, keepOpen: () => void): Promise<Response> {
    try {
      const url = URL.parse(request.url);
      if (url === null) throw new Refusal("bad-request", "the Host is no name of any address");
      const { pathname, searchParams } = url;
      const page = this.options.pages?.get(pathname);
      if (page !== undefined && (request.method === "GET" || request.method === "HEAD")) {
        return page();
      }
      const { route, name } = find(this.routes, request.method, pathname);
      admit(request, route.access, place, this.options.token);
      const query = readQuery(route, searchParams);
      const body = await readBody(route, request);
      if (route.answer.contentType === "text/event-stream") keepOpen();
      return await route.handle({ ...this.context, ...query, request, name }, body);
    } catch (error) {
      return refusalOf(error, this.options.log);
    }
  }
}

async function openPlace(place: AdminPlace, desk: Desk, options: AdminOptions): Promise<Opened> {
  const { address } = place;
  const common = {
    maxRequestBodySize: hardBodySizeMax,
    development: false,
    fetch: (request: Request, server: Bun.Server<undefined>) =>
      desk.answer(request, place, () => server.timeout(request, 0)),
    error: (error: Error) => refusalOf(error, options.log),
  };
  if (address.kind === "tcp") {
    const { host, port } = address;
    const server = attempt(formatAddress(address), () =>
      Bun.serve({ ...common, hostname: hostnameOf(host), port, idleTimeout: idleSeconds }),
    );
    return {
      address: boundAddress(address, server.port ?? 0),
      close: () => server.stop(true),
    };
  }
  const file = await socketFile(address.path, options.takesOver ?? (() => false));
  const server = attempt(formatAddress(address), () => {
    // Nobody but its user may connect, from its first moment: there is no await between these lines.
    const mask = process.umask(0o177);
    try {
      // Bun's types know no idle time for unix sockets; Bun does, and 10 s if it is not told.
      const settings = { ...common, unix: file.bindPath, idleTimeout: idleSeconds };
      return Bun.serve(settings as Bun.Serve.Options<undefined>);
    } finally {
      process.umask(mask);
    }
  });
  attempt(formatAddress(address), () => file.publish());
  return {
    address: formatAddress(address),
    close: async () => {
      file.remove();
      await server.stop(true);
    },
  };
}

/** @throws ListenError in place of Bun's. */
function attempt<T>(address: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (error instanceof OptionsError || error instanceof Refusal) throw error;
    const { code = "EINVAL" } = error as NodeJS.ErrnoException; // errors of Bun.serve carry their name
    const words = `${describeError(libc, code)} (${code})`;
    const cause = code === "EADDRINUSE" ? `${words}: another program listens there` : words;
    throw new ListenError(address, code, cause);
  }
}
