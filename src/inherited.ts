// Listening descriptors that this process was born with: from the one before it (`upgrade.ts`), or from systemd
// (`LISTEN_FDS`). Whatever of the environment says so is taken out of it, so that no child sees it.
import type { Target } from "./engine/dial.ts";
import { adoptDescriptor, listensOn, type FoundDescriptor } from "./engine/listen.ts";
import type { ListeningDescriptor } from "./engine/listen.ts";
import { linux, type Libc } from "./linux/libc.ts";
import { familyOf, textOfAddress, unixPathOf } from "./linux/sockaddr.ts";

/** The first descriptor that is handed on; before it are stdin, stdout and stderr. */
export const firstGivenFd = 3;
/** More than anybody hands on; a number beyond it is a mistake of somebody's. */
export const givenCountMax = 1_024;

/** What tells a successor whose its descriptors are, in their order: `own`, or `foreign` for systemd's. */
export const handOverVariable = "IAWLB_HAND_OVER";

export type Environment = Record<string, string | undefined>;

interface Given extends FoundDescriptor {
  readonly address: string;
}

/** What it has inherited. Listeners take what is theirs; the rest is closed. */
export class Inheritance {
  /** There is a process before this one, which waits to hear that this one is ready. */
  readonly hasPredecessor: boolean;
  private readonly given: Given[];
  /** Until the one before has let go, it may go on alone: then the files of unix sockets are its own. */
  private settled: boolean;

  constructor(given: readonly Given[], hasPredecessor: boolean) {
    this.given = [...given];
    this.hasPredecessor = hasPredecessor;
    this.settled = !hasPredecessor;
  }

  /** Nobody else accepts in our place. */
  get isSettled(): boolean {
    return this.settled;
  }

  /** @returns the descriptor that listens there, or null when none was given. @throws ListenError */
  take(c: Libc, target: Target, backlogCount: number): ListeningDescriptor | null {
    const index = this.given.findIndex((each) => listensOn(each, target));
    const [found] = index < 0 ? [] : this.given.splice(index, 1);
    if (found === undefined) return null;
    return adoptDescriptor(c, found, target, backlogCount, () => this.settled);
  }

  /** Closes what no listener has taken. @returns the addresses of those. */
  closeRest(c: Libc): readonly string[] {
    const rest = this.given.splice(0);
    for (const { fd } of rest) c.close(fd);
    return rest.map(({ address }) => address);
  }

  /** The one before has let go. */
  settle(): void {
    this.settled = true;
  }
}

/** Descriptors of listeners that go, once more, for those of this process that listen there next. */
export function handedDown(
  c: Libc,
  descriptors: readonly Pick<ListeningDescriptor, "fd" | "isForeign">[],
): Inheritance {
  const given = descriptors.flatMap(({ fd, isForeign }) => {
    const own = c.dup(fd);
    const found = own < 0 ? "" : describe(c, own, isForeign);
    if (typeof found !== "string") return [found];
    if (own >= 0) c.close(own);
    return []; // then it is opened, and that says why it cannot be
  });
  return new Inheritance(given, true);
}

/**
 * Reads what the environment says of descriptors, and takes it out of it.
 * @param onWarning is told of each that cannot be used, and why.
 */
export function inherited(
  environment: Environment,
  c: Libc | null,
  onWarning: (message: string) => void,
): Inheritance {
  const handedOver = take(environment, handOverVariable);
  const byService = serviceDescriptors(environment, onWarning);
  const owners = handedOver?.split(",").filter((owner) => owner !== "") ?? byService;
  if (owners.length > givenCountMax) {
    onWarning(`${owners.length} descriptors are given, more than ${givenCountMax}: none is used`);
    return new Inheritance([], handedOver !== undefined);
  }
  if (c === null && owners.length > 0) {
    onWarning("listening descriptors are given; without the C library none can be taken");
    return new Inheritance([], handedOver !== undefined);
  }
  const given: Given[] = [];
  for (const [index, owner] of c === null ? [] : owners.entries()) {
    const fd = firstGivenFd + index;
    const found =
      c === null ? "" : describe(c, fd, handedOver === undefined || owner === "foreign");
    if (typeof found === "string") onWarning(`descriptor ${fd}${nameOf(owner)}: ${found}`);
    else given.push(found);
  }
  return new Inheritance(given, handedOver !== undefined);
}

/** Names of the descriptors that systemd gives to this process, in their order. Source: sd_listen_fds(3). */
function serviceDescriptors(
  environment: Environment,
  onWarning: (message: string) => void,
): readonly string[] {
  const pid = take(environment, "LISTEN_PID");
  const countText = take(environment, "LISTEN_FDS");
  const names = (take(environment, "LISTEN_FDNAMES") ?? "").split(":");
  if (countText === undefined || pid !== String(process.pid)) return []; // somebody else's
  if (!/^[0-9]{1,5}$/.test(countText)) {
    onWarning(`LISTEN_FDS=${countText} is no number of descriptors: none is used`);
    return [];
  }
  return Array.from({ length: Number(countText) }, (_, index) => names[index] ?? "");
}

function take(environment: Environment, name: string): string | undefined {
  const value = environment[name];
  delete environment[name];
  return value;
}

/** @returns what a descriptor is, ready for use, or in words why it cannot be one of ours. */
function describe(c: Libc, fd: number, isForeign: boolean): Given | string {
  if (option(c, fd, linux.SO_TYPE) === null) return "is not a socket";
  if (option(c, fd, linux.SO_TYPE) !== linux.SOCK_STREAM) {
    return "is not a stream socket; ListenStream= gives one";
  }
  if (option(c, fd, linux.SO_ACCEPTCONN) !== 1) {
    return "is a connection, not a listener; Accept=no gives one";
  }
  const room = new Uint8Array(new ArrayBuffer(128));
  const size = new Uint32Array(new ArrayBuffer(4)).fill(room.length);
  if (c.getsockname(fd, room, size) !== 0) return "has no address";
  const sockaddr = room.slice(0, size[0] ?? 0);
  const family = familyOf(sockaddr);
  if (family !== linux.AF_UNIX && family !== linux.AF_INET && family !== linux.AF_INET6) {
    return "is neither a TCP nor a unix socket";
  }
  c.fcntl(fd, linux.F_SETFD, linux.FD_CLOEXEC);
  c.fcntl(fd, linux.F_SETFL, c.fcntl(fd, linux.F_GETFL, 0) | linux.SOCK_NONBLOCK); // the same number as O_NONBLOCK
  const path = family === linux.AF_UNIX ? unixPathOf(sockaddr, sockaddr.length) : "";
  return { fd, sockaddr, isForeign, address: `${textOfAddress(sockaddr)}${path}` };
}

/** @returns null when it cannot be asked, as of what is no socket. */
function option(c: Libc, fd: number, name: number): number | null {
  const value = new Int32Array(new ArrayBuffer(4));
  const size = new Uint32Array(new ArrayBuffer(4)).fill(4);
  return c.getsockopt(fd, linux.SOL_SOCKET, name, value, size) === 0 ? (value[0] ?? 0) : null;
}

function nameOf(owner: string): string {
  return owner === "" || owner === "own" || owner === "foreign" ? "" : ` (${owner})`;
}
