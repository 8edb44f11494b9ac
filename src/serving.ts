// `iawlb serve`: the program and what stands around it: its configuration read again, the admin side, its succession.
import { readAgain, type Configuration } from "./config/config.ts";
import { watchFile } from "./config/watch-file.ts";
import type { Admin, AdminOptions } from "./admin/server.ts";
import { adminPlaces } from "./control/admin-place.ts";
import { formatAddress } from "./control/address.ts";
import { info, say, setLogLevel, warning } from "./control/log.ts";
import { ListenError } from "./engine/listen.ts";
import { live, type Life, type World } from "./lifetime.ts";
import { Program } from "./program.ts";
import type { Succession } from "./succession.ts";

/** A port that the one before has still is tried so often, and for so long. */
const lateMs = 50;
const lateMsMax = 60_000;
/** How a successor is told of the admin socket whose place it takes. */
const adminVariable = "IAWLB_ADMIN_SOCKET";

/** Takes out of the environment what a predecessor has put there: nobody else shall see it. */
export function takeAdminSocket(environment: Record<string, string | undefined>): string {
  const path = environment[adminVariable] ?? "";
  delete environment[adminVariable];
  return path;
}

/** @param adminSocket of the predecessor; "" = there is none. */
export async function serve(
  configuration: Configuration,
  succession: Succession,
  adminSocket: string,
): Promise<void> {
  setLogLevel(configuration.program.logLevel);
  for (const { message } of configuration.warnings) warning(message);
  await live(configuration.program.accessLog, succession, async (world) => {
    const program = await startProgram(configuration, succession, world);
    const surroundings = () => surround(program, configuration, succession, adminSocket);
    return lifeOf(program, configuration, succession, surroundings);
  });
}

function startProgram(
  configuration: Configuration,
  succession: Succession,
  { access, end }: World,
): Promise<Program> {
  let latest = configuration;
  return Program.start(configuration, {
    inheritance: succession.inheritance,
    read: async () => (latest = await readAgain(latest)),
    onSettings: ({ logLevel }) => setLogLevel(logLevel),
    onDrain: end,
    tell: say,
    ...(access === undefined ? {} : { access }),
  });
}

/** What is closed with the program. */
interface Around {
  close(): Promise<void>;
}

async function surround(
  program: Program,
  { file, program: settings }: Configuration,
  succession: Succession,
  adminSocket: string,
): Promise<Around> {
  const admin = await openAdminSide(
    program,
    settings,
    adminSocket,
    succession.inheritance.hasPredecessor,
  );
  const socket = admin?.addresses.find((each) => each.startsWith("unix:"));
  if (socket !== undefined) succession.leave(adminVariable, socket.slice("unix:".length));
  const watching =
    settings.watch && file !== ""
      ? await watchFile(file, () => void program.reload("watch"))
      : null;
  if (settings.watch && file === "") warning("--watch has nothing to watch without --config FILE");
  return {
    async close() {
      watching?.close();
      await admin?.close();
    },
  };
}

/** Loaded once the listeners are open: clients need not wait for it. */
async function openAdminSide(
  program: Program,
  settings: Configuration["program"],
  predecessor: string,
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
  };
  if (admin !== "auto") {
    const takesOver = hasPredecessor;
    const open = async () => {
      const opened = await openAdmin(program, admin.map(formatAddress), { ...options, takesOver });
      for (const address of opened.addresses) {
        if (!address.startsWith("unix:")) info(`dashboard and API at http://${address}/`);
      }
      return opened;
    };
    return hasPredecessor ? openLate(open) : open();
  }
  // The default must not keep anybody from serving.
  let { paths, fault } = await adminPlaces();
  if (predecessor !== "") paths = [predecessor, ...paths];
  for (const path of paths) {
    const takesOver = path === predecessor;
    try {
      return await openAdmin(program, [`unix:${path}`], { ...options, takesOver });
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
        if (performance.now() - since > lateMsMax)
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
  let around: Around = { close: async () => {} };
  const { manager } = succession;
  const words = () => `listening on ${program.addresses.join(", ")}`;
  return {
    async begin() {
      around = await surroundings();
    },
    succeeded: {
      upgradeMs: settings.upgradeMs,
      get addresses() {
        return program.addresses;
      },
      get descriptors() {
        return program.descriptors;
      },
      answers: () => program.answers(),
      async handOver() {
        const ended = program.handOver();
        await around.close();
        await ended;
      },
    },
    reload() {
      manager.reloading();
      void program.reload("signal").then(() => manager.reloaded(words()));
    },
    async drain() {
      await program.end();
      await around.close();
    },
    async stop() {
      await program.stop();
      await around.close();
    },
    status: () => program.status(),
  };
}
