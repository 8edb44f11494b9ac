// The program itself in a test's process: listeners on free ports, what they were told, and what can be asked of them.

import { readAgain, readConfiguration, type Configuration } from "../../src/config/config.ts";
import type { ListenerStatus } from "../../src/control/steering.ts";
import { Program } from "../../src/program.ts";

export interface Running extends AsyncDisposable {
  readonly program: Program;
  /** Lines for the operator so far. */
  readonly told: readonly string[];
  /** It was asked to end in order. */
  readonly isToEnd: boolean;
  /** Of the listener of that name, or of the first. */
  port(listener?: string): number;
  status(listener?: string): ListenerStatus;
}

/** Checks are connections as well: where they are not the subject, destinations see clients alone. */
const unchecked = ["--health-interval", "0"] as const;

/** @param listeners arguments of each by its name: `[options] DEST...`. */
export async function runProgram(
  listeners: Readonly<Record<string, readonly string[]>>,
): Promise<Running> {
  return run(async () => {
    const all = await Promise.all(
      Object.entries(listeners).map(async ([name, args]) => {
        const read = await readConfiguration([...unchecked, "127.0.0.1:0", ...args], {});
        return { read, listener: { ...listenerOf(read), name } };
      }),
    );
    const [first] = all;
    if (first === undefined) throw new Error("no listener");
    return { ...first.read, listeners: all.map(({ listener }) => listener) };
  });
}

/** By its file, which it reads again at a reload. */
export async function runFile(file: string): Promise<Running> {
  let latest: Configuration | null = null;
  return run(async () => {
    latest = await (latest === null
      ? readConfiguration(["--config", file, ...unchecked], {})
      : readAgain(latest));
    return latest;
  });
}

async function run(read: () => Promise<Configuration>): Promise<Running> {
  const told: string[] = [];
  let isToEnd = false;
  const program = await Program.start(await read(), {
    read,
    onConfiguration: () => {},
    onDrain: () => {
      isToEnd = true;
      void program.end();
    },
    tell: (_, message) => void told.push(message),
  });
  const status = (name = ""): ListenerStatus => {
    const { listeners } = program.status();
    const found = name === "" ? listeners[0] : listeners.find((each) => each.name === name);
    if (found === undefined) throw new Error(`no listener ${name}`);
    return found;
  };
  return {
    program,
    told,
    get isToEnd() {
      return isToEnd;
    },
    status,
    port: (name) => Number(status(name).addresses[0]?.split(":").at(-1)),
    [Symbol.asyncDispose]: () => program.stop(),
  };
}

function listenerOf({ listeners }: Configuration): Configuration["listeners"][number] {
  const [listener] = listeners;
  if (listener === undefined) throw new Error("no listener");
  return listener;
}
