// The threads of thread-facts.test.ts: `workerData.part` names what this one does. Imported, it does nothing.

import { dlopen } from "bun:ffi";
import {
  parentPort,
  receiveMessageOnPort,
  workerData,
  type MessagePort,
} from "node:worker_threads";
import { dial, libc, rawListen } from "../raw.ts";
import { fdOf } from "./facts.ts";

/** Places in the shared cells. */
export const cell = { asked: 0, seen: 1, isWakeDue: 2, runCount: 3, isFree: 4 } as const;

export type Part =
  | { readonly part: "blocked"; readonly port: MessagePort }
  | { readonly part: "woken"; readonly cells: Int32Array }
  | { readonly part: "sockets"; readonly peerPort: number }
  | {
      readonly part: "listener";
      readonly fd: number;
      readonly name: string;
      readonly cells: Int32Array;
    };

const CLOEXEC = 0o2000000;
const NONBLOCK = 0o4000;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
const EPOLL_CTL_ADD = 1;
const EPOLLIN = 1;
const EPOLL_EVENT_SIZE = process.arch === "x64" ? 12 : 16;

function openLibc() {
  return dlopen("libc.so.6", {
    eventfd: { args: ["u32", "i32"], returns: "i32" },
    socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
    read: { args: ["i32", "ptr", "usize"], returns: "i64" },
    epoll_create1: { args: ["i32"], returns: "i32" },
    epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
    epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
  }).symbols;
}

function post(message: unknown): void {
  parentPort?.postMessage(message, []); // without the list the linter takes it for a window's
}

/** Never comes back to its event loop; tells each message that it finds after a wake. */
function blocked(port: MessagePort): void {
  const c = openLibc();
  const wakeFd = c.eventfd(0, CLOEXEC | NONBLOCK);
  const epoll = c.epoll_create1(CLOEXEC);
  const event = new Uint8Array(EPOLL_EVENT_SIZE);
  new DataView(event.buffer).setUint32(0, EPOLLIN, true);
  c.epoll_ctl(epoll, EPOLL_CTL_ADD, wakeFd, event);
  post({ wakeFd, epoll });
  const count = new Uint8Array(8);
  for (;;) {
    c.epoll_wait(epoll, event, 1, -1);
    c.read(wakeFd, count, count.length);
    for (let got = receiveMessageOnPort(port); got; got = receiveMessageOnPort(port)) {
      post(`found ${got.message}`);
    }
  }
}

function socketpair(): [number, number] {
  const ends = new Int32Array(2);
  openLibc().socketpair(AF_UNIX, SOCK_STREAM | CLOEXEC | NONBLOCK, 0, ends);
  const [ours = -1, theirs = -1] = ends;
  return [ours, theirs];
}

/** An idle loop of Bun's; a byte at the other end of a socket pair makes it look at the cells. */
function woken(cells: Int32Array): void {
  const [ours, theirs] = socketpair();
  const look = () => {
    Atomics.store(cells, cell.isWakeDue, 0); // first: who asks from here on sends a byte again
    Atomics.add(cells, cell.runCount, 1);
    Atomics.store(cells, cell.seen, Atomics.load(cells, cell.asked));
  };
  dial({ fd: ours, data: undefined, socket: { data: look } });
  post(theirs);
}

/** Has a socket of each kind and descriptors of its own making, until the message that it dies of. */
async function sockets(peerPort: number): Promise<void> {
  const raw = rawListen("127.0.0.1:0", 16);
  const wakeFd = openLibc().eventfd(0, CLOEXEC);
  const [ours, theirs] = socketpair();
  let openedCount = 0;
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      data() {},
      open(socket) {
        if (++openedCount === 2) socket.pause();
        post(`open ${openedCount}`);
      },
    },
  });
  dial({ fd: ours, data: undefined, socket: { data() {} } });
  await Bun.connect({ hostname: "127.0.0.1", port: peerPort, socket: { data() {} } });
  parentPort?.on("message", (way: string) => {
    if (way === "throw") throw new Error("thrown");
    if (way === "reject") void Promise.reject(new Error("rejected"));
    if (way === "exit") process.exit(3);
  });
  post({ port: listener.port, fd: fdOf(listener), raw, wakeFd, theirs });
}

/** One of several listeners on one descriptor; answers each client with its own name. */
function listener(fd: number, name: string, cells: Int32Array): void {
  const listen = Bun.listen as unknown as (
    options: Bun.FdSocketOptions<unknown>,
  ) => Bun.SocketListener;
  const open = (socket: Bun.Socket<unknown>) => {
    socket.write(name);
    socket.shutdown();
  };
  const opened = listen({ fd, allowHalfOpen: true, data: undefined, socket: { data() {}, open } });
  libc().listen(fd, 4096);
  parentPort?.on("message", (order: "hold" | "hold, then stop") => {
    post("holds");
    Atomics.wait(cells, cell.isFree, 0);
    if (order === "hold, then stop") opened.stop(false);
    post("goes on");
  });
  post("listens");
}

async function run(given: Part): Promise<void> {
  if (given.part === "blocked") blocked(given.port);
  else if (given.part === "woken") woken(given.cells);
  else if (given.part === "sockets") await sockets(given.peerPort);
  else listener(given.fd, given.name, given.cells);
}

const given = workerData as Part | null; // the test gives nothing else; null on the main thread
if (given !== null) await run(given);
