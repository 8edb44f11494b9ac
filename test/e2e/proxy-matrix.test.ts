// The conformance table of the PROXY protocol, sent to a balancer that listens: what is accepted is stripped and its
// client told, what is not is reset and reaches nobody.

import { describe, expect, test } from "bun:test";
import { echoServer, until } from "../net.ts";
import { summed, tlv, versionOne, versionTwo, type Vector } from "../wire/proxy-vectors.ts";
import { comer, drip, endedOf, ownOf, trusting, untilOver, prefaceWays } from "./proxied.ts";
import { embed, type InProcess } from "./ways.ts";

const vectors = [...versionOne, ...versionTwo];
/** At once; they come from one address. */
const batchCount = 24;
const payload = "hi";

interface Verdict {
  readonly name: string;
  readonly reason: string;
  readonly client: string;
  readonly fault: string;
  /** What came back: the bytes that the destination was given. */
  readonly echoed: string;
}

async function send(balancer: InProcess, { name, bytes }: Vector, dripped: boolean) {
  using peer = await comer(balancer.port);
  const all = Buffer.concat([bytes, Buffer.from(payload)]);
  if (dripped) await drip(peer, all);
  else peer.send(all);
  await until(() => peer.text.length >= payload.length || peer.wasReset, `an answer to ${name}`);
  peer.finish();
  await untilOver(peer);
  const { reason, client, preface } = await endedOf(balancer, peer);
  const own = client === ownOf(peer) ? "own" : client;
  const verdict = { name, reason, client: own, fault: preface?.fault ?? "", echoed: peer.text };
  return verdict satisfies Verdict;
}

/** What the vector says of itself. */
function expected({ name, answer }: Vector): Verdict {
  if (answer === "local") return { name, reason: "done", client: "own", fault: "", echoed: "hi" };
  if (typeof answer !== "string") {
    return { name, reason: "done", client: answer[0], fault: "", echoed: "hi" };
  }
  return { name, reason: "proxy-header", client: "own", fault: answer, echoed: "" };
}

async function verdictsOf(balancer: InProcess, list: readonly Vector[], dripped: boolean) {
  const verdicts: Verdict[] = [];
  for (let from = 0; from < list.length; from += batchCount) {
    const batch = list.slice(from, from + batchCount);
    verdicts.push(...(await Promise.all(batch.map((each) => send(balancer, each, dripped)))));
  }
  return verdicts;
}

/** Bytes of the longest that is sent one by one; addresses of each family and a checksum are among those. */
const dripSizeMax = 300;

describe.each(prefaceWays)("proxy matrix, %s", (way) => {
  test("proxy matrix: each vector is accepted or reset as it says, whole or byte by byte", async () => {
    using server = echoServer();
    await using balancer = await embed([...trusting, "--refusal-lines", "0", server.address], way);
    expect(await verdictsOf(balancer, vectors, false)).toEqual(vectors.map(expected));
    const short = vectors.filter(({ bytes }) => bytes.length <= dripSizeMax);
    expect(short.length).toBeGreaterThan(100);
    expect(await verdictsOf(balancer, short, true)).toEqual(short.map(expected));
    const all = [...vectors, ...short];
    await balancer.finish(all.length);
    const accepted = all.filter((each) => expected(each).reason === "done");
    expect(server.peers.length).toBe(accepted.length);
  });
});

/** What the specification asks for, by the vectors' names; A: accepted, R: refused. */
const specification: readonly (readonly [outcome: "A" | "R", name: string | RegExp])[] = [
  ["A", /^v2 PROXY TCP[46]$/],
  ["A", /^v2 LOCAL UNSPEC, length 0$/],
  ["A", /^v2 LOCAL TCP4, length (?:0|12)$/],
  ["R", /^v2 unknown (?:family 0x41|transport 0x13)$/],
  ["R", /^v2 command 0x22$/],
  ["R", /^v2 version [13]$/],
  ["R", /^v2 TCP4, length (?:4|11)$/],
  ["R", /^v2 TCP6 with length 12$/],
  ["A", /^v2 TLV NOOP$/],
  ["R", /^v2 wrong CRC32C$/],
  ["A", /^v2 CRC32C$/],
  ["A", "v1 PROXY TCP4 192.168.0.1 192.168.0.11 56324 443"],
  ["A", /^v1 TCP6, longest$/],
  ["A", /^v1 port 0$/],
  ["A", "v1 PROXY UNKNOWN"],
  ["A", /^v1 UNKNOWN, longest legal line/],
  ["R", /^v1 UNKNOWN of 108 bytes$/],
  ["R", /^v1 (?:source )?port 65536$/],
  ["R", /^v1 port 080$/],
  ["R", /^v1 leading zero$/],
  ["R", /^v1 IPv6 addresses in TCP4$/],
  ["R", /^v1 port -1$/],
  ["R", /^v1 two spaces/],
  ["R", /^v1 an extra field$/],
  ["R", /^v1 a missing field$/],
  ["R", /^v1 TCP5$/],
  ["R", /^v1 (?:tcp4|proxy in lower case)$/],
  ["R", /^v1 (?:CR|LF) only$/],
  ["R", /^v1 NUL/],
];

test("proxy matrix: nothing of it is against the specification", async () => {
  using server = echoServer();
  await using balancer = await embed([...trusting, "--refusal-lines", "0", server.address]);
  const summedWrong: Vector = {
    name: "v2 wrong CRC32C",
    bytes: summed(1, tlv(2, "a")),
    answer: "checksum",
  };
  const all = [...vectors, summedWrong];
  const against: string[] = [];
  for (const [outcome, pattern] of specification) {
    const isNamed = ({ name }: Vector) =>
      typeof pattern === "string" ? name === pattern : pattern.test(name);
    const named = all.filter(isNamed);
    if (named.length === 0) throw new Error(`no vector is called ${pattern}`);
    const verdicts = await verdictsOf(balancer, named, false);
    const wanted = outcome === "A" ? "done" : "proxy-header";
    against.push(...verdicts.filter(({ reason }) => reason !== wanted).map(({ name }) => name));
  }
  expect(against).toEqual([]);
});
