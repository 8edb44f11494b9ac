// Changes of a balancer that is busy: nobody is lost, no limit is exceeded, and what is wrong changes nothing.

import { expect } from "bun:test";
import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { Configured, expectLive, listener } from "../e2e/configured.ts";
import { client, echoServer, knock, serve, until, type Peer } from "../net.ts";
import { fault, sized, type Lab, type Subject } from "./lab.ts";
import { ask, crowd, fateOf, over, sourceOf, teller } from "./load.ts";

interface Scene {
  readonly it: Configured;
  readonly balancer: Subject;
}

/** The balancer under fault, run by a file and with an admin side; `port` is of the first listener. */
async function sceneOf(lab: Lab, text: string): Promise<Scene> {
  const balancers: Subject[] = [];
  const it = await Configured.by(text, async (args, env) => {
    const balancer = await lab.start(args, { env });
    balancers.push(balancer);
    return balancer.process;
  });
  const [balancer] = balancers;
  if (balancer === undefined) throw new Error("it has not started");
  await balancer.begin();
  return { it, balancer };
}

/** So many say who they are, and wait. */
async function waitBehind(balancer: Subject, count: number): Promise<Peer[]> {
  const peers: Peer[] = [];
  await crowd(count, 40, async () => void peers.push(await knock(balancer.port)));
  for (const peer of peers) peer.send(`${peer.socket.localPort}\n`);
  await balancer.when((now) => now.queue.waiting === count, `${count} wait`);
  return peers;
}

fault(
  31,
  "the last destination goes while the queue is full: refused, or who waits is served by the new ones",
  async (lab) => {
    using old = echoServer();
    using first = teller(2);
    using second = teller(2);
    const settings = ["slots = 1", "queue-max = 200", 'queue-timeout = "0"'];
    const web = (...places: string[]) => listener("web", places, ...settings);
    const { it, balancer } = await sceneOf(lab, web(`${old.address},name=old`));
    await using _ = it;
    using holder = await client(balancer.port);
    await expectLive(holder);
    const peers = await waitBehind(balancer, 200);
    using late = await knock(balancer.port);
    await until(() => late.wasReset, "one more is refused");
    const refusal = await it.ask("DELETE", "/destinations/old");
    expect(refusal).toMatchObject({
      status: 409,
      body: { error: { message: expect.stringContaining("old is the last destination of web") } },
    });
    expect(await it.rows("web")).toEqual(["old ready 1/1"]);
    expect((await balancer.status()).queue.waiting).toBe(200);
    it.write(web(`${first.address},name=first`, `${second.address},name=second`));
    expect(await it.reload()).toContain(`destination old: ${old.address} -> nothing (1 open)`);
    await over(peers, 20_000);
    for (const peer of peers) peer.finish();
    expect(peers.filter((peer) => peer.wasReset || peer.text.length < 2)).toEqual([]);
    expect([first.servingMax, second.servingMax]).toEqual([1, 1]);
    const heard = [...first.heard, ...second.heard];
    expect(new Set(heard).size).toBe(200);
    await expectLive(holder);
    holder.finish();
    await until(() => holder.over, "its end");
    const ended = await balancer.finish(202);
    const destinationOf = ended.map((each) => `${each.reason} ${each.destination}`);
    const counts = Object.fromEntries(
      [...new Set(destinationOf)].map((all) => [all, destinationOf.filter((one) => one === all)]),
    );
    expect(Object.keys(counts).toSorted()).toEqual(
      ["done first", "done old", "done second", "queue-full "].toSorted(),
    );
    expect([counts["done old"]?.length, counts["queue-full "]?.length]).toEqual([1, 1]);
  },
);

fault(
  34,
  "slots 4, 1, 4 under load: never above the limit for new work, no dead-lock, all are served",
  async (lab) => {
    using server = teller(3);
    const web = (slots: number) =>
      listener("web", [`${server.address},name=a`], `slots = ${slots}`, 'queue-timeout = "0"');
    const { it, balancer } = await sceneOf(lab, web(4));
    await using _ = it;
    const ended = new AbortController();
    let count = 0;
    const unserved: string[] = [];
    const worker = async () => {
      while (!ended.signal.aborted) {
        const line = `ask ${count++}`;
        const peer = await ask(balancer.port, line, { from: sourceOf(count) });
        if (fateOf(peer, line) !== "served") unserved.push(line);
      }
    };
    const load = Promise.all(Array.from({ length: 24 }, worker));
    const heardMore = (more: number) => {
      const enough = server.heard.length + more;
      return until(() => server.heard.length >= enough, `${more} more are served`);
    };
    const usedAtMost = (most: number) =>
      balancer.when((now) => (now.destinations[0]?.used ?? 0) <= most, `${most} slots in use`);
    const byReload = async (slots: number) => (it.write(web(slots)), void (await it.reload()));
    const byCommand = async (slots: number) =>
      void (await it.ask("PATCH", "/destinations/a", { slots }));
    for (let round = 0; round < sized(12, 3); round++) {
      const change = round % 2 === 0 ? byReload : byCommand;
      await change(4);
      server.countAgain();
      await until(() => server.servingMax === 4, "all four are in use");
      await heardMore(40);
      expect(server.servingMax).toBe(4);
      await change(1);
      await usedAtMost(1); // those that were served before end first
      server.countAgain();
      await heardMore(40);
      expect(server.servingMax).toBe(1);
    }
    ended.abort();
    await byReload(4);
    await load;
    expect(unserved).toEqual([]);
    const lines = await balancer.finish(count);
    expect(new Set(lines.map(({ reason }) => reason))).toEqual(new Set(["done"]));
  },
);

/** Sends back what a client says after `live`; answers any other with its line, and ends. */
function both() {
  return serve({
    keep: true,
    onData(peer, chunk) {
      if (peer.text.startsWith("live")) return peer.send(chunk);
      if (!peer.text.endsWith("\n")) return;
      peer.send(peer.text);
      peer.finish();
    },
    onEnd: (peer) => peer.finish(),
  });
}

fault(
  37,
  "four reloads in 4 s under load: no connection fails, live pairs are untouched",
  async (lab) => {
    const servers = [both(), both(), both()];
    const places = servers.map(({ address }, n) => `${address},name=d${n}`);
    const fileOf = (n: number) =>
      listener(
        "web",
        n % 4 === 0 ? places : places.filter((_, each) => each !== n % 3),
        `slots = ${8 + 4 * (n % 3)}`,
        `idle-timeout = "${1 + n}m"`,
        `policy = "${n % 2 === 0 ? "pull" : "random"}"`,
      ) + (n % 2 === 0 ? "" : listener("side", places));
    const { it, balancer } = await sceneOf(lab, fileOf(0));
    await using _ = it;
    const live = await Promise.all(Array.from({ length: 6 }, () => client(balancer.port)));
    const sent = live.map(() => "live");
    for (const peer of live) peer.send("live");
    const ended = new AbortController();
    let count = 0;
    const failed: string[] = [];
    const worker = async () => {
      while (!ended.signal.aborted) {
        const line = `ask ${count++}`;
        const peer = await ask(balancer.port, line, { from: sourceOf(count) });
        if (fateOf(peer, line) !== "served") failed.push(line);
      }
    };
    const load = Promise.all(Array.from({ length: 12 }, worker));
    const rounds = 4;
    for (let n = 1; n <= rounds; n++) {
      const before = count;
      it.write(fileOf(n));
      expect((await it.reload()).length).toBeGreaterThan(1);
      live.forEach((peer, each) => {
        const word = `, ${n} of ${each} `.repeat(200);
        sent[each] += word;
        peer.send(word);
      });
      await Bun.sleep(sized(1_000, 100));
      await until(() => count > before + 50, "clients come all the time");
    }
    ended.abort();
    await load;
    await until(
      () => live.every((peer, each) => peer.text.length === sent[each]?.length),
      "echoes",
    );
    expect(live.map((peer) => peer.text)).toEqual(sent);
    expect(live.filter((peer) => peer.over)).toEqual([]);
    for (const peer of live) peer.finish();
    await over(live);
    expect(failed).toEqual([]);
    const lines = await balancer.finish(count + live.length);
    expect(new Set(lines.map(({ reason }) => reason))).toEqual(new Set(["done"]));
    for (const server of servers) server[Symbol.dispose]();
  },
);

fault(
  38,
  "a reload with a broken file: all stays as it was, the place is named, the exit code says so",
  async (lab) => {
    using server = echoServer();
    using taken = echoServer();
    const place = `${server.address},name=a`;
    const right = listener("web", [place], "slots = 8");
    const { it, balancer } = await sceneOf(lab, right);
    await using _ = it;
    using peer = await client(balancer.port);
    await expectLive(peer);
    const stateOf = async () => {
      const { addresses, policy, destinations } = await balancer.status();
      return { addresses, policy, rows: destinations.map(({ name, slots }) => ({ name, slots })) };
    };
    const before = await stateOf();
    const broken: readonly (readonly [what: string, where: string, make: () => void])[] = [
      ["syntax", ":6:9: ", () => it.write(`${right}slots = = 2\n`)],
      ["unknown key", ":6:1: ", () => it.write(`${right}slotted = 9\n`)],
      [
        "port in use",
        ":13:10: ",
        () =>
          it.write(
            listener("web", [place], "slots = 9") +
              listener("fresh", [place]) + // opened, and closed again
              listener("new", [place], `listen = "${taken.address}"`),
          ),
      ],
      ["a directory", ": ", () => (rmSync(it.file), mkdirSync(it.file))],
      ["nothing", ": ", () => rmSync(it.file, { recursive: true })],
      ["unreadable", ": ", () => (it.write(right), chmodSync(it.file, 0o000))],
    ];
    for (const [what, where, make] of broken) {
      // Root may read anything.
      if (what === "unreadable" && process.getuid?.() === 0) continue;
      make();
      const told = `${it.file}${where}`;
      const fromHere = balancer.stderr.length;
      process.kill(balancer.pid, "SIGHUP");
      const lines = () => balancer.stderr.slice(fromHere);
      await until(() => lines().includes("reload failed, nothing has changed: "), what);
      expect(lines()).toContain(told);
      const { code, told: words } = await it.iawlb("reload");
      expect({ what, code }).toEqual({ what, code: 1 });
      expect(words).toContain(told);
      expect(await stateOf()).toEqual(before);
      await expectLive(peer);
    }
    rmSync(it.file, { force: true });
    it.write(listener("web", [place], "slots = 9"));
    expect(await it.reload()).toEqual(["slots: 8 -> 9 (1 open)"]);
    await expectLive(peer);
    peer.finish();
    await until(() => peer.over, "its end");
    await balancer.finish(1);
  },
);
