// A running balancer gets other options: destinations come, change and go, settings change; no live pair is touched.

import { describe, expect, test } from "bun:test";
import { OptionsError } from "../../src/control/options.ts";
import { client, echoServer, knock, tagServer, until, type Peer } from "../net.ts";
import { counter } from "./counter.ts";
import { ask, change, echo, rowsOf, texts } from "./steering.ts";
import { embed, endings, waysInProcess } from "./ways.ts";

describe.each(waysInProcess)("live, %s", (way) => {
  test("slots: more of them serve who waits at once; fewer serve nobody before enough are free", async () => {
    using server = counter();
    const a = `${server.address},name=a`;
    await using balancer = await embed(["--slots", "2", a], way);
    const peers: Peer[] = [];
    for (let i = 0; i < 10; i++) {
      peers.push(await client(balancer.port));
      const placed = () => server.serving + balancer.status().queue.waiting;
      await until(() => placed() === i + 1, `client ${i} has its place`);
    }
    const more = await change(balancer, { slots: 5, destinations: [a] });
    expect(texts(more)).toEqual(["slots: 2 -> 5, 10 pairs"]);
    await until(() => server.serving === 5, "five are served");
    expect(rowsOf(balancer)).toEqual(["a ready 5/5"]);
    const fewer = await change(balancer, { destinations: [`${a},slots=1`] });
    expect(texts(fewer)).toEqual(["destination a: slots: 5 -> 1, 5 pairs"]);
    for (let i = 0; i < 10; i++) {
      peers[i]?.finish();
      await until(() => peers[i]?.over, `the answer to ${i}`);
      const left = i < 4 ? 4 - i : i < 9 ? 1 : 0;
      await until(() => server.serving === left, `${left} are served after ${i}`);
      expect(rowsOf(balancer)).toEqual([`a ready ${left}/1`]);
    }
    expect(peers.every((peer) => peer.text === "served ")).toBe(true);
    await balancer.finish(10);
  });

  test("destinations: one that comes serves who waits, one that goes keeps its pairs until they end", async () => {
    using first = echoServer();
    using second = echoServer();
    using third = tagServer("third");
    const [a, b] = [`${first.address},name=a,slots=1`, `${second.address},name=b,slots=1`];
    await using balancer = await embed([a], way);
    using one = await client(balancer.port);
    await echo(one, "of first");
    using two = await client(balancer.port);
    await until(() => balancer.status().queue.waiting === 1, "the second waits");
    expect(texts(await change(balancer, { destinations: [a, b] }))).toEqual([
      `destination b:  -> ${second.address}, 0 pairs`,
    ]);
    await echo(two, "of second");
    const c = `${third.address},name=c`;
    expect(texts(await change(balancer, { destinations: [c, b] }))).toEqual([
      `destination c:  -> ${third.address}, 0 pairs`,
      `destination a: ${first.address} -> , 1 pairs`,
    ]);
    expect(rowsOf(balancer)).toEqual(["c ready 0/0", "b ready 1/1", "a leaving 1/1"]);
    expect(await ask(balancer.port)).toBe("third");
    await echo(one, ", still");
    await echo(two, ", still");
    for (const peer of [one, two]) {
      peer.finish();
      await until(() => peer.over, "its end");
    }
    expect([one.text, two.text]).toEqual(["of first, still", "of second, still"]);
    await until(() => balancer.status().destinations.length === 2, "a has left");
    expect(first.peers.length + second.peers.length).toBe(2);
    const ended = await balancer.finish(3);
    expect(ended.map((each) => each.destination)).toEqual(["a", "b", "c"]);
    expect(ended.map((each) => each.reason)).toEqual(["done", "done", "done"]);
  });

  test("destinations: another address of the same name is another one; one that comes back in time is the same", async () => {
    using old = echoServer();
    using other = tagServer("other");
    const [a, moved] = [`${old.address},name=a,slots=2`, `${other.address},name=a,slots=2`];
    await using balancer = await embed([a], way);
    using one = await client(balancer.port);
    await echo(one, "old");
    expect(texts(await change(balancer, { destinations: [moved] }))).toEqual([
      `destination a: address: ${old.address} -> ${other.address}, 1 pairs`,
    ]);
    expect(rowsOf(balancer)).toEqual(["a ready 0/2", "a leaving 1/2"]);
    expect(await ask(balancer.port)).toBe("other");
    await change(balancer, { destinations: [a] });
    // Its slot is the one that it had: slots are not exceeded by going and coming.
    expect(rowsOf(balancer)).toEqual(["a ready 1/2"]);
    using two = await client(balancer.port);
    await echo(two, "old again");
    expect(rowsOf(balancer)).toEqual(["a ready 2/2"]);
    one.finish();
    two.finish();
    await until(() => one.over && two.over, "their ends");
    const ended = await balancer.finish(3);
    expect(ended.map((each) => each.destination)).toEqual(["a", "a", "a"]);
  });

  test("destinations: one that is given by a name is looked up, and so is the next of that name", async () => {
    using first = tagServer("first");
    using second = tagServer("second");
    using gone = echoServer();
    await using balancer = await embed([`${gone.address},name=a`], way);
    await change(balancer, { destinations: [`localhost:${first.port},name=b`] });
    expect(await ask(balancer.port)).toBe("first");
    await change(balancer, { destinations: [`localhost:${second.port},name=c`] });
    expect(await ask(balancer.port)).toBe("second");
    await change(balancer, {
      destinations: [`localhost:${first.port},name=b`, `no.such.invalid:1`],
    });
    expect(await ask(balancer.port)).toBe("first");
    const states = () => balancer.status().destinations.map(({ state }) => state);
    expect(states()).toEqual(["up", "unresolved"]);
    await balancer.finish(3);
  });

  test("policy and weight: they hold for who comes next", async () => {
    using first = tagServer("1");
    using second = tagServer("2");
    const places = [`${first.address},name=a`, `${second.address},name=b`];
    await using balancer = await embed(places, way);
    await change(balancer, { policy: "hash" });
    const answers = new Set<string>();
    for (let i = 0; i < 6; i++) answers.add(await ask(balancer.port));
    expect(answers.size).toBe(1);
    expect(balancer.status().policy).toBe("hash");
    await change(balancer, { policy: "pull" });
    await until(async () => (answers.add(await ask(balancer.port)), answers.size === 2), "both");
  });

  test("settings: deadlines hold for pairs that are open already", async () => {
    using server = echoServer();
    await using balancer = await embed(["--idle-timeout", "0", server.address], way);
    using idle = await client(balancer.port);
    using busy = await client(balancer.port);
    await echo(idle, "hello");
    await echo(busy, "hello");
    await change(balancer, { idleMs: 1_000 });
    await until(async () => (await echo(busy, "."), idle.over), "the idle one's end");
    expect([idle.wasReset, busy.over]).toEqual([true, false]);
    await change(balancer, { idleMs: 0, maxAge: "1ms" });
    await until(() => busy.over, "its age");
    expect(busy.wasReset).toBe(false);
    busy.finish();
    // Several threads may number them in another order than they came.
    expect(endings(await balancer.finish(2)).toSorted()).toEqual([
      "idle-timeout cD balancer",
      "max-age LD balancer",
    ]);
  });

  test("settings: rules and limits of clients hold for who comes next, and nobody is counted out twice", async () => {
    using server = echoServer();
    await using balancer = await embed([server.address], way);
    const open = async () => {
      const peer = await knock(balancer.port);
      peer.send("x");
      await until(() => peer.text === "x" || peer.over, "the echo, or the refusal");
      return peer;
    };
    const [before] = [await open()];
    await change(balancer, { clientConnectionCountMax: 2 });
    const [one, two, refused] = [await open(), await open(), await open()];
    expect([one.over, two.over, refused.over]).toEqual([false, false, true]);
    await change(balancer, { clientConnectionCountMax: 3 });
    const [three, refusedAgain] = [await open(), await open()];
    expect([three.over, refusedAgain.over]).toEqual([false, true]);
    await change(balancer, { clientPrefix6: 56, clientConnectionCountMax: 1 }); // another table
    const four = await open();
    for (const peer of [before, one, two, three]) {
      peer.finish();
      await until(() => peer.over, "its end");
    }
    await until(() => balancer.status().open === 1, "four have gone");
    expect([four.over, (await open()).over]).toEqual([false, true]);
    await change(balancer, { deny: "127.0.0.1/32", clientConnectionCountMax: 0 });
    expect((await open()).over).toBe(true);
    await echo(four, "y");
    await change(balancer, { deny: "" });
    const five = await open();
    for (const peer of [four, five]) {
      peer.finish();
      await until(() => peer.over, "its end");
    }
    const ended = await balancer.finish(10);
    const refusals = ended.map(({ reason }) => reason).filter((reason) => reason !== "done");
    expect(refusals).toEqual(["client-limit", "client-limit", "client-limit", "denied"]);
  });

  test("settings: the queue's limits hold for who waits already", async () => {
    using server = counter();
    const args = ["--slots", "1", "--queue-timeout", "0", server.address];
    await using balancer = await embed(args, way);
    using holder = await client(balancer.port);
    await until(() => server.serving === 1, "the holder");
    using waiting = await knock(balancer.port);
    await until(() => balancer.status().queue.waiting === 1, "one waits");
    await change(balancer, { queueCountMax: 1 });
    using refused = await knock(balancer.port);
    await until(() => refused.over, "the refusal");
    await change(balancer, { queueMs: 50 });
    await until(() => waiting.over, "its time");
    holder.finish();
    await until(() => holder.over, "the answer");
    const reasons = (await balancer.finish(3)).map((each) => each.reason);
    expect(reasons).toEqual(["done", "queue-timeout", "queue-full"]);
  });

  test("mistakes: all at once, and nothing has changed", async () => {
    using server = echoServer();
    await using balancer = await embed([`${server.address},name=a`], way);
    const before = balancer.balancer.options;
    const own = `127.0.0.1:${balancer.port}`;
    const tooMany = Array.from({ length: 70 }, (_, i) => `127.0.0.2:${i + 1}`);
    const all: [object, string][] = [
      [{ policy: "none", slots: -1 }, "2 bad-value out-of-range"],
      [{ destinations: [own] }, "1 loop"],
      [{ destinations: [] }, "1 no-destination"],
      [{ destinations: tooMany, slots: 3 }, "1 too-many-destinations"],
    ];
    for (const [to, expected] of all) {
      const mistakes = await change(balancer, to).then(
        () => [],
        (error: unknown) => (error instanceof OptionsError ? error.mistakes : []),
      );
      const codes = mistakes.map(({ code }) => code).toSorted();
      expect([mistakes.length, ...codes].join(" ")).toBe(expected);
      expect(() => balancer.balancer.plan({ ...before, ...to })).toThrow(OptionsError);
      expect(balancer.balancer.options).toEqual(before);
    }
    using peer = await client(balancer.port);
    await echo(peer, "still");
    expect(rowsOf(balancer)).toEqual(["a ready 1/0"]);
  });

  test("kept: what takes a new process is told and stays, all else changes", async () => {
    using server = echoServer();
    await using balancer = await embed([server.address], way);
    const { threadCount } = balancer.balancer.options;
    const to = { threadCount: threadCount + 1, listen: "127.0.0.1:1", idleMs: 5_000 };
    const expected = [
      `listen: 127.0.0.1:0 -> 127.0.0.1:1, 0 pairs, kept`,
      `threads: ${threadCount} -> ${threadCount + 1}, 0 pairs, kept`,
      `idle-timeout: 1h -> 5s, 0 pairs`,
    ];
    expect(texts(balancer.balancer.plan({ ...balancer.balancer.options, ...to }))).toEqual(
      expected,
    );
    expect(balancer.balancer.options.idleMs).toBe(3_600_000);
    expect(texts(await change(balancer, to))).toEqual(expected);
    const { idleMs, listen } = balancer.balancer.options;
    expect([idleMs, listen, balancer.balancer.options.threadCount]).toEqual([
      5_000,
      { kind: "tcp", host: "127.0.0.1", port: 0 },
      threadCount,
    ]);
    expect(texts(await change(balancer, {}))).toEqual([]);
  });

  test("rows: a thousand changes in a row need no more rows than stand in them at once", async () => {
    using server = echoServer();
    await using balancer = await embed([`${server.address},name=stays`], way);
    using peer = await client(balancer.port);
    await echo(peer, "a");
    const rounds = way.includes("thread") ? 250 : 1_000;
    for (let i = 0; i < rounds; i++) {
      const comes = [1, 2, 3].map((n) => `127.0.0.2:${1 + ((3 * i + n) % 60_000)}`);
      await change(balancer, { destinations: [`${server.address},name=stays`, ...comes] });
    }
    expect(balancer.status().destinations.length).toBe(4);
    // How far the board is in use; only the roster knows.
    const { steered } = balancer.balancer as unknown as {
      readonly steered: { readonly roster: { plans(): unknown[] } };
    };
    expect(steered.roster.plans().length).toBeLessThan(12);
    await echo(peer, "b");
    peer.finish();
    await until(() => peer.over, "its end");
    await balancer.finish(1);
  });
});
