// `iawlb serve`: the program and what stands around it: its configuration read again, the admin side, its succession.
import { readAgain, type Configuration } from "./config/config.ts";
import { WatchedFiles } from "./config/watched-files.ts";
import type { Admin, AdminOptions } from "./admin/server.ts";
import { adminPlaces } from "./control/admin-place.ts";
import { formatAddress } from "./control/address.ts";
import { info, say, setLogLevel, warning } from "./control/log.ts";
import { tlsFilesOf } from "./control/tls-need.ts";
import { ListenError } from "./engine/listen.ts";
import { isLeft, legacyOf, type Legacy } from "./legacy.ts";
import { live, type Life, type World } from "./lifetime.ts";
import { Program } from "./program.ts";
import type { Succession } from "./succession.ts";

/** A port that the one before has still is tried so often, and for so long. */
const lateMs = 50;
const lateMsMax = 60_000;
/** @param legacy of the predecessor. */
export async function serve(
  configuration: Configuration,
  succession: Succession,
  legacy: Legacy,
): Promise<void> {
  setLogLevel(configuration.program.logLevel);
  for (const { message } of configuration.warnings) warning(message);
  await live(configuration.program.accessLog, succession, async (world) => {
    const watched: WatchedFiles = new WatchedFiles(() => void program.reload("watch"), warning);
    const program = await startProgram(configuration, succession, legacy, world, watched);
    const { hasPredecessor } = succession.inheritance;
    const surroundings = () => surround(program, configuration, legacy, hasPredecessor, watched);
    return lifeOf(program, configuration, succession, surroundings);
  });
}

function startProgram(
  configuration: Configuration,
  succession: Succession,
  { modes }: Legacy,
  { access, end }: World,
  watched: WatchedFiles,
): Promise<Program> {
  let latest = configuration;
  let readAtMs = 0;
  return Program.start(configuration, {
    inheritance: succession.inheritance,
    modes,
    read: async () => {
      readAtMs = Date.now();
      return (latest = await readAgain(latest));
    },
    onConfiguration: (next) => {
      setLogLevel(next.program.logLevel);
      if (configuration.program.watch) void watched.follow(filesOf(next), readAtMs);
    },
    onDrain: end,
    tell: say,
    ...(access === undefined ? {} : { access }),
  });
}

/** What is closed with the program. */
interface Around {
  /** Files of the sockets on which the admin side listens. */
  readonly sockets: readonly string[];
  close(): Promise<void>;
}

const nothingAround: Around = { sockets: [], close: async () => {} };

async function surround(
  program: Program,
  configuration: Configuration,
  legacy: Legacy,
  hasPredecessor: boolean,
  watched: WatchedFiles,
): Promise<Around> {
  const { program: settings } = configuration;
  const admin = await openAdminSide(program, settings, legacy, hasPredecessor);
  const files = settings.watch ? filesOf(configuration) : [];
  await watched.follow(files, performance.timeOrigin); // read since then
  if (settings.watch && files.length === 0) {
    warning("--watch has nothing to watch without --config FILE or a file of TLS");
  }
  return {
    get sockets() {
      const unix = admin?.addresses.filter((each) => each.startsWith("unix:")) ?? [];
      return unix.map((each) => each.slice("unix:".length));
    },
    async close() {
      watched.close();
      await admin?.close();
    },
  };
}

/** What it was made of: the file itself, and those that it names for TLS. */
function filesOf({ file, listeners }: Configuration): readonly string[] {
  const ofTls = listeners.flatMap(({ options }) => tlsFilesOf(options));
  return file === "" ? ofTls : [file, ...ofTls];
}

/** Loaded once the listeners are open: clients need not wait for it. */
async function openAdminSide(
  program: Program,
  settings: Configuration["program"],
  legacy: Legacy,
  hasPredecessor: boolean,
): Promise<Admin | null> {
  const { admin, adminTokenFile } = settings;
  if (admin !== "auto" && admin.length === 0) return null;
  const [{ openAdmin }, { pages }, { readTokenFile }] = await Promise.all([
    import("./admin/server.ts"),
    import("./dashboard/pages.ts"),
    import("./admin/token.ts"),
  ]);
  const options: AdminOptions = {
    token: adminTokenFile === "" ? null : readTokenFile(adminTokenFile),
    log: warning,
    pages,
    takesOver: (path) => isLeft(legacy, path),
  };
  if (admin !== "auto") {
    const open = async () => {
      const opened = await openAdmin(program, admin.map(formatAddress), options);
      for (const address of opened.addresses) {
        if (!address.startsWith("unix:")) info(`dashboard and API at http://${address}/`);
      }
      return opened;
    };
    const hasPort = admin.some(({ kind }) => kind === "tcp");
    return hasPredecessor && hasPort ? openLate(open) : open();
  }
  // The default must not keep anybody from serving.
  let { paths, fault } = await adminPlaces();
  paths = [...legacy.sockets.map(({ path }) => path), ...paths];
  for (const path of paths) {
    try {
      return await openAdmin(program, [`unix:${path}`], options);
    } catch (error) {
      if (!(error instanceof ListenError)) throw error;
      fault = error.message;
    }
  }
  warning(`no admin socket: ${fault}`);
  return null;
}

/** The one before lets go of its port once this one serves. */
function openLate(open: () => Promise<Admin>): Admin {
  const closing = new AbortController();
  let admin: Admin | null = null;
  const attempt = async (since: number): Promise<void> => {
    for (; !closing.signal.aborted && admin === null; await Bun.sleep(lateMs)) {
      try {
        admin = await open();
      } catch (error) {
        const isTaken = error instanceof ListenError && error.code === "EADDRINUSE";
        if (!isTaken || performance.now() - since > lateMsMax)
          return warning(`no admin side: ${String(error)}`);
      }
    }
  };
  const opening = attempt(performance.now());
  return {
    get addresses() {
      return admin?.addresses ?? [];
    },
    async close() {
      closing.abort();
      await opening;
      await admin?.close();
    },
  };
}

function lifeOf(
  program: Program,
  { program: settings }: Configuration,
  succession: Succession,
  surroundings: () => Promise<Around>,
): Life {
  let around = nothingAround;
  let opening: Promise<Around> | null = null;
  /** A signal may come while it opens: nothing of it stays behind. */
  const closeAround = async (): Promise<void> => {
    const opened = await opening?.catch(() => null);
    await opened?.close();
  };
  const { manager } = succession;
  const words = () => `listening on ${program.addresses.join(", ")}`;
  return {
    async begin() {
      opening = surroundings();
      around = await opening;
    },
    succeeded: {
      upgradeMs: settings.upgradeMs,
      get left() {
        return legacyOf(around.sockets, program.modes, warning);
      },
      get addresses() {
        return program.addresses;
      },
      get descriptors() {
        return program.descriptors;
      },
      answers: () => program.answers(),
      async handOver() {
        const ended = program.handOver();
        await closeAround();
        await ended;
      },
    },
    reload() {
      manager.reloading();
      void program.reload("signal").then(() => manager.reloaded(words()));
    },
    async drain() {
      await program.end();
      await closeAround();
    },
    async stop() {
      await program.stop();
      await closeAround();
    },
    status: () => program.status(),
  };
}
