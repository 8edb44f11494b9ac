// From the start of a program to its end: signals, the access log, and how a process ends. Origin: IAWLB §3, §19.
import { type Hooks, ListenError } from "./balancer.ts";
import { AccessLog } from "./control/access-log.ts";
import { failure, info, printMistakes, tell, warning } from "./control/log.ts";
import { OptionsError } from "./control/mistake.ts";
import type { AccessLogFormat } from "./control/settings.ts";
import type { Succeeded, Succession } from "./succession.ts";

const stdoutFd = 1;
/** Under `bun run` one Ctrl-C comes twice: from the terminal, and passed on. So soon a second one is the same. */
const signalEchoMs = 100;
/** A second signal waits no longer than this for the access lines of what it cuts. */
const lastLinesMs = 100;
const signalNumbers = { SIGINT: 2, SIGTERM: 15 } as const;

/** What lives between the signals. */
export interface Life {
  /** What may come once clients are served. @throws OptionsError, ListenError: then it ends. */
  begin(): Promise<void>;
  /** null = it cannot be succeeded. */
  readonly succeeded: Succeeded | null;
  /** SIGHUP. */
  reload(): void;
  /** Ends in order. */
  drain(): Promise<void>;
  /** Ends now. */
  stop(): Promise<void>;
  /** What SIGUSR1 prints. */
  status(): unknown;
}

/** What a life is given. */
export interface World {
  readonly access: Hooks["access"];
  /** Ends it in order, as SIGTERM does. */
  end(): void;
}

/** Starts a life; the first SIGTERM or SIGINT ends it in order, the second, or one before it runs, at once. */
export async function live(
  format: AccessLogFormat,
  succession: Succession | null,
  start: (world: World) => Promise<Life>,
): Promise<void> {
  const log = format === "off" ? null : new AccessLog(stdoutFd, format, warning);
  if (succession?.inheritance.hasPredecessor === true) log?.share();
  let life: Life | null = null;
  let drainingSince: number | null = null;
  let ending: Promise<void> | null = null;
  const endAfter = (ended: Promise<unknown>): void => void (ending ??= exitAfter(ended, log));
  const onSignal = (signal: keyof typeof signalNumbers): void => {
    const now = performance.now();
    if (drainingSince !== null && now - drainingSince < signalEchoMs) return;
    if (life === null || drainingSince !== null) {
      process.exitCode = 128 + signalNumbers[signal];
      succession?.kill();
      return endNow(process.exitCode, log, life?.stop());
    }
    drainingSince = now;
    endAfter(Promise.all([life.drain(), succession?.stop()]));
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  process.on("SIGHUP", () => {
    if (life === null || drainingSince !== null) info("SIGHUP is ignored: it does not serve");
    else life.reload();
  });
  process.on("SIGUSR2", () => {
    const succeeded = life?.succeeded ?? null;
    if (succession === null || succeeded === null || drainingSince !== null) {
      return warning("no upgrade: this process does not serve, or is a demo");
    }
    log?.share();
    void succession.upgrade(succeeded, endAfter);
  });
  process.on("SIGUSR1", () => {
    if (life !== null) tell(`status: ${JSON.stringify(life.status())}`);
  });
  try {
    const access = log === null ? undefined : log.push.bind(log);
    life = await start({ access, end: () => drainingSince === null && onSignal("SIGTERM") });
    await life.begin();
    if (life.succeeded !== null) await succession?.onServing(life.succeeded);
  } catch (error) {
    if (!(error instanceof OptionsError) && !(error instanceof ListenError)) throw error;
    if (error instanceof OptionsError) printMistakes(error.mistakes);
    else failure(error.message);
    process.exitCode = error instanceof OptionsError ? 2 : 1;
    if (life !== null) endNow(process.exitCode, log, life.stop());
  }
}

/** Ends once the lines of what was cut are out, or could not be in time. */
function endNow(code: number, log: AccessLog | null, stopped?: Promise<void>): void {
  const end = () => process.exit(code);
  setTimeout(end, lastLinesMs);
  void Promise.resolve(stopped)
    .then(() => log?.close())
    .then(end);
}

async function exitAfter(ended: Promise<unknown>, log: AccessLog | null): Promise<void> {
  await ended;
  if (process.exitCode !== undefined) return; // a second signal is ending it
  await log?.close();
  if (log !== null && log.dropped > 0) warning(`${log.dropped} access lines were not written`);
  process.exit(0);
}
