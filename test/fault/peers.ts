// What the cases share: clients that ask and are answered, and a destination that can be stopped and killed.

import { join } from "node:path";
import { client, serve, until, type Peer, type Server } from "../net.ts";
import type { Network } from "./network.ts";

/** On a machine that is busy with other things. */
export const longMs = 30_000;

/** A client inside that network. */
export function clientIn(net: Network, ...args: Parameters<typeof client>): Promise<Peer> {
  const [place, options] = args;
  return net.within(() => client(place, { from: "127.0.0.1", ...options }));
}

/** A client that says its words, ends, and hears the other side to its end. */
export async function ask(port: number, words: string, net?: Network): Promise<Peer> {
  using peer = await (net === undefined ? client(port) : clientIn(net, port));
  peer.send(words);
  peer.finish();
  await until(() => peer.over, `the answer to ${words}`, longMs);
  return peer;
}

/** As many, one after the other, some at once. @returns what each of them has heard. */
export async function askMany(
  port: number,
  all: readonly string[],
  options: { readonly atOnce?: number; readonly net?: Network } = {},
): Promise<string[]> {
  const answers: string[] = [];
  let next = 0;
  const askOn = async () => {
    for (let i = next++; i < all.length; i = next++) {
      const peer = await ask(port, all[i] ?? "", options.net);
      answers[i] = peer.wasReset ? `cut after ${peer.text}` : peer.text;
    }
  };
  await Promise.all(Array.from({ length: options.atOnce ?? 10 }, askOn));
  return answers;
}

/** Waits until this count has stood still for a while. */
export async function untilStill(count: () => number): Promise<void> {
  let last = -1;
  let since = performance.now();
  await until(
    () => {
      const now = count();
      if (now !== last) since = performance.now();
      last = now;
      return now > 0 && performance.now() - since > 500;
    },
    "nothing moves any more",
    longMs,
  );
}

/** "0", "1", … with a word before each. */
export function numbered(count: number, word = ""): string[] {
  return Array.from({ length: count }, (_, i) => `${word}${i}`);
}

export interface Listening extends Server {
  /** What its clients have said, in the order of their first bytes. Who says nothing is no client. */
  readonly heard: readonly string[];
}

/** Hears a client to its end, then answers with its name and what it has heard. */
export function hearer(name: string, place?: string): Listening {
  const speakers: Peer[] = [];
  const server = serve(
    {
      onData: (peer) => void (speakers.includes(peer) || speakers.push(peer)),
      onEnd: (peer) => {
        if (peer.receivedCount > 0) peer.send(`${name} heard ${peer.text}`);
        peer.finish();
      },
    },
    place,
  );
  return {
    ...server,
    get openCount() {
      return server.openCount;
    },
    get heard() {
      return speakers.map((peer) => peer.text);
    },
  };
}

export interface Victim extends Disposable {
  readonly address: string;
  /** SIGSTOP: its kernel goes on accepting, nobody reads. */
  stop(): void;
  continue(): void;
  kill(): void;
}

/** A destination in a process of its own: says its name, then sends a line back and ends. */
export async function victim(name: string, place = "127.0.0.1:0"): Promise<Victim> {
  const command = [process.execPath, join(import.meta.dir, "../e2e/destination.ts"), name, place];
  const child = Bun.spawn(command, { stdio: ["ignore", "pipe", "inherit"] });
  const { value } = await child.stdout.getReader().read();
  const kill = () => child.kill("SIGKILL");
  return {
    address: `127.0.0.1:${Number(new TextDecoder().decode(value))}`,
    stop: () => child.kill("SIGSTOP"),
    continue: () => child.kill("SIGCONT"),
    kill,
    [Symbol.dispose]: kill,
  };
}
