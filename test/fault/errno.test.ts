// System calls that fail, one in so many, by strace: back off, count, go on. In truth the kernel seldom gives these
// errors to just these calls; what is shown is that none of them ends the balancer or lets a cut pass for an end.

import { expect } from "bun:test";
import { CLI } from "../net.ts";
import { pathOf } from "../e2e/program.ts";
import { fault, sized, type Lab, type Subject } from "./lab.ts";
import { ask, crowd, fateOf, sourceOf, teller, toldBy, type Fate } from "./load.ts";

const noStrace: string | null = (() => {
  if (Bun.which("strace") === null) return "strace is not installed (apt-get install strace)";
  const { exitCode } = Bun.spawnSync(["strace", "-f", "-qq", "-o", "/dev/null", "true"]);
  return exitCode === 0 ? null : "strace may not trace here";
})();

type Code = "ENFILE" | "ENOBUFS" | "ENOMEM" | "ECONNABORTED" | "EINTR" | "EPERM";
const all: readonly Code[] = ["ENFILE", "ENOBUFS", "ENOMEM", "ECONNABORTED", "EINTR", "EPERM"];
const few: readonly Code[] = ["ENOMEM", "EINTR"];
const ours: ReadonlySet<Code> = new Set(["ENFILE", "ENOBUFS", "ENOMEM"]);

/** Makes such calls fail: the first, and how many after it the next one. */
function failing(calls: string, code: Code, when: string): readonly string[] {
  const inject = `inject=${calls}:error=${code}:when=${when}`;
  // -D: the balancer keeps the place of the child, and its number.
  const tracing = ["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", `trace=${calls}`];
  const command = [pathOf("strace"), ...tracing, "-e", inject, process.execPath, CLI];
  // Its stderr is no socket, so that what it says is not sent by the calls that fail.
  return ["bash", "-c", 'exec "$@" 2> >(exec cat >&2)', "bash", ...command];
}

const askCount = sized(48, 24);

/** Asks it so often and counts what came of it. */
async function fatesOf(balancer: Subject): Promise<Record<Fate, number>> {
  const fates: Record<Fate, number> = { served: 0, cut: 0, truncated: 0 };
  await crowd(askCount, 16, async (n) => {
    fates[fateOf(await ask(balancer.port, `ask ${n}`, { from: sourceOf(n) }), `ask ${n}`)] += 1;
  });
  return fates;
}

/** A balancer for each of these errors, and clients that ask. */
async function eachOf(
  lab: Lab,
  codes: readonly Code[],
  [calls, when]: readonly [string, string],
  check: (balancer: Subject, fates: Record<Fate, number>, code: Code) => Promise<void>,
): Promise<void> {
  await crowd(codes.length, 3, async (n) => {
    const code = codes[n] ?? "EINTR";
    using server = teller();
    const balancer = await lab.start([server.address], { command: failing(calls, code, when) });
    try {
      await check(balancer, await fatesOf(balancer), code);
    } catch (error) {
      console.error(`with ${code} from ${calls}`);
      throw error;
    }
  });
}

const options = { skip: noStrace, timeoutMs: 120_000 };
const allServed = { served: askCount, cut: 0, truncated: 0 };
/** Cuts and ends make different waits. */
const codesOf = () => (sized(1, 0) === 1 ? all : few);

fault(
  17,
  "accept4 fails now and then: every client is served all the same",
  async (lab) => {
    await eachOf(lab, codesOf(), ["accept4", "1+3"], async (balancer, fates) => {
      expect(fates).toEqual(allServed);
      expect(toldBy(balancer)).toEqual([]);
      await balancer.finish(askCount);
    });
  },
  options,
);

fault(
  17,
  "connect fails now and then: another attempt serves the client, who is not to blame is not out",
  async (lab) => {
    await eachOf(lab, codesOf(), ["connect", "3+5"], async (balancer, fates, code) => {
      expect(fates).toEqual(allServed);
      const { localFaults, destinations } = await balancer.status();
      const failures = destinations[0]?.failures ?? 0;
      const blamed = code === "ECONNABORTED" || code === "EPERM";
      expect({ code, ours: localFaults > 0, theirs: failures > 0 }).toEqual({
        code,
        ours: ours.has(code),
        theirs: blamed,
      });
      // Three threads may meet three failures in a row, for which a destination may go out; ours are no failures.
      if (!blamed) {
        expect(destinations[0]?.outCount).toBe(0);
        const words = `error: cannot dial, and no destination is to blame: ${code}`;
        expect(toldBy(balancer)).toEqual(ours.has(code) ? [words] : []);
      }
      const ended = await balancer.finish(askCount);
      expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
    });
  },
  options,
);

fault(
  17,
  "an interrupted wait, read or write costs no connection",
  async (lab) => {
    const calls = ["sendto", "recvfrom", "epoll_wait,epoll_pwait,epoll_pwait2"];
    await crowd(calls.length, 3, async (n) => {
      await eachOf(lab, ["EINTR"], [calls[n] ?? "", "20+3"], async (balancer, fates) => {
        expect(fates).toEqual(allServed);
        expect(toldBy(balancer)).toEqual([]);
        const ended = await balancer.finish(askCount);
        expect(new Set(ended.map((each) => each.reason))).toEqual(new Set(["done"]));
      });
    });
  },
  options,
);

fault(
  17,
  "a read or a write fails: served in full, or cut for both sides to see",
  async (lab) => {
    const codes = codesOf().filter((code) => code !== "EINTR");
    const check = async (balancer: Subject, fates: Record<Fate, number>) => {
      expect(fates.truncated).toBe(0);
      expect(fates.served).toBeGreaterThan(0);
      const ended = await balancer.finish();
      // Who was served in full may still have been lost at its end.
      const reasons = new Set(["done", "client-reset", "destination-reset", "client-left"]);
      expect(ended.filter((each) => !reasons.has(each.reason))).toEqual([]);
    };
    await eachOf(lab, codes, ["sendto", "20+5"], check);
    // Threads of the Bun engine are woken by a socket, which such an error would end.
    if (lab.way !== "three threads") await eachOf(lab, codes, ["recvfrom", "20+5"], check);
  },
  options,
);
