// `iawlb demo`: three small HTTP destinations in this process and the balancer in front of them.

import { balance, type Balancer, type Hooks, ListenError } from "../balancer.ts";
import { parseOptions } from "./options.ts";

/** Where the demo listens when it may choose and this one is free. */
const wishedPort = 8080;
/** How long a destination stays away that was asked to go. */
const awayMs = 5_000;

export interface Demo {
  readonly balancer: Balancer;
  /** What to tell the user: where it listens and what to try. */
  readonly text: string;
  stop(): Promise<void>;
}

/**
 * Starts it all on the loopback interface.
 * @param port to listen on, null for 8080 or, if that is taken, any free one.
 * @throws ListenError when the port asked for cannot be had.
 */
export async function startDemo(port: number | null, hooks: Hooks): Promise<Demo> {
  const sites = ["one", "two", "three"].map((name) => new Site(name));
  const places = sites.map((site) => `127.0.0.1:${site.port},name=${site.name}`);
  const start = (listenPort: number): Promise<Balancer> =>
    balance(parseOptions(["--drain-timeout=5s", `127.0.0.1:${listenPort}`, ...places]), hooks);
  const stopSites = (): Promise<unknown> => Promise.all(sites.map((site) => site.stop()));
  try {
    const balancer = await start(port ?? wishedPort).catch((error: unknown) => {
      if (port !== null || !(error instanceof ListenError)) throw error;
      return start(0);
    });
    const stop = async (): Promise<void> => {
      await balancer.drain();
      await stopSites();
    };
    return { balancer, text: describe(balancer, sites), stop };
  } catch (error) {
    await stopSites();
    throw error;
  }
}

function describe(balancer: Balancer, sites: readonly Site[]): string {
  const url = `http://127.0.0.1:${balancer.port}`;
  const names = sites.map((site) => `${site.name} (port ${site.port})`).join(", ");
  return `${url} is passed on to ${names}. Try, in another terminal:

  curl ${url}          a few times: each request is another destination's turn
  curl ${url}/away     sends the one that answers away for ${awayMs / 1_000} s; go on with the first line
  curl ${url}/slow     takes 2 s

A line below is one connection. Ctrl-C ends the demo.
`;
}

/** One destination: answers with its name and how many requests it has served. */
class Site {
  readonly name: string;
  readonly port: number;
  private server: ReturnType<typeof Bun.serve>;
  private servedCount = 0;
  private timer: ReturnType<typeof setTimeout> | null = null;

  constructor(name: string) {
    this.name = name;
    this.server = this.listen(0);
    this.port = this.server.port ?? 0;
  }

  async stop(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    await this.server.stop(true);
  }

  private listen(port: number): ReturnType<typeof Bun.serve> {
    return Bun.serve({
      hostname: "127.0.0.1",
      port,
      fetch: (request) => this.answer(new URL(request.url).pathname),
    });
  }

  private async answer(path: string): Promise<Response> {
    this.servedCount++;
    if (path === "/slow") await Bun.sleep(2_000);
    if (path === "/away") {
      this.goAway();
      return new Response(`${this.name}: away for ${awayMs / 1_000} s\n`);
    }
    return new Response(`${this.name}: request ${this.servedCount}\n`);
  }

  private goAway(): void {
    if (this.timer !== null) return;
    void this.server.stop();
    this.timer = setTimeout(() => {
      this.timer = null;
      this.server = this.listen(this.port);
    }, awayMs);
  }
}
