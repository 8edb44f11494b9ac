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
import { Relief } from "./relief.ts";
import { json, Refusal, refusalOf } from "./reply.ts";
import { bodySizeMax, find, jsonAnswer, readBody, readQuery, reading } from "./route.ts";
import type { Context, Route } from "./route.ts";
import { routes } from "./routes.ts";
import { Sampler } from "./sampler.ts";
import { openApi } from "./schema.ts";

/** A connection that is silent for so long is closed (on a unix socket after its first question); events have beats. */
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
  /** From one sample to the next; a second where it is not given. */
  readonly sampleMs?: number;
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
  const sampler = new Sampler(() => steering.status(), options.sampleMs);
  const feed = new EventFeed(steering, sampler);
  const desk = new Desk({ steering, sampler, feed }, options);
  const opened: Opened[] = [];
  const relief = new Relief(() => opened.map((each) => each.cut()).every(Boolean), options.log);
  const close = async (): Promise<void> => {
    relief.close();
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
  /** Closes every connection. @returns whether it listens again. */
  cut(): boolean;
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
    const hostname = hostnameOf(address.host);
    const listen = (port: number) =>
      attempt(formatAddress(address), () =>
        Bun.serve({ ...common, hostname, port, idleTimeout: idleSeconds }),
      );
    const server = listen(address.port);
    const port = server.port ?? 0;
    return { address: boundAddress(address, port), ...renewable(server, () => listen(port)) };
  }
  const file = await socketFile(address.path, options.takesOver ?? (() => false));
  const listen = () => {
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
    return server;
  };
  const { cut, close } = renewable(listen(), listen);
  return {
    address: formatAddress(address),
    cut: () => !file.isOurs() || cut(), // else a successor has the place
    close: () => {
      file.remove();
      return close();
    },
  };
}

type Server = Bun.Server<undefined>;

/** A server that can be opened anew in its place, which is the one way to close all that is connected. */
function renewable(first: Server, listen: () => Server): Pick<Opened, "cut" | "close"> {
  let server: Server | null = first;
  return {
    cut() {
      void server?.stop(true);
      server = null;
      try {
        server = listen();
      } catch {
        // No descriptor is free even now.
      }
      return server !== null;
    },
    close: async () => server?.stop(true),
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
