// What the engine makes of answers of Bun that no test can have at will.

import { expect, test } from "bun:test";
import type { Socket } from "../../src/core/engine.ts";
import { BunEngine } from "../../src/engine/bun.ts";

const engine = new BunEngine(null, () => {});
/** A socket as far as `remote` asks it. */
const socketAt = (remoteAddress?: string, remotePort?: number) =>
  ({ remoteAddress, remotePort }) as unknown as Socket;

// Each is a question of its own to the kernel, and the peer may reset the connection between the two.
test("bun engine: a client that goes while it is asked for its address has none", () => {
  expect(engine.remote(socketAt("127.0.0.1", 40_123))).toBe("127.0.0.1:40123");
  expect(engine.remote(socketAt("127.0.0.1"))).toBe("");
  expect(engine.remote(socketAt())).toBe("");
});
