// The start of a connection under attack: what is said late, by the wrong one, or by one that has gone.

import { describe, expect, test } from "bun:test";
import { balance } from "../../src/balancer.ts";
import type { AccessRecord } from "../../src/control/access-log.ts";
import { parseOptions } from "../../src/control/options.ts";
import { certs, opensslMissing } from "../certs.ts";
import { blackhole, client, sink, tagServer, unixPlace, until } from "../net.ts";
import { libc, rawConnect } from "../raw.ts";
import { hello, sni } from "../wire/hellos.ts";
import { change } from "./steering.ts";
import { embed, portably, waysInProcess } from "./ways.ts";

const ways = waysInProcess.filter((way) => way !== portably);

describe.each(ways)("preface under attack, %s", (way) => {
  test("routes: who says its name after its route has gone is not served by the one that took its place", async () => {
    using first = tagServer("first");
    using second = tagServer("second");
    using other = tagServer("other");
    const base = `${other.address},name=other,sni=other.example`;
    const old = `${first.address},name=old,sni=old.example`;
    const young = `${second.address},name=young,sni=young.example`;
    await using balancer = await embed([base, old], way);
    using slow = await client(balancer.port);
    await until(() => balancer.status().open === 1, "accepted");
    await change(balancer, { destinations: [base] });
    await until(() => balancer.status().destinations.length === 1, "the old one has left");
    await change(balancer, { destinations: [base, young] });
    slow.send(hello([sni("old.example")]));
    await until(() => slow.over, "its end");
    expect(slow.text).toBe("");
    const [ended] = await balancer.finish(1);
    expect(ended?.reason).toBe("no-route");
  });

  test("PROXY: a header from who is gone when it is accepted, and may not send one, is not believed", async () => {
    using server = sink();
    const rules = ["--proxy-in", "v1", "--proxy-from", "192.0.2.1"];
    await using balancer = await embed([...rules, server.address], way);
    for (let n = 0; n < 20; n += 1)
      sendAndReset(balancer.port, "PROXY TCP4 198.51.100.7 192.0.2.1 1 2\r\nhello");
    const ended = await balancer.finish(20);
    expect(ended.filter(({ client }) => client.startsWith("198.51.100.7"))).toEqual([]);
  });

  test("rules: who is denied has no byte of it passed on by being gone when it is accepted", async () => {
    using server = sink();
    await using balancer = await embed(["--deny", "127.0.0.0/8", server.address], way);
    for (let n = 0; n < 20; n += 1) sendAndReset(balancer.port, "hello");
    const ended = await balancer.finish(20);
    expect(new Set(ended.map(({ bytesUp }) => bytesUp))).toEqual(new Set([0]));
    expect(server.peers).toEqual([]);
  });

  test("routes: who is dialed while its route goes does not wait there when that fails", async () => {
    using other = tagServer("other");
    using hole = blackhole();
    const base = `${other.address},name=other,sni=other.example`;
    const old = `127.0.0.1:${hole.port},name=old,sni=old.example`;
    const timeouts = ["--connect-timeout", "300ms", "--queue-timeout", "60s"];
    await using balancer = await embed([...timeouts, base, old], way);
    using slow = await client(balancer.port);
    slow.send(hello([sni("old.example")]));
    await until(() => balancer.status().destinations.some(({ used }) => used === 1), "its dial");
    await change(balancer, { destinations: [base] });
    await until(() => slow.over, "its end");
    const [ended] = await balancer.finish(1);
    expect(ended?.reason).toBe("no-route");
  });
});

test.each(["bun", "libc"])(
  "PROXY: who comes by a unix socket is believed, over the %s engine",
  async (engine) => {
    using server = sink();
    const place = unixPlace();
    const rules = ["--engine", engine, "--proxy-in", "v1", "--proxy-from", "192.0.2.1"];
    const ended: AccessRecord[] = [];
    const options = parseOptions([...rules, "--health-interval", "0", place, server.address]);
    const balancer = await balance(options, { access: (record) => void ended.push(record) });
    using peer = await client(place);
    peer.send("PROXY TCP4 198.51.100.7 192.0.2.1 1 2\r\nhello");
    peer.finish();
    await until(() => ended.length === 1, "its end");
    await balancer.stop();
    expect(ended[0]).toMatchObject({ client: "198.51.100.7:1", bytesUp: 5, reason: "done" });
    expect(ended[0]?.preface?.via).toBe("unix:");
  },
);

/** All of it is with the kernel before anybody can look: the words, and a reset behind them. */
function sendAndReset(port: number, words: string): void {
  const c = libc();
  const fd = rawConnect(port, "127.0.0.1:0");
  const bytes = Buffer.from(words);
  c.send(fd, bytes, bytes.length, 0);
  c.setsockopt(fd, 1, 13, new Int32Array([1, 0]), 8); // SO_LINGER of 0 s
  c.close(fd);
}

const testTls = opensslMissing === null ? test : test.skip;
if (opensslMissing !== null) console.log(`skipped: TLS and engines, for ${opensslMissing}`);

testTls("TLS: a change to it is refused while the engine that runs speaks none", async () => {
  using server = sink();
  await using balancer = await embed(["--engine", "libc", server.address]);
  const { certFile, keyFile } = certs().server;
  const own = { tlsCert: [certFile], tlsKey: [keyFile] };
  const outward = `${server.address},tls,tls-name=a.example,tls-ca=${certs().ca.certFile}`;
  for (const wanted of [own, { destinations: [outward] }]) {
    const refusal = change(balancer, { ...wanted, engine: "bun" });
    expect(refusal).rejects.toThrow(
      "--engine: TLS takes the bun engine, and this process runs by libc",
    );
    await refusal.catch(() => {});
  }
  using peer = await client(balancer.port);
  peer.send("in plain, as before");
  await until(() => server.peers[0]?.receivedCount === 19, "it serves");
  peer.finish();
  await balancer.finish(1);
});
