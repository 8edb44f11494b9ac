// What Bun makes of connections it opens: by a descriptor of ours, by address, by name. Rules R9, R10
// and R14 rest on it; a failure here after an update of Bun means: read the rule again first.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, unlinkSync } from "node:fs";
import { blackhole, deadPort, unixPlace } from "../net.ts";
import {
  AF_INET,
  AF_UNIX,
  dial,
  errno,
  libc,
  rawConnect,
  rawListen,
  rawSocket,
  sockaddr,
} from "../raw.ts";
import { accept, codeOf, dialByFd, fdOf, join, listen, RawPeer, Recorder, turn } from "./facts.ts";

setDefaultTimeout(30_000);

const ENETUNREACH = 101;
const ECONNREFUSED = 111;
const EALREADY = 114;
const EINPROGRESS = 115;
const EAGAIN = 11;
const IPPROTO_TCP = 6;
const TCP_USER_TIMEOUT = 18;

/** A unix socket whose connect has been tried once. */
function tryUnix(place: string): { fd: number; failure: number } {
  const fd = rawSocket(AF_UNIX);
  const address = sockaddr(place);
  const failed = libc().connect(fd, address, address.length) < 0;
  return { fd, failure: failed ? errno() : 0 };
}

function adopt(fd: number, bun: Recorder): void {
  dial({ fd, allowHalfOpen: true, data: undefined, socket: bun.handlers });
}

/** A listener whose accept queue is full until the caller accepts. */
function fullListener() {
  const { fd, port } = rawListen("127.0.0.1:0", 0);
  return { fd, port, filler: new RawPeer(rawConnect(port)) };
}

test("R9: a connecting descriptor opens at once, and its first drain means connected", async () => {
  using listener = listen({ allowHalfOpen: true, socket: { data() {} } });
  const bun = new Recorder();
  dialByFd(listener.port, bun);
  expect(bun.events).toEqual(["open"]); // synchronously
  await bun.until("drain");
  expect(bun.socket.write("x")).toBe(1);
  bun.socket.terminate();
});

test("R9: a second connect says at once what became of the first, and a write then needs no drain", () => {
  using listener = listen({ allowHalfOpen: true, socket: { data() {} } });
  const again = (port: number) => {
    const fd = rawSocket(AF_INET);
    const address = sockaddr(port);
    expect(libc().connect(fd, address, address.length)).toBe(-1);
    expect(errno()).toBe(EINPROGRESS);
    return { fd, result: libc().connect(fd, address, address.length), code: errno() };
  };
  const connected = again(listener.port);
  expect(connected.result).toBe(0);
  const bun = new Recorder();
  adopt(connected.fd, bun);
  expect(bun.socket.write("at once")).toBe(7);
  bun.socket.terminate();

  using dead = deadPort();
  const refused = again(dead.port);
  expect([refused.result, refused.code]).toEqual([-1, ECONNREFUSED]);
  libc().close(refused.fd);

  const full = fullListener();
  const waiting = again(full.port);
  expect([waiting.result, waiting.code]).toEqual([-1, EALREADY]);
  for (const fd of [waiting.fd, full.fd]) libc().close(fd);
  full.filler.close();
});

test.concurrent("R9: before it is connected, open but writes take nothing", async () => {
  const { fd, port, filler } = fullListener();
  const bun = new Recorder();
  dialByFd(port, bun);
  await turn();
  expect(bun.socket.write("too early")).toBe(0);
  expect(bun.events).toEqual(["open"]);
  using first = new RawPeer(await accept(fd)); // room now; the kernel tries again after a second
  await bun.until("drain");
  expect(bun.socket.write("in time")).toBe(7);
  expect(bun.story).toEqual(["open"]);
  bun.socket.terminate();
  filler.close();
  expect(first.fate).toBe("open");
  libc().close(fd);
});

test("R9: a refused connect is a close with its true error", async () => {
  using dead = deadPort();
  const bun = new Recorder();
  dialByFd(dead.port, bun);
  expect(bun.events).toEqual(["open"]);
  await bun.until("close");
  expect(bun.story).toEqual(["open", "close ECONNREFUSED"]);
});

test.concurrent("R9: an unanswered connect is a close with ETIMEDOUT", async () => {
  using hole = blackhole();
  const address = sockaddr(hole.port);
  const fd = rawSocket(AF_INET);
  libc().setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, new Int32Array([500]), 4);
  libc().connect(fd, address, address.length);
  const bun = new Recorder();
  adopt(fd, bun);
  await bun.until("close");
  expect(bun.story).toEqual(["open", "close ETIMEDOUT"]);
});

for (const when of ["in the same turn", "later"] as const) {
  test(`R9: terminate aborts a connect, ${when}`, async () => {
    using hole = blackhole();
    const bun = new Recorder();
    dialByFd(hole.port, bun);
    if (when === "later") await turn();
    const place = `/proc/self/fd/${fdOf(bun.socket)}`;
    expect(existsSync(place)).toBe(true);
    bun.socket.terminate();
    expect(existsSync(place)).toBe(false);
    expect(bun.events).toEqual(["open", "close"]);
    await turn();
    expect(bun.events).toEqual(["open", "close"]);
  });
}

test("R9: a write on a failed connect takes its error, so write nothing before drain", async () => {
  using dead = deadPort();
  const bun = new Recorder();
  dialByFd(dead.port, bun); // on loopback the refusal is there already
  expect(bun.socket.write("x")).toBe(0);
  await bun.until("close");
  expect(bun.story).toEqual(["open", "end", "close"]); // like a clean end
});

test("R9: a descriptor that is none is a connectError", async () => {
  const bun = new Recorder();
  adopt(99_999, bun);
  await bun.until("connectError");
  expect(bun.events).toEqual(["connectError ECONNREFUSED"]);
});

test("R9: an accepted descriptor can be adopted too, half-open honoured", async () => {
  const { fd, port } = rawListen("127.0.0.1:0", 16);
  using raw = new RawPeer(rawConnect(port));
  const bun = new Recorder();
  adopt(await accept(fd), bun);
  raw.fin();
  await bun.until("end");
  expect(bun.socket.write("after the end")).toBe(13);
  bun.socket.shutdown();
  await raw.readToEnd();
  expect([raw.receivedCount, raw.fate]).toEqual([13, "FIN"]);
  libc().close(fd);
});

test("R9: a unix descriptor is connected, full or refused when connect returns", async () => {
  const place = unixPlace();
  const { fd } = rawListen(place, 0);
  const first = tryUnix(place);
  const full = tryUnix(place);
  libc().close(fd);
  const refused = tryUnix(place);
  unlinkSync(place.slice(5));
  expect([first.failure, full.failure, refused.failure]).toEqual([0, EAGAIN, ECONNREFUSED]);
  // The trap: adopted all the same, a failed one says open and drain like a connected one.
  const bun = new Recorder();
  adopt(refused.fd, bun);
  await bun.until("drain");
  await turn();
  expect(bun.events).toEqual(["open", "drain"]);
  expect(bun.socket.write("x")).toBe(-1);
  bun.socket.terminate();
  for (const each of [first, full]) libc().close(each.fd);
});

/** A unix listener that answers and closes before the event loop turns again. */
async function answeredAtOnce(connect: (place: string, bun: Recorder) => void): Promise<string[]> {
  const place = unixPlace();
  const { fd } = rawListen(place, 16);
  const bun = new Recorder();
  connect(place, bun);
  const raw = new RawPeer(libc().accept4(fd, 0, 0, 0));
  expect(raw.send(Buffer.from("answer"))).toBe(6);
  raw.close();
  await turn();
  await turn();
  if (bun.seen("open")) bun.socket.terminate();
  libc().close(fd);
  unlinkSync(place.slice(5));
  return bun.story;
}

test("R9: by descriptor, a unix peer's answer is kept when it closes at once", async () => {
  const story = await answeredAtOnce((place, bun) => adopt(tryUnix(place).fd, bun));
  expect(story).toEqual(["open", "data", "end", "close"]);
});

test("R9: by path, a unix peer's answer is lost when it closes at once", async () => {
  const story = await answeredAtOnce((place, bun) => {
    const options = { unix: place.slice(5), allowHalfOpen: true, socket: bun.handlers };
    Bun.connect({ ...options, data: undefined }).catch(() => {});
  });
  expect(story).toEqual(["connectError ECONNRESET"]);
});

interface Failure {
  code: string;
  syscall: unknown;
  /** Delivered before `Bun.connect` returned. */
  sync: boolean;
}

/** How `Bun.connect({ hostname })` reports its failure. */
async function failureOf(hostname: string, port: number): Promise<Failure> {
  const { promise, resolve } = Promise.withResolvers<Failure>();
  let sync = true;
  Bun.connect({
    hostname,
    port,
    socket: {
      data() {},
      connectError: (_, error) =>
        resolve({ code: codeOf(error), syscall: (error as NodeJS.ErrnoException).syscall, sync }),
    },
  }).catch(() => {});
  sync = false;
  return promise;
}

test("R10: by address, a refused connect fails later, a local fault at once, both ECONNREFUSED", async () => {
  using dead = deadPort();
  expect(await failureOf("127.0.0.1", dead.port)).toEqual({
    code: "ECONNREFUSED",
    syscall: "connect",
    sync: false,
  });
  // TCP to a multicast address: the kernel says ENETUNREACH on every machine.
  const address = sockaddr("224.0.0.1:9");
  const fd = rawSocket(AF_INET);
  expect(libc().connect(fd, address, address.length)).toBe(-1);
  expect(errno()).toBe(ENETUNREACH);
  libc().close(fd);
  expect(await failureOf("224.0.0.1", 9)).toEqual({
    code: "ECONNREFUSED",
    syscall: "connect",
    sync: true,
  });
});

test("R10: by address, a pending connect has no socket that could be aborted", async () => {
  const { fd, port, filler } = fullListener();
  const bun = new Recorder();
  Bun.connect({
    hostname: "127.0.0.1",
    port,
    allowHalfOpen: true,
    data: undefined,
    socket: bun.handlers,
  }).catch(() => {});
  await turn();
  await turn();
  expect(bun.events).toEqual([]);
  filler.close();
  libc().close(fd); // the next try, a second later, is refused
});

test("R14: a name goes to the resolver, whose failure has codes of its own", async () => {
  expect(await failureOf("no such name", 9)).toEqual({
    code: "ENOTFOUND",
    syscall: "getaddrinfo",
    sync: false,
  });
});

test("R14: a name that listens is bound at one address only", async () => {
  const listener = Bun.listen({ hostname: "localhost", port: 0, socket: { data() {} } });
  const reached = await Promise.all(
    ["127.0.0.1", "[::1]"].map(async (host) => {
      const bun = new Recorder();
      dialByFd(`${host}:${listener.port}`, bun);
      await turn();
      const connected = bun.seen("drain") && !bun.seen("close");
      if (connected) bun.socket.terminate();
      return connected;
    }),
  );
  expect(reached.filter(Boolean)).toHaveLength(1);
  listener.stop(true);
});

test("R14: both sides have no delay set, by address and by descriptor", async () => {
  const TCP_NODELAY = 1;
  const noDelay = (socket: Bun.Socket<unknown>) => {
    const value = new Int32Array(1);
    libc().getsockopt(fdOf(socket), IPPROTO_TCP, TCP_NODELAY, value, new Uint32Array([4]));
    return value[0] !== 0;
  };
  using accepted = await join("accepted");
  using dialed = await join("dialed");
  using listener = listen({ allowHalfOpen: true, socket: { data() {} } });
  const adopted = new Recorder();
  dialByFd(listener.port, adopted);
  await adopted.until("drain");
  expect([accepted.bun, dialed.bun, adopted].map((each) => noDelay(each.socket))).toEqual([
    true,
    true,
    true,
  ]);
  adopted.socket.terminate();
});
