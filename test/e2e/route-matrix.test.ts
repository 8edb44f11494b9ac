// The table of ClientHellos, sent to a balancer that listens: each goes where it should, in whatever pieces it comes,
// and its bytes arrive as they were.

import { describe, expect, test } from "bun:test";
import { until } from "../net.ts";
import { matrix, type Vector } from "../wire/hello-matrix.ts";
import { comer, drip, endedOf, prefaceWays } from "./proxied.ts";
import { tagged } from "./routed.ts";
import { embed, type InProcess } from "./ways.ts";

/** At once. */
const batchCount = 24;
const dripSizeMax = 700;
const prefaceMs = 400;
const args = ["--preface-timeout", `${prefaceMs}ms`, "--refusal-lines", "0"];

interface Verdict {
  readonly name: string;
  readonly outcome: "A" | "D" | "close" | "wait";
}

async function send(balancer: InProcess, { name, bytes }: Vector, dripped: boolean) {
  using peer = await comer(balancer.port);
  if (dripped) await drip(peer, bytes);
  else peer.send(bytes);
  await until(() => peer.text !== "" || peer.over, `an answer to ${name}`);
  const { text } = peer;
  peer.finish();
  await until(() => peer.over, `the end of ${name}`);
  const { reason, bytesUp } = await endedOf(balancer, peer);
  if (reason === "done") expect({ name, bytesUp }).toEqual({ name, bytesUp: bytes.length });
  const outcome = text !== "" ? text : reason === "preface-timeout" ? "wait" : `close: ${reason}`;
  return { name, outcome: outcome as Verdict["outcome"] }; // of the tags; any other is none that is sensible
}

async function misroutes(balancer: InProcess, list: readonly Vector[], dripped: boolean) {
  const wrong: string[] = [];
  for (let from = 0; from < list.length; from += batchCount) {
    const batch = list.slice(from, from + batchCount);
    const verdicts = await Promise.all(batch.map((each) => send(balancer, each, dripped)));
    verdicts.forEach(({ name, outcome }, index) => {
      if (batch[index]?.sensible.includes(outcome) !== true) wrong.push(`${name}: ${outcome}`);
    });
  }
  return wrong;
}

describe.each(prefaceWays)("route matrix, %s", (way) => {
  test("route matrix: no hello goes astray, in one piece or byte by byte", async () => {
    using a = tagged("A");
    using d = tagged("D");
    await using balancer = await embed([...args, `${a.address},sni=a.example`, d.address], way);
    using slow = await comer(balancer.port);
    const plain = matrix.find(({ name }) => name === "plain")?.bytes ?? Buffer.alloc(0);
    const dripping = drip(slow, plain, 50); // as a whole it would take seven seconds
    expect(await misroutes(balancer, matrix, false)).toEqual([]);
    await dripping;
    expect(slow.wasReset).toBeTrue();
    const { reason, totalMs } = await endedOf(balancer, slow);
    expect(reason).toBe("preface-timeout");
    expect(totalMs).toBeLessThan(prefaceMs + 2_000);
    const short = matrix.filter(
      ({ bytes, sensible }) => bytes.length <= dripSizeMax && !sensible.includes("wait"),
    );
    expect(short.length).toBeGreaterThan(40);
    await balancer.finish(matrix.length + 1);
    const places = [`${a.address},sni=a.example`, d.address];
    await using patient = await embed(["--preface-timeout", "1m", ...places], way);
    expect(await misroutes(patient, short, true)).toEqual([]);
    await patient.finish(short.length);
    // What has arrived is what was sent, byte by byte.
    const sent = new Set(matrix.map(({ bytes }) => Buffer.from(bytes).toString("hex")));
    const received = [...a.peers, ...d.peers].map((peer) => peer.received.toString("hex"));
    expect(received.filter((bytes) => !sent.has(bytes))).toEqual([]);
  });
});
