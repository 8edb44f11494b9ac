// One epoll descriptor and the events it gives. A descriptor is registered with a number, and its events bring both
// back: the number of a socket that has gone is told from that of a later one with the same descriptor.
import { Errno, eventDataAt, eventStride, sys, words, type Calls } from "../linux/calls.ts";

/** Events taken from the kernel at once. */
const eventCountMax = 256;

export class Epoll {
  private readonly calls: Calls;
  private readonly errno: Errno;
  private readonly fd: number;
  // What libc reads and fills; kept for good, so that it neither moves nor goes.
  private readonly taken = words(eventCountMax * eventStride);
  private readonly given = words(eventStride);

  /** @throws when the kernel gives no descriptor. */
  constructor(calls: Calls, errno: Errno) {
    this.calls = calls;
    this.errno = errno;
    this.fd = calls.epoll_create1(sys.EPOLL_CLOEXEC);
    if (this.fd < 0) throw new Error(`no epoll: ${errno.name}`);
  }

  /**
   * @param waitMs 0: does not block; −1: however long it takes.
   * @returns how many events there are; −1 for a signal.
   */
  wait(waitMs: number): number {
    return this.calls.epoll_wait(this.fd, this.taken, eventCountMax, waitMs);
  }

  // The three parts of an event, by its index below what `wait` has returned: so none is ever undefined.
  flagsAt(index: number): number {
    return this.taken[index * eventStride] as number;
  }
  fdAt(index: number): number {
    return this.taken[index * eventStride + eventDataAt] as number;
  }
  numberAt(index: number): number {
    return this.taken[index * eventStride + eventDataAt + 1] as number;
  }

  /** @returns null, or the system's name of why it is not taken. */
  register(fd: number, number: number, interest: number): string | null {
    this.given[0] = interest;
    this.given[eventDataAt] = fd;
    this.given[eventDataAt + 1] = number;
    const result = this.calls.epoll_ctl(this.fd, sys.EPOLL_CTL_ADD, fd, this.given);
    return result === 0 ? null : this.errno.name;
  }

  /** For descriptors that stay open; one that is closed goes by itself. */
  forget(fd: number): void {
    this.calls.epoll_ctl(this.fd, sys.EPOLL_CTL_DEL, fd, this.given);
  }

  close(): void {
    this.calls.close(this.fd);
  }
}
