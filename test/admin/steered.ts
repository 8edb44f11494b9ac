// What the tests of the admin side look at: the program itself, or one that writes down what it is asked to change.

import { openAdmin, type Admin, type AdminOptions } from "../../src/admin/server.ts";
import type {
  Connection,
  ListenerStatus,
  ProgramEvent,
  ProgramStatus,
  Steering,
} from "../../src/control/steering.ts";
import { SteeringError } from "../../src/control/steering.ts";
import type { Program } from "../../src/program.ts";
import { echoServer, unixPlace, type Server } from "../net.ts";
import { runFile, runProgram, type Running } from "./program.ts";

export interface Scene extends AsyncDisposable {
  readonly running: Running;
  readonly program: Program;
  /** Of the listener `main`. */
  readonly port: number;
  readonly servers: readonly Server[];
  readonly admin: Admin;
  status(): ListenerStatus;
  /** `a ready`, `b/2 drain`: the destinations and their modes. */
  modes(): string[];
  /** Asks the admin side over its unix socket. */
  ask(method: string, path: string, options?: AskOptions): Promise<Response>;
}

interface AskOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

type SceneOptions = Partial<AdminOptions> & {
  readonly places?: readonly string[];
  /** Two listeners, each with a destination `twice`. */
  readonly twice?: boolean;
  /** Runs by this file instead of the destinations `a` and `b/2`. */
  readonly file?: string;
};

/** A program before two echo servers, `a` and `b/2`, with its admin side on a unix socket and at 127.0.0.1. */
export function scene(options: SceneOptions = {}): Promise<Scene> {
  return open(options, (program) => program);
}

/** The same, but for changes: they are written down and not made. */
export async function recordedScene(
  options: SceneOptions = {},
): Promise<Scene & { readonly steering: RecordedSteering }> {
  let steering: RecordedSteering | null = null;
  const made = await open(options, (program) => (steering = new RecordedSteering(program)));
  if (steering === null) throw new Error("it was not opened");
  return { ...made, steering };
}

async function open(options: SceneOptions, over: (program: Program) => Steering): Promise<Scene> {
  const { places = [unixPlace(), "127.0.0.1:0"], twice = false, file, ...rest } = options;
  const servers = [echoServer(), echoServer(), echoServer()];
  const [first, second, third] = servers.map(({ address }) => address);
  const main = [`${first},name=a,slots=4`, `${second},name=b/2`];
  const both = `${third},name=twice`;
  const listeners = twice ? { main: [...main, both], other: [both] } : { main };
  const running = await (file === undefined ? runProgram(listeners) : runFile(file));
  const { program } = running;
  const admin = await openAdmin(over(program), places, { token: null, log: () => {}, ...rest });
  const path = (admin.addresses[0] ?? "").replace("unix:", "");
  const status = () => running.status();
  return {
    running,
    program,
    port: running.port(),
    servers,
    admin,
    status,
    modes: () => status().destinations.map(({ name, mode }) => `${name} ${mode}`),
    ask: (method, target, { body, headers = {} } = {}) =>
      fetch(`http://localhost${target}`, {
        method,
        unix: path,
        headers: { ...(body === undefined ? {} : jsonType), ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    [Symbol.asyncDispose]: async () => {
      await admin.close();
      await program.stop();
      for (const server of servers) server[Symbol.dispose]();
    },
  };
}

const jsonType = { "content-type": "application/json" } as const;

/** What it says is the program's; what it is asked to change it writes down. */
class RecordedSteering implements Steering {
  readonly calls: unknown[][] = [];
  /** Open connections, as a test wants them. */
  connectionList: Connection[] = [];
  configPath = "";
  private readonly program: Program;
  private readonly receivers = new Set<(event: ProgramEvent) => void>();

  constructor(program: Program) {
    this.program = program;
  }

  status(): ProgramStatus {
    return { ...this.program.status(), config: this.configPath };
  }

  subscribe(receive: (event: ProgramEvent) => void): () => void {
    this.receivers.add(receive);
    return () => this.receivers.delete(receive);
  }

  get receiverCount(): number {
    return this.receivers.size;
  }

  emit(event: Partial<ProgramEvent>): void {
    const whole = { at: Date.now(), kind: "mode", listener: "main", destination: "", message: "" };
    for (const receive of this.receivers) receive({ ...whole, ...event });
  }

  connections(query: Parameters<Steering["connections"]>[0]): ReturnType<Steering["connections"]> {
    this.calls.push(["connections", query]);
    const from = query.after === "" ? 0 : Number(query.after);
    const wanted = this.connectionList.filter(
      (each) =>
        (query.destination === "" || each.destination === query.destination) &&
        each.ageMs >= query.ageMsMin,
    );
    const end = from + query.countMax;
    const next = end < wanted.length ? String(end) : "";
    return Promise.resolve({ connections: wanted.slice(from, end), next });
  }

  setMode(...given: Parameters<Steering["setMode"]>): void {
    this.calls.push(["setMode", ...given]);
  }

  async set(...given: Parameters<Steering["set"]>): Promise<void> {
    this.calls.push(["set", ...given]);
  }

  add(...given: Parameters<Steering["add"]>): Promise<string> {
    this.calls.push(["add", ...given]);
    return Promise.resolve(given[1].split(",")[0] ?? "");
  }

  async remove(...given: Parameters<Steering["remove"]>): Promise<void> {
    this.calls.push(["remove", ...given]);
  }

  async kill(id: string): Promise<void> {
    this.calls.push(["kill", id]);
  }

  rebalance(...given: Parameters<Steering["rebalance"]>): Promise<number> {
    this.calls.push(["rebalance", ...given]);
    return Promise.resolve(given[1] - 1);
  }

  reload(by: string): ReturnType<Steering["reload"]> {
    this.calls.push(["reload", by]);
    return this.outcome(by);
  }

  plan(): ReturnType<Steering["plan"]> {
    return this.outcome("plan");
  }

  persist(): Promise<string> {
    if (this.configPath === "") {
      return Promise.reject(new SteeringError("refused", "there is no file to write to"));
    }
    this.calls.push(["persist"]);
    return Promise.resolve(this.configPath);
  }

  drain(): void {
    this.calls.push(["drain"]);
  }

  private outcome(by: string): ReturnType<Steering["plan"]> {
    const changes = ["slots of a: 2, was 1"];
    return Promise.resolve({ at: Date.now(), by, changes, kept: [], fault: "" });
  }
}
