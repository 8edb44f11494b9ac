// Waiting for conditions, and random numbers that can be had again.

/** Later than asked by at most so much; the machine may be busy. */
export const lateMs = 5_000;

/** Polls until the condition is truthy and returns its value; the error names what was awaited. */
export async function until<T>(
  condition: () => T | Promise<T>,
  what: string,
  ms = 10_000,
): Promise<Exclude<T, false | null | undefined>> {
  const deadline = performance.now() + ms;
  for (let pause = 1; ; pause = Math.min(2 * pause, 20)) {
    const value = await condition();
    if (value) return value as Exclude<T, false | null | undefined>; // truthy, so none of those
    if (performance.now() > deadline) throw new Error(`waited ${ms} ms in vain for: ${what}`);
    await Bun.sleep(pause);
  }
}

export interface Random {
  readonly seed: number;
  /** In [0, 1). */
  next(): number;
  /** A whole number in [0, n). */
  int(n: number): number;
  bytes(n: number): Buffer;
}

/** The seed of this run: IAWLB_SEED, or another one each time. */
function seedOfRun(): number {
  const given = process.env["IAWLB_SEED"];
  return given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given);
}

/** The same numbers for the same seed (xorshift32 over a hashed seed). */
export function seeded(seed = seedOfRun()): Random {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) | 1;
  const word = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
  for (let i = 0; i < 8; i++) word();
  return {
    seed,
    next: () => word() / 2 ** 32,
    int: (n) => Math.floor((word() / 2 ** 32) * n),
    bytes: (n) => {
      // Not from a typed array's `buffer`: under `bun test --isolate`, Bun 1.4.5 makes an empty one of it now and then.
      const bytes = Buffer.alloc(n + ((4 - (n % 4)) % 4));
      for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(word(), at);
      if (bytes.length < n) throw new Error(`${bytes.length} bytes instead of ${n}`);
      return bytes.subarray(0, n);
    },
  };
}

/** Runs a random test; when it fails, the seed that makes it fail again is printed. */
export async function withSeed(body: (random: Random) => void | Promise<void>): Promise<void> {
  const random = seeded();
  try {
    await body(random);
  } catch (error) {
    console.error(`random test failed; again with IAWLB_SEED=${random.seed}`);
    throw error;
  }
}
