// What a system cannot do is a mistake of the command line's kind: told before anything starts.

import { expect, test } from "bun:test";
import { balance } from "../../src/balancer.ts";
import { OptionsError } from "../../src/control/options.ts";
import { unusable } from "../../src/engine/libc-test.ts";
import { openCalls } from "../../src/linux/calls.ts";

test("system: threads and the libc engine without libc are mistakes, each by its option", async () => {
  const given = { listen: "127.0.0.1:0", destinations: [3001], libc: false } as const;
  const mistakesOf = async (more: object): Promise<readonly (readonly string[])[]> => {
    try {
      const balancer = await balance({ ...given, ...more });
      await balancer.stop();
    } catch (error) {
      if (error instanceof OptionsError) {
        return error.mistakes.map(({ code, argument, hint }) => [code, argument, hint]);
      }
      throw error;
    }
    return [];
  };
  expect(await mistakesOf({})).toEqual([]);
  expect(await mistakesOf({ threadCount: 2, engine: "libc" })).toEqual([
    ["not-here", "--threads 2", "without --threads 2 it runs everywhere"],
    ["not-here", "--engine libc", "without --engine libc it runs everywhere"],
  ]);
});

test.skipIf(process.platform !== "linux")(
  "system: the self-test passes here, and says what is missing",
  () => {
    const calls = openCalls();
    expect(unusable(calls)).toBeNull();
    expect(unusable(null)).toBe("the C library has not every call it needs");
    if (calls === null) throw new Error("it has just passed");
    /** A libc one of whose calls answers otherwise. */
    const broken = (call: object) => ({ ...calls, ...call }) as typeof calls; // functions of FFI have a brand
    expect(unusable(broken({ epoll_create1: () => -1 }))).toStartWith("epoll_create1 is refused");
    expect(unusable(broken({ recv: () => 5 }))).toBe("errno is not to be had");
    expect(unusable(broken({ epoll_wait: () => 0 }))).toBe("epoll_wait tells what it should not");
  },
);
