// A process among those before and after it: it takes over from one, is told of to the service manager, and hands over
// to the next. The one place where inheriting, notifying and upgrading meet.
import { info, warning } from "./control/log.ts";
import { inherited, type Environment, type Inheritance } from "./inherited.ts";
import type { Libc } from "./linux/libc.ts";
import { ServiceManager } from "./service.ts";
import { sayReady, upgrade, type HandedDescriptor, type Upgrade } from "./upgrade.ts";

/** A program as its succession sees it. */
export interface Succeeded {
  readonly addresses: readonly string[];
  readonly descriptors: readonly HandedDescriptor[];
  /** Longest wait for a successor. */
  readonly upgradeMs: number;
  /** Variables that a successor is given. */
  readonly left: Environment;
  /** Fulfils once all of it has answered. */
  answers(): Promise<void>;
  /** A successor accepts: ends when the last that is open here has ended. */
  handOver(): Promise<void>;
}

export class Succession {
  readonly inheritance: Inheritance;
  readonly manager: ServiceManager;
  private readonly c: Libc | null;
  private readonly environment: Environment;
  private readonly command: readonly string[];
  private upgrading: Upgrade | null = null;
  /** Another process accepts in our place. */
  private isOver = false;

  /** @param environment of this process; what concerns it is taken out. */
  constructor(environment: Environment, c: Libc | null, command: readonly string[]) {
    this.c = c;
    this.environment = environment;
    this.command = command;
    this.inheritance = inherited(environment, c, warning);
    this.manager = new ServiceManager(environment, c);
  }

  /** The program serves. @returns when nobody else does in its place. */
  async onServing(program: Succeeded): Promise<void> {
    const rest = this.c === null ? [] : this.inheritance.closeRest(this.c);
    for (const address of rest) {
      warning(`a descriptor that listens on ${address} is given and no listener wants it: closed`);
    }
    if (this.inheritance.hasPredecessor) await sayReady();
    this.inheritance.settle();
    this.manager.ready(statusOf(program), () => program.answers());
  }

  /**
   * Starts a successor.
   * @param onOver gets the end of what is left here, at once when the successor serves.
   */
  async upgrade(program: Succeeded, onOver: (ended: Promise<void>) => void): Promise<void> {
    if (this.isOver) return warning("no upgrade: another process has taken over already");
    if (this.upgrading !== null) return warning("no upgrade: one is under way");
    if (!this.inheritance.isSettled) return warning("no upgrade: the one before is under way");
    info(`upgrade: starting ${this.command.join(" ")}`);
    this.upgrading = upgrade({
      descriptors: program.descriptors,
      command: this.command,
      environment: { ...this.environment, ...program.left, ...this.manager.variables },
      timeoutMs: program.upgradeMs,
      onReady: ({ pid, letGo, ended }) => {
        this.isOver = true;
        info(`upgrade: process ${pid} serves from now on`);
        onOver(program.handOver());
        this.manager.handTo(pid, statusOf(program));
        letGo();
        void ended.then((end) => {
          if (end !== "") warning(`process ${pid}, which took over, has ended ${end}`);
        });
      },
    });
    const fault = await this.upgrading.fault;
    this.upgrading = null;
    if (fault !== null) warning(`no upgrade, nothing has changed: ${fault}`);
  }

  /** The program is to end. @returns when no successor is left that nobody waits for. */
  async stop(): Promise<void> {
    this.manager.stopping("accepts no more; what is open goes on");
    this.upgrading?.cancel("this process was told to end", false);
    await this.upgrading?.fault;
  }

  /** The program ends now. */
  kill(): void {
    this.upgrading?.cancel("this process has ended", true);
  }
}

function statusOf({ addresses }: Succeeded): string {
  return `listening on ${addresses.join(", ")}`;
}
