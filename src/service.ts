// What a service manager (systemd, `Type=notify`) is told: ready, reloading, stopping, alive, and who is in charge.
// Without one it is silent. Source: sd_notify(3), sd_watchdog_enabled(3).
import type { Environment } from "./inherited.ts";
import { monotonicUs, type Libc } from "./linux/libc.ts";
import { notify } from "./linux/notify.ts";

/** Below that, a watchdog would cost more than it watches. */
const watchdogMsMin = 20;

export class ServiceManager {
  private readonly c: Libc | null;
  /** Where it listens; null = there is none, or another process is in charge. */
  private path: string | null;
  /** From one sign of life to the next; 0 = none are wanted. */
  private readonly aliveMs: number;
  private readonly watchdogUs: string;
  private timer: ReturnType<typeof setInterval> | null = null;
  private isReady = false;

  /** Takes what concerns it out of the environment. */
  constructor(environment: Environment, c: Libc | null) {
    this.c = c;
    const path = environment["NOTIFY_SOCKET"] ?? "";
    const us = environment["WATCHDOG_USEC"] ?? "";
    const pid = environment["WATCHDOG_PID"] ?? "";
    delete environment["NOTIFY_SOCKET"];
    delete environment["WATCHDOG_USEC"];
    delete environment["WATCHDOG_PID"];
    this.path = path.startsWith("/") || path.startsWith("@") ? path : null;
    const isWatched = /^[0-9]+$/.test(us) && (pid === "" || pid === String(process.pid));
    this.watchdogUs = isWatched && this.path !== null ? us : "";
    // Half the time, so that one that is late is not the end.
    this.aliveMs =
      Number(this.watchdogUs) > 0
        ? Math.max(watchdogMsMin, Math.floor(Number(this.watchdogUs) / 2_000))
        : 0;
  }

  /** What a successor needs to find the same manager. */
  get variables(): Environment {
    if (this.path === null) return {};
    const watched = this.watchdogUs === "" ? {} : { WATCHDOG_USEC: this.watchdogUs };
    return { NOTIFY_SOCKET: this.path, ...watched };
  }

  /**
   * It serves.
   * @param answers fulfils once the whole program has answered: a sign of life is sent for each that does.
   */
  ready(status: string, answers: () => Promise<void>): void {
    this.isReady = true;
    this.tell("READY=1", `STATUS=${status}`);
    if (this.aliveMs === 0 || this.path === null) return;
    const beat = () =>
      void answers().then(
        () => this.tell("WATCHDOG=1"),
        () => {}, // threads that stand still answer no more questions
      );
    this.timer ??= setInterval(beat, this.aliveMs);
    beat();
  }

  /** It reads its configuration anew; `reloaded` follows, whatever has come of it. */
  reloading(): void {
    if (this.c !== null) this.tell("RELOADING=1", `MONOTONIC_USEC=${monotonicUs(this.c)}`);
  }

  reloaded(status: string): void {
    this.tell("READY=1", `STATUS=${status}`);
  }

  /** It accepts no more. */
  stopping(status: string): void {
    this.tell("STOPPING=1", `STATUS=${status}`);
  }

  /** Another process is in charge; from now on the manager hears of it, and no more of us. */
  handTo(pid: number, status: string): void {
    this.close();
    if (this.isReady) this.tell(`MAINPID=${pid}`, "READY=1", `STATUS=${status}`);
    this.path = null;
  }

  /** No more signs of life. */
  close(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  private tell(...lines: readonly string[]): void {
    if (this.c !== null && this.path !== null) notify(this.c, this.path, lines);
  }
}
