// What the core obeys when a test asks for nothing.
import type { Limits } from "../../src/core/limits.ts";

export const noLimits: Limits = {
  connectionCountMax: 1_000,
  refuseBy: "reset",
  refusalRecordsMax: 0,
  maxAge: { ms: 0, jitter: 0 },
  slowStartMs: 0,
  queueCountMax: 1_000,
  queueMs: 0,
  prefaceMs: 0,
  handshakeCountMax: 1_000,
  connectMs: 5_000,
  idleMs: 0,
  halfCloseMs: 0,
  answerMs: 0,
  cooldownMs: 0,
  flushCount: 0,
  flushMs: 0,
  queueFin: "keep",
};
