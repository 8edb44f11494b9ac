// A check that runs against servers of the test's, on a clock that only the test moves.
import { expect } from "bun:test";
import { questionOf, type Ask } from "../../src/control/answer.ts";
import { Check } from "../../src/control/check.ts";
import type { Outward } from "../../src/core/destination.ts";
import type { DialAddress, Engine } from "../../src/core/engine.ts";
import { Sweep } from "../../src/core/sweep.ts";
import { BunEngine } from "../../src/engine/bun.ts";
import { libc, type Libc } from "../../src/linux/libc.ts";
import { serve, until, type Peer, type Server } from "../net.ts";
import { SteppedLoop } from "./stepped.ts";

export const nothing: Ask = { send: null, expect: null, http: null, host: "example" };
export const bytes = (text: string) => new TextEncoder().encode(text);

export interface Asked extends Partial<Ask> {
  readonly timeoutMs?: number;
  readonly addressFirst?: number;
  readonly outward?: Outward;
}

/** A check that has been started. Its timeout is an hour unless the test is about that. */
export class Run implements Disposable {
  readonly loop = new SteppedLoop();
  readonly sweep = new Sweep(this.loop);
  /** "passed", "failed ECONNREFUSED", "over". */
  readonly told: string[] = [];
  readonly check: Check;

  constructor(engine: Engine, addresses: readonly DialAddress[], asked: Asked = {}) {
    const { timeoutMs = 3_600_000, addressFirst = 0, outward = null } = asked;
    const { loop, sweep, told } = this;
    this.check = new Check({
      engine,
      loop,
      sweep,
      question: questionOf({ ...nothing, ...asked }),
      outward,
      addresses,
      addressFirst,
      timeoutMs,
      events: {
        onVerdict: (_, verdict, cause) => told.push(`${verdict} ${cause}`.trim()),
        onOver: () => told.push("over"),
      },
    });
    this.check.start();
  }

  /** Waits for the verdict; moves the clock by less than the timeout where `graceMs` has to pass. */
  async verdict(graceMs = 10): Promise<string | undefined> {
    await until(() => {
      if (this.told.length === 0) this.loop.advance(graceMs);
      return this.told.length > 0;
    }, "a verdict");
    return this.told[0];
  }

  async over(): Promise<void> {
    await until(() => this.told.at(-1) === "over", `the end after ${this.told.join(", ")}`);
    expect(this.told.length).toBe(2);
  }

  [Symbol.dispose](): void {
    this.check.abort();
    this.sweep.close();
  }
}

function realEngine(c: Libc | null): BunEngine {
  return new BunEngine(c, (error) => {
    throw error;
  });
}

function target(address: string): { ip: string; port: number } | { path: string } {
  if (address.startsWith("unix:")) return { path: address.slice(5) };
  const colon = address.lastIndexOf(":");
  return { ip: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
}

export function real(places: readonly string[], asked?: Asked, c: Libc | null = libc): Run {
  const engine = realEngine(c);
  return new Run(
    engine,
    places.map((place) => engine.address(target(place))),
    asked,
  );
}

/** The one connection a server has had; by its FIN, never by a reset. */
export async function politely(peers: readonly Peer[]): Promise<void> {
  await until(() => peers[0]?.closed, "the server's side is closed");
  expect(peers.map((peer) => [peer.ended, peer.wasReset])).toEqual([[true, false]]);
}

/** A server that does so when it has been asked. */
export function answering(answer: (peer: Peer) => void): Server {
  let isAsked = false;
  return serve({
    onData: (peer) => {
      if (isAsked) return;
      isAsked = true;
      answer(peer);
    },
    onEnd: (peer) => peer.finish(),
  });
}
