// `iawlb demo`: three small HTTP destinations in this process, the balancer in front of them, and its dashboard.
import { readConfiguration } from "./config/config.ts";
import { say, warning } from "./control/log.ts";
import { ListenError } from "./engine/listen.ts";
import { live, type Life, type World } from "./lifetime.ts";
import { Program } from "./program.ts";

/** Where the demo listens when it may choose and this one is free. */
const wishedPort = 8080;
/** How long a destination stays away that was asked to go. */
const awayMs = 5_000;

/**
 * Runs it all on the loopback interface until a signal ends it.
 * @param port to listen on, null for 8080 or, if that is taken, any free one.
 */
export async function runDemo(port: number | null): Promise<void> {
  const sites = ["one", "two", "three"].map((name) => new Site(name));
  const stopSites = async (): Promise<void> => {
    await Promise.all(sites.map((site) => site.stop()));
  };
  await live("logfmt", null, async (world) => {
    try {
      return await startDemo(port, sites, world, stopSites);
    } catch (error) {
      await stopSites();
      throw error;
    }
  });
}

async function startDemo(
  port: number | null,
  sites: readonly Site[],
  world: World,
  stopSites: () => Promise<void>,
): Promise<Life> {
  const program = await startProgram(port ?? wishedPort, sites, world).catch((error: unknown) => {
    if (port !== null || !(error instanceof ListenError)) throw error;
    return startProgram(0, sites, world);
  });
  let closeAdmin = async (): Promise<void> => {};
  const close = async (): Promise<void> => {
    await Promise.all([closeAdmin(), stopSites()]);
  };
  return {
    succeeded: null,
    async begin() {
      const [{ openAdmin }, { pages }] = await Promise.all([
        import("./admin/server.ts"),
        import("./dashboard/pages.ts"),
      ]);
      const admin = await openAdmin(program, ["127.0.0.1:0"], { token: null, log: warning, pages });
      closeAdmin = admin.close;
      process.stdout.write(`${describe(program, admin.addresses[0] ?? "", sites)}\n`);
    },
    reload: () => warning("SIGHUP is ignored: the demo has no configuration"),
    drain: () => program.end().then(close),
    stop: () => program.stop().then(close),
    status: () => program.status(),
  };
}

async function startProgram(
  port: number,
  sites: readonly Site[],
  { access, end }: World,
): Promise<Program> {
  const places = sites.map((site) => `127.0.0.1:${site.port},name=${site.name}`);
  const args = ["--drain-timeout=5s", `127.0.0.1:${port}`, ...places];
  const configuration = await readConfiguration(args, {});
  return Program.start(configuration, {
    read: () => readConfiguration(args, {}),
    onConfiguration: () => {},
    onDrain: end,
    tell: say,
    ...(access === undefined ? {} : { access }),
  });
}

function describe(program: Program, dashboard: string, sites: readonly Site[]): string {
  const url = `http://${program.addresses[0] ?? ""}`;
  const names = sites.map((site) => `${site.name} (port ${site.port})`).join(", ");
  return `${url} is passed on to ${names}. Try, in another terminal:

  curl ${url}          a few times: each request is another destination's turn
  curl ${url}/away     sends the one that answers away for ${awayMs / 1_000} s; go on with the first line
  curl ${url}/slow     takes 2 s
  iawlb top --admin ${dashboard}

The dashboard is at http://${dashboard}/

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
