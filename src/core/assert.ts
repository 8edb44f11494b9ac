// Assertions stay on: a broken invariant of ours ends the process rather than a client's trust.

/** Throws when one of our own invariants is broken. Never call it on what a peer sent. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

export class AssertionError extends Error {
  override readonly name = "AssertionError";
}
