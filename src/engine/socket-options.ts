// What the libc engine asks of a socket beside its bytes: a few small calls and the memory that they read and fill.
import { bytes, sys, words, type Calls } from "../linux/calls.ts";
import { errorName, linux } from "../linux/libc.ts";
import { textOfAddress } from "../linux/sockaddr.ts";

export class SocketOptions {
  private readonly calls: Calls;
  // Kept for good, so that it neither moves nor goes (R16).
  private readonly noLinger = words(2).fill(1, 0, 1); // on, and 0 s
  private readonly on = words(1).fill(1);
  private readonly error = words(1);
  private readonly size = words(1);
  private readonly address = bytes(128);

  constructor(calls: Calls) {
    this.calls = calls;
  }

  /** Closing it will be a reset, whatever is still to be sent. */
  resetOnClose(fd: number): void {
    this.calls.setsockopt(fd, linux.SOL_SOCKET, sys.SO_LINGER, this.noLinger, 8);
  }

  /** What is written leaves at once (TCP_NODELAY). */
  makePrompt(fd: number): void {
    this.calls.setsockopt(fd, sys.IPPROTO_TCP, sys.TCP_NODELAY, this.on, 4);
  }

  /** @returns the error that waits on a socket, and takes it away; null when there is none. */
  takeError(fd: number): string | null {
    this.error[0] = 0;
    this.size[0] = 4;
    this.calls.getsockopt(fd, linux.SOL_SOCKET, sys.SO_ERROR, this.error, this.size);
    const number = this.error[0];
    return number === 0 ? null : errorName(number);
  }

  /** `host:port` of the peer, `unix:`, or "" when it has gone. */
  peer(fd: number): string {
    this.size[0] = this.address.length;
    const result = this.calls.getpeername(fd, this.address, this.size);
    return result === 0 ? textOfAddress(this.address) : "";
  }

  /** The same of our own end. */
  own(fd: number): string {
    this.size[0] = this.address.length;
    const result = this.calls.getsockname(fd, this.address, this.size);
    return result === 0 ? textOfAddress(this.address) : "";
  }
}
