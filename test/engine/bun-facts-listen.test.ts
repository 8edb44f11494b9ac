// What Bun's listeners do: backlog, shared descriptors, bursts of accepts. Rules R12 and R13 rest on it;
// a failure here after an update of Bun means: read the rule again before trusting the engine.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, unlinkSync } from "node:fs";
import { unixPlace } from "../net.ts";
import { AF_UNIX, libc, rawConnect, rawListen, rawSocket, sockaddr } from "../raw.ts";
import { until } from "../wait.ts";
import { fdOf, listen, RawPeer } from "./facts.ts";

setDefaultTimeout(30_000);

type Listener = Bun.SocketListener<unknown>;

/** `Bun.listen({ fd })` works but is in no overload of Bun's types. */
function adopt(fd: number, socket: Bun.SocketHandler<unknown>): Listener {
  const listen = Bun.listen as unknown as (options: Bun.FdSocketOptions<unknown>) => Listener;
  return listen({ fd, allowHalfOpen: true, data: undefined, socket });
}

/** Connections a listening TCP descriptor keeps for accept; TCP_INFO tells it of listeners. */
function backlogOf(fd: number): number {
  const info = new Uint32Array(26);
  libc().getsockopt(fd, 6, 11, info, new Uint32Array([info.byteLength]));
  return info[7] ?? 0;
}

const SOMAXCONN = Number(readFileSync("/proc/sys/net/core/somaxconn", "utf8"));
const BACKLOG = Math.min(4096, SOMAXCONN);

test("R12: the backlog is 512 at most, until libc's listen raises it in place", () => {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  expect(backlogOf(fdOf(listener))).toBeLessThanOrEqual(512);
  libc().listen(fdOf(listener), 4096);
  expect(backlogOf(fdOf(listener))).toBe(BACKLOG);
  listener.stop(true);
});

for (const host of ["127.0.0.1", "[::1]"]) {
  test(`R12: adopting a listener cuts its backlog, so raise it after, ${host}`, async () => {
    let opened = 0;
    const { fd, port } = rawListen(`${host}:0`, 4096);
    expect(backlogOf(fd)).toBe(BACKLOG);
    const listener = adopt(fd, { data() {}, open: () => void opened++ });
    expect(backlogOf(fd)).toBeLessThanOrEqual(512);
    libc().listen(fd, 4096);
    expect(backlogOf(fd)).toBe(BACKLOG);
    if (Bun.which("ss") !== null) {
      const shown = Bun.spawnSync(["ss", "-ltn", `sport = ${port}`]).stdout.toString();
      expect(shown).toMatch(new RegExp(`LISTEN +0 +${BACKLOG} `));
    }
    using _client = new RawPeer(rawConnect(`${host}:${port}`));
    await until(() => opened === 1, "the accept");
    listener.stop(true);
  });
}

test("R12: a unix listener can be adopted, and its backlog raised after", async () => {
  let opened = 0;
  const place = unixPlace();
  const { fd } = rawListen(place, 4096);
  const listener = adopt(fd, { data() {}, open: () => void opened++ });
  const address = sockaddr(place);
  const clients: number[] = [];
  const connectAll = (count: number) => {
    for (; clients.length < count; clients.push(rawSocket(AF_UNIX))) {
      const fd = clients.at(-1);
      if (fd !== undefined && libc().connect(fd, address, address.length) < 0) break;
    }
    return clients.length;
  };
  const wanted = Math.min(1000, BACKLOG);
  expect(connectAll(wanted)).toBeLessThan(520); // in one turn: nothing is accepted meanwhile
  libc().listen(fd, 4096);
  expect(connectAll(wanted)).toBe(wanted);
  await until(() => opened === wanted - 1, "every accept");
  for (const each of clients) libc().close(each);
  listener.stop(true);
  unlinkSync(place.slice(5));
});

test("R12: an adopted listener does not know its own address", () => {
  const { fd } = rawListen("127.0.0.1:0", 16);
  const listener = adopt(fd, { data() {} }) as unknown as { hostname: unknown; port: unknown };
  expect([listener.hostname, listener.port]).toEqual([undefined, undefined]);
  (listener as unknown as Listener).stop(true);
});

/** 50 clients in the accept queue, then one of two listeners stops in the same turn. */
async function fatesOfStop(listeners: Listener[], port: number): Promise<string[]> {
  const clients = Array.from({ length: 50 }, () => new RawPeer(rawConnect(port)));
  listeners[0]?.stop(false);
  await Promise.all(clients.map((each) => each.readToEnd()));
  for (const each of clients) each.close();
  listeners[1]?.stop(true);
  return clients.map((each) => `${each.fate} after ${each.receivedCount}`);
}

const greets: Bun.SocketHandler<unknown> = {
  data() {},
  open: (socket) => {
    socket.write("hello");
    socket.shutdown();
  },
};

test("R13: with one shared descriptor, stopping a listener loses nobody in the queue", async () => {
  const { fd, port } = rawListen("127.0.0.1:0", 4096);
  const listeners = [adopt(libc().dup(fd), greets), adopt(libc().dup(fd), greets)];
  const fates = await fatesOfStop(listeners, port);
  libc().close(fd);
  expect(new Set(fates)).toEqual(new Set(["FIN after 5"]));
});

test("R13: with reusePort, stopping a listener resets those in its queue", async () => {
  const options = { hostname: "127.0.0.1", reusePort: true, allowHalfOpen: true, socket: greets };
  const first = Bun.listen({ ...options, port: 0 });
  const second = Bun.listen({ ...options, port: first.port });
  const fates = await fatesOfStop([first, second], first.port);
  const migrated = readFileSync("/proc/sys/net/ipv4/tcp_migrate_req", "utf8").trim() === "1";
  expect(fates.includes("RST after 0")).toBe(!migrated);
});

test("accept: a burst opens in one turn; a microtask runs between, setImmediate after all", async () => {
  const order: string[] = [];
  const open = () => {
    order.push("open");
    queueMicrotask(() => order.push("microtask"));
    setImmediate(() => order.push("immediate"));
  };
  using listener = listen({ allowHalfOpen: true, socket: { data() {}, open } });
  const clients = Array.from({ length: 100 }, () => new RawPeer(rawConnect(listener.port)));
  await until(() => order.length === 300, "three entries a client");
  const burst = Array.from({ length: 100 }, () => ["open", "microtask"]).flat();
  expect(order.slice(0, 200)).toEqual(burst);
  expect(new Set(order.slice(200))).toEqual(new Set(["immediate"]));
  for (const each of clients) each.close();
});

test("accept: established connections outlive their listener", async () => {
  let answered = 0;
  const listener = listen({
    allowHalfOpen: true,
    socket: {
      data: (socket) => void (answered += socket.write("yes")),
      open: (socket) => void socket.write("hello"),
    },
  });
  using raw = new RawPeer(rawConnect(listener.port));
  await until(() => raw.read().length > 0, "the greeting");
  listener[Symbol.dispose]();
  raw.send(Buffer.from("still there?"));
  await until(() => answered === 3, "an answer");
});
