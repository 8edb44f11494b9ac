// A program for the tests of the admin side: a running balancer, and a record of what was asked of it.

import { balance, type Balancer } from "../../src/balancer.ts";
import { openAdmin, type Admin, type AdminOptions } from "../../src/admin/server.ts";
import {
  SteeringError,
  type Connection,
  type DestinationRef,
  type Mode,
  type ProgramEvent,
  type ProgramStatus,
  type Steering,
} from "../../src/control/steering.ts";
import { echoServer, unixPlace, type Server } from "../net.ts";

export interface Scene extends AsyncDisposable {
  readonly steering: RecordedSteering;
  readonly balancer: Balancer;
  readonly servers: readonly Server[];
  readonly admin: Admin;
  /** Asks the admin side over its unix socket. */
  ask(method: string, path: string, options?: AskOptions): Promise<Response>;
}

interface AskOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What it says is true of the balancer; what it is asked to change it writes down, but for modes, which it keeps. */
class RecordedSteering implements Steering {
  readonly calls: unknown[][] = [];
  readonly modes = new Map<string, Mode>();
  state: ProgramStatus["state"] = "running";
  /** Open connections, as a test wants them. */
  connectionList: Connection[] = [];
  /** What a reload says; "" = it went well. */
  reloadFault = "";
  configPath = "";
  private readonly balancer: Balancer;
  private readonly startedAt = Date.now();
  private readonly receivers = new Set<(event: ProgramEvent) => void>();

  constructor(balancer: Balancer) {
    this.balancer = balancer;
  }

  status(): ProgramStatus {
    const status = this.balancer.status();
    const destinations = status.destinations.map((each) => ({
      ...each,
      mode: this.modes.get(each.name) ?? ("ready" as const),
    }));
    return {
      version: "0.0.0-test",
      pid: process.pid,
      startedAt: this.startedAt,
      uptimeMs: Date.now() - this.startedAt,
      state: this.state,
      config: this.configPath,
      reload: null,
      listeners: [{ ...status, name: "main", destinations }],
    };
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

  setMode(at: DestinationRef, mode: Mode): void {
    this.find(at);
    this.calls.push(["setMode", at, mode]);
    this.modes.set(at.destination, mode);
    this.emit({ destination: at.destination, message: `${at.destination}: ${mode}` });
  }

  async set(...given: Parameters<Steering["set"]>): Promise<void> {
    this.find(given[0]);
    this.calls.push(["set", ...given]);
  }

  add(...given: Parameters<Steering["add"]>): Promise<string> {
    this.calls.push(["add", ...given]);
    return Promise.resolve(given[1].split(",")[0] ?? "");
  }

  async remove(at: DestinationRef): Promise<void> {
    this.find(at);
    this.calls.push(["remove", at]);
  }

  kill(id: string): Promise<void> {
    this.calls.push(["kill", id]);
    return Promise.resolve();
  }

  rebalance(...given: Parameters<Steering["rebalance"]>): Promise<number> {
    this.find(given[0]);
    this.calls.push(["rebalance", ...given]);
    return Promise.resolve(given[1] - 1);
  }

  reload(by: string): ReturnType<Steering["reload"]> {
    this.calls.push(["reload", by]);
    return Promise.resolve(this.outcome(by));
  }

  plan(): ReturnType<Steering["plan"]> {
    return Promise.resolve(this.outcome("api"));
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
    this.state = "draining";
  }

  private outcome(by: string) {
    const changes = this.reloadFault === "" ? ["slots of a: 2, was 1"] : [];
    return { at: Date.now(), by, changes, kept: [], fault: this.reloadFault };
  }

  private find({ listener, destination }: DestinationRef): void {
    if (destination === "twice" && listener === "") {
      throw new SteeringError("ambiguous", "twice: several listeners have one");
    }
    const known = this.balancer.status().destinations.map(({ name }) => name);
    if (listener !== "" && listener !== "main") {
      throw new SteeringError("unknown", `${listener}: no such listener; there is main`);
    }
    if (known.includes(destination)) return;
    throw new SteeringError("unknown", `${destination}: unknown; known are ${known.join(", ")}`);
  }
}

/** A balancer before two echo servers, `a` and `b/2`, with its admin side on a unix socket and at 127.0.0.1. */
export async function scene(
  options: Partial<AdminOptions> & { readonly places?: readonly string[] } = {},
): Promise<Scene> {
  const servers = [echoServer(), echoServer()];
  const [first, second] = servers.map(({ port }) => `127.0.0.1:${port}`);
  const balancer = await balance({
    listen: "127.0.0.1:0",
    destinations: [`${first},name=a,slots=4`, `${second},name=b/2`],
    healthMs: 0,
  });
  const steering = new RecordedSteering(balancer);
  const { places = [unixPlace(), "127.0.0.1:0"], ...rest } = options;
  const admin = await openAdmin(steering, places, { token: null, log: () => {}, ...rest });
  const path = (admin.addresses[0] ?? "").replace("unix:", "");
  return {
    steering,
    balancer,
    servers,
    admin,
    ask: (method, target, { body, headers = {} } = {}) =>
      fetch(`http://localhost${target}`, {
        method,
        unix: path,
        headers: { ...(body === undefined ? {} : jsonType), ...headers },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      }),
    [Symbol.asyncDispose]: async () => {
      await admin.close();
      await balancer.stop();
      for (const server of servers) server[Symbol.dispose]();
    },
  };
}

const jsonType = { "content-type": "application/json" } as const;
