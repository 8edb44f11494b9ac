// What tests of a running balancer's changes say and ask.
import type { Change } from "../../src/balancer.ts";
import type { GivenOptions } from "../../src/control/options.ts";
import { client, until, type Peer } from "../net.ts";
import type { InProcess } from "./ways.ts";

/** Runs by the same options, but for these. */
export function change(
  { balancer }: InProcess,
  to: Partial<GivenOptions>,
): Promise<readonly Change[]> {
  return balancer.apply({ ...balancer.options, ...to });
}

export function texts(changes: readonly Change[]): string[] {
  return changes.map(({ what, from, to, pairs, kept }) => {
    return `${what}: ${from} -> ${to}, ${pairs} pairs${kept ? ", kept" : ""}`;
  });
}

/** `a ready 1/2`: name, mode, slots in use and all of them. */
export function rowsOf(balancer: InProcess): string[] {
  return balancer.status().destinations.map((d) => `${d.name} ${d.mode} ${d.used}/${d.slots}`);
}

export async function echo(peer: Peer, word: string): Promise<void> {
  const expected = peer.text + word;
  peer.send(word);
  await until(() => peer.text === expected, `the echo of ${word}`);
}

/** What a server says to a client that ends at once. */
export async function ask(port: number): Promise<string> {
  using peer = await client(port);
  peer.finish();
  await until(() => peer.over, "the answer");
  return peer.text;
}
