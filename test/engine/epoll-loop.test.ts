import { expect, test } from "bun:test";
import { EpollLoop } from "../../src/engine/epoll-loop.ts";
import { openCalls } from "../../src/linux/calls.ts";

/** A loop that has always something to do, and stops after so many turns. */
class BusyLoop extends EpollLoop {
  turnCount = 0;

  protected hasWork(): boolean {
    return true;
  }

  protected onEvent(): void {}

  protected afterEvents(): void {
    this.turnCount += 1;
    if (this.turnCount === 100) this.stop();
  }
}

const calls = openCalls();

function busyLoop(onFault: (error: unknown) => void): BusyLoop {
  if (calls === null) throw new Error("these tests run where there is libc");
  return new BusyLoop(calls, onFault, () => performance.now());
}

// Other threads wake nobody who is awake: a loop that never sleeps must look by itself, or a granted slot stays idle.
test.skipIf(calls === null)(
  "epoll loop: one that is never idle looks for grants in every turn",
  () => {
    const loop = busyLoop(() => {});
    let looks = 0;
    let sleeps = 0;
    loop.whileAwake = () => void (looks += 1);
    loop.beforeSleep = () => ((sleeps += 1), false);
    loop.run();
    expect([loop.turnCount, looks, sleeps]).toEqual([100, 100, 0]);
  },
);

test.skipIf(calls === null)(
  "epoll loop: an exception while it looks is told, and ends nothing",
  () => {
    const faults: unknown[] = [];
    const loop = busyLoop((error) => faults.push(error));
    loop.whileAwake = () => {
      throw new Error("a fault");
    };
    loop.run();
    expect([loop.turnCount, faults.length]).toEqual([100, 100]);
  },
);
